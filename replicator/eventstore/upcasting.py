"""Upcasters: each event type has a latest schema version, and a chain of functions leads to it from every earlier one.

Stored events are never rewritten: an old one is read as if it had been written today. Upcasters are chained (1 to 2, 2 to
3, …; Young, "Versioning in an Event Sourced System", 2017), so each is written once and never touched again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from replicator.domain.canonical import encode_json, loads, same_json
from replicator.domain.errors import InvalidConfig, InvalidEvent, MeridianError
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import MAX_EVENT_TYPE_BYTES, check_segment

Payload = dict[str, Any]
Upcaster = Callable[[Payload], Payload]


class UnknownVersion(MeridianError):
    """The event has a schema version that this code does not know: newer code wrote it. Deploy that code here too."""


class Schemas:
    """Event types of an application. Declared once, checked at start-up, and immutable after `check`.

    schemas = Schemas()
    schemas.type("address_set", latest=3)

    @schemas.upcaster("address_set", 1)
    def _(payload):  # version 1 -> 2
        return {**payload, "country": "US"}
    """

    def __init__(self) -> None:
        self._latest: dict[str, int] = {}
        self._upcasters: dict[tuple[str, int], Upcaster] = {}
        self._checked = False

    def type(self, name: str, latest: int = 1) -> None:
        """Declare an event type with its latest version. Raises InvalidConfig when it is declared already."""
        self._open()
        check_segment("event type", name, MAX_EVENT_TYPE_BYTES)
        if name in self._latest:
            raise InvalidConfig(f"event type {name!r} is declared twice; declare it once, with its latest version")
        if type(latest) is not int or not 1 <= latest <= 65_535:
            raise InvalidConfig(f"event type {name!r} has latest version {latest!r}; give a whole number from 1 to 65535")
        self._latest[name] = latest

    def upcaster(self, name: str, version: int) -> Callable[[Upcaster], Upcaster]:
        """Declare, as a decorator, the function that turns a payload of `version` into one of `version + 1`."""
        self._open()
        if (name, version) in self._upcasters:
            raise InvalidConfig(f"event type {name!r} has two upcasters from version {version}; keep one")

        def declare(function: Upcaster) -> Upcaster:
            self._upcasters[(name, version)] = function
            return function

        return declare

    def check(self) -> Schemas:
        """Raise InvalidConfig with every gap: a version without an upcaster to the next, or an upcaster without a declared
        target."""
        wanted = {(name, version) for name, latest in self._latest.items() for version in range(1, latest)}
        missing = sorted(wanted - self._upcasters.keys())
        stray = sorted(self._upcasters.keys() - wanted)
        wrong = [f"{name!r} has no upcaster from version {version} to {version + 1}" for name, version in missing]
        wrong += [
            f"{name!r} has an upcaster from version {version}, "
            + (f"but its latest is {self._latest[name]}" if name in self._latest else "but is not declared")
            for name, version in stray
        ]
        if wrong:
            raise InvalidConfig(f"event types do not fit together: {'; '.join(wrong)}. Declare what is missing")
        self._checked = True
        return self

    def new(self, name: str, payload: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> NewEvent:
        """Return an event of the type's latest version. Raises InvalidEvent for a type that is not declared."""
        self._closed()
        if name not in self._latest:
            raise InvalidEvent(f"event type {name!r} is not declared; choose from {', '.join(sorted(self._latest))}")
        return NewEvent(name, payload, self._latest[name], metadata or {})

    def payload(self, event: Event) -> Payload:
        """Return the event's payload in its latest version, or unchanged when its type is not declared.

        Raises UnknownVersion for a version later than the latest, and InvalidEvent when an upcaster does not return what
        JSON can hold.
        """
        self._closed()
        payload, latest = event.payload, self._latest.get(event.type)
        if latest is None or event.version == latest:
            return payload
        if event.version > latest:
            raise UnknownVersion(
                f"event {event.id} is {event.type!r} of version {event.version}; this code knows up to {latest}. "
                "Deploy the code that wrote it"
            )
        text = event.payload_text
        for version in range(event.version, latest):
            payload = self._upcasters[(event.type, version)](payload)
            text = encode_json(payload, f"{event.type!r} upcast to version {version + 1}")
        upcast: Payload = loads(text)  # plain JSON objects and lists, whatever types an upcaster returned
        return upcast

    def _open(self) -> None:
        if self._checked:
            raise InvalidConfig("event types are checked and in use; declare all of them before `check`")

    def _closed(self) -> None:
        if not self._checked:
            self.check()


PLAIN = Schemas().check()
"""Schemas without declared types: every payload is read as it was written."""


def set_events(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[NewEvent]:
    """Return small set-style events for the differences: `{field}_set {"value": …}` for each field that `after` adds or
    changes, and `{field}_cleared {}` for each that it lacks.

    One fact per event: two writers who change two fields of one thing at once do not undo each other, as they would with one
    large "updated" event.
    """
    events = [
        NewEvent(f"{name}_set", {"value": value})
        for name, value in after.items()
        if name not in before or not same_json(before[name], value)
    ]
    return events + [NewEvent(f"{name}_cleared", {}) for name in before if name not in after]
