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

from chaos.checker import sabotage
from chaos.checker.final_reads import Tables
from chaos.drills.drill import KINDS, DrillConfig, opened_drill
from chaos.drills.drill_result import DrillResult
from chaos.scenarios.runner import Run
from replicator import InvalidConfig
from replicator.replication.handover import PeerHandovers
from tests.chaos.quiet import Quiet
from tests.processes import HANGING_SECONDS, started, still_alive

pytestmark = pytest.mark.emulator
COMMAND = [sys.executable, "-c", "from chaos.cli.app import main; main()", "drill"]
BROKEN = {
    "lost": ("lost", 1),
    "gaps": ("gaps", 1),
    "duplicated": ("duplicated", 2),  # in both regions
    "from_nowhere": ("from_nowhere", 1),
    "overwritten": ("changed", 1),
    "forked": ("forked", 1),
    "views_identical": ("views_identical", 1),
    "truth_matches": ("truth", 2),  # in both regions
}
"""For each promise that can be broken: by which of the checker's it is seen, and how often."""
FIELDS = [
    "regions", "kind", "seed", "deployed_by", "promises_kept", "acknowledged", "copies",
    "acknowledged_with_copies", "unknown", "unknown_resolved_as_written",
    "lost", "from_nowhere", "duplicated", "overwritten", "gaps", "forked", "views",
    "views_identical", "truth_matches", "examples", "rpo_events", "rpo_lanes", "rpo_events_by_runbook", "gone",
    "gone_lanes", "old_events", "old_events_missing", "late_events", "cut_events", "cut_events_arrived",
    "rto_seconds", "failback_seconds", "converge_seconds", "events_per_second", "load_seconds", "total_seconds",
    "memory_mb", "faults",
]  # fmt: skip
"""Of a drill's JSON, which other programs read."""


@contextmanager
def _drilled(
    kind: str, events: int, seed: int, outage: float | None = None, regions: int = 2, copies: int = 1
) -> Iterator[tuple[Run, DrillResult]]:
    """A small drill that has run to its end, its world still there to be read."""
    config = DrillConfig(events=events, regions=regions, seed=seed, kind=kind, outage=outage, copies=copies)
    with opened_drill(config, Quiet()) as run:
        yield run, DrillResult(seed, False, run.go())


@pytest.fixture(scope="module")
def drilled() -> Iterator[tuple[Run, DrillResult]]:
    with _drilled("freeze", 400, 5) as drill:
        yield drill


def test_a_drill_of_two_regions_keeps_every_promise(drilled: tuple[Run, DrillResult]) -> None:
    _, drill = drilled
    told = drill.as_json()
    assert told["examples"] == []
    assert drill.kept
    assert told["acknowledged"] >= 400
    assert list(told) == FIELDS
    assert json.loads(json.dumps(told)) == told
    assert drill.result.as_json()["outage"]["rto_seconds"] == told["rto_seconds"]


@pytest.mark.parametrize("promise", list(sabotage.PROMISES))
def test_the_drill_sees_the_promise_when_it_is_broken(drilled: tuple[Run, DrillResult], promise: str) -> None:
    _break(*drilled, promise)


def _break(run: Run, drill: DrillResult, promise: str) -> None:
    tables = run.stage.tables
    before = {region: _dump(own) for region, own in tables.items()}
    try:
        sabotage.break_promise(promise, list(tables.values()), run.stage.world.settings("us-east-1"))
        verdict = drill.result.verdict = run.judge()
        name, count = BROKEN[promise]
        assert verdict.broken[name] == count, verdict.broken
        assert (verdict.broken.keys() == {name}) is (promise in ("truth_matches", "overwritten"))
        told = drill.as_json()[promise]
        assert told is False if promise in ("views_identical", "truth_matches") else told == count
        assert not drill.kept
    finally:
        for region, own in tables.items():
            _restore(own, before[region])
    drill.result.verdict = run.judge()
    assert drill.kept


@pytest.mark.soak
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "freeze"])
def test_a_drill_of_each_kind_keeps_every_promise_and_sees_each_that_is_broken(kind: str) -> None:
    # A minute of split brain is for the drill itself; here it is about what the checker sees.
    with _drilled(kind, 600, 5, outage=15.0 if kind == "split-brain" else None) as (run, drill):
        assert drill.result.verdict.examples == []
        assert drill.kept
        assert drill.figures.rto_seconds is not None
        assert drill.figures.failback_seconds is not None
        if not drill.kind.loses:
            assert drill.result.gone == 0
        if drill.kind.planned:
            assert (drill.figures.rpo_events, drill.figures.told_rpo) == (0, 0)
        for promise in sabotage.PROMISES:
            _break(run, drill, promise)


@pytest.mark.soak
def test_a_region_that_dies_takes_nothing_with_it_that_two_regions_held() -> None:
    with _drilled("kill", 600, 5, regions=3, copies=2) as (_, drill):
        assert drill.kept
        told = drill.as_json()
        assert (told["gone"], told["copies"], told["acknowledged_with_copies"]) == (0, 2, told["acknowledged"])


@pytest.mark.soak
def test_an_append_that_is_acknowledged_before_its_peer_has_answered_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PeerHandovers, "hand_over", lambda self, events, copies, within: ["eu-west-1"])
    with _drilled("kill", 10_000, 5, regions=3, copies=2) as (_, drill):
        assert not drill.kept
        assert drill.broken("copies") == drill.result.gone > 0


@pytest.mark.parametrize("copies", [0, 4])
def test_more_copies_than_regions_are_refused(copies: int) -> None:
    with pytest.raises(InvalidConfig, match=f"--copies {copies} is out of range; give 1 to 3"):
        DrillConfig(copies=copies)


def test_a_partition_in_which_both_sides_go_on_writing_harms_nothing() -> None:
    with _drilled("partition", 400, 5, outage=3.0) as (_, drill):
        assert drill.result.verdict.examples == []
        assert drill.kept
        assert drill.figures.rpo_events > 0  # the cut held: nothing came over
        (cut,) = drill.faults
        assert drill.figures.rto_seconds is not None
        assert drill.figures.rto_seconds < cut["until"] - cut["at"]


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
