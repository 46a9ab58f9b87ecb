"""Transformation from internal to external events, declared rule by rule on a class. Pure.

class Accounts(External):
    source = "https://example.com/accounts"
    opened = publish("user/registered", to="com.example.account.opened", keep=["plan"], rename={"name": "displayName"})
    moved = publish("user/moved", to="com.example.account.moved", enrich={"country": lambda e: e.payload["to"]["country"]})
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from replicator.domain.canonical import encode_json
from replicator.domain.errors import InvalidConfig, InvalidEvent, MeridianError, place
from replicator.domain.event import Event
from replicator.external.external_event import ExternalEvent, rfc3339
from replicator.external.rules import HIDDEN, Rule, hidden
from replicator.runtime.plugins import check_names, load

_URI_REFERENCE = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{1,1024}")  # RFC 3986's characters


class TransformationFailed(MeridianError):
    """An internal event cannot be transformed: the rule or the event is wrong. Its lane stops before it.

    The text names the event, the rule and the line of the error, and never holds a part of the payload.
    """


class External:
    """Base class of a transformation. Subclass it, set `source`, declare rules with `publish`.

    `source` is the CloudEvents source, a URI reference that is the same in every region: with an event's id it is
    unique permanently. An internal type without a rule is not published.
    """

    source: ClassVar[str]
    rules: ClassVar[Mapping[tuple[str, str], Rule]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        source = getattr(cls, "source", None)
        if not isinstance(source, str) or not _URI_REFERENCE.fullmatch(source):
            raise InvalidConfig(
                f"{cls.__qualname__} has the source {source!r}; set `source` to a URI, such as 'https://example.com/accounts'"
            )
        declared: dict[str, Rule] = {}
        for each in reversed(cls.__mro__):
            for name, value in vars(each).items():
                if isinstance(value, Rule):
                    check_names(cls, External, Rule, [name])
                    declared[name] = value
                elif each is cls and not (name.startswith("_") or name == "source" or _is_function(value)):
                    raise InvalidConfig(f"{cls.__qualname__}.{name} is {value!r}; declare rules with publish(…)")
        if not declared:
            raise InvalidConfig(f"{cls.__qualname__} declares no rule; use publish(…)")
        cls.rules = _indexed(cls.__qualname__, declared)

    @classmethod
    def transform(cls, event: Event, previous: int = 0) -> ExternalEvent | None:
        """Return the external event of `event`, or None when it is not published. `previous` is the sequence of the external
        event before it in its lane. Raises TransformationFailed."""
        rule = cls.rules.get((event.stream.type, event.type))
        if rule is None:
            return None
        where = f"{cls.__qualname__} cannot publish event {event.id} of type {event.type!r}"
        if event.version not in rule.versions:
            known = ", ".join(map(str, sorted(rule.versions)))
            raise TransformationFailed(f"{where}: its schema version {event.version} is not among the declared {known}")
        field = "when"
        try:
            if rule.when is not None and not rule.when(event):
                return None
            data: dict[str, Any] = {}
            payload = event.payload
            for field, name in rule.fields:
                if name in payload:
                    data[field] = payload[name]
                elif name not in rule.optional:
                    raise TransformationFailed(f"{where}: its payload has no field {name!r}")
            for field, function in rule.enrich.items():
                data[field] = function(event)
            shown = {field: value for field, value in ((f, hidden(v)) for f, v in data.items()) if value is not HIDDEN}
        except TransformationFailed:
            raise
        except Exception as error:  # an exception of a user's function affects this event alone
            raise TransformationFailed(f"{where}: field {field!r}: {place(error)}") from error
        text = _encoded(where, shown)
        return ExternalEvent(
            cls.source, rule.to, rule.version, event.lane, event.sequence, previous, rfc3339(event.hlc), text
        )


def _encoded(where: str, data: dict[str, Any]) -> str:
    try:
        return encode_json(data, "data")
    except InvalidEvent as error:
        wrong = next((name for name, value in data.items() if not _is_json({name: value})), "data")
        raise TransformationFailed(f"{where}: field {wrong!r} holds a value that is not JSON: {place(error)}") from None


def _is_json(data: dict[str, Any]) -> bool:
    try:
        encode_json(data)
    except InvalidEvent:
        return False
    return True


def _is_function(value: Any) -> bool:
    return callable(value) or isinstance(value, staticmethod | classmethod)


def _indexed(name: str, declared: Mapping[str, Rule]) -> dict[tuple[str, str], Rule]:
    rules: dict[tuple[str, str], Rule] = {}
    outside: set[str] = set()
    for rule in declared.values():
        internal = (rule.stream_type, rule.event_type)
        if internal in rules:
            raise InvalidConfig(f"{name} has two rules for {'/'.join(internal)!r}; one internal event is published once")
        if rule.to in outside:
            raise InvalidConfig(f"{name} has two rules that make {rule.to!r}; give each its own external type")
        rules[internal] = rule
        outside.add(rule.to)
    return rules


def load_external(name: str) -> type[External]:
    """Import the transformation named `module:Class`. Raises InvalidConfig with the reason."""
    if not name:
        raise InvalidConfig("no transformation given; pass --external module:Class or set MERIDIAN_EXTERNAL")
    value = load("transformation", name)
    if not (isinstance(value, type) and issubclass(value, External) and value is not External):
        raise InvalidConfig(f"{name!r} is not a subclass of replicator.external.External")
    return value
