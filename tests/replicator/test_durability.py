"""Appends that wait for copies, which regions hold what a token names, and what the replicator then leaves out."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import structlog

from replicator.control.memory_control import MemoryControl
from replicator.control.quarantine import Quarantine
from replicator.domain.clock import HybridLogicalClock
from replicator.domain.errors import InvalidConfig, InvalidOperation, RegionUnavailable
from replicator.domain.event import Event, NewEvent, is_handed_over
from replicator.domain.names import LaneId, StreamId
from replicator.domain.token import ConsistencyToken
from replicator.eventstore.appender import AppendPolicy, Write
from replicator.eventstore.durability import Durability
from replicator.eventstore.operations import IfEmpty, Operation, Rejected, Saved
from replicator.eventstore.store import EventStore
from replicator.eventstore.whereabouts import NotEverywhereYet
from replicator.fencing.fence import RegionFenced
from replicator.fencing.roles import FENCED, Role
from replicator.replication.copier import Copier
from replicator.replication.handover import PeerHandover, PeerHandovers, SharedIdentity
from replicator.replication.link_state import LinkState
from replicator.runtime.settings import read_settings
from tests.processes import wait_until
from tests.replicator.links import EAST, SOUTH, WEST, Table, chain, everything, lane_of

REGIONS = (EAST, WEST, SOUTH)
A = lane_of("a")


class Regions:
    """Three tables in memory. `store` appends in EAST, and `replicate` is what EAST's replicator does for a peer."""

    def __init__(self) -> None:
        self.tables = {region: Table() for region in REGIONS}
        self.now = 0.0
        self.pools: list[ThreadPoolExecutor] = []
        self.handovers: list[PeerHandover] = []
        self.links = {peer: self._copier(peer) for peer in (WEST, SOUTH)}
        self.copied = 0

    def pool(self, threads: int = 4) -> ThreadPoolExecutor:
        self.pools.append(ThreadPoolExecutor(threads))
        return self.pools[-1]

    def _copier(self, peer: str, **options: Any) -> Copier:
        quarantine = Quarantine(MemoryControl(), f"{EAST}>{peer}")
        home, target, log = self.tables[EAST], self.tables[peer], structlog.get_logger()
        return Copier(home, target, quarantine, self.pool(), LinkState(), log, lambda: self.now, shared=True, **options)

    def _handover(self) -> PeerHandovers:
        def peer(name: str) -> PeerHandover:
            identity = SharedIdentity(lambda: self.tables[name].identity(), lambda: self.now)
            return PeerHandover(name, lambda: self._copier(name, direct=True, identify=identity), identity, self.pool(16))

        self.handovers = [peer(WEST), peer(SOUTH)]
        return PeerHandovers(self.handovers)

    def store(self, fence: Any = None, **policy: int) -> EventStore:
        durability = Durability(EAST, (WEST, SOUTH), self._handover, {k.replace("any", "*"): n for k, n in policy.items()})
        return EventStore(
            self.tables[EAST], EAST, REGIONS, HybridLogicalClock(lambda: 1_000), peer=self.tables.__getitem__,
            appends=AppendPolicy(fence=fence, durability=durability),
        )  # fmt: skip

    def replicate(self, peer: str) -> list[Event]:
        events = [event for events in everything(self.tables[EAST]).values() for event in events]
        return self.links[peer].copy(events)

    def prefixes(self) -> bool:
        """Whether every lane at a peer is a prefix of the lane at home."""
        home = everything(self.tables[EAST])
        return all(
            events == home[lane][: len(events)]
            for peer in (WEST, SOUTH)
            for lane, events in everything(self.tables[peer]).items()
        )

    def close(self) -> None:
        for table in self.tables.values():
            table.gate.set()
        for pool in self.pools:
            pool.shutdown(wait=False)


@pytest.fixture
def regions() -> Iterator[Regions]:
    made = Regions()
    yield made
    made.close()


def new(count: int = 1) -> list[NewEvent]:
    return [NewEvent("x", {"n": n}) for n in range(count)]


# -- copies ------------------------------------------------------------------------------------------------------------


def test_without_copies_an_append_is_what_it_was(regions: Regions) -> None:
    stored = regions.store().append("user/a", *new(2))
    assert stored == tuple(everything(regions.tables[EAST])[A])
    assert stored.regions == (EAST,)
    assert not any(is_handed_over(event) for event in stored)
    assert regions.handovers == [], "no way to a peer is made"


@pytest.mark.parametrize("copies", [2, 3])
def test_an_append_returns_once_so_many_regions_hold_it(regions: Regions, copies: int) -> None:
    stored = regions.store().append("user/a", *new(3), copies=copies)
    assert stored.regions[0] == EAST
    assert len(stored.regions) >= copies, "the first one tries both peers: it knows neither's response time"
    assert all(is_handed_over(event) for event in stored)
    for region in stored.regions:
        assert everything(regions.tables[region])[A] == list(stored)


def test_every_stream_type_has_its_own_default(regions: Regions) -> None:
    store = regions.store(user=2, any=3)
    store.append("user/a", *new(), copies=3)
    assert len(store.append("user/a", *new()).regions) == 2
    assert len(store.append("order/a", *new()).regions) == 3
    assert len(store.append("order/b", *new(), copies=1).regions) == 1
    both = [Write(StreamId("user", "b"), tuple(new())), Write(StreamId("order", "c"), tuple(new()))]
    assert len(store.append_all(both).regions) == 3


def test_transactions_and_operations_wait_for_all_of_their_streams(regions: Regions) -> None:
    store = regions.store()
    saved = store.save(*(Operation(f"user/{name}", new(2)) for name in "abcdefghij"), copies=3)
    assert isinstance(saved, Saved)
    assert saved.regions == (EAST, *sorted((WEST, SOUTH)))
    assert {len(everything(table)) for table in regions.tables.values()} == {10}
    assert isinstance(store.save(Operation("user/a", new(), IfEmpty()), copies=2), Rejected)
    assert store.stable(saved.token).held == (EAST, WEST, SOUTH)


@pytest.mark.parametrize("copies", [0, -1, 4, 2.0, True, "2"])
def test_a_number_of_copies_that_cannot_be_is_refused_before_anything_is_written(regions: Regions, copies: Any) -> None:
    with pytest.raises(InvalidOperation, match=r"give a whole number from 1 to 3"):
        regions.store().append("user/a", *new(), copies=copies)
    assert everything(regions.tables[EAST]) == {}


@pytest.mark.parametrize("within", [0, -1.0, float("nan"), float("inf"), "1"])
def test_a_time_that_cannot_be_is_refused_before_anything_is_written(regions: Regions, within: Any) -> None:
    with pytest.raises(InvalidOperation, match="give seconds above 0"):
        regions.store().append("user/a", *new(), copies=2, within=within)
    assert everything(regions.tables[EAST]) == {}


def test_a_store_without_a_way_to_its_peers_says_so() -> None:
    store = EventStore(Table(), EAST, REGIONS)
    with pytest.raises(InvalidOperation, match="from 1 to 1"):
        store.append("user/a", *new(), copies=2)


def test_a_fenced_region_hands_nothing_over(regions: Regions) -> None:
    class Closed:
        def guards(self, types: object) -> Any:
            raise RegionFenced(EAST, Role(2, FENCED))

        def epoch(self) -> int:
            return 2

    with pytest.raises(RegionFenced):
        regions.store(Closed()).append("user/a", *new(), copies=2)
    assert all(everything(table) == {} for table in regions.tables.values())


# -- peers that fail, lag or hold something else -----------------------------------------------------------------------


def test_another_peer_takes_the_place_of_one_that_fails(regions: Regions) -> None:
    store = regions.store()
    regions.tables[WEST].error = RegionUnavailable("down")
    assert store.append("user/a", *new(), copies=2).regions == (EAST, SOUTH)
    assert store.append("user/a", *new(), copies=3).regions == (EAST, SOUTH)


def test_another_peer_takes_the_place_of_one_that_hangs(regions: Regions) -> None:
    store = regions.store()
    store.append("user/a", *new(), copies=3)
    regions.tables[WEST].gate.clear()
    for _ in range(40):  # more than a peer has threads
        assert store.append("user/a", *new(), copies=2, within=30).regions == (EAST, SOUTH)
    regions.tables[WEST].gate.set()
    wait_until(lambda: store.append("user/a", *new(), copies=3).regions == (EAST, *sorted((WEST, SOUTH))), "both again")


def test_too_few_copies_in_time_are_no_failure_and_can_be_asked_for_again(regions: Regions) -> None:
    store = regions.store()
    for peer in (WEST, SOUTH):
        regions.tables[peer].error = RegionUnavailable("down")
    stored = store.append("user/a", *new(2), copies=2, within=0.2)
    assert stored.regions == (EAST,)
    assert everything(regions.tables[EAST])[A] == list(stored)
    token = ConsistencyToken.of(stored)
    found = store.stable(token)
    assert (found.held, set(found.unknown)) == ((EAST,), {WEST, SOUTH})
    with pytest.raises(NotEverywhereYet, match=r"held by us-east-1; eu-west-1 is not known \(down\)"):
        store.wait_until(token, 2, timeout=0.1)
    regions.tables[WEST].error = None
    assert regions.replicate(WEST) == []
    assert store.wait_until(token, 2).held == (EAST, WEST)
    assert store.wait_until(token, [WEST]).held == store.wait_until(token, WEST).held == (WEST,)


def test_a_peer_that_lags_gets_what_is_missing(regions: Regions) -> None:
    store = regions.store()
    store.append("user/a", *new(5))
    assert len(store.append("user/a", *new(), copies=3).regions) == 3
    assert len(everything(regions.tables[WEST])[A]) == len(everything(regions.tables[SOUTH])[A]) == 6


def test_a_peer_that_lags_far_gets_a_page_and_does_not_count(regions: Regions) -> None:
    store = regions.store()
    for _ in range(4):
        store.append("user/a", *new(98))
    assert store.append("user/a", *new(), copies=2, within=5).regions == (EAST,)
    assert 0 < len(everything(regions.tables[WEST])[A]) < 393
    assert regions.prefixes()
    regions.replicate(WEST)
    assert store.append("user/a", *new(), copies=2).regions == (EAST, WEST)


def test_a_fork_does_not_count_and_is_left_as_it_is(regions: Regions) -> None:
    store = regions.store()
    (foreign,) = chain(A, 1, by="another")
    regions.tables[WEST].insert_each([foreign])
    stored = store.append("user/a", *new(), copies=3, within=5)
    assert stored.regions == (EAST, SOUTH)
    assert everything(regions.tables[WEST])[A] == [foreign]
    found = store.stable(ConsistencyToken.of(stored))
    assert (found.held, found.missing) == ((EAST, SOUTH), {WEST: ((A, 1),)})


def test_heads_of_a_replaced_table_leave_no_gap_in_the_new_one(regions: Regions) -> None:
    store = regions.store()
    store.append("user/a", *new(3), copies=3)
    fresh = Table()
    regions.tables[WEST]._lanes, regions.tables[WEST]._identity = fresh._lanes, fresh._identity
    regions.now += 5.0  # less than creating a table takes
    assert len(store.append("user/a", *new(), copies=3).regions) == 3
    assert len(everything(regions.tables[WEST])[A]) == 4
    assert regions.prefixes()


def test_the_identity_is_read_ahead_of_need_and_once_for_all_copiers(regions: Regions) -> None:
    reads: list[float] = []
    now = [0.0]
    identity = SharedIdentity(lambda: f"{reads.append(now[0])}", lambda: now[0])
    assert identity.ages
    identity.refresh()
    for now[0] in (0.5, 0.9):
        assert not identity.ages
        identity()
    now[0] = 1.0
    assert identity.ages
    identity()
    identity.refresh()
    now[0] = 6.0
    identity()
    assert reads == [0.0, 1.0, 6.0]


def test_many_writers_to_one_lane_keep_its_order_and_all_get_their_copies(regions: Regions) -> None:
    store = regions.store()
    found: list[tuple[str, ...]] = []

    def write() -> None:
        for _ in range(10):
            found.append(store.append("user/a", *new(), copies=3, within=30).regions)

    writers = [threading.Thread(target=write) for _ in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {len(each) for each in found} == {3}
    assert len(everything(regions.tables[WEST])[A]) == 60
    assert regions.prefixes()


# -- the replicator ----------------------------------------------------------------------------------------------------


def test_what_was_handed_over_costs_the_replicator_no_second_write(regions: Regions) -> None:
    store = regions.store()
    for name in "abc":
        store.append(f"user/{name}", *new(2), copies=3)
    sent: list[Event] = []
    regions.tables[WEST].insert_each = sent.extend  # type: ignore[method-assign, assignment]
    regions.tables[WEST].insert = sent.extend  # type: ignore[method-assign, assignment]
    assert regions.replicate(WEST) == []
    assert sent == []
    assert regions.links[WEST].state.known == 6


def test_what_did_not_arrive_the_replicator_copies(regions: Regions) -> None:
    store = regions.store()
    store.append("user/a", *new(2), copies=2)  # to one of the two
    store.append("user/a", *new(2))
    store.append("user/a", *new(1), copies=2)
    for peer in (WEST, SOUTH):
        assert regions.replicate(peer) == []
        assert everything(regions.tables[peer]) == everything(regions.tables[EAST])


def test_a_handed_over_event_that_differs_at_the_peer_is_a_fork(regions: Regions) -> None:
    (foreign,) = chain(A, 1, by="another")
    regions.tables[WEST].insert_each([foreign])
    regions.store().append("user/a", *new(), copies=2)
    regions.replicate(WEST)
    assert set(regions.links[WEST].stopped) == {A}


@pytest.mark.parametrize("seed", range(30))
def test_regions_that_an_append_names_hold_it_whatever_fails_meanwhile(regions: Regions, seed: int) -> None:
    chance = random.Random(seed)
    store = regions.store()
    stop = threading.Event()

    def faults() -> Iterator[str]:
        while True:
            yield "down" if chance.random() < 0.1 else "unanswered" if chance.random() < 0.1 else "fine"

    for peer in (WEST, SOUTH):
        regions.tables[peer].faults = faults()

    def replicate(peer: str) -> None:
        while not stop.is_set():
            try:
                regions.replicate(peer)
            except RegionUnavailable:
                continue

    threads = [threading.Thread(target=replicate, args=(peer,)) for peer in (WEST, SOUTH)]
    for thread in threads:
        thread.start()
    try:
        for number in range(25):
            wanted = chance.choice((1, 1, 2, 3))
            stored = store.append(f"user/{number % 3}", *new(chance.choice((1, 1, 2, 6))), copies=wanted, within=0.5)
            for region in stored.regions:
                held = everything(regions.tables[region]).get(stored[0].lane, [])
                assert held[stored[0].sequence - 1 : stored[-1].sequence] == list(stored), region
            assert regions.prefixes()
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# -- where -------------------------------------------------------------------------------------------------------------


def test_which_regions_hold_a_token_takes_one_request_a_region(regions: Regions) -> None:
    store = regions.store()
    events = [event for n in range(10) for event in store.append(f"user/{n}", *new(3))]
    token = store.tokens.encode(ConsistencyToken.of(events))
    assert store.stable(token).held == (EAST,)
    regions.replicate(WEST)
    half = [event for event in events if event.stream.id < "5"]
    regions.tables[SOUTH].insert_each(half)
    before = [table.calls for table in regions.tables.values()]
    found = store.stable(token)
    assert [table.calls - calls for table, calls in zip(regions.tables.values(), before, strict=True)] == [1, 1, 1]
    assert found.held == (EAST, WEST)
    assert set(found.missing) == {SOUTH}
    assert set(found.missing[SOUTH]) == {(LaneId(EAST, StreamId("user", str(n))), 3) for n in range(5, 10)}
    assert str(found).startswith("held by us-east-1, eu-west-1; ap-southeast-2 lacks us-east-1#user#5 3, ")


def test_a_token_of_nothing_is_held_everywhere(regions: Regions) -> None:
    found = regions.store().stable(ConsistencyToken())
    assert (found.held, found.missing, found.unknown) == (REGIONS, {}, {})


def test_a_region_that_hangs_is_not_known_and_delays_nothing(regions: Regions) -> None:
    store = regions.store()
    token = ConsistencyToken.of(store.append("user/a", *new(), copies=3))
    regions.tables[SOUTH].gate.clear()
    found = store.stable(token, timeout=0.3)
    assert (found.held, found.unknown) == ((EAST, WEST), {SOUTH: "did not answer in time"})
    assert store.wait_until(token, 2, timeout=0.3).held == (EAST, WEST)


def test_a_damaged_event_is_not_held(regions: Regions) -> None:
    store = regions.store()
    token = ConsistencyToken.of(store.append("user/a", *new(), copies=3))
    regions.tables[WEST].damaged = {(A, 1)}
    found = store.stable(token)
    assert found.held == (EAST, SOUTH)
    assert "damaged" in found.unknown[WEST]


def test_where_the_home_region_is_gone_the_others_agree_among_themselves(regions: Regions) -> None:
    store = regions.store()
    token = ConsistencyToken.of(store.append("user/a", *new(), copies=3))
    regions.tables[EAST].error = RegionUnavailable("gone")
    found = store.stable(token)
    assert (found.held, found.unknown) == ((WEST, SOUTH), {EAST: "gone"})


@pytest.mark.parametrize(("wanted", "says"), [(0, "from 1 to 3"), (4, "from 1 to 3"), (["mars"], "mars is not a region")])
def test_a_wait_for_regions_that_are_not_there_is_refused(regions: Regions, wanted: Any, says: str) -> None:
    with pytest.raises(InvalidOperation, match=says):
        regions.store().wait_until(ConsistencyToken(), wanted)


def test_a_wait_ends_when_the_regions_hold_it(regions: Regions) -> None:
    store = regions.store()
    token = ConsistencyToken.of(store.append("user/a", *new()))
    calls = itertools.count()
    get: Callable[..., Any] = regions.tables[SOUTH].get

    def arriving(positions: Any, **options: Any) -> Any:
        if next(calls) == 2:
            regions.replicate(WEST)
            regions.replicate(SOUTH)
        return get(positions, **options)

    regions.tables[SOUTH].get = arriving  # type: ignore[method-assign]
    assert store.wait_until(token, REGIONS).held == REGIONS


# -- settings ----------------------------------------------------------------------------------------------------------


def test_copies_are_read_from_the_environment() -> None:
    given = {"MERIDIAN_REGION": EAST, "MERIDIAN_PEERS": WEST, "MERIDIAN_COPIES": " account = 2 ,*=1"}
    assert read_settings(given).copies == {"account": 2, "*": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("account", "write 'account=2'"), ("account=two", "write 'account=2'"), ("=2", "write 'account=2'"),
        ("a=2,a=1", "twice"), ("a=3", "give 1 to 2"), ("a=0", "give 1 to 2"),
    ],
)  # fmt: skip
def test_copies_that_cannot_be_are_refused(text: str, says: str) -> None:
    with pytest.raises(InvalidConfig, match=says):
        read_settings({"MERIDIAN_REGION": EAST, "MERIDIAN_PEERS": WEST, "MERIDIAN_COPIES": text})
