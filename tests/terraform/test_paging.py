"""Failures of regions on emulators: each is red in `replicator status` and sends one message, by the metrics that the
deployed functions, or the workers, really emitted. Two seconds stand for a minute.

The emulator neither judges alarms nor has Lambda's own metrics: tests/terraform/cloudwatch.py judges, and a function that
logged something was called.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from chaos.world.terraform import ROOT, SERVICES, Terraform, TerraformWorld
from chaos.world.world import World, WorldOptions
from replicator.ops.status.gather import gather
from replicator.ops.status.judgement import Judgement, Level
from replicator.ops.system import System
from replicator.runtime.settings import Settings
from tests.embedded_metrics import embedded
from tests.processes import wait_until
from tests.terraform.cloudwatch import Alarm, Composite, Evaluation, Metric

pytestmark = pytest.mark.deploy

REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2")
EAST, WEST, SOUTH = REGIONS
MINUTE = 2.0
"""Seconds that stand for a minute."""
THRESHOLDS = {"backlog_stuck_seconds": 10**6, "iterator_age_seconds": 10**6}
"""Of what the emulators do not measure; the others are the defaults."""
TIMES = {"HeartbeatAge", "ReplicationLag", "BacklogAge"}
"""Metrics that are times: their thresholds go by the minute that is taken here."""
HEALTHY, WITHIN = 10, 8
"""Periods of health, and periods within which a failure is to be known."""


@dataclass
class Region:
    """The planned alarms of a region, and its metrics as they were emitted: (seconds since the epoch, metric, value)."""

    alarms: Sequence[Alarm]
    composites: Sequence[Composite]
    emitted: list[tuple[float, Metric, float]] = field(default_factory=list)

    def messages(self, begun: float, periods: int) -> list[tuple[int, str]]:
        """What the alarms send in these periods, where everything that is not emitted here is well."""
        history: dict[Metric, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for at, metric, value in self.emitted:
            history[metric][int((at - begun) // MINUTE)].append(value)
        evaluation = Evaluation(self.alarms, self.composites)
        evaluation.run(history, range(2, periods))
        return [(period, name.removeprefix("meridian-")) for period, name, _ in evaluation.sent]


def scaled(alarm: Alarm) -> Alarm:
    """The alarm where a minute is MINUTE."""
    if TIMES.isdisjoint(metric.name for metric in alarm.metrics.values()):
        return alarm
    return replace(alarm, threshold=alarm.threshold * MINUTE / 60)


def plans(world: World, terraform: Terraform) -> dict[str, Region]:
    """The alarms that a plan for AWS has in each region."""
    found = {}
    for region in REGIONS:
        changes = terraform.plan(world.settings(region), {
            "region": region, "peers": [other for other in REGIONS if other != region], "thresholds": THRESHOLDS,
            "package": str(ROOT / "terraform" / "tests" / "package.zip"),
        })  # fmt: skip
        after = [(change["type"], change["change"]["after"]) for change in changes]
        found[region] = Region(
            [scaled(Alarm.of(each)) for kind, each in after if kind == "aws_cloudwatch_metric_alarm"],
            [Composite.of(each) for kind, each in after if kind == "aws_cloudwatch_composite_alarm"],
        )
    return found


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], dict[str, Region]]]:
    with World([EAST], options=WorldOptions(workers=False, services=SERVICES, tables=False)) as world:
        folder = tmp_path_factory.mktemp("planned")
        terraform = Terraform(folder, folder / "terraform.log")
        terraform.init(REGIONS)
        settings = world.settings(EAST)

        class Everywhere:
            """One emulator plans for every region."""

            def settings(self, region: str) -> Settings:
                return Settings(region, endpoints={region: str(settings.endpoint(EAST))})

        made = plans(Everywhere(), terraform)  # type: ignore[arg-type]
        yield lambda: {region: Region(each.alarms, each.composites) for region, each in made.items()}


def to_act_on(system: System) -> list[tuple[str, str]]:
    """What `replicator status` says is to be acted on: where, and the first words of what."""
    found = Judgement(gather(system, "meridian")).all()
    return [(each.where, each.text) for each in found if each.level is Level.ACT]


# -- deployed by Terraform ---------------------------------------------------------------------------------------------


class Quick(TerraformWorld):
    """Functions whose heartbeats say that the next one comes in two seconds."""

    def variables(self, region: str) -> dict[str, Any]:
        found = super().variables(region)
        found["emulator"]["environment"]["MERIDIAN_HEARTBEAT"] = str(MINUTE)
        return found


@pytest.fixture(scope="module")
def world() -> Iterator[TerraformWorld]:
    with Quick(REGIONS, include=(), read_timeout=2.0) as made:
        yield made


class Beating:
    """Calls each region's heartbeat function every two seconds, as the rule does every minute."""

    def __init__(self, world: TerraformWorld, regions: Sequence[str] = REGIONS) -> None:
        self._world = world
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._beat, args=(region,), daemon=True) for region in regions]

    def _beat(self, region: str) -> None:
        functions, due = self._world.client(region, "lambda"), time.monotonic()
        while not self._stop.is_set():
            functions.invoke(FunctionName="meridian-heartbeat", Payload=b"{}")
            due += MINUTE
            self._stop.wait(max(0.0, due - time.monotonic()))

    def __enter__(self) -> Beating:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def events(world: TerraformWorld, region: str, function: str) -> list[Mapping[str, Any]]:
    """The log of a function."""
    logs, group = world.client(region, "logs"), f"/aws/lambda/meridian-{function}"
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
    return [event for page in pages for event in page["events"]]


def collect(world: TerraformWorld, region: str, into: Region) -> None:
    for function in ("replicator", "catch-up", "heartbeat"):
        for event in events(world, region, function):
            at = event["timestamp"] / 1000
            if function == "replicator":
                into.emitted.append((at, Metric.of("AWS/Lambda", "IteratorAge", FunctionName="meridian-replicator"), 0.0))
            for namespace, data in embedded(event["message"]):
                dimensions = {each["Name"]: each["Value"] for each in data["Dimensions"]}
                into.emitted.append((at, Metric.of(namespace, data["MetricName"], **dimensions), data["Value"]))


def beats(world: TerraformWorld, region: str) -> int:
    return sum('"Heartbeats"' in event["message"] for event in events(world, region, "heartbeat"))


def pause(periods: float) -> None:
    """Let the metrics of so many periods be emitted."""
    time.sleep(periods * MINUTE)


def test_the_rule_calls_the_function_and_its_heartbeats_arrive_everywhere(world: TerraformWorld) -> None:
    for region in REGIONS:
        wait_until(lambda: beats(world, region), "a heartbeat by the rule", pause=1.0)  # noqa: B023
    system = System.connect(world.settings(EAST))

    def seen() -> bool:
        status = gather(system, "meridian")
        return all(each.heartbeat_seconds is not None for each in (*status.regions, *status.links))

    wait_until(seen, "heartbeats of every region in every region", pause=1.0)


def test_a_region_that_writes_nothing_is_seen_running_by_its_peers_heartbeats(world: TerraformWorld) -> None:
    before = len(events(world, SOUTH, "replicator"))
    with Beating(world, [EAST, WEST]):
        wait_until(lambda: len(events(world, SOUTH, "replicator")) > before + 3, "calls of the replicator", pause=1.0)


def test_a_mapping_that_is_disabled_pages_once_in_each_region(
    world: TerraformWorld, planned: Callable[[], dict[str, Region]]
) -> None:
    regions, functions = planned(), world.client(EAST, "lambda")
    with Beating(world):
        system = System.connect(world.settings(WEST))
        wait_until(lambda: to_act_on(system) == [], "all is well", pause=1.0)
        begun = time.time()
        pause(HEALTHY)
        assert to_act_on(system) == []
        (mapping,) = functions.list_event_source_mappings(FunctionName="meridian-replicator")["EventSourceMappings"]
        functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
        struck = time.time()
        red = {f"{EAST} → {WEST}", f"{EAST} → {SOUTH}"}
        wait_until(lambda: {where for where, _ in to_act_on(system)} == red, "status is red", pause=0.2)
        assert time.time() - struck < WITHIN * MINUTE
        pause(WITHIN + 2)
        ended = time.time()
    sent = {}
    for region, each in regions.items():
        collect(world, region, each)
        sent[region] = each.messages(begun, int((ended - begun) // MINUTE))
    assert {region: [name for _, name in found] for region, found in sent.items()} == {
        EAST: ["replicator"], WEST: [f"peer-{EAST}"], SOUTH: [f"peer-{EAST}"]
    }  # fmt: skip
    known = [period - int((struck - begun) // MINUTE) for found in sent.values() for period, _ in found]
    assert max(known) <= WITHIN, known
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)
    with Beating(world):
        wait_until(lambda: to_act_on(system) == [], "all is well again", pause=1.0)


# -- workers -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("MERIDIAN_LOG", "debug")
    with World(REGIONS, options=WorldOptions(heartbeat=MINUTE, faulty=True)) as made:
        yield made


def told(log: Path) -> Iterator[tuple[float, Metric, float]]:
    """The metrics in a worker's log."""
    for line in log.read_text().splitlines():
        if line.startswith("{") and (said := json.loads(line)).get("event") == "metrics":
            at = datetime.fromisoformat(said["timestamp"]).timestamp()
            dimensions = {name: said[name] for name in ("region", "link") if name in said}
            values = {name: value for name, value in said.items() if isinstance(value, int | float)}
            for name, value in values.items():
                yield at, Metric.of("Meridian", name, **dimensions), value


def messages(world: World, regions: Mapping[str, Region], begun: float) -> dict[str, list[tuple[int, str]]]:
    periods = int((time.time() - begun) // MINUTE)
    found = {}
    for region, each in regions.items():
        each.emitted.clear()
        each.emitted += told(world.logs / f"{region}-replicator.log")
        # A worker has no function whose silence CloudWatch would see.
        name = Metric.of("AWS/Lambda", "IteratorAge", FunctionName="meridian-replicator")
        each.emitted += [(begun + period * MINUTE + 0.1, name, 0.0) for period in range(periods)]
        found[region] = each.messages(begun, periods)
    return found


def healthy(world: World, system: System) -> float:
    """Wait until every heartbeat has arrived everywhere, then let some periods pass. Returns when those began."""

    def seen() -> bool:
        status = gather(system, "meridian")
        return all(each.heartbeat_seconds is not None for each in (*status.regions, *status.links))

    wait_until(seen, "heartbeats of every region in every region", pause=0.2)
    begun = time.time()
    pause(HEALTHY)
    assert to_act_on(system) == []
    return begun


def test_a_worker_that_is_stopped_is_red_and_pages_once_in_each_region(
    workers: World, planned: Callable[[], dict[str, Region]]
) -> None:
    regions, system = planned(), System.connect(workers.settings(WEST))
    begun = healthy(workers, system)
    workers.regions[EAST].replicator.terminate()
    workers.regions[EAST].replicator.stop()
    struck = time.time()
    wait_until(lambda: to_act_on(system), "status is red", pause=0.2)
    assert time.time() - struck < WITHIN * MINUTE
    ((where, text),) = to_act_on(system)
    assert where == EAST
    assert text.startswith("has written no heartbeat for")
    pause(WITHIN + 2)
    sent = messages(workers, regions, begun)
    assert {region: [name for _, name in found] for region, found in sent.items()} == {
        EAST: ["heartbeat"], WEST: [f"peer-{EAST}"], SOUTH: [f"peer-{EAST}"]
    }  # fmt: skip
    assert max(period for found in sent.values() for period, _ in found) - int((struck - begun) // MINUTE) <= WITHIN


def test_a_permission_that_is_revoked_is_red_and_pages_once_in_each_region(
    workers: World, planned: Callable[[], dict[str, Region]]
) -> None:
    """Nobody may write to eu-west-1's events any more, its own writers included."""
    regions, system = planned(), System.connect(workers.settings(EAST))
    begun = healthy(workers, system)
    assert workers.services is not None
    refused = {"statusCode": 400, "code": "AccessDeniedException"}
    workers.services.faults.set([
        {"service": "dynamodb", "region": WEST, "operation": operation, "probability": 1.0, "error": refused}
        for operation in ("BatchExecuteStatement", "ExecuteStatement", "ExecuteTransaction")
    ])  # fmt: skip
    struck = time.time()
    red = {WEST, f"{EAST} → {WEST}", f"{SOUTH} → {WEST}"}
    wait_until(lambda: {where for where, _ in to_act_on(system)} == red, "status is red", pause=0.2)
    assert time.time() - struck < WITHIN * MINUTE
    pause(WITHIN + 2)
    sent = messages(workers, regions, begun)
    assert {region: sorted(name for _, name in found) for region, found in sent.items()} == {
        EAST: [f"peer-{WEST}"], SOUTH: [f"peer-{WEST}"], WEST: ["heartbeat"]
    }  # fmt: skip
    assert max(period for found in sent.values() for period, _ in found) - int((struck - begun) // MINUTE) <= WITHIN
    workers.services.faults.clear()
    wait_until(lambda: to_act_on(system) == [], "all is well again", pause=0.2)
