"""Whatever a wrong system holds or answers, the checker ends, and finds it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from chaos.checker.check import check
from tests.chaos.checker import runs

EAST, WEST, SOUTH = runs.REGIONS
ANY: list[Any] = [None, "x", 1.5, True, -1, [], ["x", 1], [[]], {}, {"x": None}, {"x": {}}, {EAST: "1"}, {EAST: 1.0}]


@pytest.mark.parametrize("odd", ANY, ids=repr)
@pytest.mark.parametrize(("field", "promise"), [("count", "counters"), ("members", "sets"), ("called", "registers")])
def test_a_view_of_another_shape_breaks_the_promise_of_its_field(field: str, promise: str, odd: Any) -> None:
    run = runs.good_run()
    for region in runs.REGIONS:
        run.view(region, "thing/1", **{field: odd})
    broken = check(run.history, run.finals).broken
    if field == "called" and isinstance(odd, str):
        assert broken == {"registers": 3}
    assert set(broken) == {promise}


@pytest.mark.parametrize("odd", ANY, ids=repr)
def test_a_view_that_has_no_value_of_a_thing_breaks_all_that_it_should_say(odd: Any) -> None:
    run = runs.good_run()
    for region in runs.REGIONS:
        view = run.finals[region].views["thing/1"]
        run.finals[region].views["thing/1"] = replace(view, value=odd)
    broken = check(run.history, run.finals).broken
    if odd is not None:
        assert broken.keys() == {"counters", "sets", "registers"}
    assert "counters" in broken


@pytest.mark.parametrize("odd", ANY, ids=repr)
def test_a_view_at_no_vector_is_not_complete(odd: Any) -> None:
    run = runs.good_run()
    view = run.finals[WEST].views["thing/1"]
    run.finals[WEST].views["thing/1"] = replace(view, vector=odd)
    assert check(run.history, run.finals).broken == {"views_complete": 1}


@pytest.mark.parametrize("odd", ANY, ids=repr)
@pytest.mark.parametrize("field", ["payload", "observed"])
def test_an_event_of_another_shape_is_not_what_was_asked_for(field: str, odd: Any) -> None:
    for number in range(len(runs.good_run().finals[EAST].events)):
        run = runs.good_run()
        for region in runs.REGIONS:
            kept = run.finals[region].events[number]
            run.alter(region, kept, **{field: odd})
        broken = check(run.history, run.finals).broken
        if field == "payload" or odd != {}:
            assert "changed" in broken


SAYS = [("added", "n", "counters"), ("joined", "who", "sets"), ("left", "who", "sets"), ("named", "to", "registers")]


@pytest.mark.parametrize(
    ("type", "field", "promise", "odd"),
    [(*each, odd) for each in SAYS for odd in ANY if each[0] == "added" or not isinstance(odd, str)],
)
def test_a_change_that_says_something_else_is_changed_and_breaks_what_is_told_by_it(
    type: str, field: str, promise: str, odd: Any
) -> None:
    run = runs.good_run()
    for region in runs.REGIONS:
        kept = next(kept for kept in run.finals[region].events if kept.type == type)
        run.alter(region, kept, payload={**kept.payload, field: odd})
    assert {"changed", promise} <= check(run.history, run.finals).broken.keys()


@pytest.mark.parametrize("odd", ANY, ids=repr)
def test_a_read_that_is_told_no_vector_or_no_value_is_not_explained(odd: Any) -> None:
    run = runs.good_run()
    call = next(call for call in run.history.calls if call.name == "read")
    seen, call.seen = call.seen, odd
    if odd != {}:
        assert "reads_explained" in check(run.history, run.finals).broken
    call.seen, call.found = seen, odd
    assert check(run.history, run.finals).broken == {"reads_explained": 3}


@pytest.mark.parametrize("odd", ANY, ids=repr)
def test_an_owner_of_another_shape_is_none(odd: Any) -> None:
    run = runs.good_run()
    run.finals[WEST].owners["seat/1"] = odd
    assert check(run.history, run.finals).broken == {"claims": 1}


def test_a_member_that_every_view_lists_twice_is_there_twice() -> None:
    run = runs.good_run()
    for region in runs.REGIONS:
        run.view(region, "thing/1", members=["marge", "marge"])
    verdict = check(run.history, run.finals)
    assert verdict.broken == {"sets": 3}
    assert verdict.examples[0].endswith("thing/1: marge is listed 2 times")
