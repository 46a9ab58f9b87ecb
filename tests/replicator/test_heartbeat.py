"""Heartbeats: what a region writes, and what it reports of its peers', by simulated clocks."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from replicator.control.memory_control import MemoryControl
from replicator.domain.clock import HybridLogicalClock
from replicator.domain.errors import DamagedEvent, RegionUnavailable
from replicator.domain.event import NewEvent
from replicator.domain.names import LaneId, StreamId
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.store import EventStore
from replicator.fencing.fence import RegionFenced
from replicator.fencing.roles import ACTIVE, DRAINING, FENCED, REBUILDING, Role, change_role, read_role, tell_role
from replicator.replication.heartbeat import Beat, Heartbeat, heartbeat_lane, newest_beat
from replicator.replication.stream_records import written
from tests.replicator.memories import BEGUN_MS, EAST, WEST

MINUTE, HOUR = 60_000, 3_600_000


@dataclass
class Pair:
    """Two regions, of which EAST reports. `copy` brings WEST's heartbeats to EAST, as its link would."""

    now: int = BEGUN_MS
    tables: dict[str, MemoryStorage] = field(default_factory=lambda: {EAST: MemoryStorage(), WEST: MemoryStorage()})
    control: MemoryControl = field(default_factory=MemoryControl)
    emitted: list[tuple[dict[str, str], dict[str, float]]] = field(default_factory=list)
    fenced: Role | None = None
    every: float = 60.0
    elsewhere: Role | None = None
    asked: int = 0

    def emit(self, dimensions: Mapping[str, str], values: Mapping[str, float]) -> None:
        self.emitted.append((dict(dimensions), dict(values)))

    def heart(self, region: str = EAST) -> Heartbeat:
        store = EventStore(self.tables[region], region, [EAST, WEST], HybridLogicalClock(lambda: self.now))

        def append(stream: StreamId, event: NewEvent) -> object:
            if self.fenced is not None:
                raise RegionFenced(region, self.fenced)
            return store.append(stream, event)

        def ask(peer: str) -> Role | None:
            self.asked += 1
            return self.elsewhere

        other, table = WEST if region == EAST else EAST, self.tables[region]
        return Heartbeat(region, [other], append, table, self.control, self.emit, self.every, lambda: self.now, ask=ask)

    def copy(self) -> None:
        self.tables[EAST].insert_each(list(self.tables[WEST].read(heartbeat_lane(WEST))))

    def age(self) -> float:
        """Let EAST beat, and return what it reports of WEST."""
        self.emitted.clear()
        self.heart().beat()
        (age,) = [values["HeartbeatAge"] for dims, values in self.emitted if dims.get("link") == f"{WEST}>{EAST}"]
        return age


def test_a_heartbeat_is_an_event_in_a_lane_of_its_own() -> None:
    pair = Pair()
    pair.heart().beat()
    pair.now += MINUTE
    pair.heart().beat()
    assert dict(pair.tables[EAST].lanes()) == {LaneId(EAST, StreamId("meridian.heartbeat", EAST)): 2}
    assert newest_beat(pair.tables[EAST], EAST) == Beat(BEGUN_MS + MINUTE, 60.0)
    assert newest_beat(pair.tables[EAST], WEST) is None


def test_the_age_is_that_of_the_newest_heartbeat_that_has_arrived() -> None:
    pair = Pair()
    for _ in range(3):
        pair.heart(WEST).beat()
        pair.copy()
        pair.now += MINUTE
    assert pair.age() == 60.0
    pair.heart(WEST).beat()  # and its link does not copy it
    pair.now += 4 * MINUTE
    assert pair.age() == 300.0


def test_a_whole_heartbeat_is_counted_and_a_failed_one_is_not() -> None:
    pair = Pair()
    pair.heart().beat()
    assert ({"region": EAST}, {"Heartbeats": 1}) in pair.emitted
    pair.emitted.clear()
    heart = pair.heart()

    def down(stream: StreamId, event: NewEvent) -> object:
        raise RegionUnavailable("down")

    heart.append = down
    with pytest.raises(RegionUnavailable):
        heart.beat()
    assert pair.emitted == []


@pytest.mark.parametrize("name", [FENCED, DRAINING])
def test_a_region_that_takes_no_appends_owes_no_heartbeat_and_still_watches_its_peers(name: str) -> None:
    pair = Pair(fenced=Role(2, name, since=BEGUN_MS))
    assert pair.age() == 0.0
    assert dict(pair.tables[EAST].lanes()) == {}
    assert ({"region": EAST}, {"Heartbeats": 1}) in pair.emitted


def test_a_region_that_was_emptied_is_not_well_until_a_runbook_brings_it_up() -> None:
    pair = Pair(fenced=Role(2, REBUILDING))
    with pytest.raises(RegionFenced):
        pair.heart().beat()
    assert pair.emitted == []
    assert change_role_of(pair, Role(3, REBUILDING, since=BEGUN_MS, why="bootstrap-1"))
    pair.heart().beat()
    assert ({"region": EAST}, {"Heartbeats": 1}) in pair.emitted


def change_role_of(pair: Pair, role: Role) -> bool:
    """What a runbook does to a region's own record."""
    change_role(pair.control, None, role)
    return read_role(pair.control) == role


def test_a_fenced_peer_owes_none_and_one_that_is_unfenced_owes_them_from_then_on() -> None:
    pair = Pair()
    pair.heart(WEST).beat()
    pair.copy()
    tell_role([pair.control], WEST, Role(2, FENCED, since=pair.now))
    pair.now += 10 * HOUR
    assert pair.age() == 0.0
    tell_role([pair.control], WEST, Role(3, ACTIVE, since=pair.now))
    pair.now += 2 * MINUTE
    assert pair.age() == 120.0


@pytest.mark.parametrize(("name", "hours"), [(DRAINING, 1), (REBUILDING, 6)])
def test_a_runbook_that_was_killed_excuses_no_region_for_days(name: str, hours: int) -> None:
    left = Role(2, name, since=BEGUN_MS)
    here, there = Pair(fenced=left), Pair()
    assert change_role_of(here, left)
    tell_role([there.control], WEST, left)
    for pair in (here, there):
        pair.now += hours * HOUR
        assert pair.age() == 0.0
        pair.now += 4 * MINUTE
    with pytest.raises(RegionFenced):
        here.heart().beat()
    there.heart(WEST).beat()  # it was heard before
    there.copy()
    there.now += 4 * MINUTE
    assert there.age() == 240.0


def test_a_region_that_is_fenced_is_excused_for_as_long_as_it_is() -> None:
    pair = Pair(fenced=Role(2, FENCED, since=BEGUN_MS))
    pair.now += 10_000 * HOUR
    pair.heart().beat()
    assert ({"region": EAST}, {"Heartbeats": 1}) in pair.emitted


def heard(role: Role | None) -> Pair:
    """A pair in which EAST has heard WEST a moment ago and has this record of its role."""
    pair = Pair()
    if role is not None:
        tell_role([pair.control], WEST, role)
    pair.now += 2 * MINUTE
    pair.heart(WEST).beat()
    pair.copy()
    return pair


def test_an_old_record_of_a_fence_does_not_hide_the_death_of_a_peer_that_wrote_since() -> None:
    pair = heard(Role(2, FENCED, since=BEGUN_MS))
    pair.now += 10 * HOUR
    assert pair.age() == 36_000.0, "and no other region answers"
    pair.elsewhere = Role(3, ACTIVE, since=BEGUN_MS + MINUTE)
    assert pair.age() == 36_000.0


def test_a_region_that_was_cut_off_when_its_peer_was_fenced_asks_before_it_pages() -> None:
    pair = heard(None)
    pair.now += 3 * MINUTE
    assert (pair.age(), pair.asked) == (180.0, 0)
    pair.elsewhere = Role(2, FENCED, since=BEGUN_MS)
    pair.now += 10 * HOUR
    assert (pair.age(), pair.asked) == (0.0, 1)


def test_a_peer_whose_clock_is_ahead_is_fenced_if_others_say_so() -> None:
    pair = heard(Role(2, FENCED, since=BEGUN_MS))
    pair.elsewhere = Role(2, FENCED, since=BEGUN_MS)
    pair.now += 10 * HOUR
    assert pair.age() == 0.0


def test_one_unreadable_lane_hides_no_other_peer() -> None:
    pair = Pair()
    heart = replace(pair.heart(), peers=[WEST, "ap-southeast-2"])
    broken = pair.tables[EAST]

    class Damaged(MemoryStorage):
        def read(self, lane: LaneId, *args: Any, **options: Any) -> Any:
            if lane.region == WEST:
                raise DamagedEvent("damaged")
            return broken.read(lane, *args, **options)

    with pytest.raises(DamagedEvent):
        replace(heart, storage=Damaged()).beat()
    assert [dims["link"] for dims, values in pair.emitted] == [f"ap-southeast-2>{EAST}"]


def test_a_peer_that_was_never_heard_of_has_an_hour_since_it_is_known() -> None:
    pair = Pair()
    for _ in range(3):  # the region itself is much older
        replace(pair.heart(), peers=[]).beat()
        pair.now += 100 * HOUR
    assert pair.age() == 0.0
    pair.now += HOUR
    assert pair.age() == 0.0
    pair.now += 5 * MINUTE
    assert pair.age() == 300.0


def test_a_clock_that_is_ahead_is_no_negative_age() -> None:
    pair = Pair(now=BEGUN_MS + HOUR)
    pair.heart(WEST).beat()
    pair.copy()
    pair.now = BEGUN_MS
    assert pair.age() == 0.0


@pytest.mark.parametrize(
    ("payload", "every"),
    [({"every": 5}, 5.0), ({"every": 0.5}, 0.5), ({"every": "x"}, 60.0), ({}, 60.0), ({"every": -1}, 60.0)],
)
def test_a_heartbeat_says_when_the_next_one_is_due(payload: dict[str, Any], every: float) -> None:
    pair = Pair()
    store = EventStore(pair.tables[EAST], EAST, [EAST, WEST], HybridLogicalClock(lambda: pair.now))
    store.append(heartbeat_lane(EAST).stream, NewEvent("meridian.heartbeat", payload))
    beat = newest_beat(pair.tables[EAST], EAST)
    assert beat == Beat(BEGUN_MS, every)
    assert not beat.overdue(int(BEGUN_MS + 3000 * every))
    assert beat.overdue(int(BEGUN_MS + 3000 * every) + 1)


def test_a_worker_beats_while_it_is_the_one_to() -> None:
    pair, stop, asked = Pair(every=1.0), threading.Event(), []

    def mine() -> bool:
        asked.append(True)
        if len(asked) > 3:
            stop.set()
        return len(asked) > 2

    replace(pair.heart(), mine=mine).run(stop)
    assert [sequence for _, sequence in pair.tables[EAST].lanes()] == [1]


def test_an_error_that_nobody_foresaw_does_not_end_the_heartbeats() -> None:
    pair, stop = Pair(every=0.001), threading.Event()
    heart, tries = pair.heart(), []

    def fail(stream: StreamId, event: NewEvent) -> object:
        tries.append(event)
        if len(tries) == 3:
            stop.set()
        raise ZeroDivisionError

    heart.append = fail
    heart.run(stop)
    assert len(tries) == 3


# -- the record's own time ---------------------------------------------------------------------------------------------


def _record(event: Any, **change: Any) -> dict[str, Any]:
    keys = {"pk": {"S": event.lane.key}, "sk": {"S": f"{event.sequence:016d}"}}
    return {"eventName": "INSERT", "dynamodb": {"Keys": keys, **change}}


def _event(ms: int) -> Any:
    store = EventStore(MemoryStorage(), EAST, [EAST], HybridLogicalClock(lambda: ms))
    return store.append("user/homer", NewEvent("born", {}))[0]


AT = 1_763_914_981_000
TIMES = {
    "made in the same second": (AT + 250, {"ApproximateCreationDateTime": AT / 1000}, AT + 250),
    "brought back from a peer": (AT - HOUR, {"ApproximateCreationDateTime": AT / 1000}, AT),
    "by a clock that is ahead": (AT + HOUR, {"ApproximateCreationDateTime": AT / 1000}, AT),
    "as boto3 gives it": (AT - HOUR, {"ApproximateCreationDateTime": datetime.fromtimestamp(AT / 1000, UTC)}, AT),
    "as the bus gives it": (
        AT - HOUR, {"ApproximateCreationDateTime": AT + 7, "ApproximateCreationDateTimePrecision": "MILLISECOND"}, AT + 7,
    ),
    "in microseconds": (
        AT - HOUR, {"ApproximateCreationDateTime": AT * 1000, "ApproximateCreationDateTimePrecision": "MICROSECOND"}, AT,
    ),
    "as the bus would, without its precision": (AT - HOUR, {"ApproximateCreationDateTime": AT + 7}, AT + 7),
    "without a time": (AT - HOUR, {}, AT - HOUR),
}  # fmt: skip


@pytest.mark.parametrize(("made", "change", "expected"), TIMES.values(), ids=TIMES)
def test_an_event_waits_since_the_table_took_it(made: int, change: dict[str, Any], expected: int) -> None:
    event = _event(made)
    others = [{}, {"dynamodb": None}, _record(_event(AT - 2 * HOUR), ApproximateCreationDateTime=1.0)]
    assert written([_record(event, **change)], [event]) == expected
    assert written([*others[:2], _record(event, **change)], [event]) == expected


def test_nothing_waits_since_never() -> None:
    assert written([], []) == 0
