"""Events as an API: old events are read as today's, never rewritten; a gap in the chain of upcasters stops the start."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator import EventStore, InvalidConfig, InvalidEvent, MemoryStorage, NewEvent, Operation
from replicator.eventstore.reducer import Reducer
from replicator.eventstore.upcasting import PLAIN, Schemas, UnknownVersion, set_events

EAST = "us-east-1"


def addresses() -> Schemas:
    schemas = Schemas()
    schemas.type("address_set", latest=3)
    schemas.type("named", latest=1)

    @schemas.upcaster("address_set", 1)
    def _(payload):  # type: ignore[no-untyped-def]
        return {"lines": payload["text"].split(", ")}

    @schemas.upcaster("address_set", 2)
    def _(payload):  # type: ignore[no-untyped-def]
        return {**payload, "country": "US"}

    return schemas.check()


def store_with(*events: NewEvent) -> EventStore:
    store = EventStore(MemoryStorage(), EAST, [EAST])
    store.save(Operation("user/homer", events))
    return store


def test_an_old_event_is_read_as_the_latest_version_and_stays_as_it_was_written() -> None:
    store = store_with(NewEvent("address_set", {"text": "742 Evergreen Terrace, Springfield"}))
    (event,) = store.read("user/homer")
    assert addresses().payload(event) == {"lines": ["742 Evergreen Terrace", "Springfield"], "country": "US"}
    assert event.payload == {"text": "742 Evergreen Terrace, Springfield"}
    assert event.version == 1


@pytest.mark.parametrize(("version", "payload"), [(2, {"lines": ["x"]}), (3, {"lines": ["x"], "country": "US"})])
def test_later_versions_go_through_what_is_left_of_the_chain(version: int, payload: dict[str, object]) -> None:
    (event,) = store_with(NewEvent("address_set", payload, version)).read("user/homer")
    assert addresses().payload(event) == {"lines": ["x"], "country": "US"}


def test_new_events_carry_the_latest_version() -> None:
    assert addresses().new("address_set", {"lines": []}).version == 3
    with pytest.raises(InvalidEvent, match="choose from address_set, named"):
        addresses().new("adress_set", {})


def test_a_type_that_is_not_declared_is_read_as_it_is() -> None:
    (event,) = store_with(NewEvent("other", {"a": 1}, 9)).read("user/homer")
    assert addresses().payload(event) == PLAIN.payload(event) == {"a": 1}


def test_an_event_of_newer_code_is_refused_by_name_and_version() -> None:
    (event,) = store_with(NewEvent("address_set", {}, 4)).read("user/homer")
    with pytest.raises(UnknownVersion, match=r"version 4; this code knows up to 3\. Deploy"):
        addresses().payload(event)


def test_every_gap_is_named_at_start_up() -> None:
    schemas = Schemas()
    schemas.type("a", latest=4)
    schemas.type("b")
    schemas.upcaster("a", 2)(dict)
    schemas.upcaster("b", 1)(dict)
    schemas.upcaster("c", 1)(dict)
    with pytest.raises(InvalidConfig) as raised:
        schemas.check()
    for part in ("'a' has no upcaster from version 1 to 2", "'a' has no upcaster from version 3 to 4",
                 "'b' has an upcaster from version 1, but its latest is 1", "'c'", "not declared"):  # fmt: skip
        assert part in str(raised.value)


@given(st.integers(1, 12), st.sets(st.integers(1, 11)))
def test_the_check_passes_exactly_when_every_version_leads_to_the_latest(latest: int, steps: set[int]) -> None:
    schemas = Schemas()
    schemas.type("a", latest)
    for step in steps:
        schemas.upcaster("a", step)(lambda payload, step=step: {**payload, "at": step + 1})
    if steps == set(range(1, latest)):
        (event,) = store_with(NewEvent("a", {"at": 1})).read("user/homer")
        assert schemas.check().payload(event) == {"at": latest}
    else:
        with pytest.raises(InvalidConfig):
            schemas.check()


def test_declarations_are_closed_once_in_use() -> None:
    schemas = addresses()
    with pytest.raises(InvalidConfig, match="before `check`"):
        schemas.type("late")
    with pytest.raises(InvalidConfig, match="before `check`"):
        schemas.upcaster("named", 1)


def test_wrong_declarations_are_refused() -> None:
    schemas = Schemas()
    schemas.type("a", 2)
    schemas.upcaster("a", 1)(dict)
    for again in (lambda: schemas.type("a"), lambda: schemas.upcaster("a", 1), lambda: schemas.type("b", 0)):
        with pytest.raises(InvalidConfig):
            again()


@pytest.mark.parametrize("wrong", [None, [], {"x": math.nan}, {"x": object()}])
def test_an_upcaster_that_makes_no_json_is_found_where_it_happens(wrong: object) -> None:
    schemas = Schemas()
    schemas.type("a", 2)
    schemas.upcaster("a", 1)(lambda payload: wrong)  # type: ignore[arg-type, return-value]
    (event,) = store_with(NewEvent("a", {})).read("user/homer")
    with pytest.raises(InvalidEvent, match="'a' upcast to version 2"):
        schemas.payload(event)


def test_set_events_are_one_fact_for_each_difference() -> None:
    events = set_events({"name": "Homer", "email": "h@x", "age": 39}, {"name": "Homer J.", "email": "h@x", "beer": None})
    assert [(e.type, e.payload) for e in events] == [
        ("name_set", {"value": "Homer J."}), ("beer_set", {"value": None}), ("age_cleared", {}),
    ]  # fmt: skip
    assert set_events({"a": 1}, {"a": 1}) == []
    assert [e.payload["value"] for e in set_events({"a": 1, "b": 0}, {"a": True, "b": False})] == [True, False]


def test_two_people_who_set_two_fields_at_once_undo_nothing() -> None:
    """With one large "updated" event each would write the whole, and the later one bring the other's old value back."""
    store = store_with(*set_events({}, {"name": "Homer", "email": "h@x"}))
    seen = {"name": "Homer", "email": "h@x"}
    for changed in ({**seen, "name": "Homer J."}, {**seen, "email": "homer@x"}):
        store.save(Operation("user/homer", set_events(seen, changed)))
    value = Reducer(
        {}, {f"{name}_set": lambda v, p, name=name: {**v, name: p["value"]} for name in ("name", "email")}
    ).value_of(store.state("user/homer"))
    assert value == {"name": "Homer J.", "email": "homer@x"}


def test_a_value_that_a_handler_changes_in_place_leaks_into_no_other_stream() -> None:
    first: dict[str, Any] = {"names": []}

    def note(value: dict[str, Any], payload: dict[str, Any]) -> dict[str, Any]:
        value["names"].append(payload["name"])
        return value

    names = Reducer(first, {"named": note})
    store = store_with(NewEvent("named", {"name": "Homer"}))
    store.append("user/marge", NewEvent("named", {"name": "Marge"}))
    for _ in range(2):
        assert names.value_of(store.state("user/homer")) == {"names": ["Homer"]}
        assert names.value_of(store.state("user/marge")) == {"names": ["Marge"]}
    assert first == {"names": []}
