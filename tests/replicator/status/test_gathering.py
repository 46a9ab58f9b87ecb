"""Status always prints: a region that is not well is down, with the reason, and holds nothing else up for long."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from replicator.domain.errors import InvalidConfig, RegionUnavailable
from replicator.domain.event import NewEvent
from replicator.fencing.roles import DRAINING, FENCED, change_role, read_role
from replicator.ops.runbooks.steps import set_role
from replicator.ops.status import LinkStatus, RegionStatus, Status
from replicator.ops.status.gather import gather
from replicator.ops.status.judgement import Judgement
from replicator.replication.heartbeat import heartbeat_lane
from tests.processes import comes_back, wait_until
from tests.replicator.memories import EAST, REGIONS, SOUTH, WEST, Memories, load


def world() -> Memories:
    memories = Memories()
    load(memories, 3, 2)
    memories.copy_all()
    return memories


def behind() -> Memories:
    """Every region has an event that no other one has."""
    memories = world()
    for region in REGIONS:
        memories.store(region).append("user/0", NewEvent("late", {}))
    return memories


def region(status: Status, name: str) -> RegionStatus:
    return next(each for each in status.regions if each.region == name)


def links(status: Status) -> dict[tuple[str, str], LinkStatus]:
    return {(link.source, link.target): link for link in status.links}


def is_cut_off(status: Status, name: str) -> None:
    """One region is down; of all others everything is known."""
    assert [each.region for each in status.regions if not each.up] == [name]
    for (source, target), link in links(status).items():
        assert (link.behind_events is None) == (name in (source, target))
    rest = [each for each in status.regions if each.up]
    assert [(each.role, each.lanes) for each in rest] == [("active", 9)] * 2


ERRORS = [
    RegionUnavailable("it died meanwhile"),
    ClientError({"Error": {"Code": "AccessDeniedException", "Message": "not you"}}, "Query"),
    EndpointConnectionError(endpoint_url="http://nowhere"),
    InvalidConfig("table meridian-events has no stream"),
]


def raising(function: Callable[..., Any], error: Exception, when: Callable[..., bool]) -> Callable[..., Any]:
    def wrong(*args: Any, **named: Any) -> Any:
        if when(*args):
            raise error
        return function(*args, **named)

    return wrong


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "scope", ["role", "roles", "runs", f"quarantine#{WEST}", f"backlog#{WEST}>{SOUTH}", "heads#0", "suspects"]
)
def test_a_region_whose_control_state_fails_anywhere_is_down_with_the_reason(scope: str, error: Exception) -> None:
    memories = behind()
    control = memories.controls[WEST]
    for verb in ("get", "get_all"):
        setattr(control, verb, raising(getattr(control, verb), error, lambda asked, *_: asked == scope))
    status = gather(memories.system(), "meridian")
    is_cut_off(status, WEST)
    assert str(error) in region(status, WEST).why


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("verb", ["index", "get", "read", "identity", "probe"])
def test_a_region_whose_tables_fail_anywhere_is_down_with_the_reason(verb: str, error: Exception) -> None:
    memories = behind()
    system = memories.system()
    place = system.at(WEST)
    holder: Any = place if verb == "probe" else place.storage
    setattr(holder, verb, raising(getattr(holder, verb), error, lambda *_: True))
    status = gather(system, "meridian")
    is_cut_off(status, WEST)
    assert verb == "probe" or str(error) in region(status, WEST).why


def test_the_reason_stands_beside_what_others_were_told() -> None:
    memories = world()
    set_role(memories.system(), WEST, "fenced", "a test")
    control = memories.controls[WEST]
    error = RegionUnavailable("it died meanwhile")
    for verb in ("get", "get_all"):
        setattr(control, verb, raising(getattr(control, verb), error, lambda scope, *_: scope == "role"))
    for other in (EAST, SOUTH):
        memories.controls[other].put("roles", {WEST: {"epoch": 9, "role": "fenced", "why": "a test"}})
    assert region(gather(memories.system(), "m"), WEST).why == "it died meanwhile; recorded as fenced: a test"


def test_a_queue_that_cannot_be_asked_leaves_the_backlog_that_is_known() -> None:
    def depth(source: str, target: str) -> int:
        raise ERRORS[1]

    status = gather(world().system(), "meridian", depth)
    assert all(each.up for each in status.regions)
    assert {link.backlog for link in status.links} == {0}


def test_what_is_no_fault_of_a_region_is_not_hidden() -> None:
    memories = world()
    control = memories.controls[WEST]
    for verb in ("get", "get_all"):
        setattr(control, verb, raising(getattr(control, verb), KeyError("a bug"), lambda *_: True))
    with pytest.raises(KeyError):
        gather(memories.system(), "meridian")


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    opened = threading.Event()
    yield opened
    opened.set()


def hanging(function: Callable[..., Any], gate: threading.Event, when: Callable[..., bool]) -> Callable[..., Any]:
    def slow(*args: Any, **named: Any) -> Any:
        if when(*args):
            gate.wait()
        return function(*args, **named)

    return slow


@pytest.mark.parametrize("verb", ["role", "index", "read", "get"])
def test_a_region_that_hangs_is_down_in_bounded_time_and_leaves_no_threads_behind(verb: str, gate: threading.Event) -> None:
    memories = behind()
    system = memories.system()
    place = system.at(WEST)
    match verb:
        case "role":
            control = memories.controls[WEST]
            control.get = hanging(control.get, gate, lambda scope, *_: scope == "role")  # type: ignore[method-assign]
        case _:
            table: Any = place.storage
            setattr(table, verb, hanging(getattr(table, verb), gate, lambda *_: True))
    before = threading.active_count()
    threads = []
    for _ in range(4):
        status = comes_back(lambda: gather(system, "meridian", seconds=0.6))
        is_cut_off(status, WEST)
        assert region(status, WEST).why == "did not answer in time"
        threads.append(threading.active_count())
    assert len(set(threads)) == 1, "the next looks leave no more"
    gate.set()
    wait_until(lambda: threading.active_count() <= before, "threads that end")
    wait_until(lambda: region(gather(system, "meridian"), WEST).up, "the region comes back")


def test_a_first_ledger_that_takes_its_time_is_waited_for_as_long_as_it_grows() -> None:
    memories = Memories()
    load(memories, 40, 1)
    memories.copy_all()
    table = memories.tables[WEST]
    reading = table.read

    def slowly(*args: Any, **named: Any) -> Any:
        time.sleep(0.9)
        return reading(*args, **named)

    table.read = slowly  # type: ignore[method-assign]
    began = time.monotonic()
    status = gather(memories.system(), "meridian", seconds=2.0)
    assert time.monotonic() - began > 2.0
    assert region(status, WEST).lanes == 120


def test_a_region_that_hangs_does_not_keep_the_process_from_ending() -> None:
    script = """
import threading
from tests.replicator.memories import WEST, Memories, load
from replicator.ops.status.gather import gather
memories = Memories()
load(memories, 20, 1)
memories.copy_all()
memories.tables[WEST].read = lambda *_, **__: threading.Event().wait()
print([each.up for each in gather(memories.system(), "m", seconds=0.5).regions])
"""
    done = subprocess.run([sys.executable, "-B", "-c", script], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "[True, False, True]\n"


def test_a_system_of_which_nobody_answers_is_shown_too() -> None:
    memories = world()
    for name in REGIONS:
        memories.down(name)
    status = gather(memories.system(), "meridian")
    assert not any(each.up for each in status.regions)
    assert len(status.links) == 6


def test_lanes_are_read_in_all_regions_together_and_no_more_often_than_they_rest() -> None:
    memories = world()
    system = memories.system()
    clock = [0.0]
    for name in REGIONS:
        keeper = system.at(name).keeper
        keeper._monotonic, keeper._seconds = lambda: clock[0], 0.0

    def shown() -> tuple[list[int], dict[tuple[str, str], int | None]]:
        status = gather(system, "meridian")
        return [each.events for each in status.regions], {k: link.behind_events for k, link in links(status).items()}

    def appended() -> None:
        memories.now += 60
        for name in REGIONS:
            memories.store(name).append("user/0", NewEvent("late", {}))
        memories.copy_all()

    none_behind = dict.fromkeys(links(gather(system, "meridian")), 0)
    for name in REGIONS:
        system.at(name).keeper._seconds = 30.0  # so many lanes there are
    appended()
    assert shown() == ([18] * 3, none_behind), "as of the last reading"
    assert {each.read for each in gather(system, "meridian").regions} == {memories.wall() - 60_000}
    clock[0] += 300.0
    assert shown() == ([21] * 3, none_behind)
    appended()
    system.at(WEST).keeper._forget()  # it did not answer, and does again
    assert shown() == ([24] * 3, none_behind), "no link is behind by what was written between two readings"


# -- heartbeats --------------------------------------------------------------------------------------------------------


def beat(memories: Memories, *regions: str) -> None:
    for name in regions:
        memories.store(name).append(heartbeat_lane(name).stream, NewEvent("meridian.heartbeat", {"every": 60}))


def said(status: Status) -> list[tuple[int, str, str]]:
    return [(int(each.level), each.where, each.text) for each in Judgement(status).all()]


def test_where_nobody_beats_there_is_nothing_to_say() -> None:
    status = gather(world().system(), "meridian")
    assert {each.heartbeat_seconds for each in (*status.regions, *status.links)} == {None}
    assert said(status) == []


def test_a_region_that_never_wrote_one_is_to_be_acted_on_after_an_hour() -> None:
    memories = world()
    memories.now += 3600 + 240
    beat(memories, WEST, SOUTH)
    memories.copy_all()
    status = gather(memories.system(), "meridian")
    assert said(status) == [(2, EAST, "has written no heartbeat yet")]


def test_a_region_that_a_killed_runbook_left_draining_is_to_be_acted_on_after_an_hour() -> None:
    memories = world()
    beat(memories, *REGIONS)
    memories.copy_all()
    role = read_role(memories.controls[EAST])
    assert role is not None
    change_role(memories.controls[EAST], role, replace(role, epoch=role.epoch + 1, name=DRAINING, since=role.since))
    for seconds, expected in ((3000, 1), (1000, 2)):
        memories.now += seconds
        beat(memories, WEST, SOUTH)
        memories.copy_all()
        (found,) = said(gather(memories.system(), "meridian"))
        assert found[:2] == (expected, EAST)


def test_an_idle_system_that_works_is_well() -> None:
    memories = world()
    beat(memories, *REGIONS)
    memories.copy_all()
    memories.now += 100
    status = gather(memories.system(), "meridian")
    assert {each.heartbeat_seconds for each in (*status.regions, *status.links)} == {100.0}
    assert said(status) == []


def test_a_region_whose_replicator_is_gone_is_to_be_acted_on_once() -> None:
    memories = world()
    beat(memories, *REGIONS)
    memories.copy_all()
    memories.now += 240
    beat(memories, WEST, SOUTH)
    memories.copy_all()
    status = gather(memories.system(), "meridian")
    assert said(status) == [(2, EAST, "has written no heartbeat for 4 min")], "its links are not blamed for it"
    assert links(status)[EAST, WEST].heartbeat_seconds == 240.0


def test_a_dead_link_is_told_from_an_idle_one() -> None:
    memories = world()
    beat(memories, *REGIONS)
    memories.copy_all()
    memories.now += 240
    beat(memories, *REGIONS)
    memories.copy_all([WEST, SOUTH])
    status = gather(memories.system(), "meridian")
    dead = {pair for pair, link in links(status).items() if link.heartbeat_overdue}
    assert dead == {(EAST, WEST), (EAST, SOUTH), (WEST, EAST), (SOUTH, EAST)}
    assert links(status)[WEST, SOUTH].heartbeat_seconds == 0.0
    assert (2, f"{EAST} → {WEST}") in [each[:2] for each in said(status)]


def test_a_fenced_region_owes_no_heartbeat() -> None:
    memories = world()
    beat(memories, *REGIONS)
    memories.copy_all()
    role = read_role(memories.controls[EAST])
    assert role is not None
    change_role(memories.controls[EAST], role, replace(role, epoch=role.epoch + 1, name=FENCED))
    memories.now += 3600
    beat(memories, WEST, SOUTH)
    memories.copy_all()
    status = gather(memories.system(), "meridian")
    assert not any(each.heartbeat_overdue for each in (*status.regions, *status.links))
