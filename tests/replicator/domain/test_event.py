"""Events: pinned digests, a second implementation of them, limits, and no field that can be altered unseen."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Mapping
from dataclasses import fields, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from replicator.domain.clock import MAX_COUNTER, MAX_MILLISECONDS, ZERO, Hlc
from replicator.domain.errors import DamagedEvent, InvalidEvent, InvalidName, MeridianError
from replicator.domain.event import GENESIS, MAX_ITEM_BYTES, NO_EVENTS, NONCE, Event, Head, NewEvent, Observed, seal, size_of
from replicator.domain.names import MAX_SEQUENCE, LaneId, StreamId
from replicator.domain.protected import MARKER, Protected
from replicator.domain.vector import EMPTY, VersionVector
from replicator.eventstore.event_items import to_item

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
LANE = LaneId("us-east-1", StreamId("user", "homer"))


def digest_again(lane: list[str], sequence: int, hlc: list[int], type: str, version: int, payload: str, metadata: str,
                 observed: Mapping[str, int], prev: bytes) -> str:  # fmt: skip
    """The digest from its description alone, as another language would write it."""
    vector = "{" + ",".join(f'"{r}":{s}' for r, s in sorted(observed.items()) if s) + "}"
    texts = [*lane, str(sequence), f"{hlc[0]:013d}-{hlc[1]:05d}", type, str(version), payload, metadata, vector]
    parts = [b"meridian.event.1", prev, *(text.encode() for text in texts)]
    return sha256(b"".join(str(len(part)).encode() + b":" + part + b"," for part in parts)).hexdigest()


def sealed(vector: dict[str, Any]) -> Event:
    region, kind, name = vector["lane"]
    new = NewEvent(vector["type"], vector["payload"], vector["version"], vector["metadata"])
    observed = VersionVector(vector["observed"])
    prev = bytes.fromhex(vector["prev"])
    return seal(LaneId(region, StreamId(kind, name)), vector["sequence"], Hlc(*vector["hlc"]), new, observed, prev)


def simple(payload: Mapping[str, Any], sequence: int = 7, metadata: Mapping[str, str] | None = None) -> Event:
    new = NewEvent("moved", payload, 2, metadata or {"who": "marge"})
    return seal(LANE, sequence, Hlc(1_763_914_981_123, 42), new, VersionVector({"us-east-1": 6, "eu-west-1": 3}), b"p" * 32)


EVENT = simple({"email": "homer@example.com", "é": [1, 2.5]})


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_stored_digests_never_change(vector: dict[str, Any]) -> None:
    event = sealed(vector)
    assert (event.payload_text, event.metadata_text) == (vector["payload_text"], vector["metadata_text"])
    assert event.digest.hex() == vector["digest"]
    names = ("lane", "sequence", "hlc", "type", "version", "payload_text", "metadata_text", "observed")
    assert digest_again(*(vector[name] for name in names), prev=bytes.fromhex(vector["prev"])) == vector["digest"]


segments = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=5).filter(
    lambda t: t.isascii() or t == "é"
) | st.sampled_from(["é", "東京", "🛫", "a b", "%23", "1:a,"])
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
payloads = st.dictionaries(
    texts, st.integers(-9, 9) | texts | st.floats(-1e9, 1e9) | st.lists(texts, max_size=2), max_size=3
)
vectors = st.dictionaries(st.sampled_from(["us-east-1", "eu-west-1", "ap-south-1"]), st.integers(0, MAX_SEQUENCE))


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["us-east-1", "eu-west-1"]), segments, segments, st.integers(1, MAX_SEQUENCE),
    st.integers(0, MAX_MILLISECONDS), st.integers(0, MAX_COUNTER), segments, st.integers(1, 65_535), payloads,
    st.dictionaries(texts, texts, max_size=2), vectors, st.binary(min_size=32, max_size=32),
)  # fmt: skip
def test_a_second_implementation_computes_the_same_digest(
    region: str, kind: str, name: str, sequence: int, ms: int, counter: int, type: str, version: int,
    payload: dict[str, Any], metadata: dict[str, str], observed: dict[str, int], prev: bytes,
) -> None:  # fmt: skip
    assume(NONCE not in metadata)
    new = NewEvent(type, payload, version, metadata)
    lane = LaneId(region, StreamId(kind, name))
    event = seal(lane, sequence, Hlc(ms, counter), new, VersionVector(observed), prev)
    again = digest_again(
        [region, kind, name], sequence, [ms, counter], type, version, event.payload_text, event.metadata_text, observed, prev
    )
    assert event.digest.hex() == again
    assert (event.payload, event.metadata) == (payload, metadata)


ALTERED = [
    ("lane", LaneId("us-east-2", LANE.stream)),
    ("lane", LaneId("us-east-1", StreamId("usER", "homer"))),
    ("lane", LaneId("us-east-1", StreamId("user", "bart"))),
    ("lane", LaneId("us-east-1", StreamId("userh", "omer"))),
    ("sequence", 8),
    ("hlc", Hlc(1_763_914_981_124, 42)),
    ("hlc", Hlc(1_763_914_981_123, 43)),
    ("type", "moveD"),
    ("version", 3),
    ("payload_text", EVENT.payload_text + " "),
    ("metadata_text", "{}"),
    ("metadata_text", EVENT.payload_text),
    ("observed", EMPTY),
    ("observed", EVENT.observed.advance("eu-west-1", 4)),
    ("prev", GENESIS),
    ("prev", b"p" * 31),
    ("digest", bytes(32)),
    ("digest", EVENT.digest[:31]),
]


@pytest.mark.parametrize(("name", "value"), ALTERED, ids=[f"{n}-{i}" for i, (n, _) in enumerate(ALTERED)])
def test_any_altered_field_is_damage(name: str, value: Any) -> None:
    with pytest.raises(DamagedEvent, match=r"us-east-\d#us.*#.*digest"):
        replace(EVENT, **{name: value})


def test_every_field_is_among_those_altered() -> None:
    assert {name for name, _ in ALTERED} == {field.name for field in fields(Event)}


def test_a_flip_of_any_one_bit_of_the_payload_is_damage() -> None:
    content = EVENT.payload_text.encode()
    for position in range(len(content) * 8):
        flipped = bytearray(content)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(DamagedEvent):
            replace(EVENT, payload_text=flipped.decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 2.9), ("version", 2.0), ("version", "2"), ("sequence", 7.9), ("sequence", "7"), ("sequence", None),
        ("hlc", str(EVENT.hlc)), ("observed", str(EVENT.observed)), ("lane", LANE.key), ("payload_text", b"{}"),
        ("metadata_text", None), ("prev", "p" * 32), ("digest", EVENT.digest.hex()),
    ],
)  # fmt: skip
def test_a_field_of_the_wrong_type_is_damage_even_when_its_text_is_right(name: str, value: Any) -> None:
    with pytest.raises(DamagedEvent):
        replace(EVENT, **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("sequence", 0), ("sequence", -1), ("type", "a#b"), ("type", ""), ("version", 0), ("version", 70_000),
     ("payload_text", "not json"), ("payload_text", "[]"), ("payload_text", '{"a":NaN}'), ("metadata_text", "null"),
     ("prev", b"short")],
)  # fmt: skip
def test_an_impossible_event_is_refused_even_with_a_true_digest(name: str, value: Any) -> None:
    """Forged by somebody who may write to the lane and knows the digest, but not the rules."""
    e = EVENT
    parts: dict[str, Any] = {f.name: getattr(e, f.name) for f in fields(Event)} | {name: value}
    parts["digest"] = bytes.fromhex(
        digest_again(
            [e.region, e.stream.type, e.stream.id], parts["sequence"], [e.hlc.ms, e.hlc.counter], parts["type"],
            parts["version"], parts["payload_text"], parts["metadata_text"], dict(e.observed.items()), parts["prev"],
        )
    )  # fmt: skip
    with pytest.raises(MeridianError):
        Event(**parts)


def dynamo_size(event: Event) -> int:
    """The item's size by AWS's rules, without its number (which takes 21 bytes at most)."""
    item = {name: next(iter(value.values())) for name, value in to_item(event).items()}
    sizes = {name: len(v.encode() if isinstance(v, str) else v) for name, v in item.items() if name != "version"}
    return sum(len(name) for name in item) + sum(sizes.values())


@pytest.mark.parametrize("character", ["a", "é", "東", "🛫"])
@pytest.mark.parametrize("metadata", [{"who": "marge"}, {"who": "Jürgen 🛫" * 500, "why": "x" * 10_000}])
def test_the_400_kb_limit_is_exact_to_the_byte(character: str, metadata: dict[str, str]) -> None:
    room = MAX_ITEM_BYTES - size_of(simple({"text": ""}, metadata=metadata))
    width = len(character.encode())
    text = character * (room // width) + "x" * (room % width)
    largest = simple({"text": text}, metadata=metadata)
    assert size_of(largest) == MAX_ITEM_BYTES == 409_600
    assert 0 < size_of(largest) - dynamo_size(largest) <= 21
    with pytest.raises(InvalidEvent, match=r"409,601 bytes.*409,600.*object store"):
        simple({"text": text + "x"}, metadata=metadata)
    with pytest.raises(InvalidEvent, match="409,601"):
        simple({"text": text}, metadata={**metadata, "who": metadata["who"] + "x"})


def test_what_a_payload_returns_is_the_readers_own() -> None:
    event = simple({"groups": ["a"]})
    event.payload["groups"].append("b")
    event.metadata["who"] = "nobody"
    assert event.payload == {"groups": ["a"]}
    assert event.metadata == {"who": "marge"}


def test_an_event_keeps_nothing_of_the_writers_own_dicts() -> None:
    payload, metadata = {"groups": ["a"]}, {"who": "marge"}
    new = NewEvent("joined", payload, metadata=metadata)
    payload["groups"].append("b")
    metadata["who"] = "nobody"
    event = seal(LANE, 1, ZERO, new, EMPTY, GENESIS)
    assert (event.payload, event.metadata) == ({"groups": ["a"]}, {"who": "marge"})


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"type": ""}, InvalidName, "event type"),
        ({"type": "a#b"}, InvalidName, "delimiter"),
        ({"type": "é" * 64 + "x"}, InvalidName, "129 bytes"),
        ({"version": 0}, InvalidEvent, "schema version 0"),
        ({"version": 65_536}, InvalidEvent, "schema version"),
        ({"version": True}, InvalidEvent, "schema version"),
        ({"version": 1.0}, InvalidEvent, "schema version"),
        ({"payload": None}, InvalidEvent, "payload is a NoneType"),
        ({"payload": {"a": {2}}}, InvalidEvent, r"payload\.a"),
        ({"metadata": {"who": 1}}, InvalidEvent, r"metadata\.who"),
        ({"metadata": {1: "who"}}, InvalidEvent, "metadata has the key 1"),
        ({"metadata": []}, InvalidEvent, "metadata is a list"),
        ({"metadata": {"who": "\ud800"}}, InvalidEvent, r"metadata\.who"),
    ],
)
def test_a_bad_new_event_cannot_be_constructed(arguments: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        NewEvent(**{"type": "moved", "payload": {}, **arguments})


@pytest.mark.parametrize("sequence", [0, -1, MAX_SEQUENCE + 1, True, 1.5])
def test_only_a_possible_sequence_is_sealed(sequence: Any) -> None:
    with pytest.raises(InvalidName, match="sequence"):
        seal(LANE, sequence, ZERO, NewEvent("moved", {}), EMPTY, GENESIS)


def test_names_head_and_order_follow_from_the_event() -> None:
    assert EVENT.id == "us-east-1#user#homer#0000000000000007"
    assert Head.of(EVENT) == Head(7, EVENT.digest, EVENT.hlc)
    assert Head.of(None) == NO_EVENTS == Head(0, bytes(32), Hlc(0, 0))
    assert EVENT.order == (EVENT.hlc, "us-east-1", 7)


def test_observing_events_takes_in_all_that_they_had_observed() -> None:
    early = sealed(VECTORS[0])
    seen = Observed.of([EVENT, early])
    assert seen == Observed.of([early, EVENT]) == Observed.of([EVENT]).join(Observed.of([early]))
    assert seen == Observed(VersionVector({"us-east-1": 7, "eu-west-1": 3}), EVENT.hlc)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(max_size=3), st.lists(st.integers(-5, 5), max_size=3), max_size=3))
def test_what_becomes_of_a_writers_own_objects_changes_no_new_event(payload: dict[str, Any]) -> None:
    kept, metadata = json.loads(json.dumps(payload)), {"who": "marge"}
    new = NewEvent("joined", payload, metadata=metadata)
    payload["more"] = [1]
    for value in payload.values():
        value.append("changed")
    metadata["who"] = "nobody"
    new.payload["x"] = 1  # what it gives is the caller's own
    new.metadata["why"] = "x"
    for nonce in ("", "n1"):  # the ways by which metadata gets into an event
        event = seal(LANE, 1, ZERO, new, EMPTY, GENESIS, nonce)
        assert (event.payload, event.metadata) == (kept, {"who": "marge"})
    assert (new.payload, new.metadata) == (kept, {"who": "marge"})
    other = new.with_metadata({"why": "moved"})
    assert (other.payload, other.metadata, other.version, other.type) == (kept, {"why": "moved"}, 1, "joined")


def test_new_events_are_equal_where_their_json_is() -> None:
    assert NewEvent("x", {"a": 1, "b": [1]}) == NewEvent("x", {"b": (1,), "a": 1})
    assert (
        len({NewEvent("x", {"a": 1}), NewEvent("x", {"a": True}), NewEvent("x", {"a": 1.0}), NewEvent("x", {"a": 1})}) == 3
    )
    assert NewEvent("x", {}) != NewEvent("x", {}, metadata={"who": "marge"})
    assert repr(NewEvent("x", {"a": [1]}, 2)) == "NewEvent('x', {'a': [1]}, version=2, metadata={})"
    with pytest.raises(AttributeError):
        NewEvent("x", {}).version = 2  # type: ignore[misc]


def test_a_new_event_survives_being_copied_and_pickled() -> None:
    new = NewEvent("x", Protected({"email": {MARKER: {"subject": "user/1"}}}), metadata={"who": "marge"})
    for again in (copy.copy(new), copy.deepcopy(new), pickle.loads(pickle.dumps(new))):
        assert again == new
        assert isinstance(again.payload, Protected)
        assert again.with_metadata({}).payload == new.payload
