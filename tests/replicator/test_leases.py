"""Leases in virtual time: who reads which shard, what a worker that lost one may still do, and random runs of several
workers that are killed, frozen and cut off while the stream's shards are split."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from replicator.aws.dynamodb_streams import DynamoStreamReader
from replicator.aws.shard_reader import ShardReader
from replicator.aws.shards import Shards
from replicator.aws.shards_shared import ShardsShared
from replicator.aws.succession import Source, Succession
from replicator.control.checkpoints import Checkpoints
from replicator.control.control_storage import Value
from replicator.control.leases import COMPARED, WORKER, Held, Leases, shares
from replicator.control.memory_control import MemoryControl
from replicator.domain.errors import RegionUnavailable
from replicator.replication.batch_reader import Batch
from replicator.runtime.settings import Settings
from tests.replicator.test_streams import ARN, FakeStreams, Shard, error, numbers

SECONDS = 9.0
LONGEST = 2 * SECONDS + 3
"""Seconds until a killed worker is followed: a lease, and a third of it each until its last heartbeat is seen, until the
next look, and until that of the worker that is to have the shard; and the time of some polls."""
SCOPE = "checkpoint#replicator"
EPOCH = 1_800_000_000.0


class Control(MemoryControl):
    """Control state that does not answer one worker, or applies a write without an answer."""

    def __init__(self, lost: Callable[[], bool] = lambda: False) -> None:
        super().__init__()
        self.lost = lost

    def swap(self, scope: str, key: str, before: Value | None, after: Value) -> bool:
        done = super().swap(scope, key, before, after)
        if self.lost():
            raise RegionUnavailable("no answer")
        return done


@dataclass
class Reached:
    """The control state as one worker reaches it."""

    control: Control
    up: bool = True

    def __getattr__(self, name: str) -> Any:
        if not self.up:
            raise RegionUnavailable("the control table does not answer")
        return getattr(self.control, name)


@dataclass
class World:
    """A stream, its control state, and workers whose clocks agree on nothing but how fast time passes."""

    fake: FakeStreams
    control: Control = field(default_factory=Control)
    now: float = 0.0
    workers: list[Worker] = field(default_factory=list)
    processed: dict[str, list[int]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    made: int = 0

    def __post_init__(self) -> None:
        self.fake.clock = lambda: EPOCH + self.now

    def worker(self) -> Worker:
        self.made += 1
        worker = Worker(self, f"worker-{self.made}", 1000.0 * self.made)
        self.workers.append(worker)
        return worker

    def records(self) -> dict[str, Value]:
        return dict(self.control.get_all(SCOPE))

    def pass_by(self, seconds: float, step: float = 0.25) -> None:
        """Let time pass, and every worker work."""
        end = self.now + seconds
        while self.now < end:
            self.now += step
            for worker in self.workers:
                worker.work()

    def kill(self, worker: Worker) -> None:
        self.workers.remove(worker)

    def owners(self) -> dict[str, str]:
        return {name: value["owner"] for name, value in self.records().items() if "stream" in value and "owner" in value}


@dataclass
class Worker:
    """A worker: reads, works on batches in order, and commits them later."""

    world: World
    name: str
    offset: float
    frozen: bool = False
    pending: deque[Batch] = field(default_factory=deque)
    done: deque[Batch] = field(default_factory=deque)
    compared: int = 0

    def __post_init__(self) -> None:
        self.control: Any = Reached(self.world.control)
        clock = lambda: self.world.now + self.offset  # noqa: E731
        self.leases = Leases(self.control, "replicator", self.name, SECONDS, clock, lambda owner: owner in self.world.ended)
        settings = Settings("us-east-1", batch_size=2, attempts=1)
        checkpoints, fake = Checkpoints(self.control, "replicator"), self.world.fake
        self.reader = DynamoStreamReader(fake, ARN, checkpoints, settings, clock, leases=self.leases)  # type: ignore[arg-type]

    def poll(self) -> None:
        with suppress(RegionUnavailable):
            self.pending += self.reader.poll()

    def process(self) -> None:
        if self.pending:
            batch = self.pending.popleft()
            self.compared += batch.trimmed
            self.world.processed.setdefault(batch.shard, []).extend(numbers([batch]))
            self.done.append(batch)

    def commit(self) -> None:
        if self.done:
            try:
                self.reader.commit(self.done[0])
            except RegionUnavailable:
                return
            self.done.popleft()

    def work(self) -> None:
        """Read, and do all that was read."""
        if not self.frozen:
            self.poll()
            while self.pending:
                self.process()
            for _ in range(len(self.done)):
                self.commit()

    def stop(self) -> None:
        """End as by SIGTERM."""
        for _ in range(len(self.done)):
            self.commit()
        self.leases.close()
        self.world.workers.remove(self)

    @property
    def held(self) -> set[str]:
        """The shards that it would read now."""
        shards, holds = self.reader._shards.known.items(), self.reader._custody.holds
        return {name for name, shard in shards if not shard.finished and holds(name, shard)}


def world(shards: int = 4, records: int = 3) -> World:
    made = {f"s{n}": Shard(list(range(100 * n + 1, 100 * n + 1 + records))) for n in range(shards)}
    return World(FakeStreams(made))


# -- who holds what ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "free", "expected"),
    [
        ({"a": 0}, 3, {"a": (3, 0)}),
        ({"a": 0, "b": 0}, 3, {"a": (2, 0), "b": (1, 0)}),
        ({"a": 2, "b": 2, "c": 0}, 0, {"a": (0, 0), "b": (0, 1), "c": (0, 0)}),
        ({"a": 6, "b": 0}, 0, {"a": (0, 3), "b": (0, 0)}),
        ({"a": 2, "b": 1}, 0, {"a": (0, 0), "b": (0, 0)}),
        ({"a": 3, "b": 0}, 2, {"a": (0, 0), "b": (2, 0)}),
        ({"a": 1, "b": 0, "c": 0}, 0, {"a": (0, 0), "b": (0, 0), "c": (0, 0)}),
    ],
)
def test_shares(held: Mapping[str, int], free: int, expected: Mapping[str, tuple[int, int]]) -> None:
    assert {owner: shares(owner, held, held.keys(), free) for owner in held} == expected


def test_one_worker_takes_all_at_its_first_poll_and_compares_the_lanes_once() -> None:
    there = world()
    one = there.worker()
    one.work()
    assert set(there.owners()) == {"s0", "s1", "s2", "s3"}
    assert set(there.processed) == {"s0", "s1", "s2", "s3"}
    there.pass_by(SECONDS)
    assert there.processed["s2"] == [201, 202, 203]
    assert there.records()["s2"] == {"stream": ARN, "position": "203", "closed": False, "owner": one.name}
    assert there.records()[COMPARED]["done"]
    assert one.compared == 4, "the first batch of each shard, all in one poll"


def test_two_share_and_a_shard_that_changes_hands_is_read_once() -> None:
    there = world()
    one = there.worker()
    there.pass_by(SECONDS)
    two = there.worker()
    there.pass_by(SECONDS)
    assert len(one.held) == len(two.held) == 2
    assert not one.held & two.held
    for n in range(4):
        there.fake.shards[f"s{n}"].records.append(100 * n + 50)
    there.pass_by(1)
    assert there.processed == {f"s{n}": [*range(100 * n + 1, 100 * n + 4), 100 * n + 50] for n in range(4)}, "each once"


def test_two_that_start_at_once_never_hold_the_same() -> None:
    there = world(7)
    one, two = there.worker(), there.worker()
    for _ in range(60):
        there.pass_by(0.5)
        assert not one.held & two.held
    assert sorted([len(one.held), len(two.held)]) == [3, 4]


def test_a_worker_that_has_ended_for_sure_is_not_waited_for() -> None:
    there = world()
    there.kill(there.worker()) or there.pass_by(1)
    one = there.worker()
    there.pass_by(1)
    there.kill(one)
    there.ended.add(one.name)
    two = there.worker()
    two.work()
    assert set(there.owners().values()) == {two.name}


def test_a_worker_of_another_machine_is_waited_for_and_no_longer() -> None:
    there = world()
    one = there.worker()
    there.pass_by(1)
    there.kill(one)
    two = there.worker()
    there.pass_by(SECONDS - 0.5)
    assert set(there.owners().values()) == {one.name}
    there.pass_by(SECONDS / 3 + 1)
    assert set(there.owners().values()) == {two.name}
    there.pass_by(SECONDS)
    assert [key for key in there.records() if key.startswith(WORKER)] == [WORKER + two.name], "its heartbeat is gone, too"


def test_who_stops_releases_what_it_holds() -> None:
    there = world()
    one, two = there.worker(), there.worker()
    there.pass_by(2 * SECONDS)
    one.stop()
    there.pass_by(SECONDS / 3 + 0.5)
    assert set(there.owners().values()) == {two.name}
    assert WORKER + one.name not in there.records()


def test_a_frozen_owner_wakes_up_and_can_neither_checkpoint_nor_read_on() -> None:
    there = world(1)
    one = there.worker()
    one.poll()
    assert numbers(one.pending) == [1, 2]
    one.frozen = True
    two = there.worker()
    there.pass_by(SECONDS + SECONDS / 3 + 1)
    assert there.processed == {"s0": [1, 2, 3]}
    assert there.records()["s0"]["position"] == "3"
    one.frozen = False
    assert one.held == set(), "its own clock says so"
    one.process()
    one.commit()
    assert (there.records()["s0"]["position"], there.owners()) == ("3", {"s0": two.name})
    one.work()
    assert not one.pending
    assert one.held == set()


def test_what_was_read_under_an_earlier_lease_is_no_checkpoint_of_a_later_one() -> None:
    there = world(1)
    one = there.worker()
    one.poll()
    one.frozen = True
    two = there.worker()
    there.pass_by(2 * SECONDS)
    two.stop()
    one.frozen = False
    late = one.pending.popleft()
    one.work()
    assert one.held == {"s0"}
    one.reader.commit(late)
    assert there.records()["s0"]["position"] == "3"
    assert there.processed == {"s0": [1, 2, 3]}, "it went on from the table"


def test_a_child_waits_until_its_parent_is_committed_wherever_that_is_read() -> None:
    there = world(1)
    there.fake.shards["s0"].closed = True
    there.fake.shards["s1"] = Shard([11], parent="s0")
    one, two = there.worker(), there.worker()
    for _ in range(int(8 * SECONDS)):
        there.now += 0.25
        one.poll(), two.poll()
        one.process(), two.process()
    assert there.processed.keys() == {"s0"}
    for _ in range(3):
        one.commit(), two.commit()
    there.pass_by(SECONDS / 3)
    assert there.processed == {"s0": [1, 2, 3], "s1": [11]}
    assert there.records()["s0"] == {"stream": ARN, "position": "3", "closed": True}


def test_without_the_control_table_a_worker_reads_on_for_the_time_of_its_leases() -> None:
    there = world(1, records=2)
    one = there.worker()
    there.pass_by(SECONDS)
    one.control.up = False
    there.fake.shards["s0"].records.append(3)
    there.pass_by(1)
    assert there.processed["s0"] == [1, 2, 3]
    assert one.held == {"s0"}
    there.pass_by(SECONDS)
    assert one.held == set()
    with pytest.raises(RegionUnavailable):
        one.reader.poll()
    one.control.up = True
    there.pass_by(1)
    assert one.held == {"s0"}
    assert (there.processed["s0"], there.records()["s0"]["position"]) == ([1, 2, 3], "3"), "nobody had taken it"


def test_one_of_many_compares_the_lanes_and_the_others_wait_for_it() -> None:
    there = world(4)
    one, two = there.worker(), there.worker()
    one.leases.beat(), two.leases.beat()
    one.poll()
    assert [batch.trimmed for batch in one.pending] == [True, True]
    two.poll()
    assert not two.pending, "its shards lost records as well, as far as it knows"
    there.pass_by(SECONDS)
    assert (one.compared, two.compared) == (2, 0)
    assert sorted(there.processed) == ["s0", "s1", "s2", "s3"]


def test_a_comparison_whose_worker_was_killed_is_begun_again() -> None:
    there = world(4)
    one, two = there.worker(), there.worker()
    one.leases.beat(), two.leases.beat()
    one.poll()
    there.kill(one)
    there.pass_by(2 * SECONDS)
    assert two.compared
    assert there.records()[COMPARED]["owner"] == two.name
    assert there.records()[COMPARED]["done"]


def test_a_shard_that_is_gone_with_unread_records_is_reported_once_and_closed() -> None:
    there = world(3)
    one, two = there.worker(), there.worker()
    there.pass_by(2 * SECONDS)
    compared = one.compared + two.compared
    del there.fake.shards["s1"]
    there.fake.shards["s9"] = Shard([901], parent="s1")
    there.pass_by(120)
    assert one.compared + two.compared == compared + 1
    assert there.processed["s9"] == [901]
    assert there.records()["s1"]["closed"]
    there.pass_by(2 * SECONDS)
    assert one.compared + two.compared == compared + 1


@dataclass
class Undescribed:
    """The stream as one sees it whose requests for its shards fail."""

    fake: FakeStreams

    def describe_stream(self, **request: Any) -> Any:
        raise error("InternalServerError")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fake, name)


def test_a_shard_that_only_others_know_yet_is_not_taken_for_one_that_is_gone() -> None:
    there = world(1)
    one, two = there.worker(), there.worker()
    there.pass_by(2 * SECONDS)
    two.reader.client = Undescribed(there.fake)
    there.fake.shards["s1"] = Shard([101])
    there.pass_by(60)
    assert there.owners()["s1"] == one.name
    there.kill(one)
    there.fake.shards["s1"].records.append(102)
    there.pass_by(200)
    assert not there.records()["s1"]["closed"], "what it knows of the stream is old"
    two.reader.client = there.fake
    there.pass_by(3 * SECONDS)
    assert there.processed == {"s0": [1, 2, 3], "s1": [101, 102]}


def test_the_mark_of_a_stream_says_nothing_of_a_shard_that_was_taken_and_never_read() -> None:
    there = world(2, records=0)
    one = there.worker()
    there.pass_by(SECONDS)
    there.fake.failures["s0"] = ["InternalServerError"] * 10_000
    there.fake.shards["s0"].records += [1, 2, 3]
    for hour in range(22):
        there.fake.shards["s1"].records.append(100 + hour)
        there.pass_by(3600, 60)
    one.stop()
    there.now += 4 * 3600
    there.fake.shards["s0"].trimmed = 2
    there.fake.failures.clear()
    two = there.worker()
    there.pass_by(SECONDS)
    assert there.processed["s0"] == [3]
    assert two.compared, "the first two are gone from the stream"


def test_a_shard_that_lost_records_while_a_batch_of_it_was_on_its_way_is_released_all_the_same() -> None:
    there = world(2)
    one = there.worker()
    there.pass_by(SECONDS)
    there.fake.shards["s0"].records += [4, 5]
    one.poll()
    assert numbers(one.pending) == [4, 5]
    there.fake.failures["s0"] = ["TrimmedDataAccessException"]
    one.poll()
    two = there.worker()
    two.work()
    there.now += SECONDS / 3 + 1
    one.poll()
    assert one.leases.leaving == {"s0"}
    there.pass_by(3 * SECONDS)
    assert there.owners() == {"s0": two.name, "s1": one.name}
    there.fake.shards["s0"].records.append(6)
    there.pass_by(1)
    assert there.processed["s0"][-1] == 6


def test_a_comparison_is_claimed_with_the_batch_that_asks_for_it_and_not_before() -> None:
    there = world(2)
    one, two = there.worker(), there.worker()
    one.leases.beat(), two.leases.beat()
    there.fake.failures = {name: ["ThrottlingException"] for name in there.fake.shards}
    one.poll()
    assert not one.pending
    assert COMPARED not in there.records()
    two.poll()
    there.pass_by(1)
    assert there.records()[COMPARED]["done"]
    assert (one.compared > 0) != (two.compared > 0)


def test_workers_leave_a_replaced_stream_and_share_the_one_that_is_there_now() -> None:
    there = world(2)
    workers = [there.worker(), there.worker()]
    source = Source(ARN, "table")
    for worker in workers:
        worker.reader.succession = Succession(lambda: source, "table")
    there.pass_by(2 * SECONDS)
    source = Source("new", "another table")
    there.fake.shards = {name: Shard([7000 + n]) for n, name in enumerate(("s0", "s1", "s2"))}
    there.pass_by(4 * SECONDS)
    assert {name: numbers[-1:] for name, numbers in there.processed.items()} == {"s0": [7000], "s1": [7001], "s2": [7002]}
    values = [value for name, value in there.records().items() if name in there.fake.shards]
    assert [(value["stream"], value["closed"]) for value in values] == [("new", False)] * 3
    assert len(set(there.owners().values())) == 2
    compared = sum(worker.compared for worker in workers)
    there.pass_by(4 * SECONDS)
    assert sum(worker.compared for worker in workers) == compared


def test_checkpoints_of_earlier_versions_are_read_and_old_closed_ones_are_removed() -> None:
    there = world(2)
    checkpoints = Checkpoints(there.control, "replicator")
    checkpoints.save(ARN, "s0", "2", closed=False)
    checkpoints.save(ARN, "gone", "9", closed=True)
    checkpoints.save(ARN, "parent", "9", closed=True)
    there.fake.shards["s1"].parent = "parent"
    checkpoints.mark(ARN, EPOCH)
    one = there.worker()
    there.pass_by(SECONDS)
    assert there.processed == {"s0": [3], "s1": [101, 102, 103]}
    assert one.compared == 0
    there.pass_by(60)
    assert "gone" not in there.records()
    assert "parent" in there.records(), "a child of it is there"


def test_an_earlier_version_beside_it_takes_a_lease_away_and_loses_no_record() -> None:
    there = world(1)
    one = there.worker()
    there.pass_by(1)
    Checkpoints(there.control, "replicator").save(ARN, "s0", "2", closed=False)
    there.fake.shards["s0"].records.append(4)
    there.pass_by(SECONDS)
    assert there.processed["s0"] == [1, 2, 3, 4, 3, 4]
    assert one.held == {"s0"}
    assert there.records()["s0"]["position"] == "4"


def test_a_chore_is_one_workers() -> None:
    there = world(1)
    one, two = there.worker(), there.worker()
    mine, other = one.leases.chore("us-east-1>eu-west-1"), two.leases.chore("us-east-1>eu-west-1")
    there.pass_by(2 * SECONDS)
    assert [mine(), other()].count(True) == 1
    first, second = (one, two) if mine() else (two, one)
    first.stop()
    there.pass_by(SECONDS / 2)
    assert (mine(), other()) == (second is one, second is two)


def test_chores_are_done_by_a_worker_that_has_not_seen_the_stream_yet() -> None:
    there = world(2)
    one = there.worker()
    mine = one.leases.chore("us-east-1>eu-west-1")
    one.reader.client = Undescribed(there.fake)
    there.pass_by(SECONDS)
    assert mine()
    there.pass_by(200)
    one.reader.client = there.fake
    there.pass_by(2 * SECONDS)
    assert mine()
    assert there.processed == {"s0": [1, 2, 3], "s1": [101, 102, 103]}


def test_a_worker_without_the_stream_takes_no_shard_for_one_that_is_gone() -> None:
    there = world(2)
    one = there.worker()
    there.pass_by(SECONDS)
    there.kill(one)
    two = there.worker()
    two.reader.client = Undescribed(there.fake)
    there.pass_by(200)
    assert not any(there.records()[name]["closed"] for name in ("s0", "s1"))
    two.reader.client = there.fake
    there.pass_by(2 * SECONDS)
    assert set(there.owners().values()) == {two.name}


def test_a_heartbeat_without_an_answer_is_followed_by_another_one() -> None:
    class Silent(MemoryControl):
        def put(self, scope: str, values: dict[str, Value]) -> None:
            super().put(scope, values)
            if not seen:
                raise RegionUnavailable("no answer")

    seen: list[Value | None] = []
    control = Silent()
    leases = Leases(control, "replicator", "one", SECONDS, lambda: 0.0)
    for _ in range(2):
        with suppress(RegionUnavailable):
            leases.beat()
        seen.append(control.get(SCOPE, WORKER + "one"))
    assert seen[0] != seen[1]


def test_a_worker_busy_with_one_batch_keeps_its_shards_and_gets_no_more() -> None:
    there = world(4)
    one, two = there.worker(), there.worker()
    there.pass_by(2 * SECONDS)
    kept, one.frozen = set(one.held), True
    three = there.worker()
    for _ in range(int(4 * SECONDS)):
        there.pass_by(1)
        one.leases.beat()  # by its thread
    there.kill(two)
    for _ in range(int(3 * SECONDS)):
        there.pass_by(1)
        one.leases.beat()
    assert kept <= {name for name, owner in there.owners().items() if owner == one.name}
    assert three.held == {"s0", "s1", "s2", "s3"} - kept


# -- random runs -------------------------------------------------------------------------------------------------------


class Run:
    """A random run. Every step is followed by a look at all promises."""

    def __init__(self, seed: int, faults: bool = True) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.world = world(self.random.randint(1, 4), 2)
        self.world.control.lost = lambda: faults and self.random.random() < 0.02
        self.number, self.shards = 10_000, len(self.world.fake.shards)
        self.orders: dict[tuple[str, str, int], int] = {}
        self.checkpoints: dict[str, int] = {}
        self.unowned: dict[str, float] = {}
        for _ in range(self.random.randint(2, 4)):
            self.world.worker()

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()
            self.look()

    def step(self) -> None:
        there, chance = self.world, self.random.random
        there.now += self.random.choice((0.0, 0.1, 0.25, 0.5))
        if chance() < 0.3:
            self.append()
        if chance() < 0.01:
            self.split()
        for worker in list(there.workers):
            self.trouble(worker)
            if worker.frozen or worker not in there.workers:
                continue
            if len(worker.pending) < 3 and chance() < 0.7:
                worker.poll()
            if chance() < 0.7 and worker.pending:
                self.process(worker)
            if chance() < 0.6:
                worker.commit()

    def trouble(self, worker: Worker) -> None:
        chance = self.random.random()
        if chance < 0.002:
            self.world.kill(worker)
            self.unowned.clear()  # it may have been the one to take what the last one left
            if self.random.random() < 0.5:
                self.world.ended.add(worker.name)
            self.world.worker()
        elif chance < 0.003 and len(self.world.workers) > 1:
            worker.stop()
        elif chance < 0.004 and len(self.world.workers) < 5:
            self.world.worker()
        elif self.faults and chance < 0.01:
            worker.frozen = True
        elif self.faults and chance < 0.014:
            worker.control.up = False
        elif chance < 0.035:
            worker.frozen, worker.control.up = False, True

    def append(self) -> None:
        shard = self.random.choice([shard for shard in self.world.fake.shards.values() if not shard.closed])
        self.number += 1
        shard.records.append(self.number)

    def split(self) -> None:
        open_now = [name for name, shard in self.world.fake.shards.items() if not shard.closed]
        parent = self.random.choice(open_now)
        self.world.fake.shards[parent].closed = True
        for _ in range(self.random.choice((1, 1, 2)) if len(open_now) < 6 else 1):
            self.world.fake.shards[f"s{self.shards}"] = Shard([], parent=parent)
            self.shards += 1

    def process(self, worker: Worker) -> None:
        batch = worker.pending[0]
        parent = self.world.fake.shards[batch.shard].parent
        if parent is not None and numbers([batch]):
            missing = set(self.world.fake.shards[parent].records) - set(self.world.processed.get(parent, ()))
            assert not missing, f"{batch.shard} before {missing} of {parent}"
        for number in numbers([batch]):
            held = worker.name, batch.shard, batch.term
            assert number > self.orders.get(held, 0), "a shard is read in order"
            self.orders[held] = number
        worker.process()

    def look(self) -> None:
        there = self.world
        holders: dict[str, str] = {}
        for worker in there.workers:
            for name in worker.held:
                assert name not in holders, f"{name} is read by {worker.name} and {holders[name]}"
                holders[name] = worker.name
        for name, shard in there.fake.shards.items():
            record = there.records().get(name, {})
            done = set(there.processed.get(name, ()))
            position = int(record.get("position") or 0)
            missing = {number for number in shard.records if number <= position} - done
            assert not missing, f"the checkpoint of {name} is ahead of {missing}"
            assert position >= self.checkpoints.get(name, 0), f"the checkpoint of {name} goes back"
            self.checkpoints[name] = position
            assert not record.get("closed") or done >= set(shard.records), f"{name} is closed"
            free = not record.get("closed") and name not in holders and self.ready(name)
            self.unowned[name] = self.unowned.get(name, there.now) if free else there.now
            if not self.faults:
                assert there.now - self.unowned[name] <= LONGEST, f"{name} is read by nobody"

    def ready(self, name: str) -> bool:
        parent = self.world.fake.shards[name].parent
        return parent is None or bool(self.world.records().get(parent, {}).get("closed"))

    def settle(self) -> None:
        """End all trouble, and see that everything was read and the shards are divided."""
        for worker in self.world.workers:
            worker.frozen, worker.control.up = False, True
        self.world.control.lost = lambda: False
        for _ in range(400):
            self.world.now += 0.25
            for worker in self.world.workers:
                worker.poll()
                while worker.pending:
                    self.process(worker)
                for _ in range(len(worker.done)):
                    worker.commit()
            self.look()
        for name, shard in self.world.fake.shards.items():
            assert set(self.world.processed.get(name, ())) == set(shard.records), name
        counts = [len(worker.held) for worker in self.world.workers]
        assert sum(counts) == sum(not shard.closed for shard in self.world.fake.shards.values())
        assert max(counts) - min(counts) <= 1, counts


def run(seed: int, faults: bool = True, steps: int = 1200) -> None:
    made = Run(seed, faults)
    made.steps(steps)
    made.settle()


@pytest.mark.parametrize("seed", range(8))
def test_a_random_run_loses_and_reorders_nothing(seed: int) -> None:
    run(seed)


@pytest.mark.parametrize("seed", range(4))
def test_no_shard_waits_longer_than_a_lease_when_workers_are_only_killed(seed: int) -> None:
    run(seed, faults=False)


@pytest.mark.soak
def test_three_hundred_random_runs() -> None:
    for seed in range(100, 400):
        run(seed, faults=seed % 3 > 0)


@contextmanager
def _unconditional(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def replace(self: Leases, shard: str, held: Held, after: Value) -> bool:
        self.control.put(SCOPE, {shard: after})
        held.value = after
        return True

    monkeypatch.setattr(Leases, "_replace", replace)
    yield


@contextmanager
def _from_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    begin = ShardsShared._begin
    remembered: dict[tuple[str, str], str] = {}

    def resume(self: Any, name: str, held: Held) -> None:
        begin(self, name, held)
        self._shards.known[name].position = remembered.get((self._leases.owner, name), held.value["position"])

    read = ShardReader._read

    def noted(self: Any, name: str, shard: Any) -> Batch | None:
        batch = read(self, name, shard)
        if batch is not None and batch.position:
            remembered[self.leases.owner, name] = batch.position
        return batch

    monkeypatch.setattr(ShardsShared, "_begin", resume)
    monkeypatch.setattr(ShardReader, "_read", noted)
    yield


@contextmanager
def _child_first(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    look = Leases.look

    def orphans(self: Leases, stream: str, parents: Mapping[str, Any], *more: Any) -> None:
        look(self, stream, dict.fromkeys(parents, ()), *more)

    monkeypatch.setattr(Leases, "look", orphans)
    monkeypatch.setattr(Shards, "parents_finished", lambda self, shard: True)
    yield


@contextmanager
def _no_expiry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Leases, "valid", property(lambda self: True))
    yield


@pytest.mark.parametrize("fault", [_unconditional, _from_memory, _child_first, _no_expiry])
def test_a_random_run_finds_a_planted_fault(fault: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def runs() -> None:
        for seed in range(25):
            run(seed)

    with fault(monkeypatch), pytest.raises(AssertionError):
        runs()
