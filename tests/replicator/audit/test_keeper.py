"""A region's summary: nothing that was written before a refresh is missing from it, what it reads is two items a lane, and
nothing that went wrong in one refresh spoils the next."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from replicator.control.control_storage import Value
from replicator.control.suspects import Suspects
from replicator.domain.clock import Hlc
from replicator.domain.errors import RegionRefuses, RegionUnavailable
from replicator.domain.event import NewEvent, seal
from replicator.domain.names import MAX_SEQUENCE, LaneId, StreamId, sequence_key
from replicator.domain.vector import EMPTY
from replicator.ops.audit import merkle_summary
from replicator.ops.audit.comparison import DAMAGED, compare
from replicator.ops.audit.merkle_summary import Entry, Range, range_of
from replicator.ops.audit.summary_keeper import Keeper
from tests.replicator.memories import BEGUN_MS, EAST, SOUTH, WEST, Axe, Killed, Memories, altered, load

LANE = LaneId(EAST, StreamId("user", "0"))
NEW = NewEvent("set", {})
HOUR = 3600


def kept(streams: int = 1, events: int = 1) -> Memories:
    """Every region has a summary, made a while ago."""
    memories = Memories()
    load(memories, streams, events)
    memories.copy_all()
    system = memories.system()
    compare(system.places, system.sleep, 0.0)
    memories.now += 100
    return memories


def held(keeper: Keeper) -> dict[str, int]:
    """The lanes of a keeper, with their ends."""
    return {lane.key: entry.sequence for n in keeper.sums for lane, entry in keeper.range(n).lanes.items()}


def there(memories: Memories, region: str = EAST) -> dict[str, int]:
    return {lane.key: last for lane, last in memories.tables[region].lanes()}


def stored(memories: Memories, region: str = EAST) -> dict[str, int]:
    """The stored lanes of a region, with their ends."""
    values = [value for n in range(16) for _, value in memories.controls[region].get_all(f"heads#{n:x}")]
    return {name: line[0] for value in values for name, line in value["lanes"].items()}


def keeper_of(memories: Memories, region: str = EAST) -> Keeper:
    return memories.system().at(region).keeper


def refreshed(memories: Memories) -> Keeper:
    keeper = keeper_of(memories)
    keeper.refresh()
    return keeper


def noted(memories: Memories) -> list[LaneId]:
    return list(Suspects(memories.controls[EAST]).notes())


def test_the_first_refresh_reads_one_event_a_lane_and_the_next_ones_ask_for_it_and_the_one_behind_it() -> None:
    memories = Memories()
    load(memories, streams=8, events=5)
    memories.copy_all()
    table, reads = memories.tables[EAST], []
    for _ in range(3):
        table.reads = 0
        assert held(refreshed(memories)) == there(memories)
        reads.append(table.reads)
    assert reads == [24, 48, 48]
    memories.store(EAST).append("user/1", NEW)
    memories.store(EAST).append("user/100", NEW)
    table.reads = 0
    assert held(refreshed(memories)) == there(memories)
    assert table.reads == 48 + 2, "the head of the lane that has gone on, and of the new one"


def test_events_that_were_written_while_it_was_not_looked_at_are_seen_however_many() -> None:
    memories = kept(streams=2)
    for n in range(300):
        memories.store(EAST).append(f"user/{n % 5}", NewEvent("set", {"n": n}))
    memories.now += 30 * 24 * HOUR
    assert held(refreshed(memories)) == there(memories)


def test_a_process_that_refreshes_all_the_time_sees_what_others_append() -> None:
    memories = kept(streams=4)
    keeper, store = keeper_of(memories), memories.store(EAST)
    for n in range(50):
        store.append(f"user/{n % 6}", NewEvent("set", {"n": n}))
        memories.now += 3
        keeper.refresh()
        assert held(keeper) == there(memories)


def failing_once(function: Callable[..., Any], where: Callable[..., bool]) -> Callable[..., Any]:
    left = [True]

    def once(*args: Any, **named: Any) -> Any:
        if left[0] and where(*args):
            left[0] = False
            raise RegionUnavailable("a blip")
        return function(*args, **named)

    return once


@pytest.mark.parametrize("verb", ["index", "get", "read", "identity"])
def test_a_refresh_that_failed_spoils_nothing_for_the_next_one(verb: str) -> None:
    memories = kept(streams=3)
    memories.store(EAST).append("user/1", NEW)
    memories.store(EAST).append("user/9", NEW)
    table = memories.tables[EAST]
    setattr(table, verb, failing_once(getattr(table, verb), lambda *_: True))
    keeper = keeper_of(memories)
    with pytest.raises(RegionUnavailable):
        keeper.refresh()
    for _ in range(2):
        keeper.refresh()
        assert held(keeper) == there(memories)


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_write_of_the_summary_the_next_refresh_is_right(after: bool) -> None:
    for at in range(1, 60):
        memories = Memories()
        load(memories, 8, 1)
        killed = killed_at(memories, at, after)
        store = memories.store(EAST)
        for n in range(10):
            store.append(f"user/{n}", NEW)
        assert held(refreshed(memories)) == there(memories)
        assert stored(memories) == there(memories)
        if not killed:
            return
    raise AssertionError("more writes than this test knows of")


def killed_at(memories: Memories, at: int, after: bool) -> bool:
    """Refresh, and be killed at a write, unless there are fewer. An hour passes."""
    axe = memories.axe = memories.controls[EAST].axe = Axe(at, after)
    try:
        refreshed(memories)
    except Killed:
        return True
    finally:
        axe.at = None
        memories.now += HOUR
    return False


@pytest.mark.parametrize("after", [False, True])
def test_killed_between_two_parts_of_a_range_the_next_refresh_loses_no_lane(
    after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merkle_summary, "PART_BYTES", 250)  # two lanes a part
    monkeypatch.setattr("replicator.ops.audit.summary_keeper.range_of", lambda lane: 7)
    monkeypatch.setattr(merkle_summary, "range_of", lambda lane: 7)
    for at in range(1, 40):
        memories = kept(streams=3)
        store = memories.store(EAST)
        for n in range(8):
            store.append(f"user/{n}", NEW)
        killed = killed_at(memories, at, after)
        assert held(refreshed(memories)) == there(memories)
        assert stored(memories) == there(memories)
        assert len(dict(memories.controls[EAST].get_all("heads#7"))) > 3
        if not killed:
            return
    raise AssertionError("more writes than this test knows of")


def test_one_that_began_earlier_and_stores_later_takes_nothing_from_the_next_refresh() -> None:
    memories = kept(streams=6)
    store = memories.store(EAST)
    first, second = keeper_of(memories), keeper_of(memories)
    storing = first._store

    def late(*args: Any) -> None:
        store.append("user/1", NEW)
        store.append("user/20", NEW)
        second.refresh()
        storing(*args)

    first._store = late  # type: ignore[method-assign]
    store.append("user/1", NEW)
    first.refresh()
    assert held(second) == there(memories)
    for _ in range(2):
        memories.now += 100
        assert held(refreshed(memories)) == there(memories) == stored(memories)


def test_what_the_control_table_refuses_is_not_stored_and_stops_nobody() -> None:
    memories = kept(streams=3)
    memories.store(EAST).append("user/1", NEW)
    control = memories.controls[EAST]
    putting = control.put

    def refuse(scope: str, values: dict[str, Value]) -> None:
        if scope.startswith("heads#"):
            raise RegionRefuses("too large", "ValidationException")
        putting(scope, values)

    control.put = refuse  # type: ignore[method-assign]
    for _ in range(3):
        memories.now += 100
        assert held(refreshed(memories)) == there(memories)
    assert stored(memories) != there(memories)
    control.put = putting  # type: ignore[method-assign]
    memories.now += 100
    assert held(refreshed(memories)) == there(memories) == stored(memories)


def test_a_process_that_refreshes_all_the_time_stores_once_a_minute() -> None:
    memories = kept(streams=4)
    keeper, store, writes = keeper_of(memories), memories.store(EAST), []
    for n in range(100):
        store.append(f"user/{n % 4}", NewEvent("set", {"n": n}))
        memories.now += 3
        before = stored(memories)
        keeper.refresh()
        writes += [n] if stored(memories) != before else []
    assert 4 <= len(writes) <= 6


def test_it_is_rested_after_ten_times_as_long_as_it_took() -> None:
    memories = kept(streams=2)
    keeper, now, consistent = keeper_of(memories), [0.0], []
    keeper._monotonic = lambda: now[0]
    table: Any = memories.tables[EAST]
    get = table.get

    def slowly(positions: Any, **named: Any) -> Any:
        now[0] += 7.0
        consistent.append(named["consistent"])
        return get(positions, **named)

    table.get = slowly
    assert keeper.rested
    keeper.refresh(consistent=False)
    keeper.refresh()
    assert consistent == [False, True]
    now[0] += 59.0
    assert not keeper.rested, "seven seconds are not a tenth of the time"
    now[0] += 1.0
    assert keeper.rested, "a minute is enough however long it takes"
    keeper._seconds = 3.0
    now[0] = keeper._ended + 29.0
    assert not keeper.rested
    now[0] += 1.0
    assert keeper.rested


# -- what is not an append -------------------------------------------------------------------------------------------------


def test_a_removal_stays_found_until_it_is_mended_by_whoever_looks() -> None:
    memories = kept(streams=2, events=3)
    event = next(memories.tables[EAST].read(LANE, 2))
    memories.tables[EAST].take_out(LANE, 2)
    for _ in range(3):
        assert list(refreshed(memories).damage) == [LANE]
        memories.store(EAST).append("user/0", NEW)
        memories.now += 48 * HOUR
    memories.tables[EAST].insert_each([event])
    keeper = refreshed(memories)
    assert (keeper.damage, held(keeper)) == ({}, there(memories))
    assert not noted(memories), "the lane is whole"


def test_a_refresh_that_failed_does_not_forget_a_removal() -> None:
    memories = kept(streams=2, events=3)
    memories.tables[EAST].take_out(LANE, 2)
    table: Any = memories.tables[EAST]
    table.index = failing_once(table.index, lambda *_: True)
    keeper = keeper_of(memories)
    with pytest.raises(RegionUnavailable):
        keeper.refresh()
    keeper.refresh()
    memories.store(EAST).append("user/9", NEW)
    keeper.refresh()
    system = memories.system()
    assert [(f.region, f.lane) for f in compare(system.places, system.sleep, 0.0).of(DAMAGED)] == [(EAST, LANE)]


def cut_short(memories: Memories, noticed: bool = True) -> None:
    memories.tables[EAST].take_out(LANE, 3, noticed=noticed)


def differs(memories: Memories) -> bool:
    system = memories.system()
    return not compare(system.places, system.sleep, 0.0).equal


def neighbour() -> str:
    """A stream whose lane is in the same range."""
    return next(f"other/{n}" for n in range(10**6) if range_of(LaneId(EAST, StreamId("other", f"{n}"))) == range_of(LANE))


def busy() -> Memories:
    memories = kept(streams=2, events=3)
    memories.store(EAST).append(neighbour(), NEW)
    memories.copy_all()
    assert not differs(memories)
    memories.now += 100
    return memories


@pytest.mark.parametrize("noticed", [True, False])
def test_a_lane_that_was_cut_short_is_seen_by_who_had_read_it_before_and_by_who_goes_by_what_that_one_stores(
    noticed: bool,
) -> None:
    memories = busy()
    watch = keeper_of(memories)
    watch.refresh()
    memories.now += 100
    cut_short(memories, noticed)
    assert differs(memories)
    memories.store(EAST).append(neighbour(), NEW)
    memories.copy(EAST, WEST)
    memories.copy(EAST, SOUTH)
    watch.refresh()
    assert held(watch) == there(memories)
    memories.now += 24 * HOUR
    assert differs(memories)


def test_one_that_stores_late_what_was_there_before_a_cut_misleads_nobody() -> None:
    memories = busy()
    watch, late = keeper_of(memories), keeper_of(memories)
    watch.refresh()
    memories.now += 100
    storing = late._store

    def store(*args: Any) -> None:
        cut_short(memories)
        watch.refresh()
        storing(*args)

    late._store = store  # type: ignore[method-assign]
    memories.store(EAST).append(neighbour(), NEW)
    memories.copy_all()
    late.refresh()
    for _ in range(60):
        memories.now += 1800
        watch.refresh()
    assert differs(memories)


def test_one_that_loads_while_another_one_stores_and_clears_misses_nothing() -> None:
    memories = busy()
    cut_short(memories)
    memories.now += 25 * HOUR
    keeper = keeper_of(memories)
    loading = keeper._load

    def load_then_wait(table: str) -> None:
        loading(table)
        refreshed(memories)

    keeper._load = load_then_wait  # type: ignore[method-assign]
    keeper.refresh()
    assert held(keeper) == there(memories)
    assert differs(memories)


def test_a_control_table_that_alone_comes_back_from_a_backup_hides_nothing_at_the_ends_of_lanes() -> None:
    memories = busy()
    _, control = memories.backup(EAST)
    cut_short(memories)
    assert differs(memories)
    memories.controls[EAST]._scopes = {scope: dict(values) for scope, values in control.items()}
    assert differs(memories)


def test_a_lane_that_is_whole_is_read_once_for_a_note() -> None:
    memories = kept(streams=2, events=20)
    Suspects(memories.controls[EAST]).add([LANE], BEGUN_MS)
    table, reads = memories.tables[EAST], []
    walked: list[LaneId] = []
    read = table.read

    def reading(lane: LaneId, *args: Any, **named: Any) -> Any:
        walked.extend([] if args or named else [lane])
        return read(lane, *args, **named)

    table.read = reading  # type: ignore[method-assign]
    for _ in range(3):
        reads.append(len(walked))
        ticks = (keeper := keeper_of(memories)).ticks
        keeper.refresh()
    assert walked == [LANE]
    assert keeper.ticks > ticks
    assert not noted(memories)


def test_a_walk_shows_that_it_makes_progress() -> None:
    memories = kept(events=50)
    Suspects(memories.controls[EAST]).add([LANE], BEGUN_MS)
    keeper, seen = keeper_of(memories), []
    read = memories.tables[EAST].read

    def slow(*args: Any, **named: Any) -> Any:
        for event in read(*args, **named):
            seen.append(keeper.ticks)
            yield event

    memories.tables[EAST].read = slow  # type: ignore[method-assign]
    keeper.refresh()
    assert len(set(seen)) >= 50


def test_a_lane_that_ends_with_the_last_sequence_there_is_stops_nobody() -> None:
    memories = kept(streams=2)
    last = seal(LANE, MAX_SEQUENCE, Hlc(BEGUN_MS, 0), NEW, EMPTY, b"x" * 32)
    memories.tables[EAST].insert_each([last])
    table: Any = memories.tables[EAST]
    get = table.get

    def checked(positions: Any, **named: Any) -> Any:
        for _, sequence in positions:
            sequence_key(sequence)
        return get(positions, **named)

    table.get = checked
    Suspects(memories.controls[EAST]).add([LANE], BEGUN_MS)
    for _ in range(3):
        assert "is missing" in refreshed(memories).damage[LANE]
        memories.now += 100


@pytest.mark.parametrize(
    ("scope", "key", "value"),
    [
        ("suspects", "x", {}),
        ("suspects", "x", {"lane": 7}),
        ("suspects", "x", {"lane": LANE.key}),
        ("suspects", "x", {"lane": "junk", "at": "late"}),
        ("heads#7", "zzz", {"table": "", "lanes": {}}),
        ("heads#7", "007.lanes", {}),
        ("heads#7", "007.lanes", {"table": "", "lanes": {"junk": [1, "aa", 1]}}),
        ("heads#7", "007.lanes", {"table": "", "lanes": {LANE.key: [1]}}),
        ("heads#7", "007.lanes", {"table": "", "lanes": 5}),
    ],
)
def test_an_item_that_nobody_can_read_stops_nobody(scope: str, key: str, value: Any) -> None:
    memories = kept(streams=20)
    if "table" in value:
        value = {**value, "table": memories.tables[EAST].identity()}
    memories.controls[EAST].put(scope, {key: value})
    for _ in range(2):
        assert held(refreshed(memories)) == there(memories)
        memories.now += 100


def test_a_note_that_was_renewed_while_the_lane_was_read_stays() -> None:
    memories = kept(streams=2, events=3)
    suspects = Suspects(memories.controls[EAST])
    suspects.add([LANE], BEGUN_MS)
    notes = suspects.notes()
    suspects.add([LANE], BEGUN_MS + 1)
    suspects.clear(notes)
    assert noted(memories) == [LANE]
    suspects.clear(suspects.notes())
    assert noted(memories) == []


def test_a_note_of_a_lane_that_is_not_there_is_of_no_consequence() -> None:
    memories = kept()
    Suspects(memories.controls[EAST]).add([LaneId(WEST, StreamId("t" * 128, "x" * 1024))], BEGUN_MS)
    keeper = refreshed(memories)
    assert (keeper.damage, held(keeper)) == ({}, there(memories))


@pytest.mark.parametrize("of", ["a lane that is known", "a new lane"])
def test_a_head_that_is_damaged_is_found_again_and_again_and_hides_no_other_lane(of: str) -> None:
    memories = kept(streams=6)
    stream = "user/0" if of == "a lane that is known" else "user/99"
    memories.store(EAST).append(stream, NewEvent("set", {"n": 7}))
    for n in range(1, 6):
        memories.store(EAST).append(f"user/{n}", NewEvent("set", {"n": 7}))
    lane = LaneId(EAST, StreamId.parse(stream))
    last = next(memories.tables[EAST].read(lane, limit=1, reverse=True))
    memories.tables[EAST].alter(altered(last), noticed=False)
    for _ in range(3):
        keeper = refreshed(memories)
        assert list(keeper.damage) == [lane]
        assert {**held(keeper), lane.key: last.sequence} == there(memories)
        memories.now += 100


# -- what is stored --------------------------------------------------------------------------------------------------------


def long(number: int, region: str = EAST) -> LaneId:
    return LaneId(region, StreamId("t" * 128, f"{number:08d}" + "x" * 1016))


def size(value: Value) -> int:
    return len(json.dumps(value))


def test_a_range_of_long_names_is_stored_in_parts_that_fit() -> None:
    full = Range({long(n): Entry(n + 1, "ab" * 16, 1_763_914_981_000) for n in range(1200)})
    parts = full.parts({})
    assert len(parts) > 4
    assert all(size(part) <= merkle_summary.PART_BYTES for part in parts.values())
    assert Range.parse(parts).lanes == full.lanes
    assert full.parts(parts) == parts == Range(dict(reversed(full.lanes.items()))).parts({})
    one = Range({lane: Entry(10**16 - 1, "ab" * 16, 10**13) for lane in full.lanes}).parts(parts)
    assert {key: part.keys() for key, part in one.items()} == {key: part.keys() for key, part in parts.items()}
    assert all(size(part) <= merkle_summary.PART_BYTES for part in one.values()), "whatever happens to its lanes"
    wide = Range({LaneId(EAST, StreamId("u", "語" * 330 + f"{n}")): Entry(1, "ab" * 16, 1) for n in range(500)}).parts({})
    assert all(size(part) <= merkle_summary.PART_BYTES for part in wide.values()), "in ASCII, as it is stored"


def test_a_lane_never_leaves_its_part_and_new_ones_go_where_there_is_room() -> None:
    full = Range({long(n): Entry(1, "ab" * 16, 1) for n in range(600)})
    parts = full.parts({})
    for n in range(150):
        del full.lanes[long(n)]
    full.lanes |= {LaneId(EAST, StreamId("a", f"{n}")): Entry(1, "ab" * 16, 1) for n in range(100)}
    after = full.parts(parts)
    assert after.keys() == parts.keys()
    for key, part in parts.items():
        assert {name for name in part if LaneId.from_key(name) in full.lanes} <= after[key].keys()
    assert Range.parse(after).lanes == full.lanes


def test_a_lane_in_two_parts_is_as_far_as_the_longer_one_and_ends_in_the_first() -> None:
    parts = {"lanes": {LANE.key: [1, "aa", 1]}, "lanes-1": {LANE.key: [2, "bb", 2]}}
    found = Range.parse(parts)
    assert found.lanes == {LANE: Entry(2, "bb", 2)}
    assert found.parts(parts) == {"lanes": {LANE.key: [2, "bb", 2]}, "lanes-1": {}}
