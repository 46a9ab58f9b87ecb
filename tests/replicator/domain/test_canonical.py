"""The canonical encodings: pinned for good, and refusing what JSON cannot hold by naming where it is."""

from __future__ import annotations

import json
import math
import re
from collections import OrderedDict
from enum import Enum, IntEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.domain import canonical
from replicator.domain.canonical import MAX_DEPTH, MAX_SAFE_INTEGER, decode_json, encode_json, loads, netstrings, same_json
from replicator.domain.errors import InvalidEvent

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
numbers = st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER) | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts, lambda v: st.lists(v, max_size=4) | st.dictionaries(texts, v, max_size=4)
)
payloads = st.dictionaries(texts, values, max_size=5)


@pytest.fixture(params=[True, False], ids=["orjson", "json"], autouse=True)
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the quicker parser, and as it is without the extra."""
    if not request.param:
        monkeypatch.setattr(canonical, "orjson", None)


once = pytest.mark.parametrize("_parser", [True], indirect=True, ids=["orjson"])
"""What does not depend on the parser, or compares the two, is tried once."""


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_stored_texts_never_change(vector: dict[str, Any]) -> None:
    assert encode_json(vector["payload"]) == vector["payload_text"]
    assert encode_json(vector["metadata"], "metadata") == vector["metadata_text"]
    assert encode_json(decode_json(vector["payload_text"])) == vector["payload_text"]


@settings(deadline=None)
@given(payloads)
def test_a_payload_comes_back_as_it_was(payload: dict[str, Any]) -> None:
    text = encode_json(payload)
    assert decode_json(text) == payload
    assert encode_json(decode_json(text)) == text
    text.encode()


@settings(deadline=None)
@given(payloads, st.randoms(use_true_random=False))
def test_equal_payloads_are_equal_texts_whatever_the_order_of_keys(payload: dict[str, Any], random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: shuffled(value[key]) for key in random.sample(list(value), len(value))}
        return tuple(map(shuffled, value)) if isinstance(value, list) else value

    assert encode_json(shuffled(payload)) == encode_json(payload)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_keep_every_bit(number: float) -> None:
    back = decode_json(encode_json({"n": number}))["n"]
    assert (back, math.copysign(1, back)) == (number, math.copysign(1, number))
    assert type(back) is float


@pytest.mark.parametrize(
    ("payload", "named"),
    [
        ({"a": float("nan")}, r"payload\.a is nan"),
        ({"a": [1, float("inf")]}, r"payload\.a\[1\] is inf"),
        ({"a": {"b": [{"c": -math.inf}]}}, r"payload\.a\.b\[0\]\.c is -inf"),
        ({"a": 2**53}, r"payload\.a is 9007199254740992.*as a string"),
        ({"a": [-(2**53)]}, r"payload\.a\[0\] is -9007199254740992"),
        ({"a": b"x"}, r"payload\.a is a bytes"),
        ({"a": {"b": {1, 2}}}, r"payload\.a\.b is a set"),
        ({"a": object()}, r"payload\.a is a object"),
        ({"a": 1j}, r"payload\.a is a complex"),
        ({"a": Enum("E", "X").X}, r"payload\.a is a E"),  # type: ignore[attr-defined]
        ({"a": IntEnum("E", "X").X}, r"payload\.a is a E"),  # type: ignore[attr-defined]
        ({"a": iter([])}, r"payload\.a is a list_iterator"),
        ({"a": {1: 2}}, r"payload\.a has the key 1"),
        ({None: 2}, r"payload has the key None"),
        ({"a": {b"k": 2}}, r"payload\.a has the key b'k'"),
        ({"a": "\ud800"}, r"payload\.a is '\\ud800'.*lone surrogate"),
        ({"a": {"x\udfff": 1}}, r"key of payload\.a is 'x\\udfff'.*lone surrogate"),
        (nested(MAX_DEPTH + 1), r"payload(\.a){32} is nested deeper than 32"),
        ([], r"payload is a list; give a mapping"),
        (None, r"payload is a NoneType"),
        ("{}", r"payload is a str"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_path(payload: Any, named: str) -> None:
    with pytest.raises(InvalidEvent, match=f"^{named}") as caught:
        encode_json(payload)
    str(caught.value).encode()


@pytest.mark.parametrize("sign", [1, -1])
def test_an_enormous_integer_is_refused_as_any_that_is_too_large(sign: int) -> None:
    with pytest.raises(InvalidEvent, match=r"payload\.a"):
        encode_json({"a": sign * 10**5000})


def test_depth_is_counted_to_the_limit_and_a_cycle_is_too_deep() -> None:
    assert encode_json(nested(MAX_DEPTH)) == '{"a":' * 31 + "{}" + "}" * 31
    cycle: dict[str, Any] = {}
    cycle["a"] = [cycle, cycle]
    with pytest.raises(InvalidEvent, match="deeper"):
        encode_json(cycle)


@pytest.mark.parametrize("made", [OrderedDict, MappingProxyType], ids=lambda made: made.__name__)
def test_every_kind_of_mapping_is_an_object(made: Any) -> None:
    assert encode_json(made({"b": made({"c": 1}), "a": 2})) == '{"a":2,"b":{"c":1}}'


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '"a"', "{'a':1}", '{"a":1}x', "[" * 100_000, '{"a":NaN}', '{"a":-Infinity}', None, 7],
)
def test_stored_text_that_is_no_json_object_is_refused(text: Any) -> None:
    with pytest.raises(InvalidEvent, match="payload is"):
        decode_json(text)


@pytest.mark.parametrize("text", [b"{}", bytearray(b"{}")])
def test_bytes_are_no_stored_text(text: Any) -> None:
    with pytest.raises(InvalidEvent, match="payload is not JSON"):
        decode_json(text)


written = st.lists(
    st.sampled_from(['{"a":', '"b":', '"\\u00e9"', '"\\ud800"', "1", "-0", "1e5", "1E+400", "0.1", "{", "}", "[", "]", ",",
                     ":", "NaN",
                     "null", "true", '"é"', '""', " ", "9007199254740993", "1.0", "\ud800", "\x00"]),
    max_size=9,
).map("".join)  # fmt: skip


@once
@settings(max_examples=400, deadline=None)
@given(written | payloads.map(json.dumps) | payloads.map(encode_json))
def test_whoever_parses_it_it_is_the_same(text: str) -> None:
    def read() -> Any:
        try:
            return encode_json(decode_json(text))
        except InvalidEvent:
            return InvalidEvent

    quick = read()
    held, canonical.orjson = canonical.orjson, None  # type: ignore[assignment]
    try:
        assert read() == quick
    finally:
        canonical.orjson = held


@pytest.mark.parametrize("text", [b'{"a":[1,"\\ud800",NaN,1]}', '{"a":1,"a":2}', "7"])
def test_json_of_services_is_not_judged(text: str | bytes) -> None:
    assert repr(loads(text)) == repr(json.loads(text))


@pytest.mark.parametrize("text", [b"", b"<html>", "{", b"\xff"])
def test_what_is_no_json_is_none(text: str | bytes) -> None:
    with pytest.raises(json.JSONDecodeError if text != b"\xff" else UnicodeDecodeError):
        loads(text)


@once
def test_netstrings_are_bernsteins() -> None:
    assert netstrings(b"hello world!", b"", "é".encode()) == b"12:hello world!,0:,2:\xc3\xa9,"


fields = st.lists(st.binary(max_size=3) | st.sampled_from([b"", b"0:,", b"1:a,", b",", b"1:"]), max_size=4)


@once
@settings(max_examples=200)
@given(fields, fields)
def test_no_two_lists_of_fields_share_netstrings(left: list[bytes], right: list[bytes]) -> None:
    assert (netstrings(*left) == netstrings(*right)) == (left == right)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"a":1,"a":2}', "'a' is given twice"),
        ('{"b":{"a":1,"a":1}}', "'a' is given twice"),
        ('{"a":1e999}', "payload.a is inf"),
        ('{"a":[-1E+400]}', "payload.a[0] is -inf"),
        ('{"a":9007199254740993}', "payload.a is 9007199254740993"),
        ('{"a":"\\ud800"}', "lone surrogate"),
        ('{"\\uDFFF":1}', "lone surrogate"),
        ('{"a":' + "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH + "}", "nested deeper"),
    ],
)
def test_stored_text_that_is_json_and_no_i_json_is_refused(text: str, named: str) -> None:
    with pytest.raises(InvalidEvent, match=re.escape(named)):
        decode_json(text)


@pytest.mark.parametrize(
    "text", ['{"a":1e300}', '{"a":1234567890123456}', '{"a":"[{[{"}', '{"a":"\\ud83d\\ude00"}', '{"a":"9e999"}']
)
def test_stored_text_that_only_looks_suspicious_is_read(text: str) -> None:
    assert decode_json(text) == json.loads(text)


DISTINCT: list[Any] = [
    1, 1.0, True, 0, 0.0, -0.0, False, None, "", "1", "true", [], {}, [1], [True], [1.0], [[]], {"a": 1}, {"a": True},
    {"a": 1.0}, {"a": {"b": 0}}, {"a": {"b": False}}, {"a": None}, {"b": None}, 2**53 - 1, float(2**53 - 1), "é", "e\u0301",
    "\U0001f6eb",
]  # fmt: skip


@once
@pytest.mark.parametrize("left", range(len(DISTINCT)))
def test_values_are_the_same_json_only_where_their_texts_are(left: int) -> None:
    for right in range(len(DISTINCT)):
        assert same_json(DISTINCT[left], DISTINCT[right]) is (left == right)
        assert same_json([DISTINCT[left]], [DISTINCT[right]]) is (left == right)


@once
def test_the_order_of_names_and_the_kind_of_mapping_make_no_other_json() -> None:
    assert same_json({"a": 1, "b": {"c": 2, "d": 3}}, OrderedDict([("b", MappingProxyType({"d": 3, "c": 2})), ("a", 1)]))
    assert same_json((1, 2), [1, 2])
