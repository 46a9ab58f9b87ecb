"""Projections: declared field by field on a class, each field a CRDT fed by some event types.

class Account(Projection):
    name = "account"
    stream_type = "user"
    email = register(registered=lambda p: p["email"], moved=lambda p: p["email"])
    logins = counter(logged_in=lambda p: 1)
    groups = collection(joined=lambda p: add(p["group"]), left=lambda p: remove(p["group"]))
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from projectors.crdt import Add, Assign, Crdt, LwwRegister, OrSet, PnCounter, Remove, Tag
from projectors.view import View
from replicator.domain.canonical import encode_json
from replicator.domain.event import Event
from replicator.domain.names import check_segment
from replicator.erasure import FieldForgotten, Revealed, forgotten_subject, holds_personal, may_hold_personal
from replicator.errors import DamagedEvent, InvalidConfig, MeridianError, place
from replicator.schemas import PLAIN, Schemas

Payload = dict[str, Any]
Handler = Callable[[Payload], Any]
Reveal = Callable[[Payload, Collection[str], Payload], Revealed]
"""Decrypts a payload's personal fields, without those of the subjects that are named: `PersonalData.reveal`."""

_FORGOTTEN = "$forgotten"  # beside the fields' states: no field's name has a '$'


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


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a view: a CRDT, and for each event type what operation its payload means (None: none)."""

    crdt: Crdt
    handlers: Mapping[str, Handler]


def register(at: Handler | None = None, **handlers: Handler) -> Any:
    """A last-writer-wins register. Each handler returns the value that its event type assigns. A value that is forgotten
    is assigned as None.

    `at` may return an integer or a string from the payload that orders assignments before their HLC does.
    """

    def assign(handler: Handler) -> Handler:
        return lambda payload: Assign(_remembered(handler, payload), _remembered(at, payload) if at else None)

    return Field(LwwRegister(), {name: assign(handler) for name, handler in handlers.items()})


def _remembered(handler: Handler, payload: Payload) -> Any:
    try:
        return handler(payload)
    except FieldForgotten:
        return None


def counter(**handlers: Handler) -> Any:
    """A PN-counter. Each handler returns the integer that its event type adds."""
    return Field(PnCounter(), handlers)


def collection(**handlers: Handler) -> Any:
    """An observed-remove set of strings. Each handler returns `add(text)` or `remove(text)`."""
    return Field(OrSet(), handlers)


add, remove = Add, Remove


def forgotten_in(states: Mapping[str, Any]) -> frozenset[str]:
    """The subjects whose personal fields are not in these states."""
    return frozenset(states.get(_FORGOTTEN, ()))


def without(states: dict[str, Any], subjects: Iterable[str]) -> dict[str, Any]:
    """States into which nothing personal of these subjects is folded from now on. What was folded before stays."""
    known = forgotten_in(states)
    new = known.union(subjects)
    return states if new == known else {**states, _FORGOTTEN: sorted(new)}


class Projection:
    """A pure function from the events of one stream to a view. Subclass it and declare fields; it holds no state.

    `name` names the view, `stream_type` says which streams feed it (one view per stream), `version` is raised whenever
    the declaration changes. `schemas` are the event types and their upcasters: handlers get the latest version's payload.
    """

    name: ClassVar[str]
    stream_type: ClassVar[str]
    version: ClassVar[int] = 1
    schemas: ClassVar[Schemas] = PLAIN
    fields: ClassVar[Mapping[str, Field]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.fields = {name: value for name, value in sorted(vars(cls).items()) if isinstance(value, Field)}
        for wanted in ("name", "stream_type"):
            if not isinstance(getattr(cls, wanted, None), str):
                raise InvalidConfig(f"projection {cls.__qualname__} has no `{wanted}`; set it to a string")
            check_segment(f"{wanted} of projection {cls.__qualname__}", getattr(cls, wanted), 128)
        cls.schemas.check()
        if not cls.fields:
            raise InvalidConfig(f"projection {cls.__qualname__} declares no field; use register, counter or collection")

    @classmethod
    def initial(cls) -> dict[str, Any]:
        """The states of all fields before any event."""
        return {name: field.crdt.initial() for name, field in cls.fields.items()}

    @classmethod
    def apply(cls, states: dict[str, Any], event: Event, reveal: Reveal | None = None) -> dict[str, Any]:
        """The states after one more event of its lane.

        Where that tells of a subject that is forgotten, `forgotten_in` them has grown: what was folded before may hold the
        subject's fields, and is to be folded anew from `without(initial(), …)`. Raises ProjectionFailed naming the field
        and the event, DamagedEvent for a personal field that is damaged, and what `reveal` raises.
        """
        subject = forgotten_subject(event)
        if subject is not None:
            states = without(states, [subject])
        fed = [
            (name, field, field.handlers[event.type]) for name, field in cls.fields.items() if event.type in field.handlers
        ]
        if not fed:
            return states
        payload, tag = cls._payload(event, states, reveal), Tag(event.region, event.sequence, event.hlc, event.observed)
        states = without(states, payload.subjects) if isinstance(payload, Revealed) else states
        changed = dict(states)
        for name, field, handler in fed:
            try:
                operation = handler(payload)
                if operation is not None:
                    changed[name] = field.crdt.apply(states[name], operation, tag)
            except FieldForgotten:
                continue
            except Exception as error:  # whatever a handler raises concerns this event and this view alone
                raise ProjectionFailed(
                    f"projection {cls.name}, field {name}, cannot digest event {event.id} of type {event.type!r}", error
                ) from error
        return changed

    @classmethod
    def _payload(cls, event: Event, states: dict[str, Any], reveal: Reveal | None) -> Payload:
        try:
            payload = cls.schemas.payload(event)
        except Exception as error:  # an event of newer code, or an upcaster that fails: as above
            where = f"projection {cls.name} cannot read event {event.id} of type {event.type!r}, version {event.version}"
            raise ProjectionFailed(where, error) from error
        if not may_hold_personal(event.payload_text) or not holds_personal(payload):
            return payload
        if reveal is None:
            where = f"projection {cls.name} cannot read the personal data of event {event.id}"
            raise ProjectionFailed(where, InvalidConfig("set MERIDIAN_PERSONAL_KEY"))
        try:
            return reveal(payload, forgotten_in(states), event.payload)
        except DamagedEvent as error:
            raise DamagedEvent(f"event {event.id}: {error}") from None

    @classmethod
    def view(cls, key: str, states: dict[str, Any], seen: Any) -> View:
        """The view at `seen`: states compacted, values computed, bytes canonical."""
        compact = {name: field.crdt.compact(states[name], seen) for name, field in cls.fields.items()}
        value = {name: field.crdt.value(compact[name]) for name, field in cls.fields.items()}
        compact = without(compact, forgotten_in(states))
        return View(cls.name, cls.version, key, seen, encode_json(compact, "state"), encode_json(value, "value"))
