"""Reads with a token: read-your-writes across regions, from whichever region has it, in bounded time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chaos.world.world import World
from replicator import (
    AtToken,
    ConsistencyToken,
    DamagedEvent,
    Event,
    EventStore,
    MemoryStorage,
    NewEvent,
    NotHereYet,
    Operation,
    RegionUnavailable,
    Saved,
    StreamId,
    VersionVector,
)
from replicator.connect import connect_store
from replicator.eventstore.store_errors import RegionBehind
from replicator.runtime.settings import Settings
from tests.processes import HANGING_SECONDS, comes_back

EAST, WEST, SOUTH = "us-east-1", "eu-west-1", "ap-southeast-2"
REGIONS = [EAST, WEST, SOUTH]
HOMER = StreamId("user", "homer")


class Region(MemoryStorage):
    """A region that can be cut off, and hang."""

    down, asked = False, 0
    error: Exception = RegionUnavailable("cut off")
    asked_of_all = 0

    def __init__(self) -> None:
        super().__init__()
        self.answers = threading.Event()
        self.answers.set()

    def read(self, *args: Any, **options: Any) -> Iterator[Event]:
        Region.asked_of_all += 1
        self.asked += 1
        self.answers.wait()
        if self.down:
            raise self.error
        return super().read(*args, **options)


@pytest.fixture
def held() -> Iterator[dict[str, Region]]:
    regions = {region: Region() for region in REGIONS}
    yield regions
    for region in regions.values():  # no thread hangs longer than the test
        region.answers.set()


def store(held: dict[str, Region], region: str) -> EventStore:
    """A store whose own region always answers: only what it asks of others is cut off."""
    own = MemoryStorage()
    own._lanes, own._lock = held[region]._lanes, held[region]._lock
    return EventStore(own, region, REGIONS, peer=held.__getitem__)


def append(held: dict[str, Region], region: str, count: int = 1) -> ConsistencyToken:
    result = store(held, region).save(Operation(HOMER, [NewEvent("set", {"n": n}) for n in range(count)]))
    assert isinstance(result, Saved)
    return result.token


def numbers(state: Any) -> list[tuple[str, int]]:
    return [(event.region, event.sequence) for event in state.events()]


def test_read_your_writes_holds_across_regions_with_a_token_and_fails_without(held: dict[str, Region]) -> None:
    token = append(held, EAST, 3)
    west = store(held, WEST)
    assert numbers(west.state(HOMER)) == []
    assert numbers(west.state(HOMER, token)) == [(EAST, 1), (EAST, 2), (EAST, 3)]
    assert west.state(HOMER, token).vector == token.vector(HOMER)


def test_what_is_pulled_is_not_stored(held: dict[str, Region]) -> None:
    token = append(held, EAST)
    west = store(held, WEST)
    west.state(HOMER, token)
    assert list(west.read(HOMER)) == []


def test_only_what_is_missing_is_pulled_and_merged_in_order(held: dict[str, Region]) -> None:
    append(held, EAST, 2)
    for event in list(held[EAST].read(store(held, EAST).latest(HOMER).lane))[:1]:  # type: ignore[union-attr]
        held[WEST].insert([event])
    token = append(held, WEST).join(append(held, EAST))
    state = store(held, WEST).state(HOMER, token)
    assert sorted(numbers(state)) == [(WEST, 1), (EAST, 1), (EAST, 2), (EAST, 3)]
    orders = [event.order for event in state.events()]
    assert orders == sorted(orders)


def test_a_token_that_is_reached_already_asks_nobody(held: dict[str, Region]) -> None:
    token = append(held, EAST)
    before = Region.asked_of_all
    store(held, EAST).state(HOMER, token)
    assert Region.asked_of_all == before


def test_another_region_stands_in_for_one_that_died(held: dict[str, Region]) -> None:
    token = append(held, EAST, 2)
    for event in held[EAST].read(next(iter(held[EAST].lanes()))[0]):
        held[SOUTH].insert([event])
    held[EAST].down = True
    assert store(held, WEST).state(HOMER, token).vector == token.vector(HOMER)


def test_what_arrives_while_a_read_waits_ends_the_waiting(held: dict[str, Region]) -> None:
    token = append(held, EAST)
    held[EAST].down = held[SOUTH].down = True
    west = store(held, WEST)

    class Arriving(MemoryStorage):
        """The replicator's copy lands at the third look."""

        looks = 0

        def read(self, *args: Any, **options: Any) -> Iterator[Event]:
            type(self).looks += 1
            if type(self).looks == 6:
                held[EAST].down = False
                held[WEST].insert(list(held[EAST].read(store(held, EAST).latest(HOMER).lane)))  # type: ignore[union-attr]
                held[EAST].down = True
            return super().read(*args, **options)

    own = Arriving()
    own._lanes, own._lock = held[WEST]._lanes, held[WEST]._lock
    west._lanes._storage = own
    assert west.state(HOMER, token, timeout=HANGING_SECONDS).vector == token.vector(HOMER)


def test_a_read_that_cannot_be_had_says_what_is_missing_within_its_time(held: dict[str, Region]) -> None:
    token = append(held, EAST, 4)
    held[EAST].down = held[SOUTH].down = True
    with pytest.raises(NotHereYet) as raised:
        comes_back(lambda: store(held, WEST).state(HOMER, token, timeout=0.3))
    assert raised.value.missing == {HOMER: VersionVector({EAST: 4})}
    assert 'user/homer up to {"us-east-1":4}' in str(raised.value)


def test_a_region_that_hangs_costs_no_more_than_the_time_given(held: dict[str, Region]) -> None:
    token = append(held, EAST)
    held[EAST].answers.clear()
    with pytest.raises(NotHereYet):
        comes_back(lambda: store(held, WEST).state(HOMER, token, timeout=0.2))


def test_a_region_that_failed_is_left_alone_for_a_while(held: dict[str, Region]) -> None:
    token = append(held, EAST)
    held[EAST].down = held[SOUTH].down = True
    west = store(held, WEST)
    for _ in range(5):
        with pytest.raises(NotHereYet):
            west.state(HOMER, token, timeout=0.1)
    assert held[EAST].asked == 1


def test_a_region_that_hangs_holds_up_no_other_and_a_hurried_read_puts_none_to_rest(held: dict[str, Region]) -> None:
    token = append(held, EAST)
    append(held, SOUTH)
    for event in held[EAST].read(next(iter(held[EAST].lanes()))[0]):
        held[SOUTH].insert([event])
    west = store(held, WEST)
    held[EAST].answers.clear()
    with ThreadPoolExecutor(12) as pool:  # more than there are threads for the region that hangs
        hopeless = [pool.submit(west.state, HOMER, token, 0.3) for _ in range(12)]
        states = [each.exception() or each.result() for each in hopeless]
    assert all(isinstance(state, NotHereYet) or state.vector.get(EAST) == 1 for state in states)
    marge = store(held, SOUTH).save(Operation("user/marge", NewEvent("set", {})))
    assert isinstance(marge, Saved)
    assert west.state("user/marge", marge.token, timeout=HANGING_SECONDS).vector == VersionVector({SOUTH: 1})


def test_what_does_not_follow_what_is_here_is_a_fork_and_no_answer(held: dict[str, Region]) -> None:
    token = append(held, EAST, 5)
    forged = {region: Region() for region in REGIONS}
    append(forged, EAST, 3)  # another history of the same lane, which this region believes
    lane = store(held, EAST).latest(HOMER).lane  # type: ignore[union-attr]
    held[WEST].insert(list(forged[EAST].read(lane)))
    with pytest.raises(DamagedEvent, match="one of the two lanes is a fork"):
        store(held, WEST).state(HOMER, token)


def test_a_region_restored_from_a_backup_is_not_let_to_fork_its_own_lane(held: dict[str, Region]) -> None:
    token = append(held, EAST, 5)
    lane = store(held, EAST).latest(HOMER).lane  # type: ignore[union-attr]
    held[WEST].insert(list(held[EAST].read(lane)))
    for sequence in (4, 5):  # lost with the region
        del held[EAST]._lanes[lane][sequence]
    for operation in (
        Operation(HOMER, NewEvent("set", {}), AtToken(token)),
        Operation(HOMER, NewEvent("set", {}), after=token),
    ):
        with pytest.raises(RegionBehind, match="restored from a backup"):
            store(held, EAST).save(operation)
    assert len(list(held[EAST].read(lane))) == 3


def test_a_chain_that_is_broken_on_the_way_is_used_no_further(held: dict[str, Region]) -> None:
    token = append(held, EAST, 3)
    forged = {region: Region() for region in REGIONS}
    append(forged, EAST, 3)
    lane = store(held, EAST).latest(HOMER).lane  # type: ignore[union-attr]
    held[EAST]._lanes[lane][2] = forged[EAST]._lanes[lane][2]
    with pytest.raises(DamagedEvent, match="0000000000000002 of us-east-1 does not follow"):
        store(held, WEST).state(HOMER, token, timeout=HANGING_SECONDS)


def test_of_two_regions_that_have_a_part_the_one_with_more_is_used(held: dict[str, Region]) -> None:
    token = append(held, EAST, 6)
    lane = store(held, EAST).latest(HOMER).lane  # type: ignore[union-attr]
    events = list(held[EAST].read(lane))
    held[SOUTH].insert(events)
    for sequence in (4, 5, 6):
        del held[EAST]._lanes[lane][sequence]
    assert store(held, WEST).state(HOMER, token).vector == VersionVector({EAST: 6})


def test_a_write_after_a_token_looks_for_what_it_names_before_it_says_to_have_seen_it(held: dict[str, Region]) -> None:
    """A forged token would make the event remove what nobody has written yet, for good."""
    forged = ConsistencyToken({HOMER: VersionVector({EAST: 10**15})})
    with pytest.raises(NotHereYet):
        store(held, WEST).save(Operation(HOMER, NewEvent("left", {}), after=forged), timeout=0.2)
    token = append(held, EAST, 2)
    saved = store(held, WEST).save(Operation(HOMER, NewEvent("left", {}), after=token))
    assert isinstance(saved, Saved)
    assert saved.events[0].observed == VersionVector({EAST: 2})


def test_a_peer_that_fails_in_a_way_nobody_foresaw_is_passed_over(held: dict[str, Region]) -> None:
    """A retired region's table is gone: that is no outage, and no reason to fail a read that another region can serve."""
    token = append(held, EAST)
    for event in held[EAST].read(next(iter(held[EAST].lanes()))[0]):
        held[SOUTH].insert([event])
    held[EAST].down, held[EAST].error = True, KeyError("no such table")
    assert store(held, WEST).state(HOMER, token).vector == token.vector(HOMER)


def test_a_store_without_peers_waits_for_the_replicator_alone(held: dict[str, Region]) -> None:
    alone = EventStore(held[WEST], WEST, REGIONS)
    with pytest.raises(NotHereYet):
        alone.state(HOMER, append(held, EAST), timeout=0.1)


def test_a_peer_s_damaged_lane_is_not_used(held: dict[str, Region]) -> None:
    token = append(held, EAST, 3)
    lane = held[EAST]._lanes[store(held, EAST).latest(HOMER).lane]  # type: ignore[union-attr]
    del lane[2]
    with pytest.raises(NotHereYet) as raised:
        store(held, WEST).state(HOMER, token, timeout=0.1)
    assert raised.value.missing[HOMER] == VersionVector({EAST: 3})


@pytest.mark.emulator
def test_a_frozen_region_is_waited_for_in_bounded_time_and_pulled_from_when_it_is_back(
    emulated: World, emptied_settings: Settings
) -> None:
    east, west = (connect_store(emptied_settings.at(region)) for region in (EAST, WEST))
    saved = east.save(Operation(HOMER, NewEvent("set", {"n": 1})))
    assert isinstance(saved, Saved)
    text = east.tokens.encode(saved.token)
    emulated.regions[EAST].freeze()
    try:
        with pytest.raises(NotHereYet, match="us-east-1"):
            comes_back(lambda: west.state(HOMER, text, timeout=0.5))
    finally:
        emulated.regions[EAST].thaw()
    west._streams._puller._peers[EAST]._rests_until = 0.0
    assert [event.digest for event in west.state(HOMER, text, timeout=HANGING_SECONDS).events()] == [saved.events[0].digest]
    written = west.save(Operation(HOMER, NewEvent("set", {"n": 2}), AtToken(text)), timeout=HANGING_SECONDS)
    assert isinstance(written, Saved)
    assert written.events[0].observed == VersionVector({EAST: 1})
