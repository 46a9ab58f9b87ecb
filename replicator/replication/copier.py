"""Copier: inserts events into a peer's lanes, in order, idempotently, never over anything.

`plan` (replicator/replication/copy_plan.py) decides for one lane. The copier queries the peer, executes the plans of many
lanes at once, and isolates lanes: one that is throttled, damaged or forked delays no other.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter

import structlog

from replicator.control.pointers import Spans
from replicator.control.quarantine import Quarantine
from replicator.domain.errors import DamagedEvent, RegionRefuses, RegionUnavailable
from replicator.domain.event import Event, is_handed_over, size_of
from replicator.domain.names import LaneId
from replicator.eventstore.storage import MAX_TRANSACTION, Insert, LaneStorage, Position
from replicator.eventstore.store_errors import LaneTaken, OutcomeUnknown
from replicator.replication.copy_plan import Plan, follow, plan
from replicator.replication.divergence import Divergence, id_of
from replicator.replication.lane_catch_up import CatchUp, home_page
from replicator.replication.lane_heads import LONG_RUN, Heads
from replicator.replication.link_state import LinkState

_sequence = attrgetter("sequence")
_TRANSACTION_BYTES = 3_500_000
SAME_PEER_SECONDS = 5.0
"""Seconds for which the peer's table is taken to be the same: less than creating one takes."""
_DIRECT_KEPT = 4_000
"""Number of heads that a `direct` copier remembers: a writer has many of them for each peer."""
_FIRST_PAUSE = 0.05
"""Seconds until the first look for an event that another process may be copying; each further pause is twice as long."""
_HOPELESS_SECONDS, _HOPELESS_KEPT = 30.0, 10_000
"""Seconds without such waits in a lane in which nothing came, and the number of lanes of which that is remembered."""


@dataclass(slots=True)
class Copier:
    """Copies events into a peer's lanes: idempotent, in order, never over anything.

    `home` is the storage that the lanes belong to (gaps are read from there), `peer` the one that they are copied to.
    With `patience`, several copiers work on the same lanes: what this one remembers of the peer is a hint, and events wait
    for those before them, which another one may be copying, so many seconds for all of one `copy`. Then gaps are filled from
    home. A `shared` one is given whole shards of a stream, in order, and another one may have had them since: it asks the
    peer before it fills a gap, and does not wait. A `direct` one is a writer's own: it is given what that writer hands over,
    and fills no more than a page of a gap. `identify` returns the identity of the peer's table and may remember it for a few
    seconds (None: this copier asks and remembers by itself).
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
    direct: bool = False
    identify: Callable[[], str] | None = None
    _divergence: Divergence = field(init=False)
    _heads: Heads = field(init=False)
    _catch_up: CatchUp = field(init=False)
    _throttled: set[LaneId] = field(default_factory=set)
    _answered: bool = False
    _failure: RegionUnavailable | None = None
    _identity: str | None = None
    _looked: float = -math.inf
    _denied: bool = False
    _hopeless: dict[LaneId, float] = field(default_factory=dict)
    _filled: Counter[LaneId] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._divergence = Divergence(
            self.home, self.peer, self.quarantine, self.state, self.log, lambda lane: self._heads.forget(lane)
        )
        most = {"most": _DIRECT_KEPT} if self.direct else {}
        self._heads = Heads(self.peer, self.pool, self._divergence.end_damaged, **most)
        self._catch_up = CatchUp(self._divergence, self._heads, self.pool, self._copy, self._try_insert)

    def copy(self, events: Sequence[Event]) -> list[Event]:
        """Make the peer hold these events and everything before them. Safe to repeat.

        Returns the events of lanes that the peer throttled, which the caller must retry; all other lanes are done. A copier
        with `patience` and a `direct` one fill a page of a gap and return the rest, too. Raises RegionUnavailable when the
        peer accepted nothing.
        """
        return self._copy(events, self.patience)

    def _copy(self, events: Sequence[Event], patience: float = 0.0) -> list[Event]:
        self.know_peer()
        lanes: dict[LaneId, list[Event]] = {}
        for event in events:
            lanes.setdefault(event.lane, []).append(event)
        for lane in self._divergence.stopped:
            lanes.pop(lane, None)
        lanes = lanes if self.direct else self._without_arrived(lanes)
        self._heads.meet(lanes, alone=not self.patience, sure=not (self.patience or self.shared))
        self._throttled.clear()
        self._answered, self._failure = False, None
        if patience:
            lanes = self._wait_for_others(self._round(lanes, fill=False), patience)
        self._filled.clear()
        while lanes:
            lanes = self._round(lanes, page=bool(patience) or self.direct)
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
        leave gaps in it. Reads the identity every SAME_PEER_SECONDS, or `at_once`. Raises RegionUnavailable."""
        now = self.monotonic()
        if not at_once and self.identify is None and len(self._heads) and now - self._looked < SAME_PEER_SECONDS:
            return
        try:
            identity: str | None = self.peer.identity() if self.identify is None else self.identify()
        except Exception as error:
            if isinstance(error, RegionUnavailable) and not isinstance(error, RegionRefuses):
                raise
            if not self._denied:  # no permission to read it: then no heads are kept
                self.log.warning("link.identity_unknown", error=str(error))
            identity, self._denied = None, True
        if identity is None or identity != self._identity:
            self._heads.clear()
            self._divergence.stopped.clear()
        self._identity, self._looked = identity, now

    def catch_up(self, lanes: Sequence[LaneId]) -> set[LaneId]:
        """Bring whole lanes up to date, as CatchUp.whole."""
        return self._catch_up.whole(lanes)

    def catch_up_few(self, waiting: Spans) -> tuple[set[LaneId], set[LaneId]]:
        """Bring lanes up to date of which a few events wait, as CatchUp.few."""
        self.know_peer()
        return self._catch_up.few(waiting)

    def agree(self, lane: LaneId, sequences: Collection[int]) -> bool:
        """Return whether home and peer hold the same events at these sequences, as CatchUp.agree."""
        return self._catch_up.agree(lane, sequences)

    @property
    def stopped(self) -> Collection[LaneId]:
        """Lanes with a refused event: nothing behind that event is copied."""
        return self._divergence.stopped

    def look_again(self) -> None:
        """Clear the set of stopped lanes: they may have been repaired. An event that is still wrong is refused again."""
        self._divergence.stopped.clear()

    def _without_arrived(self, lanes: dict[LaneId, list[Event]]) -> dict[LaneId, list[Event]]:
        """Leave out the events that their writers have handed over, and that the peer holds already: they cost a read, not a
        second write. Raises RegionUnavailable."""
        wanted = [event for events in lanes.values() for event in events if is_handed_over(event)]
        if not wanted:
            return lanes
        held: Mapping[Position, Event] = {}
        with suppress(DamagedEvent):  # the insert finds it taken, and the comparison names it
            held = self.peer.get({(event.lane, event.sequence) for event in wanted}, consistent=False)
        arrived = {event.id for event in wanted if (event.lane, event.sequence) in held
                   and held[event.lane, event.sequence].digest == event.digest}  # fmt: skip
        for event in wanted:
            if event.id in arrived:
                self._heads.advance(event)
        self.state.known += len(arrived)
        left = {lane: [event for event in events if event.id not in arrived] for lane, events in lanes.items()}
        return {lane: events for lane, events in left.items() if events}

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
        self._known([event for _, decided in plans for event in decided.known])
        runs += [
            (lane, decided.insert) for lane, decided in plans if decided.insert and lane not in self._divergence.stopped
        ]
        self._insert(runs)
        again: dict[LaneId, list[Event]] = {}
        for lane, decided in plans:
            if (
                (decided.fork is None and decided.missing is None)
                or lane in self._divergence.stopped
                or lane in self._throttled
            ):
                continue
            if decided.fork is not None:
                self._divergence.fork(decided.fork, self._heads.of(lane).digest)
            elif decided.missing is not None:
                first, last = decided.missing
                left = [event for event in lanes[lane] if event.sequence > last]
                if not fill:
                    again[lane] = sorted(left, key=_sequence)
                    continue
                if page and self._filled[lane] >= MAX_TRANSACTION:
                    self._throttled.add(lane)
                    continue
                filler, _ = home_page(self._divergence, lane, first, last)
                self._filled[lane] += len(filler)
                if filler and filler[0].sequence == first:
                    again[lane] = [*filler, *left]
                elif lane not in self._divergence.stopped:
                    self._divergence.refuse(lane, id_of(lane, first), "missing from its home lane")
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
            self._known(taken)
            self.state.copied += sum(outcome is Insert.ADDED for _, outcome in outcomes)
            stopped = self._divergence.stopped | self._throttled
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
        while rest := {lane: run for lane, run in rest.items() if lane not in self._divergence.stopped}:
            rest = self._round(rest)

    def _known(self, events: Sequence[Event]) -> None:
        """Compare events whose position is taken at the peer."""
        if events:
            self._divergence.compare(events)
            self._answered = True

    def _not_now(self, events: Sequence[Event], error: RegionUnavailable) -> None:
        self._throttled.update(event.lane for event in events)
        self._failure = error

    def _insert_long(self, runs: dict[LaneId, list[Event]]) -> None:
        """Insert by transactions of up to 100 events of many lanes, each lane's events together and in order."""
        while runs:
            parts = {lane: _fitting(run) for lane, run in runs.items()}
            for part in self._insert_parts(list(parts.values())):
                self._insert_again(part)
            stopped = self._divergence.stopped | self._throttled
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
        if lane not in self._divergence.stopped:
            self._heads.forget(lane)
            left = {lane: part} if self._learn([lane]) and lane not in self._divergence.stopped else {}
            while left:
                left = self._round(left)


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
