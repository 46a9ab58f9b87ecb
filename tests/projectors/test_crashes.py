"""The engine is killed at every boundary between two of its steps: what is stored is always what its vector says, and going
on from there ends where an undisturbed run does. The steps are enumerated by running once and counting them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest

from chaos.world.servers import postgresql, redis_server
from projectors import Engine, MemorySink, Projection, Sink, add, collection, counter, register, remove
from projectors.engine.sink import Change
from projectors.model.view import View, ViewKey
from projectors.sinks.dynamodb import DynamoSink
from replicator import Event, EventStore, HybridLogicalClock, MemoryStorage, NewEvent, Observed, Settings
from replicator.domain.names import LaneId
from replicator.domain.vector import VersionVector
from tests.replicator.memories import Killed

REGIONS = ("eu-west-1", "us-east-1")


class Member(Projection):
    name = "member"
    stream_type = "user"
    group = register(joined=lambda p: p["group"], left=lambda p: None)
    groups = collection(joined=lambda p: add(p["group"]), left=lambda p: remove(p["group"]))


class Members(Projection):
    name = "members"
    stream_type = "user"
    rows = {"joined": lambda p: [p["group"], "all"], "left": lambda p: [p["group"], "all"]}  # noqa: RUF012
    moves = counter(joined=lambda p: 1, left=lambda p: 1)
    who = collection(joined=lambda p: add(p["name"]), left=lambda p: remove(p["name"]))


ALL = (Member, Members)


@dataclass
class Steps:
    """Counts boundaries; kills at the one that is wanted."""

    at: int | None = None
    taken: int = 0

    def boundary(self) -> None:
        self.taken += 1
        if self.taken == self.at:
            raise Killed


class Stepping:
    """A sink in front of another: a boundary before and after each call, and between any two changes of a save."""

    def __init__(self, sink: Sink, steps: Steps, one_by_one: bool) -> None:
        self.sink, self.steps, self.one_by_one = sink, steps, one_by_one

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        self.steps.boundary()
        found = self.sink.load(keys)
        self.steps.boundary()
        return found

    def save(self, changes: Sequence[Change]) -> list[bool]:
        self.steps.boundary()
        if not self.one_by_one:
            saved = self.sink.save(changes)
            self.steps.boundary()
            return saved
        saved = []
        for change in changes:
            saved += self.sink.save([change])
            self.steps.boundary()
        return saved

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sink, name)


class SteppingStorage(MemoryStorage):
    """Events are read a page at a time: a boundary before each."""

    steps = Steps()

    def read(self, lane: LaneId, *args: Any, **kwargs: Any) -> Iterator[Event]:
        self.steps.boundary()
        yield from super().read(lane, *args, **kwargs)


def history() -> list[Event]:
    """Two users, two regions that had now and then heard of each other, in the order of their clocks."""
    storages = {region: MemoryStorage() for region in REGIONS}
    stores = {
        region: EventStore(storage, region, REGIONS, HybridLogicalClock(lambda: 1_763_914_981_123))
        for region, storage in storages.items()
    }
    events: list[Event] = []
    for n in range(14):
        here = REGIONS[n % 2]
        stream, name = (("user/homer", "homer"), ("user/lisa", "lisa"))[n % 3 == 0]
        if n % 4 == 0:
            for storage in storages.values():
                storage.insert_each(events)
        new = NewEvent("left" if n % 5 == 4 else "joined", {"group": ("jazz", "bowling")[n % 2], "name": name})
        events += stores[here].append(stream, new, observed=Observed.of(stores[here].read(stream)))
    return events


HISTORY = history()
BATCHES = (HISTORY[9:12], HISTORY[2:5], HISTORY[:6], HISTORY[5:])  # the first leaves gaps


def run(sink: Sink, steps: Steps, one_by_one: bool) -> None:
    storage = SteppingStorage()
    storage.insert_each(HISTORY)
    storage.steps = steps
    store = EventStore(storage, "us-east-1", REGIONS, HybridLogicalClock(lambda: 1_763_914_981_123))
    engine = Engine(ALL, store, Stepping(sink, steps, one_by_one))
    for batch in BATCHES:
        steps.boundary()
        assert engine.apply(batch) == []


def contents(sink: Sink) -> dict[ViewKey, View]:
    return {view.id: view for each in ALL for view in sink.views(each.name)}


def expected(view: View) -> View:
    """What a view must be at its vector, from the events alone, folded here by hand."""
    projection = next(each for each in ALL if each.name == view.projection)
    if projection.rows and not view.row:
        waits: dict[str, VersionVector] = {}
        for event in HISTORY:
            if str(event.stream) == view.key and view.vector.covers(event.region, event.sequence):
                for row in projection.rows_of(event):
                    waits[row] = waits.get(row, VersionVector()).join(event.observed.beyond(view.vector))
        return projection.reached(view.key, view.vector, {row: beyond for row, beyond in sorted(waits.items()) if beyond})
    states = projection.initial()
    for event in HISTORY:
        fed = not view.row or view.row in projection.rows_of(event)
        if str(event.stream) == view.key and fed and view.vector.covers(event.region, event.sequence):
            states = projection.apply(states, event)
    return projection.view(view.key, states, view.vector, view.row)


def check_killed_everywhere(fresh: Callable[[], Sink], one_by_one: bool) -> int:
    whole = MemorySink()
    counted = Steps()
    run(whole, counted, one_by_one)
    end = contents(whole)
    assert all(expected(view) == view for view in end.values())
    for at in range(1, counted.taken + 1):
        sink = fresh()
        with pytest.raises(Killed):
            run(sink, Steps(at), one_by_one)
        for view in contents(sink).values():
            assert expected(view) == view, f"killed at step {at}: {view.id} is not what {view.vector} says"
        run(sink, Steps(), one_by_one)
        assert contents(sink) == end, f"killed at step {at} and run again"
    return counted.taken


def test_killed_between_any_two_steps_rows_and_vectors_agree() -> None:
    assert check_killed_everywhere(MemorySink, one_by_one=True) > 35


def test_killed_twice_rows_and_vectors_agree() -> None:
    counted = Steps()
    whole = MemorySink()
    run(whole, counted, True)
    for first in range(1, counted.taken + 1, 3):
        for second in range(1, counted.taken + 1, 5):
            sink = MemorySink()
            with pytest.raises(Killed):
                run(sink, Steps(first), True)
            try:
                run(sink, Steps(second), True)
            except Killed:
                assert all(expected(view) == view for view in contents(sink).values())
            run(sink, Steps(), True)
            assert contents(sink) == contents(whole)


@pytest.mark.emulator
def test_killed_between_any_two_calls_dynamodb_agrees(emptied_settings: Settings) -> None:
    sink = DynamoSink(emptied_settings)

    def emptied() -> Sink:
        for each in ALL:
            list(sink.drop(each.name, 1))
        return sink

    assert check_killed_everywhere(emptied, one_by_one=False) > 25


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
def test_killed_between_any_two_calls_a_real_server_agrees(kind: str) -> None:
    with opened(kind) as fresh:
        assert check_killed_everywhere(fresh, one_by_one=False) > 25


@contextmanager
def opened(kind: str) -> Iterator[Callable[[], Sink]]:
    from projectors.sinks.postgresql import PostgresSink
    from projectors.sinks.redis import RedisSink

    number = iter(range(1_000_000))
    settings = Settings("us-east-1", (), read_timeout=30.0)
    made: list[Any] = []
    with postgresql() if kind == "postgresql" else redis_server() as server:

        def fresh() -> Sink:
            prefixed = replace(settings, prefix=f"run{next(number)}")
            sink = PostgresSink(server.url, prefixed) if kind == "postgresql" else RedisSink(server.url, prefixed)
            if isinstance(sink, PostgresSink):
                sink.create_tables()
            made.append(sink)
            if len(made) > 1:
                made[-2].close()
            return sink

        try:
            yield fresh
        finally:
            made[-1].close()


def test_a_view_whose_row_is_not_what_its_vector_says_is_noticed() -> None:
    """The check of this file can fail."""
    sink = MemorySink()
    run(sink, Steps(), True)
    view = next(view for view in contents(sink).values() if view.row == "jazz")
    assert expected(replace(view, value_text='{"moves":1,"who":[]}')) != replace(view, value_text='{"moves":1,"who":[]}')
    assert expected(replace(view, vector=VersionVector({"us-east-1": 1}))) != replace(
        view, vector=VersionVector({"us-east-1": 1})
    )
