"""Envelopes: any JSON value comes back, nobody else's does, and what was altered is damage and never a value."""

from __future__ import annotations

import builtins
import secrets
import sys
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.domain.canonical import encode_json
from replicator.domain.errors import DamagedEvent, InvalidConfig, InvalidEvent
from replicator.erasure.envelope import MARKER, Envelope, close, open_

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
ID = "us-east-1.abc"
SECRET = "4929 1234 horse"

numbers = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=10,
)


def closed(value: Any = SECRET, path: tuple[str, ...] = ("email",)) -> Envelope:
    return close(value, "user/homer", ID, KEY, path, secrets.token_bytes(12))


@given(json_values, st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1).map(tuple))
def test_any_json_value_comes_back_through_the_stored_text(value: Any, path: tuple[str, ...]) -> None:
    stored = closed(value, path).json()
    encode_json(stored)  # is fit for an event
    assert open_(Envelope.read(stored, path), KEY, path) == value


def test_neither_the_value_nor_its_length_shows() -> None:
    short, longer = closed("a").text, closed("a" * 20).text
    assert len(short) == len(longer)
    assert SECRET not in str(closed())
    assert closed().text != closed().text


@given(st.data())
def test_a_text_of_which_any_bit_was_flipped_or_any_part_cut_is_damage(data: Any) -> None:
    raw = bytearray(urlsafe_b64decode(closed().text))
    if data.draw(st.booleans()):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        raw = raw[: data.draw(st.integers(0, len(raw) - 1))]
    with pytest.raises(DamagedEvent, match="personal field email of subject user/homer does not decrypt") as caught:
        open_(replace(closed(), text=urlsafe_b64encode(raw).decode()), KEY, ("email",))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("text", ["", "?", "é", "AAAA", "=" * 40, "A" * 41])
def test_a_text_that_is_no_base64_of_ours_is_damage(text: str) -> None:
    with pytest.raises(DamagedEvent, match="personal field email"):
        open_(replace(closed(), text=text), KEY, ("email",))


@pytest.mark.parametrize(
    ("moved", "key", "path"),
    [
        (closed(), KEY, ("phone",)),
        (closed(), KEY, ("contact", "email")),
        (closed(path=("a", "b")), KEY, ("a.b",)),
        (replace(closed(), subject="user/bart"), KEY, ("email",)),
        (replace(closed(), key="eu-west-1.abc"), KEY, ("email",)),
        (closed(), OTHER, ("email",)),
    ],
    ids=["other field", "further inside", "a dot in a name", "other subject", "other key's id", "other key"],
)
def test_a_text_that_was_moved_is_damage(moved: Envelope, key: bytes, path: tuple[str, ...]) -> None:
    with pytest.raises(DamagedEvent, match="moved there from another field or subject"):
        open_(moved, key, path)


@pytest.mark.parametrize(
    "inner",
    [
        None,
        "text",
        [],
        {},
        {"subject": "user/homer", "key": ID},
        {"subject": "user/homer", "key": ID, "text": 7},
        {"subject": "user/homer", "key": ID, "text": "x", "more": 1},
        {"subject": "", "key": ID, "text": "x"},
        {"subject": "user#homer", "key": ID, "text": "x"},
        {"subject": "user/homer", "key": "moon.abc", "text": "x"},
        {"subject": "user/homer", "key": "us-east-1." + "x" * 99, "text": "x"},
        {"subject": "\ud800", "key": ID, "text": "x"},
    ],
)
def test_what_no_writer_made_is_damage_that_names_the_field(inner: Any) -> None:
    with pytest.raises(DamagedEvent, match=r"personal field contact\.email"):
        Envelope.read({MARKER: inner}, ("contact", "email"))


def test_an_object_that_is_more_than_an_envelope_is_damage() -> None:
    with pytest.raises(DamagedEvent):
        Envelope.read({**closed().json(), "more": 1}, ("email",))


@pytest.mark.parametrize("value", [float("nan"), 2**60 + 7, {1: "x"}, b"4929", {"4929"}, "\ud800", [[{"a": 2**60 + 7}]]])
def test_what_json_cannot_hold_is_refused_without_being_shown(value: Any) -> None:
    with pytest.raises(InvalidEvent, match="personal field email holds a value that is not JSON") as caught:
        closed(value)
    assert str(2**60 + 7) not in str(caught.value)
    assert "4929" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_without_the_library_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name.startswith("cryptography"):
            raise ImportError(name)
        return found(name, *rest)

    for name in [name for name in sys.modules if name.startswith("cryptography")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(InvalidConfig, match=r"pip install 'meridian-events\[erasure\]'"):
        closed()
