"""Regions are compared by their lanes' heads: what is equal costs nothing, what differs is found and named, and what is on
its way is not taken for missing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from replicator.domain.event import NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.ops.audit.anti_entropy import Mended, Mender, Paced
from replicator.ops.audit.comparison import DAMAGED, FORKED, MISSING, Comparison, Finding, compare
from replicator.ops.audit.merkle_summary import RANGES, Entry, Range, range_of
from replicator.ops.runbooks.steps import set_role
from tests.replicator.memories import EAST, SOUTH, WEST, Memories, altered, load

LANE = LaneId(EAST, StreamId("user", "1"))


def loaded() -> Memories:
    memories = Memories()
    load(memories)
    memories.copy_all()
    return memories


def compared(
    memories: Memories, deep: bool = False, wait: float = 1.0, sleep: Callable[[float], None] | None = None
) -> Comparison:
    system = memories.system()
    return compare(system.places, sleep or system.sleep, wait, deep)


def short(comparison: Comparison) -> list[tuple[str, str, str, int, int]]:
    return sorted((f.kind, f.region, f.lane.key, f.first, f.last) for f in comparison.findings)


def mended(memories: Memories, capacity: float = 0.0) -> Mended:
    system = memories.system()
    return Mender(system.places, system.sleep, system.monotonic, capacity).mend()


def test_equal_regions_are_equal_by_two_reads_a_lane() -> None:
    memories = loaded()
    compared(memories)
    for table in memories.tables.values():
        table.reads = 0
    found = compared(memories)
    assert (found.equal, found.lanes, found.events) == (True, 15, 60)
    assert (found.differing_ranges, found.differing_lanes) == (0, 0)
    assert [table.reads for table in memories.tables.values()] == [30, 30, 30], "whether a lane ends where it did, no more"


@pytest.mark.parametrize("before", [False, True], ids=["first time", "again"])
def test_one_altered_byte_one_missing_and_one_extra_event_are_found(before: bool) -> None:
    memories = loaded()
    if before:
        assert compared(memories).equal
    west = memories.tables[WEST]
    west.alter(altered(next(west.read(LANE, 2))))
    west.take_out(LaneId(SOUTH, StreamId("user", "2")), 3)
    last = next(west.read(LaneId(SOUTH, StreamId("user", "3")), limit=1, reverse=True))
    extra = seal(last.lane, last.sequence + 1, last.hlc, NewEvent("set", {}), EMPTY, last.digest)
    west.insert([extra])
    found = compared(memories)
    damaged = {(finding.region, finding.lane): finding.detail for finding in found.of(DAMAGED)}
    assert damaged.keys() == {(WEST, LANE), (WEST, LaneId(SOUTH, StreamId("user", "2")))}
    assert "does not match its digest" in damaged[(WEST, LANE)]
    assert "event 3 is missing" in damaged[(WEST, LaneId(SOUTH, StreamId("user", "2")))]
    missing = [each[1:] for each in short(found) if each[0] == MISSING]
    assert missing == [(SOUTH, extra.lane.key, 5, 5), (EAST, extra.lane.key, 5, 5)]
    again = compared(memories)
    assert short(again) == short(found), "what is wrong is said until it is mended"


def test_what_nobody_noticed_is_found_by_reading_everything() -> None:
    memories = loaded()
    assert compared(memories).equal
    west = memories.tables[WEST]
    west.alter(altered(next(west.read(LANE, 2))), noticed=False)
    assert compared(memories).equal
    (finding,) = compared(memories, deep=True).findings
    assert (finding.kind, finding.region, finding.lane, finding.first) == (DAMAGED, WEST, LANE, 2)


@pytest.mark.parametrize(
    ("region", "taken"), [(WEST, (4,)), (EAST, (1, 2, 3, 4))], ids=["the end of a lane", "a lane from its own region"]
)
def test_what_is_gone_is_missing_and_copied_again(region: str, taken: tuple[int, ...]) -> None:
    memories = loaded()
    compared(memories)
    for sequence in taken:
        memories.tables[region].take_out(LANE, sequence)
    assert short(compared(memories)) == [(MISSING, region, LANE.key, taken[0], 4)]
    found = mended(memories)
    assert (found.events, sum(n for link, n in found.copied.items() if link.endswith(f">{region}"))) == (len(taken),) * 2
    assert compared(memories).equal


def test_an_event_taken_from_the_middle_of_a_lane_is_put_back() -> None:
    memories = loaded()
    compared(memories)
    memories.tables[WEST].take_out(LANE, 2)
    assert not compared(memories).equal
    assert mended(memories).filled == 1
    assert compared(memories).equal


def test_a_fork_is_named_with_the_event_at_which_it_parts_and_never_mended() -> None:
    memories = loaded()
    west = memories.tables[WEST]
    parent = next(west.read(LANE, 2))
    prev = parent.digest
    for sequence in (3, 4, 5):
        event = seal(LANE, sequence, parent.hlc, NewEvent("other", {"n": sequence}), EMPTY, prev)
        west.alter(event)
        prev = event.digest
    before = memories.holdings()
    found = compared(memories)
    assert {(f.kind, f.region, f.first) for f in found.findings} == {(FORKED, EAST, 3), (FORKED, SOUTH, 3)}
    assert mended(memories).events == 0
    assert memories.holdings() == before


def test_what_arrives_while_it_is_waited_for_is_not_missing() -> None:
    memories = Memories()
    load(memories)
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        memories.now += seconds
        if len(slept) == 3:
            memories.copy_all()

    found = compared(memories, wait=10.0, sleep=sleep)
    assert found.equal
    assert found.travelling == 2 * 60
    assert sum(slept) < 2


def test_what_is_written_while_it_is_waited_for_is_not_missing_either() -> None:
    memories = Memories()
    store = memories.store(EAST)
    store.append("user/1", NewEvent("set", {"n": 0}))

    def sleep(seconds: float) -> None:
        memories.now += seconds
        memories.copy_all()
        store.append("user/1", NewEvent("set", {"n": 1}))  # never all of it is there

    assert compared(memories, wait=3.0, sleep=sleep).equal


def test_a_ledger_of_tables_that_were_restored_is_made_anew() -> None:
    memories = loaded()
    compared(memories)
    backup = memories.backup(EAST)
    memories.store(EAST).append("user/1", NewEvent("late", {}))
    memories.copy_all()
    compared(memories)
    backup[1].update({k: v for k, v in memories.backup(EAST)[1].items() if k.startswith("heads")})  # too new for the events
    memories.restore(EAST, *backup)
    assert short(compared(memories)) == [(MISSING, EAST, LANE.key, 5, 5)]


def test_what_is_mended_is_written_at_the_pace_that_is_asked_for() -> None:
    memories = loaded()
    memories.empty(WEST)
    began = memories.now
    assert mended(memories, capacity=10.0).events == 60
    assert 4.0 <= memories.now - began <= 12.0  # 60 units; the first of each of two links does not wait


def test_a_paced_storage_spends_by_size_and_twice_in_a_transaction() -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    paced = Paced(MemoryStorage(), 1.0, lambda: now[0], sleep)
    lane = LaneId(EAST, StreamId("user", "x"))
    one = seal(lane, 1, next(loaded().tables[EAST].read(LANE)).hlc, NewEvent("x", {"t": "y" * 3000}), EMPTY, bytes(32))
    two = seal(lane, 2, one.hlc, NewEvent("x", {}), EMPTY, one.digest)
    paced.insert_each([one])
    paced.insert_each([two])
    assert now[0] == 4.0
    paced.insert(
        [seal(LaneId(EAST, StreamId("user", f"{n}")), 1, one.hlc, NewEvent("x", {}), EMPTY, bytes(32)) for n in (1, 2)]
    )
    assert now[0] == 5.0
    paced.insert_each([seal(LaneId(EAST, StreamId("user", "z")), 1, one.hlc, NewEvent("x", {}), EMPTY, bytes(32))])
    assert now[0] == 9.0


def test_ranges_share_out_lanes_and_their_digest_says_all_of_them() -> None:
    lanes = [LaneId(EAST, StreamId("user", f"{n}")) for n in range(5000)]
    assert len({range_of(lane) for lane in lanes}) > 0.98 * RANGES
    one = Range({lane: Entry(1, "aa", 7) for lane in lanes[:3]})
    assert Range(dict(reversed(one.lanes.items()))).digest == one.digest
    assert Range.parse(one.parts({})).lanes == one.lanes
    for other in (Entry(2, "aa", 7), Entry(1, "ab", 7)):
        assert Range({**one.lanes, lanes[0]: other}).digest != one.digest
    assert (Range().digest, one.sum.lanes, one.sum.events) == ("", 3, 3)


def test_a_finding_says_what_is_wrong_in_one_line() -> None:
    assert str(Finding(MISSING, LANE, WEST, 2, 4, EAST)) == (
        "eu-west-1: events 2 to 4 of us-east-1#user#1 missing; us-east-1 holds them"
    )
    assert "diverges from us-east-1's history at event 3" in str(Finding(FORKED, LANE, WEST, 3, 5, EAST))


def test_a_region_restored_from_a_backup_lacks_its_own_events_and_gets_them_back() -> None:
    memories = loaded()
    backup = memories.backup(EAST)
    for n in range(50):
        memories.store(EAST).append("user/1", NewEvent("set", {"n": n}))
    memories.copy_all()
    memories.restore(EAST, *backup)
    assert short(compared(memories)) == [(MISSING, EAST, LANE.key, 5, 54)]
    set_role(memories.system(), EAST, "rebuilding", "a test")
    assert mended(memories).events == 50
    assert compared(memories).equal


def grown(memories: Memories, region: str, count: int, name: str) -> None:
    """EAST's lane of user/1 goes on in a region, by a writer that no fence keeps from it."""
    last = next(memories.tables[region].read(LANE, limit=1, reverse=True))
    for n in range(count):
        event = seal(LANE, last.sequence + 1, last.hlc, NewEvent(name, {"n": n}), EMPTY, last.digest)
        memories.tables[region].insert([event])
        last = event


@pytest.mark.parametrize(("ours", "theirs"), [(4, 2), (2, 4), (3, 3)])
def test_a_fork_is_not_spread_to_a_region_that_holds_only_what_came_before(ours: int, theirs: int) -> None:
    memories = loaded()
    grown(memories, EAST, ours, "one")
    grown(memories, WEST, theirs, "other")
    before = memories.holdings()
    found = mended(memories)
    assert memories.holdings() == before
    assert found.refused == 2, "one region is not brought up, and the other two do not agree"
    memories.empty(SOUTH)
    assert mended(memories).events == 60 - 4
    assert not list(memories.tables[SOUTH].read(LANE)), "whose side it would go on by nobody knows"


def test_a_region_is_brought_up_by_those_that_agree_though_one_of_them_has_less() -> None:
    memories = loaded()
    grown(memories, EAST, 4, "one")
    memories.tables[WEST].insert_each(list(memories.tables[EAST].read(LANE, 1, 6)))
    grown(memories, SOUTH, 1, "other")
    memories.tables[SOUTH].take_out(LANE, 5)
    found = mended(memories)
    assert (found.copied, found.refused) == ({f"{EAST}>{WEST}": 2, f"{EAST}>{SOUTH}": 4}, 0)
    assert compared(memories).equal


def test_only_lanes_that_two_regions_are_ahead_of_are_looked_at_before_they_are_copied() -> None:
    memories = loaded()
    compared(memories)
    grown(memories, EAST, 4, "one")
    memories.copy(EAST, WEST)
    memories.empty(SOUTH)
    compared(memories)
    for region in (EAST, WEST):
        memories.tables[region].reads = 0
    system = memories.system()
    mender = Mender(system.places, system.sleep, system.monotonic)
    work, refused = mender._work(None, None)
    assert (sum(len(lanes) for lanes in work.values()), refused) == (15, 0)
    assert [memories.tables[region].reads for region in (EAST, WEST)] == [30, 30], "as every refresh does"
