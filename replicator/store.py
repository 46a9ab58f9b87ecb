"""The event store of one region: append, read, resolve. Everything here is built on the few verbs of LaneStorage."""

from __future__ import annotations

import heapq
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from threading import Condition, Lock

import structlog

from replicator.domain.clock import HybridLogicalClock
from replicator.domain.event import GENESIS, NO_EVENTS, Event, Head, NewEvent, Observed, seal, size_of
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY, VersionVector
from replicator.errors import AppendContention, ClockAhead, DamagedEvent, InvalidEvent, LaneTaken, OutcomeUnknown
from replicator.retries import contention
from replicator.settings import Settings
from replicator.storage import MAX_TRANSACTION, MAX_TRANSACTION_BYTES, LaneStorage

log = structlog.get_logger()

_HEADS_KEPT = 100_000


def wall_clock() -> int:
    """The machine's time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Write:
    """Events to append to one stream, and what their writer had observed of it."""

    stream: StreamId
    events: tuple[NewEvent, ...]
    observed: Observed = field(default_factory=Observed)


class _BusyLanes:
    """Appends of one process to the same lanes take turns: only other processes are contention."""

    def __init__(self) -> None:
        self._held: set[LaneId] = set()
        self._changed = Condition()

    @contextmanager
    def hold(self, lanes: Collection[LaneId]) -> Iterator[None]:
        """Wait until none of `lanes` is held, then hold all of them. All at once, so nothing can deadlock."""
        with self._changed:
            self._changed.wait_for(lambda: self._held.isdisjoint(lanes))
            self._held.update(lanes)
        try:
            yield
        finally:
            with self._changed:
                self._held.difference_update(lanes)
                self._changed.notify_all()


class EventStore:
    """Append to this region's lanes; read every lane that has arrived here. Safe to share between threads.

    `regions` are all regions of the system: a stream is read by merging their lanes.
    """

    def __init__(
        self,
        storage: LaneStorage,
        region: str,
        regions: Sequence[str],
        clock: HybridLogicalClock | None = None,
        attempts: int = 10,
    ) -> None:
        self.region = region
        self.regions = tuple(sorted({region, *regions}))
        self._storage = storage
        self._clock = clock or HybridLogicalClock(wall_clock)
        self._attempts = attempts
        self._heads: OrderedDict[LaneId, Head] = OrderedDict()
        self._lock = Lock()
        self._busy = _BusyLanes()

    @classmethod
    def connect(cls, settings: Settings, clock: HybridLogicalClock | None = None) -> EventStore:
        """The event store of the settings' own region, on DynamoDB."""
        from replicator.dynamodb import DynamoStorage

        return cls(DynamoStorage(settings), settings.region, settings.regions, clock)

    # -- writing ---------------------------------------------------------------------------------------------------

    def append(self, stream: StreamId | str, *events: NewEvent, observed: Observed | None = None) -> tuple[Event, ...]:
        """Append up to 100 events to this region's lane of `stream`, all or none. One round trip when the head is known.

        `observed` is what the writer has seen of the stream (`Observed.of(events)`); the new events record it and sort
        after it. Returns the events as stored. Raises InvalidName or InvalidEvent before anything is written,
        ClockAhead when what was observed is too far ahead of this machine's clock, AppendContention or
        RegionUnavailable when nothing was written, OutcomeUnknown when nobody can tell yet (see `resolve`).
        """
        return self.append_all([Write(_stream(stream), events, observed or Observed())])

    def append_all(self, writes: Sequence[Write]) -> tuple[Event, ...]:
        """Append to several streams of this region in one transaction, at most 100 events in all. Errors as `append`."""
        count = sum(len(write.events) for write in writes)
        if not 1 <= count <= MAX_TRANSACTION:
            raise InvalidEvent(f"{count} events in one append; give 1 to {MAX_TRANSACTION}, or append in several calls")

        lanes = {LaneId(self.region, write.stream) for write in writes}

        def once() -> tuple[Event, ...]:
            sealed = self._seal(writes)
            size = sum(size_of(event) for event in sealed)
            if size > MAX_TRANSACTION_BYTES:
                raise InvalidEvent(
                    f"{count} events of {size:,} bytes in one append; the limit is 4 MB ({MAX_TRANSACTION_BYTES:,} bytes) "
                    "together. Append in several calls"
                )
            try:
                self._storage.insert(sealed)
            except LaneTaken as error:
                self._forget(error.lanes)
                raise
            except OutcomeUnknown:
                self._forget(lanes)
                raise
            self._remember(sealed)
            return sealed

        try:
            with self._busy.hold(lanes):
                return contention(self._attempts)(once)
        except LaneTaken as error:
            raise AppendContention(
                f"gave up after {self._attempts} attempts: {error}. Spread the writes over more streams, or try again"
            ) from error

    def resolve(self, events: Sequence[Event]) -> bool:
        """Settle an OutcomeUnknown: True when its events are in the lane, now for certain; False when they never will be.

        It writes the same events again: where they had landed that is a no-op, and where another writer has taken
        their place they can never land. May itself raise RegionUnavailable or OutcomeUnknown; call it again later.
        """
        try:
            self._storage.insert(events)
        except LaneTaken:
            return False
        finally:
            self._forget({event.lane for event in events})
        return True

    def _seal(self, writes: Sequence[Write]) -> tuple[Event, ...]:
        sealed: list[Event] = []
        heads: dict[LaneId, Head] = {}
        for write in writes:
            lane = LaneId(self.region, write.stream)
            for new in write.events:
                head = heads.get(lane) or self._head(lane)
                stamp = self._clock.tick(after=max(head.hlc, write.observed.hlc))
                observed = write.observed.vector.advance(self.region, head.sequence) if head.sequence else (
                    write.observed.vector
                )  # fmt: skip
                event = seal(lane, head.sequence + 1, stamp, new, observed, head.digest)
                heads[lane] = Head.of(event)
                sealed.append(event)
        return tuple(sealed)

    def _head(self, lane: LaneId) -> Head:
        with self._lock:
            known = self._heads.get(lane)
            if known is not None:
                self._heads.move_to_end(lane)
                return known
        return Head.of(next(self._storage.read(lane, limit=1, reverse=True), None))

    def _remember(self, events: Sequence[Event]) -> None:
        with self._lock:
            for event in events:
                if event.sequence > self._heads.get(event.lane, NO_EVENTS).sequence:
                    self._heads[event.lane] = Head.of(event)
                self._heads.move_to_end(event.lane)
            while len(self._heads) > _HEADS_KEPT:
                self._heads.popitem(last=False)

    def _forget(self, lanes: Collection[LaneId]) -> None:
        with self._lock:
            for lane in lanes:
                self._heads.pop(lane, None)

    # -- reading ---------------------------------------------------------------------------------------------------

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
        """One region's lane of `stream` as it is here, from `first` to `last`, both included, a page at a time.

        Every event's digest and its chain to its neighbour are checked on the way. Raises DamagedEvent.
        """
        lane = LaneId(region or self.region, _stream(stream))
        first = max(first, 1)
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
        """The stream's events from all lanes, merged in HLC order: the same order in every region.

        Only what `after` does not cover, and nothing beyond `upto` when that is given. Lazy: lanes are read a page at
        a time as the events are taken.
        """
        name = _stream(stream)
        lanes = [
            self.read_lane(
                name, region, after.get(region) + 1, None if upto is None else upto.get(region),
                limit=limit, reverse=reverse,
            )
            for region in self.regions
            if upto is None or upto.get(region) > after.get(region)
        ]  # fmt: skip
        yield from islice(heapq.merge(*lanes, key=lambda event: event.order, reverse=reverse), limit)

    def latest(self, stream: StreamId | str, region: str | None = None) -> Event | None:
        """The last event of one region's lane (this region's unless given), or None when it is empty."""
        return next(self.read_lane(stream, region, limit=1, reverse=True), None)

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        """Every lane that has arrived here, with its last sequence. Reads all keys: for reconciling, not for requests."""
        return self._storage.lanes()

    def _observe(self, event: Event) -> None:
        try:
            self._clock.observe(event.hlc)
        except ClockAhead as error:
            # Reading goes on; an append that says it observed this event is refused until a clock is corrected.
            log.warning("clock.ahead", region=self.region, event_id=event.id, error=str(error))


def _check_chain(before: Event, after: Event) -> None:
    if after.sequence != before.sequence + 1:
        raise DamagedEvent(f"lane {after.lane} goes from {before.sequence} to {after.sequence}: events between are missing")
    if after.prev != before.digest:
        raise DamagedEvent(f"event {after.id} does not follow {before.id}: the digest chain is broken between them")


def _stream(stream: StreamId | str) -> StreamId:
    return stream if isinstance(stream, StreamId) else StreamId.parse(stream)
