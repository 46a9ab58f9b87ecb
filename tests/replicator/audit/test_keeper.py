"""A region's ledger: nothing that was written before a refresh is missing from it, and nothing that went wrong in one
refresh spoils the next."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from replicator.aws.shard_reader import ShardReader
from replicator.control.checkpoints import Checkpoints
from replicator.control.control_storage import Value
from replicator.domain.errors import RegionRefuses, RegionUnavailable
from replicator.domain.event import NewEvent
from replicator.domain.names import LaneId, StreamId
from replicator.ops.audit import merkle_summary
from replicator.ops.audit.comparison import DAMAGED, compare
from replicator.ops.audit.merkle_summary import RANGES, SUMS, Entry, Range, Share, Sum
from replicator.ops.audit.summary_keeper import Keeper
from replicator.replication.batch_reader import Batch
from replicator.runtime.settings import Settings
from tests.replicator.memories import EAST, Axe, Killed, Memories, TableChanges, load

LANE = LaneId(EAST, StreamId("user", "0"))


def kept(memories: Memories, streams: int = 1) -> Memories:
    """Every region has a ledger, made a while ago."""
    load(memories, streams, 1)
    memories.copy_all()
    system = memories.system()
    compare(system.places, system.sleep, 0.0)
    memories.now += 100
    return memories


def held(keeper: Keeper) -> dict[str, int]:
    """The lanes of a keeper, with their ends."""
    return {lane.key: entry.sequence for n in keeper.sums for lane, entry in keeper.range(n).lanes.items()}


def there(memories: Memories, region: str) -> dict[str, int]:
    return {lane.key: last for lane, last in memories.tables[region].lanes()}


def stored(memories: Memories, region: str) -> int:
    """How many lanes the stored sums of a region have."""
    values = [value for key, value in memories.controls[region].get_all("ledger") if key != "lock"]
    return sum(Sum.parse(each).lanes for value in values for each in value.values())


def keeper_of(memories: Memories, region: str = EAST, connect: Callable[[], Any] | None = None) -> Keeper:
    keeper = memories.system().at(region).keeper
    if connect is not None:
        keeper._connect = connect
    return keeper


def refreshed(memories: Memories) -> Keeper:
    keeper = keeper_of(memories)
    keeper.refresh()
    return keeper


def killed_at(memories: Memories, at: int, after: bool) -> bool:
    """Refresh, and be killed at a write, unless there are fewer. An hour passes."""
    axe = memories.axe = memories.controls[EAST].axe = Axe(at, after)
    try:
        refreshed(memories)
    except Killed:
        return True
    finally:
        axe.at = None
        memories.now += 3600
    return False


@dataclass
class Pages(TableChanges):
    """Changes that count their polls. `between` comes after every one."""

    between: Callable[[], None] = lambda: None
    polls: int = 0

    def poll(self) -> list[Batch]:
        self.polls += 1
        batches = TableChanges.poll(self)
        self.between()
        return batches


@pytest.mark.parametrize("limit", [1, 50, 99])
def test_a_stream_of_small_pages_is_read_to_its_end(limit: int) -> None:
    memories = kept(Memories())
    store = memories.store(EAST)
    for n in range(300):
        store.append(f"user/{n}", NewEvent("set", {"n": n}))
    changes = Pages(memories.tables[EAST], memories.controls[EAST], limit=limit)
    keeper = keeper_of(memories, connect=lambda: changes)
    keeper.refresh()
    assert held(keeper) == there(memories, EAST)


def timed(at: float) -> datetime:
    return datetime.fromtimestamp(int(at), UTC)


@pytest.mark.parametrize("skew", [0.0, -3600.0, 3600.0], ids=["right", "behind", "ahead"])
def test_a_load_that_never_ends_does_not_keep_it_reading_and_what_was_there_before_is_read(skew: float) -> None:
    """Also with a clock of its own that is an hour wrong: the records have the service's times, and so has its answer."""
    memories = kept(Memories())
    store, table = memories.store(EAST), memories.tables[EAST]
    mark = memories.now + 10.0
    for n in range(500):  # a backlog of ten seconds
        memories.now += 0.02
        store.append(f"user/{n}", NewEvent("set", {"n": n}))
        table.records[-1]["dynamodb"]["ApproximateCreationDateTime"] = timed(memories.now)
    assert memories.now == pytest.approx(mark)
    before = there(memories, EAST)

    def write() -> None:
        memories.now += 0.25
        changes.date = format_datetime(datetime.fromtimestamp(memories.now, UTC), usegmt=True)
        store.append("hot/0", NewEvent("set", {}))
        table.records[-1]["dynamodb"]["ApproximateCreationDateTime"] = timed(memories.now)
        assert changes.polls < 200, "reads for ever"

    changes = Pages(table, memories.controls[EAST], limit=20, between=write)
    keeper = keeper_of(memories, connect=lambda: changes)
    keeper._wall = lambda: memories.wall() + int(skew * 1000)
    keeper.refresh()
    assert before.items() <= held(keeper).items()
    assert changes.polls < 60


@dataclass
class Shards:
    """A stream of two shards, read by the real reader. `failing` raises for a shard as long as it says so."""

    records: Mapping[str, list[dict[str, Any]]]
    failing: Callable[[str], bool] = lambda name: False
    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)

    def reader(self, memories: Memories) -> ShardReader:
        shards = self

        class Reader(ShardReader):
            def _describe(self) -> Mapping[str, tuple[str, ...]]:
                return {name: shards.parents.get(name, ()) for name in shards.records}

            def _iterator(self, name: str, shard: Any) -> str:
                return f"{name}@0"

            def _page(self, iterator: str) -> Mapping[str, Any]:
                name, at = iterator.split("@")
                if shards.failing(name):
                    raise RegionUnavailable("ProvisionedThroughputExceeded")
                page, end = shards.records[name][int(at) : int(at) + 1], int(at) + 1
                last = name in shards.closed and end >= len(shards.records[name])
                following = {} if last else {"NextShardIterator": f"{name}@{min(end, len(shards.records[name]))}"}
                return {"Records": page, **following}

            def _sequence_number(self, record: Mapping[str, Any]) -> str:
                return str(record["dynamodb"]["SequenceNumber"])

            def _call(self, operation: Callable[[], Any]) -> Any:
                return operation()

        checkpoints = Checkpoints(memories.controls[EAST], "sharded")
        for name in self.records:
            checkpoints.save("arn", name, None, False)
        return Reader(None, "arn", checkpoints, Settings(EAST))


def sharded(memories: Memories, failing: Callable[[str], bool]) -> Shards:
    """Lanes big/* in shard B and calm/* in shard A."""
    store, table = memories.store(EAST), memories.tables[EAST]
    begun = len(table.records)
    for name in ("big", "calm"):
        for n in range(6):
            store.append(f"{name}/{n}", NewEvent("set", {}))
    return Shards({"A": table.records[begun + 6 :], "B": table.records[begun : begun + 6]}, failing)


def test_a_shard_that_is_throttled_for_a_while_is_waited_for_while_others_give_records() -> None:
    memories = kept(Memories())
    asked: list[str] = []

    def failing(name: str) -> bool:
        asked.append(name)
        return name == "B" and asked.count("B") <= 12

    shards = sharded(memories, failing)
    keeper = keeper_of(memories, connect=lambda: shards.reader(memories))
    keeper.refresh()
    assert held(keeper) == there(memories, EAST)


def test_a_shard_that_cannot_be_read_is_said_and_not_passed_over() -> None:
    memories = kept(Memories())
    shards = sharded(memories, lambda name: name == "B")
    keeper = keeper_of(memories, connect=lambda: shards.reader(memories))
    with pytest.raises(RegionUnavailable, match="cannot be read to its end"):
        keeper.refresh()
    shards.failing = lambda name: False
    keeper.refresh()
    assert held(keeper) == there(memories, EAST)


def test_children_of_a_shard_are_read_before_the_stream_counts_as_read() -> None:
    memories = kept(Memories())
    shards = sharded(memories, lambda name: False)
    shards.parents, shards.closed = {"B": ("A",)}, {"A"}
    keeper = keeper_of(memories, connect=lambda: shards.reader(memories))
    keeper.refresh()
    assert held(keeper) == there(memories, EAST)


def failing_once(function: Callable[..., Any], where: Callable[..., bool]) -> Callable[..., Any]:
    left = [True]

    def once(*args: Any, **named: Any) -> Any:
        if left[0] and where(*args):
            left[0] = False
            raise RegionUnavailable("a blip")
        return function(*args, **named)

    return once


def test_what_a_refresh_that_failed_had_read_is_read_again_by_the_next_one() -> None:
    memories = Memories()
    load(memories)
    table = memories.tables[EAST]
    table.records.clear()  # the stream has trimmed all of it: it is read from the table
    table.index = failing_once(table.index, lambda region: True)  # type: ignore[method-assign]
    keeper = keeper_of(memories)
    with pytest.raises(RegionUnavailable):
        keeper.refresh()
    keeper.refresh()
    assert held(keeper) == there(memories, EAST)
    memories.store(EAST).append("user/9", NewEvent("set", {}))
    memories.now += 100
    keeper.refresh()
    again = refreshed(memories)
    assert held(again) == there(memories, EAST)


def test_a_removal_that_a_failed_refresh_had_read_is_not_forgotten() -> None:
    memories = kept(Memories(), streams=2)
    load(memories, 2, 3)
    memories.copy_all()
    memories.tables[EAST].take_out(LANE, 2)
    control = memories.controls[EAST]
    reading = control.get_all
    control.get_all = failing_once(reading, lambda scope: scope.startswith("ledger#"))  # type: ignore[method-assign]
    keeper = keeper_of(memories)
    with pytest.raises(RegionUnavailable):
        keeper.refresh()
    keeper.refresh()
    memories.store(EAST).append("user/9", NewEvent("set", {}))
    keeper.refresh()
    system = memories.system()
    assert [(f.region, f.lane) for f in compare(system.places, system.sleep, 0.0).of(DAMAGED)] == [(EAST, LANE)]


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_write_of_the_ledger_one_refresh_of_another_process_stores_all_of_it(after: bool) -> None:
    for at in range(1, 60):
        memories = Memories()
        load(memories, 8, 1)
        killed = killed_at(memories, at, after)
        store = memories.store(EAST)
        for n in range(8):
            store.append(f"user/{n}", NewEvent("set", {}))
        keeper_of(memories).refresh()
        assert stored(memories, EAST) == len(there(memories, EAST)) == 8
        memories.tables[EAST].reads = 0
        again = refreshed(memories)
        assert held(again) == there(memories, EAST)
        assert memories.tables[EAST].reads == 0, "the position was stored, too"
        if not killed:
            return
    raise AssertionError("more writes than this test knows of")


def test_a_removal_that_a_killed_process_had_noticed_in_a_range_without_a_sum_is_seen() -> None:
    memories = Memories()
    load(memories, 1, 3)
    memories.tables[EAST].take_out(LANE, 2)
    first = keeper_of(memories)

    def kill(touched: set[int]) -> bool:
        raise Killed

    first._store_sums = kill  # type: ignore[method-assign]
    with pytest.raises(Killed):
        first.refresh()
    memories.store(EAST).append("user/0", NewEvent("set", {}))
    memories.now += 100
    second = refreshed(memories)
    assert list(second.damage) == [LANE]
    assert sum(each.suspects for each in refreshed(memories).sums.values()) == 1


def test_the_first_look_reads_no_range_that_nobody_has_stored() -> None:
    memories = Memories()
    load(memories, 8, 1)
    control = memories.controls[EAST]
    scopes: list[str] = []
    reading = control.get_all

    def noted(scope: str, *args: Any, **named: Any) -> Any:
        scopes.append(scope)
        return reading(scope, *args, **named)

    control.get_all = noted  # type: ignore[method-assign]
    keeper_of(memories).refresh()
    assert not [scope for scope in scopes if scope.startswith("ledger#")]


def test_two_that_store_at_the_same_time_leave_a_ledger_that_is_right() -> None:
    memories = kept(Memories(), streams=6)
    store = memories.store(EAST)
    first, second = keeper_of(memories), keeper_of(memories)
    first._take_lock = second._take_lock = lambda: {"by": "nobody"}  # type: ignore[method-assign]
    first.refresh()
    store.append("user/1", NewEvent("set", {}))
    swapping = first._store_range

    def slowly(number: int) -> bool:
        store.append("user/2", NewEvent("set", {}))
        second.refresh()
        return swapping(number)

    first._store_range = slowly  # type: ignore[method-assign]
    memories.now += 100
    first.refresh()
    del first._store_range
    for _ in range(2):
        memories.now += 100
        first.refresh()
        second.refresh()
        assert held(first) == held(second) == there(memories, EAST)
    assert stored(memories, EAST) == len(there(memories, EAST))


def test_a_lock_of_a_clock_that_is_far_ahead_does_not_count() -> None:
    memories = Memories()
    load(memories, 2, 1)
    control = memories.controls[EAST]
    control.swap("ledger", "lock", None, {"by": "somebody", "until": memories.wall() + 86_400_000})
    keeper_of(memories).refresh()
    assert stored(memories, EAST) == 2
    control.swap("ledger", "lock", None, {"by": "somebody", "until": memories.wall() + 50_000})
    memories.store(EAST).append("user/9", NewEvent("set", {}))
    keeper_of(memories).refresh()
    assert stored(memories, EAST) == 2, "this one is held"


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
    one = Range({lane: Entry(10**16 - 1, "ab" * 16, 10**13, True) for lane in full.lanes}).parts(parts)
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


@pytest.mark.parametrize("after", [False, True])
def test_killed_between_two_parts_the_next_refresh_loses_no_lane(after: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merkle_summary, "PART_BYTES", 250)  # two lanes a part
    monkeypatch.setattr("replicator.ops.audit.summary_keeper.range_of", lambda lane: 7)
    monkeypatch.setattr(merkle_summary, "range_of", lambda lane: 7)
    for at in range(1, 40):
        memories = kept(Memories(), streams=3)
        store = memories.store(EAST)
        for n in range(8):
            store.append(f"user/{n}", NewEvent("set", {}))
        killed = killed_at(memories, at, after)
        again = refreshed(memories)
        assert held(again) == there(memories, EAST)
        assert stored(memories, EAST) == 14
        assert len(dict(memories.controls[EAST].get_all("ledger#007"))) > 3
        if not killed:
            return
    raise AssertionError("more writes than this test knows of")


def test_the_sums_of_twenty_regions_fit_into_an_item() -> None:
    homes = {f"ap-southeast-{n}": Share(10**6, 10**12, 10**13) for n in range(1, 21)}
    assert size({f"{n}": Sum("ab" * 16, 10**4, homes).value for n in range(0, RANGES, SUMS)}) < 100_000


def test_what_the_control_table_refuses_is_not_stored_and_stops_nobody() -> None:
    memories = kept(Memories(), streams=3)
    memories.store(EAST).append("user/1", NewEvent("set", {}))
    control = memories.controls[EAST]
    swapping = control.swap

    def refuse(scope: str, key: str, before: Value | None, after: Value) -> bool:
        if scope.startswith("ledger#"):
            raise RegionRefuses("too large", "ValidationException")
        return swapping(scope, key, before, after)

    control.swap = refuse  # type: ignore[method-assign]
    for _ in range(3):
        memories.now += 100
        keeper = refreshed(memories)
        keeper.refresh()
        assert held(keeper) == there(memories, EAST)
    control.swap = swapping  # type: ignore[method-assign]
    memories.now += 100
    keeper.refresh()
    again = refreshed(memories)
    assert held(again) == there(memories, EAST)
    assert again.sums == keeper.sums


def test_nothing_grows_while_it_is_looked_at_all_the_time() -> None:
    memories = kept(Memories(), streams=4)
    keeper, store = keeper_of(memories), memories.store(EAST)
    for n in range(200):
        store.append(f"user/{n % 4}", NewEvent("set", {"n": n}))
        memories.now += 3
        keeper.refresh()
    assert held(keeper) == there(memories, EAST)
    assert len(keeper._ranges) + len(keeper._stored) + len(keeper._touched) + len(keeper._batches) < 30
    assert not [key for key, _ in memories.controls[EAST].get_all("ledger") if key == "lock"]
