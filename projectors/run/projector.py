"""Policy of a projector: decides what becomes of a region's events on their way into its views.

A driver hands over records of the stream and parts of backlogs: a long-running worker (projectors/run/worker.py), or a
function's invocation (projectors/run/invocation.py). What they share, and what holds for both, is here: folding into every
sink, refused records, failures, lanes that wait, unknown regions, claims, quarantine and metrics.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import structlog

from projectors.engine.engine import Engine
from projectors.engine.failures import Failure
from projectors.run.feed import SLICE, Feed, Folded, whole
from projectors.run.view_quarantine import Poison, entries
from replicator.claims.settler import Settler
from replicator.control.backlog import Part
from replicator.control.quarantine import sequences_of
from replicator.domain.errors import DamagedEvent, RegionUnavailable
from replicator.domain.event import Event
from replicator.domain.names import LaneId, StreamId
from replicator.eventstore.store import EventStore
from replicator.replication.refusals import Refusals
from replicator.replication.stream_records import Record, Refused, read_records
from replicator.runtime.time_left import Fits
from replicator.runtime.wall_clock import wall_clock

log = structlog.get_logger()

LOOK_SECONDS = 60.0
"""Seconds between attempts at lanes in quarantine, and between checks of backlogs that other processes may have filled."""


class Projector:
    """Projects one region's events. `feeds` are its sinks: the first is what readers see. `wall` is in milliseconds."""

    def __init__(
        self,
        store: EventStore,
        feeds: Sequence[Feed],
        poison: Poison,
        refusals: Refusals,
        settler: Settler | None = None,
        wall: Callable[[], int] = wall_clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.region = store.region
        self.store = store
        self.feeds = tuple(feeds)
        self._poison = poison
        self._refusals = refusals
        self._settler = settler
        self._wall, self._monotonic = wall, monotonic
        self._looked = -math.inf

    # -- events ------------------------------------------------------------------------------------------------------

    def project(self, records: Sequence[Record]) -> list[Event]:
        """Fold these records of the stream into every sink. Returns the events when those that wait could not be recorded:
        they must come again. Raises RegionUnavailable for the same reason."""
        events, refused = read_records(records)
        with self._counting() as values:
            found = Folded()
            projected = len(events)
            for number, feed in enumerate(self.feeds):
                folded = feed.apply(events)
                found.add(folded)
                if folded.down and not number:
                    projected = 0
            self._settle(event.stream for event in events)
            self._record(found, refused)
            values |= {"EventsProjected": projected, "ProjectionFailures": _refused(found.failures, refused)}
            if events:
                values["ProjectionLag"] = max(0, self._wall() - min(event.hlc.ms for event in events))
        self._refusals.report(now=bool(found.failures or refused))
        return events if found.lost else []

    def reconcile(self) -> None:
        """Compare every lane with every sink, as the stream may have lost records. Raises RegionUnavailable when lanes that
        wait could not be recorded."""
        lanes = dict(self.store.lanes())
        log.info("projector.reconciles", region=self.region, lanes=len(lanes))
        with self._counting():
            found = Folded()
            for feed in self.feeds:
                found.add(feed.catch_up(lanes, self._wall()))
            self._settle(lane.stream for lane in lanes)
            self._record(found)
        if found.lost:
            raise RegionUnavailable(f"{len(found.waits)} lanes can be neither folded nor put on a backlog")

    # -- backlogs ----------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Bring the next part of each backlog up to date. Returns whether there may be more to do at once."""
        more = [feed.step(partial(self.bring, feed)) for feed in self.feeds]
        return any(more)

    def drain(self, fits: Fits) -> None:
        """Go once round each backlog, while the time `fits`."""
        for feed in self.feeds:
            feed.rounds.drain(partial(self.bring, feed, fits=fits), lambda feed=feed: not feed.rests and fits())  # type: ignore[misc]

    def bring(self, feed: Feed, part: Part, fits: Fits = lambda: True) -> Collection[LaneId]:
        """Bring these lanes up to what is here, while the time `fits`. Returns the lanes that cannot be done now and wait
        on.

        Raises RegionUnavailable when the backlog does not accept them: the part is still there then.
        """

        ends: dict[LaneId, int] = {}

        def catch_up(engine: Engine, lanes: Sequence[LaneId]) -> list[Failure]:
            if not feed.name:
                self._settle(lane.stream for lane in lanes)
            ends.update({lane: self._last(lane, part.lanes[lane][1]) for lane in lanes})
            return engine.catch_up({lane: ends[lane] for lane in lanes})

        with self._counting() as values:
            brought = feed.bring(part, catch_up, fits)
            left = {*brought.failed, *brought.rest}
            done = {lane: last for lane, last in ends.items() if lane not in left}
            for other in self.feeds[1:] if not feed.name else ():  # a pointer to the views is one to every sink's
                brought.found.add(other.catch_up(done, part.since))
            if brought.found.lost:
                raise RegionUnavailable("changes for secondary sinks cannot be put on their backlogs")
            self._record(brought.found, replayed=part.causes)
            mended = self._mend(done)
            feed.backlog.done(part, brought.failed, brought.rest)
            values["ProjectionFailures"] = _refused(brought.found.failures)
            values["ProjectionLag"] = max(0, self._wall() - part.since) if left else 0
        self._refusals.report(now=mended or bool(brought.found.failures))
        return left

    def _last(self, lane: LaneId, named: int) -> int:
        """Return the lane's last sequence: events behind the pointer wait with it, so the whole lane is brought."""
        try:
            last = self.store.latest(lane.stream, lane.region)
        except DamagedEvent:
            return named  # the fold reports it, for this lane alone
        return max(named, last.sequence if last is not None else 0)

    # -- quarantine ----------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Release mended lanes and regions that are known now from quarantine, at intervals, and check whether other
        processes have put lanes on the backlogs."""
        self._refusals.report()
        if self._monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = self._monotonic()
        for feed in self.feeds:
            feed.rounds.behind = True
        if not self.feeds[0].backlog.mine:
            return
        self._poison.meet(self.store.regions)
        if self._mend():
            self._refusals.report(now=True)

    def _mend(self, lanes: Collection[LaneId] | None = None) -> bool:
        """Try lanes in quarantine again in every sink, these or some of all, and release the records of what is folded.
        Returns whether there were any."""
        knows = self.feeds[0].engine.knows
        listed = self._poison.next(SLICE, knows) if lanes is None else self._poison.of_lanes(lanes, knows)
        names = sorted(listed, key=lambda lane: lane.key)
        if not names:
            return False
        ends = {lane: self._last(lane, max(sequences_of(listed[lane]), default=1)) for lane in names}
        found = Folded()
        for feed in self.feeds:
            rests = Folded(waits=whole(ends)) if feed.rests else None
            found.add(rests or feed.attempt(lambda engine: engine.catch_up(ends, anew=True), lambda: whole(ends)))
        self._record(found)
        again = {each.key for each in found.failures}
        done = [lane for lane in names if lane not in found.waits]
        self._poison.release({key: value for each in done for key, value in listed[each].items() if key not in again})
        return True

    # -- metrics -----------------------------------------------------------------------------------------------------

    def _settle(self, streams: Iterable[StreamId]) -> None:
        if self._settler is not None:
            self._settler.settle_all(streams)

    def _record(
        self, found: Folded, refused: Sequence[Refused] = (), replayed: Collection[LaneId] = ()
    ) -> None:  # fmt: skip
        self._refusals.suspect(refused)
        self._poison.record(list(entries(refused, found.failures, found.strangers)), replayed)

    @contextmanager
    def _counting(self) -> Iterator[dict[str, float]]:
        """Emit these values, and the events merged and discarded meanwhile."""
        engine = self.feeds[0].engine
        merged, discarded = engine.merged, engine.conflicts
        values: dict[str, float] = {}
        yield values
        if values:
            self._refusals.emit({"region": self.region}, {**values, "ConflictsMerged": engine.merged - merged})
        for (projection, rule), count in sorted((engine.conflicts - discarded).items()):
            log.info("projector.conflicts", region=self.region, projection=projection, rule=rule, discarded=count)
            told = {"region": self.region, "projection": projection, "rule": rule}
            self._refusals.emit(told, {"ConflictsDiscarded": count})


def _refused(failures: Iterable[Failure], refused: Sequence[Refused] = ()) -> int:
    """Return the number of refused events: one that several projections or sinks cannot process counts once."""
    return len({each.event_id for each in failures}) + len(refused)
