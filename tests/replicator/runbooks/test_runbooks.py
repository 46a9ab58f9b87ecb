"""What runbooks refuse, what they say, and what they measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from replicator.control.backlog import TableBacklog
from replicator.domain.errors import InvalidConfig, RegionUnavailable
from replicator.domain.event import NewEvent
from replicator.domain.names import LaneId, StreamId
from replicator.fencing.adoption import Adopter
from replicator.fencing.fence import RegionFenced
from replicator.fencing.roles import ACTIVE, FENCED, REBUILDING, RoleChanged, read_role
from replicator.ops.runbooks import Bootstrap, Failback, Failover, Stopped, Switchover
from replicator.ops.runbooks import steps as parts
from replicator.ops.runbooks.steps import set_role
from replicator.ops.status.gather import gather
from tests.replicator.memories import EAST, SOUTH, WEST, Memories, load
from tests.replicator.runbooks.test_killed import Steered


def world() -> Memories:
    memories = Memories()
    load(memories, streams=2, events=2)
    memories.copy_all()
    return memories


def test_a_plan_says_every_step_and_changes_nothing() -> None:
    memories = world()
    before = {region: control._scopes.copy() for region, control in memories.controls.items()}
    steps = Failover(memories.system(), EAST, WEST, steering=Steered()).plan()
    assert [step.name for step in steps] == ["fence", "activate", "steer", "level", "note", "homes"]
    assert steps[2].text == "writers of us-east-1 go to eu-west-1"
    assert {region: control._scopes for region, control in memories.controls.items()} == before


def test_what_cannot_be_done_is_refused_before_anything_is_recorded() -> None:
    memories = world()
    steered = Steered()
    with pytest.raises(InvalidConfig, match="cannot take over from itself"):
        Failover(memories.system(), EAST, EAST, steering=steered).run()
    with pytest.raises(InvalidConfig, match="me-south-1 is not a region of this system"):
        Failover(memories.system(), EAST, "me-south-1", steering=steered).run()
    memories.down(WEST)
    with pytest.raises(RegionUnavailable, match="eu-west-1 does not answer, so it cannot take over"):
        Failover(memories.system(), EAST, WEST, steering=steered).run()
    with pytest.raises(RegionUnavailable, match="use `replicator failover`"):
        Switchover(memories.system(), WEST, EAST, steering=steered).run()
    with pytest.raises(RegionUnavailable, match="eu-west-1 does not answer; bring it back first"):
        Failback(memories.system(), WEST, steering=steered).run()
    with pytest.raises(RegionUnavailable, match=r"may be the one that has the latest events.*--without eu-west-1"):
        Bootstrap(memories.system(), EAST).run()
    assert not [h for control in memories.controls.values() for h in control._scopes.get("runs", {})]


def test_a_region_that_answers_no_more_while_it_is_looked_at_is_named() -> None:
    """It answered a moment ago, and the runbook's check went on."""
    memories = world()
    memories.down(WEST)
    with pytest.raises(RegionUnavailable, match="eu-west-1 no longer answers; run this again"):
        parts.insist_on_writable(memories.system(), WEST)


def test_a_region_that_is_being_rebuilt_takes_nothing_over() -> None:
    memories = world()
    set_role(memories.system(), WEST, "rebuilding", "a test")
    with pytest.raises(Stopped, match="eu-west-1 cannot take over: a test"):
        Failover(memories.system(), EAST, WEST, steering=Steered()).run()


def meanwhile(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Make this change right before a runbook changes a role."""
    real = parts.change_role
    changes = [change]

    def after_it(*arguments: Any) -> None:
        if changes:
            changes.pop()()
        real(*arguments)

    monkeypatch.setattr(parts, "change_role", after_it)


def test_a_region_that_takes_on_its_fence_while_it_is_failed_back_does_not_stop_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memories = world()
    memories.down(EAST)
    Failover(memories.system(), EAST, WEST, steering=Steered()).run()
    memories.down(EAST, False)
    own = memories.controls[EAST]
    peers = {peer: memories.controls[peer] for peer in (WEST, SOUTH)}
    meanwhile(monkeypatch, Adopter(EAST, own, peers, lambda: None).adopt)
    found = set_role(memories.system(), EAST, REBUILDING, "failback")
    role = read_role(own)
    assert role is not None
    assert (role.name, role.why, role.epoch) == (REBUILDING, "failback", found["epoch"])
    assert found["epoch"] == 3


def test_a_role_that_somebody_else_decides_on_at_the_same_time_stops_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    memories = world()
    set_role(memories.system(), EAST, FENCED, "one")
    own = memories.controls[EAST]
    before = read_role(own)
    assert before is not None
    meanwhile(monkeypatch, lambda: own.swap("role", "self", before.value, replace(before, epoch=9, why="two").value))
    with pytest.raises(RoleChanged, match="another process changed its role"):
        set_role(memories.system(), EAST, ACTIVE, "three")


def test_a_run_that_is_open_is_ended_or_given_up_before_another_one_begins() -> None:
    memories = world()
    memories.down(EAST)

    class Broken(Steered):
        def away(self, region: str, to: str) -> str:
            raise Stopped("the records cannot be changed")

    with pytest.raises(Stopped, match="cannot be changed"):
        Failover(memories.system(), EAST, WEST, steering=Broken()).run()
    memories.down(EAST, False)
    with pytest.raises(Stopped, match=r"`failover us-east-1 eu-west-1` was begun.*replicator runs --abandon failover-\d+-"):
        Failback(memories.system(), EAST, steering=Steered()).run()
    heard: list[str] = []
    summary = Failover(memories.system(), EAST, WEST, steering=Steered()).run(heard.append)
    assert heard[0].startswith("resuming failover us-east-1 eu-west-1")
    assert not [each for each in heard if each.startswith("fence:")], "that had been done"
    assert summary.kind == "failover"


def test_done_once_more_it_says_so_and_only_steers() -> None:
    memories = world()
    steered = Steered()
    first = Switchover(memories.system(), EAST, WEST, steering=steered).run()
    heard: list[str] = []
    again = Switchover(memories.system(), EAST, WEST, steering=steered).run(heard.append)
    assert (again.run, again.rpo, again.notes) == (first.run, first.rpo, first.notes)
    assert heard == [
        f"switchover us-east-1 eu-west-1 was done as {first.run}, and nothing has changed since",
        "steer: writers of us-east-1 go to eu-west-1",  # whoever was told where to go the first time
    ]


def test_failover_tells_the_exact_rpo_of_a_region_that_answers_and_failback_that_of_one_that_did_not() -> None:
    memories = world()
    store = memories.store(EAST)
    for n in range(3):
        store.append("user/0", NewEvent("late", {"n": n}))
    store.append("user/new", NewEvent("late", {}))
    memories.down(EAST)
    summary = Failover(memories.system(), EAST, WEST, steering=Steered()).run()
    assert summary.rpo is None
    assert any("did not answer: the events that it acknowledged" in note for note in summary.notes)
    memories.store(WEST).append("user/0", NewEvent("elsewhere", {}))
    memories.down(EAST, False)
    memories.copy_all()  # its own replicator is quicker than the operator
    back = Failback(memories.system(), EAST, steering=Steered()).run()
    assert back.rpo == {f"{EAST}#user#0": (3, 5), f"{EAST}#user#new": (1, 1)}
    assert back.rpo_events == 4


def test_what_only_one_survivor_has_of_a_dead_region_all_get() -> None:
    memories = world()
    memories.store(EAST).append("user/0", NewEvent("late", {}))
    memories.copy(EAST, SOUTH)
    memories.down(EAST)
    Failover(memories.system(), EAST, WEST, steering=Steered()).run()
    assert memories.holdings()[WEST].keys() >= {f"{EAST}#user#0#{3:016d}"}


def test_a_planned_switchover_loses_nothing_and_its_region_is_fenced_until_it_is_failed_back() -> None:
    memories = world()
    for n in range(10):
        memories.store(EAST).append("user/0", NewEvent("late", {"n": n}))
    steered = Steered()
    summary = Switchover(memories.system(), EAST, WEST, steering=steered).run()
    assert (summary.rpo, summary.rpo_events) == ({}, 0)
    assert steered.at == {EAST: WEST}
    with pytest.raises(RegionFenced, match="Write in eu-west-1"):
        memories.store(EAST).append("user/0", NewEvent("x", {}))
    Failback(memories.system(), EAST, steering=steered).run()
    assert steered.at == {}
    memories.store(EAST).append("user/0", NewEvent("x", {}))


def test_ten_drills_in_a_row_are_the_same_drill() -> None:
    memories = world()
    steered = Steered()
    for n in range(10):
        memories.store(EAST).append("user/0", NewEvent("drill", {"n": n}))
        memories.down(EAST)
        Failover(memories.system(), EAST, WEST, steering=steered).run()
        memories.store(WEST).append("user/0", NewEvent("drill", {"n": n}))
        memories.down(EAST, False)
        back = Failback(memories.system(), EAST, steering=steered).run()
        assert back.rpo == {f"{EAST}#user#0": (3 + n, 3 + n)}
    role = read_role(memories.controls[EAST])
    assert role is not None
    assert (role.name, role.epoch) == (ACTIVE, 31)
    assert len({frozenset(held.items()) for held in memories.holdings().values()}) == 1


def test_a_passive_region_that_takes_over_is_activated() -> None:
    memories = world()
    set_role(memories.system(), WEST, FENCED, "the passive one")
    Failover(memories.system(), EAST, WEST, steering=Steered()).run()
    memories.now += 2
    memories.store(WEST).append("user/0", NewEvent("x", {}))


# -- status ------------------------------------------------------------------------------------------------------------


def test_status_says_how_far_links_are_behind_and_for_how_long() -> None:
    memories = world()
    store = memories.store(EAST)
    for n in range(3):
        store.append("user/0", NewEvent("late", {"n": n}))
        memories.now += 10
    memories.copy(EAST, SOUTH)
    TableBacklog(memories.controls[EAST], f"{EAST}>{WEST}").defer({LaneId(EAST, StreamId("user", "0")): (3, 5)}, 7)
    status = gather(memories.system(), "meridian")
    links = {(link.source, link.target): link for link in status.links}
    late = links[(EAST, WEST)]
    assert (late.behind_events, late.behind_lanes, late.backlog) == (3, 1, 1)
    assert late.behind_seconds == pytest.approx(30.0, abs=0.1)
    level = links[(EAST, SOUTH)]
    assert (level.behind_events, level.behind_lanes, level.behind_seconds) == (0, 0, 0.0)
    assert level.last_copied > late.last_copied
    (east,) = [region for region in status.regions if region.region == EAST]
    assert (east.role, east.epoch, east.lanes, east.events) == (ACTIVE, 1, 6, 15)


def test_status_goes_on_without_a_region_that_is_down_and_tells_what_others_were_told_of_it() -> None:
    memories = world()
    memories.down(EAST)
    Failover(memories.system(), EAST, WEST, steering=Steered()).run()
    status = gather(memories.system(), "meridian")
    (east,) = [region for region in status.regions if region.region == EAST]
    assert not east.up
    assert "recorded as fenced" in east.why
    links = {(link.source, link.target): link for link in status.links}
    assert links[(EAST, WEST)].behind_events is None
    assert links[(WEST, SOUTH)].behind_events == 0


def test_status_sees_a_restored_region_before_anybody_writes_there() -> None:
    memories = world()
    backup = memories.backup(EAST)
    memories.restore(EAST, *backup)
    (east,) = [region for region in gather(memories.system(), "meridian").regions if region.region == EAST]
    assert (east.role, "restored" in east.why) == ("rebuilding", True)
