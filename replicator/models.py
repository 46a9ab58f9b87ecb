"""The PynamoDB models: how an event and a piece of control state look as items."""

from __future__ import annotations

from typing import Any

from pynamodb.attributes import BinaryAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.indexes import GlobalSecondaryIndex, KeysOnlyProjection
from pynamodb.models import Model

from replicator.domain.event import Event
from replicator.domain.names import sequence_key
from replicator.items import LANES_INDEX, begins
from replicator.settings import Settings


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
