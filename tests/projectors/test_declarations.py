"""What a class may declare, and what becomes of stored views when it declares something else: for every constructor of a
field and every declarative base class."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from importlib import import_module
from itertools import permutations
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from projectors import Engine, MemorySink, Projection, counter, register
from projectors.crdt import LatestRegister, OrSet, RichText, Sequence
from projectors.model import fields
from projectors.model.fields import Field, add, lww_map, or_map, put, restock, update
from projectors.model.projection import REMEDY
from projectors.reads.queries import Query
from replicator import EventStore, InvalidConfig, MemoryStorage, NewEvent
from replicator.eventstore.upcasting import Schemas
from replicator.external import External, publish

EAST = "us-east-1"


def typed(kind: Any) -> str:
    draft = kind.draft(kind.initial())
    draft.content.insert(0, "x")
    return str(draft.update())


SAMPLES: dict[str, tuple[Callable[..., Field], Any]] = {
    "register": (fields.register, "a"),
    "multi_register": (fields.multi_register, "a"),
    "maximum": (fields.maximum, 3),
    "maximum of strings": (lambda **handlers: fields.maximum("string", **handlers), "a"),
    "minimum": (fields.minimum, 3),
    "minimum of strings": (lambda **handlers: fields.minimum("string", **handlers), "a"),
    "counter": (fields.counter, 3),
    "grow_counter": (fields.grow_counter, 3),
    "stock": (fields.stock, restock(3)),
    "collection": (fields.collection, add("a")),
    "remove_wins_set": (fields.remove_wins_set, add("a")),
    "final_set": (fields.final_set, add("a")),
    "grow_set": (fields.grow_set, add("a")),
    "flag": (fields.flag, True),
    "flag that is disabled": (lambda **handlers: fields.flag("disable", **handlers), True),
    "lww_map": (fields.lww_map, put("a", "a")),
    "or_map": (lambda **handlers: or_map(OrSet(), **handlers), update("a", add("a"))),
    "or_map of registers": (lambda **handlers: or_map(LatestRegister(), **handlers), update("a", fields.assign("a"))),
    "sequence": (fields.sequence, typed(Sequence())),
    "rich_text": (fields.rich_text, typed(RichText())),
}


def test_every_constructor_is_tried() -> None:
    made = {
        name
        for name, each in vars(fields).items()
        if callable(each) and getattr(each, "__module__", "") == fields.__name__ and not name.startswith("_")
    } - {Field.__name__}
    assert {name.split()[0] for name in SAMPLES} == made


def stream_of(*kinds: str) -> EventStore:
    store = EventStore(MemoryStorage(), EAST, [EAST])
    for kind in kinds:
        store.append("thing/1", NewEvent(kind, {}))
    return store


def declared(**made: Any) -> type[Projection]:
    return type("Thing", (Projection,), {"name": "thing", "stream_type": "thing", **made})


@pytest.mark.parametrize(("before", "after"), list(permutations(SAMPLES, 2)))
def test_no_type_takes_a_state_for_its_own_that_another_one_made(before: str, after: str) -> None:
    (old, old_operation), (new, new_operation) = SAMPLES[before], SAMPLES[after]
    first, later = declared(x=old(old=lambda p: old_operation)), declared(x=new(new=lambda p: new_operation))
    store, sink, right = stream_of("new", "old"), MemorySink(), MemorySink()
    Engine([first], store, sink).apply(store.read("thing/1"))
    Engine([later], store, right).apply(store.read("thing/1"))
    (expected,) = right.views("thing")
    assert Query(later, store, sink).now("thing/1").value == expected.value
    events = store.append("thing/1", NewEvent("new", {}))
    assert Engine([later], store, sink).apply(events) == Engine([later], store, right).apply(events) == []
    assert list(sink.views("thing")) == list(right.views("thing"))


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("rows", [{}, {"new": lambda p: "row"}], ids=["view", "cells"])
def test_whatever_type_a_handler_raises_for_the_other_view_is_complete(name: str, rows: Any) -> None:
    def raising(payload: Any) -> Any:
        raise ZeroDivisionError

    bad = declared(x=SAMPLES[name][0](new=raising), rows=rows)
    good = type("Good", (Projection,), {"name": "good", "stream_type": "thing", "n": counter(new=lambda p: 1)})
    store, sink = stream_of("new", "new"), MemorySink()
    (failure,) = Engine([bad, good], store, sink).apply(store.read("thing/1"))
    assert (failure.projection, failure.event_id) == ("thing", f"{EAST}#thing#1#0000000000000001")
    assert "ZeroDivisionError" in failure.reason
    assert failure.reason.endswith(REMEDY)
    (view,) = sink.views("good")
    assert view.value == {"n": 2}


# -- names -------------------------------------------------------------------------------------------------------------

BASES: dict[type, Callable[[str], Any]] = {
    Projection: lambda name: declared(**{name: counter(x=lambda p: 1)}),
    External: lambda name: type(
        "Told", (External,), {"source": "https://example.com/told", name: publish("user/x", to="com.example.x")}
    ),
}


def test_every_declarative_base_class_is_tried() -> None:
    found = set()
    for package in ("replicator", "projectors"):
        folder = Path(import_module(package).__path__[0])
        for path in sorted(folder.rglob("*.py")):
            if "__init_subclass__" in path.read_text():
                found.add(".".join(path.relative_to(folder.parent).with_suffix("").parts))
    assert found == {base.__module__ for base in BASES}


def names_of(base: type) -> list[str]:
    return sorted((set(dir(base)) | set(base.__annotations__)) - {"__dict__", "__weakref__"})  # which are Python's own


@pytest.mark.parametrize(("base", "name"), [(base, name) for base in BASES for name in names_of(base)])
def test_a_name_that_the_base_class_uses_is_refused_where_it_is_declared(base: type, name: str) -> None:
    with pytest.raises((InvalidConfig, TypeError)) as caught:
        BASES[base](name)
    if isinstance(caught.value, InvalidConfig):
        assert name in str(caught.value)


@pytest.mark.parametrize(
    "name", ["key", "view", "initial", "apply", "reads", "_payload", "rows", "fields", "made_of", "schemas"]
)
def test_a_field_called_as_the_projection_s_own_is_refused_with_its_name_and_why(name: str) -> None:
    with pytest.raises(
        InvalidConfig, match=rf"Thing\.{name} is declared as a field, but Projection has a '{name}' of its own"
    ):
        declared(**{name: counter(x=lambda p: 1)})


@pytest.mark.parametrize("name", ["transform", "rules"])
def test_a_rule_called_as_the_transformation_s_own_is_refused(name: str) -> None:
    with pytest.raises(InvalidConfig, match=rf"Told\.{name} is declared as a rule, but External has a '{name}' of its own"):
        BASES[External](name)


def test_a_map_that_was_emptied_is_no_map_of_another_type() -> None:
    first = declared(x=or_map(OrSet(), updated=lambda p: update("a", add("a")), cleared=lambda p: fields.remove("a")))
    later = declared(x=lww_map(set=lambda p: put(p["key"], 1)))
    store, sink, right = EventStore(MemoryStorage(), EAST, [EAST]), MemorySink(), MemorySink()
    store.append("thing/1", NewEvent("updated", {}), NewEvent("cleared", {}))
    Engine([first], store, sink).apply(store.read("thing/1"))
    store.append("thing/1", NewEvent("set", {"key": "keys"}), NewEvent("set", {"key": "y"}))
    assert Query(later, store, sink).now("thing/1").value == {"x": {"keys": 1, "y": 1}}
    for target in (sink, right):
        assert Engine([later], store, target).apply(store.read("thing/1")) == []
    assert list(sink.views("thing")) == list(right.views("thing"))


class Mixin:
    note = None
    limit = 5


def test_what_a_class_above_has_as_a_mere_value_may_be_declared() -> None:
    made = type("Mixed", (Mixin, Projection), {"name": "m", "stream_type": "t", "note": counter(x=lambda p: 1)})
    assert list(made.fields) == ["note"]  # type: ignore[attr-defined]
    without = type("Without", (made,), {"note": None, "limit": counter(x=lambda p: 1)})
    assert list(without.fields) == ["limit"]  # type: ignore[attr-defined]
    again = type("Again", (without,), {"note": counter(x=lambda p: 1)})
    assert sorted(again.fields) == ["limit", "note"]  # type: ignore[attr-defined]


def test_a_field_may_replace_a_field_and_nothing_else_of_a_class_above() -> None:
    class Base(Projection):
        name, stream_type = "base", "thing"
        n = counter(x=lambda p: 1)

        @staticmethod
        def helper(payload: Any) -> int:
            return 1

    class Better(Base):
        n = counter(x=lambda p: 2)

    assert Better.fields["n"] is not Base.fields["n"]
    with pytest.raises(InvalidConfig, match="Base has a 'helper' of its own"):
        type("Worse", (Base,), {"helper": counter(x=lambda p: 1)})


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"schemas": None}, "schemas None"),
        ({"schemas": {}}, "schemas {}"),
        ({"rows": ["x"]}, "rows"),
        ({"rows": {"x": "row"}}, "rows"),
    ],
)
def test_what_a_projection_needs_of_another_kind_is_refused_where_it_is_declared(attributes: Any, named: str) -> None:
    with pytest.raises(InvalidConfig, match=named):
        declared(n=counter(x=lambda p: 1), **attributes)


@pytest.mark.parametrize("name", sorted(set(SAMPLES) - {"sequence", "rich_text"}))
@pytest.mark.parametrize("handler", ["email", 1, None, {}])
def test_a_handler_that_is_no_function_is_refused_where_it_is_declared(name: str, handler: Any) -> None:
    with pytest.raises(InvalidConfig, match=r"the handler of event type 'x' is .*; give a function of the payload"):
        SAMPLES[name][0](x=handler)


@pytest.mark.parametrize("at", ["time", 1, {}])
def test_what_orders_a_register_is_a_function_too(at: Any) -> None:
    with pytest.raises(InvalidConfig, match=r"event type 'at' is .*; give a function of the payload"):
        register(at, x=lambda p: 1)


@pytest.mark.parametrize("made_of", [dict, OrderedDict, MappingProxyType, lambda value: defaultdict(list, value)])
def test_what_an_upcaster_makes_is_each_handlers_own(made_of: Any) -> None:
    schemas = Schemas()
    schemas.type("new", latest=2)
    schemas.upcaster("new", 1)(lambda payload: {"o": made_of(payload["o"]), "t": (made_of(payload["o"]),)})

    def changing(payload: Any) -> Any:
        payload["o"]["k"] = payload["t"][0]["k"] = "changed"

    made = declared(
        a=register(new=changing), b=register(new=lambda p: [p["o"]["k"], p["t"][0]["k"]]), schemas=schemas.check()
    )
    store, sink = EventStore(MemoryStorage(), EAST, [EAST]), MemorySink()
    store.append("thing/1", NewEvent("new", {"o": {"k": "first"}}))
    assert Engine([made], store, sink).apply(store.read("thing/1")) == []
    (view,) = sink.views("thing")
    assert view.value == {"a": None, "b": ["first", "first"]}


def test_handlers_of_one_event_have_a_payload_each() -> None:
    def taking(payload: Any) -> Any:
        payload["tags"].append("more")
        payload["deep"]["x"] = 2
        return payload.pop("n")

    made = declared(
        a=counter(new=taking), b=counter(new=taking), c=register(new=lambda p: p), z=counter(new=taking),
        m=lww_map(new=lambda p: put("p", p)),
    )  # fmt: skip
    payload = {"n": 3, "tags": ["t"], "deep": {"x": 1, "list": [[1]]}}
    store, sink = EventStore(MemoryStorage(), EAST, [EAST]), MemorySink()
    store.append("thing/1", NewEvent("new", payload), NewEvent("new", payload))
    for events in ([next(store.read("thing/1"))], list(store.read("thing/1"))):  # one by one, and many at once
        assert Engine([made], store, sink).apply(events) == []
    (view,) = sink.views("thing")
    assert view.value == {"a": 6, "b": 6, "c": payload, "m": {"p": payload}, "z": 6}
