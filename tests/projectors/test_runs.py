"""Many events of a lane at once: what one after the other would make, or nothing, and then one after the other it is."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projectors import Engine, MemorySink, Projection, add, collection, counter, lww_map, maximum, put, register, remove
from projectors.engine.conflicts import Recent
from projectors.engine.folding import Pass
from projectors.model.projection import ProjectionFailed
from replicator import EventStore, MemoryStorage
from replicator.domain.clock import Hlc
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.protected import Protected
from replicator.domain.vector import EMPTY, VersionVector
from replicator.erasure import FORGOTTEN
from replicator.eventstore.upcasting import Schemas

EAST, WEST = "us-east-1", "eu-west-1"
STREAM = StreamId("user", "homer")
schemas = Schemas()
schemas.type("set")
schemas.type("moved", latest=2)


@schemas.upcaster("moved", 1)
def _moved(payload: dict[str, Any]) -> dict[str, Any]:
    return {"to": payload["where"]}


class Account(Projection):
    name, stream_type = "account", "user"
    schemas = schemas.check()
    last = register(set=lambda p: p["value"], moved=lambda p: p["to"])
    count = counter(set=lambda p: 1, moved=lambda p: p.get("weight"))
    tags = collection(set=lambda p: add(p["value"]), cleared=lambda p: remove(p["value"]))
    notes = lww_map(set=lambda p: put(p["value"], p["value"]))
    most = maximum("string", set=lambda p: p["value"])


def lane(news: Iterable[NewEvent], region: str = EAST, observed: VersionVector = EMPTY) -> list[Event]:
    events: list[Event] = []
    for sequence, new in enumerate(news, 1):
        prev = events[-1].digest if events else GENESIS
        lane = LaneId(region, STREAM)
        events.append(seal(lane, sequence, Hlc(1_763_914_981_000 + sequence, 0), new, observed, prev))
    return events


def changed(value: Any) -> NewEvent:
    return NewEvent("set", {"value": value})


def one_by_one(states: dict[str, Any], events: Iterable[Event]) -> dict[str, Any]:
    for event in events:
        states = Account.apply(states, event)
    return states


values = st.sampled_from(["a", "b", "ü", ""])
news = (
    values.map(changed)
    | values.map(lambda value: NewEvent("cleared", {"value": value}))
    | values.map(lambda value: NewEvent("moved", {"where": value}))
    | st.integers(-2, 2).map(lambda weight: NewEvent("moved", {"to": "c", "weight": weight}, version=2))
    | st.just(NewEvent("unheard", {"value": 1}))
)


@settings(max_examples=200, deadline=None)
@given(st.lists(news, max_size=12), st.integers(0, 12))
def test_a_run_is_its_events_one_after_the_other(given: list[NewEvent], cut: int) -> None:
    events = lane(given)
    states = one_by_one(Account.initial(), events[:cut])
    before = copy.deepcopy(states)
    assert Account.apply_run(states, events[cut:]) == one_by_one(states, events[cut:])
    assert states == before, "changed in place"


ODD = {
    "what a type refuses": changed(7),
    "what a handler cannot read": NewEvent("set", {}),
    "a version not known": NewEvent("moved", {"to": "x"}, version=3),
    "personal data": NewEvent("set", Protected({"value": {"$personal": {"subject": "homer"}}})),
    "a subject that is forgotten": NewEvent(FORGOTTEN, {"subject": "homer"}),
}


@pytest.mark.parametrize("new", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("at", [0, 3, 6])
def test_a_run_with_anything_unusual_is_none(new: NewEvent, at: int) -> None:
    states = Account.initial()
    events = lane([*[changed("a")] * at, new, *[changed("b")] * (6 - at)])
    assert Account.apply_run(states, events) is None
    assert states == Account.initial()


@pytest.mark.parametrize("new", list(ODD.values())[:3], ids=list(ODD)[:3])
def test_the_engine_says_of_which_event_and_folds_what_comes_before(new: NewEvent) -> None:
    events = lane([*[changed(f"{n}") for n in range(5)], new, changed("behind")])
    sink = MemorySink()
    (failure,) = Engine([Account], EventStore(MemoryStorage(), EAST, []), sink).apply(events)
    assert failure.event_id == events[5].id
    (view,) = sink.views("account")
    assert (view.vector.get(EAST), view.value["last"], view.value["count"]) == (5, "4", 5)
    with pytest.raises(ProjectionFailed):
        one_by_one(Account.initial(), events)


def test_cross_stream_projections_take_their_own_way() -> None:
    class Rows(Projection):
        name, stream_type = "rows", "user"
        rows = {"set": lambda p: p["value"]}  # noqa: RUF012
        count = counter(set=lambda p: 1)

    assert Rows.apply_run(Rows.initial(), lane([changed("a")] * 2)) is None


def test_events_of_several_lanes_are_counted_as_concurrent_by_what_each_had_observed() -> None:
    ours = lane([changed("a")] * 3)
    theirs = [*lane([changed("b")] * 2, WEST, VersionVector({EAST: 2})), *lane([changed("c")] * 3, WEST)[2:]]
    theirs[2] = seal(theirs[0].lane, 3, Hlc(1_763_914_981_009, 0), changed("c"), VersionVector({EAST: 3}), theirs[1].digest)
    engine = Engine([Account], EventStore(MemoryStorage(), EAST, [WEST]), MemorySink())
    engine.apply(ours)
    engine.apply(theirs)
    assert engine.merged == 2, "the third of theirs had seen all of ours"


def test_of_a_lane_alone_the_last_events_are_kept_for_counting_conflicts_and_they_suffice() -> None:
    ours = lane([changed(f"{n}") for n in range(300)])
    theirs = lane([changed("x")], WEST, VersionVector({EAST: 298}))
    counted = []
    for size in (300, 1):
        recent = Recent()
        for start in range(0, 300, size):
            made = Pass(Account, EMPTY)
            made.folded.extend(ours[start : start + size])
            recent.fold(made, VersionVector({EAST: start}) if start else EMPTY, {EAST: range(1, 301)})
        made = Pass(Account, EMPTY)
        made.folded.extend(theirs)
        recent.fold(made, VersionVector({EAST: 300}))
        counted.append(recent.met)
    assert counted[0] == counted[1]
    assert counted[0][("account", "LwwRegister")] == 1
