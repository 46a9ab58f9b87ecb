"""What actions do to a stage, and what they say that they have struck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos.checker.history import History
from chaos.child_processes import Process, ProcessFailed
from chaos.faults.clocks import Clock
from chaos.faults.control import Told
from chaos.faults.engine import Engine
from chaos.faults.request import Asked
from chaos.faults.rules import Rule
from chaos.scenarios.actions import make
from chaos.scenarios.outage import Outage
from chaos.scenarios.stage import Stage
from chaos.world.layers import Layers
from chaos.world.world import World

EAST, WEST = "us-east-1", "eu-west-1"
PUT = Asked("dynamodb", "PutItem", EAST, "json")


class Region:
    """Programs that sleep, and are what the stage takes for a region's."""

    def __init__(self, logs: Path) -> None:
        self.name, self.down = EAST, False
        names = ("emulator", "replicator", "projector")
        made = [Process(f"{name} of {EAST}", ["sleep", "600"], {}, logs / name) for name in names]
        self.emulator, self.replicator, self.projector = made
        self.processes, self.workers = made, made[1:]
        for process in made:
            process.start()

    def freeze(self) -> None:
        for process in self.processes:
            process.freeze()

    def thaw(self) -> None:
        for process in self.processes:
            process.thaw()

    def kill(self) -> None:
        self.down = True
        for process in self.processes:
            process.kill()

    def come_back_empty(self) -> None:
        for process in self.processes:
            process.start()
        self.down = False

    def wait_healthy(self) -> None:
        pass


class Services:
    """An engine without a proxy before it."""

    def __init__(self) -> None:
        self.engine = Engine(lambda: 0.0)

    def add(self, rules: tuple[Rule, ...]) -> None:
        self.engine.add(rules)

    def remove(self, rules: tuple[Rule, ...]) -> None:
        self.engine.remove(rules)

    def told(self) -> list[Told]:
        return [
            Told(each.rule, each.seen, each.strikes, dict(each.struck), each.active)
            for each in (*self.engine._before, *self.engine._armed)
        ]


class Network:
    links = (f"{EAST}>{WEST}", f"{WEST}>{EAST}")

    def __init__(self) -> None:
        self.did: dict[str, Counter[str]] = {}
        self.ways: dict[str, str] = {}

    def put(self, way: str, delays: Mapping[str, Any], links: Any = None) -> dict[str, Counter[str]]:
        self.ways |= dict.fromkeys(links, way)
        return {name: self.did.pop(name, Counter()) for name in links}


@pytest.fixture
def region(tmp_path: Path) -> Iterator[Region]:
    made = Region(tmp_path)
    yield made
    for process in made.processes:
        process.stop()


@pytest.fixture
def stage(region: Region, tmp_path: Path) -> Stage:
    made = object.__new__(Stage)
    network = Network()
    world = SimpleNamespace(regions={EAST: region}, network=network, services=SimpleNamespace(faults=Services()),
                            clocks={EAST: Clock(tmp_path / "clock")})  # fmt: skip
    world.keep_workers = lambda killed: World.keep_workers(cast(World, world), killed)
    made.regions, made.world, made.sessions = (EAST, WEST), cast(World, world), []
    made._remarks, made._struck, made._killed, made._seeds = [], True, set(), 1_000
    made.kills_left, made.staying, made.outage, made.workload = 0, [], Outage(made, WEST, True), cast(Any, None)
    made._layers, made._backups, made._survived = Layers(network), {}, set()
    made.tables = {WEST: cast(Any, SimpleNamespace(digests=lambda _: {}))}
    made.history = History(lambda: 0.0)
    made.lost = set()
    return made


def _until(condition: Callable[[], bool], process: Process) -> None:
    while not condition():
        process.wait_running(0.01)


def test_a_worker_that_is_killed_ran_and_is_started_again(stage: Stage, region: Region) -> None:
    pid = region.replicator.pid
    make("kill-worker", {"region": "first"}).start(stage)
    assert stage.take_remarks() == (f"replicator of {EAST} (process {pid}) ran, and was killed", True)
    stage.beat()
    assert region.replicator.running
    assert region.replicator.pid != pid


def test_a_worker_of_a_region_that_is_dead_cannot_be_killed_and_its_own_end_is_seen_later(
    stage: Stage, region: Region
) -> None:
    kill = make("kill", {"region": "first"})
    kill.start(stage)
    make("kill-worker", {"region": "first"}).start(stage)
    assert stage.take_remarks() == (f"replicator of {EAST} did not run", False)
    kill.stop(stage)
    assert stage.take_remarks() == ("3 of 3 processes were killed and stayed down to the end", True)
    region.replicator.kill()
    with pytest.raises(ProcessFailed, match=f"replicator of {EAST} ended by itself"):
        stage.beat()


def test_a_worker_that_was_killed_just_before_its_region_is_nobodys_to_start_when_that_is_back(
    stage: Stage, region: Region
) -> None:
    make("kill-worker", {"region": "first"}).start(stage)
    region.down = True  # so that no beat starts it
    stage.die("first")
    stage.come_back("first", None)
    region.replicator.kill()
    with pytest.raises(ProcessFailed, match="ended by itself"):
        stage.beat()


def test_a_worker_that_is_frozen_stands_still_to_the_end(stage: Stage, region: Region) -> None:
    freeze = make("freeze-worker", {"region": "first", "worker": "projector"})
    freeze.start(stage)
    _until(lambda: region.projector.stopped, region.projector)
    freeze.stop(stage)
    said = f"projector of {EAST} (process {region.projector.pid}) stayed stopped to the end"
    assert stage.take_remarks() == (said, True)
    _until(lambda: not region.projector.stopped, region.projector)


@pytest.mark.parametrize("how", ["killed", "thawed", "dead before", "frozen before"])
def test_a_worker_that_did_not_stand_still_was_not_frozen(stage: Stage, region: Region, how: str) -> None:
    worker, freeze = region.replicator, make("freeze-worker", {"region": "first"})
    if how == "dead before":
        region.down = True  # no beat starts it
        worker.kill()
    if how == "frozen before":
        worker.freeze()
        _until(lambda: worker.stopped, worker)
    freeze.start(stage)
    if how == "killed":
        make("kill-worker", {"region": "first"}).start(stage)
        stage.beat()
        stage.take_remarks()
    if how == "thawed":
        _until(lambda: worker.stopped, worker)
        worker.thaw()
        _until(lambda: not worker.stopped, worker)
    freeze.stop(stage)
    said, struck = stage.take_remarks()
    assert not struck
    assert "did not" in said


def test_a_region_that_is_frozen_says_how_much_of_it_stood_still(stage: Stage, region: Region) -> None:
    for thawed, said in ((False, "3 of 3"), (True, "2 of 3")):
        freeze = make("freeze", {"region": "first"})
        freeze.start(stage)
        for process in region.processes:
            _until(lambda process=process: process.stopped, process)  # type: ignore[misc]
        if thawed:
            region.emulator.thaw()
            _until(lambda: not region.emulator.stopped, region.emulator)
        freeze.stop(stage)
        assert stage.take_remarks() == (f"{said} processes stayed stopped to the end", not thawed)
        for process in region.processes:
            _until(lambda process=process: not process.stopped, process)  # type: ignore[misc]


def test_rules_that_end_leave_all_others_as_they_are_and_are_told_apart_from_their_like(stage: Stage) -> None:
    engine = cast(Any, stage.services).engine
    first, second = (make("fail", {"rules": [{"operation": "PutItem", "meridian": {"times": 3}}]}) for _ in range(2))
    first.start(stage)
    second.start(stage)
    for _ in range(4):
        engine.strike(PUT)
    first.stop(stage)
    assert stage.take_remarks() == (f"503 ServiceUnavailable: PutItem: struck 3 of 4 ({PUT} 3)", True)
    assert [(each.seen, each.strikes) for each in engine._armed] == [(1, 1)]
    struck = [engine.strike(PUT) is not None for _ in range(4)]
    assert struck == [True, True, False, False]
    second.stop(stage)
    assert stage.take_remarks() == (f"503 ServiceUnavailable: PutItem: struck 3 of 5 ({PUT} 3)", True)
    assert engine.rules == []


def test_rules_that_met_no_request_say_so_though_their_like_did(stage: Stage) -> None:
    engine = cast(Any, stage.services).engine
    first, second = (make("fail", {"rules": [{"operation": "PutItem"}]}) for _ in range(2))
    first.start(stage)
    engine.strike(PUT)
    first.stop(stage)
    assert stage.take_remarks()[1]
    second.start(stage)
    second.stop(stage)
    assert stage.take_remarks() == ("503 ServiceUnavailable: PutItem: struck 0 of 0 (none)", False)


def test_links_say_what_was_held_and_a_hole_that_held_nothing_is_none(stage: Stage) -> None:
    network = cast(Any, stage.network)
    met, none = make("hole", {"from": "first"}), make("hole", {"from": "second"})
    met.start(stage)
    none.start(stage)
    assert set(network.ways.values()) == {"hole"}
    network.did[f"{EAST}>{WEST}"] = Counter({"bytes held": 1_200})
    met.stop(stage)
    assert stage.take_remarks() == ("1,200 bytes held", True)
    none.stop(stage)
    assert stage.take_remarks() == ("nothing passed these links", False)
    assert set(network.ways.values()) == {"pass"}


def test_a_clock_that_no_client_looked_at_was_no_fault(stage: Stage) -> None:
    clock = stage.clock("first")
    for looks in (3, 0):
        clock.wall()
        wrong = make("clock", {"region": "first", "seconds": 60})
        wrong.start(stage)
        for _ in range(looks):
            clock.wall()
        wrong.stop(stage)
        clock.wall()
        said, struck = stage.take_remarks()
        assert said.startswith(f"read a wrong time: clients {looks} times; replicator of {EAST} 0")
        assert struck == (looks > 0)
