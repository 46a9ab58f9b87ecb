"""Several copiers on the same lanes, as sandboxes of a function are: what one of them remembers never makes it write."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.control.memory_control import MemoryControl
from replicator.control.quarantine import Quarantine
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import Event
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.storage import Insert
from replicator.replication.copier import Copier
from replicator.replication.link_state import LinkState
from tests.replicator.links import Table, chain, everything, lane_of

A, B = lane_of("a"), lane_of("b")


class Peer(Table):
    """Counts how often each event was sent to it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: Counter[str] = Counter()

    def insert(self, events: Sequence[Event], guards: Sequence[object] = ()) -> bool:
        self.sent.update(event.id for event in events)
        return super().insert(events, guards)

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        self.sent.update(event.id for event in events)
        return super().insert_each(events)


class Sandboxes:
    """Copiers with memories of their own, and a clock that their waits move. `meanwhile` happens during a wait."""

    def __init__(self) -> None:
        self.home, self.peer = MemoryStorage(), Peer()
        self.now = 0.0
        self.waits: list[float] = []
        self.meanwhile: Callable[[], object] = lambda: None
        self._quarantine = Quarantine(MemoryControl(), "l")
        self._pool = ThreadPoolExecutor(2)

    def copier(self, patience: float = 1.0) -> Copier:
        log = structlog.get_logger()
        return Copier(
            self.home, self.peer, self._quarantine, self._pool, LinkState(), log, lambda: self.now, self._wait, patience
        )

    def at_home(self, count: int, lane: object = A) -> list[Event]:
        events = chain(A if lane is A else B, count)
        self.home.insert_each(events)
        return events

    def twice(self) -> dict[str, int]:
        return {event: count for event, count in self.peer.sent.items() if count > 1}

    def equal(self) -> bool:
        return everything(self.peer) == everything(self.home)

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
        self.meanwhile()

    def close(self) -> None:
        self._pool.shutdown()


@pytest.fixture
def sandboxes() -> Iterator[Sandboxes]:
    made = Sandboxes()
    yield made
    made.close()


def test_a_head_that_others_went_beyond_is_read_again_before_anything_is_written(sandboxes: Sandboxes) -> None:
    events = sandboxes.at_home(40)
    first, second = sandboxes.copier(), sandboxes.copier()
    first.copy(events[:2])
    second.copy(events[2:30])
    first.copy(events[30:32])
    assert sandboxes.twice() == {}
    assert sandboxes.waits == [], "the peer holds what comes before them"


def test_the_head_is_not_read_where_the_remembered_one_comes_right_before(sandboxes: Sandboxes) -> None:
    events = sandboxes.at_home(6)
    copier = sandboxes.copier()
    copier.copy(events[:3])
    calls = sandboxes.peer.calls
    copier.copy(events[3:])
    assert sandboxes.peer.calls - calls == 3, "three inserts, one behind the other, and no read"


def test_what_another_one_is_copying_is_waited_for_and_not_written_twice(sandboxes: Sandboxes) -> None:
    events = sandboxes.at_home(6)
    odd, even = sandboxes.copier(), sandboxes.copier()
    left = [events[1:2], events[3:4], events[5:6]]
    sandboxes.meanwhile = lambda: even.copy(left.pop(0)) if left and len(sandboxes.waits) % 2 else None
    assert odd.copy([events[0], events[2], events[4]]) == []
    assert sandboxes.twice() == {}
    assert everything(sandboxes.peer)[A] == events[:5]
    assert max(sandboxes.waits) <= 0.1, "each arrival shortens the next wait"


def test_after_a_wait_in_vain_gaps_are_filled_and_for_a_while_without_a_wait(sandboxes: Sandboxes) -> None:
    events = sandboxes.at_home(9)
    copier = sandboxes.copier()
    assert copier.copy(events[2:3]) == []
    assert everything(sandboxes.peer)[A] == events[:3]
    waited = len(sandboxes.waits)
    assert sum(sandboxes.waits) >= 1.0
    assert copier.copy(events[5:6]) == []
    assert (everything(sandboxes.peer)[A], len(sandboxes.waits)) == (events[:6], waited)
    sandboxes.now += 31
    assert copier.copy(events[8:]) == []
    assert (sandboxes.equal(), len(sandboxes.waits) > waited) == (True, True)


def test_other_lanes_do_not_wait(sandboxes: Sandboxes) -> None:
    events, others = sandboxes.at_home(3), sandboxes.at_home(2, B)
    found: list[int] = []
    sandboxes.meanwhile = lambda: found.append(len(everything(sandboxes.peer).get(B, [])))
    sandboxes.copier().copy([events[2], *others])
    assert found[0] == 2


def test_where_another_one_went_before_it_looks_how_far(sandboxes: Sandboxes) -> None:
    events = sandboxes.at_home(4)
    copier = sandboxes.copier()
    copier.copy(sandboxes.at_home(1, B))  # it remembers something: it does not expect that others copied what it is given
    sandboxes.peer.insert_each(events)
    sandboxes.peer.sent.clear()
    assert copier.copy(events) == []
    assert sandboxes.peer.sent == {events[0].id: 1}, "one write that adds nothing, not four"


def test_what_is_left_of_a_lane_when_the_peer_goes_down_is_told_of(sandboxes: Sandboxes) -> None:
    events, others = sandboxes.at_home(3), sandboxes.at_home(3, B)
    copier = sandboxes.copier()
    sandboxes.peer.insert_each(events[:1])
    inserts = iter([sandboxes.peer.insert_each])

    def once(given: Sequence[Event]) -> list[Insert]:
        insert = next(inserts, None)
        if insert is None:
            raise RegionUnavailable("down")
        return insert(given)

    sandboxes.peer.insert_each = once  # type: ignore[method-assign]
    assert copier.copy([*events, *others]) == [*events, *others]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_each_remembers_lanes_have_no_gap_and_all_arrives(data: st.DataObject) -> None:
    made = Sandboxes()
    copiers = [made.copier(data.draw(st.sampled_from([0.0, 1.0]))) for _ in range(3)]
    events = [*made.at_home(data.draw(st.integers(1, 12))), *made.at_home(data.draw(st.integers(1, 12)), B)]
    left = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=8))))

    def deliver() -> None:
        if left:
            size = data.draw(st.integers(1, len(left)))
            batch, left[:size] = left[:size], []
            assert data.draw(st.sampled_from(copiers)).copy(batch) == []
            for lane, copied in everything(made.peer).items():
                assert copied == list(made.home.read(lane))[: len(copied)]

    while left:
        deliver()
    made.close()
    assert made.equal()
