"""The internal bus: duplicated, out of order, and whatever else somebody may put on it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from replicator.control.memory_control import MemoryControl
from replicator.control.quarantine import Quarantine
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import LaneId, StreamId
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.store import EventStore
from replicator.external.bus import BusRecord, read_bus
from replicator.external.publisher import Publisher

from externals import TABLE, Accounts, FakeDestination, bus_record  # isort: skip

HOMER = LaneId("us-east-1", StreamId("user", "homer"))
MARGE = LaneId("eu-west-1", StreamId("user", "marge"))


def appended(lane: LaneId, count: int = 3) -> tuple[Event, ...]:
    store = EventStore(MemoryStorage(), lane.region, ["us-east-1", "eu-west-1"])
    return store.append(lane.stream, *[NewEvent("moved", {"to": {"city": "Springfield"}})] * count)


def test_events_are_read_from_records_in_any_order_with_how_far_their_lanes_go() -> None:
    one, two, three = appended(HOMER)
    found = read_bus([bus_record(e, str(n)) for n, e in enumerate([two, three, two, one])], TABLE)
    assert found.events == [two, three, two, one]
    assert (found.targets, found.first, found.refused) == ({HOMER: 3}, {HOMER: 0}, [])


def test_with_own_lanes_only_copies_from_peers_are_passed_over() -> None:
    records = [bus_record(appended(MARGE)[0]), bus_record(appended(HOMER)[0])]
    found = read_bus(records, TABLE, "us-east-1")
    assert (list(found.targets), found.refused) == ([HOMER], [])
    damaged = bus_record(appended(MARGE)[0], dynamodb={"NewImage": {}})
    assert read_bus([damaged], TABLE, "us-east-1").targets == {}


def test_a_table_may_be_named_by_its_arn_alone_as_emulators_do() -> None:
    (event,) = appended(HOMER, 1)
    arn = f"arn:aws:dynamodb:us-east-1:000000000000:table/{TABLE}/stream/1"
    assert read_bus([bus_record(event, tableName=None, eventSourceARN=arn)], TABLE).events == [event]


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[]", b"null", b"7", b'{"dynamodb": 3}', b"[" * 100_000, b"{}"])
def test_a_record_that_is_no_change_of_a_table_is_refused_alone(data: bytes) -> None:
    (event,) = appended(HOMER, 1)
    found = read_bus([BusRecord("49", data), bus_record(event)], TABLE)
    assert [(each.item, each.lane) for each in found.refused] == [("record 49", None)]
    assert found.events == [event]


@pytest.mark.parametrize(
    ("changes", "reason", "looked_at"),
    [
        ({"tableName": "other"}, "not meridian-events", False),
        ({"tableName": None}, "not meridian-events", False),
        ({"tableName": ["x"]}, "not meridian-events", False),
        ({"name": "MODIFY"}, "MODIFY of an event", False),
        ({"name": "REMOVE"}, "REMOVE of an event", False),
        ({"dynamodb": {"NewImage": None}}, "is not an event", True),
        ({"dynamodb": {"NewImage": {"pk": {"S": "x"}}}}, "is not an event", True),
        ({"dynamodb": {"NewImage": {"digest": {"B": "!!!"}}}}, "is not an event", True),
        ({"dynamodb": {"NewImage": [1]}}, "no item", False),
        ({"dynamodb": {"Keys": "x"}}, "no item", False),
        ({"dynamodb": {"Keys": {"pk": {"S": "us-east-1#user#homer"}, "sk": {"S": "0000000000000002"}}}}, "key is not", True),
    ],
)
def test_what_is_no_new_event_is_refused_and_its_lane_looked_at_where_one_is_named(
    changes: dict[str, Any], reason: str, looked_at: bool
) -> None:
    (event,) = appended(HOMER, 1)
    found = read_bus([bus_record(event, **changes)], TABLE)
    (refused,) = found.refused
    assert reason in refused.reason
    assert (found.events, HOMER in found.targets) == ([], looked_at)


def test_a_flipped_byte_in_an_image_is_refused_and_the_true_event_published_from_the_table() -> None:
    storage, control, destination = MemoryStorage(), MemoryControl(), FakeDestination()
    store = EventStore(storage, "us-east-1", ["us-east-1"])
    (event,) = store.append(HOMER.stream, NewEvent("moved", {"to": {"city": "Springfield"}}))
    record = bus_record(event)
    forged = BusRecord("1", record.data.replace(b"Springfield", b"Shelbyville"))
    assert forged != record
    found = read_bus([forged], TABLE)
    publisher = Publisher(Accounts, store, control, destination)
    publisher.refuse(found.refused)
    assert publisher.publish(found.events, found.targets) == {}
    assert [json.loads(sent.data)["data"] for sent in destination.arrived] == [{"city": "Springfield"}]
    ((item, value),) = Quarantine(control, "us-east-1>external").records()
    assert item == "us-east-1#user#homer 0000000000000001"
    assert "digest" in value["reason"]
    assert "Shelbyville" not in json.dumps(value)
