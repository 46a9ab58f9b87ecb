"""PynamoDB models: the item layout of an event and of a piece of control state.

`EventItem` is the only definition of an event's item. The table, the INSERT's parameters and the reader of stored items are
generated from it (event_items.py): add a new attribute of events here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from operator import attrgetter
from typing import Any, NamedTuple

from pynamodb.attributes import BinaryAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.indexes import GlobalSecondaryIndex, KeysOnlyProjection
from pynamodb.models import Model

from replicator.domain.clock import Hlc
from replicator.domain.event import Event
from replicator.domain.names import LaneId, parse_sequence_key, sequence_key
from replicator.domain.vector import VersionVector
from replicator.runtime.settings import Settings

LANES_INDEX = "lanes"
INDEX_PARTS = 16
"""Partitions of the index that a region's lanes are spread over; with one, a region could begin only 1,000 lanes a
second."""


class Source(NamedTuple):
    """Source of an attribute: `write` makes its text from the event's `field`, and `read` inverts that. None: the field is a
    text or bytes already."""

    field: str
    write: Callable[[Any], str] | None = None
    read: Callable[[Any], Any] | None = None


class _OfEvent:
    """Attribute that holds a part of an event; without a source it is derived from the whole event."""

    source: Source | None

    def __init__(self, source: Source | None, **options: Any) -> None:
        self.source = source
        super().__init__(**options)


class Text(_OfEvent, UnicodeAttribute):
    """Text attribute that holds a part of an event."""


class Number(_OfEvent, NumberAttribute):
    """Number attribute that holds a part of an event."""


class Binary(_OfEvent, BinaryAttribute):
    """Binary attribute that holds a part of an event."""


def index_key(region: str, part: int) -> str:
    """Return the key of one partition of the index of `region`'s lanes."""
    return f"{region}#{part:x}"


def index_part(lane: LaneId) -> int:
    """Return the partition of the index that a lane is in."""
    return sha256(lane.key.encode()).digest()[0] % INDEX_PARTS


def begins(event: Event) -> str:
    """Return the index key of a lane that begins with this event."""
    return index_key(event.region, index_part(event.lane))


class LanesIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]
    """Index of lanes: every lane once, by its first event, so that lanes can be listed without reading events."""

    class Meta:
        index_name = LANES_INDEX
        projection = KeysOnlyProjection()

    begins = UnicodeAttribute(hash_key=True)
    pk = UnicodeAttribute(range_key=True)


class EventItem(Model):
    """Item of an event. The partition key begins with the region that wrote it; the sort key is the sequence.

    Applications may query it, bound to their table by `bind`; `event_items.event_of` returns the event of an item. Only the
    store writes events: it never replaces one.
    """

    pk = Text(Source("lane", attrgetter("key"), LaneId.from_key), hash_key=True)
    sk = Text(Source("sequence", sequence_key, parse_sequence_key), range_key=True)
    hlc = Text(Source("hlc", str, Hlc.parse))
    type = Text(Source("type"))
    version = Number(Source("version", str, int))
    payload = Text(Source("payload_text"))
    metadata = Text(Source("metadata_text"))
    observed = Text(Source("observed", str, VersionVector.parse))
    prev = Binary(Source("prev"), legacy_encoding=False)
    digest = Binary(Source("digest"), legacy_encoding=False)
    begins = Text(None, null=True)
    """Set on the first event of a lane alone, so only that one is in the index."""
    lanes = LanesIndex()


_SOURCES = {
    attribute.source.field: (attribute.attr_name, (attribute.attr_type, attribute.source))
    for attribute in EventItem.get_attributes().values()
    if isinstance(attribute, _OfEvent) and attribute.source is not None
}
ATTRIBUTES: dict[str, tuple[str, Source]] = dict(_SOURCES[field] for field in Event.__slots__)
"""DynamoDB type and source of each attribute that every event has, in the order of `Event`'s fields."""


class ControlItem(Model):
    """Item of control state: a checkpoint, a backlog pointer, a quarantined event. `value` is JSON."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    value = UnicodeAttribute()


class KeysItem(Model):
    """Data keys of one data subject, each wrapped, in an attribute named by its id; or the mark that the subject was
    forgotten, and then nothing else. One item, so that forgetting and storing a key cannot miss each other."""

    pk = UnicodeAttribute(hash_key=True)


def bind(model: type[Model], table: str, settings: Settings, region: str) -> Any:
    """Return a subclass of `model` bound to `table` in `region`. PynamoDB binds a class, so each region gets its own."""
    meta = type(
        "Meta",
        (),
        {
            "table_name": table,
            "region": region,
            "host": settings.endpoint(region),
            "connect_timeout_seconds": settings.connect_timeout,
            "read_timeout_seconds": settings.read_timeout,
            "max_retry_attempts": 0,  # replicator/runtime/retries.py retries instead
            "max_pool_connections": 50,
            "billing_mode": "PAY_PER_REQUEST",
            **({"stream_view_type": "NEW_IMAGE"} if model is EventItem else {}),
        },
    )
    return type(f"{model.__name__}_{region.replace('-', '_')}", (model,), {"Meta": meta})
