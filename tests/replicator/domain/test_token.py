"""Consistency tokens: opaque, compact, versioned; a forged or foreign one is refused with a sentence that says so."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.domain.clock import Hlc
from replicator.domain.errors import InvalidToken
from replicator.domain.event import GENESIS, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.token import MAX_TEXT, ConsistencyToken, TokenCodec
from replicator.domain.vector import VersionVector

HOMER = StreamId("user", "homer")
CODEC = TokenCodec("meridian")
TOKEN = ConsistencyToken({HOMER: VersionVector({"us-east-1": 7, "eu-west-1": 3})}, Hlc(1_763_914_981_123, 42))
TEXT = "AbkRyY-DvpqMqzMqAglldS13ZXN0LTEJdXMtZWFzdC0xAQR1c2VyBWhvbWVyAgADAQe1tGbG43Ie5p0zgsw"

ids = st.text(st.characters(categories=["L", "N"], max_codepoint=0x24F), min_size=1, max_size=12)
regions = st.sampled_from(["us-east-1", "eu-west-1", "ap-southeast-2", "us-gov-west-1"])
vectors = st.dictionaries(regions, st.integers(1, 10**16 - 1)).map(VersionVector)
tokens = st.builds(
    ConsistencyToken,
    st.dictionaries(st.builds(StreamId, st.sampled_from(["user", "group"]), ids.filter(lambda t: t.strip() == t)), vectors,
                    max_size=5),
    st.builds(Hlc, st.integers(0, 10**13 - 1), st.integers(0, 65535)),
)  # fmt: skip


@given(tokens)
def test_decoding_inverts_encoding(token: ConsistencyToken) -> None:
    assert CODEC.decode(CODEC.encode(token)) == token


def test_the_encoding_is_pinned() -> None:
    assert CODEC.encode(TOKEN) == TEXT
    assert CODEC.decode(TEXT) == TOKEN


def test_a_token_of_one_stream_in_three_regions_is_short_enough_for_a_header() -> None:
    three = VersionVector({"us-east-1": 10**6, "eu-west-1": 10**6, "ap-southeast-2": 10**6})
    assert len(CODEC.encode(ConsistencyToken({HOMER: three}, TOKEN.hlc))) < 120


@given(tokens, st.data())
def test_any_changed_character_is_found(token: ConsistencyToken, data: st.DataObject) -> None:
    text = CODEC.encode(token)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from("ABCDEFGHabcdefgh0123-_").filter(lambda c: c != text[place]))
    with pytest.raises(InvalidToken):
        CODEC.decode(text[:place] + other + text[place + 1 :])


@given(st.text(max_size=200) | st.binary(max_size=80).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_whatever_is_given_is_read_or_refused_and_nothing_else(text: str) -> None:
    with pytest.raises(InvalidToken):
        CODEC.decode(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "1 to 8,192"),
        ("A" * (MAX_TEXT + 1), "1 to 8,192"),
        ("not a token!", "base64url"),
        (TEXT[:-1] + "x", "canonical form"),  # the same bytes, as base64 has bits to spare at its end
        ("Ag" + TEXT[2:], "version 2"),
        (TEXT[:8], "truncated"),
        (TokenCodec("other").encode(TOKEN), "another Meridian system"),
        (TokenCodec("meridian", [b"k" * 32]).encode(TOKEN), "forged"),
    ],
)
def test_the_refusal_says_what_is_wrong_and_what_to_give(text: str, says: str) -> None:
    with pytest.raises(InvalidToken, match=says) as raised:
        CODEC.decode(text)
    assert "token" in str(raised.value)
    assert len(str(raised.value)) < 250


def test_keys_can_be_changed_without_a_gap() -> None:
    old, new = b"o" * 32, b"n" * 32
    before, during, after = (TokenCodec("meridian", keys) for keys in ([old], [new, old], [new]))
    assert during.decode(before.encode(TOKEN)) == TOKEN
    assert after.decode(during.encode(TOKEN)) == TOKEN
    with pytest.raises(InvalidToken, match="forged"):
        after.decode(before.encode(TOKEN))


def test_too_many_streams_for_a_header_are_refused_when_the_token_is_made() -> None:
    many = {StreamId("user", f"u{n:06}"): VersionVector({"us-east-1": 1}) for n in range(600)}
    with pytest.raises(InvalidToken, match="600 streams"):
        CODEC.encode(ConsistencyToken(many))


@given(tokens, tokens, tokens)
def test_join_is_a_least_upper_bound(a: ConsistencyToken, b: ConsistencyToken, c: ConsistencyToken) -> None:
    assert a.join(b) == b.join(a)
    assert a.join(b).join(c) == a.join(b.join(c))
    assert a.join(a) == a
    assert all(a.vector(stream) <= a.join(b).vector(stream) for stream in a.vectors)


def test_a_token_of_events_names_them_and_what_they_had_observed() -> None:
    lane = LaneId("us-east-1", HOMER)
    event = seal(lane, 1, Hlc(5, 0), NewEvent("x", {}), VersionVector({"eu-west-1": 4}), GENESIS)
    assert ConsistencyToken.of([event]) == ConsistencyToken(
        {HOMER: VersionVector({"us-east-1": 1, "eu-west-1": 4})}, Hlc(5, 0)
    )
