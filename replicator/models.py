"""The PynamoDB models: how an event and a piece of control state look as items."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from pynamodb.attributes import BinaryAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.indexes import GlobalSecondaryIndex, KeysOnlyProjection
from pynamodb.models import Model

from replicator.domain.clock import Hlc
from replicator.domain.event import Event
from replicator.domain.names import LaneId, parse_sequence_key, sequence_key
from replicator.domain.vector import VersionVector
from replicator.errors import DamagedEvent, InvalidEvent, InvalidName
from replicator.settings import Settings

LANES_INDEX = "lanes"
INDEX_PARTS = 16
"""Into so many partitions of the index a region's lanes are spread, or a region could begin only 1,000 a second."""


class LanesIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]
    """Every lane once, by its first event: what there is to compare is listed without reading the events."""

    class Meta:
        index_name = LANES_INDEX
        projection = KeysOnlyProjection()

    begins = UnicodeAttribute(hash_key=True)
    pk = UnicodeAttribute(range_key=True)


class EventItem(Model):
    """An event as an item. The partition key begins with the region that wrote it; the sort key is the sequence."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    hlc = UnicodeAttribute()
    type = UnicodeAttribute()
    version = NumberAttribute()
    payload = UnicodeAttribute()
    metadata = UnicodeAttribute()
    observed = UnicodeAttribute()
    prev = BinaryAttribute(legacy_encoding=False)
    digest = BinaryAttribute(legacy_encoding=False)
    begins = UnicodeAttribute(null=True)
    """Only the first event of a lane has it, so only that one is in the index."""
    lanes = LanesIndex()


class ControlItem(Model):
    """A piece of control state: a checkpoint, a backlog pointer, a quarantined event. `value` is JSON."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    value = UnicodeAttribute()


class KeysItem(Model):
    """The data keys of one subject of personal data, each wrapped, in an attribute named by its id; or that the subject was
    forgotten, and then nothing else. One item, so that forgetting and storing a key cannot miss each other."""

    pk = UnicodeAttribute(hash_key=True)


def bind(model: type[Model], table: str, settings: Settings, region: str) -> Any:
    """A subclass of `model` that talks to `table` in `region`. PynamoDB binds a class, so each region gets its own."""
    meta = type(
        "Meta",
        (),
        {
            "table_name": table,
            "region": region,
            "host": settings.endpoint(region),
            "connect_timeout_seconds": settings.connect_timeout,
            "read_timeout_seconds": settings.read_timeout,
            "max_retry_attempts": 0,  # retries are ours: replicator/retries.py
            "max_pool_connections": 50,
            "billing_mode": "PAY_PER_REQUEST",
            **({"stream_view_type": "NEW_IMAGE"} if model is EventItem else {}),
        },
    )
    return type(f"{model.__name__}_{region.replace('-', '_')}", (model,), {"Meta": meta})


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


def from_item(item: dict[str, Any]) -> Event:
    """Read an event from DynamoDB's JSON. Raises DamagedEvent for anything `to_item` cannot have produced."""
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
    except (
        KeyError,
        TypeError,
        AttributeError,
        ValueError,
        ArithmeticError,
        RecursionError,
        InvalidName,
        InvalidEvent,
    ) as error:
        raise DamagedEvent(f"item {where(item)} is not an event: {type(error).__name__}: {error}") from None


def _binary(value: Any) -> bytes:
    """Bytes as a client gives them. A number would be taken for a size, and make so many zeros."""
    if not isinstance(value, bytes | bytearray):
        raise TypeError(f"a binary attribute holds a {type(value).__name__}")
    return bytes(value)


def where(item: Any) -> str:
    """The key of an item, for messages: `pk sk`, never its payload."""
    try:
        return f"{item['pk']['S']} {item['sk']['S']}"
    except (KeyError, TypeError, RecursionError):
        return "without a readable key"


def to_model(model: Any, event: Event) -> Any:
    """The event as an instance of a bound EventItem."""
    return model(
        event.lane.key,
        sequence_key(event.sequence),
        hlc=str(event.hlc),
        type=event.type,
        version=event.version,
        payload=event.payload_text,
        metadata=event.metadata_text,
        observed=str(event.observed),
        prev=event.prev,
        digest=event.digest,
        begins=begins(event),
    )


def from_model(model: Any) -> Event:
    """Read an event from an instance of EventItem."""
    try:
        return Event(
            lane=LaneId.from_key(model.pk),
            sequence=parse_sequence_key(model.sk),
            hlc=Hlc.parse(model.hlc),
            type=model.type,
            version=model.version,
            payload_text=model.payload,
            metadata_text=model.metadata,
            observed=VersionVector.parse(model.observed),
            prev=model.prev,
            digest=model.digest,
        )
    except DamagedEvent:
        raise
    except (TypeError, AttributeError, ValueError) as error:
        raise DamagedEvent(f"item {model.pk} {model.sk} is not an event: {type(error).__name__}: {error}") from None
