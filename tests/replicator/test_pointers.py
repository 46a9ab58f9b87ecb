"""Pointers: text and back without loss, in messages that SQS takes, and nothing else is taken for them."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.control.pointers import MAX_MESSAGE_BYTES, InvalidPointers, Pointers, Spans, join, spans
from replicator.domain.clock import Hlc
from replicator.domain.errors import InvalidName
from replicator.domain.event import GENESIS, NewEvent, seal
from replicator.domain.names import MAX_SEQUENCE, LaneId, StreamId
from replicator.domain.vector import EMPTY

SQS_LIMIT = 262_144
SQS_TAKES = re.compile(r"[\t\n\r\x20-\uD7FF\uE000-\uFFFD\U00010000-\U0010FFFF]*")
HOMER = LaneId("us-east-1", StreamId("user", "homer"))


def is_name(text: str) -> bool:
    try:
        LaneId("us-east-1", StreamId("user", text))
    except InvalidName:
        return False
    return True


names = st.text(
    st.one_of(st.sampled_from('"\\/ {}[]:,ß數🦄\uffff'), st.characters(exclude_categories=["Cs", "Cc", "Cf"])),
    min_size=1,
    max_size=20,
).map(lambda text: unicodedata.normalize("NFC", text).strip()).filter(is_name)  # fmt: skip
lanes = st.builds(
    LaneId,
    st.sampled_from(["us-east-1", "eu-west-1", "ap-southeast-2"]),
    st.builds(StreamId, names.map(lambda t: t.replace("/", "|")), names),
)
ranges = st.tuples(st.integers(1, MAX_SEQUENCE), st.integers(1, MAX_SEQUENCE)).map(lambda pair: (min(pair), max(pair)))
spans_by_lane = st.dictionaries(lanes, ranges, max_size=6)
pointers = st.builds(
    Pointers,
    st.sampled_from(["us-east-1>eu-west-1", "us-east-1>views"]),
    spans_by_lane,
    st.integers(0, 10**13 - 1),
    st.integers(0, 9),
    st.dictionaries(st.sampled_from(["event", "error"]), st.text(st.characters(exclude_categories=["Cs"])), max_size=2),
)


@settings(max_examples=150, deadline=None)
@given(pointers, pointers)
def test_the_text_is_one_to_one(one: Pointers, other: Pointers) -> None:
    assert Pointers.parse(str(one)) == one
    assert str(Pointers.parse(str(one))) == str(one)
    assert (str(one) == str(other)) == (one == other)


@pytest.mark.parametrize(
    "name", ['"', "\\", '\\"', "\\u0041", "é数🦄", "a b", "{}", "a\u00a0x", "x" * 1024, '"' * 1024, "數" * 341]
)
def test_every_name_that_a_lane_may_have_comes_back(name: str) -> None:
    lane = LaneId("eu-west-1", StreamId(name[:40], name))
    assert Pointers.parse(str(Pointers("l", {lane: (1, MAX_SEQUENCE)}, 7, 3))).lanes == {lane: (1, MAX_SEQUENCE)}


@pytest.mark.parametrize("character", ["\ufffe", "\uffff"])
def test_sqs_takes_the_text_whatever_a_lane_is_called(character: str) -> None:
    lane = LaneId("us-east-1", StreamId("user", f"a{character}"))
    assert SQS_TAKES.fullmatch(str(Pointers("us-east-1>views", {lane: (1, 2)}, 7)))


@settings(max_examples=100, deadline=None)
@given(pointers, st.integers(1, 400))
def test_the_parts_join_to_the_whole_and_each_is_small(whole: Pointers, most: int) -> None:
    parts = list(whole.split(most))
    assert join(part.lanes for part in parts) == whole.lanes
    assert sum(len(part.lanes) for part in parts) == len(whole.lanes), "no lane is in two"
    assert all((p.link, p.since, p.tries, p.cause) == (whole.link, whole.since, whole.tries, whole.cause) for p in parts)
    around = len(str(Pointers(whole.link, {}, whole.since, whole.tries, whole.cause)).encode())
    assert all(part.lanes for part in parts)
    assert all(len(str(part).encode()) <= most + around for part in parts if len(part.lanes) > 1)


@pytest.mark.parametrize("name", ["x" * 1000, '"' * 1000, "\\" * 1000, "數" * 333, "🦄" * 250])
def test_ten_thousand_long_names_go_in_messages_that_sqs_takes(name: str) -> None:
    whole: Spans = {
        LaneId("ap-southeast-2", StreamId("user", f"{name}{n}")): (MAX_SEQUENCE - n, MAX_SEQUENCE) for n in range(2000)
    }
    parts = list(Pointers("ap-southeast-2>ap-southeast-1", whole, 10**13 - 1, 99, {"error": "e" * 1000}).split())
    assert join(part.lanes for part in parts) == whole
    assert all(len(str(part).encode()) < SQS_LIMIT for part in parts)
    assert MAX_MESSAGE_BYTES < SQS_LIMIT


def test_nothing_splits_into_nothing() -> None:
    assert list(Pointers("l", {}, 0).split()) == []
    assert join([]) == join([{}, {}]) == {}


@settings(max_examples=60, deadline=None)
@given(st.lists(spans_by_lane, max_size=4))
def test_joined_spans_cover_each_and_begin_and_end_where_one_does(parts: list[Spans]) -> None:
    joined = join(parts)
    assert joined.keys() == {lane for part in parts for lane in part}
    for lane, (low, high) in joined.items():
        found = [part[lane] for part in parts if lane in part]
        assert (low, high) == (min(a for a, _ in found), max(b for _, b in found))
    assert join(reversed(parts)) == joined
    assert join([joined, *parts]) == joined


def text(**changed: Any) -> str:
    value: dict[str, Any] = {"v": 1, "link": "l", "since": 7, "tries": 0, "lanes": {HOMER.key: [1, 2]}}
    return json.dumps({name: part for name, part in {**value, **changed}.items() if part is not ...})


def test_the_format_is_as_written_down() -> None:
    lane = LaneId("us-east-1", StreamId("user", 'Zoë "数"'))
    written = str(Pointers("us-east-1>views", {lane: (2, 3)}, 1_763_914_981_123, 4, {"event": "e", "error": "x"}))
    assert json.loads(written) == {
        "v": 1, "link": "us-east-1>views", "since": 1_763_914_981_123, "tries": 4,
        "lanes": {'us-east-1#user#Zoë "数"': [2, 3]}, "cause": {"event": "e", "error": "x"},
    }  # fmt: skip
    assert "cause" not in str(Pointers("l", {HOMER: (1, 1)}, 0))


MALFORMED = {
    "nothing": "",
    "no JSON": "{",
    "a list": "[]",
    "a string": '"v"',
    "null": "null",
    "a number": "1",
    "empty": "{}",
    "trailing": text() + "x",
    "NUL": "\0",
    "no version": text(v=...),
    "another version": text(v=2),
    "version as text": text(v="1"),
    "no link": text(link=...),
    "no since": text(since=...),
    "since NaN": text(since=float("nan")),
    "since null": text(since=None),
    "since text": text(since="yesterday"),
    "since of 5,000 digits": text().replace("7", "9" * 5000, 1),
    "no tries": text(tries=...),
    "tries a list": text(tries=[]),
    "no lanes": text(lanes=...),
    "lanes a list": text(lanes=[HOMER.key]),
    "lanes null": text(lanes=None),
    "no span": text(lanes={HOMER.key: []}),
    "half a span": text(lanes={HOMER.key: [1]}),
    "a span of text": text(lanes={HOMER.key: ["1", "2"]}),
    "a span of floats": text(lanes={HOMER.key: [1.0, 2.0]}),
    "a span of bools": text(lanes={HOMER.key: [True, True]}),
    "a span from 0": text(lanes={HOMER.key: [0, 2]}),
    "a negative span": text(lanes={HOMER.key: [-2, -1]}),
    "a span beyond the last": text(lanes={HOMER.key: [1, 10**16]}),
    "a span backwards": text(lanes={HOMER.key: [2, 1]}),
    "a span as a map": text(lanes={HOMER.key: {"from": 1, "to": 2}}),
    "a forged lane": text(lanes={"US-EAST-1#user#homer": [1, 2]}),
    "a lane of four": text(lanes={"us-east-1#user#a#b": [1, 2]}),
    "an empty lane": text(lanes={"": [1, 2]}),
    "a lane with NUL": text(lanes={"us-east-1#user#a\0": [1, 2]}),
    "a cause of text": text(cause="because"),
    "a cause of null": text(cause=None),
    "a failed batch": '{"requestContext":{},"DDBStreamBatchInfo":{"startSequenceNumber":"1"}}',
    "nested deeply": "[" * 100_000,
    "since infinite": text().replace("7", "1e999", 1),
    "tries infinite": text(tries=...)[:-1] + ',"tries":1e999}',
    "tries negative": text(tries=-5),
}


@pytest.mark.parametrize(
    "body",
    [
        *(pytest.param(body, id=name) for name, body in MALFORMED.items()),
    ],
)
def test_what_is_no_pointers_is_refused_as_such(body: str) -> None:
    with pytest.raises(InvalidPointers) as raised:
        Pointers.parse(body)
    assert str(raised.value)


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_infinity=False)
        | st.text(max_size=5)
        | st.just(HOMER.key),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["v", "link", "since", "tries", "lanes", "cause", HOMER.key]), inner, max_size=6
            )
        ),
        max_leaves=12,
    )
)
def test_any_json_is_pointers_or_refused(value: Any) -> None:
    try:
        found = Pointers.parse(json.dumps(value))
    except InvalidPointers:
        return
    assert Pointers.parse(str(found)) == found


def test_a_version_that_is_not_known_is_named() -> None:
    with pytest.raises(InvalidPointers, match=r"version 2.*version 1"):
        Pointers.parse(text(v=2))


def test_spans_are_the_lowest_and_highest_sequence_of_each_lane() -> None:
    one, other = (LaneId("us-east-1", StreamId("user", name)) for name in ("apu", "bart"))
    events = [seal(lane, n, Hlc(1, 0), NewEvent("x", {}), EMPTY, GENESIS) for lane, n in ((one, 7), (other, 2), (one, 3))]
    assert spans(events) == {one: (3, 7), other: (2, 2)}
    assert spans([]) == {}
