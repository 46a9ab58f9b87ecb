"""The backlog of a link: one contract, in the control table and on a queue."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicator.aws.control_table import DynamoControl
from replicator.aws.sqs import QueueBacklog
from replicator.control.backlog import Backlog, Part, Rounds, TableBacklog
from replicator.control.memory_control import MemoryControl
from replicator.control.pointers import join
from replicator.domain.errors import RegionUnavailable
from replicator.runtime.settings import Settings
from tests.replicator.links import Queue, lane_of

LINK = "us-east-1>eu-west-1"
LANES = [lane_of(name) for name in ("apu", "bart", "homer", "ned", "Zoë")]


@pytest.fixture(params=["table", pytest.param("table, emulator", marks=pytest.mark.emulator), "queue"])
def backlog(request: pytest.FixtureRequest) -> Backlog:
    if request.param == "queue":
        return QueueBacklog(LINK, Queue())  # type: ignore[arg-type]
    control = MemoryControl() if request.param == "table" else DynamoControl(request.getfixturevalue("settings"))
    return TableBacklog(control, LINK, lambda: 9_000)


def taken(backlog: Backlog, limit: int = 99) -> list[Part]:
    """A round."""
    parts = []
    while (part := backlog.take(limit)) is not None:
        parts.append(part)
    return parts


def test_what_is_deferred_is_taken_until_it_is_done(backlog: Backlog) -> None:
    backlog.defer({lane: (n, n + 5) for n, lane in enumerate(LANES, 1)}, 5_000)
    backlog.defer({LANES[1]: (1, 9)}, 6_000)
    for _ in range(2):
        parts = taken(backlog)
        lanes = join(part.lanes for part in parts)
        assert lanes.keys() == set(LANES)
        assert lanes[LANES[1]][1] == 9
        assert min(part.since for part in parts) == 5_000
    for part in parts:
        backlog.done(part)
    assert taken(backlog) == []


def test_a_lane_that_is_written_to_all_the_time_waits_since_its_first_event(backlog: Backlog) -> None:
    for since in (5_000, 6_000, 7_000):
        backlog.defer({LANES[0]: (1, since)}, since)
        parts = taken(backlog)
        assert min(part.since for part in parts) == 5_000
        for part in parts:
            backlog.done(part, failed=part.lanes)
    for part in taken(backlog):
        backlog.done(part)
    backlog.defer({LANES[0]: (8, 8)}, 8_000)
    assert {part.since for part in taken(backlog)} == {8_000}  # it had come over in between


def test_a_table_s_pointers_keep_their_age_when_another_process_renews_them() -> None:
    control = MemoryControl()
    TableBacklog(control, LINK).defer({LANES[0]: (1, 1)}, 5_000)
    later = TableBacklog(control, LINK)
    (part,) = taken(later)
    later.done(part, failed=part.lanes)
    later.defer({LANES[0]: (2, 2)}, 6_000)
    assert [part.since for part in taken(TableBacklog(control, LINK))] == [5_000]


def test_what_failed_and_what_nobody_had_time_for_waits_on(backlog: Backlog) -> None:
    backlog.defer(dict.fromkeys(LANES, (1, 5)), 5_000)
    (part,) = taken(backlog)
    backlog.done(part, failed=[LANES[0]], rest=[LANES[1]])
    left = taken(backlog)
    assert join(each.lanes for each in left) == {LANES[0]: (1, 5), LANES[1]: (1, 5)}
    assert {each.since for each in left} == {5_000}


def test_another_link_has_another_backlog() -> None:
    control = MemoryControl()
    TableBacklog(control, LINK).defer({LANES[0]: (1, 1)}, 7)
    assert taken(TableBacklog(control, "us-east-1>ap-south-1")) == []


@pytest.fixture(params=["memory", pytest.param("emulator", marks=pytest.mark.emulator)])
def table(request: pytest.FixtureRequest) -> TableBacklog:
    memory = request.param == "memory"
    return TableBacklog(MemoryControl() if memory else DynamoControl(request.getfixturevalue("settings")), LINK)


def test_a_table_keeps_one_pointer_a_lane_and_is_walked_in_key_order(table: TableBacklog) -> None:
    table.defer(dict.fromkeys(LANES, (1, 5)), 7)
    table.defer({LANES[1]: (6, 9)}, 7)
    ordered = sorted(LANES, key=lambda lane: lane.key)
    parts = taken(table, 2)
    assert [len(part.lanes) for part in parts] == [2, 2, 1]
    assert [lane for part in parts for lane in part.lanes] == ordered
    assert [lane for part in taken(table, 5) for lane in part.lanes] == ordered, "the next round"
    assert table.page(99)[LANES[1]] == {"from": 6, "to": 9, "since": 7}


def test_a_pointer_that_was_renewed_meanwhile_is_not_taken_back(table: TableBacklog) -> None:
    table.defer(dict.fromkeys(LANES, (1, 5)), 7)
    (part,) = taken(table)
    table.defer({LANES[2]: (6, 7)}, 7)
    table.defer({LANES[3]: (1, 5)}, 8)  # the same sequences, and not before they were taken
    table.done(part)
    assert join(each.lanes for each in taken(table)) == {LANES[2]: (6, 7), LANES[3]: (1, 5)}


def test_a_pointer_of_an_earlier_version_waits_since_now() -> None:
    control = MemoryControl()
    control.put(f"backlog#{LINK}", {LANES[0].key: {"from": 1, "to": 2}})
    part = TableBacklog(control, LINK, lambda: 9_000).take(9)
    assert part is not None
    assert (part.lanes, part.since) == ({LANES[0]: (1, 2)}, 9_000)


@pytest.mark.emulator
def test_a_region_that_does_not_answer_is_unavailable(settings: Settings) -> None:
    down = replace(settings, endpoints={settings.region: "http://127.0.0.1:9"}, attempts=1, connect_timeout=1)
    with pytest.raises(RegionUnavailable):
        TableBacklog(DynamoControl(down), LINK).defer({LANES[0]: (1, 1)}, 7)


# -- rounds ------------------------------------------------------------------------------------------------------------


def test_rounds_go_on_while_lanes_are_left_and_rest_in_between(backlog: Backlog) -> None:
    now = [0.0]
    rounds = Rounds(backlog, 99, lambda: now[0], pause=10.0)
    rounds.defer({LANES[0]: (1, 1)}, 7)
    tried: list[Any] = []

    def bring(part: Part) -> list[Any]:
        tried.append(part.lanes)
        left = [] if now[0] >= 20 else list(part.lanes)
        backlog.done(part, failed=left)
        return left

    for at in (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0):
        now[0] = at
        rounds.step(bring)
        rounds.step(bring)
    assert len(tried) == 3
    assert (rounds.behind, rounds.under_way) == (False, False)


def test_who_is_not_to_take_parts_defers_and_goes_through_all_of_them_when_it_is() -> None:
    control, mine = MemoryControl(), [False]
    other = TableBacklog(control, "us-east-1>eu-west-1", mine=lambda: mine[0])
    rounds = Rounds(other, 2, lambda: 0.0)
    rounds.defer({LANES[0]: (1, 1)}, 7)
    assert not rounds.step(lambda part: pytest.fail("another process takes it"))
    TableBacklog(control, "us-east-1>eu-west-1").defer(dict.fromkeys(LANES[1:], (1, 1)), 7)
    mine[0] = True
    brought: list[Any] = []

    def bring(part: Part) -> list[Any]:
        brought.extend(part.lanes)
        other.done(part)
        return []

    while rounds.step(bring):
        pass
    assert set(brought) == set(LANES)


def test_a_step_brings_one_part_and_leaves_the_rest_to_those_after_it(table: TableBacklog) -> None:
    rounds = Rounds(table, 2, lambda: 0.0)
    rounds.defer(dict.fromkeys(LANES, (1, 1)), 7)
    brought: list[int] = []

    def bring(part: Part) -> list[Any]:
        brought.append(len(part.lanes))
        table.done(part)
        return []

    for expected in ([2], [2, 2], [2, 2, 1]):
        assert rounds.step(bring)
        assert brought == expected


def test_draining_ends_a_round_that_was_cut_short_and_goes_once_round(backlog: Backlog) -> None:
    rounds = Rounds(backlog, 2, lambda: 0.0)
    rounds.defer(dict.fromkeys(LANES, (1, 1)), 7)
    tried: list[Any] = []

    def bring(part: Part) -> list[Any]:
        tried.extend(part.lanes)
        backlog.done(part, failed=list(part.lanes))
        return list(part.lanes)

    rounds.drain(bring, lambda: False)
    cut = len(tried)
    assert 0 < cut <= len(LANES)
    tried.clear()
    rounds.drain(bring, lambda: True)
    assert set(tried) == set(LANES)


def test_a_round_that_failed_is_followed_by_another(backlog: Backlog) -> None:
    rounds = Rounds(backlog, 99, lambda: 0.0)
    rounds.defer({LANES[0]: (1, 1)}, 7)

    def fails(part: Part) -> list[Any]:
        raise RegionUnavailable("down")

    with pytest.raises(RegionUnavailable):
        rounds.step(fails)
    assert not rounds.step(lambda part: [])
    assert rounds.step(lambda part: backlog.done(part) or [])  # type: ignore[func-returns-value]
    assert not rounds.step(lambda part: [])
    assert not rounds.behind
