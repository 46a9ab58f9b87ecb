"""A fork is listed with both histories and the choices; what is not kept is salvaged, each event exactly once."""

from __future__ import annotations

import pytest

from replicator.domain.errors import InvalidConfig
from replicator.domain.event import NewEvent
from replicator.domain.names import LaneId, StreamId
from replicator.fencing.roles import ACTIVE
from replicator.ops.audit.comparison import FORKED, MISSING, compare
from replicator.ops.audit.forks import SALVAGED, Fork, forks, salvage
from replicator.ops.runbooks import Bootstrap, Failback, Stopped
from replicator.ops.runbooks.steps import set_role
from tests.replicator.memories import EAST, SOUTH, WEST, Axe, Killed, Memories, load
from tests.replicator.runbooks.test_killed import Steered

LANE = LaneId(EAST, StreamId("user", "0"))


def forked(own: int = 3) -> Memories:
    """EAST was restored from a backup, declared active by hand, and wrote `own` events: a fork from event 5 on."""
    memories = Memories()
    load(memories, streams=2)
    backup = memories.backup(EAST)
    for n in range(5):
        memories.store(EAST).append("user/0", NewEvent("before", {"n": n}))
    memories.copy_all()
    memories.restore(EAST, *backup)
    system = memories.system()
    set_role(system, EAST, ACTIVE, "somebody who did not read what it says", tables=system.places[EAST].tables())
    for n in range(own):
        memories.store(EAST).append("user/0", NewEvent("after", {"n": n}))
    return memories


def listed(memories: Memories) -> list[Fork]:
    system = memories.system()
    return forks(system.places, compare(system.places, system.sleep, 0.0))


def test_it_is_listed_with_both_histories_and_the_choices() -> None:
    (fork,) = listed(forked())
    assert (fork.lane, fork.first) == (LANE, 5)
    sides = {side.regions: side.last for side in fork.sides}
    assert sides == {(EAST,): 7, (WEST, SOUTH): 9}
    keep, then, leave = fork.choices()
    assert "replicator forks --salvage 'us-east-1/user/0' --from us-east-1 --into eu-west-1" in keep
    assert "replicator bootstrap us-east-1" in then
    assert "all other lanes continue" in leave
    assert fork.as_json()["sides"][0]["digest"] != fork.as_json()["sides"][1]["digest"]


def test_a_fork_of_equal_length_is_found_too() -> None:
    (fork,) = listed(forked(own=5))
    assert {side.last for side in fork.sides} == {9}


def test_fail_back_stops_before_a_fork_and_overwrites_nothing() -> None:
    memories = forked()
    before = memories.holdings()[EAST]
    with pytest.raises(Stopped, match=r"1 lanes are forked.*replicator forks"):
        Failback(memories.system(), EAST, steering=Steered(), force=True).run()
    after = memories.holdings()
    assert before.items() <= after[EAST].items()
    assert len(after[WEST]) == len(after[SOUTH])


def test_what_is_not_kept_is_salvaged_and_the_region_brought_up_anew() -> None:
    memories = forked()
    system = memories.system()
    assert salvage(LANE, system.places, EAST, memories.store(WEST)) == 3
    assert salvage(LANE, system.places, EAST, memories.store(WEST)) == 0, "exactly once"
    lost = list(memories.tables[EAST].read(LANE, 5))
    kept = [event for event in memories.tables[WEST].read(LaneId(WEST, LANE.stream)) if SALVAGED in event.metadata]
    assert [event.payload for event in kept] == [event.payload for event in lost]
    assert [event.metadata[SALVAGED] for event in kept] == [f"{event.id}@{event.digest.hex()}" for event in lost]
    memories.empty(EAST)
    Bootstrap(memories.system(), EAST).run()
    system = memories.system()
    assert compare(system.places, system.sleep, 0.0).equal
    assert [event.type for event in memories.store(EAST).read("user/0")].count("after") == 3
    memories.store(EAST).append("user/0", NewEvent("on", {}))


@pytest.mark.parametrize("after", [False, True])
def test_a_salvage_that_is_killed_goes_on(after: bool) -> None:
    memories = forked(own=120)
    memories.axe = Axe(1, after)
    for table in memories.tables.values():
        table.axe = memories.axe
    system = memories.system()
    with pytest.raises(Killed):
        salvage(LANE, system.places, EAST, memories.store(WEST))
    memories.axe.at = None
    salvage(LANE, system.places, EAST, memories.store(WEST))
    kept = [event for event in memories.tables[WEST].read(LaneId(WEST, LANE.stream)) if SALVAGED in event.metadata]
    assert len(kept) == len({event.metadata[SALVAGED] for event in kept}) == 120


def test_where_nothing_parts_there_is_nothing_to_salvage() -> None:
    memories = forked()
    system = memories.system()
    with pytest.raises(InvalidConfig, match="hold the same history"):
        salvage(LaneId(EAST, StreamId("user", "1")), system.places, EAST, memories.store(WEST))
    with pytest.raises(InvalidConfig, match="is the same region"):
        salvage(LANE, system.places, EAST, memories.store(EAST))


def test_other_lanes_are_not_held_up_by_a_fork() -> None:
    memories = forked()
    memories.store(WEST).append("user/1", NewEvent("on", {}))
    system = memories.system()
    kinds = {finding.kind for finding in compare(system.places, system.sleep, 0.0).findings}
    assert kinds == {FORKED, MISSING}


@pytest.mark.parametrize("size", [100_000, 380_000])
def test_large_events_are_salvaged_in_as_many_transactions_as_they_need(size: int) -> None:
    memories = forked(own=0)
    store = memories.store(EAST)
    for n in range(50):
        store.append("user/0", NewEvent("after", {"n": n, "text": "y" * size}))
    system = memories.system()
    assert salvage(LANE, system.places, EAST, memories.store(WEST)) == 50
    assert salvage(LANE, system.places, EAST, memories.store(WEST)) == 0
    kept = [event for event in memories.tables[WEST].read(LaneId(WEST, LANE.stream)) if SALVAGED in event.metadata]
    assert [event.payload["n"] for event in kept] == list(range(50))
