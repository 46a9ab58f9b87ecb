"""The replicator of a region: every event of its own arrives at every peer, nothing else does, and it stops when told."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import pytest
import structlog

from replicator.aws import clients
from replicator.aws.control_table import DynamoControl
from replicator.aws.dynamodb_streams import DynamoStreamReader
from replicator.aws.event_table import DynamoStorage
from replicator.connect import connect_replicator
from replicator.control.backlog import TableBacklog
from replicator.control.checkpoints import Checkpoints
from replicator.control.control_storage import ControlStorage
from replicator.control.memory_control import MemoryControl
from replicator.control.quarantine import Quarantine
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import LaneId, StreamId
from replicator.eventstore.event_items import to_item
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.store import EventStore
from replicator.replication.batch_reader import Batch
from replicator.replication.copier import Copier
from replicator.replication.link import Link
from replicator.replication.link_state import LinkState
from replicator.replication.peer_tables import PeerTables
from replicator.replication.refusals import Refusals
from replicator.replication.worker import LinkThread, Replicator
from replicator.runtime.metrics import log_metrics
from replicator.runtime.settings import Settings
from tests.processes import HANGING_SECONDS, wait_until
from tests.replicator.links import SOUTH, WEST, Region, everything

HOMER = "user/homer"


def until(what: Callable[[], bool]) -> None:
    wait_until(what, "it has happened")


@contextmanager
def running(*replicators: Replicator) -> Iterator[threading.Event]:
    """Run them until the block ends; then each must end cleanly."""
    stop = threading.Event()
    with ThreadPoolExecutor(len(replicators)) as pool:
        futures: list[Future[None]] = [pool.submit(replicator.run, stop) for replicator in replicators]
        try:
            yield stop
        finally:
            stop.set()
            for future in futures:
                future.result(HANGING_SECONDS)


class Side:
    """A region and what its applications and its tables hold."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.storage, self.control = DynamoStorage(settings), DynamoControl(settings)
        self.store = EventStore(self.storage, settings.region, settings.regions)
        self.client: Any = clients.dynamodb(settings, settings.region)

    def worker(self) -> Replicator:
        return connect_replicator(self.settings)

    def everything(self) -> dict[LaneId, list[Event]]:
        return {lane: list(self.storage.read(lane)) for lane, _ in self.storage.lanes()}

    def idle(self) -> bool:
        """Nothing waits for the peer, and the stream's reader has noted where it is."""
        link = f"{self.settings.region}>{self.settings.peers[0]}"
        backlog, checkpoints = TableBacklog(self.control, link), self.control.get_all("checkpoint#replicator")
        return not backlog.page(1) and any(checkpoints)

    def refused(self) -> list[str]:
        return [value["reason"] for _, value in Quarantine(self.control, self.settings.region).records()]

    def stream_records(self) -> Counter[str]:
        """What the table's stream holds: `eventName region`, counted."""
        reader = DynamoStreamReader.connect(self.settings, Checkpoints(MemoryControl(), "test"))
        return Counter(
            f"{record['eventName']} {record['dynamodb']['Keys']['pk']['S'].split('#')[0]}"
            for _ in range(3)
            for batch in reader.poll()
            for record in batch.records
        )


@pytest.fixture
def pair(settings: Settings) -> tuple[Side, Side]:
    here = replace(settings, poll_interval=0.1, read_timeout=20)
    return Side(here), Side(replace(here, region="eu-west-1", peers=("us-east-1",)))


def keys_of(event: Event) -> dict[str, Any]:
    return {name: to_item(event)[name] for name in ("pk", "sk")}


# -- on the emulator -------------------------------------------------------------------------------------------------


@pytest.mark.emulator
def test_events_of_both_regions_arrive_at_the_other_once_and_never_travel_on(pair: tuple[Side, Side]) -> None:
    east, west = pair
    with running(east.worker(), west.worker()):
        for n in range(12):
            for side in pair:
                side.store.append(f"user/u{n % 3}", *[NewEvent("x", {"n": n})] * (7 if n == 5 else 1))
        until(lambda: east.everything() == west.everything() and len(east.everything()) == 6)
        once = Counter({"INSERT us-east-1": 18, "INSERT eu-west-1": 18})  # written once at home, once at the peer
        assert [side.stream_records() for side in pair] == [once, once]
        time.sleep(1)
        assert [side.stream_records() for side in pair] == [once, once]
    for n in range(3):
        assert list(east.store.read(f"user/u{n}")) == list(west.store.read(f"user/u{n}"))


@pytest.mark.emulator
def test_changing_or_removing_an_event_is_never_copied_and_is_quarantined_once(pair: tuple[Side, Side]) -> None:
    here, there = pair
    events = list(here.store.append(HOMER, *[NewEvent("x", {"n": n}) for n in range(3)]))
    with running(here.worker()):
        until(lambda: list(there.everything().values()) == [events])
        until(here.idle)  # the lanes compared at the start are done: a lane that lost its end meanwhile would be a fork
        table: Any = {"TableName": here.settings.events_table}
        for forged in ("1", "2"):
            update = {"UpdateExpression": "SET payload = :p", "ExpressionAttributeValues": {":p": {"S": forged}}}
            here.client.update_item(**table, Key=keys_of(events[1]), **update)
        here.client.delete_item(**table, Key=keys_of(events[2]))
        events += here.store.append(HOMER, NewEvent("after", {}))
        until(lambda: list(there.everything().values()) == [events])
    assert [reason.split()[0] for reason in here.refused()] == ["MODIFY", "REMOVE"]


@pytest.mark.emulator
def test_changing_a_copy_is_quarantined_where_it_happened_and_nowhere_else_followed(pair: tuple[Side, Side]) -> None:
    here, there = pair
    (event,) = here.store.append(HOMER, NewEvent("x", {}))
    there.storage.insert([event])
    there.client.delete_item(TableName=there.settings.events_table, Key=keys_of(event))
    with running(there.worker()):
        until(lambda: there.refused() != [])
    assert list(here.storage.read(event.lane)) == [event]


@pytest.mark.emulator
def test_an_item_that_is_no_event_holds_up_nothing_else(pair: tuple[Side, Side]) -> None:
    here, there = pair
    poison: Any = {"pk": {"S": "us-east-1#nonsense"}, "sk": {"S": "one"}}
    here.client.put_item(TableName=here.settings.events_table, Item=poison)
    (event,) = here.store.append(HOMER, NewEvent("x", {}))
    with running(here.worker()):
        until(lambda: list(there.storage.read(event.lane)) == [event])
        until(lambda: len(here.refused()) == 1)


class _Trimmed(DynamoStreamReader):
    """Every record has aged out of the stream."""

    def poll(self) -> list[Batch]:
        return [replace(batch, records=()) for batch in DynamoStreamReader.poll(self)]


@pytest.mark.emulator
def test_a_start_without_a_checkpoint_compares_all_lanes_so_a_trimmed_stream_loses_nothing(
    pair: tuple[Side, Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pair
    for n in range(3):
        here.store.append(f"user/u{n}", *[NewEvent("x", {})] * (n * 49 or 1))
    there.storage.insert(list(here.storage.read(LaneId("us-east-1", StreamId("user", "u2")), last=7)))
    monkeypatch.setattr("replicator.aws.dynamodb_streams.DynamoStreamReader", _Trimmed)
    with running(here.worker()):
        until(lambda: here.everything() == there.everything())


@pytest.mark.emulator
def test_a_restart_goes_on_from_the_checkpoint(pair: tuple[Side, Side]) -> None:
    here, there = pair
    here.store.append(HOMER, *[NewEvent("x", {})] * 3)
    with running(here.worker()):
        until(lambda: here.everything() == there.everything() and here.idle())  # or its backlog is the second one's
    assert list(here.control.get_all("checkpoint#replicator")) != []
    second = here.worker()
    with running(second):
        here.store.append(HOMER, NewEvent("later", {}))
        until(lambda: here.everything() == there.everything())
    assert (second.links[0].state.copied, second.links[0].state.known) == (1, 0)
    assert list(here.control.get_all("backlog#us-east-1>eu-west-1")) == []


# -- faults of the own region, which the emulator cannot be told to have -----------------------------------------------


class _Reader:
    """A reader that gives each list of batches once: like a stream, it does not go back within one process."""

    def __init__(self, *polls: list[Batch]) -> None:
        self.polls = deque(polls)
        self.committed: list[Batch] = []

    def session(self) -> AbstractContextManager[None]:
        return nullcontext()

    def poll(self) -> list[Batch]:
        return self.polls.popleft() if self.polls else []

    def commit(self, batch: Batch) -> None:
        self.committed.append(batch)


class _Down(MemoryStorage):
    def insert_each(self, events: Any) -> Any:
        raise RegionUnavailable("the peer is down")

    insert = insert_each


class _LanesFailOnce(MemoryStorage):
    failed = False

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        if not self.failed:
            self.failed = True
            raise RegionUnavailable("for a moment")
        return super().lanes()


class _ControlDown(MemoryControl):
    up = False

    def put(self, scope: str, values: dict[str, dict[str, Any]]) -> None:
        if not self.up:
            raise RegionUnavailable("the own region is down")
        super().put(scope, values)


def wired(reader: _Reader, home: MemoryStorage, peer: MemoryStorage, control: ControlStorage) -> Replicator:
    quarantine, pool = Quarantine(control, "l"), ThreadPoolExecutor(2)
    copier = Copier(home, peer, quarantine, pool, LinkState(), structlog.get_logger())
    link = Link("us-east-1", "eu-west-1", copier, TableBacklog(control, "l"), PeerTables(control), log_metrics)
    refusals = Refusals("us-east-1", control, ["us-east-1"], log_metrics)
    return Replicator("us-east-1", reader, home, [LinkThread(link)], refusals, 0.01)  # type: ignore[arg-type]


def batch_of(*events: Event, trimmed: bool = False) -> Batch:
    records = ({"eventName": "INSERT", "dynamodb": {"Keys": to_item(e), "NewImage": to_item(e)}} for e in events)
    return Batch("shard", tuple(records), "7", trimmed=trimmed)


def test_batches_that_were_read_survive_a_moment_without_the_own_region() -> None:
    home, peer = _LanesFailOnce(), MemoryStorage()
    store = EventStore(home, "us-east-1", [])
    first, second = store.append("user/a", NewEvent("x", {})), store.append("user/b", NewEvent("x", {}))
    reader = _Reader([batch_of(*first, trimmed=True), batch_of(*second)])
    with running(wired(reader, home, peer, MemoryControl())):
        until(lambda: len(list(peer.lanes())) == 2)
        until(lambda: len(reader.committed) >= 1)


def test_it_stops_when_told_also_while_the_own_region_and_a_peer_are_down() -> None:
    home, control = MemoryStorage(), _ControlDown()
    events = EventStore(home, "us-east-1", []).append(HOMER, *[NewEvent("x", {})] * 2)
    reader = _Reader(*([batch_of(event)] for event in events))
    replicator = wired(reader, home, _Down(), control)
    replicator.links[0].link.down("as after a failed attempt: what is offered goes to the backlog at once")
    try:
        with running(replicator):
            time.sleep(0.5)
        assert not control.up, "it has not waited for the region"
    finally:
        control.up = True
    assert reader.committed == []


# -- a link's thread -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [{"max_queued": 10}, {"max_bytes": 500}], ids=["events", "bytes"])
def test_a_slow_peer_costs_the_reader_patience_once_and_the_other_link_nothing(room: dict[str, int]) -> None:
    region = Region("thread", "table", options={**room, "patience": 0.5})
    waited: list[bool] = []
    slow, fast = sorted(region.threads, key=lambda each: WEST not in each.name)
    wait_for = slow._room.wait_for
    slow._room.wait_for = lambda *asked: waited.append(wait_for(*asked)) or waited[-1]  # type: ignore[method-assign]
    region.peers[WEST].gate.clear()
    done, stop = Counter[str](), threading.Event()
    for each in region.threads:
        each.start(stop)
    for _ in range(20):
        events = region.append(("homer", 5))
        assert 10 < sum(len(event.payload_text + event.metadata_text) for event in events) < 500
        for each in region.threads:
            each.offer(events, lambda name=each.name: done.update([name]))  # type: ignore[misc]
    assert waited.count(False) == 1, "its patience is spent once"
    until(lambda: not region.lacks(SOUTH) and done[fast.name] == 20)
    assert region.waiting() != {}
    region.peers[WEST].gate.set()
    until(lambda: not region.lacks() and done[slow.name] == 20 and not region.waiting())
    for each in region.threads:
        each.stop()
    region.close()


def test_stopping_does_not_claim_what_was_queued_and_not_copied() -> None:
    region = Region("thread", "table")
    (west,) = (each for each in region.threads if WEST in each.name)
    region.peers[WEST].gate.clear()
    done: list[int] = []
    west.start(threading.Event())
    for n in range(50):
        west.offer(region.append(("homer", 1)), lambda n=n: done.append(n))  # type: ignore[misc]
    until(lambda: region.peers[WEST].calls > 0)
    west._stop.set()
    region.peers[WEST].gate.set()
    west.stop()
    copied = len([event for events in everything(region.peers[WEST]).values() for event in events])
    assert len(done) <= copied < 50
    region.close()


def test_an_offer_of_nothing_is_done_at_once() -> None:
    done = threading.Event()
    region = Region("thread", "table")
    region.threads[0].offer([], done.set)
    assert done.is_set()
    region.close()


def test_a_turn_brings_one_part_of_the_backlog_and_the_next_one_what_came_meanwhile() -> None:
    region = Region("thread", "table")
    (west,) = (each for each in region.threads if WEST in each.name)
    west.link.defer_lanes({event.lane: (1, 1) for event in region.append(*((f"u{n:04}", 1) for n in range(1200)))})
    west.turn()
    assert len(region.waiting()) == 200
    (event,) = region.append(("homer", 1))
    west.offer([event], lambda: None)
    west.turn()
    assert everything(region.peers[WEST])[event.lane] == [event]
    assert len(region.waiting()) == 200
    region.close()


def test_a_peer_that_does_not_answer_is_down_and_not_a_failure_of_the_link() -> None:
    region = Region("thread", "table")
    region.peers[WEST].faults = iter(["unknown"])
    with structlog.testing.capture_logs() as logs:
        region.restart()
        assert region.deliver(region.append(("homer", 9)))
        region.drain()
    assert not region.lacks()
    assert "link.down" in [entry["event"] for entry in logs]
    assert "link.failed" not in [entry["event"] for entry in logs]
    region.close()
