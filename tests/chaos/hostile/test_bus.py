"""Hostile records of Kinesis: of the internal bus, and of the stream of external events that consumers read."""

from __future__ import annotations

import json
from base64 import b64encode
from random import Random
from typing import Any

from chaos.hostile import stored
from chaos.hostile.kinds import HARMLESS
from chaos.hostile.values import json_texts
from replicator.domain.clock import Hlc
from replicator.domain.errors import InvalidEvent
from replicator.domain.names import LaneId, StreamId
from replicator.external.bus import read_bus
from replicator.external.consumer import from_lambda
from replicator.external.external_event import ExternalEvent, rfc3339
from replicator.external.publish_batches import from_message

EAST, WEST, TABLE = "us-east-1", "eu-west-1", "meridian-events"
MS = 1_763_914_981_000


def message(data: bytes) -> dict[str, Any]:
    return {"kinesis": {"sequenceNumber": "7", "data": b64encode(data).decode()}}


def on_the_bus(record: Any) -> dict[str, Any]:
    return message(json.dumps({**record, "tableName": TABLE}).encode())


def test_hostile_records_of_the_bus_are_refused_alone() -> None:
    random, good = Random(8), on_the_bus(stored.record_of(stored.valid_item(EAST, "good", MS), "1"))
    sent = 0
    for number in range(len(stored.RECORDS) * 20):
        hostile = stored.hostile_record(random, number, EAST, MS, number)
        if hostile.kind.name == "region unknown":
            continue  # well sealed, and a reader of the bus is not told which regions there are
        found = read_bus([from_message(each) for each in (on_the_bus(hostile.sent), good)], TABLE)
        assert [event.stream.id for event in found.events] == ["good"], hostile.kind.name
        assert len(found.refused) == 1, hostile.kind.name
        sent += HARMLESS not in hostile.kind.expected
    assert sent > 1_000


def test_data_that_is_no_change_is_refused_alone() -> None:
    good = on_the_bus(stored.record_of(stored.valid_item(EAST, "good", MS), "1"))
    datas = [text.encode("utf-8", "surrogatepass") for text in json_texts("h000001").values()]
    datas += [b"\xff\xfe", b"", b"\0" * 99, b"[" * 100_000, b"[]", b"7", b'{"dynamodb":7}', b'{"dynamodb":{"Keys":7}}']
    shapes: list[Any] = [{}, {"kinesis": None}, {"kinesis": "x"}, {"kinesis": ["x"]}, {"kinesis": {"data": 7}}]
    for each in [*map(message, datas), *shapes, {"kinesis": {"data": "é"}}, {"kinesis": {"data": "@@@"}}]:
        found = read_bus([from_message(one) for one in (each, good)], TABLE)
        assert ([event.stream.id for event in found.events], len(found.refused)) == (["good"], 1), each


def test_what_is_no_external_event_is_an_invalid_event_to_its_consumer() -> None:
    lane, time = LaneId(EAST, StreamId("thing", "x")), rfc3339(Hlc(MS, 0))
    good = ExternalEvent("https://example.com", "com.example.added", 1, lane, 7, 3, time, '{"n":1}')
    envelope = json.loads(good.encode())
    random, refused, longest = Random(9), 0, 0
    bad: list[Any] = [
        None,
        "",
        7,
        -1,
        True,
        1e308,
        [],
        {},
        "x" * 9000,
        "\u202e",
        "a#b",
        "１",
        "0" * 16,
        "9" * 17,
        {"a": "\ud800"},
    ]
    for _ in range(3_000):
        name = random.choice([*(each for each in envelope if each != "data"), "region"])
        changed = {**envelope, name: random.choice(bad)}
        if random.random() < 0.1:
            del changed[name]
        raw = json.dumps(changed).encode()
        try:
            event = from_lambda(message(raw))
        except InvalidEvent as error:
            refused += 1
            longest = max(longest, len(str(error)))
        else:
            assert event.id == good.id, "what was changed decides nothing"
    assert refused > 2_000
    assert longest < 1_000
    for text in json_texts("x").values():
        data = good.encode().replace(b'{"n":1}', text.encode("utf-8", "surrogatepass"))
        try:
            from_lambda(message(data))
        except InvalidEvent:
            refused += 1
        else:
            raise AssertionError(text[:80])
