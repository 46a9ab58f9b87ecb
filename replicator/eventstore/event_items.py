"""Codec between events and items in DynamoDB's JSON, beneath PynamoDB. Pure.

The model, EventItem, defines the attributes and their contents. The functions that handle every event are generated from it
once, as expressions without loops: that takes a third of the time.
"""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from json.encoder import encode_basestring as _quoted
from typing import Any

from replicator.domain.errors import DamagedEvent, InvalidEvent, InvalidName
from replicator.domain.event import Event
from replicator.domain.stored import recall
from replicator.eventstore.models import ATTRIBUTES, EventItem, Source, begins

_BEGINS = EventItem.begins.attr_name


def to_item(event: Event) -> dict[str, Any]:
    """Return the event in DynamoDB's JSON, as the low-level client takes it."""
    item = {name: {tag: _written(event, source)} for name, (tag, source) in ATTRIBUTES.items()}
    return {_BEGINS: {"S": begins(event)}, **item} if event.sequence == 1 else item


def _written(event: Event, source: Source) -> str | bytes:
    value: str | bytes = getattr(event, source.field)
    return source.write(value) if source.write is not None else value


def insert_statement(table: str, first: bool) -> str:
    """Return the beginning of a PartiQL INSERT as JSON, for the first or a later event of a lane; `parameters` and a closing
    brace complete it."""
    columns = ", ".join(f"'{name}': ?" for name in (*ATTRIBUTES, *((_BEGINS,) if first else ())))
    statement = f'INSERT INTO "{table}" VALUE {{{columns}}}'
    return f'{{"Statement":{_quoted(statement)},"Parameters":'


def parameters(event: Event) -> str:
    """Return the event's attributes in the order of `insert_statement`, as JSON."""
    more = f',{{"S":{_quoted(begins(event))}}}' if event.sequence == 1 else ""
    return f"[{_parameters(event)}{more}]"


def _base64(value: bytes) -> str:
    return b2a_base64(value, newline=False).decode()


def _binary(value: Any) -> bytes:
    """Return bytes from a client's bytes or from the base64 text in JSON. Refuses numbers: `bytes` would take one for a size
    and return that many zeros."""
    if type(value) is bytes:
        return value
    if isinstance(value, str):
        return a2b_base64(value, strict_mode=True)
    if not isinstance(value, bytes | bytearray):
        raise TypeError(f"a binary attribute holds a {type(value).__name__}")
    return bytes(value)


def _made(argument: str, expression: str) -> Callable[[Any], Any]:
    """Compile an expression into a function of one argument."""
    known = {"recall": recall, "quoted": _quoted, "base64": _base64, "binary": _binary}
    writes = {f"write_{name}": source.write for name, (_, source) in ATTRIBUTES.items()}
    function: Callable[[Any], Any] = eval(f"lambda {argument}: {expression}", {**known, **writes})
    return function


def _write_expression(name: str, tag: str, source: Source) -> str:
    value = f"event.{source.field}" if source.write is None else f"write_{name}(event.{source.field})"
    return f'"{{base64({value})}}"' if tag == "B" else f"{{quoted({value})}}"


def _read_expression(name: str, tag: str) -> str:
    value = f"item[{name!r}][{tag!r}]"
    return f"binary({value})" if tag == "B" else value


_parameters = _made(
    "event", "f'''" + ",".join(f'{{{{"{tag}":{_write_expression(name, tag, source)}}}}}'
                               for name, (tag, source) in ATTRIBUTES.items()) + "'''"
)  # fmt: skip
_recalled = _made("item", f"recall({', '.join(_read_expression(name, tag) for name, (tag, _) in ATTRIBUTES.items())})")

_BROKEN = (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError, InvalidName, InvalidEvent)


def from_item(item: dict[str, Any]) -> Event:
    """Read an event from DynamoDB's JSON, as the stream or the low-level client returns it.

    Raises DamagedEvent for anything `to_item` cannot have produced."""
    try:
        event: Event | None = _recalled(item)
    except _BROKEN:
        event = None
    return _looked_at(item) if event is None else event


def event_of(item: EventItem) -> Event:
    """Return the event of an item that the model has read. Raises DamagedEvent."""
    return from_item(item.serialize())


def _looked_at(item: dict[str, Any]) -> Event:
    """Slow path: read an event attribute by attribute from an item that may be damaged. Raises DamagedEvent with the
    reason."""
    try:
        return Event(*[_read(item[name][tag], tag, source) for name, (tag, source) in ATTRIBUTES.items()])
    except DamagedEvent:
        raise
    except _BROKEN as error:
        raise DamagedEvent(f"item {where(item)} is not an event: {type(error).__name__}: {error}") from None


def _read(value: Any, tag: str, source: Source) -> Any:
    value = _binary(value) if tag == "B" else value
    return source.read(value) if source.read is not None else value


def where(item: Any) -> str:
    """Return an item's key for messages, as `pk sk`, never its payload."""
    try:
        return f"{item['pk']['S']} {item['sk']['S']}"
    except (KeyError, TypeError, RecursionError):
        return "without a readable key"
