"""How an event looks as an item, in DynamoDB's JSON. Pure."""

from __future__ import annotations

from binascii import a2b_base64, b2a_base64
from hashlib import sha256
from json.encoder import encode_basestring as _quoted
from typing import Any

from replicator.domain.clock import Hlc
from replicator.domain.event import Event
from replicator.domain.names import LaneId, parse_sequence_key, sequence_key
from replicator.domain.stored import recall
from replicator.domain.vector import VersionVector
from replicator.errors import DamagedEvent, InvalidEvent, InvalidName

LANES_INDEX = "lanes"
_FIELDS = ("pk", "sk", "hlc", "type", "version", "payload", "metadata", "observed", "prev", "digest")
INDEX_PARTS = 16
"""Into so many partitions of the index a region's lanes are spread, or a region could begin only 1,000 a second."""


def index_key(region: str, part: int) -> str:
    """One partition of the index of `region`'s lanes."""
    return f"{region}#{part:x}"


def begins(event: Event) -> str | None:
    """Where the index lists the event's lane, if this is its first event."""
    if event.sequence != 1:
        return None
    return index_key(event.region, sha256(event.lane.key.encode()).digest()[0] % INDEX_PARTS)


def to_item(event: Event) -> dict[str, Any]:
    """The event in DynamoDB's JSON, as the low-level client takes it."""
    first = begins(event)
    return {
        **({"begins": {"S": first}} if first else {}),
        "pk": {"S": event.lane.key},
        "sk": {"S": sequence_key(event.sequence)},
        "hlc": {"S": str(event.hlc)},
        "type": {"S": event.type},
        "version": {"N": str(event.version)},
        "payload": {"S": event.payload_text},
        "metadata": {"S": event.metadata_text},
        "observed": {"S": str(event.observed)},
        "prev": {"B": event.prev},
        "digest": {"B": event.digest},
    }


def insert_statement(table: str, first: bool) -> str:
    """The beginning of a PartiQL INSERT as JSON, of the first or of a later event of a lane; `parameters` and a brace end
    it."""
    columns = ", ".join(f"'{name}': ?" for name in (*_FIELDS, *(("begins",) if first else ())))
    statement = f'INSERT INTO "{table}" VALUE {{{columns}}}'
    return f'{{"Statement":{_quoted(statement)},"Parameters":'


def parameters(event: Event) -> str:
    """The event's attributes in the order of `insert_statement`, as JSON. What `to_item` makes, without making it."""
    first = begins(event)
    more = f',{{"S":{_quoted(first)}}}' if first else ""
    return (
        f'[{{"S":{_quoted(event.lane.key)}}},{{"S":"{sequence_key(event.sequence)}"}},{{"S":"{event.hlc}"}},'
        f'{{"S":{_quoted(event.type)}}},{{"N":"{event.version}"}},{{"S":{_quoted(event.payload_text)}}},'
        f'{{"S":{_quoted(event.metadata_text)}}},{{"S":{_quoted(str(event.observed))}}},'
        f'{{"B":"{_base64(event.prev)}"}},{{"B":"{_base64(event.digest)}"}}'
        f"{more}]"
    )


def _base64(value: bytes) -> str:
    return b2a_base64(value, newline=False).decode()


_BROKEN = (KeyError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError, InvalidName, InvalidEvent)


def from_item(item: dict[str, Any]) -> Event:
    """Read an event from DynamoDB's JSON, as it is sent or as the low-level client gives it.

    Raises DamagedEvent for anything `to_item` cannot have produced."""
    try:
        event = recall(
            item["pk"]["S"],
            item["sk"]["S"],
            item["hlc"]["S"],
            item["type"]["S"],
            item["version"]["N"],
            item["payload"]["S"],
            item["metadata"]["S"],
            item["observed"]["S"],
            _binary(item["prev"]["B"]),
            _binary(item["digest"]["B"]),
        )
    except _BROKEN:
        event = None
    return _looked_at(item) if event is None else event


def _looked_at(item: dict[str, Any]) -> Event:
    """The event in an item with which something may be wrong. Raises DamagedEvent, which says what."""
    try:
        return Event(
            lane=LaneId.from_key(item["pk"]["S"]),
            sequence=parse_sequence_key(item["sk"]["S"]),
            hlc=Hlc.parse(item["hlc"]["S"]),
            type=item["type"]["S"],
            version=int(item["version"]["N"]),
            payload_text=item["payload"]["S"],
            metadata_text=item["metadata"]["S"],
            observed=VersionVector.parse(item["observed"]["S"]),
            prev=_binary(item["prev"]["B"]),
            digest=_binary(item["digest"]["B"]),
        )
    except DamagedEvent:
        raise
    except _BROKEN as error:
        raise DamagedEvent(f"item {where(item)} is not an event: {type(error).__name__}: {error}") from None


def _binary(value: Any) -> bytes:
    """Bytes as a client gives them, or the base64 of them that stands in JSON. A number would be taken for a size, and make
    so many zeros."""
    if type(value) is bytes:
        return value
    if isinstance(value, str):
        return a2b_base64(value, strict_mode=True)
    if not isinstance(value, bytes | bytearray):
        raise TypeError(f"a binary attribute holds a {type(value).__name__}")
    return bytes(value)


def where(item: Any) -> str:
    """The key of an item, for messages: `pk sk`, never its payload."""
    try:
        return f"{item['pk']['S']} {item['sk']['S']}"
    except (KeyError, TypeError, RecursionError):
        return "without a readable key"
