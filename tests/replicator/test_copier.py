"""A copier: in whatever order events come, the peer's lane is a gap-free prefix of the home lane."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.control.memory_control import MemoryControl
from replicator.control.quarantine import Quarantine
from replicator.domain.clock import Hlc
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import GENESIS, Event, NewEvent, seal, size_of
from replicator.domain.names import LaneId
from replicator.domain.vector import EMPTY
from replicator.replication.copier import Copier
from replicator.replication.lane_catch_up import FEW
from replicator.replication.link_state import LinkState
from tests.replicator.links import Table, chain, everything, lane_of
from tests.replicator.memories import Killed

A, B, C = (lane_of(name) for name in "abc")


@dataclass
class Bench:
    """A home, a peer, and what lies between them."""

    home: Table = field(default_factory=Table)
    peer: Table = field(default_factory=Table)
    control: MemoryControl = field(default_factory=MemoryControl)
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))

    def __post_init__(self) -> None:
        self.quarantine = Quarantine(self.control, "l")
        self.state = LinkState()
        self.copier = self.restarted()

    def now_at(self, peer: Table) -> None:
        """The running copier finds another table under the peer's name."""
        self.peer = self.copier.peer = self.copier._heads._peer = self.copier._divergence.peer = peer

    def restarted(self) -> Copier:
        return Copier(self.home, self.peer, self.quarantine, self.pool, self.state, structlog.get_logger())

    def at_home(self, lane: LaneId, count: int) -> list[Event]:
        """Events that are in the home lane, and nowhere else yet."""
        events = chain(lane, count, list(self.home.read(lane)))
        self.home.insert_each(events)
        return events

    def refused(self) -> list[str]:
        return [event_id for event_id, _ in self.quarantine.records()]

    def equal(self) -> bool:
        return everything(self.peer) == everything(self.home)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.pool.shutdown()


# -- copying ---------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_order_and_duplication_gives_equal_gap_free_lanes(data: st.DataObject) -> None:
    bench = Bench()
    events = [e for lane in (A, B, C) for e in bench.at_home(lane, data.draw(st.integers(1, 14)))]
    deliveries = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=10))))
    while deliveries:
        size = data.draw(st.integers(1, len(deliveries)))
        copier = bench.copier if data.draw(st.booleans()) else bench.restarted()
        assert copier.copy(deliveries[:size]) == []
        deliveries = deliveries[size:]
        for lane, copied in everything(bench.peer).items():
            assert copied == list(bench.home.read(lane))[: len(copied)]
    bench.pool.shutdown()
    assert bench.equal()
    assert bench.refused() == []


@pytest.mark.parametrize("count", [1, 4, 5, 100, 101, 250])
def test_a_run_of_any_length_is_copied_and_copying_it_again_adds_nothing(bench: Bench, count: int) -> None:
    events = bench.at_home(A, count) + bench.at_home(B, 2)
    bench.copier.copy(events)
    assert bench.equal()
    assert bench.state.copied == count + 2
    bench.copier.copy(events)  # the same process
    bench.restarted().copy(events)  # killed between the peer's put and the checkpoint
    assert bench.equal()
    assert bench.refused() == []


def test_a_gap_is_pulled_from_home(bench: Bench) -> None:
    events = bench.at_home(A, 103)
    bench.copier.copy([events[1], events[3]])
    assert everything(bench.peer)[A] == events[:4]
    assert bench.copier.copy([events[-1], *bench.at_home(B, 1)]) == []
    assert bench.equal()


def test_a_gap_is_pulled_whole_by_a_worker_and_a_page_of_it_by_one_of_many_copiers(bench: Bench) -> None:
    events = bench.at_home(A, 320)
    bench.copier.copy(events[:1])
    bench.copier.patience = 0.01
    assert bench.copier.copy([events[-1], *bench.at_home(B, 1)]) == [events[-1]], "a batch has no time for more"
    assert {lane: len(held) for lane, held in everything(bench.peer).items()} == {A: 101, B: 1}
    bench.copier.patience = 0.0
    assert bench.copier.copy([events[-1]]) == []
    assert bench.equal()


@pytest.mark.parametrize("wrong", ["a hole", "damage", "a fork"])
def test_a_lane_that_is_wrong_behind_a_long_gap_is_refused_and_not_deferred_for_ever(bench: Bench, wrong: str) -> None:
    events = bench.at_home(A, 320)
    bench.copier.patience = 0.01
    bench.peer.insert(events[:5] if wrong != "a fork" else [*events[:4], *chain(A, 1, events[:4], by="another")])
    if wrong == "a hole":
        bench.home._lanes[A] = {event.sequence: event for event in [*events[:40], *events[160:]]}
    elif wrong == "damage":
        bench.home.damaged = {(A, 50)}
    left = bench.copier.copy(events[-1:])
    bench.copier.catch_up([event.lane for event in left])
    bench.copier.look_again()
    assert bench.copier.copy(events[-1:]) == []
    assert len(bench.refused()) == 1


def test_whole_lanes_are_caught_up_from_home(bench: Bench) -> None:
    bench.at_home(A, 250)
    bench.at_home(B, 1)
    bench.peer.insert(list(bench.home.read(A, 1, 30)))
    assert bench.copier.catch_up([A, B, C]) == set()
    assert bench.equal()


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_few_events_of_many_lanes_are_caught_up_whatever_the_peer_holds_of_them(data: st.DataObject) -> None:
    bench, waiting, forked = Bench(), dict[LaneId, tuple[int, int]](), set[LaneId]()
    for lane in (A, B, C):
        events = bench.at_home(lane, data.draw(st.integers(1, 9)))
        low = data.draw(st.integers(1, len(events)))
        waiting[lane] = low, data.draw(st.integers(low, min(low + FEW - 1, len(events) + 1)))
        held = events[data.draw(st.sampled_from([0, 0, 0, 1, 3])) : data.draw(st.integers(0, len(events)))]
        if held and data.draw(st.integers(0, 5)) == 0:
            held = chain(lane, len(held), events[: held[0].sequence - 1], by="another")
            forked.add(lane)
        bench.peer.insert_each(held)
    before = everything(bench.peer)
    throttled, others = bench.copier.catch_up_few(waiting)
    for lane in waiting.keys() - others - forked:
        assert everything(bench.peer)[lane] == list(bench.home.read(lane)), "brought to its end"
    assert throttled == bench.copier.catch_up(sorted(others, key=str)) == set()
    bench.pool.shutdown()
    assert {event_id.rpartition("#")[0] for event_id in bench.refused()} == {lane.key for lane in forked}
    for lane in waiting:
        after = everything(bench.peer)[lane]
        assert set(before[lane]) <= set(after) if lane in forked else after == list(bench.home.read(lane))


@pytest.mark.parametrize("waiting", [(1, 1), (1, 3), (2, 3), (3, 3)])
def test_a_fork_among_a_few_events_is_refused(bench: Bench, waiting: tuple[int, int]) -> None:
    bench.at_home(A, waiting[1])
    theirs = chain(A, waiting[1], by="another")
    bench.peer.insert_each(theirs)
    throttled, others = bench.copier.catch_up_few({A: waiting})
    assert (throttled, bench.copier.catch_up(list(others))) == (set(), set())
    assert len(bench.refused()) == 1
    assert everything(bench.peer)[A] == theirs


def test_few_lanes_cost_three_requests_however_many_they_are(bench: Bench) -> None:
    lanes = [lane_of(f"l{n}") for n in range(50)]
    events = {lane: bench.at_home(lane, 4) for lane in lanes}
    bench.peer.insert_each([each for lane in lanes for each in events[lane][:2]])
    assert bench.copier.catch_up_few(dict.fromkeys(lanes, (3, 4))) == (set(), set())
    assert bench.equal()
    assert bench.peer.calls == 4, "that of this test, one read, and a wave for each of the two events"


@pytest.mark.parametrize("arrives", ["at a known position", "after it", "in a long run"])
def test_a_fork_is_quarantined_once_and_nothing_is_overwritten_while_other_lanes_go_on(bench: Bench, arrives: str) -> None:
    theirs = chain(A, 3, by="restored from an old backup")
    bench.peer.insert(theirs)
    ours = bench.at_home(A, 12)
    offered = {"at a known position": ours[1:2], "after it": ours[3:5], "in a long run": ours}[arrives]
    for copier in (bench.copier, bench.copier, bench.restarted()):
        assert copier.copy([*offered, *bench.at_home(B, 3)]) == []
    assert everything(bench.peer) == {A: theirs, B: list(bench.home.read(B))}
    ((event_id, record),) = bench.quarantine.records()
    refused = next(e for e in ours if e.id == event_id)
    assert record["refused"] == refused.digest.hex()
    assert record["held"] == theirs[min(refused.sequence, 3) - 1].digest.hex()
    assert bench.copier.catch_up([A, B]) == set()
    assert everything(bench.peer)[A] == theirs


def test_what_comes_before_a_fork_in_the_same_batch_is_copied(bench: Bench) -> None:
    good = bench.at_home(A, 3)
    forged = chain(A, 4, by="forger")[3]
    bench.copier.copy([*good, forged])
    assert everything(bench.peer) == {A: good}
    assert bench.refused() == [forged.id]


def test_a_damaged_event_at_home_stops_its_lane_before_it_and_no_other(bench: Bench) -> None:
    events = bench.at_home(A, 9)
    bench.home.damaged = {(A, 6)}
    others = bench.at_home(B, 3)
    assert bench.copier.copy([events[8], *others]) == []
    assert bench.copier.catch_up([A, B]) == set()
    assert everything(bench.peer) == {A: events[:5], B: others}
    assert bench.refused() == [events[5].id]


def test_a_damaged_event_at_the_peer_stops_its_lane_and_no_other(bench: Bench) -> None:
    events, others = bench.at_home(A, 2), bench.at_home(B, 2)
    bench.copier.copy([*events, *others])
    bench.peer.damaged = {(A, 1)}
    more = bench.at_home(B, 2)
    bench.copier.copy([events[0], others[0], *more])  # delivered once more
    assert everything(bench.peer)[B] == [*others, *more]
    assert bench.refused() == [events[0].id]


def test_a_damaged_head_at_the_peer_stops_its_lane_and_no_other(bench: Bench) -> None:
    bench.copier.copy(bench.at_home(A, 10))
    bench.peer.damaged = {(A, 10)}
    more, others = bench.at_home(A, 2), bench.at_home(B, 2)
    for offered in ([*bench.home.read(A), *others], [*more, *others]):  # a long run, and from the head on
        bench.restarted().copy(offered)
    assert everything(bench.peer)[B] == others
    assert len(everything(bench.peer)[A]) == 10
    assert 1 <= len(bench.refused()) <= 2


@pytest.mark.parametrize("run", [3, 12])
def test_a_throttled_lane_holds_up_no_other(bench: Bench, run: int) -> None:
    bench.peer.throttled = {A}
    waiting, others = bench.at_home(A, run), bench.at_home(B, run) + bench.at_home(C, 1)
    try:
        left = bench.copier.copy([*waiting, *others])
    except RegionUnavailable:  # what failed together is tried apart the next time
        left = bench.copier.copy([*waiting, *others])
    assert left == waiting
    assert everything(bench.peer) == {B: others[:run], C: others[run:]}
    bench.at_home(B, run)
    assert bench.copier.catch_up([A, B, C]) == {A}
    bench.peer.throttled = set()
    assert bench.copier.catch_up([A]) == set()
    assert bench.equal()


# -- regions that come back --------------------------------------------------------------------------------------------


def test_a_restored_home_s_lane_waits_until_it_is_brought_up_and_goes_on(bench: Bench) -> None:
    events = chain(A, 5)
    bench.peer.insert(events)
    bench.home.insert(events[:2])
    assert bench.copier.catch_up([A, B]) == {A}
    assert bench.refused() == []
    bench.home.insert(events[2:])  # brought up from its peers
    (sixth,) = bench.at_home(A, 1)
    assert bench.copier.copy([sixth]) == []
    assert bench.copier.catch_up([A]) == set()
    assert bench.equal()


def test_an_emptied_home_s_lane_waits_as_well(bench: Bench) -> None:
    bench.peer.insert(chain(A, 5))
    assert bench.copier.catch_up([A]) == {A}
    assert bench.refused() == []


def test_a_restored_home_that_wrote_all_the_same_is_a_fork_however_short(bench: Bench) -> None:
    events = chain(A, 9)
    bench.peer.insert(events)
    bench.home.insert(events[:2])
    (other,) = chain(A, 1, events[:2], by="restored, and wrote")
    bench.home.insert([other])
    assert bench.copier.catch_up([A]) == set()
    assert bench.refused() == [other.id]


@pytest.mark.parametrize("noticed", ["by a failure", "after a while"])
def test_a_peer_that_was_emptied_gets_whole_lanes_not_what_follows_what_it_had(bench: Bench, noticed: str) -> None:
    now = [100.0]
    bench.copier.monotonic = lambda: now[0]
    bench.copier.copy(bench.at_home(A, 3))
    emptied = Table()
    bench.now_at(emptied)
    if noticed == "by a failure":
        emptied.error = RegionUnavailable("down")
        with pytest.raises(RegionUnavailable):
            bench.copier.copy(bench.at_home(B, 1))
        emptied.error = None
    else:
        now[0] += 5.0
    bench.copier.copy(bench.at_home(A, 1))
    assert [event.sequence for event in bench.peer.read(A)] == [1, 2, 3, 4]


def test_a_peer_that_may_not_be_looked_at_costs_memory_and_nothing_else(bench: Bench) -> None:
    class Closed(Table):
        def identity(self) -> str:
            raise PermissionError("not allowed")

    bench.now_at(Closed())
    bench.copier.copy(bench.at_home(A, 3))
    bench.copier.copy(bench.at_home(A, 1))
    assert bench.equal()


def test_lanes_of_large_events_are_not_held_in_memory_whole(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Event] = []
    for sequence in range(1, 61):
        new = NewEvent("x", {"text": "x" * 100_000})
        events.append(seal(A, sequence, Hlc(sequence, 0), new, EMPTY, events[-1].digest if events else GENESIS))
    bench.home.insert_each(events)
    held, most = 0, 0
    read, insert = bench.home.read, bench.peer.insert

    def reading(*args: Any, **options: Any) -> Iterator[Event]:
        nonlocal held, most
        for event in read(*args, **options):
            held += size_of(event)
            most = max(most, held)
            yield event

    def inserting(given: Sequence[Event]) -> bool:
        nonlocal held
        held = 0
        return insert(given)

    monkeypatch.setattr(bench.home, "read", reading)
    monkeypatch.setattr(bench.peer, "insert", inserting)
    assert bench.copier.catch_up([A]) == set()
    assert most < 1_500_000
    assert bench.equal()


# -- a process that stood still ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 11, 130])
def test_a_lane_that_was_gone_on_with_in_an_emptied_table_gets_its_beginning(bench: Bench, count: int) -> None:
    """It remembered where the lane had ended, and inserted behind that when the table was another one already."""
    events, whole = bench.at_home(A, count), bench.at_home(B, 3)
    bench.peer.insert_each([events[-1]])
    bench.peer.insert_each(whole)
    assert bench.restarted().catch_up([A, B]) == set()
    assert bench.equal()
    assert bench.refused() == []
    later = bench.at_home(A, 1)
    assert bench.copier.copy(later) == []
    assert bench.equal()


def test_large_events_are_filled_in_too(bench: Bench) -> None:
    events = [*chain(A, 20, [], "x" * 380_000)]
    bench.home.insert_each(events)
    bench.peer.insert_each(events[-1:])
    assert bench.copier.catch_up([A]) == set()
    assert bench.equal()
    assert bench.refused() == []


@pytest.mark.parametrize("calls", range(4))
def test_what_gives_a_lane_its_beginning_may_be_killed_at_any_request(
    bench: Bench, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    events, left, insert = bench.at_home(A, 30), iter(range(calls)), bench.peer.insert
    bench.peer.insert_each(events[-1:])

    def dying(*arguments: Any) -> bool:
        if next(left, None) is None:
            raise Killed
        return insert(*arguments)

    monkeypatch.setattr(bench.peer, "insert", dying)
    with pytest.raises(Killed):
        bench.copier.catch_up([A])
    monkeypatch.undo()
    assert bench.restarted().catch_up([A]) == set()
    assert bench.equal()
    assert bench.refused() == []


def test_two_that_give_a_lane_its_beginning_at_once_end_with_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    events, insert = bench.at_home(A, 20), bench.peer.insert
    bench.peer.insert_each(events[-1:])

    def late(part: Sequence[Event], guards: Sequence[Any] = ()) -> bool:
        monkeypatch.undo()
        bench.peer.insert_each(part[1:])
        return insert(part, guards)

    monkeypatch.setattr(bench.peer, "insert", late)
    assert bench.copier.catch_up([A]) == set()
    assert bench.equal()
    assert bench.refused() == []
