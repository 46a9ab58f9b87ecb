"""Appends respect the fence: at once where their transaction checks it, within the lease elsewhere; and a region that was
emptied or restored does not write before it has been brought up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from unittest.mock import Mock

import pytest

from replicator.control.control_storage import Guard, Value
from replicator.control.memory_control import MemoryControl
from replicator.control.stripes import COUNT
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import LaneId
from replicator.eventstore.store_errors import AppendContention, GuardBusy, OutcomeUnknown
from replicator.fencing.fence import RegionFenced
from replicator.fencing.roles import (
    ACTIVE,
    FENCE,
    FENCED,
    Role,
    RoleChanged,
    change_role,
    known_roles,
    read_role,
    set_stripes,
    tell_role,
)
from replicator.ops.runbooks.steps import set_role
from replicator.replication.peer_tables import PeerTables
from tests.replicator.memories import EAST, REGIONS, SOUTH, WEST, Memories, load

NEW = NewEvent("set", {})


def fence_off(memories: Memories, region: str = EAST, to: str = WEST) -> None:
    set_role(memories.system(), region, FENCED, "a test", to)


def test_a_new_region_is_active_from_its_first_append_on() -> None:
    memories = Memories()
    assert read_role(memories.controls[EAST]) is None
    memories.store(EAST).append("user/homer", NEW)
    role = read_role(memories.controls[EAST])
    assert role is not None
    assert (role.epoch, role.name) == (1, ACTIVE)
    assert role.is_of({"events": memories.tables[EAST].identity(), "control": memories.controls[EAST].identity()})


def test_a_fenced_region_takes_no_appends_and_says_where_to_write() -> None:
    memories = Memories()
    store = memories.store(EAST)
    store.append("user/homer", NEW)
    fence_off(memories)
    memories.now += 2.0
    with pytest.raises(RegionFenced, match=r"us-east-1 is fenced in epoch 2 \(a test\).*Write in eu-west-1") as raised:
        store.append("user/homer", NEW)
    assert isinstance(raised.value, RegionUnavailable)
    assert len(list(store.read("user/homer"))) == 1
    memories.store(WEST).append("user/homer", NEW)


def test_without_a_check_the_fence_is_noticed_within_the_lease_and_with_one_at_once() -> None:
    memories = Memories()
    leased, checked = memories.store(EAST), memories.store(EAST, ["account"])
    for store in (leased, checked):
        store.append("user/homer", NEW)
        store.append("account/1", NEW)
    fence_off(memories)
    memories.now += 1.9
    leased.append("account/1", NEW)  # has read the role less than 2 s ago
    with pytest.raises(RegionFenced):
        checked.append("account/1", NEW)
    checked_again = memories.store(EAST, ["*"])
    with pytest.raises(RegionFenced):
        checked_again.append("user/homer", NEW)
    memories.now += 0.1
    with pytest.raises(RegionFenced):
        leased.append("account/1", NEW)


def test_after_the_fence_was_lifted_a_checked_append_goes_on_in_the_new_epoch() -> None:
    memories = Memories()
    store = memories.store(EAST, ["*"])
    store.append("user/homer", NEW)
    fence_off(memories)
    set_role(memories.system(), EAST, ACTIVE, "again")
    store.append("user/homer", NEW)  # its guard of epoch 1 fails, that of epoch 3 holds
    assert [event.sequence for event in store.read("user/homer")] == [1, 2]


def test_a_checked_append_waits_until_every_stripe_is_open() -> None:
    memories = Memories()
    store = memories.store(EAST, ["*"])
    store.append("user/homer", NEW)
    fence_off(memories)
    control = memories.controls[EAST]
    closed = read_role(control)
    assert closed is not None
    opened = Role(3, ACTIVE, closed.tables)
    control.swap("role", "self", closed.value, opened.value)  # killed before it reached the stripes
    with pytest.raises(AppendContention):
        store.append("user/homer", NEW)
    change_role(control, opened, opened)
    store.append("user/homer", NEW)


def test_of_two_changes_at_once_one_is_refused_and_a_late_one_takes_no_stripe_back() -> None:
    memories = Memories()
    memories.store(EAST).append("user/homer", NEW)
    control = memories.controls[EAST]
    first = read_role(control)
    later = Role(3, FENCED)
    change_role(control, first, later)
    with pytest.raises(RoleChanged):
        change_role(control, first, Role(2, ACTIVE))
    set_stripes(control, Role(2, ACTIVE))
    assert {value["epoch"] for _, value in control.get_all("fence")} == {3}


def test_peers_keep_what_they_were_told_last() -> None:
    memories = Memories()
    controls = [memories.controls[WEST], memories.controls[SOUTH]]
    for epoch in (2, 5, 3):
        tell_role(controls, EAST, Role(epoch, FENCED))
    assert [known_roles(control)[EAST].epoch for control in controls] == [5, 5]


def test_a_write_whose_stripe_is_busy_takes_another_one() -> None:
    memories = Memories()
    store, table = memories.store(EAST, ["*"]), memories.tables[EAST]
    store.append("user/homer", NEW)
    tried: list[Guard] = []
    insert = table.insert

    def busy(events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        tried.extend(guards)
        if len(tried) < 5:
            raise GuardBusy(guards, "TransactionConflict")
        return bool(insert(events, guards))

    table.insert = busy  # type: ignore[method-assign]
    store.append("user/homer", NEW)
    assert len(set(map(str, tried))) > 1
    assert len({guard.scope for guard in tried}) > 1
    tried.clear()
    table.insert = Mock(side_effect=GuardBusy(tried, "TransactionConflict"))  # type: ignore[method-assign]
    with pytest.raises(RegionUnavailable, match=r"TransactionConflict; nothing was written"):
        store.append("user/homer", NEW)
    assert table.insert.call_count == 10


def test_an_unknown_outcome_is_settled_though_its_stripe_is_busy() -> None:
    memories = Memories()
    store, table = memories.store(EAST, ["*"]), memories.tables[EAST]
    store.append("user/homer", NEW)
    insert = table.insert

    def silent(events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        raise OutcomeUnknown("no answer", events, guards)

    table.insert = silent  # type: ignore[method-assign]
    with pytest.raises(OutcomeUnknown) as raised:
        store.append("user/homer", NEW)
    busy = iter(range(3))

    def crowded(events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        if next(busy, None) is not None:
            raise GuardBusy(guards, "TransactionConflict")
        return bool(insert(events, guards))

    table.insert = crowded  # type: ignore[method-assign]
    assert store.resolve(raised.value.events)
    assert [event.sequence for event in store.read("user/homer")] == [1, 2]


def test_an_append_never_follows_events_of_another_epoch() -> None:
    """While a write waits for its guard the region may have been fenced, restored and opened again."""
    memories = Memories()
    store, table, control = memories.store(EAST, ["*"]), memories.tables[EAST], memories.controls[EAST]
    store.append("user/homer", NEW)
    insert, opened = table.insert, read_role(control)
    assert opened is not None

    def busy(events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        table.insert = insert  # type: ignore[method-assign]
        change_role(control, opened, replace(opened, epoch=3))
        table.take_out(LaneId.from_key("us-east-1#user#homer"), 1)
        memories.now += 2.0
        raise GuardBusy(guards, "TransactionConflict")

    table.insert = busy  # type: ignore[method-assign]
    store.append("user/homer", NEW)
    assert [event.sequence for event in store.read("user/homer")] == [1]


def test_stripes_spread_evenly_over_partition_keys() -> None:
    guards = [Role(1, ACTIVE).guard(stripe) for stripe in range(COUNT)]
    assert len({(guard.scope, guard.key) for guard in guards}) == COUNT == 256
    assert set(Counter(guard.scope for guard in guards).values()) == {16}
    assert all(scope == "fence" or scope.startswith("fence#") for scope in FENCE.scopes)  # what policies allow


def test_the_first_append_of_a_process_reads_one_item_at_each_peer() -> None:
    memories = Memories()
    load(memories, streams=3, events=2)
    memories.copy_all()
    fence_off(memories, WEST)  # so that the peers have recorded something
    told: list[str] = []
    for peer in (WEST, SOUTH):
        control, table = memories.controls[peer], memories.tables[peer]
        control.get = lambda scope, key, get=control.get: told.append(scope) or get(scope, key)  # type: ignore[method-assign, misc]
        for spied in ("get_all", "get_scopes"):
            setattr(control, spied, Mock(side_effect=AssertionError(f"{peer} is asked for more")))
        for spied in ("index", "get", "read", "lanes"):
            setattr(table, spied, Mock(side_effect=AssertionError(f"{peer} is asked for events")))
    memories.store(EAST).append("user/0", NEW)
    assert told == ["roles"] * 2


# -- regions that come back --------------------------------------------------------------------------------------------


def test_an_emptied_region_does_not_write_before_it_is_brought_up() -> None:
    memories = Memories()
    load(memories, streams=1, events=2)
    memories.copy_all()
    memories.empty(EAST)
    with pytest.raises(RegionFenced, match=r"rebuilding.*emptied.*replicator bootstrap us-east-1"):
        memories.store(EAST).append("user/0", NEW)


def test_so_does_one_of_which_only_a_peer_that_is_down_has_events() -> None:
    memories = Memories()
    memories.store(EAST).append("user/0", NEW)
    memories.copy(EAST, SOUTH)
    memories.empty(EAST)
    memories.down(SOUTH)
    with pytest.raises(RegionFenced, match="ap-southeast-2 cannot say whether it was emptied"):
        memories.store(EAST).append("user/0", NEW)


def test_a_restored_region_does_not_write_although_it_says_that_it_is_active() -> None:
    memories = Memories()
    load(memories, streams=1, events=2)
    backup = memories.backup(EAST)
    memories.store(EAST).append("user/0", NEW)
    memories.copy_all()
    memories.restore(EAST, *backup)
    role = read_role(memories.controls[EAST])
    assert role is not None
    assert role.active
    with pytest.raises(RegionFenced, match="emptied or restored"):
        memories.store(EAST).append("user/0", NEW)


def test_a_process_that_runs_on_notices_that_its_region_was_restored_under_it() -> None:
    memories = Memories()
    load(memories, streams=1, events=2)
    store = memories.store(EAST)
    backup = memories.backup(EAST)
    store.append("user/0", NEW)
    memories.copy_all()
    old = memories.tables[EAST], memories.controls[EAST]
    memories.restore(EAST, *backup)
    new = memories.tables[EAST], memories.controls[EAST]
    # The same process, whose tables have the same names: its storage and control are the new ones now.
    old[0].__dict__.update(new[0].__dict__)
    old[1].__dict__.update({k: v for k, v in new[1].__dict__.items() if k != "_lock"})
    memories.now += 60
    with pytest.raises(RegionFenced, match="emptied or restored"):
        store.append("user/0", NEW)


def test_a_region_that_could_not_be_reached_when_it_was_fenced_hears_of_it_from_its_peers() -> None:
    memories = Memories()
    load(memories, streams=1, events=1)
    memories.down(EAST)
    fence_off(memories)
    memories.down(EAST, False)
    with pytest.raises(RegionFenced, match="fenced in epoch 2"):
        memories.store(EAST).append("user/0", NEW)


def test_a_region_with_all_peers_down_goes_on_when_its_tables_are_its_own() -> None:
    memories = Memories()
    memories.store(EAST).append("user/0", NEW)
    for peer in (WEST, SOUTH):
        memories.down(peer)
    memories.store(EAST).append("user/0", NEW)


def test_events_of_unknown_outcome_are_not_written_into_a_region_that_is_fenced() -> None:
    memories = Memories()
    store = memories.store(EAST)
    store.append("user/0", NEW)
    (event,) = memories.store(EAST).append("user/1", NEW)
    unknown = OutcomeUnknown("no answer", [event])
    memories.copy_all()
    memories.empty(EAST)
    with pytest.raises(RegionFenced):
        memories.store(EAST).resolve(unknown.events)
    assert not list(memories.tables[EAST].lanes())


def test_what_is_there_resolves_even_where_the_region_is_fenced() -> None:
    memories = Memories()
    store = memories.store(EAST)
    (event,) = store.append("user/0", NEW)
    fence_off(memories)
    memories.now += 10
    assert store.resolve([event])


def test_every_region_can_be_written_to_by_default() -> None:
    memories = Memories()
    load(memories, streams=1, events=1)
    memories.copy_all()
    assert {role.name for region in REGIONS if (role := read_role(memories.controls[region]))} == {ACTIVE}


def test_a_control_table_that_does_not_return_what_it_acknowledged_is_given_up() -> None:
    class Forgetful(MemoryControl):
        def swap(self, scope: str, key: str, before: Value | None, after: Value) -> bool:
            return True

        def swap_each(self, changes: object) -> None: ...

    control = Forgetful()
    with pytest.raises(RegionUnavailable, match="setting the fence was tried 20 times"):
        set_stripes(control, Role(1, ACTIVE))
    with pytest.raises(RegionUnavailable, match="recording the table of eu-west-1 was tried 20 times"):
        PeerTables(control).keep(WEST, "another")
