"""The field constructors: each declares its type, and what its handlers return is what the type takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from projectors import Projection
from projectors.crdt import Assign, LatestRegister, LwwRegister, MvRegister, OrSet, Put, RichText, Sequence
from projectors.model.fields import (
    Field,
    add,
    assign,
    collection,
    counter,
    final_set,
    flag,
    grow_counter,
    grow_set,
    lww_map,
    maximum,
    minimum,
    multi_register,
    or_map,
    put,
    register,
    remove,
    remove_wins_set,
    restock,
    rich_text,
    sequence,
    stock,
    take,
    transfer,
    update,
)
from replicator import EventStore, InvalidConfig, MemoryStorage, NewEvent
from replicator.domain.vector import EMPTY
from replicator.erasure import FieldForgotten, Revealed

Constructor = Callable[..., Field]


class Everything(Projection):
    name, stream_type = "everything", "flight"
    gate = register(told=lambda p: p["gate"])
    gates = multi_register(told=lambda p: p["gate"])
    first = minimum("string", told=lambda p: p["gate"])
    late = maximum(told=lambda p: p["late"])
    minutes = counter(told=lambda p: -p["late"])
    telling = grow_counter(told=lambda p: 1)
    seats = stock(fitted=lambda p: restock(p["n"]), sold=lambda p: take(p["n"]), handed=lambda p: transfer(p["n"], p["to"]))
    crew = collection(boarded=lambda p: add(p["who"]), left=lambda p: remove(p["who"]))
    safe = remove_wins_set(boarded=lambda p: add(p["who"]), left=lambda p: remove(p["who"]))
    once = final_set(boarded=lambda p: add(p["who"]), left=lambda p: remove(p["who"]))
    ever = grow_set(boarded=lambda p: add(p["who"]))
    open = flag(opened=lambda p: p["open"])
    cleared = flag("disable", opened=lambda p: p["open"])
    notes = lww_map(noted=lambda p: put(p["at"], p["note"]) if "note" in p else remove(p["at"]))
    meals = or_map(OrSet(), ordered=lambda p: update(p["seat"], add(p["meal"])), left=lambda p: remove(p["seat"]))
    names = or_map(LatestRegister(), ordered=lambda p: update(p["seat"], assign(p["meal"])))
    plan = sequence(planned=lambda p: p["list"])
    log = rich_text(planned=lambda p: p["text"])


def test_every_field_folds_what_its_handlers_return() -> None:
    stops, log = Sequence().draft(), RichText().draft()
    stops.content.extend(["EWR", "JFK"])
    log.content.insert(0, "All well")
    store = EventStore(MemoryStorage(), "us-east-1", ["us-east-1"])
    events = store.append(
        "flight/AA1",
        NewEvent("told", {"gate": "B2", "late": 5}),
        NewEvent("told", {"gate": "A1", "late": 3}),
        NewEvent("fitted", {"n": 9}),
        NewEvent("sold", {"n": 2}),
        NewEvent("handed", {"n": 3, "to": "eu-west-1"}),
        NewEvent("boarded", {"who": "homer"}),
        NewEvent("boarded", {"who": "marge"}),
        NewEvent("ordered", {"seat": "1A", "meal": "donut"}),
        NewEvent("ordered", {"seat": "1B", "meal": "salad"}),
        NewEvent("left", {"who": "homer", "seat": "1A"}),
        NewEvent("boarded", {"who": "homer"}),
        NewEvent("opened", {"open": True}),
        NewEvent("noted", {"at": "door", "note": "stuck"}),
        NewEvent("noted", {"at": "wing", "note": "ice"}),
        NewEvent("noted", {"at": "wing"}),
        NewEvent("planned", {"list": stops.update(), "text": log.update()}),
    )
    states, seen = Everything.initial(), EMPTY
    for event in events:
        states, seen = Everything.apply(states, event), seen.advance(event.region, event.sequence)
    assert Everything.view("flight/AA1", states, seen).value == {
        "gate": "A1",
        "gates": ["A1"],
        "first": "A1",
        "late": 5,
        "minutes": -8,
        "telling": 2,
        "seats": {"available": 7, "rights": {"us-east-1": 4, "eu-west-1": 3}, "pending": {}, "overdrawn": {}},
        "crew": ["homer", "marge"],
        "safe": ["homer", "marge"],
        "once": ["marge"],
        "ever": ["homer", "marge"],
        "open": True,
        "cleared": True,
        "notes": {"door": "stuck"},
        "meals": {"1B": ["salad"]},
        "names": {"1A": "donut", "1B": "salad"},
        "plan": ["EWR", "JFK"],
        "log": [{"insert": "All well"}],
    }


FORGOTTEN = Revealed({"key": "door"}, ["name"])


@pytest.mark.parametrize("make", [register, multi_register])
def test_a_register_assigns_none_for_what_is_forgotten(make: Constructor) -> None:
    assert make(told=lambda p: p["name"]).handlers["told"](FORGOTTEN) == Assign(None)


@pytest.mark.parametrize(
    "field",
    [
        maximum("string", told=lambda p: p["name"]),
        counter(told=lambda p: p["name"]),
        stock(told=lambda p: take(p["name"])),
        collection(told=lambda p: add(p["name"])),
        flag(told=lambda p: p["name"]),
        or_map(OrSet(), told=lambda p: update(p["key"], add(p["name"]))),
        lww_map(told=lambda p: put(p["name"], 1)),
        rich_text(told=lambda p: p["name"]),
    ],
)
def test_other_fields_skip_an_event_of_which_they_read_what_is_forgotten(field: Field) -> None:
    with pytest.raises(FieldForgotten):
        field.handlers["told"](FORGOTTEN)


def test_a_map_puts_none_for_what_is_forgotten_when_it_reads_it_with_get() -> None:
    field = lww_map(told=lambda p: put(p["key"], p.get("name")))
    assert field.handlers["told"](FORGOTTEN) == Put("door", None)


@pytest.mark.parametrize(
    ("declare", "named"),
    [
        (lambda: maximum("float"), "'float'"),  # type: ignore[arg-type]
        (lambda: flag("neither"), "'neither'"),  # type: ignore[arg-type]
        (lambda: or_map(LwwRegister()), "cannot hold LwwRegister"),  # type: ignore[arg-type]
    ],
)
def test_a_declaration_that_cannot_work_is_refused_with_what_was_given(declare: Callable[[], Any], named: str) -> None:
    with pytest.raises(InvalidConfig, match=named):
        declare()


def test_an_event_type_may_have_any_name() -> None:
    assert set(flag("disable", wins=lambda p: True).handlers) == {"wins"}
    assert set(maximum(of=lambda p: 1).handlers) == {"of"}
    assert set(or_map(MvRegister(), of=lambda p: None).handlers) == {"of"}
