"""The event store of one region: append, read, resolve. Everything here is built on the few verbs of LaneStorage."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import reduce
from itertools import islice

import structlog

from replicator.appending import Appender, Write, WriteFence
from replicator.control import Guard
from replicator.domain.clock import HybridLogicalClock
from replicator.domain.event import GENESIS, Event, Head, NewEvent, Observed
from replicator.domain.names import LaneId, StreamId
from replicator.domain.token import ConsistencyToken, TokenCodec
from replicator.domain.vector import EMPTY, VersionVector
from replicator.errors import ClockAhead, DamagedEvent, InvalidEvent, InvalidToken, check_limit
from replicator.freshness import Peer, Puller
from replicator.operation import Operation, Result
from replicator.saving import Saving
from replicator.state import StreamState
from replicator.storage import MAX_EVENTS, LaneStorage
from replicator.wallclock import wall_clock

log = structlog.get_logger()


class EventStore:
    """Append to this region's lanes; read every lane that has arrived here. Safe to share between threads.

    `regions` are all regions of the system: a stream is read by merging their lanes. `peer` gives the storage of another
    region, for reads that must see what has not arrived here; `tokens` writes and reads consistency tokens; `fence` lets
    appends through while the region is active (none: always); `nonce` makes texts that nobody else makes.
    """

    def __init__(
        self,
        storage: LaneStorage,
        region: str,
        regions: Sequence[str],
        clock: HybridLogicalClock | None = None,
        attempts: int = 10,
        *,
        peer: Peer | None = None,
        tokens: TokenCodec | None = None,
        fence: WriteFence | None = None,
        nonce: Callable[[], str] | None = None,
    ) -> None:
        self.region = region
        self.regions = tuple(sorted({region, *regions}))
        self.tokens = tokens or TokenCodec("meridian")
        self._storage = storage
        self._clock = clock or HybridLogicalClock(wall_clock)
        self._appender = Appender(storage, region, self._clock, attempts, nonce, fence)
        self._puller = Puller([each for each in self.regions if each != region], peer)

    # -- writing ---------------------------------------------------------------------------------------------------

    def append(self, stream: StreamId | str, *events: NewEvent, observed: Observed | None = None) -> tuple[Event, ...]:
        """Append up to 98 events (MAX_EVENTS) to this region's lane of `stream`, all or none. One round trip when the head
        is known.

        `observed` is what the writer has seen of the stream (`Observed.of(events)`); the new events record it and sort
        after it. Returns the events as stored. Raises InvalidName or InvalidEvent before anything is written, ClockAhead
        when what was observed is too far ahead of this machine's clock, RegionFenced (a RegionUnavailable) when the region
        takes no appends, AppendContention or RegionUnavailable when nothing was written, OutcomeUnknown when nobody can
        tell yet (see `resolve`).
        """
        return self.append_all([Write(StreamId.of(stream), events, observed or Observed())])

    def append_all(self, writes: Sequence[Write]) -> tuple[Event, ...]:
        """Append to several streams of this region in one transaction, at most 98 events (MAX_EVENTS) in all. Errors as
        `append`."""
        count = sum(len(write.events) for write in writes)
        if not 1 <= count <= MAX_EVENTS:
            raise InvalidEvent(f"{count} events in one append; give 1 to {MAX_EVENTS}, or append in several calls")
        return self._appender.append({write.stream for write in writes}, lambda: writes)

    def save(self, *operations: Operation, timeout: float = 2.0, guards: Sequence[Guard] = ()) -> Result:
        """Carry out operations on different streams of this region in one transaction, all of them or none: at most 98
        events (MAX_EVENTS) in all, with those that preconditions add. `guards` are checked with it: at most one.

        Returns Saved, Rejected or GaveUp. A stream that gets no event is judged but not held: it may move before the
        write. What tokens name and this region lacks is pulled, for at most `timeout` seconds in all. Raises
        NotHereYet, InvalidToken, InvalidOperation, GuardFailed and ClockAhead when nothing was written; other errors as
        `append`.
        """
        return Saving(self, self._appender, operations, timeout).run(guards)

    def resolve(self, events: Sequence[Event]) -> bool:
        """Settle an OutcomeUnknown: True when its events are in the lane, now for certain; False when they never will be.

        It writes the same events again, under the guards that they carry (give `error.events` itself): where they had
        landed that is a no-op, and where another writer has taken their place, or a guard holds no more, they can never
        land. May itself raise RegionUnavailable or OutcomeUnknown; call it again later.
        """
        return self._appender.resolve(events)

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

        Every event's digest and its chain to its neighbour are checked on the way. Raises DamagedEvent, and InvalidOperation
        for a limit below 1.
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
        """The stream's events from all lanes, merged in HLC order: the same order in every region.

        Only what `after` does not cover, and nothing beyond `upto` when that is given. Lazy: lanes are read a page at
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

    def token(self, given: ConsistencyToken | str) -> ConsistencyToken:
        """The token that a text is. Raises InvalidToken, also for one that names a region unknown here."""
        token = self.tokens.decode(given) if isinstance(given, str) else given
        strange = {region for vector in token.vectors.values() for region, _ in vector.items()} - set(self.regions)
        if strange:
            raise InvalidToken(
                f"the token names {', '.join(sorted(strange))}, which is no region of this system as {self.region} knows it "
                f"({', '.join(self.regions)}); add it to the peers, or read anew"
            )
        return token

    def join(self, *given: ConsistencyToken | str | None) -> ConsistencyToken:
        """The least token that names everything that these do, None being none. Raises InvalidToken."""
        return reduce(ConsistencyToken.join, (self.token(each) for each in given if each is not None), ConsistencyToken())

    def state(
        self, stream: StreamId | str, at_least: ConsistencyToken | str | None = None, timeout: float = 2.0
    ) -> StreamState:
        """The stream as it is here now, with at least what the token names: what is missing is pulled from other regions.

        Raises NotHereYet when that takes longer than `timeout` seconds.
        """
        name = StreamId.of(stream)
        return self.cut(name, self.pull(name, at_least, timeout), at_least)

    def pull(self, stream: StreamId, at_least: ConsistencyToken | str | None, timeout: float = 2.0) -> tuple[Event, ...]:
        """What the token names of the stream and is not here, from the regions that have it. Raises NotHereYet."""
        wanted = EMPTY if at_least is None else self.token(at_least).vector(stream)
        if not wanted:
            return ()
        return self._puller.bring(stream, wanted, lambda: self._ends(stream), timeout)

    def _ends(self, stream: StreamId) -> dict[str, Head]:
        return {region: Head.of(self.latest(stream, region)) for region in self.regions}

    def cut(self, stream: StreamId, pulled: Sequence[Event] = (), seen: ConsistencyToken | str | None = None) -> StreamState:
        """The stream as it is here now, with `pulled` on top; its next event sorts after all of it and after `seen`."""
        here = self._ends(stream)
        ends, following = dict(here), []
        for event in sorted(pulled, key=lambda event: event.sequence):
            # What has arrived here since is read here; what follows something else than is here counts for nothing.
            end = ends[event.region]
            if event.sequence == end.sequence + 1 and event.prev == end.digest:
                ends[event.region] = Head.of(event)
                following.append(event)
        latest = max(end.hlc for end in ends.values())
        vector = VersionVector({region: end.sequence for region, end in ends.items()})
        known = Observed(vector, latest if seen is None else max(latest, self.token(seen).hlc))
        return StreamState(self, stream, known, here[self.region], following, latest)

    def merged(
        self, stream: StreamId, after: VersionVector, upto: VersionVector, pulled: Sequence[Event]
    ) -> Iterator[Event]:
        """`read`, with events on top that were pulled from other regions."""
        extra = sorted((e for e in pulled if not after.covers(e.region, e.sequence)), key=lambda event: event.order)
        here = upto
        for event in extra:
            here = here.capped(event.region, event.sequence - 1)
        extra = [event for event in extra if upto.covers(event.region, event.sequence)]
        yield from heapq.merge(self.read(stream, after, here), extra, key=lambda event: event.order)

    def latest(self, stream: StreamId | str, region: str | None = None) -> Event | None:
        """The last event of one region's lane (this region's unless given), or None when it is empty."""
        return next(self.read_lane(stream, region, limit=1, reverse=True), None)

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        """Every lane that has arrived here, with its last sequence. Reads all keys: for reconciling, not for requests."""
        return self._storage.lanes()

    def begun(self, lanes: Collection[LaneId]) -> dict[LaneId, int]:
        """Those of these lanes that have any event here, with their last sequences; where one is damaged, with the sequence
        of the first event that cannot be read, so that whoever reads the lane finds it."""
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
            # Reading goes on; an append that says it observed this event is refused until a clock is corrected.
            log.warning("clock.ahead", region=self.region, event_id=event.id, error=str(error))


def _check_chain(before: Event, after: Event) -> None:
    if after.sequence != before.sequence + 1:
        raise DamagedEvent(f"lane {after.lane} goes from {before.sequence} to {after.sequence}: events between are missing")
    if after.prev != before.digest:
        raise DamagedEvent(f"event {after.id} does not follow {before.id}: the digest chain is broken between them")
