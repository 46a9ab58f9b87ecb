"""A drill keeps nothing unless what it is about did happen."""

from __future__ import annotations

import pytest

from chaos.drills.checker import Verdict
from chaos.drills.kinds import KINDS
from chaos.drills.result import DrillConfig, DrillResult, describe


def _result(kind: str) -> DrillResult:
    """A drill in which everything went well."""
    return DrillResult(
        DrillConfig(kind=kind),
        ("us-east-1", "eu-west-1"),
        Verdict(views=1),
        old_events=10,
        late_events=(5, 5),
        cut_events=10,
        rto_seconds=1.0,
        converge_seconds=1.0,
    )


def _broken(result: DrillResult) -> list[str]:
    return [promise for promise, _, kept in describe(result) if not kept]


@pytest.mark.parametrize("kind", KINDS)
def test_a_drill_in_which_all_went_well_is_kept(kind: str) -> None:
    assert _broken(_result(kind)) == []
    assert _result(kind).kept


@pytest.mark.parametrize(
    ("kinds", "change", "promise"),
    [
        (("kill", "restore"), {"old_missing": 10}, "what was older than 10 s at the strike survived"),
        (("kill", "restore"), {"old_events": 0}, "what was older than 10 s at the strike survived"),
        (("partition", "split-brain"), {"late_events": (0, 5)}, "both sides went on writing"),
        (("partition", "split-brain"), {"late_events": (5, 0)}, "both sides went on writing"),
        (("partition", "one-way", "split-brain"), {"cut_arrived": 1}, "the links were cut"),
        (("partition", "one-way", "split-brain"), {"cut_events": 0}, "the links were cut"),
        (("switchover",), {"rpo_events": 1}, "nothing was left behind"),
    ],
)
def test_what_its_kind_says_has_to_have_happened(kinds: tuple[str, ...], change: dict[str, object], promise: str) -> None:
    for kind in KINDS:
        result = _result(kind)
        for name, value in change.items():
            setattr(result, name, value)
        assert _broken(result) == ([promise] if kind in kinds else [])
        assert result.kept is (kind not in kinds)
