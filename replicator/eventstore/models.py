"""The PynamoDB models: how an event and a piece of control state look as items.

`EventItem` is the one definition of an event's item. The table, the INSERT's parameters and the reader of stored items are
made of it (items.py): an attribute that an event gets is added here, and nowhere else.
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
"""Into so many partitions of the index a region's lanes are spread, or a region could begin only 1,000 a second."""


class Source(NamedTuple):
    """What of an event an attribute holds: `write` makes its text of the event's `field`, and `read` inverts that. None: the
    field is a text, or bytes, itself."""

    field: str
    write: Callable[[Any], str] | None = None
    read: Callable[[Any], Any] | None = None


class _OfEvent:
    """An attribute that holds a part of an event; without a source it is made of the event as a whole."""

    source: Source | None

    def __init__(self, source: Source | None, **options: Any) -> None:
        self.source = source
        super().__init__(**options)


class Text(_OfEvent, UnicodeAttribute):
    """A text that holds a part of an event."""


class Number(_OfEvent, NumberAttribute):
    """A number that holds a part of an event."""


class Binary(_OfEvent, BinaryAttribute):
    """Bytes that hold a part of an event."""


def index_key(region: str, part: int) -> str:
    """One partition of the index of `region`'s lanes."""
    return f"{region}#{part:x}"


def begins(event: Event) -> str:
    """Where the index lists a lane that begins with this event."""
    return index_key(event.region, sha256(event.lane.key.encode()).digest()[0] % INDEX_PARTS)


class LanesIndex(GlobalSecondaryIndex[Any]):  # type: ignore[no-untyped-call]
    """Every lane once, by its first event: what there is to compare is listed without reading the events."""

    class Meta:
        index_name = LANES_INDEX
        projection = KeysOnlyProjection()

    begins = UnicodeAttribute(hash_key=True)
    pk = UnicodeAttribute(range_key=True)


class EventItem(Model):
    """An event as an item. The partition key begins with the region that wrote it; the sort key is the sequence.

    Applications may query it, bound to their table by `bind`; `items.event_of` is the event of an item that was read. Events
    are written by the store alone: it never replaces one.
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
    """Only the first event of a lane has it, so only that one is in the index."""
    lanes = LanesIndex()


_SOURCES = {
    attribute.source.field: (attribute.attr_name, (attribute.attr_type, attribute.source))
    for attribute in EventItem.get_attributes().values()
    if isinstance(attribute, _OfEvent) and attribute.source is not None
}
ATTRIBUTES: dict[str, tuple[str, Source]] = dict(_SOURCES[field] for field in Event.__slots__)
"""DynamoDB's type and the source of each attribute that every event has, in the order of `Event`'s fields."""


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
            "max_retry_attempts": 0,  # retries are ours: replicator/runtime/retries.py
            "max_pool_connections": 50,
            "billing_mode": "PAY_PER_REQUEST",
            **({"stream_view_type": "NEW_IMAGE"} if model is EventItem else {}),
        },
    )
    return type(f"{model.__name__}_{region.replace('-', '_')}", (model,), {"Meta": meta})
