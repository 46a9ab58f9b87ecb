"""The model is the one definition of an event's item: what the store inserts is what the model reads, attribute by
attribute; an application can query events with it; and the tables are the model's, also those that Terraform makes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from replicator import NewEvent
from replicator.aws import clients
from replicator.aws.event_table import DynamoStorage
from replicator.aws.tables import create_tables
from replicator.connect import connect_store
from replicator.domain.event import Event
from replicator.domain.names import LaneId, StreamId, sequence_key
from replicator.eventstore.event_items import event_of, to_item
from replicator.eventstore.models import ATTRIBUTES, INDEX_PARTS, EventItem, LanesIndex, begins, bind, index_key
from replicator.runtime.settings import Settings

EAST = "us-east-1"
STREAM = StreamId("user", "hömer")
TABLES = Path(__file__).parents[2] / "terraform" / "modules" / "region" / "tables.tf"


@pytest.fixture(params=["emulator", "dynamodb-local"])
def place(request: pytest.FixtureRequest) -> Settings:
    if request.param == "emulator":
        settings = replace(request.getfixturevalue("emulated").settings(EAST), peers=())
    else:
        settings = Settings(EAST, endpoints={EAST: request.getfixturevalue("local_engine")}, read_timeout=30)
    settings = replace(settings, prefix="modelled")
    create_tables(settings)
    return settings


@pytest.fixture
def written(place: Settings) -> list[Event]:
    """A lane's events, by each of the ways that events are written: alone, in a transaction, as copies."""
    store, storage = connect_store(place), DynamoStorage(place)
    lane = LaneId(EAST, STREAM)
    if not list(storage.read(lane)):
        store.append(STREAM, NewEvent("named", {"to": 'é "quoted" \\'}, 65_535, {"who": "márge"}))
        store.append(STREAM, *[NewEvent("named", {"n": n}) for n in range(3)])
        there = [replace_region(event) for event in storage.read(lane)]
        storage.insert_each(there)
    return list(storage.read(lane))


def replace_region(event: Event) -> Event:
    from replicator.domain.event import seal

    new = NewEvent(event.type, event.payload, event.version)
    return seal(LaneId("eu-west-1", event.stream), event.sequence, event.hlc, new, event.observed, event.prev, "copy")


@pytest.mark.emulator
def test_the_model_reads_what_was_inserted_attribute_by_attribute(place: Settings, written: list[Event]) -> None:
    model, raw = bind(EventItem, place.events_table, place, EAST), clients.dynamodb(place, EAST)
    for event in written:
        key = event.lane.key, sequence_key(event.sequence)
        held = model.get(*key, consistent_read=True)
        assert held.attribute_values == {
            "pk": event.lane.key,
            "sk": sequence_key(event.sequence),
            "hlc": str(event.hlc),
            "type": event.type,
            "version": event.version,
            "payload": event.payload_text,
            "metadata": event.metadata_text,
            "observed": str(event.observed),
            "prev": event.prev,
            "digest": event.digest,
            **({"begins": begins(event)} if event.sequence == 1 else {}),
        }
        assert event_of(held) == event
        names: Any = {"pk": {"S": key[0]}, "sk": {"S": key[1]}}
        assert raw.get_item(TableName=place.events_table, Key=names, ConsistentRead=True)["Item"] == to_item(event)


@pytest.mark.emulator
def test_an_application_queries_events_with_the_model(place: Settings, written: list[Event]) -> None:
    model = bind(EventItem, place.events_table, place, EAST)
    later = model.query(LaneId(EAST, STREAM).key, model.sk > sequence_key(1), consistent_read=True)
    assert [event_of(item) for item in later] == written[1:]
    wanted = model.query(LaneId(EAST, STREAM).key, filter_condition=model.version == 65_535)
    assert [item.type for item in wanted] == ["named"]
    lanes = {item.pk for part in range(INDEX_PARTS) for item in model.lanes.query(index_key(EAST, part))}
    assert LaneId(EAST, STREAM).key in lanes
    assert [event_of(item).region for item in model.query(LaneId("eu-west-1", STREAM).key)] == ["eu-west-1"] * len(written)


def test_every_field_of_an_event_is_in_one_attribute_and_no_other_is() -> None:
    fields = [source.field for _, source in ATTRIBUTES.values()]
    assert fields == list(Event.__slots__)
    assert EventItem.get_attributes().keys() - ATTRIBUTES.keys() == {"begins"}


def test_terraform_makes_the_tables_of_the_model() -> None:
    text = TABLES.read_text()
    attributes = EventItem.get_attributes().values()
    keys = [next(each.attr_name for each in attributes if getattr(each, f"is_{kind}_key")) for kind in ("hash", "range")]
    assert re.search(r"^  keys = (\[.*?\])", text, re.MULTILINE)[1] == str(keys).replace("'", '"')  # type: ignore[index]
    found = {"hash_key": LanesIndex.begins, "range_key": LanesIndex.pk}
    assert all(getattr(each, f"is_{name}") for name, each in found.items())
    said = dict(re.findall(r'(\w+) = "(\w+)"', re.search(r"^  lanes = \{(.*)\}", text, re.MULTILINE)[1]))  # type: ignore[index]
    assert said == {"name": LanesIndex.Meta.index_name, **{name: each.attr_name for name, each in found.items()}}


@pytest.mark.emulator
def test_tables_are_made_without_reading_botocore_s_models_once_more(emulated: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def another() -> None:
        raise AssertionError("PynamoDB made a session of its own, which takes a tenth of a second for each model")

    monkeypatch.setattr("pynamodb.connection.base.get_session", another)
    settings = replace(emulated.settings(EAST), prefix="quick")
    assert create_tables(settings) == ["quick-events", "quick-control", "quick-keys"]
    assert create_tables(settings) == []
