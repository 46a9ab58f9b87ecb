"""The policy of links: every behaviour holds whoever drives them and wherever their backlogs are."""

from __future__ import annotations

import io
import json
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.aws.sqs import MAX_DELAY
from replicator.control.backlog import Part
from replicator.control.quarantine import Quarantine
from replicator.domain.errors import RegionUnavailable
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.replication.lane_catch_up import FEW
from replicator.replication.link import LOOK_SECONDS, REST_SECONDS
from replicator.replication.stream_records import read_records
from replicator.runtime import logs
from tests.processes import HANGING_SECONDS, wait_until
from tests.replicator.links import (
    BACKLOGS,
    DRIVERS,
    EAST,
    ERRORS,
    SOUTH,
    WEST,
    Region,
    Table,
    chain,
    everything,
    lane_of,
    record,
)  # fmt: skip

A, B, C = (lane_of(name) for name in "abc")
NAMES = {"ReplicationLag", "EventsCopied", "EventsKnown", "EventsDeferred", "BacklogAge"}
EVERY_WAY = [(driver, kind) for driver in DRIVERS for kind in BACKLOGS]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Without this every traceback is rendered for a terminal, which takes half a second."""
    before = structlog.get_config()
    structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.configure(**before)


@pytest.fixture(params=EVERY_WAY, ids=[f"{driver}, {kind}" for driver, kind in EVERY_WAY])
def east(request: pytest.FixtureRequest) -> Iterator[Region]:
    made = Region(*request.param)
    yield made
    made.close()


# -- copying -----------------------------------------------------------------------------------------------------------


def test_own_events_go_over_every_link_in_order_and_what_comes_again_adds_nothing(east: Region) -> None:
    events = east.append(("a", 7), ("b", 2), ("c", 1))
    foreign = chain(lane_of("a", WEST), 2)
    MemoryStorage.insert_each(east.home, foreign)
    assert east.deliver([foreign[0], *events, foreign[1]])
    east.restart()  # killed between the copy and the answer
    assert east.deliver(events)
    assert east.deliver([*events, *events][3:15])
    for peer in (WEST, SOUTH):
        assert everything(east.peers[peer]) == everything(east.home, EAST), "nothing travels on"
        assert len(east.peers[peer].stream) == 10
        assert (east.waiting(peer), east.refused(peer)) == ({}, [])


def test_nothing_to_deliver_asks_nobody_and_tells_nothing(east: Region) -> None:
    link = east.links[WEST]
    assert (link.deliver([]), link.defer([])) == ([], [])
    assert (east.peers[WEST].calls, east.told, east.waiting()) == (0, [], {})


def test_what_is_at_the_peer_already_is_done_with_a_look(east: Region) -> None:
    east.deliver(east.append(("a", 3)))
    east.restart()
    east.links[WEST].defer_lanes({A: (1, 3), B: (1, 1)})
    east.drain()
    assert (east.waiting(), east.lacks()) == ({}, False)
    assert east.total("EventsCopied") == 3, "no more than before"


@pytest.mark.parametrize("order", [[3, 1, 2], [3], [2, 3], [3, 3, 1]], ids=str)
def test_a_gap_is_filled_from_home_before_anything_behind_it_is_copied(east: Region, order: list[int]) -> None:
    events = east.append(("a", 3), ("b", 1))
    assert east.deliver([*(events[0] if n == 1 else events[n] for n in order), events[1]])
    assert not east.lacks()


def test_a_throttled_lane_waits_alone(east: Region) -> None:
    events = east.append(("a", 2), ("b", 6), ("c", 1))
    east.peers[WEST].throttled = {B}
    assert east.deliver(events)
    assert everything(east.peers[WEST]).keys() == {A, C}
    assert east.waiting() == {B: (1, 6)}
    east.peers[WEST].throttled = set()
    assert east.deliver(east.append(("b", 1)))  # the next event pulls what is before it
    assert not east.lacks()


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
@pytest.mark.parametrize("long", [False, True], ids=["inserts", "transactions"])
def test_what_a_dead_peer_cannot_take_waits_as_pointers_and_is_brought_over_when_it_is_back(
    east: Region, error: Exception, long: bool
) -> None:
    count = 6 if long else 2
    east.peers[WEST].error = error
    assert east.deliver(east.append(("a", count), ("b", 1)))
    assert east.deliver(east.append(("c", 2)))
    assert east.waiting() == {A: (1, count), B: (1, 1), C: (1, 2)}
    assert (east.total("EventsDeferred"), east.total("EventsCopied")) == (count + 3, 0)
    assert not east.lacks(SOUTH), "the other link is not concerned"
    assert (east.waiting(SOUTH), everything(east.peers[WEST]), east.refused()) == ({}, {}, [])
    east.peers[WEST].error = None
    east.drain()
    assert not east.lacks()
    assert east.waiting() == {}


def test_what_is_deferred_waits_since_its_oldest_event_whose_age_is_the_lag(east: Region) -> None:
    east.peers[WEST].error = RegionUnavailable("down")
    assert east.deliver(east.append(("a", 2), ("b", 1))[::-1])
    assert east.deliver(east.append(("c", 2))[::-1]), "to a link that is known to be down"
    part = east.backlog(WEST).take(99)
    assert part is not None
    assert (part.since, part.tries) == (1001, 0)
    assert {values["ReplicationLag"] for _, values in east.told if "ReplicationLag" in values} == {10_000 - 1001}


def test_another_process_brings_over_what_an_earlier_one_left(east: Region) -> None:
    east.peers[WEST].error = RegionUnavailable("down")
    east.deliver(east.append(("a", 120), ("b", 1)))
    east.peers[WEST].error = None
    east.restart()
    east.drain()
    assert not east.lacks()
    assert east.waiting() == {}


# -- the circuit breaker -----------------------------------------------------------------------------------------------


def test_a_peer_that_failed_is_left_alone_for_a_while_and_then_tried_once(east: Region) -> None:
    east.peers[WEST].error = RegionUnavailable("down")
    tried = []
    for at in (0, 0.1, REST_SECONDS - 0.1, REST_SECONDS, REST_SECONDS + 0.1, 2 * REST_SECONDS - 0.1, 2 * REST_SECONDS):
        east.at = at
        for link in east.links.values():
            link._looked = at
        events = east.append(("a", 1))
        before = east.links[WEST].failures
        assert east.deliver(events)
        tried.append(east.links[WEST].failures > before)
    assert tried == [True, False, False, True, False, False, True]
    assert east.waiting()[A][1] == 7
    east.peers[WEST].error = None
    east.at = 3 * REST_SECONDS
    assert east.deliver(east.append(("a", 1))), "it is back, and the gap is filled on the way"
    assert not east.lacks()
    assert east.deliver(east.append(("a", 1)))
    assert not east.lacks()


def test_the_backlog_tries_a_peer_that_the_stream_leaves_alone(east: Region) -> None:
    east.peers[WEST].error = RegionUnavailable("down")
    east.deliver(east.append(("a", 2)))
    east.peers[WEST].error = None
    east.drain()
    assert not east.lacks()


@pytest.mark.parametrize("count", [2, 120])
def test_a_link_says_once_that_its_peer_is_down_and_once_that_it_is_up_again(east: Region, count: int) -> None:
    events = east.append(*((name, 1) for name in lanes_of(count)))
    with structlog.testing.capture_logs() as lines:
        east.peers[WEST].error = RegionUnavailable("down")
        for _ in range(2):
            assert east.deliver(events)
            assert not east.links[WEST].state.up
            east.wait(REST_SECONDS)
        east.peers[WEST].error = None
        east.drain()
    said = [(line["event"], line.get("after_failures")) for line in lines if line["event"] in ("link.down", "link.up")]
    assert said == [("link.down", None), ("link.up", 2)]
    assert east.links[WEST].state.up
    assert (east.waiting(), east.lacks()) == ({}, False)


def test_a_drain_that_ended_in_the_middle_of_a_round_costs_the_next_one_nothing(east: Region) -> None:
    link, peer = east.links[WEST], east.peers[WEST]
    peer.error = RegionUnavailable("down")
    east.deliver(east.append(*((name, 1) for name in lanes_of(120))))
    east.wait(REST_SECONDS)
    link.drain(lambda: True)
    assert not link.state.up
    peer.error = None
    east.wait(REST_SECONDS)
    link.drain(lambda: True)
    assert link.state.up
    assert not east.lacks()


# -- overtaking --------------------------------------------------------------------------------------------------------


def test_a_slow_peer_is_overtaken_and_its_events_wait_on_the_backlog(east: Region, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("replicator.replication.invocation._PATIENCE", 0.1)
    east.options = {"max_queued": 4, "patience": 0.1}
    east.restart()
    west, stop = east.peers[WEST], threading.Event()
    west.gate.clear()
    if east.driver == "thread":
        for each in east.threads:
            each.start(stop)
    try:
        with structlog.testing.capture_logs() as lines:
            for _ in range(4):
                events = east.append(("a", 2))
                if east.driver == "function":
                    assert east.deliver(events)
                else:
                    for each in east.threads:
                        each.offer(events, lambda: None)
                wait_until(lambda: not east.lacks(SOUTH), "the other peer has everything")
        assert "link.overtaken" in [line["event"] for line in lines]
        assert A in east.waiting()
        assert east.waiting(SOUTH) == {}
    finally:
        west.gate.set()
    if east.driver == "thread":
        wait_until(lambda: not east.lacks() and not east.waiting(), "the slow one has caught up")
        stop.set()
        for each in east.threads:
            each._thread.join(HANGING_SECONDS)
    else:
        wait_until(lambda: not east.links[WEST]._busy.locked(), "the delivery that hung has ended")
        east.wait(REST_SECONDS)
        east.drain()
        assert not east.lacks()


# -- nothing is lost ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_what_neither_the_peer_nor_the_backlog_takes_is_not_taken(east: Region, error: Exception) -> None:
    events = east.append(("a", 2), ("b", 1))
    east.peers[WEST].error = error
    east.break_backlog(RegionUnavailable("us-east-1 does not answer"))
    assert not east.deliver(events)
    east.break_backlog(None)
    assert east.deliver(events)
    assert east.waiting() == {A: (1, 2), B: (1, 1)}


def test_pointers_of_a_backlog_that_takes_nothing_stay(east: Region) -> None:
    east.peers[WEST].error = RegionUnavailable("down")
    east.deliver(east.append(("a", 2)))
    east.break_backlog(RegionUnavailable("us-east-1 does not answer"))
    east.drain()
    assert east.waiting() == {A: (1, 2)}


faults = st.sampled_from(["fine", "fine", "fine", "down", "unanswered", "unknown", "no right", "a mistake"])
steps = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 7)), min_size=1, max_size=3, unique_by=lambda x: x[0]),
        st.sampled_from(["deliver", "again", "restart", "drain"]),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(EVERY_WAY), steps, st.lists(faults, max_size=40), st.lists(st.booleans(), max_size=8))
def test_whatever_fails_the_peer_is_a_prefix_and_the_backlog_knows_the_rest(
    way: tuple[str, str], steps: Any, plan: list[str], refusals: list[bool]
) -> None:
    east = Region(*way, tables={name: Table() for name in (EAST, WEST)})
    east.peers[WEST].faults = iter(plan)
    east.control.errors = east.queues[WEST].errors = iter(refusals)
    for lanes, what in steps:
        east.wait(11)
        events = east.append(*lanes)
        if what == "restart":
            east.restart()
        while not east.deliver(events):  # the stream has it again until it is taken
            east.check()
        if what == "again":
            assert east.deliver(events) or list(refusals)
        if what == "drain":
            east.drain()
        east.check()
    east.peers[WEST].faults = east.control.errors = east.queues[WEST].errors = iter(())
    east.restart()
    for _ in range(5):
        east.idle()
    assert not east.lacks()
    assert (east.waiting(), east.refused()) == ({}, [])
    east.close()


@pytest.mark.parametrize("way", EVERY_WAY, ids=str)
@pytest.mark.parametrize("down", [None, WEST], ids=["all up", "one down at first"])
def test_n_regions_write_an_event_n_times_and_then_all_is_quiet(way: tuple[str, str], down: str | None) -> None:
    tables = {name: Table() for name in (EAST, WEST, SOUTH)}
    regions = [Region(*way, name, tables) for name in tables]
    appended = [e for region in regions for e in [*region.append(("homer", 7)), *region.append((f"own-{region.name}", 2))]]
    read = dict.fromkeys(tables, 0)
    if down:
        tables[down].error = RegionUnavailable("down")
    for turn in range(6):
        if turn == 3:
            for table in tables.values():
                table.error = None
        for region in regions:
            region.wait(REST_SECONDS)
            fresh = region.home.stream[read[region.name] :]
            read[region.name] = len(region.home.stream)
            if down != region.name or turn >= 3:
                assert region.deliver(fresh)
                region.drain()
            else:
                read[region.name] -= len(fresh)
    written = Counter(event.id for table in tables.values() for event in table.stream)
    assert written == {event.id: 3 for event in appended}
    assert everything(tables[EAST]) == everything(tables[WEST]) == everything(tables[SOUTH])
    assert not any(region.waiting(peer) for region in regions for peer in region.peers)
    for region in regions:
        region.close()


# -- a replaced peer table -----------------------------------------------------------------------------------------------


@pytest.fixture
def replaced(east: Region) -> Region:
    """East has copied all, nothing happens any more, and then West's table is another one."""
    assert east.deliver(east.append(*((f"u{n}", 2) for n in range(7))))
    assert not east.lacks()
    east.peers[WEST].replace()
    return east


@pytest.mark.parametrize("restarted", [False, True])
def test_a_peer_whose_table_was_replaced_gets_lanes_in_which_nothing_happens(replaced: Region, restarted: bool) -> None:
    if restarted:
        replaced.restart()
    for _ in range(3):
        replaced.idle()
    assert not replaced.lacks()
    assert replaced.waiting() == {}


def test_a_replaced_table_is_noticed_with_the_next_event_and_by_one_process_alone(replaced: Region) -> None:
    processes = [replaced]
    for _ in range(3):
        other = Region(replaced.driver, replaced.kind, tables=replaced.tables, at=100.0, now=replaced.now)
        other.control, other.queues = replaced.control, replaced.queues
        other.restart()
        processes.append(other)
    counted: list[int] = []
    for each in processes:
        for link in each.links.values():
            before = link.defer_lanes
            link.defer_lanes = lambda lanes, before=before: (counted.append(len(lanes)), before(lanes))[1]  # type: ignore[method-assign]
    replaced.wait(100.0)
    for _ in range(3):
        for each in processes:
            assert each.deliver(replaced.append(("u0", 1)))
            each.wait(LOOK_SECONDS)
    assert counted == [7], "one of them puts all lanes on the backlog, once"
    for _ in range(3):
        replaced.idle()
    assert not replaced.lacks()
    for each in processes[1:]:
        each.close()


def test_killed_before_all_lanes_were_on_their_way_another_process_begins_again(
    replaced: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise RegionUnavailable("down")

    with monkeypatch.context() as patched:
        patched.setattr("replicator.replication.link.Link.defer_lanes", down)
        replaced.idle()
    replaced.restart()
    replaced.idle(61.0)  # the claim of the process that is no more has expired
    for _ in range(2):
        replaced.idle()
    assert not replaced.lacks()


def test_a_claim_that_was_taken_over_ends_with_whoever_is_done_first(east: Region) -> None:
    one, other = (east.link(WEST)._peers for _ in range(2))
    assert not one.replaced(WEST, "one")
    assert not other.replaced(WEST, "one")
    assert one.replaced(WEST, "two")
    assert one.claim(WEST, "two")
    assert one.claim(WEST, "two"), "its own claim, after a failure"
    assert not other.claim(WEST, "two")
    assert other.replaced(WEST, "two"), "until it has been dealt with"
    east.wait(61.0)
    assert other.claim(WEST, "two"), "it took too long, or is no more"
    one.keep(WEST, "two")
    other.keep(WEST, "two")
    assert not one.replaced(WEST, "two")
    assert not east.link(WEST)._peers.replaced(WEST, "two")


def test_a_peer_that_does_not_answer_is_not_replaced(east: Region) -> None:
    east.deliver(east.append(("a", 1)))
    east.peers[WEST].error = RegionUnavailable("down")
    east.restart()
    for _ in range(3):
        east.idle()
    assert east.waiting() == {}


# -- quarantine --------------------------------------------------------------------------------------------------------


def test_a_fork_is_never_applied_and_is_recorded_with_both_digests(east: Region) -> None:
    forged = chain(A, 2, by="somebody else")
    MemoryStorage.insert_each(east.peers[WEST], forged)
    events = east.append(("a", 3), ("b", 3))
    for _ in range(2):
        assert east.deliver(events)
        east.restart()
    assert everything(east.peers[WEST]) == {A: forged, B: everything(east.home)[B]}
    ((event_id, value),) = east.quarantine().records()
    ours = next(event for event in events if event.id == event_id)
    assert value["refused"] == ours.digest.hex()
    assert value["held"] == forged[ours.sequence - 1].digest.hex()


@pytest.mark.parametrize(("ours", "theirs"), [(3, 3), (2, 3), (1, 1)])
def test_a_fork_is_found_also_by_what_waited(east: Region, ours: int, theirs: int) -> None:
    MemoryStorage.insert_each(east.peers[WEST], chain(A, theirs, by="somebody else"))
    east.peers[WEST].error = RegionUnavailable("down")
    east.deliver(east.append(("a", ours)))
    east.peers[WEST].error = None
    east.drain()
    assert [event_id.rpartition("#")[0] for event_id in east.refused()] == [A.key]


@pytest.mark.parametrize("again", ["stream", "backlog"])
def test_a_fork_that_was_met_while_the_control_table_was_down_is_recorded_later(east: Region, again: str) -> None:
    MemoryStorage.insert_each(east.peers[WEST], chain(A, 2, by="somebody else"))
    events = east.append(("a", 4))
    east.control.error = RegionUnavailable("us-east-1 does not answer")
    taken = east.deliver(events)
    east.control.error = None
    east.wait(REST_SECONDS + 1)
    if again == "stream" or not taken:
        assert east.deliver(events)
    east.drain()
    assert [event_id.rpartition("#")[0] for event_id in east.refused()] == [A.key]


def test_a_lane_that_was_stopped_goes_on_with_its_next_event_once_it_is_mended(east: Region) -> None:
    events = east.append(("a", 4))
    east.home.damaged = {(A, 2)}
    assert east.deliver([events[3]])
    assert east.refused() == [events[1].id]
    assert len(everything(east.peers[WEST])[A]) == 1
    east.home.damaged = set()
    assert east.deliver(east.append(("a", 1)))
    assert not east.lacks(), "nobody restarts a process after a lane has been mended"


@pytest.mark.parametrize("restarted", [False, True])
def test_a_lane_that_is_mended_is_brought_over_and_leaves_quarantine_by_itself(east: Region, restarted: bool) -> None:
    events = east.append(("a", 3), ("b", 3), ("c", 1))
    east.home.damaged = {(A, 2), (B, 2)}
    assert east.deliver([event for event in events if event.sequence == 3])
    assert len(east.refused()) == 2
    east.idle()
    assert len(east.refused()) == 2, "what is still wrong stays"
    east.home.damaged = {(B, 2)}
    if restarted:
        east.restart()
    east.idle()
    assert [event_id.rpartition("#")[0] for event_id in east.refused()] == [B.key]
    assert everything(east.peers[WEST])[A] == everything(east.home)[A], "without another event"
    east.home.damaged = set()
    east.idle()
    assert east.refused() == []


@pytest.mark.parametrize("how", ["damaged", "forged"])
def test_what_is_wrong_at_a_peer_stays_in_quarantine_though_the_lanes_end_is_right(east: Region, how: str) -> None:
    events = east.append(("a", 3))
    assert east.deliver(events)
    peer = east.peers[WEST]
    if how == "damaged":
        peer.damaged = {(A, 2)}
    else:
        peer._lanes[A][2] = chain(A, 1, events[:1], by="a forger")[0]
    east.restart()
    assert east.deliver(events), "they come again"
    for _ in range(3):
        assert east.refused() == [events[1].id]
        east.idle()
    peer.damaged, peer._lanes[A][2] = set(), events[1]
    east.idle()
    assert east.refused() == []


def test_lanes_in_quarantine_have_their_turn_however_many_they_are(east: Region) -> None:
    events = east.append(*((f"u{n:03}", 2) for n in range(120)))
    east.home.damaged = {(event.lane, 1) for event in events}
    assert east.deliver([event for event in events if event.sequence == 2])
    assert len(east.refused()) == 120
    east.home.damaged = set()
    for _ in range(3):
        east.idle()
    assert (east.refused(), east.lacks()) == ([], False)


def test_what_was_changed_at_home_stays_in_quarantine_until_a_person_has_seen_it(east: Region) -> None:
    events = east.append(("a", 2))
    east.deliver(events)
    east.refusals.refuse(read_records([record(events[1], "MODIFY")], EAST)[1])
    for _ in range(3):
        east.idle()
    assert [key for key, _ in Quarantine(east.control, EAST).records()] == [f"{A.key} 0000000000000002"]


# -- the backlog -------------------------------------------------------------------------------------------------------


def lanes_of(count: int) -> list[str]:
    return [f"{n:04}" for n in range(count)]


def test_one_damaged_throttled_or_forked_lane_leaves_the_others_alone(east: Region) -> None:
    names = lanes_of(60)
    lanes = [lane_of(name) for name in names]
    east.append(*((name, 3) for name in names))
    damaged, throttled, forked, at_peer = lanes[10], lanes[20], lanes[30], lanes[40]
    east.home.damaged = {(damaged, 2)}
    west = east.peers[WEST]
    west.throttled, west.damaged = {throttled}, {(at_peer, 2)}
    MemoryStorage.insert_each(west, [*chain(forked, 1, by="x"), *chain(at_peer, 2)])
    east.links[WEST].defer_lanes(dict.fromkeys(lanes, (1, 3)))
    east.drain()
    good = [lane for lane in lanes if lane not in (damaged, throttled, forked, at_peer)]
    assert all(everything(west)[lane] == everything(east.home)[lane] for lane in good)
    assert [event.sequence for event in everything(west)[damaged]] == [1], "what comes before damage is good"
    assert east.waiting() == {throttled: (1, 3)}
    assert {event_id.rpartition("#")[0] for event_id in east.refused()} == {damaged.key, forked.key, at_peer.key}


def test_a_lane_of_which_the_peer_has_more_is_not_asked_for_over_and_over(east: Region) -> None:
    events = east.append(("a", 2))
    assert east.deliver(events)
    del east.home._lanes[A][2]  # restored from a backup, and not brought up yet
    east.links[WEST].defer_lanes({A: (1, 1)})
    east.drain()
    asked = east.peers[WEST].calls
    for _ in range(50 if east.driver == "thread" else 0):  # a queue's messages rest by themselves
        east.threads[0].turn()
    assert east.peers[WEST].calls == asked
    MemoryStorage.insert_each(east.home, events[1:])
    east.wait(1.0)
    east.drain()
    assert east.waiting() == {}


def test_what_another_process_put_on_the_backlog_is_brought_over(east: Region) -> None:
    east.idle()
    east.append(("a", 3))
    east.backlog(WEST).defer({A: (1, 3)}, 5000)  # as `replicator reconcile` does
    east.idle()
    assert not east.lacks()
    assert east.waiting() == {}


def test_lanes_that_come_to_wait_behind_a_round_through_the_backlog_are_not_forgotten(east: Region) -> None:
    names = lanes_of(75)
    east.append(*((name, 1) for name in names))
    link = east.links[WEST]
    link.defer_lanes({lane_of(name): (1, 1) for name in names})
    link.step()
    east.append((names[0], 1))
    link.defer_lanes({lane_of(names[0]): (2, 2)})
    while link.step() or link._rounds.behind or link._rounds.under_way:
        pass
    assert not east.lacks()
    assert east.waiting() == {}


LONG = (1, FEW + 1)
"""A pointer to more events than are brought without a look at their lane."""


def taken(east: Region, tries: int = 0, count: int = 140, span: tuple[int, int] = LONG) -> Part:
    """All that waits of so many lanes, as one part of the backlog."""
    names = lanes_of(count)
    east.append(*((name, 1) for name in names))
    backlog = east.links[WEST]._rounds.backlog
    backlog.defer({lane_of(name): span for name in names}, 4000, tries)
    part = backlog.take(1000)
    assert part is not None
    return part


@pytest.mark.parametrize("tries", [0, 3])
def test_what_there_is_no_time_for_waits_on_as_it_was(east: Region, tries: int) -> None:
    part = taken(east, tries)
    left = east.links[WEST].bring(part, lambda: len(everything(east.peers[WEST])) < 60)
    done = everything(east.peers[WEST])
    assert 60 <= len(done) < 140
    assert east.told[-1][1] == {"BacklogAge": 6.0, "ReplicationLag": 6000, "EventsCopied": len(done)}
    assert east.waiting() == {lane: LONG for lane in part.lanes if lane not in done} == dict.fromkeys(left, LONG)
    if east.kind == "queue":
        assert {(p.since, p.tries) for p in east.queues[WEST].found()} == {(4000, tries)}


def test_lanes_that_fail_again_tell_since_when_they_wait_and_none_does_when_all_came_over(east: Region) -> None:
    part = taken(east)
    east.peers[WEST].error = RegionUnavailable("down")
    east.links[WEST].bring(part)
    assert east.told[-1][1] == {"BacklogAge": 6.0, "ReplicationLag": 6000, "EventsCopied": 0}
    east.peers[WEST].error = None
    east.links[WEST].bring(part)
    assert east.told[-1][1] == {"BacklogAge": 0, "ReplicationLag": 0, "EventsCopied": 140}


def test_too_little_time_for_anything_is_still_some_progress(east: Region) -> None:
    taken(east)
    link, turns = east.link(WEST), 0
    while east.waiting():
        part = link._rounds.backlog.take(1000)
        if part is not None:
            link.bring(part, lambda: False)
            turns += 1
    assert not east.lacks()
    assert turns == 3


def test_lanes_of_which_few_events_wait_are_brought_many_at_once(east: Region) -> None:
    part = taken(east, count=140, span=(1, 1))
    calls = east.peers[WEST].calls
    assert east.links[WEST].bring(part, lambda: False) == []
    assert not east.lacks()
    assert not east.waiting()
    assert east.peers[WEST].calls - calls == 4, "a read and an insert of 50 lanes, and of the others"


def test_what_was_not_brought_of_few_and_of_many_waits_on(east: Region) -> None:
    few = taken(east, count=60, span=(1, 1))
    (long, *_) = (event.lane for event in east.append(("z", 9)))
    part = Part({**few.lanes, long: (1, 9)}, few.since, receipt=few.receipt)
    slow = east.peers[WEST].throttled = {min(few.lanes, key=str), long}
    assert set(east.links[WEST].bring(part)) == slow
    assert {lane for lane, _ in east.home.lanes()} - everything(east.peers[WEST]).keys() == slow


def test_a_peer_that_dies_on_the_way_leaves_the_rest_waiting_and_what_was_done_done(east: Region) -> None:
    part = taken(east)
    east.peers[WEST].faults = iter([*["fine"] * 70, *["no right"] * 1000])
    east.links[WEST].bring(part)
    done = everything(east.peers[WEST])
    assert 0 < len(done) < 140
    assert east.waiting().keys() >= part.lanes.keys() - done.keys()
    if east.kind == "queue":
        assert {(p.since, p.tries) for p in east.queues[WEST].found()} == {(4000, 1)}
        assert all(1 <= delay <= 2 for delay in east.queues[WEST].delays()), "it rests, but not for long"


@pytest.mark.parametrize("tries", [1, 2, 5, 10, 1000, 100_000])
def test_the_rest_between_two_attempts_is_bounded(tries: int) -> None:
    east = Region("function", "queue")
    east.append(("a", 1))
    east.peers[WEST].error = RegionUnavailable("down")
    for _ in range(30):
        east.links[WEST].bring(Part({A: (1, 1)}, 4000, tries))
    delays = east.queues[WEST].delays()
    assert all(1 <= delay <= MAX_DELAY for delay in delays)
    assert len(set(delays)) > 1, "not all at one instant"
    east.close()


def test_whole_lanes_are_brought_with_few_requests(east: Region) -> None:
    east.append(("a", 9), ("b", 2))
    east.links[WEST].bring(Part({A: (3, 3), B: (1, 1)}, 4000, receipt={} if east.kind == "table" else None))
    assert not east.lacks()
    assert east.peers[WEST].calls <= 1 + 2 + 1 + 2, "one look at all, one at each, one transaction, and two events"
    assert east.total("EventsCopied") == 11


# -- what it says ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4, 5])
def test_what_came_again_is_counted_as_known_not_as_copied(east: Region, count: int) -> None:
    events = east.append(("a", count))
    east.deliver(events)
    east.restart()
    east.deliver(events)
    east.deliver(events)
    assert (east.total("EventsCopied"), east.total("EventsKnown")) == (count, 2 * count)


def provoke(east: Region) -> None:
    """Everything that a link can say something about, with a secret in every payload."""
    events = east.append(("a", 6), ("b", 2), ("c", 1))
    for error in ERRORS.values():
        east.peers[WEST].error = error
        east.wait(100)
        east.deliver(events)
        east.drain()
    east.break_backlog(RegionUnavailable("down"))
    east.deliver(events)
    east.break_backlog(None)
    east.peers[WEST].error = None
    east.wait(100)
    MemoryStorage.insert_each(east.peers[WEST], chain(A, 2, by="somebody else"))
    east.home.damaged = {(B, 2)}
    east.restart()
    east.deliver(events[:3])
    east.links[WEST].defer_lanes({A: (1, 6), B: (1, 2), C: (1, 1)})
    east.drain()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def logged(quiet: None, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Logs as a process configures them: in Lambda, or on a terminal."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("AWS_LAMBDA_FUNCTION_NAME", raising=False)
    if request.param == "Lambda":
        monkeypatch.setenv("AWS_LAMBDA_FUNCTION_NAME", "meridian-replicator")
    logs.configure_logs("debug")
    structlog.configure(cache_logger_on_first_use=False)
    return stream


@pytest.mark.parametrize("logged", ["Lambda"], indirect=True)
def test_no_payload_is_in_a_message_a_metric_a_record_or_a_log_line(logged: io.StringIO, east: Region) -> None:
    provoke(east)
    said = logged.getvalue()
    for event in ("link.failed", "link.down", "backlog.unavailable", "link.quarantined"):
        assert event in said
    assert "horse" not in said
    held = [queue.messages() for queue in east.queues.values()]
    assert "horse" not in json.dumps([east.told, held, east.control._scopes])


@pytest.mark.parametrize("logged", ["terminal"], indirect=True)
def test_no_payload_is_in_a_traceback_on_a_terminal(logged: io.StringIO, east: Region) -> None:
    east.peers[WEST].error = ERRORS["a mistake"]
    east.deliver(east.append(("a", 1)))
    assert "link.failed" in logged.getvalue()
    assert "horse" not in logged.getvalue()


def test_metrics_bear_the_region_and_the_link_and_known_names_alone(east: Region) -> None:
    provoke(east)
    of_links = [(dimensions, values) for dimensions, values in east.told if "link" in dimensions]
    assert {dimensions["link"] for dimensions, _ in of_links} == {f"{EAST}>{WEST}", f"{EAST}>{SOUTH}"}
    assert all(dimensions.keys() == {"region", "link"} for dimensions, _ in of_links)
    assert {name for _, values in of_links for name in values} == NAMES
    assert all(isinstance(v, int | float) and v >= 0 for _, values in of_links for v in values.values())


def test_an_event_from_the_future_has_no_negative_lag(east: Region) -> None:
    east.now = 5
    east.deliver(east.append(("a", 1)))
    east.peers[WEST].error = RegionUnavailable("down")
    east.links[WEST].bring(Part({A: (1, 1)}, 10**13, receipt={} if east.kind == "table" else None))
    assert {values["ReplicationLag"] for _, values in east.told if "ReplicationLag" in values} == {0}
