"""What was asked for, what was acknowledged, and what is there: where these are not the same, it is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos.checker.check import check
from chaos.checker.history import Call, Outcome, Written
from chaos.checker.verdict import Verdict
from chaos.workload import model
from tests.chaos.checker import runs

EAST, WEST, SOUTH = runs.REGIONS
ZERO = "0000000000000-00000"


def verdict_of(run: runs.Run) -> Verdict:
    for final in run.finals.values():
        final.__dict__.pop("digests", None)
    return check(run.history, run.finals)


def asked(run: runs.Run, *changes: dict[str, Any], events: tuple[Written, ...] = (), region: str = EAST) -> Call:
    """A write that is acknowledged with these events."""
    call = run.history.invoke("d", region, "write", list(changes), {}, ZERO)
    run.history.ok(call, events)
    return call


def joined(id: str, who: str = "lisa", stream: str = "thing/1") -> dict[str, Any]:
    return {"id": id, "stream": stream, "type": "joined", "who": who}


def first(run: runs.Run, type: str) -> Call:
    return next(call for call in run.history.calls if isinstance(call.value, list) and call.value[0]["type"] == type)


def two(run: runs.Run) -> Call:
    return next(call for call in run.history.calls if len(call.events) == 2)


def doubt(run: runs.Run) -> Call:
    return next(call for call in run.history.calls if call.outcome is Outcome.UNKNOWN)


# -- what was told -------------------------------------------------------------------------------------------------


def no_event(run: runs.Run) -> None:
    asked(run, joined("d1"))


def half_a_transaction(run: runs.Run) -> None:
    first(run, "joined").value.append(joined("d1"))


def half_of_what_is_unknown(run: runs.Run) -> None:
    doubt(run).value.append(joined("d1"))


def not_asked_for(run: runs.Run) -> None:
    first(run, "joined").value.clear()


def told_twice_of_one(run: runs.Run) -> None:
    call = first(run, "joined")
    call.events = (*call.events, replace(call.events[0], sequence=9, digest="ab" * 32))


def one_event_for_two_calls(run: runs.Run) -> None:
    call = first(run, "joined")
    asked(run, *call.value, events=call.events)


def one_event_twice_for_one_call(run: runs.Run) -> None:
    call = first(run, "joined")
    call.events = (*call.events, *call.events)


def not_in_the_order_asked(run: runs.Run) -> None:
    run.history.calls.clear()
    run.finals.clear()
    changes = [("thing/3", model.joined(run.id(), "abe")), ("thing/3", model.left(run.id(), "abe"))]
    call = run.write("a", EAST, *changes)
    call.value.reverse()
    run.end()


# -- what is there -------------------------------------------------------------------------------------------------


def another_member(run: runs.Run) -> None:
    first(run, "joined").value[0]["who"] = "zed"


def another_type(run: runs.Run) -> None:
    first(run, "joined").value[0]["type"] = "left"


def another_stream(run: runs.Run) -> None:
    first(run, "joined").value[0]["stream"] = "thing/9"


def another_region(run: runs.Run) -> None:
    first(run, "joined").region = WEST


def another_name_of_what_is_unknown(run: runs.Run) -> None:
    doubt(run).value[0]["n"] = 6


def more_than_asked(run: runs.Run) -> None:
    del first(run, "joined").value[0]["who"]


def another_time(run: runs.Run) -> None:
    call = first(run, "joined")
    call.events = (replace(call.events[0], hlc="9999999999999-00000"),)


def no_vector(run: runs.Run) -> None:
    kept = next(kept for kept in run.finals[WEST].events if kept.type == "joined")
    run.alter(WEST, kept, observed={EAST: "x"})


def true_for_one(run: runs.Run) -> None:
    """True is 1 in Python, and another payload."""
    kept = next(kept for kept in run.finals[WEST].events if kept.payload.get("id") == "t1")
    run.alter(WEST, kept, payload={"id": "t1", "n": True})


def another_claimant(run: runs.Run) -> None:
    next(call for call in run.history.calls if call.name == "claim").value["owner"] = "user/z"


def another_seat(run: runs.Run) -> None:
    next(call for call in run.history.calls if call.name == "claim").value["stream"] = "seat/2"


def moved_what_is_unknown(run: runs.Run) -> None:
    call = doubt(run)
    call.events = (replace(call.events[0], sequence=7),)


PLANTED: list[tuple[str, Callable[[runs.Run], None]]] = [
    ("lost", no_event), ("torn", half_a_transaction), ("lost", half_a_transaction), ("torn", half_of_what_is_unknown),
    ("from_nowhere", not_asked_for), ("duplicated", told_twice_of_one), ("acknowledged_twice", one_event_for_two_calls),
    ("acknowledged_twice", one_event_twice_for_one_call), ("lane_order", not_in_the_order_asked),
    ("changed", another_member), ("changed", another_type), ("changed", another_stream), ("changed", another_region),
    ("changed", another_name_of_what_is_unknown), ("changed", more_than_asked), ("changed", another_time),
    ("changed", no_vector), ("changed", true_for_one), ("changed", another_claimant), ("changed", another_seat),
    ("changed", moved_what_is_unknown),
]  # fmt: skip


@pytest.mark.parametrize(("promise", "plant"), PLANTED, ids=[f"{promise}-{plant.__name__}" for promise, plant in PLANTED])
def test_what_is_not_as_it_was_asked_for_is_found(promise: str, plant: Callable[[runs.Run], None]) -> None:
    run = runs.good_run()
    plant(run)
    assert promise in verdict_of(run).broken


def test_a_call_that_failed_or_may_not_have_been_done_needs_no_events() -> None:
    run = runs.good_run()
    run.history.fail(run.history.invoke("d", EAST, "write", [joined("d1")], {}, ZERO), "refused")
    run.history.unknown(run.history.invoke("d", EAST, "write", [joined("d2")], {}, ZERO), (), "killed")
    partly = run.history.invoke("d", EAST, "write", [joined("d3"), joined("d4")], {}, ZERO)
    run.history.unknown(partly, [Written(f"{EAST}#thing#1", 9, "ab" * 32, ZERO, "d3")], "killed between its parts")
    assert verdict_of(run).broken == {}


def test_a_count_is_of_all_that_was_acknowledged_also_when_no_event_was_told() -> None:
    """Maelstrom's rule asks nobody for events."""
    run = runs.good_run()
    asked(run, {"id": "d1", "stream": "thing/1", "type": "added", "n": 1_000})
    verdict = verdict_of(run)
    assert any("1004 was acknowledged" in example for example in verdict.findings["counters"].examples)


# -- times that were seen ------------------------------------------------------------------------------------------


def test_what_is_written_is_later_than_what_its_writer_had_seen() -> None:
    run = runs.good_run()
    call = first(run, "joined")
    call.hlc = call.events[0].hlc
    assert verdict_of(run).broken == {"causal_order": 1}


def test_of_several_streams_one_event_must_be_later_than_what_was_seen_of_any() -> None:
    run = runs.good_run()
    call = two(run)
    early, late = sorted(event.hlc for event in call.events)
    call.hlc = early
    assert verdict_of(run).broken == {}
    call.hlc = late
    assert verdict_of(run).broken == {"causal_order": 1}


# -- reads ---------------------------------------------------------------------------------------------------------


NOBODY: list[tuple[str, dict[str, int], Any]] = [
    ("thing/1", {EAST: 9_999, WEST: 2, SOUTH: 2}, {"count": 4, "members": ["marge"], "called": "fork"}),
    ("thing/1", {EAST: 10**15, WEST: 2, SOUTH: 2}, {"count": 4, "members": ["marge"], "called": "fork"}),
    ("thing/7", {EAST: 50}, None),
    ("thing/7", {"mars-1": 1}, None),
]


@pytest.mark.parametrize(("stream", "seen", "found"), NOBODY)
def test_a_read_of_what_nobody_wrote_is_not_explained(stream: str, seen: dict[str, int], found: Any) -> None:
    run = runs.good_run()
    call = run.history.invoke("d", EAST, "read", {"stream": stream}, {})
    run.history.ok(call, seen=seen, found=found)
    verdict = verdict_of(run)
    assert verdict.broken == {"reads_explained": 1}
    assert "no call wrote" in verdict.examples[0]


def lost_run(outcome: Outcome = Outcome.OK) -> tuple[runs.Run, Call]:
    """EAST loses its second event of a thing, which was read before. Returns the call that wrote it."""
    run = runs.Run()
    run.add("a", EAST, "thing/1", 1)
    run.copy()
    gone = run.add("a", EAST, "thing/1", 10, outcome=outcome)
    run.read("b", EAST, "thing/1")
    table = run.tables[EAST]
    lane = next(lane for lane, _ in table.lanes())
    del table._lanes[lane][2]
    run.history.lose(EAST, [event.digest.hex() for event in table.read(lane)])
    return run, gone


def test_a_read_of_what_is_gone_with_its_region_is_explained() -> None:
    run, _ = lost_run()
    assert verdict_of(run.end()).broken == {}


@pytest.mark.parametrize("settled", [False, True])
def test_so_is_a_read_of_what_nobody_was_told_of_and_is_gone(settled: bool) -> None:
    run, gone = lost_run(Outcome.UNKNOWN)
    if settled:
        run.history.settle(gone, [])
    assert verdict_of(run.end()).broken == {}


def test_a_read_beyond_what_is_gone_is_not_explained() -> None:
    run, _ = lost_run()
    run.history.calls[-1].seen = {EAST: 3}
    assert verdict_of(run.end()).broken == {"reads_explained": 1}


def test_where_nothing_was_lost_what_turned_out_not_to_be_written_cannot_have_been_read() -> None:
    run, gone = lost_run(Outcome.UNKNOWN)
    run.history.settle(gone, [])
    run.history.lost_regions.clear()
    assert verdict_of(run.end()).broken == {"reads_explained": 1}


# -- regions -------------------------------------------------------------------------------------------------------


def test_a_region_that_was_called_and_that_nobody_has_read_in_the_end_is_told() -> None:
    run = runs.good_run()
    del run.finals[SOUTH]
    assert verdict_of(run).examples == [f"regions_identical: {SOUTH} has no final read"]
