"""A link: whatever happens on the way, the peer's lane is a gap-free prefix of the home lane, and no link delays another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.control import Backlog, MemoryControl, Quarantine
from replicator.copier import Copier
from replicator.domain.clock import Hlc
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.errors import DamagedEvent, LaneTaken, OutcomeUnknown, RegionUnavailable
from replicator.link import Link
from replicator.linkstate import LinkState
from replicator.memory import MemoryStorage
from replicator.storage import Insert, Position
from tests.processes import HANGING_SECONDS, wait_until

A, B, C = (LaneId("us-east-1", StreamId("user", name)) for name in "abc")


def chain(lane: LaneId, count: int, after: Sequence[Event] = (), by: str = "home") -> list[Event]:
    events = list(after)
    for sequence in range(len(events) + 1, len(events) + count + 1):
        prev = events[-1].digest if events else GENESIS
        events.append(seal(lane, sequence, Hlc(sequence, 0), NewEvent("x", {"by": by}), EMPTY, prev))
    return events[len(after) :]


class Faulty(MemoryStorage):
    """A storage that can be down, slow, lose answers, throttle lanes, or hold damaged items."""

    def __init__(self) -> None:
        super().__init__()
        self.down = self.unanswered = False
        self.slow = 0.0
        self.throttled: set[LaneId] = set()
        self.damaged: set[Position] = set()

    def _call(self) -> None:
        time.sleep(self.slow)
        if self.down:
            raise RegionUnavailable("down")

    def insert(self, events: Sequence[Event], guards: Sequence[Any] = ()) -> bool:
        self._call()
        if self.unanswered:
            super().insert(events, guards)
            raise OutcomeUnknown("no answer", events)
        if self.throttled & {event.lane for event in events}:
            raise RegionUnavailable("throttled")
        try:
            return super().insert(events, guards)
        except LaneTaken:
            self.get({(event.lane, event.sequence) for event in events})  # as DynamoStorage finds out what holds them
            raise

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        self._call()
        passing = [event for event in events if event.lane not in self.throttled]
        if events and not passing:
            raise RegionUnavailable("throttled")
        outcomes = dict(zip(passing, super().insert_each(passing), strict=True))
        return [outcomes.get(event, Insert.NOT_NOW) for event in events]

    def get(self, positions: Collection[Position]) -> Mapping[Position, Event]:
        self._call()
        for lane, sequence in self.damaged & set(positions):
            raise DamagedEvent(f"event {lane}#{sequence} does not match its digest")
        return super().get(positions)

    def read(self, lane: LaneId, *args: Any, **options: Any) -> Iterator[Event]:
        self._call()
        for event in super().read(lane, *args, **options):
            if (lane, event.sequence) in self.damaged:
                raise DamagedEvent(f"event {event.id} does not match its digest")
            yield event


@dataclass
class Bench:
    """A home, a peer, and what lies between them."""

    home: Faulty = field(default_factory=Faulty)
    peer: Faulty = field(default_factory=Faulty)
    control: MemoryControl = field(default_factory=MemoryControl)
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(2))

    def __post_init__(self) -> None:
        self.quarantine, self.backlog = Quarantine(self.control, "l"), Backlog(self.control, "l")
        self.state = LinkState()
        self.copier = self.restarted()

    def restarted(self) -> Copier:
        return Copier(self.home, self.peer, self.quarantine, self.pool, self.state, structlog.get_logger())

    def link(self, **options: Any) -> Link:
        return Link("us-east-1", "eu-west-1", self.home, self.peer, self.backlog, self.quarantine, **options)

    def at_home(self, lane: LaneId, count: int) -> list[Event]:
        """Events that are in the home lane, and nowhere else yet."""
        events = chain(lane, count, list(self.home.read(lane)))
        self.home.insert_each(events)
        return events

    def refused(self) -> list[str]:
        return [event_id for event_id, _ in self.quarantine.records()]

    def equal(self) -> bool:
        return everything(self.peer) == everything(self.home)


def everything(storage: MemoryStorage) -> dict[LaneId, list[Event]]:
    return {lane: list(MemoryStorage.read(storage, lane)) for lane, _ in storage.lanes()}


def until(what: Callable[[], bool]) -> None:
    wait_until(what, "it has happened")


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


def test_a_gap_is_pulled_from_home_however_long_it_is(bench: Bench) -> None:
    events = bench.at_home(A, 320)
    bench.copier.copy([events[1], events[3]])
    assert everything(bench.peer)[A] == events[:4]
    bench.copier.copy([events[-1]])
    assert bench.equal()


def test_whole_lanes_are_caught_up_from_home(bench: Bench) -> None:
    bench.at_home(A, 250)
    bench.at_home(B, 1)
    bench.peer.insert(list(bench.home.read(A, 1, 30)))
    assert bench.copier.catch_up([A, B, C]) == set()
    assert bench.equal()


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


# -- the link around it ----------------------------------------------------------------------------------------------


def test_while_the_peer_is_down_events_wait_in_the_backlog_and_are_caught_up_afterwards(bench: Bench) -> None:
    link, done = bench.link(), threading.Event()
    bench.peer.down = True
    link.start()
    link.offer(bench.at_home(A, 7) + bench.at_home(B, 1), done.set)
    assert done.wait(HANGING_SECONDS)
    assert set(bench.backlog.page(9)) == {A, B}
    later = threading.Event()
    link.offer(bench.at_home(A, 3), later.set)
    assert later.wait(HANGING_SECONDS)
    assert everything(bench.peer) == {}
    bench.peer.down = False
    until(lambda: bench.equal() and not bench.backlog.page(9))
    until(lambda: link.state.up)
    link.stop()
    assert bench.refused() == []


def test_a_peer_that_does_not_answer_is_down_and_not_a_failure_of_the_link(bench: Bench) -> None:
    with structlog.testing.capture_logs() as logs:
        link, done = bench.link(), threading.Event()
        bench.peer.unanswered = True
        link.start()
        link.offer(bench.at_home(A, 9), done.set)
        assert done.wait(HANGING_SECONDS)
        bench.peer.unanswered = False
        until(lambda: bench.equal() and not bench.backlog.page(9))
        link.stop()
    assert "link.down" in [entry["event"] for entry in logs]
    assert "link.failed" not in [entry["event"] for entry in logs]


def test_a_new_link_drains_the_backlog_of_the_one_before(bench: Bench) -> None:
    bench.at_home(A, 120)
    bench.at_home(B, 1)
    bench.backlog.defer({A: (3, 3), B: (1, 1)})
    link = bench.link()
    link.start()
    until(lambda: bench.equal() and not bench.backlog.page(9))
    link.stop()


def test_a_throttled_lane_waits_in_the_backlog_while_the_others_arrive(bench: Bench) -> None:
    bench.peer.throttled = {A}
    link, done = bench.link(), threading.Event()
    link.start()
    waiting, others = bench.at_home(A, 12), bench.at_home(B, 12)
    link.offer([*waiting, *others], done.set)
    assert done.wait(HANGING_SECONDS)
    until(lambda: everything(bench.peer) == {B: others})
    bench.peer.throttled = set()
    until(lambda: bench.equal() and not bench.backlog.page(9))
    link.stop()


@pytest.mark.parametrize("room", [{"max_queued": 10}, {"max_bytes": 300}], ids=["events", "bytes"])
def test_a_slow_peer_costs_the_reader_patience_once_and_the_other_link_nothing(room: dict[str, int]) -> None:
    home, slow, fast = Faulty(), Bench(), Bench()
    slow.home = fast.home = home
    answers, call = threading.Event(), slow.peer._call
    slow.peer._call = lambda: (answers.wait(), call())[1]  # type: ignore[func-returns-value, method-assign]
    links = [bench.link(**room, patience=0.5) for bench in (slow, fast)]
    waited: list[bool] = []
    wait_for = links[0]._room.wait_for
    links[0]._room.wait_for = lambda *asked: waited.append(wait_for(*asked)) or waited[-1]  # type: ignore[method-assign]
    for link in links:
        link.start()
    done = [0, 0]

    def count(index: int) -> Callable[[], None]:
        return lambda: done.__setitem__(index, done[index] + 1)

    for _ in range(20):
        events = fast.at_home(A, 5)
        assert 10 < sum(len(event.payload_text + event.metadata_text) for event in events) < 300
        for index, link in enumerate(links):
            link.offer(events, count(index))
    assert waited.count(False) == 1, "its patience is spent once"
    until(lambda: fast.equal() and done[1] == 20)
    assert slow.backlog.page(9) != {}
    answers.set()
    until(lambda: slow.equal() and done[0] == 20 and not slow.backlog.page(9))
    for link, bench in zip(links, (slow, fast), strict=True):
        link.stop()
        bench.pool.shutdown()


def test_stopping_does_not_claim_what_was_queued_and_not_copied(bench: Bench) -> None:
    bench.peer.slow = 0.3
    link = bench.link()
    done = []
    link.start()
    for n in range(50):
        link.offer(bench.at_home(A, 1), lambda n=n: done.append(n))  # type: ignore[misc]
    link.stop()
    copied = len(everything(bench.peer).get(A, []))
    assert len(done) <= copied < 50


def test_an_offer_of_nothing_is_done_at_once(bench: Bench) -> None:
    done = threading.Event()
    bench.link().offer([], done.set)
    assert done.is_set()


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
    emptied = Faulty()
    bench.peer = bench.copier.peer = bench.copier._heads._peer = emptied
    if noticed == "by a failure":
        emptied.down = True
        with pytest.raises(RegionUnavailable):
            bench.copier.copy(bench.at_home(B, 1))
        emptied.down = False
    else:
        now[0] += 5.0
    bench.copier.copy(bench.at_home(A, 1))
    assert [event.sequence for event in bench.peer.read(A)] == [1, 2, 3, 4]


def test_a_peer_that_may_not_be_looked_at_costs_memory_and_nothing_else(bench: Bench) -> None:
    class Closed(Faulty):
        def identity(self) -> str:
            raise PermissionError("not allowed")

    bench.peer = bench.copier.peer = bench.copier._heads._peer = Closed()
    bench.copier.copy(bench.at_home(A, 3))
    bench.copier.copy(bench.at_home(A, 1))
    assert bench.equal()
