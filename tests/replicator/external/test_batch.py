"""The publisher as a function and as a worker: batches end only when all that they name is published."""

from __future__ import annotations

import threading
from base64 import b64encode
from typing import Any

import pytest

from replicator.aws.kinesis import KinesisReader
from replicator.control.checkpoints import Checkpoints
from replicator.control.memory_control import MemoryControl
from replicator.control.quarantine import Quarantine
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import Event, NewEvent
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.store import EventStore
from replicator.external import ExternalEvent
from replicator.external.bus import BusRecord
from replicator.external.publish_batches import PublishBatches
from replicator.external.publish_worker import PublishWorker
from replicator.external.publisher import Publisher
from replicator.replication.lambda_batches import BatchFailed
from replicator.runtime.settings import Settings

from externals import TABLE, Accounts, FakeDestination, FakeKinesis, bus_record  # isort: skip

SETTINGS = Settings("us-east-1", batch_size=2, attempts=1)


class Region:
    def __init__(self) -> None:
        self.storage, self.control, self.destination = MemoryStorage(), MemoryControl(), FakeDestination()
        self.store = EventStore(self.storage, "us-east-1", ["us-east-1"])
        self.kinesis = FakeKinesis()
        self.metrics: list[dict[str, float]] = []

    def append(self, stream: str, count: int = 1) -> tuple[Event, ...]:
        return self.store.append(f"user/{stream}", *[NewEvent("moved", {"to": {"city": "Springfield"}})] * count)

    def publisher(self) -> Publisher:
        return Publisher(Accounts, self.store, self.control, self.destination, attempts=1)

    def function(self, partial: bool = True) -> PublishBatches:
        return PublishBatches(self.publisher(), TABLE, lambda _, values: self.metrics.append(dict(values)), partial)

    def worker(self) -> PublishWorker:
        arn = "arn:aws:kinesis:us-east-1:000000000000:stream/meridian-events@1"
        reader = KinesisReader(self.kinesis, arn, Checkpoints(self.control, "publisher"), SETTINGS, lambda: 0.0)  # type: ignore[arg-type]
        return PublishWorker(self.publisher(), reader, TABLE, 0.01)

    def arrived(self) -> list[str]:
        return [ExternalEvent.parse(record.data).id for record in self.destination.arrived]


def message(record: BusRecord, number: str) -> dict[str, Any]:
    data = b64encode(record.data).decode()
    return {"eventSource": "aws:kinesis", "kinesis": {"sequenceNumber": number, "data": data, "partitionKey": "x"}}


def messages(events: list[Event]) -> list[dict[str, Any]]:
    return [message(bus_record(event), f"n{n}") for n, event in enumerate(events)]


def test_a_batch_that_went_out_whole_is_answered_with_an_empty_list() -> None:
    region = Region()
    events = [*region.append("a", 2), *region.append("b", 2)]
    answer = region.function().publish(messages(events[::-1]), lambda: True)
    assert answer == {"batchItemFailures": []}
    assert sorted(region.arrived()) == sorted(event.id for event in events)
    assert region.metrics[0]["EventsPublished"] == 4
    assert region.metrics[0]["PublishLag"] >= 0


def test_the_answer_names_the_first_record_of_the_lanes_that_are_not_done() -> None:
    region = Region()
    events = [*region.append("a"), *region.append("b"), *region.append("c"), *region.append("b")]
    region.destination.plan = ["taken", "refused", "refused"]
    assert region.function().publish(messages(events), lambda: True) == {"batchItemFailures": [{"itemIdentifier": "n1"}]}
    assert region.function().publish(messages(events)[1:], lambda: True) == {"batchItemFailures": []}
    assert {event.id for event in events} == set(region.arrived())


@pytest.mark.parametrize(("plan", "partial"), [(["refused", "taken"], True), (["taken", "refused"], False)])
def test_a_failure_is_never_an_empty_list(plan: list[str], partial: bool) -> None:
    region = Region()
    events = [*region.append("a"), *region.append("b")]
    region.destination.plan = plan
    with pytest.raises(BatchFailed, match="1 lanes could not be published"):
        region.function(partial).publish(messages(events), lambda: True)


def test_a_failed_record_without_a_number_fails_the_batch() -> None:
    region = Region()
    events = [*region.append("a"), *region.append("b")]
    region.destination.plan = ["taken", "refused"]
    with pytest.raises(BatchFailed):
        region.function().publish([message(bus_record(event), "") for event in events], lambda: True)


@pytest.mark.parametrize("bad", [{}, {"kinesis": None}, {"kinesis": {"data": "%%%", "sequenceNumber": "n"}}])
def test_a_message_that_cannot_be_read_is_recorded_and_the_others_go_out(bad: dict[str, Any]) -> None:
    region = Region()
    (event,) = region.append("a")
    answer = region.function().publish([bad, *messages([event])], lambda: True)
    assert answer == {"batchItemFailures": []}
    assert region.arrived() == [event.id]
    assert len(Quarantine(region.control, "us-east-1>external").records()) == 1


class Gone(MemoryStorage):
    def read(self, *_: Any, **__: Any) -> Any:
        raise RegionUnavailable("us-east-1 does not answer")


def test_an_outage_of_the_region_fails_the_batch() -> None:
    region = Region()
    events = region.append("a", 2)
    region.store._lanes._storage = Gone()
    with pytest.raises(RegionUnavailable):
        region.function().publish(messages([events[1]]), lambda: True)


def test_the_worker_publishes_what_the_bus_brings_and_goes_on_after_a_restart() -> None:
    region = Region()
    events = [*region.append("a", 3), *region.append("b", 2)]
    for event in reversed(events):
        region.kinesis.put(event.id, bus_record(event).data)
    worker = region.worker()
    while worker.step():
        pass
    assert sorted(region.arrived()) == sorted(event.id for event in events)
    again = region.worker()
    assert not again.step()
    (later,) = region.append("a")
    region.kinesis.put(later.id, bus_record(later).data)
    while again.step():
        pass
    assert region.arrived()[-1] == later.id


def test_the_first_start_publishes_what_the_bus_holds_no_longer() -> None:
    region = Region()
    events = region.append("a", 3)
    region.worker().step()
    assert region.arrived() == [event.id for event in events]


def test_what_is_refused_is_not_checkpointed_while_other_lanes_go_on() -> None:
    region = Region()
    worker = region.worker()
    while worker.step():
        pass
    events = [*region.append("a"), *region.append("b")]
    for event in events:
        region.kinesis.put(event.id, bus_record(event).data)
    taken = region.destination.put
    region.destination.put = lambda records: [  # type: ignore[method-assign]
        "InternalFailure" if record.key == events[0].lane.key else taken([record])[0] for record in records
    ]
    worker.step()
    (more,) = region.append("b")
    region.kinesis.put(more.id, bus_record(more).data)
    worker.step()
    assert region.arrived() == [events[1].id, more.id]
    region.destination.put = taken  # type: ignore[method-assign]
    restarted = region.worker()  # killed: nothing of the two batches is checkpointed
    while restarted.step():
        pass
    assert set(region.arrived()) == {events[0].id, events[1].id, more.id}


def test_the_worker_waits_an_outage_out_and_loses_nothing_of_what_it_had_read() -> None:
    region = Region()
    events = region.append("a", 3)
    region.kinesis.put("x", bus_record(events[2]).data)
    worker, stop = region.worker(), threading.Event()
    storage, region.store._lanes._storage = region.store._lanes._storage, Gone()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    stop.wait(0.05)
    region.store._lanes._storage = storage
    for _ in range(200):
        if len(region.arrived()) == 3:
            break
        stop.wait(0.05)
    stop.set()
    thread.join()
    assert region.arrived() == [event.id for event in events]
