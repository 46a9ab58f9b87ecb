"""plan(): whatever arrives, a lane only ever grows by one unbroken chain."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.domain.clock import Hlc
from replicator.domain.event import GENESIS, NO_EVENTS, Event, Head, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.replication.copy_plan import plan

LANE = LaneId("us-east-1", StreamId("user", "homer"))


def lane(length: int, history: str = "true", after: Event | None = None) -> list[Event]:
    events: list[Event] = []
    first = after.sequence + 1 if after else 1
    prev = after.digest if after else GENESIS
    for sequence in range(first, first + length):
        event = seal(LANE, sequence, Hlc(sequence, 0), NewEvent("said", {"in": history, "n": sequence}), EMPTY, prev)
        events.append(event)
        prev = event.digest
    return events


HOME = lane(10)
OTHER = lane(10, "other")


def head(sequence: int, events: list[Event] = HOME) -> Head:
    return Head.of(events[sequence - 1]) if sequence else NO_EVENTS


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10), st.lists(st.sampled_from(HOME), max_size=16))
def test_any_order_and_duplication_is_placed_without_gaps_or_names_the_gap(at: int, delivered: list[Event]) -> None:
    decided = plan(head(at), delivered)
    sequences = {event.sequence for event in delivered}
    end = next(s for s in range(at + 1, 12) if s not in sequences) - 1
    beyond = {s for s in sequences if s > end}
    assert decided.insert == HOME[at:end]
    assert {e.sequence for e in decided.known} == {s for s in sequences if s <= at}
    assert decided.missing == ((end + 1, min(beyond) - 1) if beyond else None)
    assert decided.fork is None


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10), st.permutations(HOME + HOME))
def test_filling_every_named_gap_places_the_whole_lane(at: int, delivered: list[Event]) -> None:
    have, chunk = at, 3
    while delivered or have < 10:
        batch, delivered = delivered[:chunk], delivered[chunk:]
        decided = plan(head(have), batch)
        while decided.missing:
            first, last = decided.missing
            batch = [*batch, *HOME[first - 1 : last]]
            decided = plan(head(have), batch)
        have += len(decided.insert)
        assert decided.fork is None
    assert have == 10


def test_nothing_delivered_is_nothing_to_do() -> None:
    decided = plan(head(3), [])
    assert (decided.known, decided.insert, decided.missing, decided.fork) == ([], [], None, None)


@given(st.permutations(HOME[5:]), st.integers(1, 5))
def test_a_peer_with_another_past_is_a_fork_at_its_head(delivered: list[Event], at: int) -> None:
    decided = plan(head(at, OTHER), [*delivered, *HOME[at:5]])
    assert decided.fork == HOME[at]
    assert decided.insert == []
    assert decided.missing is None


def test_a_lane_that_begins_with_a_past_is_a_fork() -> None:
    stray = seal(LANE, 1, Hlc(1, 0), NewEvent("said", {}), EMPTY, b"\x01" * 32)
    assert plan(NO_EVENTS, [stray]).fork == stray


@given(st.integers(0, 4), st.integers(1, 4), st.data())
def test_after_a_broken_chain_nothing_is_placed(at: int, good: int, data: st.DataObject) -> None:
    turn = at + good  # HOME up to here, then events of another history with the right sequences
    delivered = data.draw(st.permutations(HOME[at:turn] + OTHER[turn:]))
    decided = plan(head(at), delivered)
    assert decided.insert == HOME[at:turn]
    assert decided.fork == OTHER[turn]
    assert decided.missing is None


def test_a_gap_before_a_fork_is_only_a_gap_until_it_is_filled() -> None:
    decided = plan(head(2), [OTHER[5]])
    assert (decided.missing, decided.fork) == ((3, 5), None)
    assert plan(head(2), [OTHER[5], *HOME[2:5]]).fork == OTHER[5]


@pytest.mark.parametrize("at", [3, 5, 10])
def test_a_forged_event_below_the_head_is_given_back_to_be_compared(at: int) -> None:
    assert plan(head(at), [OTHER[2]]).known == [OTHER[2]]


def test_two_events_under_one_id_in_a_batch_are_never_taken_for_a_duplicate() -> None:
    forged = lane(1, "forged", after=HOME[3])[0]
    decided = plan(head(3), [HOME[3], HOME[4], forged, HOME[4]])
    assert decided.insert == HOME[3:5]
    assert decided.known == [forged]
    assert decided.fork is None
