"""The past of a stream: at a sequence, a token, a time; who did what; and what changed since a token."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator import (
    AtToken,
    ConsistencyToken,
    EventStore,
    HybridLogicalClock,
    InvalidEvent,
    InvalidOperation,
    MemoryStorage,
    NewEvent,
    NotHereYet,
    Operation,
    Saved,
    StreamId,
    VersionVector,
)
from replicator.domain.clock import milliseconds_of
from replicator.domain.vector import EMPTY
from replicator.eventstore.change_feed import changes
from replicator.eventstore.history import AtSequence, AuditEntry, audit, moment_of, signed, vector_at
from tests.regions import EAST, WEST, copy, stores_over

HOMER = StreamId("user", "homer")
START = 1_763_914_981_000


class Two:
    """Two regions in memory whose clocks the test sets; `copy` is the replicator."""

    def __init__(self) -> None:
        self.now = START
        self.held = {region: MemoryStorage() for region in (EAST, WEST)}
        self.stores = stores_over(self.held, lambda: self.now)

    def append(self, region: str, *events: NewEvent, after: Saved | None = None) -> Saved:
        self.now += 1000
        condition = AtToken(after.token) if after else None
        result = self.stores[region].save(Operation(HOMER, events, condition))
        assert isinstance(result, Saved)
        return result

    def copy(self) -> None:
        copy(self.held)


def new(n: int) -> NewEvent:
    return NewEvent("set", {"n": n})


def test_a_time_cuts_every_lane_at_the_last_event_that_bears_it_or_less() -> None:
    two = Two()
    for n, region in enumerate([EAST, WEST, EAST, EAST, WEST]):
        two.append(region, new(n))
    two.copy()
    state = two.stores[EAST].state(HOMER)
    at = [vector_at(two.stores[EAST], state, datetime.fromtimestamp((START + 1000 * n) / 1000, UTC)) for n in range(7)]
    assert at == [
        EMPTY, VersionVector({EAST: 1}), VersionVector({EAST: 1, WEST: 1}), VersionVector({EAST: 2, WEST: 1}),
        VersionVector({EAST: 3, WEST: 1}), VersionVector({EAST: 3, WEST: 2}), VersionVector({EAST: 3, WEST: 2}),
    ]  # fmt: skip
    just_before = datetime.fromtimestamp((START + 2999) / 1000, UTC)
    assert vector_at(two.stores[EAST], state, just_before) == VersionVector({EAST: 1, WEST: 1})
    assert vector_at(two.stores[EAST], state, just_before.astimezone(None)) == VersionVector({EAST: 1, WEST: 1})


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(-5, 100))
def test_the_bisection_finds_what_a_walk_would_find(steps: list[int], asked: int) -> None:
    now = START
    storage = MemoryStorage()
    store = EventStore(storage, EAST, [EAST, WEST], HybridLogicalClock(lambda: now))
    for step in steps:
        now += step
        store.save(Operation(HOMER, new(step)))
    moment = datetime.fromtimestamp((START + asked) / 1000, UTC)
    walked = [event.sequence for event in store.read(HOMER) if event.hlc.ms <= START + asked]
    found = vector_at(store, store.state(HOMER), moment)
    assert found == VersionVector({EAST: max(walked, default=0)})


def test_a_sequence_means_the_event_and_what_its_writer_had_seen() -> None:
    two = Two()
    first = two.append(EAST, new(1))
    two.append(WEST, new(2), after=first)
    two.append(WEST, new(3))
    two.append(EAST, new(4))
    two.copy()
    east = two.stores[EAST]
    state = east.state(HOMER)
    assert vector_at(east, state, AtSequence(1, WEST)) == VersionVector({EAST: 1, WEST: 1})
    assert vector_at(east, state, AtSequence(2, EAST)) == VersionVector({EAST: 2})
    assert vector_at(east, state, AtSequence(0, EAST)) == EMPTY
    assert vector_at(east, state, first.token) == VersionVector({EAST: 1})


@pytest.mark.parametrize(
    ("moment", "says"),
    [
        (AtSequence(3, EAST), "no event 3 from us-east-1"),
        (AtSequence(-1, EAST), "no event -1"),
        (datetime(2026, 1, 1), "no time zone"),
    ],
)
def test_a_moment_that_never_was_is_refused(moment: object, says: str) -> None:
    two = Two()
    two.append(EAST, new(1))
    with pytest.raises(InvalidOperation, match=says):
        vector_at(two.stores[EAST], two.stores[EAST].state(HOMER), moment)  # type: ignore[arg-type]


def test_a_time_far_outside_any_clock_is_the_beginning_or_the_end() -> None:
    two = Two()
    two.append(EAST, new(1))
    state = two.stores[EAST].state(HOMER)
    assert vector_at(two.stores[EAST], state, datetime.max.replace(tzinfo=UTC) - timedelta(days=2)) == state.vector
    assert vector_at(two.stores[EAST], state, datetime(1900, 1, 1, tzinfo=UTC)) == EMPTY


def test_the_audit_trail_says_who_when_what_and_why() -> None:
    two = Two()
    cause = two.append(EAST, signed(new(1), who="marge", correlation="request-7")).events[0]
    two.append(EAST, signed(NewEvent("cleared", {}, metadata={"ip": "::1"}), who="homer", causation=cause))
    first, second = audit(two.stores[EAST].state(HOMER))
    assert (first.who, first.type, first.correlation, first.causation) == ("marge", "set", "request-7", None)
    assert first.at == datetime.fromtimestamp((START + 1000) / 1000, UTC)
    assert (second.who, second.type, second.causation, second.metadata["ip"]) == ("homer", "cleared", cause.id, "::1")
    assert first.digest == cause.digest.hex()
    assert [entry.type for entry in audit(two.stores[EAST].state(HOMER), VersionVector({EAST: 1}))] == ["cleared"]


def test_the_audit_trail_s_metadata_is_text() -> None:
    with pytest.raises(InvalidEvent, match="metadata"):
        signed(new(1), who=7)  # type: ignore[arg-type]


def test_the_feed_gives_each_event_once_though_lanes_arrive_late() -> None:
    two = Two()
    for n in range(3):
        two.append(WEST, new(n))
    two.append(EAST, new(3))
    east = two.stores[EAST]
    first = changes(east, [HOMER])
    assert [event.region for event in first.events] == [EAST]
    two.copy()  # what happened before, and was not here
    second = changes(east, [HOMER], first.token, limit=2)
    assert [event.payload["n"] for event in second.events] == [0, 1]
    assert second.more
    third = changes(east, [HOMER], east.tokens.encode(second.token))
    assert [event.payload["n"] for event in third.events] == [2]
    assert not third.more
    assert changes(east, [HOMER], third.token).events == ()


def test_a_feed_of_several_streams_goes_on_from_one_token() -> None:
    two = Two()
    east, marge = two.stores[EAST], StreamId("user", "marge")
    for stream in (HOMER, marge):
        east.save(Operation(stream, [new(n) for n in range(3)]))
    seen, token, more = [], None, True
    while more:
        page = changes(east, [HOMER, "user/marge", HOMER], token, limit=2)
        seen += page.events
        token, more = page.token, page.more
    assert [(event.stream, event.sequence) for event in seen] == [(s, n) for s in (HOMER, marge) for n in (1, 2, 3)]
    assert token is not None
    assert token.vectors == {HOMER: VersionVector({EAST: 3}), marge: VersionVector({EAST: 3})}


def test_a_feed_can_be_followed_in_another_region() -> None:
    two = Two()
    two.append(EAST, new(1))
    token = changes(two.stores[EAST], [HOMER]).token
    two.append(WEST, new(2))
    assert [event.payload["n"] for event in changes(two.stores[WEST], [HOMER], token).events] == [2]


def test_a_page_of_the_feed_has_few_enough_bytes_and_at_least_one_event() -> None:
    two = Two()
    east = two.stores[EAST]
    text = "x" * 1000
    east.save(Operation(HOMER, [NewEvent("set", {"t": text}) for _ in range(5)]))
    east.save(Operation("user/marge", [new(1)]))
    sizes, token, more = [], None, True
    while more:
        page = changes(east, [HOMER, "user/marge"], token, max_bytes=2500)
        sizes.append(len(page.events))
        token, more = page.token, page.more
    assert sizes == [2, 2, 2]
    alone = changes(east, [HOMER], max_bytes=10)
    assert (len(alone.events), alone.more) == (1, True)
    assert not changes(east, [HOMER], limit=5).more


def test_the_feed_has_at_least_what_a_token_names() -> None:
    two = Two()
    saved = two.append(EAST, new(1))
    west = two.stores[WEST]
    assert changes(west, [HOMER]).events == ()
    page = changes(west, [HOMER], at_least=saved.token)
    assert page.events == saved.events
    assert changes(west, [HOMER], page.token, at_least=saved.token).events == ()
    lacking = ConsistencyToken({HOMER: VersionVector({EAST: 9})})
    with pytest.raises(NotHereYet):
        changes(west, [HOMER], timeout=0.05, at_least=lacking)


@pytest.mark.parametrize(
    "start", ["2000-12-31T23:59:59Z", "2026-11-30T00:00:00Z", "2039-01-01T00:00:00Z", "2200-01-01T00:00:00Z"]
)
def test_every_event_is_in_the_value_at_its_own_time(start: str) -> None:
    now = milliseconds_of(datetime.fromisoformat(start))
    store = EventStore(MemoryStorage(), EAST, [EAST], HybridLogicalClock(lambda: now))
    for n in range(300):
        store.append(HOMER, new(n))
        now += 1
    state = store.state(HOMER)
    for event in store.read(HOMER):
        assert vector_at(store, state, moment_of(event.hlc)) == VersionVector({EAST: event.sequence})
        assert AuditEntry.of(event).at.isoformat() == moment_of(event.hlc).isoformat()


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "2"])
def test_a_limit_that_is_none_is_refused_wherever_events_are_read(limit: Any) -> None:
    two = Two()
    east = two.stores[EAST]
    two.append(EAST, new(1))
    for read in (
        lambda: changes(east, [HOMER], limit=limit),
        lambda: list(east.read(HOMER, limit=limit)),
        lambda: list(east.read_lane(HOMER, limit=limit)),
    ):
        with pytest.raises(InvalidOperation, match=r"limit is .*; give a whole number from 1"):
            read()
