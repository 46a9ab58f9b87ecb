"""The checker finds nothing in a good run, and each planted breach by the promise that it breaks."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos.checker.check import check
from chaos.checker.final_reads import StoredView, _body
from chaos.checker.history import Kept, Outcome, Written
from chaos.checker.verdict import PROMISES
from chaos.workload import model
from tests.chaos.checker import runs
from tests.chaos.checker.reading import read_history

EAST, WEST, SOUTH = runs.EAST, runs.WEST, runs.SOUTH


def event(run: Any, region: str, lane: str, sequence: int) -> Kept:
    return next(kept for kept in run.finals[region].events if (kept.lane, kept.sequence) == (lane, sequence))


def everywhere(run: Any, lane: str, sequence: int, **changes: Any) -> None:
    for region in runs.REGIONS:
        run.alter(region, event(run, region, lane, sequence), **changes)


THING = f"{EAST}#thing#1"


def lose(run: Any) -> None:
    run.finals[WEST].events.remove(event(run, WEST, THING, 4))


def invent(run: Any) -> None:
    last = event(run, WEST, THING, 4)
    for region in runs.REGIONS:
        run.finals[region].events.append(
            replace(last, sequence=5, prev=last.digest, digest="ab" * 32, computed="ab" * 32, payload={"id": "x", "n": 0})
        )


def write_what_failed(run: Any) -> None:
    call = next(call for call in run.history.calls if call.outcome is Outcome.UNKNOWN)
    run.history.settle(call, [])


def duplicate(run: Any) -> None:
    last = event(run, WEST, THING, 4)
    run.finals[WEST].events.append(replace(last, sequence=5, prev=last.digest))


def change(run: Any) -> None:
    run.alter(WEST, event(run, WEST, THING, 2), computed="00" * 32)


def overwrite(run: Any) -> None:
    run.alter(WEST, event(run, WEST, THING, 2), digest="cd" * 32, computed="cd" * 32)


def acknowledge_twice(run: Any) -> None:
    call = run.history.invoke("d", EAST, "write", [], {})
    run.history.ok(call, [Written(THING, 2, "ef" * 32, "1763914981000-00000", "d1")])


def tear(run: Any) -> None:
    """Of the transaction over two things one event is nowhere."""
    for region in runs.REGIONS:
        run.finals[region].events.remove(event(run, region, f"{EAST}#thing#2", 1))


def gap(run: Any) -> None:
    run.finals[WEST].events.remove(event(run, WEST, THING, 2))


def fork(run: Any) -> None:
    run.alter(WEST, event(run, WEST, THING, 3), prev="12" * 32)


def claim_a_past(run: Any) -> None:
    """A lane's first event is chained to one before it."""
    run.alter(WEST, event(run, WEST, THING, 1), prev="12" * 32)


def swap_in_lane(run: Any) -> None:
    """What was acknowledged first stands behind what was asked for later."""
    calls = [call for call in run.history.calls if call.events and call.events[0].lane == THING]
    first, second = calls[0].events[0], calls[1].events[0]
    calls[0].events, calls[1].events = (replace(second, id=first.id),), (replace(first, id=second.id),)


def clock_back(run: Any) -> None:
    """The leave, written after having seen the join, has an earlier time."""
    everywhere(run, f"{WEST}#thing#1", 1, hlc="0000000000001-00000")


def forget_context(run: Any) -> None:
    everywhere(run, f"{WEST}#thing#1", 1, observed={})


def read_old(run: Any) -> None:
    call = [call for call in run.history.calls if call.name == "read" and call.process == "a"][-1]
    call.seen = {EAST: 3, WEST: 2, SOUTH: 2}
    call.found = {"count": 3, "members": ["marge"], "called": "fork"}


def read_back(run: Any) -> None:
    """A second read of the session sees less of another region than the first."""
    call = run.history.invoke("b", WEST, "read", {"stream": "thing/1"}, {})
    run.history.ok(call, seen={EAST: 2, WEST: 2}, found={"count": 3, "members": [], "called": "shovel"})


def read_wrong(run: Any) -> None:
    next(call for call in run.history.calls if call.name == "read").found["count"] = 4


def miscount(run: Any) -> None:
    for region in runs.REGIONS:
        run.view(region, "thing/1", count=5)


def resurrect(run: Any) -> None:
    for region in runs.REGIONS:
        run.view(region, "thing/1", members=["homer", "marge"])


def forget_member(run: Any) -> None:
    for region in runs.REGIONS:
        run.view(region, "thing/1", members=[])


def old_name(run: Any) -> None:
    """`spade` was overwritten by somebody who had seen it."""
    for region in runs.REGIONS:
        run.view(region, "thing/1", called="spade")


def own_twice(run: Any) -> None:
    released = next(kept for kept in run.finals[EAST].events if kept.type == "meridian.released")
    for region in runs.REGIONS:
        run.alter(region, event(run, region, released.lane, released.sequence), payload={"owner": "user/c"})


def grant_twice(run: Any) -> None:
    call = run.history.invoke("c", EAST, "claim", {"id": "z", "stream": "seat/1", "owner": "user/c"}, {})
    run.history.ok(call)


def misreport_owner(run: Any) -> None:
    run.finals[SOUTH].owners["seat/1"] = "user/a"


def differ(run: Any) -> None:
    run.finals[WEST].events.remove(event(run, WEST, f"{SOUTH}#thing#2", 1))


def behind(run: Any) -> None:
    view = run.finals[SOUTH].views["thing/1"]
    run.finals[SOUTH].views["thing/1"] = replace(view, vector={**view.vector, EAST: 3})


def other_bytes(run: Any) -> None:
    view = run.finals[SOUTH].views["thing/1"]
    run.finals[SOUTH].views["thing/1"] = replace(view, body=view.body + " ")


def lose_view(run: Any) -> None:
    del run.finals[SOUTH].views["thing/1"]


def invent_view(run: Any) -> None:
    """Of a thing that has no events."""
    run.finals[SOUTH].views["thing/9"] = run.finals[SOUTH].views["thing/1"]


def quarantine(run: Any) -> None:
    run.finals[WEST].quarantined.append("quarantine#… a fork")


def beat(run: Any, region: str, sequence: int, **changes: Any) -> None:
    """A heartbeat that a region holds."""
    last = event(run, WEST, THING, 4)
    mark = f"{sequence:02d}" * 32
    made = replace(
        last, lane=f"{EAST}#meridian.heartbeat#{EAST}", sequence=sequence, type="meridian.heartbeat", digest=mark,
        computed=mark, prev=f"{sequence - 1:02d}" * 32 if sequence > 1 else "0" * 64, payload={"every": 2},
    )  # fmt: skip
    run.finals[region].events.append(replace(made, **changes))


def another_heartbeat(run: Any) -> None:
    for region in runs.REGIONS:
        beat(run, region, 1)
    run.alter(WEST, event(run, WEST, f"{EAST}#meridian.heartbeat#{EAST}", 1), digest="ee" * 32, computed="ee" * 32)


def heartbeat_gap(run: Any) -> None:
    beat(run, WEST, 1)
    beat(run, WEST, 3)


def lose_a_copy(run: Any) -> None:
    """A region dies, and takes an event that another was said to hold."""
    call = next(each for each in run.history.calls if each.name == "write" and each.outcome is Outcome.OK)
    call.regions = (call.region, next(each for each in runs.REGIONS if each != call.region))
    run.history.lose(call.region, [])


PLANTED: list[tuple[str, Callable[[Any], None]]] = [
    ("lost", lose), ("copies", lose_a_copy), ("from_nowhere", invent), ("from_nowhere", write_what_failed),
    ("duplicated", duplicate),
    ("changed", change), ("changed", overwrite), ("acknowledged_twice", acknowledge_twice), ("torn", tear), ("gaps", gap),
    ("forked", fork), ("forked", claim_a_past), ("lane_order", swap_in_lane), ("causal_order", clock_back),
    ("causal_order", forget_context), ("read_your_writes", read_old), ("monotonic_reads", read_back),
    ("reads_explained", read_wrong), ("counters", miscount), ("sets", resurrect), ("sets", forget_member),
    ("registers", old_name), ("claims", own_twice), ("claims", grant_twice), ("claims", misreport_owner),
    ("regions_identical", differ), ("regions_identical", another_heartbeat),
    ("gaps", heartbeat_gap), ("views_complete", behind), ("views_complete", lose_view),
    ("views_complete", invent_view), ("views_identical", other_bytes), ("views_identical", lose_view),
    ("views_identical", invent_view), ("quarantined", quarantine),
]  # fmt: skip


def test_heartbeats_are_nobodys_calls_and_go_on_while_regions_are_read() -> None:
    run = runs.good_run()
    for number, region in enumerate(runs.REGIONS):
        for sequence in range(1, number + 3):
            beat(run, region, sequence)
    assert check(run.history, run.finals).broken == {}


def test_a_good_run_keeps_every_promise_and_tests_each() -> None:
    run = runs.good_run()
    verdict = check(run.history, run.finals)
    assert (verdict.broken, verdict.examples, verdict.untested) == ({}, [], [])


def test_events_are_judged_in_their_lanes_order_whatever_order_they_are_read_in() -> None:
    run = runs.good_run()
    for final in run.finals.values():
        final.events.reverse()
    assert check(run.history, run.finals).broken == {}


@pytest.mark.parametrize(("promise", "plant"), PLANTED, ids=[f"{promise}-{plant.__name__}" for promise, plant in PLANTED])
def test_a_planted_breach_is_found_by_the_promise_that_it_breaks(promise: str, plant: Callable[[Any], None]) -> None:
    run = runs.good_run()
    plant(run)
    for final in run.finals.values():
        final.__dict__.pop("digests", None)
    verdict = check(run.history, run.finals)
    assert promise in verdict.broken
    assert any(example.startswith(promise) for example in verdict.examples)


def test_every_promise_has_a_planted_breach() -> None:
    assert {promise for promise, _ in PLANTED} == set(PROMISES)


@pytest.mark.parametrize("changed", [{"vector": "{ }"}, {"state": "{ }"}, {"value": "{ }"}, {"digest": b"y"}], ids=str)
def test_everything_of_a_view_is_among_the_bytes_that_are_compared(changed: dict[str, Any]) -> None:
    view = StoredView("{}", "{}", "{}", b"x")
    assert _body(replace(view, **changed)) != _body(view)


def test_a_promise_that_nothing_was_looked_at_for_is_not_called_kept() -> None:
    run = runs.Run()
    run.add("a", EAST, "thing/1", 1)
    verdict = check(run.history, run.end().finals)
    assert verdict.broken == {}
    assert {"claims", "read_your_writes", "torn"} <= set(verdict.untested)


def test_a_history_is_read_again_as_it_was_written() -> None:
    run = runs.Run()
    lines: list[str] = []
    run.history._sink = lambda line: lines.append(json.dumps(line))
    run.join("a", EAST, "thing/1", "homer")
    call = run.add("b", WEST, "thing/1", 2, outcome=Outcome.UNKNOWN)
    run.read("a", EAST, "thing/1")
    run.history.fail(run.history.invoke("b", WEST, "write", [], {}), "refused")
    run.history.settle(call, [event.digest for event in call.events])
    run.history.lose(WEST, [])
    again = read_history(lines)
    assert [json.dumps(_shown(each)) for each in again.calls] == [json.dumps(_shown(each)) for each in run.history.calls]
    assert (again.gone, again.lost_regions) == (run.history.gone, run.history.lost_regions)
    assert again.gone == {call.events[0].digest}
    assert again.counts() == {"ok": 3, "fail": 1, "unknown": 0}


def _shown(call: Any) -> Any:
    events = [repr(event) for event in call.events]
    return [call.number, call.process, call.name, call.value, call.outcome, events, call.seen, call.found, call.done]


def test_what_is_gone_with_its_region_is_not_lost_and_its_place_may_be_given_again() -> None:
    run = runs.Run()
    run.add("a", EAST, "thing/1", 1)
    run.copy()
    gone = run.add("a", EAST, "thing/1", 10)
    table = run.tables[EAST]
    lane = next(lane for lane, _ in table.lanes())
    del table._lanes[lane][2]
    run.history.lose(EAST, [e.digest.hex() for e in table.read(lane)])
    run.stores[EAST]._appender._heads.clear()
    run.clients["a"].take_stock(EAST, [])
    run.add("a", EAST, "thing/1", 100)
    assert (run.history.count(), run.history.count(EAST)) == (3, 2)
    verdict = check(run.history, run.end().finals)
    assert verdict.broken == {}
    run.finals[WEST].events[1] = replace(run.finals[WEST].events[1], digest=gone.events[0].digest)
    assert "lost" in check(run.history, run.finals).broken


@pytest.mark.parametrize("lost", [True, False])
def test_of_a_write_only_a_region_that_lost_its_data_has_some_events_and_others_not(lost: bool) -> None:
    """What survived is acknowledged by that, and must be everywhere; the rest may be asked for again under its name."""
    run = runs.Run()
    changes = [("thing/1", model.added("x", 1)), ("thing/2", model.added("y", 2))]
    call = run.write("a", EAST, *changes, outcome=Outcome.UNKNOWN)
    table = run.tables[EAST]
    gone = next(lane for lane, _ in table.lanes() if lane.stream.id == "2")
    del table._lanes[gone]
    run.stores[EAST]._appender._heads.clear()
    survived = {event.digest.hex() for lane, _ in table.lanes() for event in table.read(lane)}
    run.history.lose(EAST, survived)
    run.clients["a"].take_stock(EAST, survived)
    assert ([event.id for event in call.events], [event.id for event in call.denied]) == (["x"], ["y"])
    assert (run.history.count(), run.history.count(EAST), run.history.heads()) == (1, 1, {f"{EAST}#thing#1": 1})
    assert (run.history.doubted_events, run.history.confirmed_events, run.history.gone_events) == (2, 1, 0)
    run.write("a", EAST, changes[1])
    run.end()
    if not lost:
        run.history.lost_regions.clear()
    assert check(run.history, run.finals).broken == ({} if lost else {"torn": 1})
    for final in run.finals.values():
        final.events.remove(next(kept for kept in final.events if kept.payload["id"] == "x"))
    assert "lost" in check(run.history, run.finals).broken


def test_a_change_that_was_refused_may_be_asked_for_again() -> None:
    run = runs.Run()
    value = [{"stream": "thing/1", "type": "added", "id": "x", "n": 1}]
    run.history.fail(run.history.invoke("a", EAST, "write", value, {}), "refused")
    run.write("a", EAST, ("thing/1", model.added("x", 1)))
    assert check(run.history, run.end().finals).broken == {}
