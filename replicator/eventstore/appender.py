"""How events get into this region's lanes: sealed behind a lane's head, all or none, tried again when the head has moved."""

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
from replicator.domain.event import NO_EVENTS, Event, Head, NewEvent, Observed, seal, size_of
from replicator.domain.names import LaneId, StreamId
from replicator.eventstore.storage import GUARDS, MAX_EVENTS, MAX_EVENTS_BYTES, LaneStorage
from replicator.eventstore.store_errors import AppendContention, GuardFailed, LaneTaken, OutcomeUnknown, Sent

_HEADS_KEPT = 100_000
_AROUND_TEXTS = 10_000
"""Bytes of an event beside its payload and metadata, at most: names have bounds, and a vector has an entry a region."""


@dataclass(frozen=True, slots=True)
class Write:
    """Events to append to one stream, and what their writer had observed of it.

    `head` is where the own lane must stand for them; None: wherever it stands.
    """

    stream: StreamId
    events: tuple[NewEvent, ...]
    observed: Observed = field(default_factory=Observed)
    head: Head | None = None

    def __post_init__(self) -> None:
        for each in self.events:
            if not isinstance(each, NewEvent):
                raise InvalidEvent(f"{shown(each)} is a {type(each).__name__} and no event; give a NewEvent(type, payload)")
        if not isinstance(self.observed, Observed):
            raise InvalidEvent(
                f"observed is {shown(self.observed)}, a {type(self.observed).__name__}; give Observed.of(events), or nothing"
            )


def contention(attempts: int = 10) -> Retrying:
    """An append that lost its lane's head to another writer: read the head again and try, up to `attempts` times."""
    return Retrying(
        retry=retry_if_exception_type(LaneTaken),
        stop=stop_after_attempt(attempts),
        wait=wait_random_exponential(multiplier=0.01, max=0.5),
        reraise=True,
    )


class WriteFence(Protocol):
    """What lets appends through, or not: the region's fence (replicator/fencing/fence.py)."""

    def guards(self, types: Collection[str]) -> tuple[Guard, ...]:
        """What a write to streams of these types has to check. Raises RegionFenced."""

    def epoch(self) -> int:
        """That of the region's role."""

    def holds(self, guards: Collection[Guard]) -> bool:
        """Whether what `guards` gave still stands."""

    def failed(self) -> None:
        """A write could not be made: look anew before the next one."""


@dataclass(frozen=True, slots=True)
class AppendPolicy:
    """How appends are made: `attempts` before a moving lane is given up, the `fence` that lets them through (None: always),
    and `nonce`, which makes texts that nobody else makes (None: random ones)."""

    attempts: int = 10
    fence: WriteFence | None = None
    nonce: Callable[[], str] | None = None


class _FenceMoved(LaneTaken):
    """Internal: the fence that a write checked is another one now."""

    def __str__(self) -> str:
        return "the region's fence is being opened or closed"


class Appender:
    """Appends to one region's lanes. Safe to share between threads."""

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
        self, streams: Collection[StreamId], prepare: Callable[[], Sequence[Write]], guards: Sequence[Guard] = ()
    ) -> tuple[Event, ...]:
        """Append what `prepare` returns to lanes of `streams`, all or none; ask it again whenever a lane moved meanwhile.

        Raises AppendContention when lanes kept moving, RegionFenced when the region takes no appends; other errors as
        EventStore.append, GuardFailed, and whatever `prepare` raises.
        """
        if len(guards) >= GUARDS:
            raise InvalidOperation(
                f"{len(guards)} guards in one write; give {GUARDS - 1} at most, the fence may need the other"
            )
        lanes = {LaneId(self._region, stream) for stream in streams}

        sealed: tuple[Event, ...] = ()
        try:
            with self._busy.hold(lanes):
                for attempt in contention(self.attempts):
                    with attempt:
                        self._let_through(streams)  # before anything is read: another epoch may be that of other tables
                        sealed = self._seal(prepare())
                        if sealed:
                            self._insert(sealed, guards, lanes)
        except LaneTaken as error:
            raise AppendContention(
                f"gave up after {self.attempts} attempts: {error}. Spread the writes over more streams, or try again"
            ) from error
        return sealed

    def resolve(self, events: Sequence[Event]) -> bool:
        """Whether these events, sent before without an answer, are there; False when they never will be.

        The guards that they were sent with (`errors.Sent`) are asked again: one that failed holds no more, now or later.
        Raises RegionFenced where only the fence keeps them from being written: ask again when the region is active.
        """
        try:
            held = self._storage.get([(event.lane, event.sequence) for event in events]) if self._fence else {}
            if len(held) < len(events):
                self._let_through({event.stream for event in events})
                if not self._follow(events):
                    return False
            self._storage.insert(events, getattr(events, "guards", ()))
        except (LaneTaken, GuardFailed):
            return False
        finally:
            self._forget({event.lane for event in events})
        return True

    def _follow(self, events: Sequence[Event]) -> bool:
        """Whether the lanes hold what these events were chained to. A region that was brought up from its peers may have
        lost that for good, and then they would stand behind a gap."""
        first: dict[LaneId, Event] = {}
        for event in events:
            first[event.lane] = min(first.get(event.lane, event), event, key=lambda each: each.sequence)
        before = {(lane, event.sequence - 1): event.prev for lane, event in first.items() if event.sequence > 1}
        held = self._storage.get(before)
        return all(position in held and held[position].digest == prev for position, prev in before.items())

    def _let_through(self, streams: Collection[StreamId]) -> tuple[Guard, ...]:
        """What a write to these streams has to check. Raises RegionFenced."""
        if self._fence is None:
            return ()
        guards = self._fence.guards({stream.type for stream in streams})
        epoch = self._fence.epoch()
        if epoch != self._epoch:
            with self._lock:
                self._heads.clear()  # between two epochs the lanes may have been brought up again from elsewhere
            self._epoch = epoch
        return guards

    def _insert(self, events: tuple[Event, ...], guards: Sequence[Guard], lanes: Collection[LaneId]) -> None:
        fence = self._let_through({event.stream for event in events})
        _check_size(events)
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
            error.events = Sent(events, (*guards, *fence))  # whatever the storage made of them
            self._doubt()
            raise
        except RegionUnavailable:
            self._doubt()
            raise
        self._remember(events)

    def _doubt(self) -> None:
        """The region did not take a write: it may be another one when it does."""
        if self._fence is not None:
            self._fence.failed()

    def _seal(self, writes: Sequence[Write]) -> tuple[Event, ...]:
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
                event = seal(lane, head.sequence + 1, stamp, new, observed, head.digest, self._nonce())
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
    """Makes texts that nobody else makes: 72 random bits of this appender's, and a count."""
    own, numbers = secrets.token_urlsafe(9), count()  # `count` may be shared between threads
    return lambda: f"{own}{next(numbers):x}"


class _BusyLanes:
    """Appends of one process to the same lanes take turns: only other processes are contention."""

    def __init__(self) -> None:
        self._held: set[LaneId] = set()
        self._waiting: list[frozenset[LaneId]] = []
        self._changed = Condition()

    @contextmanager
    def hold(self, lanes: Collection[LaneId]) -> Iterator[None]:
        """Wait until none of `lanes` is held, then hold all of them. All at once, so nothing can deadlock; and nobody who
        came later gets one of them first, so who wants many is not left waiting behind those who want one."""
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
    if 4 * characters + _AROUND_TEXTS * len(events) <= MAX_EVENTS_BYTES:  # whatever characters they are
        return
    size = sum(size_of(event) for event in events)
    if size > MAX_EVENTS_BYTES:
        raise InvalidEvent(
            f"{len(events)} events of {size:,} bytes in one append; the limit is {MAX_EVENTS_BYTES:,} bytes "
            "together. Append in several calls"
        )
