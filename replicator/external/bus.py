"""Internal bus: records of DynamoDB's Kinesis streaming destination, and the events in them. Pure.

AWS documents that records may come twice and out of order. A record's data is a JSON object as in DynamoDB Streams, without
a sequence number, with `tableName` and `recordFormat` beside it, and with binary attributes as base64 text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from replicator.domain.event import Event
from replicator.domain.names import LaneId
from replicator.replication.stream_records import Refused, read_records, written


@dataclass(frozen=True, slots=True)
class BusRecord:
    """Record of Kinesis: its sequence number in its shard, and its data."""

    position: str
    data: bytes


@dataclass(slots=True)
class Delivery:
    """Content of some records: `events`, the minimal target sequence of each lane, and the refused records.

    `first` is the index of the first record of each lane: delivery must begin there again if the lane is not done. `since`
    is when the table took the oldest of the events, in milliseconds since the epoch; None without events.
    """

    events: list[Event]
    targets: dict[LaneId, int]
    refused: list[Refused]
    first: dict[LaneId, int]
    since: int | None = field(default=None)


def read_bus(records: Sequence[BusRecord], table: str, region: str | None = None) -> Delivery:
    """Return the events of `table` in `records`, in any order. With `region`, only that region's own lanes.

    A record with an unreadable image whose key names an event is refused, and its lane must still be checked.
    """
    delivery = Delivery([], {}, [], {})
    for index, record in enumerate(records):
        for found in _read(record, table, region):
            if isinstance(found, tuple):
                found, at = found
                delivery.events.append(found)
                delivery.since = at if delivery.since is None else min(delivery.since, at)
            else:
                delivery.refused.append(found)
                if found.changed or found.lane is None or not found.sequence:
                    continue
                if region not in (None, found.lane.region):
                    continue
            lane, sequence = found.lane, found.sequence
            delivery.targets[lane] = max(delivery.targets.get(lane, 0), sequence)
            delivery.first.setdefault(lane, index)
    return delivery


def _read(record: BusRecord, table: str, region: str | None) -> Iterator[Any]:
    try:
        change = json.loads(record.data)
    except (ValueError, RecursionError):
        change = None
    body = change.get("dynamodb") if isinstance(change, dict) else None
    if not isinstance(change, dict) or not isinstance(body, dict):
        yield Refused(f"record {record.position}", "a record of the internal bus that is no change of a table")
        return
    if (name := _table(change)) != table:
        yield Refused(f"table {str(name)[:255]}", f"the internal bus carries changes of a table that is not {table}")
        return
    if not all(isinstance(body.get(part) or {}, dict) for part in ("Keys", "NewImage")):
        yield Refused(f"record {record.position}", "a change whose key or image is no item")
        return
    events, refused = read_records([change], region)
    yield from ((event, written([change], [event])) for event in events)
    yield from refused


def _table(change: Mapping[str, Any]) -> str | None:
    """Return the table that a record names; emulators may give only an ARN, `…:table/NAME/stream/…`."""
    name = change.get("tableName")
    if name is None and isinstance(change.get("eventSourceARN"), str):
        name = change["eventSourceARN"].partition(":table/")[2].partition("/")[0]
    return name if isinstance(name, str) else None
