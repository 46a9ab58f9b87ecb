"""Stream records: what is an event becomes one to the byte, and nothing else does, whatever arrives."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.control.pointers import Pointers
from replicator.domain.clock import Hlc
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY, VersionVector
from replicator.eventstore.event_items import to_item
from replicator.replication.stream_records import Refused, position, read_records

EAST, WEST = "us-east-1", "eu-west-1"
SECRET = "correct horse battery staple"


def events_of(region: str = EAST, count: int = 3, stream: str = "homer") -> list[Event]:
    lane = LaneId(region, StreamId("user", stream))
    events: list[Event] = []
    for sequence in range(1, count + 1):
        new = NewEvent("x", {"n": sequence, "secret": SECRET}, metadata={"who": SECRET})
        prev = events[-1].digest if events else GENESIS
        events.append(seal(lane, sequence, Hlc(1_763_914_981_000 + sequence, 7), new, EMPTY, prev))
    return events


def as_json(item: dict[str, Any]) -> dict[str, Any]:
    """An item as Lambda's JSON has it: binary attributes are base64 text."""
    return {
        name: {"B": b64encode(value["B"]).decode()} if isinstance(value.get("B"), bytes) else value
        for name, value in item.items()
    }


def record(event: Event, name: str = "INSERT", number: str = "700", **changed: Any) -> dict[str, Any]:
    item = as_json(to_item(event))
    keys = {key: item[key] for key in ("pk", "sk")}
    return {"eventName": name, "dynamodb": {"Keys": keys, "NewImage": item, "SequenceNumber": number, **changed}}


def read(*records: dict[str, Any], region: str | None = None) -> tuple[list[Event], list[Refused]]:
    return read_records(records, region)


names = st.text(min_size=1, max_size=12).filter(lambda text: text.isalnum() and text.isascii())
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=6,
)  # fmt: skip
payloads = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), values, max_size=4)


@settings(max_examples=60, deadline=None)
@given(payloads, names, st.integers(2, 10**16 - 1), st.binary(min_size=32, max_size=32), st.integers(1, 65_535))
def test_an_event_comes_through_lambda_to_the_byte(
    payload: Any, name: str, sequence: int, prev: bytes, version: int
) -> None:
    new = NewEvent(name, payload, version, {"by": name})
    event = seal(
        LaneId(EAST, StreamId("user", name)), sequence, Hlc(sequence % 10**13, 3), new, VersionVector({WEST: 9}), prev
    )
    assert read(record(event), region=EAST) == ([event], [])


def test_own_events_come_in_order_and_copies_from_peers_are_passed_over() -> None:
    own, other, copies = events_of(), events_of(stream="marge"), events_of(WEST)
    mixed = [record(event) for row in zip(own, copies, other, strict=True) for event in row]
    wanted = [event for row in zip(own, other, strict=True) for event in row]
    assert read(*mixed, region=EAST) == (wanted, [])
    assert read(*mixed, region="ap-south-1") == ([], [])
    assert [e.region for e in read(*mixed)[0]] == [EAST, WEST, EAST] * 3


@pytest.mark.parametrize("region", [EAST, WEST], ids=["own lane", "copied lane"])
@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("MODIFY", {"OldImage": {}}),
        ("REMOVE", {"NewImage": None}),
        ("REMOVE", {"NewImage": {}, "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"}}),
        ("insert", {}),
        (None, {}),
    ],
    ids=["modified", "removed", "expired", "wrong case", "no name"],
)
def test_nothing_but_an_insert_is_an_event(name: Any, changed: dict[str, Any], region: str) -> None:
    first, second, third = events_of(region)
    found, refused = read(record(first), record(second, name, **changed), record(third), region=region)
    assert found == [first, third]
    assert [(r.lane, r.sequence, r.changed) for r in refused] == [(second.lane, 2, True)]
    assert read(record(second, name, **changed), region=EAST)[1] == refused, "also in a lane that is not travelling"


DAMAGE: dict[str, dict[str, Any]] = {
    "payload flipped": {"payload": {"S": '{"n":2,"secret":"Correct horse battery staple"}'}},
    "payload no JSON": {"payload": {"S": f"{{{SECRET}"}},
    "payload a list": {"payload": {"S": "[]"}},
    "payload too deep": {"payload": {"S": '{"a":' * 50_000 + "1" + "}" * 50_000}},
    "payload a number": {"payload": {"N": "2"}},
    "payload bytes": {"payload": {"B": "AAAA"}},
    "payload NaN": {"payload": {"S": '{"n":NaN}'}},
    "payload too large": {"payload": {"S": '{"n":"' + "x" * 410_000 + '"}'}},
    "a lone surrogate": {"payload": {"S": '{"n":"\ud800"}'}},
    "metadata missing": {"metadata": None},
    "version 1.5": {"version": {"N": "1.5"}},
    "version 0": {"version": {"N": "0"}},
    "version unknown": {"version": {"N": "65536"}},
    "version NaN": {"version": {"N": "NaN"}},
    "version beyond decimal precision": {"version": {"N": "1." + "0" * 40 + "1"}},
    "version of 5,000 digits": {"version": {"N": "1" * 5000}},
    "version a bool": {"version": {"BOOL": True}},
    "time negative": {"hlc": {"S": "-763914981002-00007"}},
    "time overflowing": {"hlc": {"S": "99999999999999-00007"}},
    "time not a number": {"hlc": {"S": "NaN"}},
    "time moved": {"hlc": {"S": "1763914981003-00007"}},
    "digest bad base64": {"digest": {"B": "@@@ not base64 @@@"}},
    "digest urlsafe base64": {"digest": {"B": "-_" * 22}},
    "digest not ASCII": {"digest": {"B": "ä" * 44}},
    "digest text": {"digest": {"S": "AAAA"}},
    "digest null": {"digest": {"NULL": True}},
    "digest a list": {"digest": {"B": [1, 2, 3]}},
    "prev short": {"prev": {"B": "AAAA"}},
    "prev swapped": {"prev": {"B": b64encode(b"x" * 32).decode()}},
    "observed a list": {"observed": {"S": "[]"}},
    "observed another": {"observed": {"S": '{"eu-west-1":3}'}},
    "observed forged region": {"observed": {"S": '{"EU-WEST-1":3}'}},
    "type empty": {"type": {"S": ""}},
    "type with a delimiter": {"type": {"S": "x#y"}},
    "attribute not a map": {"type": "x"},
    "attribute null": {"type": None},
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_event_is_refused_by_its_key_and_stops_no_other(damage: dict[str, Any]) -> None:
    first, second, third = events_of()
    bad = record(second)
    bad["dynamodb"]["NewImage"].update(damage)
    bad["dynamodb"]["NewImage"] = {k: v for k, v in bad["dynamodb"]["NewImage"].items() if v is not None}
    found, refused = read(record(first), bad, record(third), region=EAST)
    assert found == [first, third]
    (only,) = refused
    assert (only.lane, only.sequence, only.changed) == (second.lane, 2, False)
    assert only.item == f"{second.lane.key} 0000000000000002"
    assert "horse" not in only.reason
    assert len(only.reason) < 10_000, "it has to fit into a message"


@pytest.mark.parametrize("image", [None, {}, "absent"], ids=["null", "empty", "absent"])
def test_an_insert_without_its_image_is_refused_by_its_key(image: Any) -> None:
    (event,) = events_of(count=1)
    bad = record(event, NewImage=image)
    if image == "absent":
        del bad["dynamodb"]["NewImage"]
    found, (refused,) = read(bad, region=EAST)
    assert (found, refused.lane, refused.sequence, refused.changed) == ([], event.lane, 1, False)


FORGED = {
    "wrong case": "US-EAST-1#user#homer",
    "look-alike": "uѕ-east-1#user#homer",
    "white space": " us-east-1#user#homer",
    "another delimiter": "us-east-1%23user%23homer",
    "no region": "#user#homer",
    "no type": "us-east-1##homer",
    "no id": "us-east-1#user#",
    "one segment": "us-east-1#user",
    "four segments": "us-east-1#user#a#b",
    "NUL": "us-east-1#user#ho\0mer",
    "newline": "us-east-1#user#homer\n",
    "not normal": "us-east-1#user#e\u0301",
    "slash in the type": "us-east-1#us/er#homer",
    "too long": "us-east-1#user#" + "x" * 1025,
    "empty": "",
}


@pytest.mark.parametrize("key", FORGED.values(), ids=FORGED.keys())
def test_an_item_under_a_forged_key_is_no_event_anywhere(key: str) -> None:
    event, other = events_of(count=2)
    forged = record(event)
    forged["dynamodb"]["NewImage"]["pk"] = forged["dynamodb"]["Keys"]["pk"] = {"S": key}
    for region in (None, EAST):
        found, refused = read(forged, record(other), region=region)
        assert found == [other]
        assert [(r.lane, r.changed) for r in refused] in ([(None, False)], [] if region else None)
    assert read(forged)[1], "whoever reads all lanes reports it"


@pytest.mark.parametrize(
    "record_",
    [
        {},
        {"eventName": "INSERT"},
        {"eventName": "INSERT", "dynamodb": None},
        {"eventName": "INSERT", "dynamodb": {"Keys": None, "NewImage": None}},
        {"eventName": "INSERT", "dynamodb": {"Keys": {"pk": "us-east-1#user#homer", "sk": 1}}},
        {"eventName": "INSERT", "dynamodb": {"Keys": {"pk": {"N": "1"}, "sk": {"B": "AAAA"}}}},
        {"eventName": "INSERT", "dynamodb": {"Keys": {"pk": {"S": "us-east-1#user#homer"}}}},
        {"eventName": "INSERT", "dynamodb": {"Keys": {"pk": {"S": None}, "sk": {"S": None}}}},
        {"eventName": "REMOVE", "dynamodb": {"Keys": {"pk": {"S": "us-east-1#user#homer"}, "sk": {"S": "x" * 1024}}}},
        {"eventName": "REMOVE", "dynamodb": {"Keys": {"pk": {"S": "us-east-1#user#homer"}, "sk": {"S": "²³"}}}},
    ],
)
def test_garbage_raises_nothing_and_stops_nothing(record_: dict[str, Any]) -> None:
    (event,) = events_of(count=1)
    for region in (None, EAST):
        found, refused = read(record_, record(event), region=region)
        assert found == [event]
        assert all(r.sequence == 0 for r in refused)
    assert len(read(record_)[1]) == 1
    assert isinstance(position(record_), str)


@pytest.mark.parametrize("region", [None, EAST])
def test_an_image_under_another_events_key_is_refused(region: str | None) -> None:
    """Ids swapped: the key says that it may travel, the event is of a lane that only its own region may send."""
    (own,), (foreign,) = events_of(count=1), events_of(WEST, 1)
    swapped = record(own, NewImage=record(foreign)["dynamodb"]["NewImage"])
    found, refused = read(swapped, region=region)
    assert found == []
    assert len(refused) == 1


@pytest.mark.parametrize("key", ["9" * 17, "1" + "0" * 16, "0" * 999 + "1" * 25], ids=["17 digits", "10^16", "1,024 digits"])
def test_a_sort_key_that_is_no_sequence_gives_none(key: str) -> None:
    (event,) = events_of(count=1)
    stray = record(event)
    stray["dynamodb"]["Keys"]["sk"] = stray["dynamodb"]["NewImage"]["sk"] = {"S": key}
    _, (refused,) = read(stray, region=EAST)
    assert refused.sequence == 0
    assert refused.lane is not None
    Pointers.parse(str(Pointers("l", {refused.lane: (refused.sequence or 1, refused.sequence or 1)}, 0)))


def test_the_position_is_the_sequence_number_as_text() -> None:
    assert position({"dynamodb": {"SequenceNumber": "12345678901234567890123"}}) == "12345678901234567890123"
    assert position({}) == position({"dynamodb": None}) == position({"dynamodb": {}}) == ""


@pytest.mark.parametrize(
    "change",
    [{"NewImage": "x"}, {"NewImage": ["x"]}, {"Keys": "x", "NewImage": {}}, {"Keys": ["x"], "NewImage": {}}],
    ids=str,
)
def test_a_record_whose_parts_are_no_maps_is_refused_by_its_key_or_its_place(change: dict[str, Any]) -> None:
    first, second = events_of(count=2)
    found, (refused,) = read(record(first, number="42", **change), record(second))
    assert found == [second]
    assert refused.item == ("record 42" if "Keys" in change else f"{first.lane.key} 0000000000000001")
    assert read({"eventName": "INSERT", "dynamodb": "x"}, record(second))[0] == [second]


def test_a_number_in_place_of_bytes_is_not_taken_for_a_size() -> None:
    first, second = events_of(count=2)
    bad = record(first)
    bad["dynamodb"]["NewImage"]["digest"] = {"B": 10**15}
    found, (refused,) = read(bad, record(second))
    assert found == [second]
    assert "a binary attribute holds a int" in refused.reason


def test_a_first_event_with_a_past_is_refused() -> None:
    lane = LaneId(EAST, StreamId("user", "homer"))
    forged = seal(lane, 1, Hlc(1_763_914_981_000, 0), NewEvent("x", {}), EMPTY, b"p" * 32)
    found, (refused,) = read(record(forged), region=EAST)
    assert (found, refused.lane, refused.sequence) == ([], lane, 1)
    assert "a past before the first event" in refused.reason


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("name", "value"),
    [("version", {"N": float("inf")}), ("version", {"N": "1e999"}), ("pk", {"S": nested(5_000)}), ("hlc", nested(5_000))],
)
def test_a_number_beyond_all_and_a_value_too_deep_to_show_stop_no_batch(name: str, value: Any) -> None:
    first, second = events_of(EAST, 2)
    bad = record(first)
    bad["dynamodb"]["NewImage"][name] = value
    found, refused = read(bad, record(second))
    assert (found, len(refused)) == ([second], 1)
