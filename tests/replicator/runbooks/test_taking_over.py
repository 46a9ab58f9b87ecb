"""Nothing takes over, or is let write, that lacks events: whatever its role says, whoever was killed in between, and however
its tables were lost."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from replicator.claims.homes import HomeMover, Homes
from replicator.control.stripes import COUNT
from replicator.domain.errors import InvalidConfig
from replicator.domain.event import NewEvent
from replicator.domain.names import LaneId, StreamId
from replicator.fencing.adoption import Adopter
from replicator.fencing.fence import RegionFenced
from replicator.fencing.roles import ACTIVE, FENCE, FENCED, Role, change_role, read_role
from replicator.ops.audit.comparison import compare
from replicator.ops.runbooks import Bootstrap, Failback, Failover, Runbook, Stopped, Switchover
from replicator.ops.runbooks.steps import note_rpo, noted_rpo, set_role
from replicator.ops.status.gather import gather
from replicator.replication.heartbeat import heartbeat_lane
from tests.replicator.memories import EAST, SOUTH, WEST, Memories, load
from tests.replicator.runbooks.test_killed import Steered

LANE = LaneId(EAST, StreamId("user", "0"))
NEW = NewEvent("set", {})


def world() -> Memories:
    memories = Memories()
    load(memories, streams=2)
    memories.copy_all()
    return memories


def stopped_after(book: Runbook, step: str) -> None:
    """Run a runbook until a step has been recorded, and no further."""

    class Gone(BaseException):
        pass

    steps = book.steps()

    def go_no_further(_: Any) -> Any:
        raise Gone

    at = [each.name for each in steps].index(step)
    changed = [*steps[: at + 1], type(steps[0])("", "", go_no_further), *steps[at + 1 :]]
    book.steps = lambda: changed  # type: ignore[method-assign]
    with pytest.raises(Gone):
        book.run()


@pytest.mark.parametrize("kind", [Bootstrap, Failback])
@pytest.mark.parametrize("step", ["fence", "copy", "prove"])
def test_a_region_that_is_emptied_again_is_brought_up_again(kind: type[Runbook], step: str) -> None:
    memories = world()

    def make() -> Runbook:
        system = memories.system()
        return Bootstrap(system, EAST) if kind is Bootstrap else Failback(system, EAST, steering=Steered())

    memories.empty(EAST)
    stopped_after(make(), step)
    memories.empty(EAST)
    make().run()
    assert memories.holdings()[EAST] == memories.holdings()[WEST]
    memories.store(EAST).append("user/0", NEW)
    memories.copy_all()
    system = memories.system()
    assert compare(system.places, system.sleep, 0.0).equal


@pytest.mark.parametrize("kind", ["failover", "switchover"])
@pytest.mark.parametrize("how", ["emptied", "restored", "restored and fenced"])
def test_a_region_that_was_lost_takes_nothing_over(kind: str, how: str) -> None:
    memories = world()
    if how == "restored and fenced":
        set_role(memories.system(), WEST, FENCED, "the passive one")
    backup = memories.backup(WEST)
    memories.tables[WEST].insert_each([])
    memories.store(SOUTH).append("user/0", NEW)
    memories.copy_all()
    memories.empty(WEST) if how == "emptied" else memories.restore(WEST, *backup)
    steered = Steered()
    books: dict[str, Runbook] = {
        "failover": Failover(memories.system(), EAST, WEST, steering=steered),
        "switchover": Switchover(memories.system(), EAST, WEST, steering=steered),
    }
    with pytest.raises(Stopped, match=r"eu-west-1 cannot take over.*replicator bootstrap eu-west-1"):
        books[kind].run()
    assert steered.at == {}
    with pytest.raises(RegionFenced):
        memories.store(WEST).append("user/0", NEW)


def test_a_source_that_came_back_empty_has_no_rpo_of_nothing() -> None:
    memories = world()
    memories.store(EAST).append("user/0", NEW)  # acknowledged, and nowhere else
    memories.empty(EAST)
    summary = Failover(memories.system(), EAST, WEST, steering=Steered()).run()
    assert summary.rpo is None
    assert any("came back without its data" in note for note in summary.notes)
    back = Failback(memories.system(), EAST, steering=Steered()).run()
    assert back.rpo is None
    assert any("Only their writers know" in note for note in back.notes)


def test_what_is_not_resolved_does_not_stand_behind_a_gap_in_a_rebuilt_lane() -> None:
    memories = world()
    store = memories.store(EAST)
    store.append("user/0", NEW)
    (sent,) = memories.store(EAST).append("user/0", NEW)  # event 6; let nobody know whether it was written
    memories.empty(EAST)
    Bootstrap(memories.system(), EAST).run()
    assert memories.store(EAST).resolve([sent]) is False
    assert [event.sequence for event in memories.tables[EAST].read(LANE)] == [1, 2, 3, 4]


def test_events_of_unknown_outcome_that_follow_what_is_there_are_written() -> None:
    memories = world()
    (sent,) = memories.store(EAST).append("user/0", NEW)
    memories.tables[EAST].take_out(LANE, 5)
    assert memories.store(EAST).resolve([sent]) is True
    assert [event.sequence for event in memories.tables[EAST].read(LANE)] == [1, 2, 3, 4, 5]


def test_a_fail_back_without_a_region_that_is_gone_moves_the_homes_to_those_that_are_there() -> None:
    memories = world()
    controls: Any = memories.controls
    HomeMover(controls, memories.tables, frozenset({"email"})).move([EAST, SOUTH])
    memories.down(EAST)
    Failover(memories.system(), EAST, WEST, steering=Steered(), lost=True).run()
    memories.empty(EAST)
    memories.down(SOUTH)
    steered = Steered()
    Failback(memories.system(), EAST, steering=steered, without=(SOUTH,)).run()
    assert (homes(memories, EAST), steered.at) == ((EAST,), {})
    memories.store(EAST).append("user/0", NEW)


def test_a_fork_between_others_does_not_stand_in_the_way() -> None:
    memories = world()
    lane = LaneId(WEST, StreamId("user", "0"))
    other = memories.store(WEST).append("user/0", NewEvent("true", {}))[0]
    memories.tables[EAST].insert_each([other])
    false = Memories()
    load(false, streams=2)
    wrong = false.store(WEST).append("user/0", NewEvent("false", {}), NewEvent("false", {}))
    for event in wrong:
        memories.tables[SOUTH].alter(event)
    Bootstrap(memories.system(), EAST, force=True).run()
    assert [e.type for e in memories.tables[EAST].read(lane, 5)] == ["true"]
    assert [e.type for e in memories.tables[SOUTH].read(lane, 5)] == ["false", "false"]


def test_two_runs_that_told_the_same_epoch_do_not_both_go_on() -> None:
    memories = world()
    memories.down(EAST)
    change = Role(2, FENCED, {}, 0, SOUTH, "failover another")
    system = memories.system()
    told: list[str] = []

    class Slow(type(memories.controls[SOUTH])):  # type: ignore[misc]
        def swap(self, scope: str, key: str, before: Any, after: Any) -> bool:
            if scope == "roles" and not told:
                told.append(key)
                super().swap(scope, key, before, change.value)  # the other operator was a moment earlier
            return bool(super().swap(scope, key, before, after))

    memories.controls[SOUTH].__class__ = Slow
    with pytest.raises(Stopped, match="two runs are in progress"):
        Failover(system, EAST, WEST, steering=Steered()).run()


def test_an_rpo_that_is_found_again_takes_the_place_of_the_one_before() -> None:
    memories = world()
    control = memories.controls[EAST]
    note_rpo(control, "a-run", {f"{EAST}#user#{n}": (1, n + 1) for n in range(600)})
    assert len(noted_rpo(control, "a-run")) == 600
    note_rpo(control, "a-run", {f"{EAST}#user#1": (2, 2)})
    assert noted_rpo(control, "a-run") == {f"{EAST}#user#1": (2, 2)}


def test_a_new_region_that_has_only_heartbeats_is_brought_up() -> None:
    """Its first heartbeat, a minute after it was deployed, made it active."""
    memories = Memories()
    for region in (WEST, SOUTH):
        memories.store(region).append("user/0", NEW, NEW)
    memories.store(EAST).append(heartbeat_lane(EAST).stream, NewEvent("meridian.heartbeat", {"every": 60}))
    role = read_role(memories.controls[EAST])
    assert role is not None
    assert role.active
    summary = Bootstrap(memories.system(), EAST).run()
    assert summary.kind == "bootstrap"
    system = memories.system()
    assert compare(system.places, system.sleep, 0.0).equal


def test_a_region_that_has_written_beside_its_heartbeats_is_not_new() -> None:
    memories = Memories()
    store = memories.store(EAST)
    store.append(heartbeat_lane(EAST).stream, NewEvent("meridian.heartbeat", {"every": 60}))
    store.append("user/new", NEW)
    with pytest.raises(Stopped, match="us-east-1 is active, and its tables are its own"):
        Bootstrap(memories.system(), EAST).run()


def test_a_heartbeat_that_was_not_sent_is_no_loss() -> None:
    control = world().controls[EAST]
    note_rpo(control, "a-run", {f"{EAST}#user#1": (2, 2), heartbeat_lane(EAST).key: (7, 9)})
    assert noted_rpo(control, "a-run") == {f"{EAST}#user#1": (2, 2)}


def test_a_role_that_was_given_by_a_process_that_was_killed_before_its_stripes_is_made_whole() -> None:
    memories = Memories()
    control = memories.controls[EAST]
    tables = {"events": memories.tables[EAST].identity(), "control": control.identity()}
    control.swap("role", "self", None, Role(1, ACTIVE, tables).value)
    memories.store(EAST, ["*"]).append("user/0", NEW)
    assert sum(map(len, control.get_scopes(FENCE.scopes).values())) == COUNT


def test_a_replicator_gives_its_region_the_first_role_and_tells_it_what_peers_know() -> None:
    memories = Memories()
    fence = memories.store(WEST)._appender._fence
    assert fence is not None
    peers = {region: memories.controls[region] for region in (EAST, SOUTH)}
    adopter = Adopter(WEST, memories.controls[WEST], peers, fence.role)
    adopter.adopt()
    role = read_role(memories.controls[WEST])
    assert role is not None
    assert (role.name, role.epoch) == (ACTIVE, 1)
    memories.down(WEST)
    set_role(memories.system(), WEST, FENCED, "a test", EAST)
    memories.down(WEST, False)
    adopter.adopt()
    role = read_role(memories.controls[WEST])
    assert role is not None
    assert (role.name, role.epoch, role.to) == (FENCED, 2, EAST)
    assert role.is_of({"events": memories.tables[WEST].identity()})
    with pytest.raises(RegionFenced):
        memories.store(WEST).append("user/0", NEW)


def test_a_region_whose_control_state_is_an_older_one_does_not_write() -> None:
    memories = world()
    older = deepcopy(memories.controls[EAST]._scopes)
    set_role(memories.system(), EAST, FENCED, "one")
    set_role(memories.system(), EAST, ACTIVE, "two")
    memories.controls[EAST]._scopes = older
    with pytest.raises(RegionFenced, match="has forgotten that it is active"):
        memories.store(EAST).append("user/0", NEW)
    Bootstrap(memories.system(), EAST).run()
    memories.store(EAST).append("user/0", NEW)


def test_a_role_is_not_given_over_somebody_else_s() -> None:
    memories = world()
    own = read_role(memories.controls[EAST])
    book = Bootstrap(memories.system(), EAST, force=True)
    stopped_after(book, "prove")
    held = read_role(memories.controls[EAST])
    assert own is not None
    assert held is not None
    change_role(memories.controls[EAST], held, Role(held.epoch + 1, FENCED, held.tables, 0, "", "somebody else"))
    Bootstrap(memories.system(), EAST).run()  # begins anew, over what it finds now
    role = read_role(memories.controls[EAST])
    assert role is not None
    assert role.active


def test_a_region_that_only_stands_by_takes_over_when_the_other_one_is_lost() -> None:
    memories = Memories([EAST, WEST])
    memories.store(EAST).append("user/0", NEW)
    memories.copy_all()
    memories.down(EAST)
    with pytest.raises(Stopped, match="eu-west-1 cannot take over: it has no role yet, and us-east-1 cannot say"):
        Failover(memories.system(), EAST, WEST, steering=Steered()).run()
    Failover(memories.system(), EAST, WEST, steering=Steered(), lost=True).run()
    memories.store(WEST).append("user/0", NEW)


def test_a_lone_region_is_given_a_role_without_the_others() -> None:
    memories = Memories([EAST, WEST])
    memories.down(EAST)
    Bootstrap(memories.system(), WEST, without=(EAST,)).run()
    (event,) = memories.store(WEST).append("user/0", NEW)
    assert event.sequence == 1


def test_a_region_that_answers_is_not_gone() -> None:
    memories = world()
    memories.empty(EAST)
    for book in (
        Bootstrap(memories.system(), EAST, without=(SOUTH,)),
        Failback(memories.system(), EAST, steering=Steered(), without=(SOUTH,)),
    ):
        with pytest.raises(InvalidConfig, match="--without ap-southeast-2: it answers"):
            book.run()


def test_an_active_region_is_not_fenced_for_nothing() -> None:
    memories = world()
    for book in (Bootstrap(memories.system(), EAST), Failback(memories.system(), EAST, steering=Steered())):
        with pytest.raises(Stopped, match="us-east-1 is active, and its tables are its own"):
            book.run()
    memories.store(EAST).append("user/0", NEW)


def homed(memories: Memories, *regions: str) -> None:
    controls: Any = memories.controls
    HomeMover(controls, memories.tables, frozenset({"email"})).move(list(regions))


def homes(memories: Memories, region: str) -> tuple[str, ...]:
    found = Homes.read(memories.controls[region])
    assert found is not None
    return found.regions


def test_what_turns_out_to_be_lost_is_said_by_the_same_command_again() -> None:
    memories = world()
    homed(memories, EAST, WEST)
    memories.down(EAST)
    first = Failover(memories.system(), EAST, WEST, steering=Steered()).run()
    assert any("can be neither made nor released" in note for note in first.notes)
    assert homes(memories, WEST) == (WEST, EAST) or homes(memories, WEST) == (EAST, WEST)
    steered = Steered()
    again = Failover(memories.system(), EAST, WEST, steering=steered, lost=True).run()
    assert again.run == first.run
    assert homes(memories, WEST) == (WEST,)
    assert steered.at == {EAST: WEST}


@pytest.mark.parametrize("meanwhile", ["bootstrap", "another failover"])
def test_homes_come_back_as_they_were_before_the_first_of_several_moves(meanwhile: str) -> None:
    memories = world()
    homed(memories, EAST)
    if meanwhile == "bootstrap":
        memories.down(EAST)
        Failover(memories.system(), EAST, WEST, steering=Steered(), lost=True).run()
        memories.down(EAST, False)
        memories.empty(EAST)
        Bootstrap(memories.system(), EAST).run()
        Failback(memories.system(), EAST, steering=Steered(), force=True).run()
    else:
        Switchover(memories.system(), EAST, WEST, steering=Steered()).run()
        Failover(memories.system(), EAST, SOUTH, steering=Steered()).run()
        Failback(memories.system(), EAST, steering=Steered()).run()
    assert homes(memories, EAST) == (EAST,)


def test_a_run_whose_region_somebody_else_has_taken_steers_nobody() -> None:
    memories = world()
    memories.down(EAST)
    book = Failover(memories.system(), EAST, WEST, steering=Steered())
    stopped_after(book, "activate")
    system = memories.system()
    set_role(system, EAST, FENCED, "another run", SOUTH)
    steered = Steered()
    with pytest.raises(Stopped, match="by another run now"):
        Failover(memories.system(), EAST, WEST, steering=steered).run()
    assert steered.at == {}


def test_status_does_not_call_an_emptied_region_new() -> None:
    memories = world()
    memories.empty(EAST)
    (east,) = [region for region in gather(memories.system(), "meridian").regions if region.region == EAST]
    assert (east.role, "it was emptied" in east.why) == ("rebuilding", True)
