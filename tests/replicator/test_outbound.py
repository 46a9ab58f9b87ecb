"""All links of a region: none waits for another, nothing travels on, and Lambda is never told wrongly that all is well."""

from __future__ import annotations

import json
import threading
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.batches import BatchFailed, item_failures
from replicator.control import MemoryControl, Quarantine
from replicator.copier import Copier
from replicator.courier import FUSE_SECONDS, Courier
from replicator.domain.clock import Hlc
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.errors import RegionUnavailable
from replicator.external.poison import LINK, Poison
from replicator.items import to_item
from replicator.linkstate import LinkState
from replicator.memory import MemoryStorage
from replicator.outbound import Outbound, Refusals
from replicator.pointers import Pointers, join
from replicator.queues import QueueBacklog
from replicator.records import Refused
from replicator.settings import Settings
from replicator.storage import Insert
from tests.processes import comes_back

EAST, WEST, SOUTH = "us-east-1", "eu-west-1", "ap-southeast-2"
ALL_IS_WELL: dict[str, list[dict[str, str]]] = {"batchItemFailures": []}


def denied(code: str = "AccessDeniedException") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "SendMessage")


class Table(MemoryStorage):
    """An events table: its stream has a record of whatever is written. `error` is raised by writes, `gate` holds them up,
    `throttled` lanes take nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.stream: list[Event] = []
        self.throttled: set[LaneId] = set()
        self.error: Exception | None = None
        self.errors: Iterator[bool] = iter(())
        self.gate = threading.Event()
        self.gate.set()

    def _write(self) -> None:
        self.gate.wait()
        if self.error is not None:
            raise self.error
        if next(self.errors, False):
            raise RegionUnavailable("now and then")

    def insert(self, events: Sequence[Event], guards: Sequence[Any] = ()) -> bool:
        self._write()
        added = super().insert(events, guards)
        self.stream += events if added else ()
        return added

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        self._write()
        passing = [event for event in events if event.lane not in self.throttled]
        outcomes = dict(zip(passing, super().insert_each(passing), strict=True))
        self.stream += [event for event, outcome in outcomes.items() if outcome is Insert.ADDED]
        return [outcomes.get(event, Insert.NOT_NOW) for event in events]


class Control(MemoryControl):
    error: Exception | None = None

    def put(self, scope: str, values: dict[str, dict[str, Any]]) -> None:
        self._check()
        super().put(scope, values)

    def get_all(self, scope: str, limit: int | None = None, after: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        self._check()
        return super().get_all(scope, limit, after)

    def _check(self) -> None:
        if self.error is not None:
            raise self.error


class Queue:
    """A queue whose messages stay until taken. `error` is raised by a send."""

    name = "a queue"

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.error: Exception | None = None
        self.errors: Iterator[bool] = iter(())

    def send(self, text: str, delay: int = 0) -> None:
        if self.error is not None:
            raise self.error
        if next(self.errors, False):
            raise RegionUnavailable("now and then")
        self.sent.append(text)

    def messages(self) -> list[dict[str, str]]:
        taken, self.sent = self.sent, []
        return [{"messageId": f"{self.name}-{n}", "body": text} for n, text in enumerate(taken)]


@dataclass
class Region:
    """A region whose peers are the other tables given."""

    name: str
    tables: dict[str, Table]
    partial: bool = True
    now: int = 10_000
    at: float = 0.0
    told: list[tuple[dict[str, str], dict[str, float]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.home, self.control = self.tables[self.name], Control()
        self.peers = {peer: table for peer, table in self.tables.items() if peer != self.name}
        self.queues = {peer: Queue() for peer in self.peers}
        self.quarantine = Quarantine(self.control, self.name)
        self.pools = [ThreadPoolExecutor(1) for _ in self.peers]
        self.outbound = self.restarted()

    def restarted(self) -> Outbound:
        def emit(dimensions: Any, values: Any) -> None:
            self.told.append((dict(dimensions), dict(values)))

        couriers = {}
        for (peer, table), pool in zip(self.peers.items(), self.pools, strict=True):
            link = f"{self.name}>{peer}"
            copier = Copier(self.home, table, Quarantine(self.control, link), pool, LinkState(), structlog.get_logger())
            backlog = QueueBacklog(link, self.queues[peer])  # type: ignore[arg-type]
            couriers[link] = Courier(link, self.name, copier, backlog, emit, lambda: self.now, lambda: self.at)
        refusals = Refusals(self.name, self.control, [self.name, *couriers], emit, lambda: self.now)
        self.outbound = Outbound(self.name, couriers, self.quarantine, refusals, emit, self.partial)
        return self.outbound

    def append(self, stream: str, count: int = 1) -> list[Event]:
        lane = LaneId(self.name, StreamId("user", stream))
        events = list(self.home.read(lane))
        before = len(events)
        for sequence in range(before + 1, before + count + 1):
            prev = events[-1].digest if events else GENESIS
            new = NewEvent("x", {"secret": "horse"})
            events.append(seal(lane, sequence, Hlc(1000 + sequence, 0), new, EMPTY, prev))
        MemoryStorage.insert_each(self.home, events[before:])
        self.home.stream += events[before:]
        return events[before:]

    def drain(self) -> None:
        for queue in self.queues.values():
            assert self.outbound.catch_up(queue.messages(), lambda: True) == ALL_IS_WELL

    def waiting(self, peer: str) -> Any:
        return join(Pointers.parse(text).lanes for text in self.queues[peer].sent)

    def metric(self, name: str) -> list[float]:
        return [values[name] for dimensions, values in self.told if name in values and dimensions == {"region": self.name}]


def record(event: Event, name: str = "INSERT", number: int = 1, **changed: Any) -> dict[str, Any]:
    item = to_item(event)
    keys = {"pk": item["pk"], "sk": item["sk"]}
    return {"eventName": name, "dynamodb": {"Keys": keys, "NewImage": item, "SequenceNumber": f"{number}00", **changed}}


def batch(events: Sequence[Event]) -> list[dict[str, Any]]:
    return [record(event, number=number) for number, event in enumerate(events, 1)]


def everything(table: MemoryStorage, region: str | None = None) -> dict[LaneId, list[Event]]:
    return {lane: list(MemoryStorage.read(table, lane)) for lane, _ in table.lanes() if region in (None, lane.region)}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.configure(**before)


@pytest.fixture
def east() -> Region:
    return Region(EAST, {name: Table() for name in (EAST, WEST, SOUTH)})


# -- out ---------------------------------------------------------------------------------------------------------------


def test_own_events_go_over_every_link_and_foreign_ones_over_none(east: Region) -> None:
    own = [*east.append("homer", 6), *east.append("marge")]
    foreign = Region(WEST, {WEST: Table()}).append("homer", 2)
    east.home.insert_each(foreign)
    assert east.outbound.replicate(batch([foreign[0], *own, foreign[1]])) == ALL_IS_WELL
    for peer in (WEST, SOUTH):
        assert everything(east.peers[peer]) == everything(east.home, EAST)
        assert east.queues[peer].sent == []
    assert east.outbound.replicate(batch([foreign[0], *own, foreign[1]])) == ALL_IS_WELL
    assert east.outbound.replicate([]) == ALL_IS_WELL
    assert [len(table.stream) for table in east.peers.values()] == [7, 7]


@pytest.mark.parametrize(
    "error",
    [RegionUnavailable("down"), denied("ResourceNotFoundException"), denied(), KeyError("Responses")],
    ids=["down", "no table", "no right", "a mistake"],
)
def test_a_dead_peer_has_its_events_waiting_and_the_other_has_them(east: Region, error: Exception) -> None:
    east.peers[WEST].error = error
    for n in range(3):
        assert east.outbound.replicate(batch([*east.append("homer", 2), *east.append(f"bart{n}", 6)])) == ALL_IS_WELL
    assert everything(east.peers[SOUTH]) == everything(east.home)
    assert east.waiting(WEST) == {lane: (1, len(events)) for lane, events in everything(east.home).items()}
    assert east.queues[SOUTH].sent == []
    assert "horse" not in json.dumps([east.queues[WEST].sent, east.told])

    east.peers[WEST].error = None
    east.drain()
    assert everything(east.peers[WEST]) == everything(east.home)


def test_a_peer_that_hangs_holds_up_the_others_for_a_bounded_time(east: Region) -> None:
    east.peers[WEST].gate.clear()
    try:
        for _ in range(2):
            batch_of_one = batch(east.append("homer"))
            assert comes_back(lambda sent=batch_of_one: east.outbound.replicate(sent)) == ALL_IS_WELL  # type: ignore[misc]
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
    events = east.append("homer", 3) if lane == EAST else Region(WEST, {WEST: Table()}).append("homer", 3)
    east.outbound.replicate(batch(events))
    before = {peer: everything(table) for peer, table in east.peers.items()}
    mixed = [record(events[1], name, 4, **changed), *batch(east.append("marge"))]
    for _ in range(3):
        assert east.outbound.replicate(mixed) == ALL_IS_WELL
    for peer, table in east.peers.items():
        assert {k: v for k, v in everything(table).items() if k.stream.id == "homer"} == before[peer]
        assert [len(found) for k, found in everything(table).items() if k.stream.id == "marge"] == [1]
    ((item, value),) = east.quarantine.records()
    assert item == f"{events[1].lane.key} 0000000000000002"
    assert name in value["reason"]
    assert [values for dimensions, values in east.told if "EventsChanged" in values] == [
        {"EventsRefused": 1, "EventsChanged": 1}
    ] * 3
    assert all(d == {"region": EAST} for d, values in east.told if "EventsChanged" in values)
    assert east.metric("Quarantined")[-1] == 1
    assert "horse" not in json.dumps([east.told, east.quarantine.records()])


@pytest.mark.parametrize("image", [None, {}, {"payload": {"S": "horse"}}], ids=["null", "empty", "alone"])
def test_a_record_that_is_no_event_is_told_and_stops_no_other(east: Region, image: Any) -> None:
    (bad,), good = east.append("homer"), east.append("marge", 2)
    records = [record(good[0], number=1), record(bad, number=2, NewImage=image), record(good[1], number=3)]
    assert east.outbound.replicate(records) == ALL_IS_WELL
    assert all(table.stream == good for table in east.peers.values())
    assert [item for item, _ in east.quarantine.records()] == [f"{bad.lane.key} 0000000000000001"]
    assert [v for _, v in east.told if "EventsRefused" in v] == [{"EventsRefused": 1, "EventsChanged": 0}]
    assert "horse" not in json.dumps([east.told, east.quarantine.records()])


# -- what Lambda is told -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("others", [0, 1, 4])
@pytest.mark.parametrize("partial", [True, False])
def test_while_the_backlog_is_down_too_the_first_lost_record_is_named(others: int, partial: bool) -> None:
    east = Region(EAST, {name: Table() for name in (EAST, WEST, SOUTH)}, partial)
    foreign = Region(WEST, {WEST: Table()}).append("moe", others) if others else []
    events = [*east.append("homer", 2), *east.append("marge", 6)]
    east.peers[WEST].error, east.queues[WEST].error = RegionUnavailable("down"), RegionUnavailable("down")
    records = batch([*foreign, *events])
    if others and partial:
        assert east.outbound.replicate(records) == item_failures([f"{others + 1}00"])
    else:
        with pytest.raises(BatchFailed) as raised:
            east.outbound.replicate(records)
        assert "horse" not in str(raised.value)
    assert everything(east.peers[SOUTH]) == everything(east.home), "the other link is not concerned"

    east.queues[WEST].error = None
    assert east.outbound.replicate(records[others:]) == ALL_IS_WELL
    assert east.waiting(WEST) == {lane: (1, len(found)) for lane, found in everything(east.home).items()}


def test_links_that_lose_different_events_go_back_to_the_first_of_them(east: Region) -> None:
    ned, homer, marge = (east.append(name)[0] for name in ("ned", "homer", "marge"))
    for peer, lost in ((WEST, marge), (SOUTH, homer)):
        east.peers[peer].throttled, east.queues[peer].error = {lost.lane}, RegionUnavailable("down")
    assert east.outbound.replicate(batch([ned, homer, marge])) == item_failures(["200"])
    assert east.outbound.replicate(batch([ned, marge, ned, homer])) == item_failures(["200"])
    assert east.peers[WEST].stream == [ned, homer]
    assert east.peers[SOUTH].stream == [ned, marge]


@pytest.mark.parametrize("error", [denied(), denied("InvalidMessageContents"), KeyError("QueueUrl")], ids=str)
def test_a_backlog_that_fails_as_nobody_foresaw_is_no_success(east: Region, error: Exception) -> None:
    events = east.append("homer", 2)
    east.peers[WEST].error, east.queues[WEST].error = RegionUnavailable("down"), error
    with pytest.raises(type(error)):
        east.outbound.replicate(batch(events))
    east.queues[WEST].error = None
    assert east.outbound.replicate(batch(events)) == ALL_IS_WELL
    assert everything(east.peers[SOUTH]) == everything(east.home)
    assert east.waiting(WEST) == {events[0].lane: (1, 2)}


def test_a_refusal_that_cannot_be_recorded_brings_the_batch_again(east: Region) -> None:
    events = east.append("homer", 2)
    east.control.error = RegionUnavailable("down")
    records = [record(events[0]), record(events[1], "REMOVE", 2)]
    with pytest.raises(RegionUnavailable):
        east.outbound.replicate(records)
    east.control.error = None
    assert east.outbound.replicate(records) == ALL_IS_WELL
    assert len(east.quarantine.records()) == 1


@pytest.mark.parametrize(
    "error",
    [
        RegionUnavailable("down"),
        denied(),
    ],
    ids=["down", "no right"],
)
def test_a_quarantine_that_cannot_be_counted_fails_no_batch(east: Region, error: Exception) -> None:
    east.control.error = error
    assert east.outbound.replicate(batch(east.append("homer"))) == ALL_IS_WELL
    assert east.metric("Quarantined") == []
    east.control.error = None
    assert east.outbound.replicate(batch(east.append("homer"))) == ALL_IS_WELL
    assert east.metric("Quarantined") == [0]


def test_quarantine_is_told_now_and_then_and_at_once_when_it_grows_until_it_is_empty_again(east: Region) -> None:
    said = []
    for now, changed in ((0, False), (29_999, False), (30_000, False), (30_001, True), (60_000, False), (60_001, False)):
        east.now, before = now, len(east.metric("Quarantined"))
        (event,) = east.append("homer")
        east.outbound.replicate([record(event, "MODIFY" if changed else "INSERT")])
        said.append(east.metric("Quarantined")[before:])
    assert said == [[0], [], [0], [1], [], [1]]
    east.quarantine.release(dict(east.quarantine.records()))
    east.now = 100_000
    east.outbound.catch_up([], lambda: True)
    assert east.metric("Quarantined")[-1] == 0


def test_refusals_count_every_scope_that_the_region_has(east: Region) -> None:
    for number, scope in enumerate((EAST, f"{EAST}>{WEST}", f"{EAST}>{SOUTH}", f"{EAST}>views", f"{WEST}>{EAST}", "mars")):
        for n in range(10**number):
            if number < 3:
                Quarantine(east.control, scope).add(f"e{n}", "why")
    east.outbound.refusals.report(now=True)
    assert east.metric("Quarantined") == [111]


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
    homer, marge = (east.append(name)[0].lane for name in ("homer", "marge"))
    west, south = f"{EAST}>{WEST}", f"{EAST}>{SOUTH}"
    messages = [
        message(1, west, homer),
        message(2, west, homer, **changed),
        message(3, west, marge),
        message(4, south, marge),
    ]
    assert east.outbound.catch_up(messages, lambda: True) == item_failures(["m2"])
    assert set(everything(east.peers[WEST])) == {homer, marge}
    assert set(everything(east.peers[SOUTH])) == {marge}


def test_an_enormous_number_of_tries_is_a_number_like_any_other(east: Region) -> None:
    (event,) = east.append("homer")
    east.peers[WEST].error = RegionUnavailable("down")
    tracemalloc.start()
    try:  # at 10**12 the machine's memory is gone
        assert east.outbound.catch_up([message(1, f"{EAST}>{WEST}", event.lane, tries=10**8)], lambda: True) == ALL_IS_WELL
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert east.waiting(WEST) == {event.lane: (1, 1)}


def test_messages_of_a_link_whose_backlog_takes_nothing_are_kept(east: Region) -> None:
    lane = east.append("homer")[0].lane
    for table in east.peers.values():
        table.error = RegionUnavailable("down")
    east.queues[WEST].error = RegionUnavailable("down")
    messages = [message(n, f"{EAST}>{peer}", lane) for n, peer in enumerate((WEST, SOUTH, WEST))]
    assert east.outbound.catch_up(messages, lambda: True) == item_failures(["m0", "m2"])
    assert (east.waiting(WEST), east.waiting(SOUTH)) == ({}, {lane: (1, 1)})


# -- all of it together ------------------------------------------------------------------------------------------------


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), max_size=3), min_size=1, max_size=6),
    st.lists(st.booleans(), max_size=30),
    st.lists(st.booleans(), max_size=12),
    st.booleans(),
    st.integers(0, 3),
)
def test_lambda_hands_a_batch_over_until_it_is_taken_and_then_nothing_is_missing(
    plan: Any, faults: list[bool], queue_faults: list[bool], partial: bool, restart: int
) -> None:
    east = Region(EAST, {name: Table() for name in (EAST, WEST, SOUTH)}, partial)
    east.peers[WEST].errors, east.queues[WEST].errors = iter(faults), iter(queue_faults)
    for number, streams in enumerate(plan):
        records = batch([event for stream, count in streams for event in east.append(stream, count)])
        for attempt in range(100):
            east.at += FUSE_SECONDS / 2
            if attempt == restart:
                east.restarted()
            try:
                failures = east.outbound.replicate(records)["batchItemFailures"]
            except (BatchFailed, RegionUnavailable):
                continue
            if not failures:
                break
            (failure,) = failures
            numbers = [each["dynamodb"]["SequenceNumber"] for each in records]
            records = records[numbers.index(failure["itemIdentifier"]) :]  # as Lambda: what was before it is done
        else:
            raise AssertionError(f"batch {number} is never taken")
        for table in east.peers.values():
            for lane, found in everything(table).items():
                assert found == everything(east.home)[lane][: len(found)]
    east.peers[WEST].errors = east.queues[WEST].errors = iter(())
    while any(queue.sent for queue in east.queues.values()):
        east.drain()
    assert everything(east.peers[WEST]) == everything(east.peers[SOUTH]) == everything(east.home)
    assert [value for _, value in east.quarantine.records()] == []


@pytest.mark.parametrize("down", [None, WEST], ids=["all up", "one down at first"])
def test_n_regions_write_an_event_n_times_and_then_all_is_quiet(down: str | None) -> None:
    tables = {name: Table() for name in (EAST, WEST, SOUTH)}
    regions = [Region(name, tables) for name in tables]
    appended = [e for region in regions for e in [*region.append("homer", 7), *region.append(f"own-{region.name}", 2)]]
    read = dict.fromkeys(tables, 0)
    if down:
        tables[down].error = RegionUnavailable("down")
    for turn in range(6):
        if turn == 3:
            for table in tables.values():
                table.error = None
        for region in regions:
            region.at += FUSE_SECONDS
            records = batch(region.home.stream[read[region.name] :])
            read[region.name] = len(region.home.stream)
            assert region.outbound.replicate(records) == ALL_IS_WELL
            region.drain()
    written = Counter(event.id for table in tables.values() for event in table.stream)
    assert written == {event.id: 3 for event in appended}
    assert everything(tables[EAST]) == everything(tables[WEST]) == everything(tables[SOUTH])
    assert not any(queue.sent for region in regions for queue in region.queues.values())
