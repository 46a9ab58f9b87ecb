"""The fields that a projection declares: each a CRDT, and for each event type what operation its payload means.

Where a handler reads a personal field that is forgotten with `payload[name]`, its event is skipped for that field (registers
assign None); `payload.get(name)` gives None instead. docs/crdts.md says of each what two regions get that write at once.
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
    """One field of a view: a CRDT, and for each event type what operation its payload means (None: none)."""

    crdt: Crdt
    handlers: Mapping[str, Handler]

    def __post_init__(self) -> None:
        for kind, handler in self.handlers.items():
            if not callable(handler):
                raise InvalidConfig(f"the handler of event type {kind!r} is {handler!r}; give a function of the payload")


def register(at: Handler | None = None, **handlers: Handler) -> Any:
    """A last-writer-wins register. Each handler returns the value that its event type assigns. A value that is forgotten
    is assigned as None.

    `at` may return an integer or a string from the payload that orders assignments before their HLC does.
    """

    return _register(LwwRegister(), handlers, at)


def multi_register(**handlers: Handler) -> Any:
    """A multi-value register: the list of all values that were assigned at once. Each handler returns the value that its
    event type assigns. A value that is forgotten is assigned as None."""

    return _register(MvRegister(), handlers)


def _register(crdt: Crdt, handlers: Mapping[str, Handler], at: Handler | None = None) -> Field:
    plain = Field(crdt, handlers if at is None else {**handlers, "at": at})  # which looks at them
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
    """The largest of all integers (or strings) that the handlers returned."""
    return Field(MaxRegister(of), handlers)


def minimum(of: Literal["integer", "string"] = "integer", /, **handlers: Handler) -> Any:
    """The smallest of all integers (or strings) that the handlers returned."""
    return Field(MinRegister(of), handlers)


def counter(**handlers: Handler) -> Any:
    """A PN-counter. Each handler returns the integer that its event type adds."""
    return Field(PnCounter(), handlers)


def grow_counter(**handlers: Handler) -> Any:
    """A counter that never falls. Each handler returns the whole number that its event type adds."""
    return Field(GCounter(), handlers)


def stock(**handlers: Handler) -> Any:
    """A stock that never falls below zero. Each handler returns `restock(n)`, `take(n)` or `transfer(n, to)`; writers ask
    `may_take(value, n, region)` in their precondition."""
    return Field(BoundedCounter(), handlers)


def collection(**handlers: Handler) -> Any:
    """An observed-remove set of strings. Each handler returns `add(text)` or `remove(text)`."""
    return Field(OrSet(), handlers)


def remove_wins_set(**handlers: Handler) -> Any:
    """A set of strings in which a remove wins over a concurrent add. Handlers as of `collection`."""
    return Field(RemoveWinsSet(), handlers)


def final_set(**handlers: Handler) -> Any:
    """A set of strings of which a remove is final. Handlers as of `collection`."""
    return Field(TwoPhaseSet(), handlers)


def grow_set(**handlers: Handler) -> Any:
    """A set of strings that only grows. Each handler returns `add(text)`."""
    return Field(GSet(), handlers)


def flag(wins: Literal["enable", "disable"] = "enable", /, **handlers: Handler) -> Any:
    """True or false, false at first. Each handler returns True or False; `wins` says which of two at once stays."""
    if wins not in ("enable", "disable"):
        raise InvalidConfig(f"of a flag 'enable' or 'disable' wins, not {wins!r}")
    return Field(EnableWinsFlag() if wins == "enable" else DisableWinsFlag(), handlers)


def lww_map(**handlers: Handler) -> Any:
    """A last-writer-wins register for each key. Each handler returns `put(key, value)` or `remove(key)`; read a personal
    value with `payload.get`, so that None takes the place of what is forgotten, and not an older value."""
    return Field(LwwMap(), handlers)


def or_map(of: Resettable, /, **handlers: Handler) -> Any:
    """A replicated type for each key: OrSet, MvRegister, LatestRegister, EnableWinsFlag or OrMap. Each handler returns
    `update(key, operation)` or `remove(key)`."""
    return Field(OrMap(of), handlers)


def sequence(**handlers: Handler) -> Any:
    """An ordered list that many edit at once. Each handler returns a Yjs update as base64 text; `Sequence().draft(state)`
    makes them. Needs `pip install 'meridian-events[text]'`."""
    return Field(Sequence(), handlers)


def rich_text(**handlers: Handler) -> Any:
    """A text with formatting that many edit at once. Each handler returns a Yjs update as base64 text;
    `RichText().draft(state)` makes them. Needs `pip install 'meridian-events[text]'`."""
    return Field(RichText(), handlers)


add, remove, put, update, assign = Add, Remove, Put, Update, Assign
restock, take, transfer = Restock, Take, Transfer
