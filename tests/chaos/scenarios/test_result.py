"""When a run is kept: every client was answered, every region acknowledged, no more is gone than may be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chaos.checker.history import History, Written
from chaos.checker.verdict import Verdict
from chaos.scenarios.evidence import events_by_region, writers
from chaos.scenarios.outage import Figures
from chaos.scenarios.result import Done, Result
from chaos.scenarios.scenario_file import find_scenario

EAST, WEST = "us-east-1", "eu-west-1"
FIELDS = [
    "scenario", "title", "description", "seed", "regions", "endpoints", "kept", "broken", "not_looked_at",
    "expected_untested", "converge_within", "promises", "calls", "unknown_at_first", "acknowledged_events",
    "acknowledged_by_region", "silent_regions", "unanswered_sessions", "unfinished_sessions", "gone_events", "gone_at_most",
    "why_not", "outage", "event_writes", "load_seconds", "converge_seconds", "timeline", "series",
]  # fmt: skip
"""Of the JSON of `chaos run`, which other programs read."""


def good(**changed: Any) -> Result:
    scenario = find_scenario("partition")
    result = Result(replace(scenario, untested=tuple(Verdict().untested)), 1, (EAST, WEST))
    result.acknowledged, result.converge_seconds, result.events = 9, 1.0, {EAST: 5, WEST: 4}
    for name, value in changed.items():
        setattr(result, name, value)
    return result


def test_a_run_of_which_nothing_is_wrong_is_kept() -> None:
    assert (good().kept, good().why) == (True, [])
    assert list(good().as_json()) == FIELDS
    assert list(good(outage=Figures(EAST, rto_seconds=1.234)).as_json()["outage"].items()) == [
        ("region", EAST), ("rpo_events", 0), ("rpo_lanes", 0), ("rpo_events_by_runbook", None), ("rto_seconds", 1.23),
        ("failback_seconds", None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"silent": [WEST]}, "regions without an acknowledgement since the timeline began: eu-west-1"),
        ({"unanswered": ["eu-west-1-0"]}, "sessions without an acknowledged write after the last step: eu-west-1-0"),
        ({"unfinished": ["eu-west-1-0"]}, "sessions still calling long after the request to finish: eu-west-1-0"),
        ({"gone": 1}, "1 acknowledged events are gone; expect.gone allows 0"),
        ({"converge_seconds": 61.0}, "the regions converged after 61.0 s; 60 s are allowed"),
        (
            {"converge_seconds": 301.0, "endpoints": {WEST: "http://x"}},
            "the regions converged after 301.0 s; 300 s are allowed",
        ),
        ({"converge_seconds": None}, "the regions did not converge; 60 s are allowed"),
        ({"acknowledged": 0}, "nothing was acknowledged"),
        (
            {"writes": {"ExecuteStatement": 9, "PutItem": 1}},
            "events were written by PutItem, which production does not use",
        ),
    ],
)
def test_what_is_wrong_is_named_and_the_run_is_not_kept(changed: dict[str, Any], why: str) -> None:
    result = good(**changed)
    assert (result.kept, result.why) == (False, [why])
    assert (result.as_json()["kept"], result.as_json()["why_not"]) == (False, [why])


def test_an_emulator_that_is_not_ours_may_be_slower() -> None:
    assert not good(converge_seconds=61.0).kept
    assert good(converge_seconds=61.0, endpoints={WEST: "http://x"}).kept


def test_a_fault_that_met_nothing_is_not_kept() -> None:
    result = good(steps=[Done("hole", {}, 1.0, 2.0, "nothing passed these links", struck=False)])
    assert (result.kept, [each.name for each in result.unstruck]) == (False, ["hole"])


def test_a_run_with_a_broken_promise_is_not_kept() -> None:
    result = good()
    result.verdict.breach("changed", "one event")
    assert (result.kept, result.why, result.unstruck) == (False, [], [])


def test_so_many_may_be_gone_as_the_scenario_says() -> None:
    result = good(gone=3)
    result.scenario = replace(result.scenario, gone=3)
    assert result.kept
    assert (result.as_json()["gone_events"], result.as_json()["gone_at_most"]) == (3, 3)


def test_what_a_region_acknowledged_and_who_was_answered_is_counted_of_these_calls_alone() -> None:
    history = History(lambda: 0.0)

    def call(process: str, name: str, lanes: list[str]) -> None:
        made = history.invoke(process, EAST, name, [], {})
        history.ok(made, [Written(lane, 1, "d", "h", "i") for lane in lanes])

    call("early", "write", [f"{EAST}#thing#1"])
    since = len(history.calls)
    call("writes", "write", [f"{EAST}#thing#1", f"{EAST}#thing#2"])
    call("reads", "read", [])
    call("claims", "claim", [f"{WEST}#seat#1"])
    history.invoke("hangs", WEST, "write", [], {})
    history.fail(history.invoke("fails", WEST, "write", [], {}), "no")
    doubted = history.invoke("doubts", WEST, "write", [], {})
    history.unknown(doubted, [Written(f"{WEST}#thing#1", 1, "d", "h", "i")], "no answer")
    assert writers(history.calls[since:]) == {"writes"}
    assert events_by_region(history.calls[since:], [EAST, WEST, "sa-east-1"]) == {EAST: 2, WEST: 1, "sa-east-1": 0}
    history.settle(doubted, ["d"])
    assert writers(history.calls[since:]) == {"writes", "doubts"}
