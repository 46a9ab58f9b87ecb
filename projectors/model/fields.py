"""Fields that a projection declares: each is a CRDT, with the operation that a payload means for each event type.

Where a handler reads a forgotten personal field with `payload[name]`, its event is skipped for that field (registers assign
None); `payload.get(name)` gives None instead. docs/crdts.md says for each what two regions get that write at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from projectors.crdt import (
    Add,
    Assign,
    BoundedCounter,
    Crdt,
    DisableWinsFlag,
    EnableWinsFlag,
    GCounter,
    GSet,
    LwwMap,
    LwwRegister,
    MaxRegister,
    MinRegister,
    MvRegister,
    OrMap,
    OrSet,
    PnCounter,
    Put,
    Remove,
    RemoveWinsSet,
    Resettable,
    Restock,
    RichText,
    Sequence,
    Take,
    Transfer,
    TwoPhaseSet,
    Update,
)
from projectors.model.payload import Payload, own
from replicator.domain.errors import InvalidConfig
from replicator.erasure import FieldForgotten

Handler = Callable[[Payload], Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a view: a CRDT, and for each event type the operation that its payload means (None: no operation)."""

    crdt: Crdt
    handlers: Mapping[str, Handler]

    def __post_init__(self) -> None:
        for kind, handler in self.handlers.items():
            if not callable(handler):
                raise InvalidConfig(f"the handler of event type {kind!r} is {handler!r}; give a function of the payload")


def register(at: Handler | None = None, **handlers: Handler) -> Any:
    """Declare a last-writer-wins register. Each handler returns the value that its event type assigns. A forgotten value is
    assigned as None.

    `at` may return an integer or a string from the payload that orders assignments before their HLC does.
    """

    return _register(LwwRegister(), handlers, at)


def multi_register(**handlers: Handler) -> Any:
    """Declare a multi-value register: the list of all values that were assigned concurrently. Each handler returns the value
    that its event type assigns. A forgotten value is assigned as None."""

    return _register(MvRegister(), handlers)


def _register(crdt: Crdt, handlers: Mapping[str, Handler], at: Handler | None = None) -> Field:
    plain = Field(crdt, handlers if at is None else {**handlers, "at": at})  # which checks them
    return replace(plain, handlers={name: _assigning(handler, at) for name, handler in handlers.items()})


def _assigning(handler: Handler, at: Handler | None = None) -> Handler:
    if at is not None:
        return lambda payload: Assign(_remembered(handler, own(payload)), _remembered(at, payload))

    def assign(payload: Payload) -> Assign:
        try:
            return Assign(handler(payload))
        except FieldForgotten:
            return Assign(None)

    return assign


def _remembered(handler: Handler, payload: Payload) -> Any:
    try:
        return handler(payload)
    except FieldForgotten:
        return None


def maximum(of: Literal["integer", "string"] = "integer", /, **handlers: Handler) -> Any:
    """Declare a max-register: the largest of all integers (or strings) that the handlers return."""
    return Field(MaxRegister(of), handlers)


def minimum(of: Literal["integer", "string"] = "integer", /, **handlers: Handler) -> Any:
    """Declare a min-register: the smallest of all integers (or strings) that the handlers return."""
    return Field(MinRegister(of), handlers)


def counter(**handlers: Handler) -> Any:
    """Declare a PN-counter. Each handler returns the integer that its event type adds."""
    return Field(PnCounter(), handlers)


def grow_counter(**handlers: Handler) -> Any:
    """Declare a grow-only counter. Each handler returns the whole number that its event type adds."""
    return Field(GCounter(), handlers)


def stock(**handlers: Handler) -> Any:
    """Declare a bounded counter: a stock that never falls below zero. Each handler returns `restock(n)`, `take(n)` or
    `transfer(n, to)`; writers call `may_take(value, n, region)` in their precondition."""
    return Field(BoundedCounter(), handlers)


def collection(**handlers: Handler) -> Any:
    """Declare an observed-remove set of strings. Each handler returns `add(text)` or `remove(text)`."""
    return Field(OrSet(), handlers)


def remove_wins_set(**handlers: Handler) -> Any:
    """Declare a set of strings in which a remove wins over a concurrent add. Handlers are those of `collection`."""
    return Field(RemoveWinsSet(), handlers)


def final_set(**handlers: Handler) -> Any:
    """Declare a two-phase set of strings, in which a remove is final. Handlers are those of `collection`."""
    return Field(TwoPhaseSet(), handlers)


def grow_set(**handlers: Handler) -> Any:
    """Declare a grow-only set of strings. Each handler returns `add(text)`."""
    return Field(GSet(), handlers)


def flag(wins: Literal["enable", "disable"] = "enable", /, **handlers: Handler) -> Any:
    """Declare a flag: true or false, false at first. Each handler returns True or False; `wins` decides between two at
    once."""
    if wins not in ("enable", "disable"):
        raise InvalidConfig(f"a flag's `wins` is 'enable' or 'disable', not {wins!r}")
    return Field(EnableWinsFlag() if wins == "enable" else DisableWinsFlag(), handlers)


def lww_map(**handlers: Handler) -> Any:
    """Declare a last-writer-wins register for each key. Each handler returns `put(key, value)` or `remove(key)`; read a
    personal value with `payload.get`, so that a forgotten value is replaced by None and not by an older value."""
    return Field(LwwMap(), handlers)


def or_map(of: Resettable, /, **handlers: Handler) -> Any:
    """Declare a replicated type for each key: OrSet, MvRegister, LatestRegister, EnableWinsFlag or OrMap. Each handler
    returns `update(key, operation)` or `remove(key)`."""
    return Field(OrMap(of), handlers)


def sequence(**handlers: Handler) -> Any:
    """Declare an ordered list that many edit at once. Each handler returns a Yjs update as base64 text;
    `Sequence().draft(state)` makes them. Needs `pip install 'meridian-events[text]'`."""
    return Field(Sequence(), handlers)


def rich_text(**handlers: Handler) -> Any:
    """Declare a text with formatting that many edit at once. Each handler returns a Yjs update as base64 text;
    `RichText().draft(state)` makes them. Needs `pip install 'meridian-events[text]'`."""
    return Field(RichText(), handlers)


add, remove, put, update, assign = Add, Remove, Put, Update, Assign
restock, take, transfer = Restock, Take, Transfer
