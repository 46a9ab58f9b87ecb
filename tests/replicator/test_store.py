"""The event store: append all or nothing, in one round trip; read in one order everywhere; settle what is unknown."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chaos.world.world import World, WorldOptions
from replicator.aws.event_table import DynamoStorage
from replicator.connect import connect_store
from replicator.domain.clock import Hlc, HybridLogicalClock
from replicator.domain.errors import ClockAhead, DamagedEvent, InvalidEvent, InvalidName, RegionUnavailable
from replicator.domain.event import GENESIS, Event, NewEvent, Observed, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY, VersionVector
from replicator.eventstore.appender import AppendPolicy, Write
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.storage import MAX_EVENTS, LaneStorage
from replicator.eventstore.store import EventStore
from replicator.eventstore.store_errors import AppendContention, LaneTaken, OutcomeUnknown
from replicator.runtime.settings import Settings, read_settings
from tests.regions import BACKENDS, EAST, WEST

HOMER = StreamId("user", "homer")


@pytest.fixture(params=BACKENDS)
def storage(request: pytest.FixtureRequest) -> LaneStorage:
    return MemoryStorage() if request.param == "memory" else DynamoStorage(request.getfixturevalue("emptied_settings"))


def store_on(
    storage: LaneStorage, region: str = EAST, wall: Callable[[], int] | None = None, attempts: int = 10
) -> EventStore:
    return EventStore(
        storage, region, [EAST, WEST], HybridLogicalClock(wall) if wall else None, appends=AppendPolicy(attempts)
    )


def named(*names: str) -> list[NewEvent]:
    return [NewEvent("renamed", {"name": name}) for name in names]


class Counted(MemoryStorage):
    """Counts the calls made to it."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def insert(self, events: Sequence[Event], guards: Sequence[Any] = ()) -> bool:
        self.calls["insert"] += 1
        return super().insert(events, guards)

    def read(self, *args: Any, **options: Any) -> Iterator[Event]:
        self.calls["read"] += 1
        return super().read(*args, **options)


class NoAnswer(MemoryStorage):
    """Loses the answer to the next insert, after (`lands`) or instead of writing."""

    lands, quiet = True, False

    def insert(self, events: Sequence[Event], guards: Sequence[Any] = ()) -> bool:
        if self.quiet:
            self.quiet = False
            if self.lands:
                super().insert(events, guards)
            raise OutcomeUnknown("no answer", events)
        return super().insert(events, guards)


# -- appending -------------------------------------------------------------------------------------------------------


def test_the_first_append_begins_the_lane_and_the_next_ones_are_chained_to_it(storage: LaneStorage) -> None:
    store = store_on(storage)
    (first,) = store.append("user/homer", *named("Homer"))
    assert (first.id, first.sequence, first.prev) == ("us-east-1#user#homer#0000000000000001", 1, GENESIS)
    assert (first.observed, first.payload) == (EMPTY, {"name": "Homer"})
    rest = store.append(HOMER, *named("Max Power", "Homer J."))
    assert [e.sequence for e in rest] == [2, 3]
    assert [e.prev for e in rest] == [first.digest, rest[0].digest]
    assert [str(e.observed) for e in rest] == ['{"us-east-1":1}', '{"us-east-1":2}']
    assert first.hlc < rest[0].hlc < rest[1].hlc
    assert list(store.read(HOMER)) == list(store.read_lane(HOMER)) == [first, *rest]
    assert store.latest(HOMER) == rest[1]
    assert dict(store.lanes()) == {LaneId(EAST, HOMER): 3}


def test_time_never_runs_backwards_in_a_lane_when_the_wall_clock_does() -> None:
    walls = iter([5_000_000, 5_000_000, 4_900_000, 4_000_000])
    storage = MemoryStorage()
    store = store_on(storage, wall=lambda: next(walls))
    stamps = [store.append(HOMER, *named("x"))[0].hlc for _ in range(2)]
    stamps += [store_on(storage, wall=lambda: 4_900_000).append(HOMER, *named("x"))[0].hlc]  # another machine
    assert stamps == [Hlc(5_000_000, 0), Hlc(5_000_000, 1), Hlc(5_000_000, 2)]


def test_what_the_writer_observed_is_recorded_and_the_event_sorts_after_it(storage: LaneStorage) -> None:
    ahead = store_on(storage, WEST, wall=lambda: time.time_ns() // 1_000_000 + 262_000)
    theirs = ahead.append(HOMER, *named("Homer", "Max"))
    (ours,) = store_on(storage).append(HOMER, *named("Simpson"), observed=Observed.of(theirs))
    assert ours.observed == VersionVector({WEST: 2})
    assert ours.hlc > theirs[1].hlc
    assert list(store_on(storage).read(HOMER)) == [*theirs, ours]


def test_reading_moves_the_clock_so_that_later_appends_sort_after_what_was_read() -> None:
    storage = MemoryStorage()
    store_on(storage, WEST, wall=lambda: 1_100_000).append(HOMER, *named("ahead"))
    store = store_on(storage, wall=lambda: 1_000_000)
    (seen,) = store.read(HOMER)
    assert store.append("user/other", *named("x"))[0].hlc > seen.hlc


def test_a_warm_append_makes_exactly_one_call() -> None:
    storage = Counted()
    store = store_on(storage)
    store.append(HOMER, *named("cold"))
    assert storage.calls == {"read": 1, "insert": 1}
    for n in range(1, 4):
        store.append(HOMER, *named("warm", "warm"))
        assert storage.calls == {"read": 1, "insert": 1 + n}


def test_ninety_eight_events_over_several_streams_are_appended_all_or_none(storage: LaneStorage) -> None:
    store = store_on(storage)
    store.append("user/u3", *named("there"))
    stale = store_on(storage)
    writes = [Write(StreamId("user", f"u{n}"), tuple(named(*map(str, range(14))))) for n in range(7)]
    appended = store.append_all(writes)
    assert len(appended) == MAX_EVENTS == 98
    for n, write in enumerate(writes):
        part = [e for e in appended if e.stream == write.stream]
        assert [e.sequence for e in part] == list(range(1 + (n == 3), 15 + (n == 3)))
        assert list(store.read_lane(write.stream, first=part[0].sequence)) == part
    again = stale.append_all(writes)
    assert [e.sequence for e in again if e.stream.id == "u3"] == list(range(16, 30))


@pytest.mark.parametrize("count", [0, 99])
def test_an_append_of_too_few_or_too_many_events_is_refused_before_anything_is_written(count: int) -> None:
    storage = Counted()
    with pytest.raises(InvalidEvent, match=f"{count} events"):
        store_on(storage).append_all([Write(HOMER, tuple(named(*["x"] * count)))])
    assert storage.calls == {}


def test_an_append_beyond_the_four_megabytes_of_a_transaction_is_refused_before_anything_is_written() -> None:
    storage = Counted()
    with pytest.raises(InvalidEvent, match="4"):
        store_on(storage).append(HOMER, *named(*["x" * 300_000] * 15))
    assert storage.calls["insert"] == 0


@pytest.mark.parametrize("stream", ["homer", "user/", "us#er/homer", "user/ho\nmer", "user/" + "x" * 1025])
def test_a_stream_name_that_cannot_be_a_key_is_refused_before_anything_is_written(stream: str) -> None:
    storage = Counted()
    with pytest.raises(InvalidName):
        store_on(storage).append(stream, *named("x"))
    assert storage.calls == {}


def test_what_was_observed_too_far_ahead_is_refused_and_nothing_is_written() -> None:
    storage = Counted()
    store = store_on(storage, wall=lambda: 1_000_000)
    with pytest.raises(ClockAhead, match="601 s ahead"):
        store.append(HOMER, *named("x"), observed=Observed(VersionVector({WEST: 1}), Hlc(1_601_000, 0)))
    assert storage.calls["insert"] == 0
    assert store.append(HOMER, *named("x"))[0].hlc == Hlc(1_000_000, 0)  # and the clock was not dragged along


# -- other writers ---------------------------------------------------------------------------------------------------


def test_eight_threads_on_one_stream_leave_one_gap_free_chain(storage: LaneStorage) -> None:
    store = store_on(storage, attempts=1000)

    def write(thread: int) -> list[Event]:
        return [store.append(HOMER, NewEvent("counted", {"by": thread, "n": n}))[0] for n in range(25)]

    with ThreadPoolExecutor(8) as pool:
        acknowledged = [event for events in pool.map(write, range(8)) for event in events]
    lane = list(store.read(HOMER))  # which checks the chain
    assert [e.sequence for e in lane] == list(range(1, 201))
    assert sorted(acknowledged, key=lambda e: e.sequence) == lane
    assert [e.hlc for e in lane] == sorted({e.hlc for e in lane})


def test_two_processes_on_one_lane_take_turns_without_knowing_of_each_other(storage: LaneStorage) -> None:
    one, two = store_on(storage), store_on(storage)
    events = [(one, two)[n % 2].append(HOMER, *named(str(n)))[0] for n in range(10)]
    assert [e.sequence for e in events] == list(range(1, 11))
    assert list(two.read(HOMER)) == events


def test_an_append_that_always_loses_gives_up_after_its_attempts() -> None:
    class Taken(Counted):
        def insert(self, events: Sequence[Event], guards: Sequence[Any] = ()) -> bool:
            self.calls["insert"] += 1
            raise LaneTaken(events[:1])

    storage = Taken()
    with pytest.raises(AppendContention, match=r"gave up after 3 attempts.*us-east-1#user#homer"):
        store_on(storage, attempts=3).append(HOMER, *named("x"))
    assert storage.calls == {"insert": 3, "read": 3}


# -- outcomes nobody knows -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lands", [True, False])
def test_an_unknown_append_is_settled_by_writing_it_again(lands: bool) -> None:
    storage = NoAnswer()
    store = store_on(storage)
    before = store.append(HOMER, *named("before"))
    storage.lands, storage.quiet = lands, True
    with pytest.raises(OutcomeUnknown) as raised:
        store.append(HOMER, *named("perhaps", "perhaps too"))
    assert [e.sequence for e in raised.value.events] == [2, 3]
    assert store.resolve(raised.value.events) is True
    assert store.resolve(raised.value.events) is True
    after = store.append(HOMER, *named("after"))
    assert list(store.read(HOMER)) == [*before, *raised.value.events, *after]


def test_an_unknown_append_whose_place_was_taken_never_lands() -> None:
    storage = NoAnswer()
    store = store_on(storage)
    storage.lands, storage.quiet = False, True
    with pytest.raises(OutcomeUnknown) as raised:
        store.append(HOMER, *named("perhaps"))
    other = store_on(storage).append(HOMER, *named("other"))
    assert store.resolve(raised.value.events) is False
    assert list(store.read(HOMER)) == list(other)
    assert store.append(HOMER, *named("after"))[0].prev == other[0].digest


@pytest.mark.emulator
def test_an_append_to_a_frozen_region_can_be_settled_after_the_thaw() -> None:
    with World([EAST], options=WorldOptions(workers=False, read_timeout=1.0, attempts=1)) as world:
        store = world.store(EAST)
        before = store.append(HOMER, *named("before"))
        world.regions[EAST].freeze()
        try:
            with pytest.raises((OutcomeUnknown, RegionUnavailable)) as raised:
                store.append(HOMER, *named("perhaps"))
        finally:
            world.regions[EAST].thaw()
        sent = raised.value.events if isinstance(raised.value, OutcomeUnknown) else ()
        assert not sent or store.resolve(sent)
        after = store.append(HOMER, *named("after"))
        assert list(store.read(HOMER)) == [*before, *sent, *after]


# -- reading ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def merged(storage: LaneStorage) -> list[Event]:
    """Ten events in three turns of two regions whose clocks differ, with ties."""
    walls = {EAST: 1_000_000, WEST: 1_000_500}
    stores = {region: store_on(storage, region, wall=lambda r=region: walls[r]) for region in walls}  # type: ignore[misc]
    events = []
    for region, count in ((EAST, 3), (WEST, 3), (EAST, 2), (WEST, 2)):
        walls[region] += 1_000 if region == WEST else 1_500
        events += [stores[region].append(HOMER, *named("x"))[0] for _ in range(count)]
    return sorted(events, key=lambda e: e.order)


def test_every_region_reads_the_same_order(storage: LaneStorage, merged: list[Event]) -> None:
    assert list(store_on(storage, EAST).read(HOMER)) == list(store_on(storage, WEST).read(HOMER)) == merged
    assert {e.region for e in merged} == {EAST, WEST}
    assert merged != sorted(merged, key=lambda e: (e.region, e.sequence))  # the lanes do interleave


def test_read_honours_after_upto_limit_and_reverse(storage: LaneStorage, merged: list[Event]) -> None:
    store = store_on(storage)
    after, upto = VersionVector({EAST: 2, WEST: 4}), VersionVector({EAST: 4, WEST: 4})
    beyond = [e for e in merged if not after.covers(e.region, e.sequence)]
    within = [e for e in merged if upto.covers(e.region, e.sequence)]
    assert list(store.read(HOMER, after)) == beyond
    assert list(store.read(HOMER, upto=upto)) == within
    assert list(store.read(HOMER, after, upto)) == [e for e in beyond if e in within]
    assert list(store.read(HOMER, upto=EMPTY)) == list(store.read(HOMER, upto, after)) == []
    assert list(store.read(HOMER, limit=4)) == merged[:4]
    assert list(store.read(HOMER, reverse=True)) == merged[::-1]
    assert list(store.read(HOMER, reverse=True, limit=4)) == merged[:-5:-1]
    assert store.latest(HOMER, WEST) == max((e for e in merged if e.region == WEST), key=lambda e: e.sequence)
    assert store.latest("user/nobody") is None


def _lane(*payloads: str) -> list[Event]:
    events: list[Event] = []
    for n, new in enumerate(named(*payloads), 1):
        events.append(seal(LaneId(EAST, HOMER), n, Hlc(1_000_000, n), new, EMPTY, events[-1].digest if events else GENESIS))
    return events


@pytest.mark.parametrize("missing", [1, 2, 3])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_missing_event_is_never_read_over(missing: int, reverse: bool) -> None:
    storage = MemoryStorage()
    storage.insert([e for e in _lane("a", "b", "c", "d") if e.sequence != missing])
    with pytest.raises(DamagedEvent):
        list(store_on(storage).read(HOMER, reverse=reverse))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("broken", [1, 3])
def test_a_broken_chain_is_never_read_over(broken: int, reverse: bool) -> None:
    events = _lane("a", "b", "c", "d")
    old = events[broken - 1]
    events[broken - 1] = seal(old.lane, old.sequence, old.hlc, *named("z"), old.observed, b"\x01" * 32)
    storage = MemoryStorage()
    storage.insert(events)
    with pytest.raises(DamagedEvent, match="chain"):
        list(store_on(storage).read(HOMER, reverse=reverse))


@pytest.mark.emulator
def test_connect_uses_the_settings_region_and_peers(settings: Settings) -> None:
    store = connect_store(settings)
    assert (store.region, store.regions) == (EAST, (WEST, EAST))
    assert list(store.read(HOMER)) == []


def test_what_a_retired_region_wrote_stays_part_of_every_stream() -> None:
    storage = MemoryStorage()
    (old,) = EventStore(storage, "eu-west-1", []).append("user/homer", NewEvent("renamed", {}))
    settings = read_settings({"MERIDIAN_REGION": "us-east-1", "MERIDIAN_RETIRED": "eu-west-1"})
    assert settings.peers == ()
    assert list(EventStore(storage, settings.region, settings.regions).read("user/homer")) == [old]
    assert list(EventStore(storage, settings.region, settings.peers).read("user/homer")) == []


def test_the_same_event_appended_by_two_processes_at_one_instant_is_two_events(storage: LaneStorage) -> None:
    """Byte-identical events would each be taken for the other's, and one append that was acknowledged be lost."""
    stores = [store_on(storage, wall=lambda: 1_763_914_981_000, attempts=1000) for _ in range(4)]

    def work(store: EventStore) -> list[Event]:
        return [event for _ in range(25) for event in store.append(HOMER, NewEvent("logged_in", {}))]

    with ThreadPoolExecutor(4) as pool:
        acknowledged = [event for events in pool.map(work, stores) for event in events]
    stored = list(stores[0].read(HOMER))
    assert len(stored) == len(acknowledged) == len({event.id for event in acknowledged}) == 100
    assert {event.digest for event in stored} == {event.digest for event in acknowledged}


def test_the_nonce_is_nobody_s_business(storage: LaneStorage) -> None:
    store = store_on(storage)
    (event,) = store.append(HOMER, NewEvent("renamed", {}, metadata={"who": "marge"}))
    assert event.metadata == {"who": "marge"}
    assert "$nonce" in event.metadata_text
    with pytest.raises(InvalidEvent, match="Meridian's own"):
        NewEvent("renamed", {}, metadata={"$nonce": "x"})


class Damaged(MemoryStorage):
    """Cannot read these events."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: set[tuple[LaneId, int]] = set()

    def get(self, positions: Any, *, consistent: bool = True) -> Any:
        if self.wrong & set(positions):
            raise DamagedEvent("an event does not match its digest")
        return super().get(positions)

    def read(self, lane: LaneId, *args: Any, **options: Any) -> Iterator[Event]:
        for event in super().read(lane, *args, **options):
            if (lane, event.sequence) in self.wrong:
                raise DamagedEvent("an event does not match its digest")
            yield event


@pytest.mark.parametrize(("wrong", "ends"), [((), 9), ((9,), 9), ((5,), 9), ((4, 9), 4), ((1, 9), 1)])
def test_which_lanes_are_begun_and_how_far_to_read_them_to_find_what_is_damaged(wrong: Sequence[int], ends: int) -> None:
    """A damaged last event hides how long the lane is: it is to be read up to the first one that cannot be read."""
    storage = Damaged()
    store = EventStore(storage, "us-east-1", ["us-east-1", "eu-west-1"])
    for n in range(9):
        store.append("user/homer", *named(str(n)))
    store.append("user/lisa", *named("lisa"))
    homer, lisa = (LaneId("us-east-1", StreamId("user", name)) for name in ("homer", "lisa"))
    absent = LaneId("eu-west-1", homer.stream)
    storage.wrong = {(homer, sequence) for sequence in wrong}
    assert store.begun([homer, lisa, absent]) == {homer: ends, lisa: 1}


@pytest.mark.parametrize("events", [[None], ["added"], [NewEvent("added", {}), 7], [{"type": "added"}]], ids=repr)
def test_what_is_no_event_is_refused_by_name_before_anything_is_written(events: Any) -> None:
    store = EventStore(MemoryStorage(), "us-east-1", ["us-east-1"])
    with pytest.raises(InvalidEvent, match=", not an event; give a NewEvent"):
        store.append("user/homer", *events)
    wrong: Any = {"us-east-1": 1}
    with pytest.raises(InvalidEvent, match="give Observed"):
        store.append("user/homer", NewEvent("added", {}), observed=wrong)
    assert store.latest("user/homer") is None
