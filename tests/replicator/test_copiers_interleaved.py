"""Copiers and a catch-up on the same lanes, interleaved at every request, in virtual time. Requests fail before or after
they took effect; lanes are throttled, damaged or forked; events come twice; reads lack what was just written."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import pytest
import structlog

from chaos.fleet.virtual_time import VirtualPool, VirtualTime
from replicator.control.memory_control import MemoryControl
from replicator.control.quarantine import Quarantine, by_lane
from replicator.domain.errors import DamagedEvent, RegionUnavailable
from replicator.domain.event import HANDED_OVER, Event
from replicator.domain.names import LaneId
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.storage import Insert, Position
from replicator.eventstore.store_errors import OutcomeUnknown
from replicator.replication.copier import Copier
from replicator.replication.lane_catch_up import FEW
from replicator.replication.link_state import LinkState
from tests.replicator.links import chain, everything, lane_of

R = TypeVar("R")

RUNS = 60
_HALF_TRIP = 0.05
_STALE_SECONDS = 0.6


class Network:
    """Peer's table as the copiers reach it: each request takes effect half way, after a time of its own."""

    def __init__(self, table: MemoryStorage, time: VirtualTime, chance: random.Random, failing: float) -> None:
        self.table = table
        self.failing = failing
        self.throttled: set[LaneId] = set()
        self.damaged: set[Position] = set()
        self._time = time
        self._chance = chance
        self._written: dict[Position, float] = {}

    def insert(self, events: Sequence[Event], guards: Sequence[Any] = ()) -> bool:
        def once() -> bool:
            if self.throttled & {event.lane for event in events}:
                raise RegionUnavailable("throttled")
            return self._note(self.table.insert(events), events)

        return self._ask(once, events)

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        def one(event: Event) -> Insert:
            if event.lane in self.throttled or self._chance.random() < self.failing:
                if event.lane not in self.throttled and self._chance.random() < 0.3:  # done, and not known to be
                    self._note(True, [event], self.table.insert_each([event]))
                return Insert.NOT_NOW
            (outcome,) = self.table.insert_each([event])
            return self._note(outcome, [event])

        return self._ask(lambda: [one(event) for event in events])

    def get(self, positions: Collection[Position], *, consistent: bool = True) -> Mapping[Position, Event]:
        def once() -> Mapping[Position, Event]:
            found = self.table.get(list(positions))
            if not consistent:
                found = {position: event for position, event in found.items() if self._shown(position)}
            if self.damaged & found.keys():
                raise DamagedEvent("an event does not match its digest")
            return found

        return self._ask(once)

    def read(self, lane: LaneId, *args: Any, **options: Any) -> Iterator[Event]:
        for event in self._ask(lambda: list(self.table.read(lane, *args, **options))):
            if (lane, event.sequence) in self.damaged:
                raise DamagedEvent("an event does not match its digest")
            yield event

    def identity(self) -> str:
        return self._ask(self.table.identity)

    def index(self, region: str, after: LaneId | None = None) -> Iterator[LaneId]:
        return self.table.index(region, after)

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        return self.table.lanes()

    def _shown(self, position: Position) -> bool:
        return self._time.now() - self._written.get(position, -9.0) > _STALE_SECONDS or self._chance.random() < 0.5

    def _note(self, result: R, events: Sequence[Event], _: object = None) -> R:
        """Check after every write that no lane has a gap."""
        for event in events:
            self._written.setdefault((event.lane, event.sequence), self._time.now())
            held = [each.sequence for each in self.table.read(event.lane)]
            assert held == list(range(1, len(held) + 1)), f"a gap in {event.lane}"
        return result

    def _ask(self, once: Callable[[], R], events: Sequence[Event] = ()) -> R:
        self._time.sleep(self._chance.expovariate(1 / _HALF_TRIP))
        if self._chance.random() < self.failing:
            raise RegionUnavailable("not sent")
        answer = once()
        self._time.sleep(self._chance.expovariate(1 / _HALF_TRIP))
        if self._chance.random() < self.failing:
            raise OutcomeUnknown("no answer", events) if events else RegionUnavailable("no answer")
        return answer


class World:
    """One run: what is at home, what the peer holds already and what is wrong with it, and who copies."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.time = VirtualTime()
        self.home, self.peer = MemoryStorage(), MemoryStorage()
        self.quarantine = Quarantine(MemoryControl(), "l")
        self.network = Network(self.peer, self.time, self.chance, self.chance.choice([0.0, 0.0, 0.02, 0.08]))
        self.lanes = [lane_of(name) for name in "abcde"[: self.chance.randint(1, 5)]]
        self.backlog: list[LaneId] = []
        self.longest = 0.0
        for lane in self.lanes:
            count = self.chance.choice([1, 6, 20, 60, *([160] if seed % 5 == 0 else [])])
            self.home.insert_each(chain(lane, count, nonce=self.chance.choice(["", f"x{HANDED_OVER}"])))
        if self.chance.random() < 0.25:
            lane = self.chance.choice(self.lanes)
            ours = list(self.home.read(lane))[:-1][: self.chance.randint(0, 3)]
            self.peer.insert_each([*ours, *chain(lane, 1, ours, by="fork")])
        if self.chance.random() < 0.15:
            self.network.damaged.add((self.chance.choice(self.lanes), self.chance.randint(1, 6)))
        if self.chance.random() < 0.2:
            self.network.throttled.add(self.chance.choice(self.lanes))
        self.before = everything(self.peer)

    def copier(self, patience: float) -> Copier:
        pool: Any = VirtualPool(self.time, 4)
        log, direct = structlog.get_logger(), not patience and self.chance.random() < 0.5  # as a writer hands over
        network: Any = self.network
        return Copier(
            self.home,
            network,
            self.quarantine,
            pool,
            LinkState(),
            log,
            self.time.now,
            self.time.sleep,
            patience,
            direct,
            direct,
        )

    def deliveries(self) -> list[list[Event]]:
        """Each lane's events in order, the lanes mixed, and the whole dealt to one, two or four streams of batches."""
        lanes = {lane: list(self.home.read(lane)) for lane in self.lanes}
        streams: list[list[Event]] = [[] for _ in range(self.chance.choice([1, 2, 4]))]
        while lanes:
            lane = self.chance.choice(list(lanes))
            self.chance.choice(streams).append(lanes[lane].pop(0))
            if not lanes[lane]:
                del lanes[lane]
        return streams

    def poll(self, events: list[Event], idle: list[Copier]) -> None:
        size = self.chance.choice([3, 10, 50, 200])
        while events:
            batch, events[:size] = events[:size], []
            if self.chance.random() < 0.1:
                events[:0] = batch[: self.chance.randint(0, 3)]  # delivered again
            copier, began = idle.pop(self.chance.randrange(len(idle))), self.time.now()
            copier.look_again()
            try:
                left = copier.copy(batch)
            except RegionUnavailable:
                left = batch
            self.longest = max(self.longest, self.time.now() - began)
            stopped = by_lane(dict(self.quarantine.records()))
            for event in batch:
                if event not in left and event.lane not in stopped:
                    held = self.peer.get([(event.lane, event.sequence)])
                    assert held == {(event.lane, event.sequence): event}, "reported as copied"
            self.backlog += [event.lane for event in left]
            idle.append(copier)

    def bring(self) -> None:
        """Catch up with the backlog now and then, as the function for that does."""
        copier = self.copier(self.chance.choice([0.0, 2.0]))
        for _ in range(self.chance.randint(0, 6)):
            self.time.sleep(self.chance.random())
            lanes = sorted(set(self.backlog) or {self.chance.choice(self.lanes)}, key=str)
            taken = len(self.backlog)
            copier.look_again()
            try:
                waiting = self.caught_up(copier, lanes)
            except RegionUnavailable:
                continue
            del self.backlog[:taken]
            self.backlog += sorted(waiting, key=str)

    def caught_up(self, copier: Copier, lanes: Sequence[LaneId]) -> set[LaneId]:
        spans = dict[LaneId, tuple[int, int]]()
        for lane in lanes if self.chance.random() < 0.5 else ():
            low = self.chance.randint(1, len(list(self.home.read(lane))))
            spans[lane] = low, low + self.chance.randrange(FEW)
        waiting, others = copier.catch_up_few(spans)
        return waiting | copier.catch_up([lane for lane in lanes if lane not in spans or lane in others])

    def run(self) -> None:
        streams = self.deliveries()
        idle = [self.copier(self.chance.choice([0.0, 2.0, 2.0, 2.0])) for _ in range(len(streams) + 2)]
        for events in streams:
            self.time.spawn(partial(self.poll, events, idle))
        self.time.spawn(self.bring)
        self.time.run()
        self.network.failing, self.network.throttled = 0.0, set()
        waiting = set[LaneId]()
        self.time.spawn(lambda: waiting.update(self.copier(0.0).catch_up(sorted(set(self.backlog), key=str))))
        self.time.run()
        stopped, after = by_lane(dict(self.quarantine.records())), everything(self.peer)
        for lane, held in self.before.items():
            assert after[lane][: len(held)] == held, "nothing was overwritten"
        for lane in set(self.lanes) - set(stopped):
            assert (lane in waiting, after.get(lane)) == (False, list(self.home.read(lane)))
        if not self.network.damaged:
            assert set(stopped) <= set(self.before), "quarantined without a reason"


@pytest.mark.parametrize("seed", range(RUNS))
def test_nothing_is_lost_doubled_or_out_of_order_however_copiers_interleave(seed: int) -> None:
    world = World(seed)
    world.run()
    assert world.longest < 60, "an invocation ends in bounded time"
