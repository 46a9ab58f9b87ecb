"""The drill on real processes: it keeps every promise, sees each one that is broken, and leaves nothing running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from chaos.drills import sabotage
from chaos.drills.drill import Drill, make_world
from chaos.drills.flights import select
from chaos.drills.kinds import KINDS
from chaos.drills.result import DrillConfig
from chaos.world.reading import Tables
from replicator import InvalidConfig
from tests.processes import HANGING_SECONDS, started, still_alive

pytestmark = pytest.mark.emulator
COMMAND = [sys.executable, "-c", "from chaos.cli import main; main()", "drill"]
BROKEN = {
    "lost": lambda v: v.lost == 1,
    "gaps": lambda v: v.gaps == 1,
    "duplicated": lambda v: v.duplicated == 2,  # in both regions
    "from_nowhere": lambda v: v.from_nowhere == 1,
    "overwritten": lambda v: v.overwritten == 1,
    "forked": lambda v: v.forked == 1,
    "views_identical": lambda v: not v.views_identical,
    "truth_matches": lambda v: not v.truth_matches and v.views_identical,
}


class _Quiet:
    def phase(self, name: str, total: int) -> None: ...

    def progress(self, done: int) -> None: ...

    def say(self, text: str) -> None: ...


@contextmanager
def _drilled(kind: str, events: int, seed: int, outage: float | None = None) -> Iterator[Drill]:
    """A small drill that has run to its end, its world still there to be read."""
    config = DrillConfig(events=events, regions=2, seed=seed, kind=kind, outage=outage)
    with make_world(config, _Quiet()) as world:
        drill = Drill(config, world, select(config.events, config.seed), _Quiet())
        try:
            drill.load()
            drill.converge()
        finally:
            drill.stage.stop_desks()
        drill.check()
        yield drill


@pytest.fixture(scope="module")
def drilled() -> Iterator[Drill]:
    with _drilled("freeze", 400, 5) as drill:
        yield drill


def test_a_drill_of_two_regions_keeps_every_promise(drilled: Drill) -> None:
    assert drilled.result.verdict.examples == []
    assert drilled.result.kept
    assert drilled.result.acknowledged >= 400


@pytest.mark.parametrize("promise", list(sabotage.PROMISES))
def test_the_drill_sees_the_promise_when_it_is_broken(drilled: Drill, promise: str) -> None:
    _break(drilled, promise)


def _break(drilled: Drill, promise: str) -> None:
    before = {region: _dump(tables) for region, tables in drilled.tables.items()}
    try:
        sabotage.break_promise(promise, list(drilled.tables.values()), drilled.world.settings("us-east-1"))
        verdict = drilled.judge()
        assert BROKEN[promise](verdict), verdict
        assert not verdict.kept
    finally:
        for region, tables in drilled.tables.items():
            _restore(tables, before[region])
    assert drilled.judge().kept


@pytest.mark.soak
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "freeze"])
def test_a_drill_of_each_kind_keeps_every_promise_and_sees_each_that_is_broken(kind: str) -> None:
    # A minute of split brain is for the drill itself; here it is about what the checker sees.
    with _drilled(kind, 600, 5, outage=15.0 if kind == "split-brain" else None) as drill:
        result = drill.result
        assert result.verdict.examples == []
        assert result.kept
        assert result.rto_seconds is not None
        assert result.failback_seconds is not None
        if not KINDS[kind].loses:
            assert result.gone_events == 0
        if KINDS[kind].planned:
            assert (result.rpo_events, result.told_rpo) == (0, 0)
        for promise in sabotage.PROMISES:
            _break(drill, promise)


def test_a_partition_in_which_both_sides_go_on_writing_harms_nothing() -> None:
    with _drilled("partition", 400, 5, outage=3.0) as drill:
        assert drill.result.verdict.examples == []
        assert drill.result.kept
        assert drill.result.rpo_events > 0  # the cut held: nothing came over
        (cut,) = drill.result.faults
        assert drill.result.rto_seconds is not None
        assert cut.until is not None
        assert drill.result.rto_seconds < cut.until - cut.at


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "freeze"])
def test_on_what_terraform_deploys_a_region_can_only_be_frozen(kind: str) -> None:
    with pytest.raises(InvalidConfig, match=rf"--kind {kind} needs workers .* or use --kind freeze"):
        DrillConfig(kind=kind, terraform=True)


def test_a_kind_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(InvalidConfig, match=r"--kind 'flood' is unknown; choose from freeze, kill, .*, or all"):
        DrillConfig(kind="flood")


def _dump(tables: Tables) -> dict[str, dict[str, Any]]:
    return {
        table: {json.dumps([i["pk"], i.get("sk")]): i for i in tables.client.scan(TableName=table)["Items"]}
        for table in ("meridian-events", "meridian-views")
    }


def _restore(tables: Tables, before: dict[str, dict[str, Any]]) -> None:
    for table, now in _dump(tables).items():
        for key, item in now.items():
            if key not in before[table]:
                tables.client.delete_item(TableName=table, Key={name: item[name] for name in ("pk", "sk") if name in item})
        for key, item in before[table].items():
            if now.get(key) != item:
                tables.client.put_item(TableName=table, Item=item)


@pytest.mark.soak
def test_the_command_writes_its_result_and_exits_0(tmp_path: Path) -> None:
    result = tmp_path / "out.json"
    command = [*COMMAND, "--events", "600", "--json", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGING_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(result.read_text())
    assert told["acknowledged"] >= 600
    zero = ("lost", "duplicated", "overwritten", "forked", "gaps", "from_nowhere")
    assert {name: told[name] for name in zero} == dict.fromkeys(zero, 0)
    assert told["views_identical"] is True
    assert told["truth_matches"] is True
    assert told["views"] > 100
    assert len(told["regions"]) == 3
    assert told["rpo_events"] >= 0
    assert told["rto_seconds"] > 0
    assert told["events_per_second"] > 0
    assert [fault["kind"] for fault in told["faults"]] == ["freeze"]


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, id="ctrl-c"),
        pytest.param(signal.SIGTERM, id="sigterm", marks=pytest.mark.soak),
        pytest.param(signal.SIGKILL, id="kill -9", marks=pytest.mark.soak),
    ],
)
def test_nothing_is_left_running_when_a_drill_is_interrupted(number: signal.Signals, tmp_path: Path) -> None:
    environment, line = {**os.environ, "TMPDIR": str(tmp_path)}, [*COMMAND, "--events", "50000"]
    with (tmp_path / "log").open("w+") as log, started(line, environment, stdout=log, stderr=log) as drill:
        drill.wait_for("appending", tmp_path / "log")
        seen = drill.family()
        assert len(seen) >= 10, (tmp_path / "log").read_text()
        drill.send(number)
        assert drill.wait() == (-9 if number == signal.SIGKILL else 128 + number)
        assert not still_alive(seen | drill.family())


@pytest.mark.soak
@pytest.mark.parametrize("promise", list(sabotage.PROMISES))
def test_the_command_exits_1_when_the_promise_is_broken(promise: str, tmp_path: Path) -> None:
    result = tmp_path / "out.json"
    command = [*COMMAND, "--events", "300", "--regions", "2", "--break", promise, "--json", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANGING_SECONDS)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout
    assert json.loads(result.read_text())["promises_kept"] is False


@pytest.mark.soak
def test_fifty_kills_of_replicators_and_projectors_lose_and_double_nothing(tmp_path: Path) -> None:
    result = tmp_path / "out.json"
    command = [*COMMAND, "--events", "5000", "--kills", "50", "--json", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * HANGING_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    faults = [fault for fault in json.loads(result.read_text())["faults"] if fault["kind"] == "kill -9"]
    assert len(faults) == 50
    assert {fault["target"].split()[0] for fault in faults} == {"replicator", "projector"}
