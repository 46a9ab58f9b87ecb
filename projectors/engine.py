"""The engine: folds events into views, exactly once, whatever order they come in and however often.

A view's version vector says which events it holds. An event at or below it is skipped; one that leaves a gap makes the
engine pull what is missing from the store; row and vector are saved together, only over the vector that was read.

When it meets a subject that is forgotten, a view is folded anew from the whole history without the subject's personal
fields. Which subjects those are is part of the view's state, so it is the same whenever and wherever it is folded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from tenacity import retry, retry_if_result, stop_after_attempt, wait_random_exponential

from projectors.projection import Projection, ProjectionFailed, forgotten_in, without
from projectors.sink import Change, Sink, ViewKey
from projectors.view import MAX_VIEW_BYTES, View
from replicator.domain.event import Event
from replicator.domain.names import LaneId, StreamId, sequence_key
from replicator.domain.vector import EMPTY, VersionVector
from replicator.erasure import KeyUnavailable, PersonalData, forgotten_subject
from replicator.errors import DamagedEvent, InvalidEvent, RegionUnavailable, place
from replicator.store import EventStore

log = structlog.get_logger()

_VIEWS_KEPT = 20_000


@dataclass(frozen=True, slots=True)
class Failure:
    """An event that a projection cannot digest. The view stays before it; all other views go on."""

    projection: str
    event_id: str
    reason: str


class LanesWait(RegionUnavailable):
    """Some lanes' next events hold personal data whose keys are in a region that does not answer. All else is folded.

    `lanes` are they, from and to which sequence; `failures` is what could not be digested meanwhile. Bringing the same
    events, or catching up with these lanes, is safe at any later time.
    """

    def __init__(self, lanes: Mapping[LaneId, tuple[int, int]], failures: Sequence[Failure], why: str) -> None:
        super().__init__(f"{len(lanes)} lanes wait for keys: {why}")
        self.lanes = dict(lanes)
        self.failures = list(failures)


@dataclass(slots=True)
class _Report:
    """What was not folded, and why."""

    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)
    """By projection and event: a view that is folded again reports once."""
    waits: dict[LaneId, tuple[int, int]] = field(default_factory=dict)
    why: str = ""


@dataclass(slots=True)
class _Pass:
    """A fold of a view's lanes: how far it came, and what stopped it."""

    states: dict[str, Any]
    seen: VersionVector
    merged: int = 0
    stopped: list[tuple[str, ProjectionFailed | DamagedEvent]] = field(default_factory=list)
    waits: dict[LaneId, tuple[int, int]] = field(default_factory=dict)
    why: str = ""


@dataclass(slots=True)
class _Wanted:
    """What a view should come to hold: events at hand, by lane, and the last sequence of each lane."""

    events: dict[str, dict[int, Event]] = field(default_factory=dict)
    upto: VersionVector = EMPTY

    def add(self, event: Event) -> None:
        self.events.setdefault(event.region, {})[event.sequence] = event
        self.upto = self.upto.advance(event.region, event.sequence)


class Engine:
    """Projects one region's store into one sink. With `personal`, events may hold personal data: it is revealed for the
    projections, and destroyed when an event says that its subject is forgotten."""

    def __init__(
        self,
        projections: Sequence[type[Projection]],
        store: EventStore,
        sink: Sink,
        personal: PersonalData | None = None,
    ) -> None:
        self._projections = tuple(projections)
        self._store = store
        self._sink = sink
        self._personal = personal
        self._views: OrderedDict[ViewKey, View] = OrderedDict()
        self.merged = 0
        """Events folded so far that were concurrent with one that the view held already: conflicts, resolved by the CRDTs.
        Regions may differ in it, as it depends on the order of arrival."""

    def apply(self, events: Iterable[Event]) -> list[Failure]:
        """Bring every view that these events feed up to them. One write per view, however many events it takes.

        Returns what could not be digested. Raises RegionUnavailable (LanesWait, once all else is folded); applying the same
        events again is safe.
        """
        wanted: dict[StreamId, _Wanted] = {}
        for event in events:
            self._destroy(event)
            wanted.setdefault(event.stream, _Wanted()).add(event)
        return self._bring(wanted)

    def catch_up(self, lanes: Mapping[LaneId, int]) -> list[Failure]:
        """Bring the views of these lanes up to their last sequences, reading the events from the store. As `apply`."""
        wanted: dict[StreamId, _Wanted] = {}
        read = {projection.stream_type for projection in self._projections}
        for lane, last in lanes.items():
            if self._personal is not None and lane.stream.type not in read:
                self._destroy_in(lane)
            entry = wanted.setdefault(lane.stream, _Wanted())
            entry.upto = entry.upto.advance(lane.region, last)
        return self._bring(wanted)

    def _bring(self, wanted: Mapping[StreamId, _Wanted]) -> list[Failure]:
        waiting: dict[ViewKey, tuple[type[Projection], StreamId]] = {
            (projection.name, str(stream)): (projection, stream)
            for stream in wanted
            for projection in self._projections
            if projection.stream_type == stream.type
        }
        report = _Report()

        @retry(
            retry=retry_if_result(bool),
            stop=stop_after_attempt(20),
            wait=wait_random_exponential(multiplier=0.01, max=0.5),
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        def attempt() -> bool:
            lost = self._attempt(waiting, wanted, report)
            for key in lost:
                self._views.pop(key, None)  # another projector moved this view: read it again
            for key in [key for key in waiting if key not in lost]:
                del waiting[key]
            return bool(waiting)

        if attempt():
            raise RegionUnavailable(f"{len(waiting)} views keep being changed by another projector; try again")
        failures = list(report.failures.values())
        if report.waits:
            raise LanesWait(report.waits, failures, report.why)
        return failures

    def _attempt(
        self,
        waiting: Mapping[ViewKey, tuple[type[Projection], StreamId]],
        wanted: Mapping[StreamId, _Wanted],
        report: _Report,
    ) -> set[ViewKey]:
        damaged = self._load([key for key in waiting if key not in self._views])
        changes: list[Change] = []
        for key, (projection, stream) in waiting.items():
            if key in damaged:
                self._fail(report, projection, stream, wanted[stream].upto, EMPTY, damaged[key])
                continue
            view = self._views.get(key)
            before = view.vector if view is not None else None
            if view is not None and view.version != projection.version:
                view = None  # made by other code: fold the whole history again
            moved = self._fold(projection, stream, view, wanted[stream], before, report)
            if moved is not None and (view is None or moved != view):
                changes.append(Change(before, moved))
        saved = self._sink.save(changes) if changes else []
        lost: set[ViewKey] = set()
        for change, ok in zip(changes, saved, strict=True):
            key = (change.view.projection, change.view.key)
            if ok:
                self._remember(key, change.view)
            else:
                lost.add(key)
        return lost

    def _fold(
        self,
        projection: type[Projection],
        stream: StreamId,
        view: View | None,
        wanted: _Wanted,
        before: VersionVector | None,
        report: _Report,
    ) -> View | None:
        """The view with the wanted events folded in, or None when there is nothing to do."""
        seen = view.vector if view is not None else EMPTY
        upto = wanted.upto.join(before) if before is not None else wanted.upto
        if upto <= seen:
            return None
        states = view.state if view is not None else projection.initial()
        made = self._pass(projection, stream, states, seen, upto, wanted)
        while (gone := forgotten_in(made.states)) != forgotten_in(states):
            states = without(projection.initial(), gone)
            made = self._pass(projection, stream, states, EMPTY, upto, wanted)
        self._note(made, projection, report)
        if not made.seen and not (gone and before is not None):  # what is forgotten goes, even where nothing can stay
            return None
        try:
            folded = projection.view(str(stream), made.states, made.seen)
            if folded.size <= MAX_VIEW_BYTES:
                return folded
            reason = f"its view would have {folded.size:,} bytes; sinks take {MAX_VIEW_BYTES:,}. Keep less in it"
        except InvalidEvent as error:
            reason = f"its view cannot be written down: {place(error)}"
        self._fail(report, projection, stream, upto, view.vector if view is not None else EMPTY, reason)
        return None

    def _pass(
        self,
        projection: type[Projection],
        stream: StreamId,
        states: dict[str, Any],
        seen: VersionVector,
        upto: VersionVector,
        wanted: _Wanted,
    ) -> _Pass:
        """Fold what lies between `seen` and `upto` into `states`, each lane as far as it goes."""
        made = _Pass(states, seen)
        reveal = self._personal.reveal if self._personal is not None else None
        for region, last in upto.beyond(seen).items():
            lane = LaneId(region, stream)
            try:
                for event in self._lane(stream, region, made.seen.get(region) + 1, last, wanted.events.get(region, {})):
                    self._destroy(event)
                    made.states = projection.apply(made.states, event, reveal)
                    made.merged += any(other != region for other, _ in made.seen.beyond(event.observed).items())
                    made.seen = made.seen.advance(region, event.sequence)
            except (ProjectionFailed, DamagedEvent) as error:
                made.stopped.append((f"{lane.key}#{sequence_key(made.seen.get(region) + 1)}", error))
            except KeyUnavailable as error:
                made.waits[lane] = (made.seen.get(region) + 1, last)
                made.why = str(error)
        return made

    def _note(self, made: _Pass, projection: type[Projection], report: _Report) -> None:
        self.merged += made.merged
        for event_id, error in made.stopped:
            reason = error.public if isinstance(error, ProjectionFailed) else str(error)
            log.error("projector.failed", projection=projection.name, event_id=event_id, error=reason)
            report.failures[(projection.name, event_id)] = Failure(projection.name, event_id, reason)
        report.waits.update(made.waits)
        report.why = made.why or report.why

    def _destroy(self, event: Event) -> None:
        """Before anything is folded or saved that says that a subject is forgotten, its keys are gone in this region."""
        subject = forgotten_subject(event)
        if subject is not None and self._personal is not None:
            self._personal.destroy(subject)

    def _destroy_in(self, lane: LaneId) -> None:
        """No view is fed by this lane, so nothing else reads it when it is caught up with."""
        try:
            for event in self._store.read_lane(lane.stream, lane.region):
                self._destroy(event)
        except DamagedEvent as error:
            log.error("erasure.unreadable", lane=lane.key, error=str(error))

    @staticmethod
    def _fail(
        report: _Report,
        projection: type[Projection],
        stream: StreamId,
        upto: VersionVector,
        seen: VersionVector,
        reason: str,
    ) -> None:
        """Note that a whole view stands still, by the first event that it lacks: later events do not change that."""
        region, _ = next(upto.beyond(seen).items())
        event_id = f"{LaneId(region, stream).key}#{sequence_key(seen.get(region) + 1)}"
        log.error("projector.failed", projection=projection.name, event_id=event_id, error=reason)
        report.failures[(projection.name, event_id)] = Failure(projection.name, event_id, reason)

    def _lane(self, stream: StreamId, region: str, first: int, last: int, at_hand: Mapping[int, Event]) -> Iterable[Event]:
        """Events `first` to `last` of a lane: those at hand, and what is missing among them from the store."""
        sequence = first
        while sequence <= last:
            event = at_hand.get(sequence)
            if event is not None:
                yield event
                sequence += 1
                continue
            ready = min((s for s in at_hand if s > sequence), default=last + 1)
            end = min(ready - 1, last)
            for event in self._store.read_lane(stream, region, sequence, end):  # lazily: what comes before damage is good
                yield event
                sequence = event.sequence + 1
            if sequence <= end:
                return  # not here yet: its own arrival will bring it

    def _load(self, keys: Sequence[ViewKey]) -> dict[ViewKey, str]:
        """Fetch views. Returns why, for those whose rows are damaged: they stand alone, the others are fetched."""
        damaged: dict[ViewKey, str] = {}
        if not keys:
            return damaged
        try:
            found = dict(self._sink.load(keys))
        except DamagedEvent:
            found = {}
            for key in keys:
                try:
                    found.update(self._sink.load([key]))
                except DamagedEvent as error:
                    damaged[key] = str(error)
        for key, view in found.items():
            self._remember(key, view)
        return damaged

    def _remember(self, key: ViewKey, view: View) -> None:
        self._views[key] = view
        self._views.move_to_end(key)
        while len(self._views) > _VIEWS_KEPT:
            self._views.popitem(last=False)
