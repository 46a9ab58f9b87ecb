"""Scenarios on emulators: one quick one in every test run, some as a soak, and breaches that must be found."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from chaos.checker import sabotage
from chaos.checker.check import check
from chaos.child_processes import free_ports
from chaos.scenarios import runner
from chaos.scenarios.result import Result
from chaos.scenarios.runner import Run, opened, run_scenario
from chaos.scenarios.scenario import Scenario, Step
from chaos.scenarios.scenario_file import find_scenario
from chaos.scenarios.stage import Stage
from chaos.scenarios.visitors import Visitor
from chaos.world.region import emulator
from replicator.aws import clients
from replicator.runtime.settings import Settings
from tests.chaos.checker.reading import read_history
from tests.chaos.quiet import Quiet

pytestmark = pytest.mark.emulator


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
    assert min(result.events.values()) > 0
    assert "held" in result.steps[0].said
    assert "ran, and was killed" in result.steps[1].said
    assert [(each.name, each.ended is not None) for each in result.steps] == [("hole", True), ("kill-worker", True)]
    assert result.steps[0].ended is not None
    assert result.steps[0].ended - result.steps[0].began >= 2.0
    assert json.loads(json.dumps(result.as_json()))["acknowledged_events"] == result.acknowledged
    again = read_history(file.read_text().splitlines())
    assert sum(1 for _ in again.acknowledged()) == result.acknowledged
    unproven = check(again, {})  # without final reads nothing is proven
    assert {"gaps", "forked", "views_complete"} <= {*unproven.untested}


def test_a_breach_in_the_tables_and_a_fault_that_met_nothing_are_found() -> None:
    """One payload is altered in place at a peer after everything has arrived; and nothing called the service that failed."""
    rules = [{"service": "sqs", "error": {"statusCode": 500, "code": "InternalError"}}]
    method = (Step("fail", {"rules": rules}, 0.5, 0.5),)
    scenario = replace(find_scenario("partition"), seconds=3.0, sessions=1, method=method)

    def alter(stage: Stage) -> None:
        settings = stage.world.settings("us-east-1")
        peer, _, last = sabotage._copy(list(stage.tables.values()), settings)
        payload = {**json.loads(last["payload"]["S"]), "extra": 1}
        sabotage._put(peer, settings, {**last, "payload": {"S": json.dumps(payload)}})

    with opened(scenario, 3, Quiet()) as unjudged:
        assert isinstance(unjudged, Run)
        result = unjudged.go(alter)
    assert not result.kept
    assert set(result.verdict.broken) == {"changed"}, result.verdict.broken
    assert [each.said for each in result.unstruck] == ["500 InternalError: sqs: struck 0 of 0 (none)"]


def test_services_fail_and_clocks_are_wrong_in_a_world_of_which_a_region_is_elsewhere(tmp_path: Path) -> None:
    throttling = {"service": "dynamodb", "probability": 0.2, "error": {"statusCode": 400, "code": "ThrottlingException"}}
    lost = {"operation": "ExecuteTransaction", "probability": 0.5, "meridian": {"effect": "answer-lost", "how": "reset"}}
    method = (
        Step("fail", {"rules": [{**throttling, "operation": "ExecuteTransaction"}]}, 0.5, 2.0),
        Step("fail", {"rules": [{**lost, "region": "second"}]}, 1.0, 3.0),
        Step("clock", {"region": "first", "seconds": 60}, 1.0, 2.0),
        Step("slow", {"to": "third", "latency": 0.05, "jitter": 0.02, "loss": 0.01, "direction": "there"}, 1.0, 2.0),
    )
    scenario = replace(find_scenario("partition"), seconds=5.0, sessions=1, method=method)
    (port,) = free_ports(1)
    elsewhere = emulator("eu-west-1", port, "dynamodb,dynamodbstreams", tmp_path)
    url = f"http://127.0.0.1:{port}"
    elsewhere.start()
    try:
        for longer in (0.0, 20.0, 80.0):  # how soon a call is struck, hangs on the machine
            steps = tuple(replace(step, lasts=(step.lasts or 0) + longer) for step in method)
            tried = replace(scenario, seconds=5.0 + longer, method=steps)
            result = run_scenario(tried, 1, Quiet(), endpoints={"eu-west-1": url})
            assert isinstance(result, Result)
            if result.doubted and not result.unstruck:
                break
        left = clients.dynamodb(Settings("eu-west-1", endpoints={"eu-west-1": url}), "eu-west-1").list_tables()
    finally:
        elsewhere.stop()
    assert isinstance(result, Result)
    assert (result.kept, result.verdict.examples, result.unexpected) == (True, [], [])
    assert left["TableNames"] == []
    said = {each.name: each.said for each in result.steps if each.name == "fail"}
    assert "answer-lost 50%: ExecuteTransaction in" in said["fail"]
    said = {each.name: each.said for each in result.steps}
    assert "read a wrong time: clients" in said["clock"]
    assert "pieces delayed" in said["slow"]
    assert result.doubted > 0
    assert max(result.series["lag"]["us-east-1"]["at"]) > 5
    assert sum(result.series["calls"]["eu-west-1"]["events"].values()) > 10


def test_clients_that_hang_fail_the_run_and_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """In two of three regions every client hangs from its first call of the timeline on."""
    hanging, freed = threading.Event(), threading.Event()
    act = Visitor._act

    def hang(session: Visitor) -> None:
        if hanging.is_set() and session.home != "us-east-1":
            freed.wait()
        act(session)

    steady = Run._steady

    def then_hang(run: Run) -> None:
        steady(run)
        hanging.set()

    monkeypatch.setattr(Visitor, "_act", hang)
    monkeypatch.setattr(Run, "_steady", then_hang)
    monkeypatch.setattr(runner, "_ANSWER_SECONDS", 1.0)
    monkeypatch.setattr(runner, "_ASK_SECONDS", 1.0)
    scenario = replace(find_scenario("partition"), seconds=2.0, sessions=1, method=())
    try:
        result = run(scenario, 1)
    finally:
        freed.set()
    hung = ["ap-southeast-2-0", "eu-west-1-0"]
    assert (result.unfinished, result.unanswered) == (hung, hung)
    assert set(result.silent) <= {"ap-southeast-2", "eu-west-1"}
    assert result.verdict.broken == {}
    assert not result.kept
