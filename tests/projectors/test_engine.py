"""The engine: the same views everywhere, each event counted once, whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from projectors import Engine, MemorySink, Projection, Sink, add, collection, counter, register, remove
from projectors.engine.sink import Change
from projectors.model.view import ViewKey
from projectors.sinks.dynamodb import DynamoSink
from replicator import Event, EventStore, MemoryStorage, NewEvent, RegionUnavailable, Settings
from replicator.domain.event import seal
from replicator.domain.vector import VersionVector
from tests.projectors.histories import REGIONS, CrashingSink, deliveries, digests, histories, store_of
from tests.projectors.histories import engine_over as over

STREAMS = ("plane/N1", "plane/N2", "crew/7")


class Plane(Projection):
    name = "plane"
    stream_type = "plane"
    place = register(landed=lambda p: p["at"], moved=lambda p: p["at"])
    flown = counter(landed=lambda p: 1, corrected=lambda p: -1)
    airports = collection(landed=lambda p: add(p["at"]), moved=lambda p: remove(p["at"]))


class Minutes(Projection):
    name = "minutes"
    stream_type = "plane"
    lost = counter(landed=lambda p: len(p["at"]))


class Crew(Projection):
    name = "crew"
    stream_type = "crew"
    where = register(landed=lambda p: p["at"])


ALL = (Plane, Minutes, Crew)


HISTORIES = histories(
    STREAMS,
    ["landed", "landed", "moved", "corrected"],
    dict.fromkeys(STREAMS, st.fixed_dictionaries({"at": st.sampled_from(["EWR", "JFK"])})),
)


def engine_over(
    events: Iterable[Event], sink: Sink | None = None, projections: Sequence[type[Projection]] = ALL
) -> tuple[Engine, Sink]:
    sink = sink or MemorySink()
    return over(events, sink, projections), sink


def value(sink: Sink, projection: str, stream: str) -> dict[str, Any]:
    return sink.load([ViewKey(projection, stream)])[ViewKey(projection, stream)].value


def in_one_go(history: Sequence[Event]) -> dict[ViewKey, bytes]:
    engine, sink = engine_over(history)
    assert engine.apply(history) == []
    return digests(sink, ALL)


@trials(max_examples=150, deadline=None)
@given(HISTORIES, st.data())
def test_any_order_duplication_and_batching_gives_the_same_views_in_every_region(history: list[Event], data: Any) -> None:
    expected = in_one_go(history)
    for _ in REGIONS:
        engine, sink = engine_over(history)
        for batch in deliveries(data, history):
            assert engine.apply(batch) == []
        assert digests(sink, ALL) == expected


@trials(max_examples=60, deadline=None)
@given(HISTORIES, st.data())
def test_views_are_right_while_lanes_are_still_arriving(history: list[Event], data: Any) -> None:
    lanes = {e.lane: iter([x for x in history if x.lane == e.lane]) for e in history}
    order = [next(lanes[lane]) for lane in data.draw(st.permutations([e.lane for e in history]))]
    storage, sink = MemoryStorage(), MemorySink()
    engine = Engine(ALL, store_of(storage, "us-east-1"), sink)
    for upto, event in enumerate(order, 1):
        storage.insert_each([event])
        engine.apply([event, data.draw(st.sampled_from(order[:upto]))])
        if data.draw(st.booleans()):
            assert digests(sink, ALL) == in_one_go(order[:upto])
    assert digests(sink, ALL) == in_one_go(history)


@trials(max_examples=40, deadline=None)
@given(HISTORIES)
def test_counters_and_sets_agree_with_the_plain_history(history: list[Event]) -> None:
    engine, sink = engine_over(history)
    engine.apply(history)
    for stream in {str(e.stream) for e in history if e.stream.type == "plane"}:
        mine = [e for e in history if str(e.stream) == stream]
        landed = [e for e in mine if e.type == "landed"]
        gone = {
            e.id for e in landed for r in mine
            if r.type == "moved" and r.payload == e.payload and r.observed.covers(e.region, e.sequence)
        }  # fmt: skip
        assert value(sink, "plane", stream)["flown"] == len(landed) - sum(e.type == "corrected" for e in mine)
        assert value(sink, "plane", stream)["airports"] == sorted({e.payload["at"] for e in landed if e.id not in gone})


@trials(max_examples=40, deadline=None)
@given(HISTORIES)
def test_gaps_are_pulled_from_the_store(history: list[Event]) -> None:
    engine, sink = engine_over(history)
    assert engine.apply({event.lane: event for event in history}.values()) == []  # the last of each lane
    assert digests(sink, ALL) == in_one_go(history)


@trials(max_examples=20, deadline=None)
@given(HISTORIES)
def test_catching_up_by_lanes_alone_is_receiving_every_event(history: list[Event]) -> None:
    engine, sink = engine_over(history)
    assert engine.catch_up({event.lane: event.sequence for event in history}) == []
    assert digests(sink, ALL) == in_one_go(history)


def flights(store: EventStore, stream: str = "plane/N1", count: int = 4) -> list[Event]:
    return [store.append(stream, NewEvent("landed", {"at": f"A{n}"}))[0] for n in range(count)]


def test_a_gap_that_the_store_cannot_fill_is_not_jumped_over() -> None:
    events = flights(store_of(MemoryStorage(), "us-east-1"))
    engine, sink = engine_over(events[:1])
    engine.apply(events[2:])
    assert value(sink, "plane", "plane/N1")["flown"] == 1


@trials(max_examples=150, deadline=None)
@given(HISTORIES, st.lists(st.sampled_from(["before", "after", "no"]), max_size=8), st.booleans(), st.data())
def test_a_crash_around_a_save_and_redelivery_counts_nothing_twice(
    history: list[Event], crashes: list[str], same_process: bool, data: Any
) -> None:
    sink = CrashingSink(crashes)
    engine, _ = engine_over(history, sink)
    for batch in deliveries(data, history):
        while True:
            try:
                engine.apply(batch)
                break
            except RegionUnavailable:
                if not same_process:
                    engine, _ = engine_over(history, sink)
    assert digests(sink, ALL) == in_one_go(history)


class RacedSink(MemorySink):
    """Lets somebody else go first, in the middle of a save: after the views were read, before they are written."""

    def __init__(self) -> None:
        super().__init__()
        self.first: list[Callable[[], object]] = []

    def save(self, changes: Sequence[Change]) -> list[bool]:
        if self.first:
            self.first.pop()()
        return super().save(changes)


@trials(max_examples=60, deadline=None)
@given(HISTORIES, st.data())
def test_two_engines_racing_for_one_sink_never_count_twice(history: list[Event], data: Any) -> None:
    sink = RacedSink()
    ours, _ = engine_over(history, sink)
    theirs, _ = engine_over(history, sink)
    rival = [data.draw(st.lists(st.sampled_from(history), min_size=1, max_size=5)) for _ in range(3)]
    for batch in deliveries(data, history):
        if rival and data.draw(st.booleans()):
            events = rival.pop()
            sink.first.append(lambda events=events: theirs.apply(events))
        assert ours.apply(batch) == []
    assert digests(sink, ALL) == in_one_go(history)


def test_engines_in_threads_on_one_sink_count_every_event_once() -> None:
    stores = [store_of(MemoryStorage(), region) for region in REGIONS]
    history = [event for store in stores for event in flights(store, count=12)]
    sink = MemorySink()

    def project(turn: int) -> None:
        engine, _ = engine_over(history, sink)
        for start in range(0, len(history), 3):
            engine.apply((history[turn:] + history[:turn])[start : start + 3])

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(project, [0, 12, 24]))
    assert value(sink, "plane", "plane/N1")["flown"] == 36
    assert digests(sink, ALL) == in_one_go(history)


def deep(levels: int) -> dict[str, Any]:
    return {"a": deep(levels - 1)} if levels > 1 else {}


class Fragile(Projection):
    name = "fragile"
    stream_type = "plane"
    ratio = counter(divided=lambda p: 1 // p["by"])
    total = counter(counted=lambda p: p["by"])
    whole = register(kept=lambda p: p, strange=lambda p: {1, 2})
    seen = counter(landed=lambda p: 1)


POISONS = {
    "a field is missing": ("divided", {}),
    "a wrong type": ("counted", {"by": "1"}),
    "a division by zero": ("divided", {"by": 0}),
    "a value that no view can hold": ("strange", {}),
    "a sum beyond 2^53": ("counted", {"by": 2**53 - 1}),
    "a value as deep as payloads may be": ("kept", deep(32)),
}


@pytest.mark.parametrize(("kind", "payload"), POISONS.values(), ids=POISONS.keys())
def test_a_poison_event_blocks_its_own_view_alone_and_is_reported_once(kind: str, payload: dict[str, Any]) -> None:
    us, eu = store_of(MemoryStorage(), "us-east-1"), store_of(MemoryStorage(), "eu-west-1")
    before = us.append("plane/N1", NewEvent("landed", {"at": "EWR"}), NewEvent("counted", {"by": 1}))
    poison = us.append("plane/N1", NewEvent(kind, payload))
    after = [
        *us.append("plane/N1", NewEvent("landed", {"at": "JFK"})),
        *flights(us, "plane/N2"),
        *flights(eu, "plane/N1", 2),
    ]
    history = [*before, *poison, *after]
    engine, sink = engine_over(history, projections=(Fragile, Plane))
    failures = engine.apply(history)
    assert [(f.projection, f.event_id) for f in failures] == [("fragile", poison[0].id)]
    assert failures[0].reason
    stuck = sink.load([ViewKey("fragile", "plane/N1")])[ViewKey("fragile", "plane/N1")]
    assert stuck.vector == VersionVector({"us-east-1": 2, "eu-west-1": 2})  # its other lanes go on
    assert stuck.value["seen"] == 3
    assert value(sink, "fragile", "plane/N2")["seen"] == 4
    assert value(sink, "plane", "plane/N1")["flown"] == 4
    assert value(sink, "plane", "plane/N2")["flown"] == 4


def test_a_view_that_another_engine_moved_is_read_again_before_it_is_written() -> None:
    store = EventStore(MemoryStorage(), "us-east-1", REGIONS)
    events = [store.append("plane/N1", NewEvent("landed", {"at": f"A{n}"}))[0] for n in range(6)]
    saves = list[int]()

    class Counted(MemorySink):
        def save(self, changes: Sequence[Change]) -> list[bool]:
            saved = super().save(changes)
            saves.extend(saved)
            return saved

    sink = Counted()
    first, second = (Engine([Plane], store, sink) for _ in range(2))
    for engine, event in zip([first, second, second, first, first, second], events, strict=True):
        assert engine.apply([event]) == []
    assert saves == [True] * 6, "no write was made over a view that had moved"
    assert sink.load([Plane.key(events[0].stream)])[Plane.key(events[0].stream)].value["flown"] == 6


def test_a_lost_race_does_not_report_a_poison_event_twice() -> None:
    us, eu = store_of(MemoryStorage(), "us-east-1"), store_of(MemoryStorage(), "eu-west-1")
    history = [*us.append("plane/N1", NewEvent("landed", {"at": "EWR"}), NewEvent("divided", {"by": "x"})), *flights(eu)]
    sink = RacedSink()
    ours, _ = engine_over(history, sink, [Fragile])
    theirs, _ = engine_over(history, sink, [Fragile])
    sink.first.append(lambda: theirs.apply(history[2:4]))
    assert [failure.event_id for failure in ours.apply(history)] == [history[1].id]


def test_a_damaged_lane_blocks_its_own_view_alone_and_is_reported() -> None:
    us = store_of(MemoryStorage(), "us-east-1")
    lane, other = flights(us), flights(us, "plane/N2")
    stray = seal(lane[1].lane, 2, lane[1].hlc, NewEvent("landed", {"at": "forged"}), lane[1].observed, b"x" * 32)
    engine, sink = engine_over([lane[0], stray, *lane[2:], *other], projections=[Plane])
    failures = engine.apply([lane[3], other[3]])
    assert [(failure.projection, failure.event_id) for failure in failures] == [("plane", stray.id)]
    assert "chain" in failures[0].reason
    assert value(sink, "plane", "plane/N1")["flown"] == 1
    assert value(sink, "plane", "plane/N2")["flown"] == 4


@pytest.mark.emulator
def test_a_view_too_large_for_its_sink_blocks_itself_alone_and_is_reported(settings: Settings) -> None:
    us = store_of(MemoryStorage(), "us-east-1")
    large = us.append("plane/N1", NewEvent("landed", {"at": "x" * 250_000}))  # stored as state and as value
    history = [*large, *flights(us, "plane/N2")]
    engine, sink = engine_over(history, DynamoSink(settings), [Plane])
    failures = engine.apply(history)
    assert [(failure.projection, "#plane#N1#" in failure.event_id) for failure in failures] == [("plane", True)]
    assert value(sink, "plane", "plane/N2")["flown"] == 4


class PlaneNow(Projection):
    name = "plane"
    stream_type = "plane"
    version = 2
    flown = counter(landed=lambda p: 10)


@trials(max_examples=30, deadline=None)
@given(HISTORIES, st.data())
def test_a_new_version_of_a_projection_folds_the_whole_history_again(history: list[Event], data: Any) -> None:
    engine, sink = engine_over(history, projections=[Plane])
    engine.apply(history)
    renewed, _ = engine_over(history, sink, [PlaneNow])
    renewed.apply(data.draw(st.permutations(list({str(e.stream): e for e in history}.values()))))  # one event a stream
    fresh, expected = engine_over(history, projections=[PlaneNow])
    fresh.apply(history)
    assert digests(sink, ALL, 2) == digests(expected, ALL, 2)
    assert digests(sink, ALL) == {key: each for key, each in in_one_go(history).items() if key.projection == "plane"}


def test_an_event_that_no_projection_wants_makes_no_view() -> None:
    events = store_of(MemoryStorage(), "us-east-1").append("tower/JFK", NewEvent("landed", {"at": "JFK"}))
    engine, sink = engine_over(events)
    assert engine.apply(events) == []
    assert digests(sink, ALL) == {}


def test_more_streams_at_once_than_views_are_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projectors.engine.engine._VIEWS_KEPT", 10)
    monkeypatch.setattr("projectors.engine.engine._STREAMS_AT_ONCE", 4)
    store = store_of(MemoryStorage(), "us-east-1")
    first, second = (
        [store.append(f"plane/N{n}", NewEvent("landed", {"at": "JFK"}))[0] for n in range(50)] for _ in range(2)
    )
    engine, sink = engine_over([*first, *second])
    for batch in (first, second, [*first, *second]):
        assert engine.apply(batch) == []
    assert digests(sink, ALL) == in_one_go([*first, *second])
