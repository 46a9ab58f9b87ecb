"""Scenarios on emulators: one quick one in every test run, some as a soak, and breaches that must be found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.checker.check import check
from chaos.checker.history import load_history
from chaos.drills import sabotage
from chaos.scenarios.result import Result
from chaos.scenarios.runner import Run, run_scenario
from chaos.scenarios.scenario import Scenario, Step, find_scenario

pytestmark = pytest.mark.emulator


class Quiet:
    """A watcher that keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def phase(self, name: str, total: int) -> None:
        self.told.append(name)

    def progress(self, done: int) -> None:
        pass

    def say(self, text: str) -> None:
        self.told.append(text)


def run(scenario: Scenario, seed: int, history_file: Path | None = None, watch: Quiet | None = None) -> Result:
    result = run_scenario(scenario, seed, watch or Quiet(), history_file)
    assert isinstance(result, Result)
    return result


def test_a_short_scenario_keeps_every_promise_and_its_history_can_be_judged_again(tmp_path: Path) -> None:
    method = (
        Step("hole", {"from": "first", "both-ways": True}, 1.0, 2.0),
        Step("kill-worker", {"region": "second", "worker": "replicator"}, 2.0),
    )
    scenario = replace(find_scenario("partition"), seconds=6.0, sessions=1, method=method)
    watch, file = Quiet(), tmp_path / "history.jsonl"
    result = run(scenario, 3, file, watch)
    assert (result.kept, result.verdict.examples, result.unexpected) == (True, [], [])
    assert result.acknowledged > 50
    assert [(each.name, each.ended is not None) for each in result.steps] == [("hole", True), ("kill-worker", True)]
    assert result.steps[0].ended is not None
    assert result.steps[0].ended - result.steps[0].began >= 2.0
    assert json.loads(json.dumps(result.as_json()))["acknowledged_events"] == result.acknowledged
    again = load_history(file)
    assert sum(1 for _ in again.acknowledged()) == result.acknowledged
    assert {name.split()[0] for name in check(again, {}).untested} >= {"lost"}  # without final reads nothing is proven


def test_a_breach_in_the_tables_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """One payload is altered in place at a peer after everything has arrived."""
    scenario = replace(find_scenario("partition"), seconds=3.0, sessions=1, method=())
    judge = Run._judge

    def alter_first(run: Run) -> None:
        tables = list(run.stage.tables.values())
        peer, _, last = sabotage._copy(tables, run.stage.world.settings(tables[1].region))
        payload = {**json.loads(last["payload"]["S"]), "extra": 1}
        sabotage._put(peer, run.stage.world.settings(peer.region), {**last, "payload": {"S": json.dumps(payload)}})
        judge(run)

    monkeypatch.setattr(Run, "_judge", alter_first)
    result = run(scenario, 3)
    assert not result.kept
    assert "changed" in result.verdict.broken


@pytest.mark.soak
@pytest.mark.parametrize(
    "name", ["two-freeze", "partitions-heal-in-turn", "failover", "region-restored", "hot-thing", "five-regions"]
)
def test_a_scenario_keeps_every_promise(name: str) -> None:
    """A part of them; `make scenarios` runs all."""
    result = run(find_scenario(name), 2)
    assert (result.kept, result.verdict.examples, result.unexpected) == (True, [], [])
