"""One link: events of this region copied to one peer, in lane order, at the peer's own pace.

A link owns one thread. What it cannot copy now becomes pointers in its backlog, from which it is caught up by reading
the lanes. A link that is down, slow or throttled therefore holds up nobody else.
"""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from replicator.control import Backlog, Quarantine, spans
from replicator.copying import plan
from replicator.domain.event import NO_EVENTS, Event, Head, size_of
from replicator.domain.names import DELIMITER, LaneId, sequence_key
from replicator.errors import DamagedEvent, LaneTaken, OutcomeUnknown, RegionUnavailable
from replicator.retries import full_jitter
from replicator.storage import MAX_TRANSACTION, Insert, LaneStorage

_HEADS_KEPT = 200_000
_DRAIN_LANES = 50
_TRANSACTION_BYTES = 3_500_000
_LONG_RUN = 4
"""Runs longer than this in one lane go as transactions (two write units an event) instead of one round trip an event."""


@dataclass(slots=True)
class LinkState:
    """What a link has done since it started: for logs, status and tests."""

    copied: int = 0
    known: int = 0
    deferred: int = 0
    quarantined: int = 0
    up: bool = True


@dataclass(slots=True)
class Copier:
    """Copies events into a peer's lanes: idempotent, in order, never over anything.

    `home` is where the lanes live (gaps are read from there), `peer` where they are copied to.
    """

    home: LaneStorage
    peer: LaneStorage
    quarantine: Quarantine
    pool: ThreadPoolExecutor
    state: LinkState
    log: structlog.typing.FilteringBoundLogger
    _heads: OrderedDict[LaneId, Head] = field(default_factory=OrderedDict)
    _blocked: set[LaneId] = field(default_factory=set)
    _throttled: set[LaneId] = field(default_factory=set)
    _answered: bool = False
    _failure: RegionUnavailable | None = None

    def copy(self, events: Sequence[Event]) -> list[Event]:
        """Make the peer hold these events and everything before them. Safe to repeat.

        Returns the events of lanes that the peer throttled, which the caller keeps for later; the other lanes are done.
        Raises RegionUnavailable when the peer took nothing.
        """
        lanes: dict[LaneId, list[Event]] = {}
        for event in events:
            if event.lane not in self._blocked:
                lanes.setdefault(event.lane, []).append(event)
        # Lanes that begin here need no look at the peer: if it holds the first event already, the insert says so.
        self._learn([lane for lane, found in lanes.items() if min(e.sequence for e in found) > 1])
        self._throttled.clear()
        self._answered, self._failure = False, None
        while lanes:
            lanes = self._round(lanes)
        if self._failure is not None and not self._answered:
            raise self._failure
        return [event for event in events if event.lane in self._throttled]

    def catch_up(self, lanes: Sequence[LaneId]) -> set[LaneId]:
        """Bring whole lanes up to date by reading them at home. Returns the lanes that were throttled; as `copy`."""
        wanted = [lane for lane in lanes if lane not in self._blocked]
        throttled: set[LaneId] = set()
        self._learn(wanted)
        while wanted:
            pages = list(self.pool.map(self._tail, wanted))
            throttled.update(event.lane for event in self.copy([event for page, _ in pages for event in page]))
            wanted = [
                lane for lane, (_, more) in zip(wanted, pages, strict=True) if more and lane not in self._blocked | throttled
            ]
        return throttled

    def _tail(self, lane: LaneId) -> tuple[list[Event], bool]:
        return self._home_events(lane, self._head(lane).sequence + 1, None)

    def _home_events(self, lane: LaneId, first: int, last: int | None) -> tuple[list[Event], bool]:
        """Up to 100 events of the home lane, and whether there is more to read behind them.

        What comes before a damaged event is good; a lane whose next event is damaged is stopped.
        """
        found: list[Event] = []
        try:
            for event in self.home.read(lane, first, last, limit=MAX_TRANSACTION):
                found.append(event)
        except DamagedEvent as error:
            if not found:
                self._refuse(lane, _id(lane, first), f"damaged at home: {error}")
            return found, bool(found)
        return found, len(found) == MAX_TRANSACTION

    def _round(self, lanes: dict[LaneId, list[Event]]) -> dict[LaneId, list[Event]]:
        """Plan every lane and do what can be done. Returns the lanes whose gaps were filled and need another round."""
        plans = {lane: plan(self._head(lane), found) for lane, found in lanes.items()}
        self._compare([event for decided in plans.values() for event in decided.known])
        self._insert({lane: p.insert for lane, p in plans.items() if p.insert and lane not in self._blocked})
        again: dict[LaneId, list[Event]] = {}
        for lane, decided in plans.items():
            if lane in self._blocked or lane in self._throttled:
                continue
            if decided.fork is not None:
                self._fork(decided.fork, self._head(lane).digest)
            elif decided.missing is not None:
                first, last = decided.missing
                filler, _ = self._home_events(lane, first, last)
                if filler and filler[0].sequence == first:
                    again[lane] = [*filler, *(e for e in lanes[lane] if e.sequence > last)]
                elif lane not in self._blocked:
                    self._refuse(lane, _id(lane, first), "missing from its home lane")
        return again

    def _insert(self, runs: dict[LaneId, list[Event]]) -> None:
        self._insert_long({lane: run for lane, run in runs.items() if len(run) > _LONG_RUN})
        runs = {lane: run for lane, run in runs.items() if len(run) <= _LONG_RUN}
        while runs:  # one event of each lane at a time: the peer's lane never has a gap, whenever this stops
            wave = [run[0] for run in runs.values()]
            try:
                outcomes = dict(zip(wave, self.peer.insert_each(wave), strict=True))
            except RegionUnavailable as error:
                self._not_now(wave, error)
                return
            self._answered = True
            self._throttled.update(event.lane for event, outcome in outcomes.items() if outcome is Insert.NOT_NOW)
            self._compare([event for event, outcome in outcomes.items() if outcome is Insert.TAKEN])
            self.state.copied += sum(outcome is Insert.ADDED for outcome in outcomes.values())
            stopped = self._blocked | self._throttled
            for event in wave:
                if event.lane not in stopped:
                    self._advance(event)
            runs = {lane: run[1:] for lane, run in runs.items() if len(run) > 1 and lane not in stopped}

    def _not_now(self, events: Sequence[Event], error: RegionUnavailable) -> None:
        self._throttled.update(event.lane for event in events)
        self._failure = error

    def _insert_long(self, runs: dict[LaneId, list[Event]]) -> None:
        """Transactions of up to 100 events of many lanes, each lane's events together and in order."""
        while runs:
            parts = {lane: _fitting(run) for lane, run in runs.items()}
            for part in self._insert_parts(list(parts.values())):
                self._insert_again(part)
            stopped = self._blocked | self._throttled
            runs = {
                lane: run[len(parts[lane]) :]
                for lane, run in runs.items()
                if len(run) > len(parts[lane]) and lane not in stopped
            }

    def _insert_parts(self, parts: list[list[Event]]) -> list[list[Event]]:
        """Insert each part whole. Returns those of which the peer holds something already.

        A throttled lane fails every transaction that it is in, so lanes that failed together are tried alone, unless it
        looks as if the whole peer were out. Lanes that fail are throttled.
        """
        groups = list(_packed(parts))
        answers = list(zip(groups, self.pool.map(self._try_insert, groups), strict=True))
        taken = [part for group, answer in answers if answer is False for part in group]
        failed = [(part, answer) for group, answer in answers if isinstance(answer, RegionUnavailable) for part in group]
        in_a_row = 0 if self._answered else len(groups) - 1
        for part, error in failed:
            answer: bool | RegionUnavailable = error
            if len(failed) > 1 and in_a_row < 2:
                answer = self._try_insert([part])
            if isinstance(answer, RegionUnavailable):
                self._not_now(part, answer)
                in_a_row += 1
            else:
                in_a_row = 0
                taken += [] if answer else [part]
        return taken

    def _try_insert(self, group: list[list[Event]]) -> bool | RegionUnavailable:
        """True when inserted. False when some of it is there already: an attempt that got no answer had landed, another
        copier is at it, or what is there is damaged."""
        try:
            self.peer.insert([event for part in group for event in part])
        except (LaneTaken, DamagedEvent):
            return False
        except (RegionUnavailable, OutcomeUnknown) as error:  # copying again is harmless: there is nothing to settle
            return RegionUnavailable(str(error))
        self._answered = True
        for part in group:
            self._advance(part[-1])
            self.state.copied += len(part)
        return True

    def _insert_again(self, part: list[Event]) -> None:
        """Look at what the lane holds, compare that, and go on behind it."""
        lane = part[0].lane
        if lane not in self._blocked:
            self._heads.pop(lane, None)
            self._learn([lane])
            if lane not in self._blocked:
                self._round({lane: part})

    def _compare(self, events: Sequence[Event]) -> None:
        """Events whose place is taken at the peer: the same event is a no-op, a different one is a fork."""
        if not events:
            return
        try:
            held = self.peer.get({(event.lane, event.sequence) for event in events})
            self._answered = True
        except DamagedEvent as error:
            lanes = {event.lane for event in events}
            for lane in lanes:
                own = [event for event in events if event.lane == lane]
                if len(lanes) > 1:
                    self._compare(own)
                else:
                    self._refuse(lane, own[0].id, f"damaged at the peer: {error}", theirs=own[0].digest)
            return
        for event in events:
            other = held.get((event.lane, event.sequence))
            if other is None:
                self._refuse(event.lane, event.id, "known at the peer, then gone", theirs=event.digest)
            elif other.digest != event.digest:
                self._fork(event, other.digest)
            else:
                self.state.known += 1

    def _fork(self, event: Event, held: bytes) -> None:
        self._refuse(event.lane, event.id, "fork: the peer holds a different history", held, event.digest)

    def _refuse(
        self, lane: LaneId, event_id: str, reason: str, ours: bytes | None = None, theirs: bytes | None = None
    ) -> None:
        """Quarantine one event and stop copying its lane on this link; every other lane goes on."""
        if lane in self._blocked:
            return
        self._blocked.add(lane)
        self._heads.pop(lane, None)
        self.state.quarantined += 1
        self.quarantine.add(event_id, reason, ours, theirs)
        self.log.error("link.quarantined", event_id=event_id, reason=reason, stream=str(lane.stream))

    # -- the peer's heads --------------------------------------------------------------------------------------------

    def _head(self, lane: LaneId) -> Head:
        return self._heads.get(lane, NO_EVENTS)

    def _learn(self, lanes: Sequence[LaneId]) -> None:
        unknown = [lane for lane in dict.fromkeys(lanes) if lane not in self._heads]
        for lane, head in zip(unknown, self.pool.map(self._ask, unknown), strict=True):
            if head is not None:
                self._heads[lane] = head
        while len(self._heads) > _HEADS_KEPT:
            self._heads.popitem(last=False)

    def _ask(self, lane: LaneId) -> Head | None:
        try:
            return Head.of(next(self.peer.read(lane, limit=1, reverse=True), None))
        except DamagedEvent as error:
            self._refuse(lane, f"{lane.key}#head", f"damaged at the peer: {error}")
            return None

    def _advance(self, event: Event) -> None:
        if event.sequence > self._head(event.lane).sequence:
            self._heads[event.lane] = Head.of(event)
        self._heads.move_to_end(event.lane)


def _fitting(run: list[Event]) -> list[Event]:
    """As much of a lane's run as one transaction takes: 100 events, 4 MB."""
    size = 0
    for count, event in enumerate(run[:MAX_TRANSACTION]):
        size += size_of(event)
        if count and size > _TRANSACTION_BYTES:
            return run[:count]
    return run[:MAX_TRANSACTION]


def _packed(parts: list[list[Event]]) -> Iterator[list[list[Event]]]:
    """Parts put together into transactions."""
    group: list[list[Event]] = []
    events = size = 0
    for part in parts:
        weight = sum(size_of(event) for event in part)
        if group and (events + len(part) > MAX_TRANSACTION or size + weight > _TRANSACTION_BYTES):
            yield group
            group, events, size = [], 0, 0
        group.append(part)
        events, size = events + len(part), size + weight
    if group:
        yield group


def _id(lane: LaneId, sequence: int) -> str:
    return f"{lane.key}{DELIMITER}{sequence_key(sequence)}"


class Link:
    """Runs a Copier in a thread of its own, with a bounded queue in front of it and the backlog behind it."""

    def __init__(
        self,
        source: str,
        target: str,
        home: LaneStorage,
        peer: LaneStorage,
        backlog: Backlog,
        quarantine: Quarantine,
        *,
        max_queued: int = 20_000,
        patience: float = 2.0,
        parallel: int = 4,
    ) -> None:
        self.name = f"{source}>{target}"
        self.state = LinkState()
        self._log = structlog.get_logger().bind(region=source, link=self.name)
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix=f"link-{target}")
        self._copier = Copier(home, peer, quarantine, self._pool, self.state, self._log)
        self._backlog = backlog
        self._queue: queue.Queue[tuple[Sequence[Event], Callable[[], None]]] = queue.Queue()
        self._queued = 0
        self._max_queued = max_queued
        self._patience = patience
        self._room = threading.Condition()
        self._lagging = False
        self._waiting = True  # whether the backlog may hold something; unknown at the start
        self._cursor: LaneId | None = None
        self._stop = threading.Event()  # `start` may put its caller's in this place
        self._thread = threading.Thread(target=self._run, name=f"link-{self.name}", daemon=True)

    def start(self, stop: threading.Event | None = None) -> None:
        """Begin copying. Once `stop` is set nothing waits any more, here or in `offer`."""
        self._stop = stop or self._stop
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """Finish the batch at hand and end the thread. What is queued has not been checkpointed and comes again."""
        self._stop.set()
        with self._room:
            self._room.notify_all()
        self._thread.join(timeout)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def offer(self, events: Sequence[Event], done: Callable[[], None]) -> None:
        """Take events to copy; `done` is called once they are copied or safely in the backlog.

        Returns at once unless the queue is full. Then it waits a bounded time, once, and uses the backlog until the
        queue has emptied: a slow peer costs the others `patience` seconds at most.
        """
        if not events:
            done()
            return
        with self._room:
            if self.state.up and not self._lagging:
                self._room.wait_for(lambda: self._fits(events) or not self.state.up, self._patience)
            if self.state.up and not self._lagging and self._fits(events):
                self._queued += len(events)
                self._queue.put((events, done))
                return
            self._lagging = True
        if self._defer(events):
            done()

    def defer_lanes(self, lanes: dict[LaneId, tuple[int, int]]) -> None:
        """Put whole lanes on the backlog, to be compared with the peer: used when the stream may have lost records.

        Raises RegionUnavailable when the own region's control table cannot take them."""
        self._backlog.defer(lanes)
        self._waiting = True

    def _fits(self, events: Sequence[Event]) -> bool:
        return self._queued == 0 or self._queued + len(events) <= self._max_queued

    def _defer(self, events: Sequence[Event]) -> bool:
        """Put pointers to these events on the backlog, for as long as it takes. False when stopped before that."""
        found, failures = spans(events), 0
        while not self._stop.is_set():
            try:
                self._backlog.defer(found)
            except RegionUnavailable as error:  # the own region is down: nothing else can go on here either
                self._log.warning("backlog.unavailable", error=str(error))
                failures += 1
                self._stop.wait(full_jitter(failures))
            else:
                self._waiting = True
                self.state.deferred += len(events)
                self._log.info("link.deferred", events=len(events), lanes=len(found))
                return True
        return False

    def _run(self) -> None:
        failures = 0
        while not self._stop.is_set():
            try:
                busy = self._step()
            except RegionUnavailable as error:
                failures += 1
                if failures == 1:
                    self._log.warning("link.down", error=str(error))
                self._go(up=False)
                self._stop.wait(full_jitter(failures))
            except Exception:
                # Unforeseen: say so and go on from the backlog. Ending the thread would end the link in silence.
                failures += 1
                self._log.exception("link.failed")
                self._go(up=False)
                self._stop.wait(full_jitter(failures))
            else:
                if self.state.up and failures:
                    self._log.info("link.up", after_failures=failures)
                    failures = 0
                if not busy:
                    self._stop.wait(0.02)

    def _go(self, up: bool) -> None:
        with self._room:
            self.state.up = up
            self._room.notify_all()

    def _step(self) -> bool:
        """Copy one queued batch, or drain a part of the backlog. True when there was something to do."""
        try:
            events, done = self._queue.get_nowait()
        except queue.Empty:
            self._lagging = False
            return self._drain() if self._waiting else False
        try:
            self._copy_or_defer(events, done)
        finally:
            with self._room:
                self._queued -= len(events)
                self._room.notify_all()
        return True

    def _copy_or_defer(self, events: Sequence[Event], done: Callable[[], None]) -> None:
        left: Sequence[Event] = events
        try:
            if self.state.up:  # a link that is down is probed by draining, not with every batch
                left = self._copier.copy(events)
        finally:
            if not left or self._defer(left):
                done()

    def _drain(self) -> bool:
        self._waiting = False  # before looking: whoever defers from now on sets it again
        try:
            pointers = self._backlog.page(_DRAIN_LANES, after=self._cursor)
            wrapped, self._cursor = self._cursor is None, max(pointers, key=lambda lane: lane.key, default=None)
            if not pointers:
                self._waiting = self._waiting or not wrapped
                return False
            left = self._copier.catch_up(list(pointers))
            self._backlog.done({lane: value for lane, value in pointers.items() if lane not in left})
        except BaseException:
            self._waiting = True
            raise
        self._waiting = True
        self._go(up=True)
        return len(left) < len(pointers)
