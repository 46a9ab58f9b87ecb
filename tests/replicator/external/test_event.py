"""The envelope is stable: its bytes are pinned, and whatever is not such an event is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from replicator.domain.clock import Hlc
from replicator.domain.errors import InvalidEvent
from replicator.domain.event import GENESIS, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.external import ExternalEvent
from replicator.external.external_event import rfc3339
from replicator.external.waves import partition_key

from externals import Accounts  # isort: skip

LANE = LaneId("us-east-1", StreamId("user", "homer"))
VECTOR = Path(__file__).with_name("vector.json").read_bytes().rstrip(b"\n")


def made(sequence: int = 7, previous: int = 5) -> ExternalEvent:
    new = NewEvent("registered", {"plan": "plus", "name": "Homér", "ssn": "078-05-1120"}, 2, {"actor": "abe"})
    event = seal(LANE, sequence, Hlc(1_763_915_781_123, 42), new, EMPTY, GENESIS)
    external = Accounts.transform(event, previous)
    assert external is not None
    return external


def test_the_bytes_of_an_external_event_are_what_they_have_always_been() -> None:
    assert made().encode() == VECTOR


def test_an_external_event_is_read_back_as_it_was_written() -> None:
    assert ExternalEvent.parse(VECTOR) == made()
    first = made(sequence=1, previous=0)
    assert b"previous" not in first.encode()
    assert ExternalEvent.parse(first.encode()) == first


def test_neither_digests_nor_fields_that_are_not_declared_leave() -> None:
    text = made().encode().decode()
    assert "078-05-1120" not in text
    assert set(json.loads(text)) == {
        "specversion", "id", "source", "type", "subject", "time", "datacontenttype", "region", "sequence", "previous",
        "schemaversion", "data",
    }  # fmt: skip
    assert json.loads(text)["data"] == {"plan": "plus", "displayName": "Homér", "by": "abe"}


def test_attributes_are_named_as_cloudevents_names_them() -> None:
    names = set(json.loads(VECTOR)) - {"data"}
    assert all(name.isascii() and name.isalnum() and name == name.lower() and len(name) <= 20 for name in names)


def test_attributes_that_a_later_version_adds_are_passed_over() -> None:
    later = json.dumps({**json.loads(VECTOR), "traceparent": "00-0af7651916cd43dd8448eb211c80319c"})
    assert ExternalEvent.parse(later) == made()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"specversion": "2.0"}, "CloudEvents 1.0"),
        ({"specversion": None}, "no specversion"),
        ({"id": "us-east-1#user#homer#0000000000000008"}, "does not match its region, subject"),
        ({"id": ""}, "no id"),
        ({"source": 3}, "no source"),
        ({"region": "us-east-1#user"}, "is not an AWS region"),
        ({"subject": "homer"}, "has no type"),
        ({"sequence": "7"}, "sequence"),
        ({"sequence": 7}, "no sequence"),
        ({"previous": "0000000000000007"}, "does not match its region, subject"),
        ({"previous": "x"}, "sort key"),
        ({"time": "yesterday"}, "RFC 3339"),
        ({"schemaversion": True}, "schemaversion"),
        ({"schemaversion": 0}, "schemaversion"),
        ({"data": [1]}, "data is a list"),
        ({"data": None}, "data is a NoneType"),
        ({"datacontenttype": "application/xml"}, "application/json"),
    ],
)
def test_what_is_no_external_event_is_refused_by_name(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidEvent, match=message):
        ExternalEvent.parse(json.dumps({**json.loads(VECTOR), **change}))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b'{"data": NaN}', b"null", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidEvent):
        ExternalEvent.parse(text)


def test_time_is_the_wall_time_of_the_clock_in_utc() -> None:
    assert rfc3339(Hlc(0, 0)) == "1970-01-01T00:00:00.000Z"
    assert rfc3339(Hlc(10**13 - 1, 9)) == "2286-11-20T17:46:39.999Z"


def test_a_lane_has_one_partition_key_and_never_one_that_is_too_long() -> None:
    assert partition_key(LANE) == "us-east-1#user#homer"
    long = [LaneId("us-east-1", StreamId("user", "é" * 500 + end)) for end in "ab"]
    assert [len(partition_key(lane)) for lane in long] == [64, 64]
    assert partition_key(long[0]) != partition_key(long[1])
