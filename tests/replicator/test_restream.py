"""Splitting and merging streams by replay: every event moved exactly once, however often the run is killed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator import (
    EventStore,
    InvalidEvent,
    InvalidOperation,
    MemoryStorage,
    NewEvent,
    OutcomeUnknown,
    RegionUnavailable,
    StreamId,
    VersionVector,
)
from replicator.domain.event import Event
from replicator.eventstore.appender import Write
from replicator.eventstore.restream import MOVED, ORIGIN, Restream
from replicator.eventstore.upcasting import Schemas
from tests.regions import BACKENDS, EAST, WEST, stores_on, stores_over
from tests.replicator.memories import Killed

DIRECTORY = StreamId("directory", "springfield")


class Mortal(MemoryStorage):
    """Ends the process before or after the insert whose number is drawn next."""

    def __init__(self, kills: Iterator[tuple[int, bool]]) -> None:
        super().__init__()
        self._kills = kills
        self._next = next(kills, None)
        self._count = 0

    def insert(self, events: Any, guards: Any = ()) -> bool:
        self._count += 1
        if self._next is not None and self._count >= self._next[0]:
            landed, self._count, self._next = self._next[1], 0, next(self._kills, None)
            if landed:
                super().insert(events, guards)
            raise Killed
        return super().insert(events, guards)


def by_user(event: Event, payload: dict[str, Any]) -> list[tuple[str, NewEvent]]:
    return [(f"user/{payload['user']}", NewEvent(event.type, payload))] if event.type == "added" else []


def fill(store: EventStore, count: int, stream: StreamId = DIRECTORY) -> None:
    for n in range(count):
        store.append(stream, NewEvent("added" if n % 4 else "noted", {"user": f"u{n % 3}", "n": n}))


@pytest.fixture(params=BACKENDS)
def store(request: pytest.FixtureRequest) -> EventStore:
    return stores_on(request, request.param)[EAST]


def test_a_split_moves_each_event_to_its_stream_in_order_and_says_where_it_came_from(store: EventStore) -> None:
    fill(store, 20)
    done = Restream(store, "split", [DIRECTORY], by_user).run()
    assert (done.read, done.total, done.appended) == (20, 20, 15)
    source = {event.id: event for event in store.read(DIRECTORY)}
    for user in ("u0", "u1", "u2"):
        moved = list(store.read(f"user/{user}"))
        assert [e.payload["n"] for e in moved] == [n for n in range(20) if n % 4 and f"u{n % 3}" == user]
        assert all(source[event.metadata[ORIGIN]].payload == event.payload for event in moved)
        assert all(event.metadata["origin_time"] == str(source[event.metadata[ORIGIN]].hlc) for event in moved)
    assert len(source) == 20  # the old events stay


def test_a_second_run_moves_nothing_and_new_events_go_on_from_there(store: EventStore) -> None:
    fill(store, 8)
    Restream(store, "split", [DIRECTORY], by_user).run()
    assert Restream(store, "split", [DIRECTORY], by_user).run().appended == 0
    store.append(DIRECTORY, NewEvent("added", {"user": "u9", "n": 99}))
    assert Restream(store, "split", [DIRECTORY], by_user).run().appended == 1


def test_a_merge_puts_many_streams_into_one_in_the_order_of_their_times() -> None:
    held = {region: MemoryStorage() for region in (EAST, WEST)}
    now = 1_763_914_981_000
    stores = stores_over(held, lambda: now)
    for n in range(12):
        now += 10
        stores[(EAST, WEST)[n % 2]].append(f"user/u{n % 3}", NewEvent("seen", {"n": n}))
    for lane, _ in list(held[WEST].lanes()):
        held[EAST].insert(list(held[WEST].read(lane)))
    sources = [f"user/u{n}" for n in range(3)]
    Restream(
        stores[EAST], "merge", sources, lambda e, p: [("log/all", NewEvent(e.type, {**p, "from": str(e.stream)}))]
    ).run()
    merged = list(stores[EAST].read("log/all"))
    assert [event.payload["n"] for event in merged] == list(range(12))
    assert {event.region for event in merged} == {EAST}


@given(st.lists(st.tuples(st.integers(1, 3), st.booleans()), max_size=8))
def test_killed_anywhere_and_run_again_every_event_is_moved_exactly_once(kills: list[tuple[int, bool]]) -> None:
    storage = Mortal(iter([]))
    fill(EventStore(storage, EAST, [EAST, WEST]), 12)
    storage._kills = iter(kills)
    storage._next, storage._count = next(storage._kills, None), 0

    def wide(event: Event, payload: dict[str, Any]) -> list[tuple[str, NewEvent]]:
        return [(f"copy/{n}", NewEvent("copied", payload)) for n in range(30)]  # three events fill a transaction

    for _ in range(len(kills) + 1):
        try:
            Restream(EventStore(storage, EAST, [EAST, WEST]), "wide", [DIRECTORY], wide).run()
        except Killed:
            continue
    store = EventStore(storage, EAST, [EAST, WEST])
    for n in range(30):
        assert [event.payload["n"] for event in store.read(f"copy/{n}")] == list(range(12))


def test_upcasters_apply_on_the_way() -> None:
    schemas = Schemas()
    schemas.type("added", 2)
    schemas.upcaster("added", 1)(lambda payload: {"user": payload["user"].upper()})
    store = EventStore(MemoryStorage(), EAST, [EAST])
    store.append(DIRECTORY, NewEvent("added", {"user": "bart"}))
    Restream(store, "split", [DIRECTORY], by_user, schemas.check()).run()
    assert store.latest("user/BART") is not None


def test_a_writer_who_went_on_is_found_out() -> None:
    store = EventStore(MemoryStorage(), EAST, [EAST])
    fill(store, 4)

    def meanwhile(event: Event, payload: dict[str, Any]) -> list[tuple[str, NewEvent]]:
        if payload["n"] == 1:
            store.append(DIRECTORY, NewEvent("added", {"user": "late", "n": 100}))
        return by_user(event, payload)

    with pytest.raises(InvalidOperation, match="during the run; stop its writers"):
        Restream(store, "split", [DIRECTORY], meanwhile).run()
    Restream(store, "split", [DIRECTORY], by_user).run()
    assert store.latest("user/late") is not None


def test_two_runs_at_once_move_nothing_twice() -> None:
    store = EventStore(MemoryStorage(), EAST, [EAST])
    fill(store, 6)

    def other_run_first(event: Event, payload: dict[str, Any]) -> list[tuple[str, NewEvent]]:
        if payload["n"] == 0:
            Restream(store, "split", [DIRECTORY], by_user).run()
        return by_user(event, payload)

    with pytest.raises(InvalidOperation, match="also running elsewhere"):
        Restream(store, "split", [DIRECTORY], other_run_first).run()
    assert sorted(e.payload["n"] for u in range(3) for e in store.read(f"user/u{u}")) == [1, 2, 3, 5]


@pytest.mark.parametrize(
    ("route", "says"),
    [
        (lambda e, p: [(DIRECTORY, NewEvent("x", {}))], "which is a source"),
        (lambda e, p: [(f"u/{n}", NewEvent("x", {})) for n in range(100)], "100 events"),
    ],
)
def test_a_route_that_cannot_be_is_refused_before_anything_is_written(route: Any, says: str) -> None:
    store = EventStore(MemoryStorage(), EAST, [EAST])
    fill(store, 3)
    with pytest.raises(InvalidOperation, match=says):
        Restream(store, "wrong", [DIRECTORY], route).run()
    assert [lane.stream for lane, _ in store.lanes()] == [DIRECTORY]


def test_sources_are_named_once() -> None:
    store = EventStore(MemoryStorage(), EAST, [EAST])
    for wrong in ([], [DIRECTORY, "directory/springfield"]):
        with pytest.raises(InvalidOperation, match="needs sources"):
            Restream(store, "wrong", wrong, by_user)


def test_large_events_are_moved_in_parts_that_fit_a_transaction() -> None:
    store = EventStore(MemoryStorage(), EAST, [EAST])
    for n in range(14):
        store.append_all([Write(DIRECTORY, (NewEvent("added", {"user": "u", "n": n, "text": "x" * 300_000}),))])
    Restream(store, "split", [DIRECTORY], by_user).run()
    assert [event.payload["n"] for event in store.read("user/u")] == list(range(14))
    checkpoints = [event for event in store.read("restream/split") if event.type == MOVED]
    assert len(checkpoints) > 1
    assert checkpoints[-1].payload["done"] == {str(DIRECTORY): dict(VersionVector({EAST: 14}).items())}


def test_large_metadata_counts_too() -> None:
    store = EventStore(MemoryStorage(), EAST, [EAST])
    for n in range(60):
        store.append(DIRECTORY, NewEvent("added", {"user": "u", "n": n}, metadata={"note": "x" * 100_000}))
    Restream(store, "split", [DIRECTORY], by_user).run()
    assert [event.payload["n"] for event in store.read("user/u")] == list(range(60))


def test_a_merge_of_thousands_of_streams_has_checkpoints_that_stay_small() -> None:
    store = EventStore(MemoryStorage(), EAST, [EAST])
    sources = [StreamId("user", f"{'x' * 900}{n:06}") for n in range(1200)]
    for source in sources:
        store.append(source, NewEvent("added", {"user": "u"}))
    Restream(store, "merge", sources, lambda event, payload: [("log/all", NewEvent("a", payload))]).run()
    assert len(list(store.read("log/all"))) == 1200
    assert max(len(event.payload_text) for event in store.read("restream/merge")) < 250_000
    assert (
        Restream(store, "merge", sources, lambda event, payload: [("log/all", NewEvent("a", payload))]).run().appended == 0
    )


def test_events_that_are_routed_nowhere_have_checkpoints_too() -> None:
    store = EventStore(MemoryStorage(), EAST, [EAST])
    for _ in range(20):
        store.append(DIRECTORY, *[NewEvent("noted", {"user": "u", "n": 0})] * 50)
    seen: list[int] = []
    Restream(store, "split", [DIRECTORY], lambda event, payload: []).run(lambda progress: seen.append(progress.read))
    assert seen == [0, 200, 400, 600, 800, 1000]


def test_another_region_does_not_move_everything_again() -> None:
    held = {region: MemoryStorage() for region in (EAST, WEST)}
    stores = stores_over(held)
    fill(stores[EAST], 4)
    Restream(stores[EAST], "split", [DIRECTORY], by_user).run()
    for lane, _ in list(held[EAST].lanes()):
        held[WEST].insert(list(held[EAST].read(lane)))
    with pytest.raises(InvalidOperation, match="begun in us-east-1; continue there"):
        Restream(stores[WEST], "split", [DIRECTORY], by_user).run()


def test_errors_of_a_region_pass_through() -> None:
    for error in (RegionUnavailable("down"), OutcomeUnknown("?", []), InvalidEvent("x")):
        store = EventStore(MemoryStorage(), EAST, [EAST])
        fill(store, 2)

        def fails(*_: Any, error: Exception = error) -> bool:
            raise error

        store._lanes._storage.insert = fails  # type: ignore[method-assign]
        with pytest.raises(type(error)):
            Restream(store, "split", [DIRECTORY], by_user).run()
