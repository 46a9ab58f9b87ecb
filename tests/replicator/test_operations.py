"""Operations: a write happens only if its precondition holds of the stream it is written to, and the result is a value."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from threading import Event as Signal
from typing import Any

import pytest

from replicator import (
    Accept,
    Always,
    AtToken,
    ConsistencyToken,
    Event,
    EventStore,
    GaveUp,
    Hlc,
    IfEmpty,
    InvalidEvent,
    InvalidOperation,
    InvalidToken,
    LaneId,
    MemoryStorage,
    NewEvent,
    NotHereYet,
    Operation,
    Reject,
    Rejected,
    Saved,
    StreamId,
    VersionVector,
    When,
)
from replicator.aws.event_table import DynamoStorage
from replicator.connect import connect_store
from replicator.eventstore.appender import AppendPolicy
from replicator.eventstore.reducer import Reducer
from replicator.runtime.settings import Settings
from tests.processes import HANGING_SECONDS
from tests.regions import BACKENDS, EAST, WEST, stores_in_memory, stores_on

HOMER, MARGE = StreamId("user", "homer"), StreamId("user", "marge")
SET = NewEvent("name_set", {"value": "Homer"})
OF_MARGE = ConsistencyToken({MARGE: VersionVector({EAST: 1})})
OF_NOWHERE = ConsistencyToken({HOMER: VersionVector({"sa-east-1": 1})})
TOTAL: Reducer[int] = Reducer(0, {"added": lambda total, payload: total + payload["n"]})


@pytest.fixture(params=BACKENDS)
def stores(request: pytest.FixtureRequest) -> dict[str, EventStore]:
    """Two regions that nothing copies between: each sees the other's events only by pulling them."""
    return stores_on(request, request.param)


@pytest.fixture
def east(stores: dict[str, EventStore]) -> EventStore:
    return stores[EAST]


def saved(result: Any) -> Saved:
    assert isinstance(result, Saved), result
    return result


def add_one(total: int) -> Accept:
    return Accept(NewEvent("added", {"n": 1, "total": total + 1}))


def test_if_empty_lets_the_first_writer_in_and_tells_the_second_why_not(east: EventStore) -> None:
    first = saved(east.save(Operation(HOMER, SET, IfEmpty())))
    second = east.save(Operation(HOMER, SET, IfEmpty()))
    assert isinstance(second, Rejected)
    assert second.reasons == (f"stream user/homer is not empty: it is at {first.token.vector(HOMER)}",)
    assert second.token.vector(HOMER) == VersionVector({EAST: 1})
    assert [event.sequence for event in east.read(HOMER)] == [1]


def test_at_token_accepts_the_stream_as_it_was_read_and_rejects_once_it_has_moved(east: EventStore) -> None:
    token = saved(east.save(Operation(HOMER, SET))).token
    moved = saved(east.save(Operation(HOMER, SET, AtToken(token)))).token
    refused = east.save(Operation(HOMER, SET, AtToken(token)))
    assert isinstance(refused, Rejected)
    assert "no longer at" in refused.reasons[0]
    assert refused.token.vector(HOMER) == moved.vector(HOMER)
    assert len(list(east.read(HOMER))) == 2


def test_a_token_goes_over_the_wire_as_text(east: EventStore) -> None:
    text = east.tokens.encode(saved(east.save(Operation(HOMER, SET))).token)
    assert isinstance(east.save(Operation(HOMER, SET, AtToken(text))), Saved)


def test_a_decision_sees_the_state_and_adds_what_it_makes_of_it(east: EventStore) -> None:
    for wanted in (1, 2, 3):
        result = saved(east.save(Operation(HOMER, (), When(TOTAL, add_one))))
        assert [event.payload for event in result.events] == [{"n": 1, "total": wanted}]

    def at_most_three(total: int) -> Accept | Reject:
        return Reject(f"{total} is enough", "ask again tomorrow") if total >= 3 else add_one(total)

    refused = east.save(Operation(HOMER, SET, When(TOTAL, at_most_three)))
    assert isinstance(refused, Rejected)
    assert refused.reasons == ("3 is enough", "ask again tomorrow")


def test_a_decision_that_adds_nothing_writes_nothing_and_still_gives_a_token(east: EventStore) -> None:
    east.save(Operation(HOMER, SET))
    result = saved(east.save(Operation(HOMER, (), When(TOTAL, lambda _: Accept()))))
    assert result.events == ()
    assert result.token.vector(HOMER) == VersionVector({EAST: 1})


def test_operations_on_several_streams_commit_together_or_not_at_all(east: EventStore) -> None:
    both = saved(east.save(Operation(HOMER, SET, IfEmpty()), Operation(MARGE, SET, IfEmpty())))
    assert {event.stream for event in both.events} == {HOMER, MARGE}
    assert {both.token.vector(HOMER), both.token.vector(MARGE)} == {VersionVector({EAST: 1})}
    lisa = StreamId("user", "lisa")
    refused = east.save(Operation(lisa, SET, IfEmpty()), Operation(HOMER, SET, IfEmpty()), Operation(MARGE, SET, IfEmpty()))
    assert isinstance(refused, Rejected)
    assert len(refused.reasons) == 2  # every precondition that failed, not the first one alone
    assert list(east.read(lisa)) == []


def test_preconditions_combine_with_and_and_or(east: EventStore) -> None:
    token = saved(east.save(Operation(HOMER, SET))).token
    empty_or_seen = IfEmpty() | AtToken(token)
    assert isinstance(east.save(Operation(HOMER, SET, empty_or_seen)), Saved)
    neither = east.save(Operation(HOMER, SET, empty_or_seen))
    assert isinstance(neither, Rejected)
    assert len(neither.reasons) == 2
    both = east.save(Operation(HOMER, SET, When(TOTAL, lambda _: Reject("no")) & IfEmpty()))
    assert isinstance(both, Rejected)
    assert len(both.reasons) == 2
    adds = saved(east.save(Operation(HOMER, SET, When(TOTAL, add_one) & When(TOTAL, add_one))))
    assert [event.type for event in adds.events] == ["name_set", "added", "added"]


def test_what_was_read_for_the_decision_is_recorded_as_observed(stores: dict[str, EventStore]) -> None:
    token = saved(stores[EAST].save(Operation(HOMER, SET))).token
    (event,) = saved(stores[WEST].save(Operation(HOMER, SET, AtToken(token)))).events
    assert event.observed == VersionVector({EAST: 1})
    assert event.hlc > token.hlc


def test_a_write_after_a_token_sorts_after_it(stores: dict[str, EventStore]) -> None:
    token = saved(stores[EAST].save(Operation(HOMER, SET))).token
    ahead = token.join(OF_MARGE).join(ConsistencyToken({}, Hlc(token.hlc.ms + 60_000, 5)))
    (event,) = saved(stores[WEST].save(Operation(HOMER, SET, after=ahead))).events
    assert event.observed == VersionVector({EAST: 1})
    assert event.hlc > ahead.hlc  # also after what the writer saw of other streams


def test_a_decision_on_a_token_pulls_what_has_not_arrived(stores: dict[str, EventStore]) -> None:
    token = saved(stores[EAST].save(Operation(HOMER, (), When(TOTAL, add_one)))).token
    blind = saved(stores[WEST].save(Operation(MARGE, (), When(TOTAL, add_one))))
    assert blind.events[0].payload["total"] == 1
    seen = saved(stores[WEST].save(Operation(HOMER, (), When(TOTAL, add_one), after=token)))
    assert seen.events[0].payload["total"] == 2


def test_a_token_that_nobody_can_satisfy_is_said_so_in_bounded_time_and_nothing_is_written(east: EventStore) -> None:
    beyond = ConsistencyToken({HOMER: VersionVector({WEST: 5})})
    with pytest.raises(NotHereYet, match=r'user/homer up to \{"eu-west-1":5\}'):
        east.save(Operation(HOMER, SET, AtToken(beyond)), timeout=0.2)
    assert list(east.read(HOMER)) == []


def test_many_streams_that_lack_what_tokens_name_wait_no_longer_than_one() -> None:
    streams = [StreamId("user", f"u{n}") for n in range(20)]
    beyond = [Operation(s, SET, AtToken(ConsistencyToken({s: VersionVector({WEST: 5})}))) for s in streams]
    east, asked = stores_in_memory()[EAST], []
    pull = east.pull

    def pulled(stream: StreamId, at_least: ConsistencyToken | str | None, timeout: float = 2.0) -> Any:
        asked.append(timeout)
        return pull(stream, at_least, timeout)

    east.pull = pulled  # type: ignore[method-assign]
    with pytest.raises(NotHereYet):
        east.save(*beyond, timeout=0.2)
    assert sum(asked) <= 0.2


@pytest.mark.parametrize(
    ("operations", "error", "says"),
    [
        ([], InvalidOperation, "at least one"),
        ([Operation(HOMER, SET), Operation(HOMER, SET)], InvalidOperation, "two operations on stream user/homer"),
        ([Operation(HOMER, SET, AtToken(OF_MARGE))], InvalidOperation, "has no entry"),
        ([Operation(HOMER, SET, AtToken("nonsense"))], InvalidToken, "nonsense"),
        ([Operation(HOMER, SET, after=OF_NOWHERE)], InvalidToken, "sa-east-1"),
        ([Operation(HOMER, [SET] * 101)], InvalidEvent, "101 events"),
        ([Operation(HOMER, SET, When(TOTAL, lambda total: total == 0))], InvalidOperation, "returned True"),
    ],
)  # fmt: skip
def test_what_cannot_be_carried_out_is_refused_and_nothing_is_written(
    operations: list[Operation], error: type[Exception], says: str
) -> None:
    east = stores_in_memory()[EAST]
    with pytest.raises(error, match=says):
        east.save(*operations)
    assert list(east.lanes()) == []


def test_an_operation_refuses_what_is_no_event() -> None:
    with pytest.raises(InvalidOperation, match="takes NewEvent"):
        Operation(HOMER, [{"type": "renamed"}])  # type: ignore[list-item]


def test_a_precondition_s_error_is_the_caller_s_and_writes_nothing(east: EventStore) -> None:
    def broken(total: int) -> Accept:
        raise ZeroDivisionError(total)

    with pytest.raises(ZeroDivisionError):
        east.save(Operation(HOMER, SET, When(TOTAL, broken)))
    assert isinstance(east.save(Operation(HOMER, SET, IfEmpty())), Saved)  # and no lane stays held


def test_a_stream_that_always_moves_is_given_up_as_a_value() -> None:
    class Restless(MemoryStorage):
        """Another process appends just before each insert."""

        def insert(self, events: Any, guards: Any = ()) -> bool:
            other = EventStore(self, EAST, [EAST, WEST])
            other._storage = self.quiet  # type: ignore[assignment]
            other._appender._storage = self.quiet  # type: ignore[assignment]
            other.append(events[0].stream, SET)
            return super().insert(events, guards)

        @property
        def quiet(self) -> MemoryStorage:
            quiet = MemoryStorage()
            quiet._lanes, quiet._lock = self._lanes, self._lock
            return quiet

    store = EventStore(Restless(), EAST, [EAST, WEST], appends=AppendPolicy(attempts=3))
    result = store.save(Operation(HOMER, (), When(TOTAL, add_one)))
    assert isinstance(result, GaveUp)
    assert result.attempts == 3
    assert "user#homer" in result.reason
    assert [event.type for event in store.read(HOMER)] == ["name_set"] * 3


@pytest.mark.parametrize("writers", [8])
def test_concurrent_decisions_lose_no_update(stores: dict[str, EventStore], writers: int) -> None:
    """Read, decide, write by many threads and two processes' worth of stores: the total is exact and each step follows."""
    east = stores[EAST]
    other = EventStore(east._lanes._storage, EAST, [EAST, WEST], appends=AppendPolicy(attempts=200))
    first = EventStore(east._lanes._storage, EAST, [EAST, WEST], appends=AppendPolicy(attempts=200))
    start = Barrier(writers)

    def work(number: int) -> int:
        start.wait()
        results = [(first, other)[number % 2].save(Operation(HOMER, (), When(TOTAL, add_one))) for _ in range(5)]
        return sum(isinstance(result, Saved) for result in results)

    with ThreadPoolExecutor(writers) as pool:
        done = sum(pool.map(work, range(writers)))
    events: list[Event] = list(east.read(HOMER))
    assert done == 5 * writers
    assert [event.payload["total"] for event in events] == list(range(1, done + 1))


def test_what_another_process_writes_between_the_decision_and_the_write_is_decided_on_anew(
    stores: dict[str, EventStore],
) -> None:
    """The other one writes after the state was judged and before the events are sealed: the moment of the lost update."""
    east = stores[EAST]
    other = EventStore(east._lanes._storage, EAST, [EAST, WEST])
    overtakes = [True]

    def overtaken(total: int) -> Accept:
        if overtakes:
            overtakes.clear()
            saved(other.save(Operation(HOMER, (), When(TOTAL, add_one))))
        return add_one(total)

    saved(east.save(Operation(HOMER, (), When(TOTAL, overtaken))))
    assert [event.payload["total"] for event in east.read(HOMER)] == [1, 2]


def test_a_write_sorts_after_a_later_stream_that_its_token_names_also_with_a_precondition(east: EventStore) -> None:
    saved(east.save(Operation(HOMER, SET)))
    later = Hlc(saved(east.save(Operation(MARGE, SET))).token.hlc.ms + 30_000, 0)
    token = ConsistencyToken({MARGE: VersionVector({EAST: 1})}, later)
    (event,) = saved(east.save(Operation(HOMER, (), When(TOTAL, add_one), after=token))).events
    assert event.hlc > later


def test_who_writes_to_two_streams_is_not_left_waiting_behind_those_who_write_to_one() -> None:
    class Slow(MemoryStorage):
        def insert(self, events: Any, guards: Any = ()) -> bool:
            time.sleep(0.02)
            return super().insert(events, guards)

    store = EventStore(Slow(), EAST, [EAST, WEST])
    stop = Signal()

    def busy(stream: StreamId) -> None:
        while not stop.is_set():
            store.save(Operation(stream, SET))

    with ThreadPoolExecutor(5) as pool:
        for stream in (HOMER, HOMER, MARGE, MARGE):
            pool.submit(busy, stream)
        time.sleep(0.1)
        both = pool.submit(store.save, Operation(HOMER, SET), Operation(MARGE, SET))
        try:
            assert isinstance(both.result(HANGING_SECONDS), Saved)
        finally:
            stop.set()


def test_always_takes_one_round_trip_and_reads_nothing() -> None:
    class Counted(MemoryStorage):
        reads = 0

        def read(self, *args: Any, **options: Any) -> Any:
            type(self).reads += 1
            return super().read(*args, **options)

    store = EventStore(Counted(), EAST, [EAST, WEST])
    store.save(Operation(HOMER, SET, Always()))
    before = Counted.reads
    result = saved(store.save(Operation(HOMER, SET)))
    assert Counted.reads == before
    assert result.token.vector(HOMER) == VersionVector({EAST: 2})


def test_a_token_of_a_retired_region_is_still_read(emptied_settings: Settings) -> None:
    retired = replace(emptied_settings, retired=("sa-east-1",))
    store = connect_store(retired)
    assert store.token(ConsistencyToken({HOMER: VersionVector({"sa-east-1": 3})})).vector(HOMER)
    assert isinstance(store._lanes._storage, DynamoStorage)
    assert LaneId("sa-east-1", HOMER).region in store.regions
