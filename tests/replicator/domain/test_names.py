"""Names: hostile ones are refused with a reason, and the encoding as keys is one-to-one."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.domain.errors import InvalidName, MeridianError
from replicator.domain.names import (
    MAX_ID_BYTES,
    MAX_SEQUENCE,
    MAX_TYPE_BYTES,
    LaneId,
    StreamId,
    check_region,
    check_segment,
    parse_sequence_key,
    sequence_key,
)

regions = st.sampled_from(["us-east-1", "eu-west-1", "us-gov-west-1", "ap-southeast-12"])
hostile = st.text("ab#%23+/-\u00e9", min_size=1, max_size=6)
visible = st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zl", "Zp"), exclude_characters="#"), max_size=30)
segments = (
    (visible | hostile.map(lambda t: t.replace("#", ""))).map(lambda t: unicodedata.normalize("NFC", t).strip()).filter(bool)
)
lanes = st.builds(LaneId, regions, st.builds(StreamId, segments.filter(lambda t: "/" not in t), segments))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a#b", "delimiter"),
        ("#", "delimiter"),
        ("", "empty"),
        (" ", "white space"),
        (" a", "white space"),
        ("a\u00a0", "white space"),
        ("a\u3000", "white space"),
        ("a\x00b", "control"),
        ("a\nb", "control"),
        ("a\t", "control"),
        ("a\x7f", "control"),
        ("a\u0085b", "control"),
        ("a\u200db", "invisible"),
        ("\u202ea", "invisible"),
        ("\ufeffa", "invisible"),
        ("a\u2028b", "control"),
        ("e\u0301", "NFC"),
        ("\u212b", "NFC"),
        ("\ud800", "control"),
        ("a\udfffb", "control"),
        (None, "NoneType"),
        (7, "int"),
        (b"a", "bytes"),
    ],
)
def test_hostile_segments_are_refused_by_name_and_reason(text: object, reason: str) -> None:
    with pytest.raises(InvalidName, match=f"stream id .*{reason}") as caught:
        StreamId("user", text)  # type: ignore[arg-type]
    str(caught.value).encode()  # the message can be logged, whatever was in the name


@pytest.mark.parametrize(("kind", "limit"), [("type", MAX_TYPE_BYTES), ("id", MAX_ID_BYTES)])
@pytest.mark.parametrize("character", ["a", "\u00e9", "\U0001f6eb"])
def test_one_byte_too_many_is_refused_and_none_fewer(kind: str, limit: int, character: str) -> None:
    fits = character * (limit // len(character.encode()))
    assert len(fits.encode()) == limit
    StreamId(**{"type": "t", "id": "i", kind: fits})
    with pytest.raises(InvalidName, match=rf"{limit + 1} bytes.*limit is {limit}"):
        StreamId(**{"type": "t", "id": "i", kind: fits + "x"})


@pytest.mark.parametrize(
    "region",
    [
        "", "US-EAST-1", "us-East-1", "us-e\u0430st-1", "us-east-\uff11", "us\u2010east\u20101", "us-east-1\n", " us-east-1",
        "us-east-1#user", "us-east", "us-east-0", "us-east-01", "us_east_1", "useast1", "us-east-1\x00", "us-east-\ud800",
        None, 1, b"us-east-1",
    ],
)  # fmt: skip
def test_only_a_real_region_name_is_a_region(region: object) -> None:
    with pytest.raises(InvalidName, match="region"):
        check_region(region)  # type: ignore[arg-type]


def test_a_percent_escape_is_only_text() -> None:
    lane = LaneId("us-east-1", StreamId("user", "a%23b"))
    assert lane.key == "us-east-1#user#a%23b"
    assert LaneId.from_key(lane.key).stream.id == "a%23b"


def test_no_two_splits_of_one_text_share_a_key() -> None:
    for kind, name in (("a#b", "c"), ("a", "b#c"), ("a#", "c"), ("a", "#c")):
        with pytest.raises(InvalidName, match="delimiter"):
            StreamId(kind, name)
    with pytest.raises(InvalidName, match="region#type#id"):
        LaneId.from_key("us-east-1#a#b#c")


@given(lanes)
def test_a_key_decodes_to_its_lane(lane: LaneId) -> None:
    assert LaneId.from_key(lane.key) == lane
    assert StreamId.parse(str(lane.stream)) == lane.stream
    assert len(lane.key.encode()) <= 2048


@settings(max_examples=300)
@given(regions, st.tuples(hostile, hostile), st.tuples(hostile, hostile))
def test_equal_keys_are_equal_lanes(region: str, left: tuple[str, str], right: tuple[str, str]) -> None:
    try:
        a, b = (LaneId(region, StreamId(*each)) for each in (left, right))
    except InvalidName:
        return
    assert (a.key == b.key) == (left == right)


@given(st.text() | st.lists(hostile, max_size=4).map(lambda parts: "#".join(["us-east-1", *parts])))
def test_any_text_is_either_the_key_of_one_lane_or_refused(text: str) -> None:
    try:
        lane = LaneId.from_key(text)
    except InvalidName:
        return
    assert lane.key == text


@given(st.text())
def test_any_text_is_either_a_clean_segment_or_refused(text: str) -> None:
    try:
        check_segment("thing", text, 64)
    except InvalidName:
        return
    assert 0 < len(text.encode()) <= 64
    assert "#" not in text
    assert text == unicodedata.normalize("NFC", text).strip()


@pytest.mark.parametrize("text", ["homer", "", "/homer", "user/", "us\u200der/homer", None])
def test_a_stream_without_type_or_id_is_refused(text: object) -> None:
    with pytest.raises(InvalidName):
        StreamId.parse(text)  # type: ignore[arg-type]


def test_a_type_may_hold_no_slash_but_an_id_may() -> None:
    assert StreamId.parse("file/a/b") == StreamId("file", "a/b")
    with pytest.raises(InvalidName, match="separates"):
        StreamId("file/a", "b")


numbers = st.integers(1, MAX_SEQUENCE) | st.integers(1, 1200)


@given(numbers, numbers)
def test_sequence_keys_sort_as_numbers(a: int, b: int) -> None:
    assert (sequence_key(a) < sequence_key(b)) == (a < b)
    assert parse_sequence_key(sequence_key(a)) == a


@pytest.mark.parametrize("sequence", [0, -1, MAX_SEQUENCE + 1, 1.0, True, "1", None, float("nan")])
def test_what_is_no_sequence_has_no_key(sequence: object) -> None:
    with pytest.raises(InvalidName, match="sequence"):
        sequence_key(sequence)  # type: ignore[arg-type]


def test_an_enormous_sequence_is_refused_as_any_other() -> None:
    with pytest.raises(MeridianError):
        sequence_key(10**5000)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "7",
        "0" * 16,
        "0" * 15 + "\uff17",
        "0" * 15 + "\u00b2",
        "-" + "0" * 14 + "7",
        "0" * 16 + "7",
        " " * 15 + "7",
        7,
        None,
    ],
)
def test_what_is_no_sequence_key_is_refused(key: object) -> None:
    with pytest.raises(InvalidName, match="sort key"):
        parse_sequence_key(key)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["x" * 100_000 + "#", "x" * 100_000 + "\0", " " + "x" * 100_000, "e\u0301" * 50_000])
def test_a_name_of_any_size_is_shown_in_part(text: str) -> None:
    with pytest.raises(InvalidName) as caught:
        StreamId("user", text)
    assert len(str(caught.value)) < 600
