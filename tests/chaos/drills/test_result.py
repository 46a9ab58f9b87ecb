"""A drill keeps nothing unless what it is about did happen."""

from __future__ import annotations

import pytest

from chaos.checker.verdict import Verdict
from chaos.drills.drill import KINDS, DrillConfig
from chaos.drills.drill_result import DrillResult, describe
from chaos.scenarios.actions import Kill
from chaos.scenarios.desks import PROMISES
from chaos.scenarios.outage import Figures
from chaos.scenarios.result import Done, Result
from chaos.scenarios.runner import make_action


def _drill(kind: str) -> DrillResult:
    """A drill in which everything went well."""
    result = Result(DrillConfig(kind=kind).scenario, 1, ("us-east-1", "eu-west-1"), verdict=Verdict(PROMISES))
    result.views, result.acknowledged, result.converge_seconds = 1, 100, 1.0
    result.outage = Figures(
        "us-east-1", old_events=10, late_events=(5, 5), cut_events=10, rto_seconds=1.0, failback_seconds=1.0
    )
    return DrillResult(1, False, result)


def _broken(drill: DrillResult) -> list[str]:
    return [promise for promise, _, kept in describe(drill) if not kept]


@pytest.mark.parametrize("kind", KINDS)
def test_a_drill_in_which_all_went_well_is_kept(kind: str) -> None:
    assert _broken(_drill(kind)) == []
    assert _drill(kind).kept


@pytest.mark.parametrize("kind", KINDS)
def test_a_drill_whose_fault_met_nothing_or_that_lost_anything_is_not_kept(kind: str) -> None:
    drill = _drill(kind)
    drill.result.steps = [Done("hole", {}, 1.0, 2.0, "nothing passed these links", struck=False)]
    assert not drill.kept
    for promise in PROMISES:
        drill = _drill(kind)
        drill.result.verdict.breach(promise, "somehow")
        assert not drill.kept
        assert len(_broken(drill)) == 1, promise


@pytest.mark.parametrize(
    ("promise", "name", "told"),
    [
        ("forked", "forked", 2),
        ("quarantined", "forked", 2),
        ("changed", "overwritten", 2),
        ("acknowledged_twice", "overwritten", 2),
        ("views_complete", "views_identical", False),
        ("views_identical", "views_identical", False),
    ],
)
def test_both_promises_of_a_name_in_the_json_are_told_by_it(promise: str, name: str, told: int) -> None:
    drill = _drill("freeze")
    before = drill.as_json()
    for _ in range(2):
        drill.result.verdict.breach(promise, "somehow")
    found = drill.as_json()
    assert {key for key in found if found[key] != before[key]} == {name, "promises_kept", "examples"}
    assert found[name] == told


@pytest.mark.parametrize(
    ("kinds", "change", "promise"),
    [
        (("kill", "restore"), {"old_missing": 10}, "events older than 10 s at the strike survived"),
        (("kill", "restore"), {"old_events": 0}, "events older than 10 s at the strike survived"),
        (("partition", "split-brain"), {"late_events": (0, 5)}, "both sides continued writing"),
        (("partition", "split-brain"), {"late_events": (5, 0)}, "both sides continued writing"),
        (("partition", "one-way", "split-brain"), {"cut_arrived": 1}, "the links were cut"),
        (("partition", "one-way", "split-brain"), {"cut_events": 0}, "the links were cut"),
        (("switchover",), {"rpo_events": 1}, "nothing was left behind"),
    ],
)
def test_what_its_kind_says_has_to_have_happened(kinds: tuple[str, ...], change: dict[str, object], promise: str) -> None:
    for kind in KINDS:
        drill = _drill(kind)
        for name, value in change.items():
            setattr(drill.figures, name, value)
        assert _broken(drill) == ([promise] if kind in kinds else [])
        assert drill.kept is (kind not in kinds)


def test_each_kind_is_a_scenario_that_loses_data_or_not() -> None:
    loses = {kind for kind in KINDS if any(isinstance(make_action(s), Kill) for s in DrillConfig(kind=kind).scenario.method)}
    assert loses == {kind for kind in KINDS if _drill(kind).kind.loses} == {"kill", "restore"}


def test_a_drill_is_run_as_it_was_asked_for() -> None:
    scenario = DrillConfig(events=None, regions=4, kills=7, outage=0.0, kind="split-brain").scenario
    assert (scenario.regions, scenario.kills, scenario.load.flights, scenario.load.outage) == (4, 7, None, 0.0)  # type: ignore[union-attr]
