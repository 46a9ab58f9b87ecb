"""Appends to this region's lanes: seal events behind a lane's head, insert all or none, retry when the head has moved."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count, takewhile
from threading import Condition, Lock
from typing import Protocol

from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from replicator.control.control_storage import Guard
from replicator.domain.clock import HybridLogicalClock
from replicator.domain.errors import InvalidEvent, InvalidOperation, RegionUnavailable, shown
from replicator.domain.event import HANDED_OVER, NO_EVENTS, Event, Head, NewEvent, Observed, seal, size_of
from replicator.domain.names import LaneId, StreamId
from replicator.eventstore.durability import Durability
from replicator.eventstore.storage import GUARDS, MAX_EVENTS, MAX_EVENTS_BYTES, LaneStorage
from replicator.eventstore.store_errors import AppendContention, GuardBusy, GuardFailed, LaneTaken, OutcomeUnknown, Sent

_HEADS_KEPT = 100_000
_GUARD_ATTEMPTS = 10
_AROUND_TEXTS = 10_000
"""Maximum bytes of an event beside its payload and metadata: names have bounds, and a vector has one entry per region."""


@dataclass(frozen=True, slots=True)
class Write:
    """Events to append to one stream, with what their writer had observed of it.

    `head` is the head that the region's own lane must have for them; None accepts any.
    """

    stream: StreamId
    events: tuple[NewEvent, ...]
    observed: Observed = field(default_factory=Observed)
    head: Head | None = None

    def __post_init__(self) -> None:
        for each in self.events:
            if not isinstance(each, NewEvent):
                raise InvalidEvent(f"{shown(each)} is a {type(each).__name__}, not an event; give a NewEvent(type, payload)")
        if not isinstance(self.observed, Observed):
            raise InvalidEvent(
                f"observed is {shown(self.observed)}, a {type(self.observed).__name__}; give Observed.of(events), or nothing"
            )


def contention(attempts: int = 10) -> Retrying:
    """Return the retry policy for an append that lost its lane's head to another writer: up to `attempts` tries."""
    return Retrying(
        retry=retry_if_exception_type(LaneTaken),
        stop=stop_after_attempt(attempts),
        wait=wait_random_exponential(multiplier=0.01, max=0.5),
        reraise=True,
    )


def busy_guards() -> Retrying:
    """Return the retry policy for a write whose guards were busy: soon again, as it may have other ones then."""
    return Retrying(
        retry=retry_if_exception_type(GuardBusy),
        stop=stop_after_attempt(_GUARD_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.001, max=0.1),
        reraise=True,
    )


class WriteFence(Protocol):
    """Port that permits or refuses writes: the region's fence (replicator/fencing/fence.py)."""

    def guards(self, types: Collection[str]) -> tuple[Guard, ...]:
        """Return the condition checks that a write to streams of these types must carry. Raises RegionFenced."""

    def epoch(self) -> int:
        """Return the epoch of the region's role."""

    def holds(self, guards: Collection[Guard]) -> bool:
        """Return whether the conditions in `guards`, which this fence returned, still hold."""

    def failed(self) -> None:
        """Record that a write failed: read the role again before the next write."""


@dataclass(frozen=True, slots=True)
class AppendPolicy:
    """Append policy: `attempts` before giving up on a moving lane, the `fence` that permits writes (None: no fence),
    `nonce`, which returns unique texts (None: random ones), and `durability`, which hands events over to peers (None: the
    table's stream alone does)."""

    attempts: int = 10
    fence: WriteFence | None = None
    nonce: Callable[[], str] | None = None
    durability: Durability | None = None


class _FenceMoved(LaneTaken):
    """Internal: the fence that a write checked has changed since."""

    def __str__(self) -> str:
        return "the region's fence is being opened or closed"


class Appender:
    """Appends events to one region's lanes. Safe to share between threads."""

    def __init__(self, storage: LaneStorage, region: str, clock: HybridLogicalClock, policy: AppendPolicy) -> None:
        self.attempts = policy.attempts
        self._fence = policy.fence
        self._epoch = 0
        self._storage = storage
        self._region = region
        self._clock = clock
        self._heads: OrderedDict[LaneId, Head] = OrderedDict()
        self._lock = Lock()
        self._busy = _BusyLanes()
        self._nonce = policy.nonce or _nonces()

    def append(
        self,
        streams: Collection[StreamId],
        prepare: Callable[[], Sequence[Write]],
        guards: Sequence[Guard] = (),
        *,
        handed_over: bool = False,
    ) -> tuple[Event, ...]:
        """Append what `prepare` returns to lanes of `streams`, all or none. Call it again whenever a lane has moved
        meanwhile. `handed_over`: the caller hands the events over to peers itself.

        Raises AppendContention when lanes kept moving, RegionFenced when the region accepts no appends; other errors as
        EventStore.append, GuardFailed, and whatever `prepare` raises.
        """
        if len(guards) >= GUARDS:
            raise InvalidOperation(
                f"{len(guards)} guards in one write; give at most {GUARDS - 1}, the fence may need the other"
            )
        lanes = {LaneId(self._region, stream) for stream in streams}

        sealed: tuple[Event, ...] = ()
        try:
            with self._busy.hold(lanes):
                for attempt in contention(self.attempts):
                    with attempt:
                        _, epoch = self._let_through(streams)  # before any read: with another the tables may be others
                        sealed = self._seal(prepare(), HANDED_OVER if handed_over else "")
                        if sealed:
                            self._insert(sealed, guards, lanes, epoch)
        except LaneTaken as error:
            raise AppendContention(
                f"gave up after {self.attempts} attempts: {error}. Spread the writes over more streams, or try again"
            ) from error
        return sealed

    def resolve(self, events: Sequence[Event]) -> bool:
        """Return whether these events, sent earlier without an answer, are stored; False when they never will be.

        The conditions that they were sent with (`store_errors.Sent`) are checked again: one that failed will not hold later.
        Raises RegionFenced when only the fence prevents the write: call again once the region is active.
        """
        try:
            held = self._storage.get([(event.lane, event.sequence) for event in events]) if self._fence else {}
            if len(held) < len(events):
                self._let_through({event.stream for event in events})
                if not self._follow(events):
                    return False
            for attempt in busy_guards():
                with attempt:
                    self._storage.insert(events, getattr(events, "guards", ()))
        except (LaneTaken, GuardFailed):
            return False
        finally:
            self._forget({event.lane for event in events})
        return True

    def _follow(self, events: Sequence[Event]) -> bool:
        """Return whether the lanes still hold the events that these were chained to. A region brought up from its peers may
        have lost them permanently; these would then stand behind a gap."""
        first: dict[LaneId, Event] = {}
        for event in events:
            first[event.lane] = min(first.get(event.lane, event), event, key=lambda each: each.sequence)
        before = {(lane, event.sequence - 1): event.prev for lane, event in first.items() if event.sequence > 1}
        held = self._storage.get(before)
        return all(position in held and held[position].digest == prev for position, prev in before.items())

    def _let_through(self, streams: Collection[StreamId]) -> tuple[tuple[Guard, ...], int]:
        """Return the condition checks for a write to these streams, and the epoch. Raises RegionFenced."""
        if self._fence is None:
            return (), 0
        guards = self._fence.guards({stream.type for stream in streams})
        epoch = self._fence.epoch()
        if epoch != self._epoch:
            with self._lock:
                self._heads.clear()  # between two epochs the lanes may have been restored from elsewhere
            self._epoch = epoch
        return guards, epoch

    def _insert(self, events: tuple[Event, ...], guards: Sequence[Guard], lanes: Collection[LaneId], epoch: int) -> None:
        _check_size(events)
        for attempt in busy_guards():
            with attempt:
                self._try(events, guards, lanes, epoch)
        self._remember(events)

    def _try(self, events: tuple[Event, ...], guards: Sequence[Guard], lanes: Collection[LaneId], epoch: int) -> None:
        fence, now = self._let_through({event.stream for event in events})
        if now != epoch:
            raise _FenceMoved(events)
        try:
            self._storage.insert(events, (*guards, *fence))
        except LaneTaken as error:
            self._forget(error.lanes)
            raise
        except GuardFailed:
            self._forget(lanes)
            if self._fence is not None and not self._fence.holds(fence):
                raise _FenceMoved(events) from None
            raise GuardFailed(guards) from None
        except OutcomeUnknown as error:
            self._forget(lanes)
            error.events = Sent(events, (*guards, *fence))  # whatever sequence type the storage gave
            self._doubt()
            raise
        except GuardBusy:
            raise
        except RegionUnavailable:
            self._doubt()
            raise

    def _doubt(self) -> None:
        """Report a refused write to the fence: the region's role may change before it accepts writes again."""
        if self._fence is not None:
            self._fence.failed()

    def _seal(self, writes: Sequence[Write], mark: str) -> tuple[Event, ...]:
        sealed: list[Event] = []
        heads = {LaneId(self._region, write.stream): write.head for write in writes if write.head is not None}
        for write in writes:
            if not write.events:
                continue
            lane, seen = LaneId(self._region, write.stream), write.observed
            head = heads.get(lane) or self._head(lane)
            for new in write.events:
                stamp = self._clock.tick(after=max(head.hlc, seen.hlc))
                observed = seen.vector.advance(self._region, head.sequence) if head.sequence else seen.vector
                event = seal(lane, head.sequence + 1, stamp, new, observed, head.digest, self._nonce() + mark)
                head = Head.of(event)
                sealed.append(event)
            heads[lane] = head
        return tuple(sealed)

    def _head(self, lane: LaneId) -> Head:
        with self._lock:
            known = self._heads.get(lane)
            if known is not None:
                self._heads.move_to_end(lane)
                return known
        return Head.of(next(self._storage.read(lane, limit=1, reverse=True), None))

    def _remember(self, events: Sequence[Event]) -> None:
        last = {event.lane: event for event in events}  # a lane's events are in order
        with self._lock:
            for lane, event in last.items():
                if event.sequence > self._heads.get(lane, NO_EVENTS).sequence:
                    self._heads[lane] = Head.of(event)
                self._heads.move_to_end(lane)
            while len(self._heads) > _HEADS_KEPT:
                self._heads.popitem(last=False)

    def _forget(self, lanes: Collection[LaneId]) -> None:
        with self._lock:
            for lane in lanes:
                self._heads.pop(lane, None)


def _nonces() -> Callable[[], str]:
    """Return a source of unique texts: 72 random bits of this appender, and a counter."""
    own, numbers = secrets.token_urlsafe(9), count()  # `count` may be shared between threads
    return lambda: f"{own}{next(numbers):x}"


class _BusyLanes:
    """Serializes appends of one process to the same lanes, so that only other processes cause contention."""

    def __init__(self) -> None:
        self._held: set[LaneId] = set()
        self._waiting: list[frozenset[LaneId]] = []
        self._changed = Condition()

    @contextmanager
    def hold(self, lanes: Collection[LaneId]) -> Iterator[None]:
        """Wait until none of `lanes` is held, then hold all of them at once, so that no deadlock is possible. First come,
        first served: an append to many lanes does not starve behind appends to one."""
        wanted = frozenset(lanes)
        with self._changed:
            self._waiting.append(wanted)
            try:
                self._changed.wait_for(lambda: self._is_next(wanted))
            finally:
                self._waiting = [each for each in self._waiting if each is not wanted]
            self._held.update(wanted)
        try:
            yield
        finally:
            with self._changed:
                self._held.difference_update(wanted)
                self._changed.notify_all()

    def _is_next(self, wanted: frozenset[LaneId]) -> bool:
        earlier = takewhile(lambda each: each is not wanted, self._waiting)
        return self._held.isdisjoint(wanted) and all(each.isdisjoint(wanted) for each in earlier)


def _check_size(events: Sequence[Event]) -> None:
    if len(events) > MAX_EVENTS:
        raise InvalidEvent(f"{len(events)} events in one append; give 1 to {MAX_EVENTS}, or append in several calls")
    characters = sum(len(event.payload_text) + len(event.metadata_text) for event in events)
    if 4 * characters + _AROUND_TEXTS * len(events) <= MAX_EVENTS_BYTES:  # even at 4 bytes a character
        return
    size = sum(size_of(event) for event in events)
    if size > MAX_EVENTS_BYTES:
        raise InvalidEvent(
            f"{len(events)} events of {size:,} bytes in one append; the limit is {MAX_EVENTS_BYTES:,} bytes "
            "together. Append in several calls"
        )
