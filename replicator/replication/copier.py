"""Copier: inserts events into a peer's lanes, in order, idempotently, never over anything.

`plan` (replicator/replication/copy_plan.py) decides for one lane. The copier queries the peer, executes the plans of many
lanes at once, and isolates lanes: one that is throttled, damaged or forked delays no other.
"""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter

import structlog

from replicator.control.pointers import Spans
from replicator.control.quarantine import Quarantine
from replicator.domain.errors import DamagedEvent, RegionRefuses, RegionUnavailable
from replicator.domain.event import Event, Head, size_of
from replicator.domain.names import DELIMITER, LaneId, sequence_key
from replicator.eventstore.storage import MAX_TRANSACTION, Insert, LaneStorage, Position
from replicator.eventstore.store_errors import LaneTaken, OutcomeUnknown
from replicator.replication.copy_plan import Plan, follow, plan
from replicator.replication.lane_heads import LONG_RUN, Heads
from replicator.replication.link_state import LinkState

_sequence = attrgetter("sequence")
_TRANSACTION_BYTES = 3_500_000
_READ_BYTES = 1_000_000
"""Bytes of a home lane that are held at once: many lanes are caught up together."""
_SAME_PEER_SECONDS = 5.0
_BACKWARDS = 8
"""Number of events per step when a lane is filled backwards: as many of the largest size as fit into one transaction."""
FEW = 4
"""Maximum number of events of a lane that are caught up without reading the lane: such lanes go many at once."""
_FEW_BYTES = 30_000_000
"""Bytes of such events that are held at once."""
_FIRST_PAUSE = 0.05
"""Seconds until the first look for an event that another process may be copying; each further pause is twice as long."""
_AT_ONCE_LEAST, _AT_ONCE_MOST = 50, 1000
_HOPELESS_SECONDS, _HOPELESS_KEPT = 30.0, 10_000
"""Seconds without such waits in a lane in which nothing came, and the number of lanes of which that is remembered."""


@dataclass(slots=True)
class Copier:
    """Copies events into a peer's lanes: idempotent, in order, never over anything.

    `home` is the storage that the lanes belong to (gaps are read from there), `peer` the one that they are copied to.
    With `patience`, several copiers work on the same lanes: what this one remembers of the peer is a hint, and events wait
    for those before them, which another one may be copying, so many seconds for all of one `copy`. Then gaps are filled from
    home. A `shared` one is given whole shards of a stream, in order, and another one may have had them since: it asks the
    peer before it fills a gap, and does not wait.
    """

    home: LaneStorage
    peer: LaneStorage
    quarantine: Quarantine
    pool: ThreadPoolExecutor
    state: LinkState
    log: structlog.typing.FilteringBoundLogger
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    patience: float = 0.0
    shared: bool = False
    _heads: Heads = field(init=False)
    _blocked: set[LaneId] = field(default_factory=set)
    _refused: set[tuple[str, str]] = field(default_factory=set)
    _throttled: set[LaneId] = field(default_factory=set)
    _ahead: set[LaneId] = field(default_factory=set)
    _answered: bool = False
    _failure: RegionUnavailable | None = None
    _identity: str | None = None
    _looked: float = -math.inf
    _denied: bool = False
    _hopeless: dict[LaneId, float] = field(default_factory=dict)
    _filled: Counter[LaneId] = field(default_factory=Counter)
    _at_once: int = _AT_ONCE_LEAST

    def __post_init__(self) -> None:
        self._heads = Heads(self.peer, self.pool, self._end_damaged)

    def copy(self, events: Sequence[Event]) -> list[Event]:
        """Make the peer hold these events and everything before them. Safe to repeat.

        Returns the events of lanes that the peer throttled, which the caller must retry; all other lanes are done. A copier
        with `patience` fills a page of a gap and returns the rest, too. Raises RegionUnavailable when the peer accepted
        nothing.
        """
        return self._copy(events, self.patience)

    def _copy(self, events: Sequence[Event], patience: float = 0.0) -> list[Event]:
        self.know_peer()
        lanes: dict[LaneId, list[Event]] = {}
        for event in events:
            lanes.setdefault(event.lane, []).append(event)
        for lane in self._blocked:
            lanes.pop(lane, None)
        self._heads.meet(lanes, alone=not self.patience, sure=not (self.patience or self.shared))
        self._throttled.clear()
        self._answered, self._failure = False, None
        if patience:
            lanes = self._wait_for_others(self._round(lanes, fill=False), patience)
        self._filled.clear()
        while lanes:
            lanes = self._round(lanes, page=bool(patience))
        if self._failure is not None:
            self._looked = -math.inf
            if not self._answered:
                raise self._failure
        return [event for event in events if event.lane in self._throttled] if self._throttled else []

    @property
    def identity(self) -> str | None:
        """Identity of the peer's table when it was last read; None if that failed."""
        return self._identity

    def know_peer(self, at_once: bool = False) -> None:
        """Drop the known heads when the peer's table has another identity: heads of an emptied or restored region would
        leave gaps in it. Reads the identity every few seconds, which is less than creating a table takes, or `at_once`.
        Raises RegionUnavailable."""
        now = self.monotonic()
        if not at_once and len(self._heads) and now - self._looked < _SAME_PEER_SECONDS:
            return
        try:
            identity: str | None = self.peer.identity()
        except Exception as error:
            if isinstance(error, RegionUnavailable) and not isinstance(error, RegionRefuses):
                raise
            if not self._denied:  # no permission to read it: then no heads are kept
                self.log.warning("link.identity_unknown", error=str(error))
            identity, self._denied = None, True
        if identity is None or identity != self._identity:
            self._heads.clear()
            self._blocked.clear()
        self._identity, self._looked = identity, now

    @property
    def stopped(self) -> Collection[LaneId]:
        """Lanes with a refused event: nothing behind that event is copied."""
        return self._blocked

    def look_again(self) -> None:
        """Clear the set of stopped lanes: they may have been repaired. An event that is still wrong is refused again."""
        self._blocked.clear()

    def catch_up(self, lanes: Sequence[LaneId]) -> set[LaneId]:
        """Bring whole lanes up to date by reading them at home. Returns the lanes that must wait, as the peer throttles them
        or has more of them than their home; raises as `copy`."""
        wanted = [lane for lane in lanes if lane not in self._blocked]
        throttled: set[LaneId] = set()
        self._ahead.clear()
        for lane in wanted:  # read anew instead of using known heads: events may have been removed from the peer
            self._heads.forget(lane)
        self._heads.learn(wanted)
        throttled.update(lane for lane in self._without_beginning(wanted) if not self._begin(lane))
        wanted = [lane for lane in wanted if lane not in self._blocked | throttled]
        while wanted:
            pages = list(self.pool.map(self._tail, wanted))
            throttled.update(event.lane for event in self._copy([event for page, _ in pages for event in page]))
            throttled |= self._ahead.intersection(wanted)
            wanted = [
                lane for lane, (_, more) in zip(wanted, pages, strict=True) if more and lane not in self._blocked | throttled
            ]
        return throttled

    def catch_up_few(self, waiting: Spans) -> tuple[set[LaneId], set[LaneId]]:
        """Bring lanes up to date of which a few events wait, up to FEW each, many lanes with one request. Raises as `copy`.

        Returns the lanes that the peer throttles, and those in which something else was found than an end at both sides
        right before and right behind these events: for `catch_up`.
        """
        self.know_peer()
        throttled, others = set[LaneId](), set[LaneId]()
        lanes = deque(lane for lane in waiting if lane not in self._blocked)
        while lanes:
            part = {lane: waiting[lane] for lane in (lanes.popleft() for _ in range(min(self._at_once, len(lanes))))}
            wanted = {(lane, n) for lane, (low, high) in part.items() for n in range(max(low - 1, 1), high + 2)}
            begins = {(lane, 1) for lane in part}
            try:
                ours = self.home.get(wanted)
                theirs = self.peer.get(begins | {(lane, n) for lane, n in wanted if n <= part[lane][1]})
            except DamagedEvent:  # each lane is read alone, and the damaged one is refused
                others.update(part)
                continue
            events = list[Event]()
            for lane, span in part.items():
                if self._ends_at(lane, span, ours, theirs):
                    head = self._heads.of(lane).sequence
                    events += [ours[lane, n] for n in range(head + 1, span[1] + 1)]
                else:
                    others.add(lane)
            throttled.update(event.lane for event in self._copy(events))
            size = sum(map(size_of, ours.values())) // len(part) + 1
            self._at_once = max(_AT_ONCE_LEAST, min(_AT_ONCE_MOST, _FEW_BYTES // size))
        return throttled, others - self._blocked

    def _ends_at(
        self, lane: LaneId, span: tuple[int, int], ours: Mapping[Position, Event], theirs: Mapping[Position, Event]
    ) -> bool:
        """Return whether the lane ends at home with these sequences, and at the peer right before them or among them, with
        the same events. Then the peer's head is remembered."""
        low, high = span
        head = low - 1
        while head < high and (lane, head + 1) in theirs:
            head += 1
        if (lane, high + 1) in ours or any((lane, n) in theirs for n in range(head + 1, high + 1)):
            return False
        if any((lane, n) not in ours for n in range(low, high + 1)) or (head and (lane, 1) not in theirs):
            return False
        for n in range(max(low - 1, 1), head + 1):
            if (lane, n) not in ours or (lane, n) not in theirs or ours[lane, n].digest != theirs[lane, n].digest:
                return False
        self._heads.forget(lane)
        if head:
            self._heads.advance(theirs[lane, head])
        return True

    def _without_beginning(self, lanes: Sequence[LaneId]) -> list[LaneId]:
        """Return the lanes whose last event the peer has but not the first. A process that stalled, and took an emptied
        table for the previous one, continued there behind the old head."""
        begun = [lane for lane in lanes if self._heads.of(lane).sequence > 1 and lane not in self._blocked]
        try:
            held = self.peer.get([(lane, 1) for lane in begun]) if begun else {}
        except DamagedEvent:  # it exists; the comparison reports what is wrong with it
            return []
        return [lane for lane in begun if (lane, 1) not in held]

    def _begin(self, lane: LaneId) -> bool:
        """Copy what the peer lacks before its first event of this lane, the lane's first event last: after a crash on the
        way the lane still counts as incomplete. Returns False when the lane must wait."""
        try:
            first = next(self.peer.read(lane, limit=1), None)
        except DamagedEvent:
            return True  # the events behind it are compared, and refused
        end = first.sequence - 1 if first is not None else 0
        while end:
            low = max(1, end - _BACKWARDS + 1)
            try:
                part = list(self.home.read(lane, low, end))
            except DamagedEvent as error:
                self._refuse(lane, _id(lane, low), f"damaged at home: {error}")
                return True
            if len(part) != end - low + 1:
                self._refuse(lane, _id(lane, low + len(part)), "missing from its home lane")
                return True
            answer = self._try_insert([part])
            if isinstance(answer, RegionUnavailable):
                return False
            if not answer:  # another process is filling it, too
                outcomes = dict(zip(part, self.peer.insert_each(part), strict=True))
                self._compare([event for event, outcome in outcomes.items() if outcome is Insert.TAKEN])
                if lane in self._blocked or Insert.NOT_NOW in outcomes.values():
                    return lane in self._blocked
            end = low - 1
        self._heads.forget(lane)
        self._heads.learn([lane])
        return True

    def agree(self, lane: LaneId, sequences: Collection[int]) -> bool:
        """Return whether home and peer hold the same undamaged events at these sequences of a lane: equal heads do not prove
        what is stored before them."""
        positions = {(lane, sequence) for sequence in sequences}
        try:
            ours, theirs = self.home.get(positions), self.peer.get(positions)
        except DamagedEvent:
            return False
        return {at: event.digest for at, event in ours.items()} == {at: event.digest for at, event in theirs.items()}

    def _tail(self, lane: LaneId) -> tuple[list[Event], bool]:
        """Return the events that the peer lacks, after a check that home holds the same event at the peer's head."""
        head = self._heads.of(lane)
        found, more = self._home_events(lane, max(head.sequence, 1), None)
        if not head.sequence or lane in self._blocked:
            return found, more
        if not found:
            self._peer_ahead(lane, head)
        elif found[0].sequence != head.sequence:
            self._refuse(lane, _id(lane, head.sequence), "held by the peer and missing from its home lane", head.digest)
        elif found[0].digest != head.digest:
            self._fork(found[0], head.digest)
        elif found[1:] or not more:
            return found[1:], more
        else:  # the event behind it is damaged: read alone, it is refused
            return self._home_events(lane, head.sequence + 1, None)
        return [], False

    def _peer_ahead(self, lane: LaneId, head: Head) -> None:
        """Handle a peer that has more of this lane than its home, which was restored or emptied and is not brought up yet:
        the lane waits. If the events that home has differ, it is a fork all the same."""
        try:
            last = next(self.home.read(lane, limit=1, reverse=True), None)
            held = self.peer.get([(lane, last.sequence)]) if last is not None else {}
        except DamagedEvent as error:
            self._refuse(lane, f"{lane.key}#head", f"damaged at home or at the peer: {error}")
            return
        other = held.get((lane, last.sequence)) if last is not None else None
        if last is not None and (other is None or other.digest != last.digest):
            self._fork(last, other.digest if other is not None else b"")
            return
        self._ahead.add(lane)
        self.log.warning("link.peer_ahead", stream=str(lane.stream), home=last.sequence if last else 0, peer=head.sequence)

    def _home_events(self, lane: LaneId, first: int, last: int | None) -> tuple[list[Event], bool]:
        """Return up to 100 events and 1 MB of the home lane, and whether more follow.

        Events before a damaged one are returned; a lane whose next event is damaged is stopped.
        """
        found: list[Event] = []
        size = 0
        try:
            for event in self.home.read(lane, first, last, limit=MAX_TRANSACTION):
                found.append(event)
                size += size_of(event)
                if size > _READ_BYTES:
                    return found, True
        except DamagedEvent as error:
            if not found:
                self._refuse(lane, _id(lane, first), f"damaged at home: {error}")
            return found, bool(found)
        return found, len(found) == MAX_TRANSACTION

    def _wait_for_others(self, lanes: dict[LaneId, list[Event]], patience: float) -> dict[LaneId, list[Event]]:
        """Copy these events, which have gaps before them, as other copiers fill those, for `patience` seconds in all.
        Returns those whose gaps are left. A lane in which nothing came is not waited for during _HOPELESS_SECONDS."""
        now = self.monotonic()
        end, pause, waited = now + patience, _FIRST_PAUSE, False
        waiting = {lane: events for lane, events in lanes.items() if self._hopeless.get(lane, -math.inf) <= now}
        left = {lane: events for lane, events in lanes.items() if lane not in waiting}
        while waiting and now < end:
            self.sleep(min(pause, end - now))
            waited, pause = True, 2 * pause
            try:
                arrived = self._heads.arrived({lane: events[0].sequence - 1 for lane, events in waiting.items()})
            except RegionUnavailable as error:
                self._not_now([event for events in waiting.values() for event in events], error)
                return left
            if arrived:
                pause = _FIRST_PAUSE
                further = self._round({lane: each for lane, each in waiting.items() if lane in arrived}, fill=False)
                waiting = {lane: events for lane, events in waiting.items() if lane not in arrived} | further
            now = self.monotonic()
        if waiting and waited:
            if len(self._hopeless) > _HOPELESS_KEPT:
                self._hopeless.clear()
            for lane in waiting:
                self._hopeless[lane] = now + _HOPELESS_SECONDS
            if not self._learn(waiting):
                return left
        return left | waiting

    def _learn(self, lanes: Collection[LaneId]) -> bool:
        """Make sure of the heads of these lanes. Returns False when they must wait, as the peer does not answer."""
        try:
            self._heads.confirm(lanes)
        except RegionUnavailable as error:
            self._throttled.update(lanes)
            self._failure = error
            return False
        return True

    def _round(self, lanes: dict[LaneId, list[Event]], fill: bool = True, page: bool = False) -> dict[LaneId, list[Event]]:
        """Plan every lane and execute the plans. Returns the lanes that need another round, with the events that are left:
        gaps before them were filled, or with `fill` off are still there. With `page`, a lane of which a page was filled
        waits for the backlog, which has the time for the rest."""
        runs: list[tuple[LaneId, list[Event]]] = []
        plans: list[tuple[LaneId, Plan]] = []
        for lane, found in lanes.items():
            head = self._heads.of(lane)
            if follow(head, found):  # fast path: nearly all do
                runs.append((lane, found))
            else:
                plans.append((lane, plan(head, found)))
        self._compare([event for _, decided in plans for event in decided.known])
        runs += [(lane, decided.insert) for lane, decided in plans if decided.insert and lane not in self._blocked]
        self._insert(runs)
        again: dict[LaneId, list[Event]] = {}
        for lane, decided in plans:
            if (decided.fork is None and decided.missing is None) or lane in self._blocked or lane in self._throttled:
                continue
            if decided.fork is not None:
                self._fork(decided.fork, self._heads.of(lane).digest)
            elif decided.missing is not None:
                first, last = decided.missing
                left = [event for event in lanes[lane] if event.sequence > last]
                if not fill:
                    again[lane] = sorted(left, key=_sequence)
                    continue
                if page and self._filled[lane] >= MAX_TRANSACTION:
                    self._throttled.add(lane)
                    continue
                filler, _ = self._home_events(lane, first, last)
                self._filled[lane] += len(filler)
                if filler and filler[0].sequence == first:
                    again[lane] = [*filler, *left]
                elif lane not in self._blocked:
                    self._refuse(lane, _id(lane, first), "missing from its home lane")
        return again

    def _insert(self, runs: list[tuple[LaneId, list[Event]]]) -> None:
        self._insert_long({lane: run for lane, run in runs if len(run) > LONG_RUN})
        runs = [(lane, run) for lane, run in runs if len(run) <= LONG_RUN]
        turn, rest = 0, dict[LaneId, list[Event]]()
        while runs:  # one event of each lane at a time: the peer's lane never has a gap, wherever this stops
            wave = [run[turn] for _, run in runs]
            try:
                outcomes = list(zip(wave, self.peer.insert_each(wave), strict=True))
            except RegionUnavailable as error:
                self._not_now(wave, error)
                self._throttled.update(rest)
                return
            self._answered = True
            self._throttled.update(event.lane for event, outcome in outcomes if outcome is Insert.NOT_NOW)
            taken = [event for event, outcome in outcomes if outcome is Insert.TAKEN]
            self._compare(taken)
            self.state.copied += sum(outcome is Insert.ADDED for _, outcome in outcomes)
            stopped = self._blocked | self._throttled
            for event in wave:
                if not stopped or event.lane not in stopped:
                    self._heads.advance(event)
            turn += 1
            others = {event.lane for event in taken}  # another copier is at work there: see first how far it is
            rest |= {lane: run[turn:] for lane, run in runs if len(run) > turn and lane in others and lane not in stopped}
            runs = [(lane, run) for lane, run in runs if len(run) > turn and lane not in stopped and lane not in others]
        for lane in rest:
            self._heads.forget(lane)
        rest = rest if self._learn(rest) else {}
        while rest := {lane: run for lane, run in rest.items() if lane not in self._blocked}:
            rest = self._round(rest)

    def _not_now(self, events: Sequence[Event], error: RegionUnavailable) -> None:
        self._throttled.update(event.lane for event in events)
        self._failure = error

    def _insert_long(self, runs: dict[LaneId, list[Event]]) -> None:
        """Insert by transactions of up to 100 events of many lanes, each lane's events together and in order."""
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
        """Insert each part whole. Returns the parts of which the peer already holds some events.

        A throttled lane fails every transaction that it is in. So lanes that failed together are retried one by one, unless
        the whole peer seems to be down. Lanes that fail are treated as throttled.
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
        """Return True when inserted; False when some of it is there already: an earlier attempt without an answer was
        applied, another copier is at work, or the stored event is damaged."""
        try:
            added = self.peer.insert([event for part in group for event in part])
        except (LaneTaken, DamagedEvent):
            return False
        except (RegionUnavailable, OutcomeUnknown) as error:  # copying again is harmless: nothing to settle
            return RegionUnavailable(str(error))
        self._answered = True
        for part in group:
            self._heads.advance(part[-1])
            if added:
                self.state.copied += len(part)
            else:
                self.state.known += len(part)
        return True

    def _insert_again(self, part: list[Event]) -> None:
        """Read the lane's head, compare what is stored, and continue behind it."""
        lane = part[0].lane
        if lane not in self._blocked:
            self._heads.forget(lane)
            left = {lane: part} if self._learn([lane]) and lane not in self._blocked else {}
            while left:
                left = self._round(left)

    def _compare(self, events: Sequence[Event]) -> None:
        """Compare events whose position is taken at the peer: the same event is a no-op, a different one is a fork."""
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
        """Refuse the event at which the two histories diverge, which may come before the one that showed it."""
        with suppress(DamagedEvent):  # if damaged, refuse it where the fork was seen
            event, held = self._parting(event, held)
        self._refuse(event.lane, event.id, "fork: the peer holds a different history", held, event.digest)

    def _parting(self, event: Event, held: bytes) -> tuple[Event, bytes]:
        """Find the first event that differs, by bisection, and the digest that the peer holds there. Digests are chained:
        equal ones prove that all events before are equal."""
        low, high = 1, event.sequence
        while low < high:
            middle = (low + high) // 2
            position = {(event.lane, middle)}
            ours, theirs = self.home.get(position), self.peer.get(position)
            if ours and theirs and all(theirs[p].digest == ours[p].digest for p in ours):
                low = middle + 1
            else:
                high = middle
                if ours and theirs:
                    event, held = ours[(event.lane, middle)], theirs[(event.lane, middle)].digest
        return event, held

    def _end_damaged(self, lane: LaneId, error: DamagedEvent) -> None:
        self._refuse(lane, f"{lane.key}#head", f"damaged at the peer: {error}")

    def _refuse(
        self, lane: LaneId, event_id: str, reason: str, ours: bytes | None = None, theirs: bytes | None = None
    ) -> None:
        """Quarantine one event and stop copying its lane on this link; every other lane continues."""
        if lane in self._blocked:
            return
        self.quarantine.add(event_id, reason, ours, theirs)  # first: if it fails, the lane must not stop silently
        self._blocked.add(lane)
        self._heads.forget(lane)
        if (event_id, reason) not in self._refused:  # a stopped lane is retried again and again
            self._refused.add((event_id, reason))
            self.state.quarantined += 1
            self.log.error("link.quarantined", event_id=event_id, reason=reason, stream=str(lane.stream))


def _fitting(run: list[Event]) -> list[Event]:
    """Return as much of a lane's run as fits into one transaction: 100 events, 4 MB."""
    size = 0
    for count, event in enumerate(run[:MAX_TRANSACTION]):
        size += size_of(event)
        if count and size > _TRANSACTION_BYTES:
            return run[:count]
    return run[:MAX_TRANSACTION]


def _packed(parts: list[list[Event]]) -> Iterator[list[list[Event]]]:
    """Group parts into transactions."""
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
