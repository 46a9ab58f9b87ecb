"""Engine: folds events into views, exactly once, whatever order they come in and however often.

A view's version vector says which events it holds. An event at or below it is skipped; an event behind a gap makes the
engine pull what is missing from the store; row and vector are saved together, only over the vector that was read. A view
that is not there yet starts with everything of its stream that is here.

The cells of a cross-stream projection are saved before the view that says how far their stream is folded. A crash between
the two leaves cells ahead of it; each has its own vector, and so skips what it holds already.

When it meets a subject that is forgotten, a view is folded again from the whole history without the subject's personal
fields. The set of these subjects is part of the view's state, so it is the same whenever and wherever it is folded.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import structlog
from tenacity import retry, retry_if_result, stop_after_attempt, wait_random_exponential

from projectors.engine.cells import Spread, load_each, spread
from projectors.engine.conflicts import Recent
from projectors.engine.failures import Failure, LanesWait, Report, unknown
from projectors.engine.folding import Pass, Wanted, fold_lanes, reader
from projectors.engine.sink import BROKEN, Change, LoadsCheaply, Sink, ViewRefused
from projectors.model.projection import REMEDY, Projection, ProjectionFailed, failed, forgotten_in, without
from projectors.model.view import MAX_VIEW_BYTES, View, ViewKey
from replicator.domain.errors import DamagedEvent, InvalidConfig, InvalidEvent, RegionUnavailable, place
from replicator.domain.event import Event
from replicator.domain.names import DELIMITER, LaneId, StreamId
from replicator.domain.vector import EMPTY, VersionVector
from replicator.erasure import FORGOTTEN, PersonalData, forgotten_subject
from replicator.eventstore.store import EventStore

log = structlog.get_logger()

_VIEWS_KEPT = 20_000
_STREAMS_AT_ONCE = 1_000


class Engine:
    """Folds one region's store into one sink. With `personal`, events may hold personal data: it is decrypted for the
    projections, and destroyed when an event says that its subject is forgotten. `watch` counts conflicts as they are met:
    omit it when history is folded again."""

    def __init__(
        self,
        projections: Sequence[type[Projection]],
        store: EventStore,
        sink: Sink,
        personal: PersonalData | None = None,
        *,
        watch: bool = True,
    ) -> None:
        self.sink = sink
        self._projections = tuple(projections)
        self._store = store
        self._personal = personal
        self._views: OrderedDict[ViewKey, View] = OrderedDict()
        self._reread: dict[ViewKey, VersionVector] = {}
        self._recent = Recent(personal.reveal if personal is not None else None) if watch else None
        self.merged = 0
        """Number of events folded so far that were concurrent with one already in the view: conflicts, resolved by the
        CRDTs. Regions may differ in it, as it depends on the order of arrival."""

    @property
    def conflicts(self) -> Counter[tuple[str, str]]:
        """Number of times that a rule has discarded something, by projection and rule, as this engine met it (the exact list
        is `projectors.engine.conflicts`)."""
        return Counter() if self._recent is None else self._recent.met.copy()

    def knows(self, version: str) -> bool:
        """Return whether a projection's version, as records name it, is folded here, or is earlier than one that is."""
        name, _, number = version.rpartition("@")
        return any(
            version == each.name or (name == each.name and number.isdecimal() and int(number) <= each.version)
            for each in self._projections
        )

    def apply(self, events: Iterable[Event]) -> list[Failure]:
        """Bring every view that these events feed up to them. One write per view, however many events it takes.

        Returns the events that could not be digested. Raises RegionUnavailable (LanesWait, once all else is folded);
        applying the same events again is safe.
        """
        lanes: dict[LaneId, list[Event]] = {}
        lane, found = None, list[Event]()
        for event in events:
            if event.lane is not lane:  # those of a lane mostly come together
                lane = event.lane
                found = lanes.setdefault(lane, [])
            found.append(event)
        wanted: dict[StreamId, Wanted] = {}
        strange: dict[LaneId, tuple[int, int]] = {}
        for lane, found in lanes.items():
            if lane.region not in self._store.regions:
                sequences = [event.sequence for event in found]
                strange[lane] = min(sequences), max(sequences)
                continue
            for event in found:
                if event.type == FORGOTTEN:
                    self._destroy(event)
            entry = wanted.get(lane.stream)
            if entry is None:
                entry = wanted[lane.stream] = Wanted()
            entry.add(found, lane.region)
        return self._bring(wanted, strange)

    def catch_up(self, lanes: Mapping[LaneId, int], *, anew: bool = False) -> list[Failure]:
        """Bring the views of these lanes up to their last sequences: read the events from the store, and with `anew` the
        views from the sink. As `apply`."""
        for lane in lanes if anew else ():
            for projection in self._projections:
                self._views.pop(projection.key(lane.stream), None)
        wanted: dict[StreamId, Wanted] = {}
        strange = {lane: (1, last) for lane, last in lanes.items() if lane.region not in self._store.regions}
        for lane, last in lanes.items():
            if lane in strange:
                continue
            if self._personal is not None and not any(each.reads(lane.stream) for each in self._projections):
                self._destroy_in(lane)
            entry = wanted.setdefault(lane.stream, Wanted())
            entry.upto = entry.upto.advance(lane.region, last)
        return self._bring(wanted, strange)

    def _bring(self, wanted: Mapping[StreamId, Wanted], strange: Mapping[LaneId, tuple[int, int]]) -> list[Failure]:
        report = Report(waits=dict(strange))
        streams = iter(wanted.items())
        while part := dict(islice(streams, _STREAMS_AT_ONCE)):  # never more views at once than are kept
            self._bring_some(part, report)
        failures = list(report.failures.values())
        if report.waits:
            strangers = {lane.region: unknown(lane.region, self._store.regions) for lane in sorted(strange)}
            raise LanesWait(report.waits, failures, report.why, strangers)
        return failures

    def _bring_some(self, wanted: Mapping[StreamId, Wanted], report: Report) -> None:
        waiting: dict[ViewKey, tuple[type[Projection], StreamId]] = {
            projection.key(stream): (projection, stream)
            for stream in wanted
            for projection in self._projections
            if projection.reads(stream)
        }

        first = True

        @retry(
            retry=retry_if_result(bool),
            stop=stop_after_attempt(20),
            wait=wait_random_exponential(multiplier=0.01, max=0.5),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        def attempt() -> bool:
            nonlocal first
            lost = self._attempt(waiting, wanted, report, glance=first)
            first = False
            for key in lost:
                self._views.pop(key, None)  # another projector moved this view: read it again
            for key in [key for key in waiting if key not in lost]:
                del waiting[key]
            return bool(waiting)

        if attempt():
            raise RegionUnavailable(f"{len(waiting)} views keep being changed by another projector; try again")

    def _attempt(
        self,
        waiting: Mapping[ViewKey, tuple[type[Projection], StreamId]],
        wanted: Mapping[StreamId, Wanted],
        report: Report,
        glance: bool,
    ) -> set[ViewKey]:
        for key, (projection, stream) in waiting.items():
            if (view := self._views.get(key)) is None:
                continue  # a remembered one is a hint: others may have folded more, and the sink knows what it lost
            if projection.rows or (not wanted[stream].follow(view.vector) and self._reread.get(key) != view.vector):
                del self._views[key]
                self._reread[key] = view.vector  # once: a view that stands still is not read with every batch
        for key in waiting.keys() & self._views.keys():
            self._views.move_to_end(key)  # what is loaded now must not drive it out
        if glance:
            self._glance([key for key in waiting if key not in self._views], waiting, wanted)
        damaged, misfits = self._load([key for key in waiting if key not in self._views], waiting)
        self._begin({waiting[key][1] for key in waiting if key not in self._views and key not in damaged}, wanted)
        changes: list[Change] = []
        passes: dict[ViewKey, Pass] = {}
        spreads: list[Spread] = []
        for key, (projection, stream) in waiting.items():
            if key in damaged:
                report.fail(projection, stream, wanted[stream].upto, EMPTY, damaged[key])
                continue
            view, misfit = self._views.get(key), misfits.get(key)
            held = view or misfit
            before = held.vector if held is not None else None
            try:
                if projection.rows:
                    spreads.append(Spread(projection, stream, view, wanted[stream], before))
                    continue
                moved = self._fold(projection, stream, view, before, wanted[stream], report, passes)
            except (RegionUnavailable, InvalidConfig):
                raise
            except Exception as error:  # errors of a projection's code concern its view alone
                report.fail(
                    projection, stream, wanted[stream].upto, view.vector if view else EMPTY, failed(projection, error)
                )
                continue
            if moved is not None and moved != held:
                changes.append(Change(before, moved))
        lost = self._spread(spreads, changes, report, passes)
        saved, refused = self._save(changes)
        for change, ok in zip(changes, saved, strict=True):
            key = change.view.id
            projection, stream = waiting[key]
            if key in refused:
                seen = EMPTY if key in misfits else change.before or EMPTY
                report.fail(projection, stream, wanted[stream].upto, seen, refused[key])
            elif not ok:
                lost.add(key)
            else:
                self._remember(key, change.view)
                self._count(passes[key], EMPTY if key in misfits else change.before or EMPTY, wanted[stream])
        return lost

    def _save(self, changes: Sequence[Change]) -> tuple[list[bool], dict[ViewKey, str]]:
        """Save each change. Returns which were saved, and the reasons for those that the sink can never accept. Saves one by
        one if it refuses any."""
        if not changes:
            return [], {}
        try:
            return self.sink.save(changes), {}
        except (ViewRefused, *BROKEN) as error:
            if len(changes) == 1:
                why = str(error) if isinstance(error, ViewRefused) else place(error)
                return [False], {changes[0].view.id: f"its view cannot be saved: {why}. {REMEDY}"}
        alone = [self._save([change]) for change in changes]
        return [ok for saved, _ in alone for ok in saved], {key: why for _, each in alone for key, why in each.items()}

    def _begin(self, streams: set[StreamId], wanted: Mapping[StreamId, Wanted]) -> None:
        """Make views that do not exist yet start with all other lanes that are here, including what came before the
        projection. The lanes at hand are pulled up to the events at hand."""
        others = [
            LaneId(region, stream)
            for stream in streams
            for region in self._store.regions
            if not wanted[stream].upto.get(region)
        ]
        for lane, last in self._store.begun(others).items() if others else ():
            entry = wanted[lane.stream]
            entry.upto = entry.upto.advance(lane.region, last)

    def _spread(
        self, spreads: Sequence[Spread], changes: list[Change], report: Report, passes: dict[ViewKey, Pass]
    ) -> set[ViewKey]:
        """Fold into cells and save them. Adds to `changes` how far each stream is folded then; returns the keys of those
        whose cells another projector moved."""
        cells = spread(spreads, self._store, self.sink, self._destroy)
        saved, refused = self._save(cells)
        for key, why in refused.items():
            each = next(each for each in spreads if each.key == key._replace(row=""))
            each.refused = each.refused or why
        ids = [change.view.id for change in cells]
        lost = {key._replace(row="") for key, ok in zip(ids, saved, strict=True) if not ok and key not in refused}
        lost |= {each.key for each in spreads if each.overtaken}
        for each in spreads:
            if each.key in lost or each.upto <= each.seen:
                continue
            if each.refused:
                report.fail(each.projection, each.stream, each.upto, each.seen, each.refused)
                continue
            self._note(each.made, each.projection, report)
            if each.made.seen != each.seen:
                passes[each.key] = each.made
                changes.append(Change(each.before, each.reached()))
        return lost

    def _fold(
        self,
        projection: type[Projection],
        stream: StreamId,
        view: View | None,
        before: VersionVector | None,
        wanted: Wanted,
        report: Report,
        passes: dict[ViewKey, Pass],
    ) -> View | None:
        """Return the view with the wanted events folded in, or None when there is nothing to do. `before` is how far the
        sink has it: a view that counts as absent is folded again, at least up to there."""
        seen = view.vector if view is not None else EMPTY
        upto = wanted.upto.join(before or EMPTY)
        if upto <= seen:
            return None
        states = view.state if view is not None else projection.initial()
        known = forgotten_in(states)
        states, made = self._pass(projection, stream, states, seen, upto, wanted)
        while (gone := forgotten_in(states)) != known:
            known, states = gone, without(projection.initial(), gone)
            states, made = self._pass(projection, stream, states, EMPTY, upto, wanted)
        self._note(made, projection, report)
        if not made.seen and not (gone and view is not None):  # forgotten data goes, even where nothing remains
            return None
        passes[projection.key(stream)] = made
        try:
            folded = projection.view(str(stream), states, made.seen)
            if folded.size <= MAX_VIEW_BYTES:
                return folded
            reason = f"its view would have {folded.size:,} bytes; sinks take {MAX_VIEW_BYTES:,}. Keep less in it"
        except InvalidEvent as error:
            reason = f"its view cannot be serialized: {place(error)}. {REMEDY}"
        except Exception as error:  # a type's own code may raise anything
            reason = failed(projection, error)
        report.fail(projection, stream, upto, seen, reason)
        return None

    def _pass(
        self,
        projection: type[Projection],
        stream: StreamId,
        states: dict[str, Any],
        seen: VersionVector,
        upto: VersionVector,
        wanted: Wanted,
    ) -> tuple[dict[str, Any], Pass]:
        """Fold the events between `seen` and `upto` into `states`, each lane as far as it goes."""
        reveal = self._personal.reveal if self._personal is not None else None

        def fold(event: Event) -> None:
            nonlocal states
            self._destroy(event)
            states = projection.apply(states, event, reveal)

        def fold_run(events: Sequence[Event]) -> bool:
            nonlocal states
            folded = projection.apply_run(states, events)
            if folded is None:
                return False
            states = folded
            return True

        made = fold_lanes(projection, stream, seen, upto, reader(self._store, stream, wanted), fold, fold_run)
        return states, made

    def _note(self, made: Pass, projection: type[Projection], report: Report) -> None:
        for event_id, error in made.stopped:
            if self._personal is not None:  # a later event that says that a subject is forgotten must not wait for a repair
                self._destroy_in(LaneId.from_key(event_id.rpartition(DELIMITER)[0]))
            why = failed(projection, error) if isinstance(error, ProjectionFailed) else str(error)
            report.add(projection, event_id, why)
        report.waits.update(made.waits)
        report.why = f"for keys: {made.why}" if made.why else report.why

    def _count(self, made: Pass, since: VersionVector, wanted: Wanted) -> None:
        """Count the conflicts of the events that are saved now and were not in the view at `since`."""
        self.merged += made.merged
        try:
            if self._recent is not None:
                self._recent.fold(made, since, wanted.events)
        except Exception as error:  # a type's own rule may raise anything; the view is sound, and saved
            log.error("projector.conflicts_not_counted", projection=made.projection.name, error=place(error))

    def _destroy(self, event: Event) -> None:
        """Destroy the keys of a subject in this region before anything is folded or saved of an event that says it is
        forgotten."""
        subject = forgotten_subject(event)
        if subject is not None and self._personal is not None:
            self._personal.destroy(subject)

    def _destroy_in(self, lane: LaneId) -> None:
        """Destroy the keys of the subjects that this lane says are forgotten. It feeds no view, so no fold reads it in
        catch-up."""
        try:
            for event in self._store.read_lane(lane.stream, lane.region):
                self._destroy(event)
        except DamagedEvent as error:
            log.error("erasure.unreadable", lane=lane.key, error=str(error))

    def _glance(
        self,
        keys: Sequence[ViewKey],
        waiting: Mapping[ViewKey, tuple[type[Projection], StreamId]],
        wanted: Mapping[StreamId, Wanted],
    ) -> None:
        """Fetch views by reads that cost half. One that is behind the events at hand is left to be loaded; of any other one
        that was changed meanwhile, the save tells."""
        if not isinstance(self.sink, LoadsCheaply):
            return
        likely = [key for key in keys if wanted[waiting[key][1]].events and not waiting[key][0].rows]
        try:
            found = self.sink.glance(likely) if likely else {}
        except (DamagedEvent, ViewRefused, *BROKEN):
            return
        for key, view in found.items():
            projection, stream = waiting[key]
            if wanted[stream].follow(view.vector) and not projection.misfit(view):
                self._remember(key, view)

    def _load(
        self, keys: Sequence[ViewKey], waiting: Mapping[ViewKey, tuple[type[Projection], StreamId]]
    ) -> tuple[dict[ViewKey, str], dict[ViewKey, View]]:
        """Fetch views. Returns the reasons for those whose rows are damaged, which do not keep the others from being
        fetched; and those that count as absent, as they are of another declaration."""
        found, damaged = load_each(self.sink, keys)
        misfits: dict[ViewKey, View] = {}
        for key, view in found.items():
            projection, stream = waiting[key]
            if why := projection.misfit(view):
                misfits[key] = view
                log.warning("projector.folds_anew", projection=projection.name, stream=str(stream), why=why)
            else:
                self._remember(key, view)
        return damaged, misfits

    def _remember(self, key: ViewKey, view: View) -> None:
        self._views[key] = view
        self._views.move_to_end(key)
        while len(self._views) > max(_VIEWS_KEPT, _STREAMS_AT_ONCE * len(self._projections)):
            key, _ = self._views.popitem(last=False)
            self._reread.pop(key, None)
