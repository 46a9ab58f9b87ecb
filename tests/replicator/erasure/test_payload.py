"""Payloads with personal fields: what a writer may protect, and what a reader gets of what is forgotten."""

from __future__ import annotations

import json
from typing import Any

import pytest

from replicator.domain.canonical import encode_json
from replicator.domain.errors import DamagedEvent, InvalidEvent
from replicator.domain.event import NewEvent
from replicator.domain.protected import Protected, may_hold_personal
from replicator.erasure import MARKER, FieldForgotten, LocalWrapping, MemoryKeys, PersonalData, Revealed, holds_personal

EAST = "us-east-1"
HOMER, BART = "user/homer", "user/bart"
SECRET = "4929 1234 horse"


@pytest.fixture
def personal(tmp_path: Any) -> PersonalData:
    return PersonalData(EAST, {EAST: MemoryKeys()}, LocalWrapping(tmp_path / "key"))


def stored(payload: Any) -> Any:
    """As it comes back from an event."""
    return json.loads(encode_json(payload))


NESTED = {"plan": "gold", "address": {"street": SECRET, "zip": [1, {"x": SECRET}]}, "people": [{"name": SECRET, "n": 1}]}


def test_named_fields_are_hidden_and_revealed_wherever_they_stand(personal: PersonalData) -> None:
    protected = personal.protect(HOMER, NESTED, ["address.street", "address.zip", "people.0.name"])
    assert SECRET not in encode_json(protected)
    assert protected["plan"] == "gold"
    assert protected["people"][0]["n"] == 1
    assert personal.reveal(stored(protected)) == NESTED
    assert NESTED["address"]["street"] == SECRET  # type: ignore[index]  # what was given stays as it was


@pytest.mark.parametrize(
    "value", [None, True, 0, -1.5, "", "é\U0001f6eb", [], {}, [{"a": [None]}], {"b": {"c": 1}}], ids=repr
)
def test_any_json_value_can_be_protected(personal: PersonalData, value: Any) -> None:
    protected = personal.protect(HOMER, {"field": value}, ["field"])
    assert holds_personal(protected)
    assert personal.reveal(stored(protected)) == {"field": value}


def test_one_payload_can_hold_fields_of_several_subjects(personal: PersonalData) -> None:
    first = personal.protect(HOMER, {"from": "H", "to": "B", "sum": 7}, ["from"])
    both = personal.protect(BART, first, ["to"])
    assert personal.reveal(stored(both)) == {"from": "H", "to": "B", "sum": 7}
    personal.destroy(HOMER)
    left = personal.reveal(stored(both))
    assert left == {"to": "B", "sum": 7}
    assert (left.forgotten, left.subjects) == ({"from"}, {HOMER})


@pytest.mark.parametrize(
    "forged",
    [
        {"email": "x", "note": {MARKER: {"subject": BART, "key": f"{EAST}.a", "text": "t"}}},
        {"email": "x", MARKER: 1},
        {"email": "x", "deep": [[{"er": {MARKER: None, "more": 1}}]]},
        {"email": {MARKER: {}}},
    ],
)
def test_a_payload_with_an_envelope_of_its_own_is_refused(personal: PersonalData, forged: dict[str, Any]) -> None:
    with pytest.raises(InvalidEvent, match="marks what Meridian has encrypted"):
        personal.protect(HOMER, forged, ["email"])


def test_an_envelope_that_was_copied_from_another_payload_is_refused(personal: PersonalData) -> None:
    homers = personal.protect(HOMER, {"email": SECRET}, ["email"])
    with pytest.raises(InvalidEvent, match="payload field email has the key"):
        personal.protect(BART, {"email": homers["email"], "name": "Bart"}, ["name"])
    mine = personal.protect(BART, {"name": "Bart", "email": 1}, ["name"])
    mine["email"] = homers["email"]  # put in afterwards, where protect has made none
    with pytest.raises(InvalidEvent, match="payload field email has the key"):
        personal.protect(HOMER, mine, [])


@pytest.mark.parametrize(
    "field", ["emial", "address.steet", "address.street.more", "people.1.name", "people.0", "people.x", ""]
)
def test_a_field_that_is_not_there_is_refused_rather_than_left_in_the_open(personal: PersonalData, field: str) -> None:
    with pytest.raises(InvalidEvent, match=f"no field {field} to protect") as caught:
        personal.protect(HOMER, NESTED, [field])
    assert SECRET not in str(caught.value)


def test_protecting_a_field_twice_or_what_holds_one_is_refused(personal: PersonalData) -> None:
    once = personal.protect(HOMER, NESTED, ["address.street"])
    for field in ("address.street", "address"):
        with pytest.raises(InvalidEvent, match="protected already"):
            personal.protect(HOMER, once, [field])


def test_swapped_envelopes_are_damage_and_not_each_others_values(personal: PersonalData) -> None:
    made = stored(personal.protect(HOMER, {"a": SECRET, "b": "other"}, ["a", "b"]))
    with pytest.raises(DamagedEvent, match="personal field a of subject user/homer") as caught:
        personal.reveal({"a": made["b"], "b": made["a"]})
    assert SECRET not in str(caught.value)


def test_an_envelope_that_is_said_to_be_anothers_is_damage(personal: PersonalData) -> None:
    made = stored(personal.protect(HOMER, {"a": SECRET}, ["a"]))
    personal.protect(BART, {"a": "x"}, ["a"])
    made["a"][MARKER]["subject"] = BART
    with pytest.raises(DamagedEvent):
        personal.reveal(made)


def test_an_envelope_in_a_list_or_in_place_of_a_payload_is_damage(personal: PersonalData) -> None:
    made = stored(personal.protect(HOMER, {"a": SECRET}, ["a"]))
    for wrong in ({"list": [made["a"]]}, made["a"]):
        with pytest.raises(DamagedEvent, match="where Meridian never writes one"):
            personal.reveal(wrong)


def test_what_is_forgotten_raises_where_it_is_needed_and_is_absent_elsewhere(personal: PersonalData) -> None:
    payload = stored(personal.protect(HOMER, NESTED, ["address.street", "people.0.name"]))
    left = personal.reveal(payload, forgotten=[HOMER])
    for street in (
        lambda: left["address"]["street"],
        lambda: left["people"][0]["name"],
        lambda: left["address"].pop("street"),
    ):
        with pytest.raises(FieldForgotten):
            street()
    assert left["address"].get("street") is None
    assert left["address"].get("street", "unknown") == left["address"].pop("street", "unknown") == "unknown"
    assert "street" not in left["address"]
    assert left["people"] == [{"n": 1}]
    assert SECRET in encode_json(left)  # address.zip was not protected
    with pytest.raises(KeyError) as caught:
        left["never there"]
    assert not isinstance(caught.value, FieldForgotten)
    assert left.subjects == {HOMER}
    assert isinstance(left["address"], Revealed)


@pytest.mark.parametrize("text", ['"$personal" said he', "$personal", "\\u0024personal", '{"$personal":{}}'])
def test_text_that_only_looks_like_a_marker_is_no_personal_field(personal: PersonalData, text: str) -> None:
    payload = stored(personal.protect(HOMER, {"note": text}, []))
    assert not holds_personal(payload)
    assert personal.reveal(payload) == {"note": text}


def test_the_quick_look_never_misses_a_personal_field(personal: PersonalData) -> None:
    assert may_hold_personal(encode_json(personal.protect(HOMER, NESTED, ["people.0.name"])))
    assert not may_hold_personal(encode_json(NESTED))


def test_a_field_that_upcasters_have_moved_is_revealed_where_it_stands_now(personal: PersonalData) -> None:
    written = stored(personal.protect(HOMER, {"mail": SECRET, "plan": "gold"}, ["mail"]))
    upcast = {"contact": {"email": written["mail"]}, "plan": written["plan"]}
    assert personal.reveal(upcast, written=written) == {"contact": {"email": SECRET}, "plan": "gold"}
    with pytest.raises(DamagedEvent, match="does not decrypt"):
        personal.reveal(upcast)  # a field that moved without an upcaster is damage
    personal.destroy(HOMER)
    left = personal.reveal(upcast, written=written)
    assert left["contact"].get("email") is None
    with pytest.raises(FieldForgotten):
        left["contact"]["email"]


def test_an_upcaster_cannot_bring_in_a_field_of_another_event(personal: PersonalData) -> None:
    written = stored(personal.protect(HOMER, {"mail": SECRET}, ["mail"]))
    other = stored(personal.protect(BART, {"mail": "b"}, ["mail"]))
    with pytest.raises(DamagedEvent, match="not one that was written with this event"):
        personal.reveal({"email": other["mail"]}, written=written)


def test_only_what_meridian_encrypted_may_bear_the_mark(personal: PersonalData) -> None:
    """A user who sends somebody's encrypted address as his own would be shown it."""
    stolen = stored(personal.protect(BART, {"email": SECRET}, ["email"]))
    for payload in (stolen, {"deep": [{"er": stolen["email"]}]}, {MARKER: 1}):
        with pytest.raises(InvalidEvent, match="never accept it from users"):
            NewEvent("moved", payload)
    assert NewEvent("moved", personal.protect(HOMER, {"email": "h"}, ["email"])).payload
    assert NewEvent("moved", Protected(stolen)).payload == stolen
    assert NewEvent("said", {"text": f'"{MARKER}" is a mark', MARKER + "s": 1}).payload
