"""Projections: declared field by field on a class, each field a CRDT fed by some event types.

class Account(Projection):
    name = "account"
    stream_type = "user"
    email = register(registered=lambda p: p["email"], moved=lambda p: p["email"])
    logins = counter(logged_in=lambda p: 1)
    groups = collection(joined=lambda p: add(p["group"]), left=lambda p: remove(p["group"]))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from traceback import extract_tb
from typing import Any, ClassVar

from projectors.crdt import Add, Assign, Crdt, LwwRegister, OrSet, PnCounter, Remove, Tag
from projectors.view import View
from replicator.domain.canonical import encode_json
from replicator.domain.event import Event
from replicator.domain.names import check_segment
from replicator.errors import InvalidConfig, MeridianError

Payload = dict[str, Any]
Handler = Callable[[Payload], Any]


class ProjectionFailed(MeridianError):
    """A projection cannot digest an event: its code or the event is wrong. The view stays before that event.

    Its text may hold a part of the payload; `public` says where it happened without that, for logs and dead letters.
    """

    def __init__(self, where: str, error: BaseException) -> None:
        try:
            text = str(error)
        except Exception:  # a handler's own exception may be as wrong as its handler
            text = "(it cannot be shown)"
        super().__init__(f"{where}: {type(error).__name__}: {text}")
        self.public = f"{where}: {place(error)}"


def place(error: BaseException) -> str:
    """An error's type and the line it came from, without its text: that may quote the payload, and have any size."""
    frame = extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {PurePath(frame.filename).name}:{frame.lineno}"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a view: a CRDT, and for each event type what operation its payload means (None: none)."""

    crdt: Crdt
    handlers: Mapping[str, Handler]


def register(at: Handler | None = None, **handlers: Handler) -> Any:
    """A last-writer-wins register. Each handler returns the value that its event type assigns.

    `at` may return an integer or a string from the payload that orders assignments before their HLC does.
    """

    def assign(handler: Handler) -> Handler:
        return lambda payload: Assign(handler(payload), at(payload) if at else None)

    return Field(LwwRegister(), {name: assign(handler) for name, handler in handlers.items()})


def counter(**handlers: Handler) -> Any:
    """A PN-counter. Each handler returns the integer that its event type adds."""
    return Field(PnCounter(), handlers)


def collection(**handlers: Handler) -> Any:
    """An observed-remove set of strings. Each handler returns `add(text)` or `remove(text)`."""
    return Field(OrSet(), handlers)


add, remove = Add, Remove


class Projection:
    """A pure function from the events of one stream to a view. Subclass it and declare fields; it holds no state.

    `name` names the view, `stream_type` says which streams feed it (one view per stream), `version` is raised whenever
    the declaration changes.
    """

    name: ClassVar[str]
    stream_type: ClassVar[str]
    version: ClassVar[int] = 1
    fields: ClassVar[Mapping[str, Field]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.fields = {name: value for name, value in sorted(vars(cls).items()) if isinstance(value, Field)}
        for wanted in ("name", "stream_type"):
            if not isinstance(getattr(cls, wanted, None), str):
                raise InvalidConfig(f"projection {cls.__qualname__} has no `{wanted}`; set it to a string")
            check_segment(f"{wanted} of projection {cls.__qualname__}", getattr(cls, wanted), 128)
        if not cls.fields:
            raise InvalidConfig(f"projection {cls.__qualname__} declares no field; use register, counter or collection")

    @classmethod
    def initial(cls) -> dict[str, Any]:
        """The states of all fields before any event."""
        return {name: field.crdt.initial() for name, field in cls.fields.items()}

    @classmethod
    def apply(cls, states: dict[str, Any], event: Event) -> dict[str, Any]:
        """The states after one more event of its lane. Raises ProjectionFailed naming the field and the event."""
        fed = [
            (name, field, field.handlers[event.type]) for name, field in cls.fields.items() if event.type in field.handlers
        ]
        if not fed:
            return states
        payload, tag = event.payload, Tag(event.region, event.sequence, event.hlc, event.observed)
        changed = dict(states)
        for name, field, handler in fed:
            try:
                operation = handler(payload)
                if operation is not None:
                    changed[name] = field.crdt.apply(states[name], operation, tag)
            except Exception as error:  # whatever a handler raises concerns this event and this view alone
                raise ProjectionFailed(
                    f"projection {cls.name}, field {name}, cannot digest event {event.id} of type {event.type!r}", error
                ) from error
        return changed

    @classmethod
    def view(cls, key: str, states: dict[str, Any], seen: Any) -> View:
        """The view at `seen`: states compacted, values computed, bytes canonical."""
        compact = {name: field.crdt.compact(states[name], seen) for name, field in cls.fields.items()}
        value = {name: field.crdt.value(compact[name]) for name, field in cls.fields.items()}
        return View(cls.name, cls.version, key, seen, encode_json(compact, "state"), encode_json(value, "value"))
