"""Two workers of one region, processes of their own, on a stream whose shards are split: killed with kill -9 and frozen at
random, they copy and fold everything once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from chaos.workload.model import TYPE, Thing, added
from chaos.world.world import World, WorldOptions
from projectors import Engine, MemorySink
from projectors.sinks.dynamodb import DynamoSink
from replicator import EventStore, Settings
from replicator.aws.control_table import DynamoControl
from replicator.aws.dynamodb_streams import DynamoStreamReader
from replicator.aws.event_table import DynamoStorage
from replicator.control.checkpoints import Checkpoints
from replicator.control.memory_control import MemoryControl
from replicator.control.quarantine import Quarantine
from tests.processes import Started, started, wait_until
from tests.regions import CLEAN, EAST, WEST, activate, environment_of

pytestmark = pytest.mark.emulator

ROOT = Path(__file__).parents[1]
LEASE = 2.0
STREAMS, PER_ROUND = 24, 72


@pytest.fixture
def regions() -> Iterator[World]:
    """Two regions without workers. The first one's stream has four shards once it was read a few times."""
    with World([EAST, WEST], options=WorldOptions(workers=False, faulty=True, read_timeout=20)) as world:
        yield world


@dataclass
class Fleet:
    """Workers of one command in the first region. All of them end with the test."""

    program: str
    settings: Settings
    logs: Path
    stack: ExitStack
    running: list[Started] = field(default_factory=list)
    made: int = 0

    def start(self) -> None:
        self.made += 1
        more = {
            "MERIDIAN_SHARD_LEASE": str(LEASE), "MERIDIAN_POLL_INTERVAL": "0.1", "MERIDIAN_READ_TIMEOUT": "20",
            "MERIDIAN_HEARTBEAT": "0",
        }  # fmt: skip
        environment = {**CLEAN, **environment_of(self.settings, MERIDIAN_PROJECTIONS="chaos.workload.model:Thing", **more)}
        line = [sys.executable, "-c", f"from replicator.cli.entrypoints import {self.program}; {self.program}()", "run"]
        log = self.stack.enter_context((self.logs / f"{self.program}-{self.made}.log").open("w"))
        how = {"stdout": log, "stderr": subprocess.STDOUT, "cwd": ROOT}
        self.running.append(self.stack.enter_context(started(line, environment, **how)))

    def kill(self, chance: random.Random) -> None:
        worker = self.running.pop(chance.randrange(len(self.running)))
        worker.send(signal.SIGKILL)
        worker.wait()

    def log(self) -> str:
        return "".join(path.read_text() for path in self.logs.glob(f"{self.program}-*.log"))


@dataclass
class Region:
    """The tables of a region."""

    settings: Settings

    def __post_init__(self) -> None:
        self.storage, self.control = DynamoStorage(self.settings), DynamoControl(self.settings)
        self.store = EventStore(self.storage, self.settings.region, self.settings.regions)
        self.written = 0

    def append(self, count: int) -> None:
        for _ in range(count):
            self.store.append(f"{TYPE}/{self.written % STREAMS}", added(f"{self.written}", 1))
            self.written += 1

    def held(self) -> int:
        return sum(last for lane, last in self.storage.lanes() if lane.region == EAST)

    def lanes(self) -> dict[str, list[bytes]]:
        lanes = [lane for lane, _ in self.storage.lanes()]
        return {lane.key: [event.digest for event in self.storage.read(lane)] for lane in lanes}

    def folded(self) -> int:
        return sum(int(str(view.value["count"])) for view in DynamoSink(self.settings).views("thing"))

    def inserts(self) -> Counter[str]:
        """What its table's stream shows: every event that was written there, however often."""
        reader = DynamoStreamReader.connect(self.settings, Checkpoints(MemoryControl(), "test"))
        found: Counter[str] = Counter()
        while batches := [batch for _ in range(3) for batch in reader.poll()]:
            for record in (record for batch in batches for record in batch.records):
                keys = record["dynamodb"]["Keys"]
                found[f"{record['eventName']} {keys['pk']['S']} {keys['sk']['S']}"] += 1
        return found

    def shards(self, reader: str) -> dict[str, str]:
        """The owners of the shards that are open."""
        records = self.control.get_all(f"checkpoint#{reader}")
        return {name: value.get("owner", "") for name, value in records if "stream" in value and not value["closed"]}


@contextmanager
def fleet(program: str, settings: Settings, logs: Path) -> Iterator[Fleet]:
    with ExitStack() as stack:
        yield Fleet(program, settings, logs, stack)


def trouble(
    workers: Fleet, east: Region, progress: Callable[[], int], chance: random.Random, goes_on: Callable[[Fleet], bool]
) -> None:
    """Append, and while that is worked on kill a worker or freeze one for longer than a lease, again and again."""
    while goes_on(workers):
        some = progress() + chance.randrange(1, PER_ROUND // 2)
        east.append(PER_ROUND)
        wait_until(partial(lambda some: progress() >= some, some), "progress")
        if chance.random() < 0.25:
            frozen = chance.choice(workers.running)
            frozen.send(signal.SIGSTOP)
            east.append(PER_ROUND)
            wait_until(lambda: progress() == east.written, "the other one takes over")
            frozen.send(signal.SIGCONT)
        else:
            workers.kill(chance)
            workers.start()


def is_shared(east: Region, reader: str, workers: Fleet) -> bool:
    """Whether each of the workers that run has about as many of at least three shards."""
    owners = Counter(owner.split(" ")[2].partition(".")[0] if owner else "" for owner in east.shards(reader).values())
    counts = [owners.get(str(worker.pid), 0) for worker in workers.running]
    return sum(counts) == sum(owners.values()) > 2 and max(counts) - min(counts) <= 1


def split(world: World) -> None:
    where = {"service": "dynamodbstreams", "region": EAST, "operation": "GetRecords"}
    assert world.services is not None
    world.services.faults.set([{**where, "meridian": {"effect": "split-shard", "times": 3}}])


def killed(
    program: str, reader: str, world: World, logs: Path, goes_on: Callable[[Fleet], bool], seed: int
) -> tuple[Region, Region]:
    """Run two workers through trouble, until all that was appended has arrived, and stop them."""
    chance = random.Random(seed)
    inside = replace(world.regions[EAST].inside, shard_lease=LEASE)
    east, west = Region(world.settings(EAST)), Region(world.settings(WEST))
    activate(world.settings(EAST), EAST, WEST)
    east.append(PER_ROUND)

    def progress() -> int:
        return west.held() if program == "replicator" else east.folded()

    with fleet(program, inside, logs) as workers:
        workers.start(), workers.start()
        wait_until(lambda: progress() == east.written, "the first events")
        split(world)
        east.append(PER_ROUND)
        wait_until(lambda: progress() == east.written and is_shared(east, reader, workers), "shards that two share")
        trouble(workers, east, progress, chance, goes_on)
        wait_until(lambda: progress() == east.written, "everything")
        wait_until(lambda: is_shared(east, reader, workers), "shards that two share")
        for worker in workers.running:
            worker.send(signal.SIGTERM)
        assert [worker.wait() for worker in workers.running] == [128 + signal.SIGTERM] * 2
        assert set(east.shards(reader).values()) == {""}, "released"
        assert "Traceback" not in workers.log()
    return east, west


def check_copies(east: Region, west: Region) -> None:
    assert east.lanes() == west.lanes()
    for sequences in ([event.sequence for event in west.storage.read(lane)] for lane, _ in west.storage.lanes()):
        assert sequences == list(range(1, len(sequences) + 1))
    assert set(west.inserts().values()) == {1}
    assert len(west.inserts()) == east.written
    assert not Quarantine(east.control, f"{EAST}>{WEST}").records()


def check_views(east: Region) -> None:
    memory = MemorySink()
    Engine([Thing], east.store, memory).catch_up(dict(east.storage.lanes()))
    views = {view.key: (view.value, view.vector) for view in DynamoSink(east.settings).views("thing")}
    assert views == {view.key: (view.value, view.vector) for view in memory.views("thing")}
    assert not Quarantine(east.control, f"{EAST}>views").records()


def test_two_replicators_killed_at_random_copy_everything_once(regions: World, tmp_path: Path) -> None:
    check_copies(*killed("replicator", "replicator", regions, tmp_path, lambda workers: workers.made < 6, 1))


def test_two_projectors_killed_at_random_fold_everything_once(regions: World, tmp_path: Path) -> None:
    check_views(killed("projectors", "projector", regions, tmp_path, lambda workers: workers.made < 6, 2)[0])


def for_a_minute() -> Callable[[Fleet], bool]:
    end = time.monotonic() + 60
    return lambda _: time.monotonic() < end


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2))
def test_two_replicators_killed_for_a_minute(regions: World, tmp_path: Path, seed: int) -> None:
    check_copies(*killed("replicator", "replicator", regions, tmp_path, for_a_minute(), seed))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2))
def test_two_projectors_killed_for_a_minute(regions: World, tmp_path: Path, seed: int) -> None:
    check_views(killed("projectors", "projector", regions, tmp_path, for_a_minute(), seed)[0])
