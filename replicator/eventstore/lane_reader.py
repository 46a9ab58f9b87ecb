"""Lane reader: reads a region's lanes, verifies their hash chains, merges them into streams, and advances the clock."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Sequence
from itertools import islice

import structlog

from replicator.domain.clock import HybridLogicalClock
from replicator.domain.errors import ClockAhead, DamagedEvent, check_limit
from replicator.domain.event import GENESIS, Event
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY, VersionVector
from replicator.eventstore.storage import LaneStorage

log = structlog.get_logger()


class LaneReader:
    """Reads every lane that has arrived in one region. Safe to share between threads."""

    def __init__(self, storage: LaneStorage, region: str, regions: Sequence[str], clock: HybridLogicalClock) -> None:
        self.region = region
        self.regions = tuple(sorted({region, *regions}))
        self._storage = storage
        self._clock = clock

    def read_lane(
        self,
        stream: StreamId | str,
        region: str | None = None,
        first: int = 1,
        last: int | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Event]:
        """Read one region's lane of `stream` as stored here, from `first` to `last`, both included, a page at a time.

        Every event's digest and its chain to its neighbour are verified on the way. Raises DamagedEvent, and
        InvalidOperation for a limit below 1.
        """
        check_limit(limit)
        return self._lane(LaneId(region or self.region, StreamId.of(stream)), max(first, 1), last, limit, reverse)

    def _lane(self, lane: LaneId, first: int, last: int | None, limit: int | None, reverse: bool) -> Iterator[Event]:
        neighbour: Event | None = None
        count = 0
        for event in self._storage.read(lane, first, last, limit=limit, reverse=reverse):
            if neighbour is not None:
                _check_chain(event, neighbour) if reverse else _check_chain(neighbour, event)
            elif not reverse and event.sequence != first:
                raise DamagedEvent(f"lane {lane} begins at {event.sequence}, not at {first}: events before it are missing")
            if event.sequence == 1 and event.prev != GENESIS:
                raise DamagedEvent(f"event {event.id} claims a past before the first event: its digest chain is broken")
            neighbour, count = event, count + 1
            self._observe(event)
            yield event
        if reverse and neighbour is not None and neighbour.sequence != first and (limit is None or count < limit):
            raise DamagedEvent(f"lane {lane} ends at {neighbour.sequence}, not at {first}: events before it are missing")

    def read(
        self,
        stream: StreamId | str,
        after: VersionVector = EMPTY,
        upto: VersionVector | None = None,
        *,
        limit: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Event]:
        """Read the stream's events from all lanes, merged in HLC order: the same order in every region.

        Leaves out what `after` covers, and what lies beyond `upto` when that is given. Lazy: lanes are read a page at
        a time as the events are taken. Raises as `read_lane`.
        """
        check_limit(limit)
        name = StreamId.of(stream)
        lanes = [
            self.read_lane(
                name, region, after.get(region) + 1, None if upto is None else upto.get(region),
                limit=limit, reverse=reverse,
            )
            for region in self.regions
            if upto is None or upto.get(region) > after.get(region)
        ]  # fmt: skip
        return islice(heapq.merge(*lanes, key=lambda event: event.order, reverse=reverse), limit)

    def merged(
        self, stream: StreamId, after: VersionVector, upto: VersionVector, pulled: Sequence[Event]
    ) -> Iterator[Event]:
        """Read as `read` does, merged with events that were fetched from other regions."""
        extra = sorted((e for e in pulled if not after.covers(e.region, e.sequence)), key=lambda event: event.order)
        here = upto
        for event in extra:
            here = here.capped(event.region, event.sequence - 1)
        extra = [event for event in extra if upto.covers(event.region, event.sequence)]
        yield from heapq.merge(self.read(stream, after, here), extra, key=lambda event: event.order)

    def latest(self, stream: StreamId | str, region: str | None = None) -> Event | None:
        """Return the last event of one region's lane (this region's unless given), or None when it is empty."""
        return next(self.read_lane(stream, region, limit=1, reverse=True), None)

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        """Return every lane that has arrived here, with its last sequence. Reads all keys: for reconciliation, not for
        requests."""
        return self._storage.lanes()

    def begun(self, lanes: Collection[LaneId]) -> dict[LaneId, int]:
        """Return those of these lanes that have any event here, with their last sequences. For a damaged lane: the sequence
        of the first event that cannot be read, so that a reader of the lane finds it."""
        try:
            found = {lane for lane, _ in self._storage.get([(lane, 1) for lane in lanes])}
        except DamagedEvent:
            found = set(lanes)
        return {lane: last for lane in found if (last := self._last(lane))}

    def _last(self, lane: LaneId) -> int:
        try:
            event = self.latest(lane.stream, lane.region)
            return event.sequence if event is not None else 0
        except DamagedEvent:
            return self._damage(lane)

    def _damage(self, lane: LaneId) -> int:
        good = 0
        try:
            for event in self.read_lane(lane.stream, lane.region):
                good = event.sequence
        except DamagedEvent:
            return good + 1
        return good

    def _observe(self, event: Event) -> None:
        try:
            self._clock.observe(event.hlc)
        except ClockAhead as error:
            # Reading continues; an append that declares this event as observed is refused until a clock is corrected.
            log.warning("clock.ahead", region=self.region, event_id=event.id, error=str(error))


def _check_chain(before: Event, after: Event) -> None:
    if after.sequence != before.sequence + 1:
        raise DamagedEvent(f"lane {after.lane} goes from {before.sequence} to {after.sequence}: events between are missing")
    if after.prev != before.digest:
        raise DamagedEvent(f"event {after.id} does not follow {before.id}: the digest chain is broken between them")
