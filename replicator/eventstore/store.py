"""Event store of one region: append, read, resolve. A facade: LaneReader reads lanes, StreamReader reads streams, Appender
writes, all on the few verbs of LaneStorage."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from replicator.control.control_storage import Guard
from replicator.domain.clock import HybridLogicalClock
from replicator.domain.errors import InvalidEvent
from replicator.domain.event import Event, NewEvent, Observed
from replicator.domain.names import LaneId, StreamId
from replicator.domain.token import ConsistencyToken, TokenCodec
from replicator.domain.vector import EMPTY, VersionVector
from replicator.eventstore.appender import Appender, AppendPolicy, Write
from replicator.eventstore.durability import WITHIN_SECONDS, Appended, Durability
from replicator.eventstore.lane_reader import LaneReader
from replicator.eventstore.operations import Operation, Result, Saved
from replicator.eventstore.read_repair import Peer, Puller
from replicator.eventstore.storage import MAX_EVENTS, LaneStorage
from replicator.eventstore.stream_reader import StreamReader
from replicator.eventstore.stream_state import StreamState
from replicator.eventstore.tokens import Tokens
from replicator.eventstore.transaction import Saving
from replicator.eventstore.whereabouts import Locator, Whereabouts
from replicator.runtime.wall_clock import wall_clock


class EventStore:
    """Appends to this region's lanes and reads every lane that has arrived here. Safe to share between threads.

    `regions` are all regions of the system: a stream is read by merging their lanes. `peer` returns the storage of another
    region, for reads that need what has not arrived here; `tokens` encodes and decodes consistency tokens.
    """

    def __init__(
        self,
        storage: LaneStorage,
        region: str,
        regions: Sequence[str],
        clock: HybridLogicalClock | None = None,
        *,
        peer: Peer | None = None,
        tokens: TokenCodec | None = None,
        appends: AppendPolicy | None = None,
    ) -> None:
        clock = clock or HybridLogicalClock(wall_clock)
        self.region = region
        self.tokens = tokens or TokenCodec("meridian")
        self._lanes = LaneReader(storage, region, regions, clock)
        self.regions = self._lanes.regions
        puller = Puller([each for each in self.regions if each != region], peer)
        self._streams = StreamReader(self._lanes, Tokens(self.tokens, region, self.regions), puller)
        appends = appends or AppendPolicy()
        self._appender = Appender(storage, region, clock, appends)
        self._durability = appends.durability or Durability(region)
        running = self._durability.peers if appends.durability else [each for each in self.regions if each != region]
        self._locator = Locator(region, storage, running, peer)

    # -- writing ---------------------------------------------------------------------------------------------------

    def append(
        self,
        stream: StreamId | str,
        *events: NewEvent,
        observed: Observed | None = None,
        copies: int | None = None,
        within: float = WITHIN_SECONDS,
    ) -> Appended:
        """Append up to 98 events (MAX_EVENTS) to this region's lane of `stream`, all or none. One round trip if the head
        is known.

        `observed` is what the writer has seen of the stream (`Observed.of(events)`); the new events record it and sort
        after it. With `copies` above 1 (None: what the settings say for the stream's type) it returns once so many regions
        hold the events, this one included, or `within` seconds after they were stored here; one round trip more to the
        nearest peer.

        Returns the events as stored, and in `regions` which regions are known to hold them: fewer than `copies` is no
        failure, see `wait_until`. Raises InvalidName, InvalidEvent or InvalidOperation before anything is written,
        ClockAhead when what was observed is too far ahead of this machine's clock, RegionFenced (a RegionUnavailable) when
        the region accepts no appends, AppendContention or RegionUnavailable when nothing was written, OutcomeUnknown when
        the outcome is not known (see `resolve`).
        """
        write = Write(StreamId.of(stream), events, observed or Observed())
        return self.append_all([write], copies=copies, within=within)

    def append_all(self, writes: Sequence[Write], *, copies: int | None = None, within: float = WITHIN_SECONDS) -> Appended:
        """Append to several streams of this region in one transaction, at most 98 events (MAX_EVENTS) in all. `copies` and
        `within` as in `append`: of several streams the one with the most copies decides. Errors as `append`."""
        count = sum(len(write.events) for write in writes)
        if not 1 <= count <= MAX_EVENTS:
            raise InvalidEvent(f"{count} events in one append; give 1 to {MAX_EVENTS}, or append in several calls")
        streams = {write.stream for write in writes}
        wanted = self._durability.begin(streams, copies, within)
        stored = self._appender.append(streams, lambda: writes, handed_over=wanted > 1)
        return self._durability.spread(stored, wanted, within)

    def save(
        self,
        *operations: Operation,
        timeout: float = 2.0,
        guards: Sequence[Guard] = (),
        copies: int | None = None,
        within: float = WITHIN_SECONDS,
    ) -> Result:
        """Execute operations on different streams of this region in one transaction, all or none: at most 98 events
        (MAX_EVENTS) in all, with those that preconditions add. `guards` are checked with it: at most one. `copies` and
        `within` as in `append_all`; `Saved.regions` says which regions hold what was written.

        Returns Saved, Rejected or GaveUp. A stream that gets no event is judged but not locked: it may move before the
        write. What tokens name and this region lacks is fetched, for at most `timeout` seconds in all. Raises
        NotHereYet, InvalidToken, InvalidOperation, GuardFailed and ClockAhead when nothing was written; other errors as
        `append`.
        """
        saving = Saving(self._streams, self._appender, operations, timeout)
        wanted = self._durability.begin({operation.stream for operation in operations}, copies, within)
        result = saving.run(guards, handed_over=wanted > 1)
        if not isinstance(result, Saved):
            return result
        return replace(result, regions=self._durability.spread(result.events, wanted, within).regions)

    def resolve(self, events: Sequence[Event]) -> bool:
        """Settle an OutcomeUnknown: True when its events are in the lane for certain; False when they never will be.

        Writes the same events again, under the guards that they carry (give `error.events` itself). If they are stored,
        that is a no-op; if another writer has taken their place, or a guard no longer holds, they can never be stored.
        May itself raise RegionUnavailable or OutcomeUnknown; call it again later.
        """
        return self._appender.resolve(events)

    # -- which regions hold it -------------------------------------------------------------------------------------

    def stable(self, token: ConsistencyToken | str, timeout: float = 2.0) -> Whereabouts:
        """Return which regions hold everything that a token names: one strongly consistent read a lane and region, one
        request to each region, at the same time.

        Exact: a region in `held` holds it for good. One that does not answer within `timeout` seconds is in `unknown`.
        Raises InvalidToken.
        """
        return self._locator.where(self.token(token), timeout)

    def wait_until(
        self, token: ConsistencyToken | str, regions: int | Collection[str], timeout: float = 10.0
    ) -> Whereabouts:
        """Wait until so many regions, or those with these names, hold everything that a token names; return which do.

        Raises NotEverywhereYet when that takes longer than `timeout` seconds, InvalidOperation for a number or a name that
        the system has not, and InvalidToken.
        """
        return self._locator.wait(self.token(token), regions, timeout)

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
        """Read one region's lane of `stream` as stored here, from `first` to `last`, both included, a page at a time.

        Every event's digest and its chain to its neighbour are verified on the way. Raises DamagedEvent, and
        InvalidOperation for a limit below 1.
        """
        return self._lanes.read_lane(stream, region, first, last, limit=limit, reverse=reverse)

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
        return self._lanes.read(stream, after, upto, limit=limit, reverse=reverse)

    def latest(self, stream: StreamId | str, region: str | None = None) -> Event | None:
        """Return the last event of one region's lane (this region's unless given), or None when it is empty."""
        return self._lanes.latest(stream, region)

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        """Return every lane that has arrived here, with its last sequence. Reads all keys: for reconciliation, not for
        requests."""
        return self._lanes.lanes()

    def begun(self, lanes: Collection[LaneId]) -> dict[LaneId, int]:
        """Return those of these lanes that have any event here, with their last sequences. For a damaged lane: the sequence
        of the first event that cannot be read, so that a reader of the lane finds it."""
        return self._lanes.begun(lanes)

    def token(self, given: ConsistencyToken | str) -> ConsistencyToken:
        """Decode a token. Raises InvalidToken, also for one that names a region unknown here."""
        return self._streams.tokens.read(given)

    def join(self, *given: ConsistencyToken | str | None) -> ConsistencyToken:
        """Return the least token that covers all of these; None counts as empty. Raises InvalidToken."""
        return self._streams.tokens.join(*given)

    def state(
        self, stream: StreamId | str, at_least: ConsistencyToken | str | None = None, timeout: float = 2.0
    ) -> StreamState:
        """Return the stream as it is here now, with at least what the token names; missing events are fetched from other
        regions.

        Raises NotHereYet when that takes longer than `timeout` seconds.
        """
        return self._streams.state(stream, at_least, timeout)

    def pull(self, stream: StreamId, at_least: ConsistencyToken | str | None, timeout: float = 2.0) -> tuple[Event, ...]:
        """Return the events of the stream that the token names and this region lacks, from regions that have them. Raises
        NotHereYet."""
        return self._streams.pull(stream, at_least, timeout)

    def cut(self, stream: StreamId, pulled: Sequence[Event] = (), seen: ConsistencyToken | str | None = None) -> StreamState:
        """Return the stream as it is here now, with `pulled` added; its next event sorts after all of it and after
        `seen`."""
        return self._streams.cut(stream, pulled, seen)
