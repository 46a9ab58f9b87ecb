"""Claims, by what claimants are told: at most one of them has it at a time, and nobody is told so for nothing."""

from __future__ import annotations

import pytest

from chaos.checker.check import check
from chaos.checker.history import Call, History, Written
from tests.chaos.checker import runs

Line = tuple[str, str, str]
"""`ok`, `fail`, `unknown` or `begins`; `claim` or `release`; who."""


def told(*lines: Line) -> dict[str, int]:
    """What is broken when claimants of one seat are told this, in this order. A call begins where it says so, else where it
    ends; what is granted has an event of its own."""
    history = History(lambda: 0.0)
    begun: dict[tuple[str, str], Call] = {}
    for number, (how, name, who) in enumerate(lines):
        value = {"id": f"i{number}", "stream": "seat/1", "owner": f"user/{who}"}
        call = begun.pop((name, who), None) or history.invoke(who, runs.EAST, name, value, {})
        event = Written(f"{runs.EAST}#seat#1", number + 1, f"{number:064x}", f"{number:013d}-00000", "")
        if how == "begins":
            begun[name, who] = call
        elif how == "ok":
            history.ok(call, [event])
        elif how == "unknown":
            history.unknown(call, [event], "no answer")
        elif how == "nothing":
            history.ok(call)
        else:
            history.fail(call, "refused")
    verdict = check(history, {})
    return {name: count for name, count in verdict.broken.items() if name == "claims"}


FINE: list[list[Line]] = [
    [("ok", "claim", "x"), ("fail", "claim", "y"), ("ok", "release", "x"), ("ok", "claim", "y")],
    [("begins", "claim", "x"), ("ok", "claim", "y"), ("ok", "release", "y"), ("ok", "claim", "x")],
    [("ok", "claim", "x"), ("begins", "release", "x"), ("ok", "claim", "y"), ("ok", "release", "x")],
    [("ok", "claim", "x"), ("unknown", "release", "x"), ("ok", "claim", "y")],
    [("ok", "claim", "x"), ("nothing", "claim", "x"), ("ok", "release", "x"), ("ok", "claim", "x")],
    [("unknown", "claim", "x"), ("nothing", "claim", "x")],
    [("ok", "claim", "x"), ("begins", "claim", "x"), ("ok", "release", "x"), ("nothing", "claim", "x")],
]
WRONG: list[list[Line]] = [
    [("ok", "claim", "x"), ("ok", "claim", "y")],
    [("begins", "claim", "x"), ("begins", "claim", "y"), ("ok", "claim", "y"), ("ok", "claim", "x")],
    [("begins", "claim", "x"), ("begins", "claim", "y"), ("ok", "claim", "x"), ("ok", "claim", "y")],
    [("ok", "claim", "x"), ("fail", "release", "x"), ("ok", "claim", "y")],
    [("ok", "claim", "x"), ("ok", "claim", "y"), ("ok", "release", "x")],
    [("ok", "release", "x"), ("ok", "claim", "x"), ("ok", "claim", "y")],
    [("ok", "claim", "x"), ("ok", "release", "x"), ("ok", "claim", "y"), ("ok", "claim", "x")],
    [("ok", "claim", "x"), ("nothing", "claim", "x"), ("ok", "claim", "y"), ("ok", "release", "y")],
    [("nothing", "claim", "x")],
    [("fail", "claim", "x"), ("nothing", "claim", "x")],
    [("ok", "claim", "x"), ("ok", "release", "x"), ("nothing", "claim", "x")],
    [("ok", "claim", "x"), ("nothing", "release", "x")],
]  # fmt: skip


@pytest.mark.parametrize("lines", FINE)
def test_what_claimants_may_be_told(lines: list[Line]) -> None:
    assert told(*lines) == {}


@pytest.mark.parametrize("lines", WRONG)
def test_what_claimants_cannot_be_told(lines: list[Line]) -> None:
    assert told(*lines)["claims"] >= 1


def test_a_claim_that_its_owner_has_needs_no_event_again() -> None:
    run = runs.good_run()
    again = run.claim("b", "seat/1")
    assert (again.outcome, again.events) == ("ok", ())
    assert check(run.history, run.finals).broken == {}


def test_a_seat_is_released_by_nobody_but_its_owner() -> None:
    run = runs.good_run()
    for region in runs.REGIONS:
        kept = next(kept for kept in run.finals[region].events if kept.type == "meridian.released")
        run.alter(region, kept, payload={"owner": "user/z"})
    examples = check(run.history, run.finals).findings["claims"].examples
    assert any("released by user/z, which did not own it" in example for example in examples)
