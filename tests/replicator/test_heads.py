"""Where lanes end that a link has not met: learned of a hundred lanes at once, and never wrongly."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import NO_EVENTS, Event, Head
from replicator.domain.names import LaneId, StreamId
from replicator.eventstore.storage import Position
from replicator.replication.lane_heads import Heads
from tests.replicator.links import Table, chain
from tests.replicator.test_copier import Bench, bench  # noqa: F401

LANES = [LaneId("us-east-1", StreamId("user", f"{n}")) for n in range(300)]


class Counted(Table):
    """Counts what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.gets: list[int] = []
        self.reads = 0

    def get(self, positions: Collection[Position], *, consistent: bool = True) -> Mapping[Position, Event]:
        self.gets.append(len(positions))
        return super().get(positions)

    def read(self, lane: LaneId, *args: Any, **options: Any) -> Iterator[Event]:
        self.reads += 1
        return super().read(lane, *args, **options)


@pytest.fixture
def peer() -> Counted:
    return Counted()


@pytest.fixture
def damaged() -> list[LaneId]:
    return []


@pytest.fixture
def heads(peer: Counted, damaged: list[LaneId]) -> Iterator[Heads]:
    with ThreadPoolExecutor(4) as pool:
        yield Heads(peer, pool, lambda lane, error: damaged.append(lane))


def test_of_many_lanes_it_asks_once(peer: Counted, heads: Heads) -> None:
    chains = {lane: chain(lane, 5) for lane in LANES}
    for events in chains.values():
        peer.insert(events[:3])
    heads.meet({lane: events[3:] for lane, events in chains.items()})
    assert (peer.gets, peer.reads) == ([600], 0)
    assert all(heads.of(lane) == Head.of(events[2]) for lane, events in chains.items())
    heads.meet({lane: events[3:] for lane, events in chains.items()})
    assert peer.gets == [600], "they are known"


def test_what_the_peer_has_already_is_seen_as_far_as_the_events_at_hand_go(peer: Counted, heads: Heads) -> None:
    events = chain(LANES[0], 9)
    peer.insert(events)
    heads.meet({LANES[0]: events[3:6]})
    assert heads.of(LANES[0]) == Head.of(events[5])


def test_lanes_that_begin_are_not_asked_for(peer: Counted, heads: Heads) -> None:
    heads.meet({lane: chain(lane, 2) for lane in LANES})
    assert (peer.gets, peer.reads, len(heads)) == ([], 0, 0)


def test_where_the_lane_has_a_gap_it_asks_where_that_begins(peer: Counted, heads: Heads) -> None:
    events, other = chain(LANES[0], 9), chain(LANES[1], 4)
    peer.insert(events[:2])
    heads.meet({LANES[0]: events[6:], LANES[1]: other[2:]})
    assert (heads.of(LANES[0]), heads.of(LANES[1])) == (Head.of(events[1]), NO_EVENTS)
    assert peer.reads == 2


def test_who_is_not_sure_asks_before_a_gap_and_sees_what_another_one_copied(peer: Counted, heads: Heads) -> None:
    events = chain(LANES[0], 9)
    peer.insert(events[:3])
    heads.meet({LANES[0]: events[3:4]})
    heads.advance(events[3])
    peer.insert(events[3:8])
    asked = len(peer.gets)
    heads.meet({LANES[0]: events[4:5]}, sure=False)
    assert len(peer.gets) == asked, "what follows needs no look"
    heads.meet({LANES[0]: events[6:8]})
    assert heads.of(LANES[0]) == Head.of(events[3]), "who is sure does not ask"
    heads.meet({LANES[0]: events[6:8]}, sure=False)
    assert heads.of(LANES[0]) == Head.of(events[7])


def test_a_damaged_end_is_told_of_and_the_others_are_learned(peer: Counted, heads: Heads, damaged: list[LaneId]) -> None:
    chains = {lane: chain(lane, 4) for lane in LANES[:3]}
    for events in chains.values():
        peer.insert(events[:3])
    peer.damaged = {(LANES[1], 3)}
    heads.meet({lane: events[3:] for lane, events in chains.items()})
    assert damaged == [LANES[1]]
    assert [heads.of(lane).sequence for lane in LANES[:3]] == [3, 0, 3]


def test_a_peer_that_does_not_answer_teaches_nothing(peer: Counted, heads: Heads) -> None:
    peer.error = RegionUnavailable("down")
    with pytest.raises(RegionUnavailable):
        heads.meet({LANES[0]: chain(LANES[0], 3)[1:]})
    assert len(heads) == 0


def test_what_was_used_last_is_kept(peer: Counted) -> None:
    heads = Heads(peer, ThreadPoolExecutor(1), lambda lane, error: None, most=3)
    for lane in LANES[:3]:
        heads.advance(chain(lane, 1)[0])
    heads.advance(chain(LANES[0], 1)[0])
    heads.learn(LANES[3:4])
    assert [heads.of(lane).sequence for lane in LANES[:4]] == [1, 0, 1, 0]
    assert len(heads) == 3


def test_it_never_goes_back(heads: Heads) -> None:
    first, second = chain(LANES[0], 2)
    heads.advance(second)
    heads.advance(first)
    assert heads.of(LANES[0]) == Head.of(second)


# -- and what a copier makes of it -----------------------------------------------------------------------------------


def test_a_fork_right_before_what_came_is_found(bench: Bench) -> None:  # noqa: F811
    ours, theirs = chain(LANES[0], 4), chain(LANES[0], 3, by="somebody else")
    bench.home.insert(ours)
    bench.peer.insert(theirs)
    bench.copier.copy(ours[3:])
    assert bench.refused() == [ours[0].id], "where the two part"
    assert list(bench.peer.read(LANES[0])) == theirs


def test_a_fork_in_what_came_is_found(bench: Bench) -> None:  # noqa: F811
    ours = chain(LANES[0], 4)
    theirs = [*ours[:2], *chain(LANES[0], 3, ours[:2], by="somebody else")]
    bench.home.insert(ours)
    bench.peer.insert(theirs)
    bench.copier.copy(ours[2:])
    assert bench.refused() == [ours[2].id]


def test_a_peer_that_has_more_is_not_written_to(bench: Bench) -> None:  # noqa: F811
    events = chain(LANES[0], 6)
    bench.home.insert(events)
    bench.peer.insert(events)
    bench.copier.copy(events[1:3])
    bench.copier.copy(events[3:])
    assert (bench.refused(), bench.copier.state.copied, bench.copier.state.known) == ([], 0, 5)


def test_no_more_heads_are_kept_than_asked_for_also_of_lanes_that_begin() -> None:
    heads = Heads(Counted(), ThreadPoolExecutor(1), lambda lane, error: None, most=10)
    for lane in LANES[:50]:
        heads.advance(chain(lane, 1)[0])
    assert len(heads) == 10
    assert heads.of(LANES[49]).sequence == 1
    assert heads.of(LANES[0]) == NO_EVENTS
