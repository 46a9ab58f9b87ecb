"""Invocations as the driver of links: none waits for another, and Lambda is never told wrongly that all is well."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from replicator.control.memory_control import MemoryControl
from replicator.control.pointers import Pointers
from replicator.control.quarantine import Quarantine
from replicator.control.suspects import Suspects
from replicator.domain.errors import RegionUnavailable
from replicator.domain.names import LaneId
from replicator.external.external_quarantine import LINK, Poison
from replicator.replication.lambda_batches import BatchFailed, item_failures
from replicator.replication.refusals import Refusals
from replicator.replication.stream_records import Refused
from replicator.runtime.settings import Settings
from tests.processes import comes_back
from tests.replicator.links import (
    ALL_IS_WELL,
    EAST,
    SOUTH,
    WEST,
    Region,
    batch,
    chain,
    client_error,
    everything,
    lane_of,
    record,
)  # fmt: skip


def own(region: Region) -> Quarantine:
    """What the region has refused of its own stream."""
    return Quarantine(region.control, region.name)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.configure(**before)


@pytest.fixture
def east() -> Iterator[Region]:
    made = Region("function", "queue")
    yield made
    made.close()


# -- out ---------------------------------------------------------------------------------------------------------------


def test_a_peer_that_hangs_holds_up_the_others_for_a_bounded_time(east: Region) -> None:
    east.peers[WEST].gate.clear()
    try:
        for _ in range(2):
            batch_of_one = batch(east.append(("homer", 1)))
            assert comes_back(lambda sent=batch_of_one: east.function.replicate(sent)) == ALL_IS_WELL  # type: ignore[misc]
        assert len(list(east.peers[SOUTH].stream)) == 2
    finally:
        east.peers[WEST].gate.set()


@pytest.mark.parametrize("lane", [EAST, WEST], ids=["own lane", "copied lane"])
@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("MODIFY", {"OldImage": {"payload": {"S": '{"secret":"horse"}'}}}),
        ("REMOVE", {"NewImage": None}),
        ("REMOVE", {"NewImage": None, "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"}}),
    ],
    ids=["modified", "removed", "expired"],
)
def test_a_change_of_an_event_is_told_and_does_nothing_to_a_peer(
    east: Region, name: str, changed: dict[str, Any], lane: str
) -> None:
    events = east.append(("homer", 3)) if lane == EAST else chain(lane_of("homer", WEST), 3)
    east.function.replicate(batch(events))
    before = {peer: everything(table) for peer, table in east.peers.items()}
    mixed = [record(events[1], name, 4, **changed), *batch(east.append(("marge", 1)))]
    for _ in range(3):
        assert east.function.replicate(mixed) == ALL_IS_WELL
    for peer, table in east.peers.items():
        assert {k: v for k, v in everything(table).items() if k.stream.id == "homer"} == before[peer]
        assert [len(found) for k, found in everything(table).items() if k.stream.id == "marge"] == [1]
    ((item, value),) = own(east).records()
    assert item == f"{events[1].lane.key} 0000000000000002"
    assert name in value["reason"]
    assert list(Suspects(east.control).notes()) == [events[1].lane], "a comparison of regions looks at it"
    assert [values for dimensions, values in east.told if "EventsChanged" in values] == [
        {"EventsRefused": 1, "EventsChanged": 1}
    ] * 3
    assert all(d == {"region": EAST} for d, values in east.told if "EventsChanged" in values)
    assert east.metric("Quarantined")[-1] == 1
    assert "horse" not in json.dumps([east.told, own(east).records()])


@pytest.mark.parametrize("image", [None, {}, {"payload": {"S": "horse"}}], ids=["null", "empty", "alone"])
def test_a_record_that_is_no_event_is_told_and_stops_no_other(east: Region, image: Any) -> None:
    (bad,), good = east.append(("homer", 1)), east.append(("marge", 2))
    records = [record(good[0], number=1), record(bad, number=2, NewImage=image), record(good[1], number=3)]
    assert east.function.replicate(records) == ALL_IS_WELL
    assert all(table.stream == good for table in east.peers.values())
    assert [item for item, _ in own(east).records()] == [f"{bad.lane.key} 0000000000000001"]
    assert [v for _, v in east.told if "EventsRefused" in v] == [{"EventsRefused": 1}], (
        "a 0 would end the alarm on what was changed before"
    )
    assert "horse" not in json.dumps([east.told, own(east).records()])


# -- what Lambda is told -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0, 1, 4])
@pytest.mark.parametrize("partial", [True, False])
def test_while_the_backlog_is_down_too_the_first_lost_record_is_named(others: int, partial: bool) -> None:
    east = Region("function", "queue", partial=partial)
    foreign = chain(lane_of("moe", WEST), others)
    events = [*east.append(("homer", 2)), *east.append(("marge", 6))]
    east.peers[WEST].error, east.queues[WEST].error = RegionUnavailable("down"), RegionUnavailable("down")
    records = batch([*foreign, *events])
    if others and partial:
        assert east.function.replicate(records) == item_failures([f"{others + 1}00"])
    else:
        with pytest.raises(BatchFailed) as raised:
            east.function.replicate(records)
        assert "horse" not in str(raised.value)
    assert everything(east.peers[SOUTH]) == everything(east.home), "the other link is not concerned"

    east.queues[WEST].error = None
    assert east.function.replicate(records[others:]) == ALL_IS_WELL
    assert east.waiting(WEST) == {lane: (1, len(found)) for lane, found in everything(east.home).items()}


def test_links_that_lose_different_events_go_back_to_the_first_of_them(east: Region) -> None:
    ned, homer, marge = (east.append((name, 1))[0] for name in ("ned", "homer", "marge"))
    for peer, lost in ((WEST, marge), (SOUTH, homer)):
        east.peers[peer].throttled, east.queues[peer].error = {lost.lane}, RegionUnavailable("down")
    assert east.function.replicate(batch([ned, homer, marge])) == item_failures(["200"])
    assert east.function.replicate(batch([ned, marge, ned, homer])) == item_failures(["200"])
    assert east.peers[WEST].stream == [ned, homer]
    assert east.peers[SOUTH].stream == [ned, marge]


@pytest.mark.parametrize(
    "error", [client_error("AccessDeniedException"), client_error("InvalidMessageContents"), KeyError("QueueUrl")], ids=str
)
def test_a_backlog_that_fails_as_nobody_foresaw_is_no_success(east: Region, error: Exception) -> None:
    events = east.append(("homer", 2))
    east.peers[WEST].error, east.queues[WEST].error = RegionUnavailable("down"), error
    with pytest.raises(type(error)):
        east.function.replicate(batch(events))
    east.queues[WEST].error = None
    assert east.function.replicate(batch(events)) == ALL_IS_WELL
    assert everything(east.peers[SOUTH]) == everything(east.home)
    assert east.waiting(WEST) == {events[0].lane: (1, 2)}


def test_a_refusal_that_cannot_be_recorded_brings_the_batch_again(east: Region) -> None:
    events = east.append(("homer", 2))
    east.control.error = RegionUnavailable("down")
    records = [record(events[0]), record(events[1], "REMOVE", 2)]
    with pytest.raises(RegionUnavailable):
        east.function.replicate(records)
    east.control.error = None
    assert east.function.replicate(records) == ALL_IS_WELL
    assert len(own(east).records()) == 1


@pytest.mark.parametrize(
    "error",
    [
        RegionUnavailable("down"),
        client_error("AccessDeniedException"),
    ],
    ids=["down", "no right"],
)
def test_a_quarantine_that_cannot_be_counted_fails_no_batch(east: Region, error: Exception) -> None:
    east.control.error = east.control.read_error = error
    assert east.function.replicate(batch(east.append(("homer", 1)))) == ALL_IS_WELL
    assert east.metric("Quarantined") == []
    east.control.error = east.control.read_error = None
    assert east.function.replicate(batch(east.append(("homer", 1)))) == ALL_IS_WELL
    assert east.metric("Quarantined") == [0]


def test_quarantine_is_told_now_and_then_and_at_once_when_it_grows_until_it_is_empty_again(east: Region) -> None:
    said = []
    for now, changed in ((0, False), (29_999, False), (30_000, False), (30_001, True), (60_000, False), (60_001, False)):
        east.now, before = now, len(east.metric("Quarantined"))
        (event,) = east.append(("homer", 1))
        east.function.replicate([record(event, "MODIFY" if changed else "INSERT")])
        said.append(east.metric("Quarantined")[before:])
    assert said == [[0], [], [0], [1], [], [1]]
    own(east).release(dict(own(east).records()))
    east.now = 100_000
    east.function.catch_up([], lambda: True)
    assert east.metric("Quarantined")[-1] == 0


def test_refusals_count_every_scope_that_the_region_has(east: Region) -> None:
    for number, scope in enumerate((EAST, f"{EAST}>{WEST}", f"{EAST}>{SOUTH}", f"{EAST}>views", f"{WEST}>{EAST}", "mars")):
        for n in range(10**number):
            if number < 3:
                Quarantine(east.control, scope).add(f"e{n}", "why")
    east.function.refusals.report(now=True)
    assert east.metric("Quarantined") == [111]


def test_of_many_processes_one_counts_in_half_a_minute_and_the_others_read_what_it_counted(east: Region) -> None:
    def report(now: bool = False) -> float:
        told: list[float] = []
        Refusals(EAST, east.control, [EAST], lambda _, v: told.append(v["Quarantined"]), lambda: east.now).report(now)
        return told[0]

    Quarantine(east.control, EAST).add("e0", "why")
    assert report() == 1
    Quarantine(east.control, EAST).add("e1", "why")
    east.now += 29_999
    assert report() == 1
    assert report(now=True) == report() == 2, "who has refused something counts, for the others, too"
    Quarantine(east.control, EAST).add("e2", "why")
    east.now += 30_000
    assert report() == 3
    east.now -= 60_000  # a clock that is behind the one that counted
    Quarantine(east.control, EAST).add("e3", "why")
    assert report() == 4


@pytest.mark.parametrize(("external", "count"), [("", 0), ("accounts:Accounts", 1)])
def test_refusals_count_what_cannot_be_published_where_external_events_are(external: str, count: int) -> None:
    told: list[float] = []
    control = MemoryControl()
    Poison(Quarantine(control, f"{EAST}>{LINK}")).refuse(Refused("record 7", "why"))
    refusals = Refusals.connect(
        Settings(EAST, (WEST,), external=external), control, lambda _, v: told.append(v["Quarantined"])
    )
    refusals.report()
    assert told == [count]


# -- back --------------------------------------------------------------------------------------------------------------


def message(number: int, of: str, lane: LaneId, **changed: Any) -> dict[str, str]:
    value = json.loads(str(Pointers(of, {lane: (1, 1)}, 5000)))
    return {"messageId": f"m{number}", "body": json.dumps({**value, **changed})}


HOSTILE: dict[str, dict[str, Any]] = {
    "another version": {"v": 7},
    "another region's link": {"link": f"{WEST}>{EAST}"},
    "no link at all": {"link": "mars"},
    "the views": {"link": f"{EAST}>views"},
    "a forged lane": {"lanes": {"US-EAST-1#user#homer": [1, 1]}},
    "no lanes": {"lanes": None},
    "negative tries": {"tries": -5},
}


@pytest.mark.parametrize("changed", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_message_that_means_nothing_here_is_kept_and_the_others_are_worked_on(
    east: Region, changed: dict[str, Any]
) -> None:
    homer, marge = (east.append((name, 1))[0].lane for name in ("homer", "marge"))
    west, south = f"{EAST}>{WEST}", f"{EAST}>{SOUTH}"
    messages = [
        message(1, west, homer),
        message(2, west, homer, **changed),
        message(3, west, marge),
        message(4, south, marge),
    ]
    assert east.function.catch_up(messages, lambda: True) == item_failures(["m2"])
    assert set(everything(east.peers[WEST])) == {homer, marge}
    assert set(everything(east.peers[SOUTH])) == {marge}


def test_an_enormous_number_of_tries_is_a_number_like_any_other(east: Region) -> None:
    (event,) = east.append(("homer", 1))
    east.peers[WEST].error = RegionUnavailable("down")
    tracemalloc.start()
    try:  # at 10**12 the machine's memory is gone
        assert east.function.catch_up([message(1, f"{EAST}>{WEST}", event.lane, tries=10**8)], lambda: True) == ALL_IS_WELL
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert east.waiting(WEST) == {event.lane: (1, 1)}


def test_messages_of_a_link_whose_backlog_takes_nothing_are_kept(east: Region) -> None:
    lane = east.append(("homer", 1))[0].lane
    for table in east.peers.values():
        table.error = RegionUnavailable("down")
    east.queues[WEST].error = RegionUnavailable("down")
    messages = [message(n, f"{EAST}>{peer}", lane) for n, peer in enumerate((WEST, SOUTH, WEST))]
    assert east.function.catch_up(messages, lambda: True) == item_failures(["m0", "m2"])
    assert (east.waiting(WEST), east.waiting(SOUTH)) == ({}, {lane: (1, 1)})


def test_messages_of_one_link_are_one_piece_of_work(east: Region) -> None:
    homer, marge = (events[0].lane for events in (east.append(("homer", 9)), east.append(("marge", 2))))
    messages = [
        message(n, f"{EAST}>{WEST}", lane) for n, lane in enumerate([homer, marge, homer, homer, marge, homer, homer])
    ]
    assert east.function.catch_up(messages, lambda: True) == ALL_IS_WELL
    assert not east.lacks()
    assert east.peers[WEST].calls <= 6, "one look at all, one at each, one transaction, and the short lane's two events"


def test_a_message_for_whose_lanes_there_is_no_time_is_kept_while_the_backlog_is_down(east: Region) -> None:
    events = east.append(*((f"u{n:03}", 1) for n in range(140)))
    east.queues[WEST].error = RegionUnavailable("down")
    pointers = Pointers(f"{EAST}>{WEST}", {event.lane: (1, 9) for event in events}, 5000)
    messages = [{"messageId": "m1", "body": str(pointers)}]
    assert east.function.catch_up(messages, lambda: False) == item_failures(["m1"])
    assert 0 < len(everything(east.peers[WEST])) < 140
