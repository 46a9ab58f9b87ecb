"""Stream records, from the poller or from a Lambda batch, and the events in them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

from replicator.domain.errors import DamagedEvent, InvalidName, shown
from replicator.domain.event import GENESIS, Event
from replicator.domain.names import DELIMITER, LaneId, parse_sequence_key, sequence_key
from replicator.eventstore.event_items import from_item, where

Record = Mapping[str, Any]
_PRECISIONS = {"MILLISECOND": 1000, "MICROSECOND": 1_000_000}
"""Parts of a second in which a record's time is given; seconds where it does not say."""
_SECONDS_MOST = 10**11
"""Number from which a time is no longer one in seconds (the year 5138), but in milliseconds."""


class Passed(Enum):
    """A record of a lane outside the requested region."""

    OVER = "over"


PASSED_OVER = Passed.OVER


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that is not a new event. `item` is its key, `lane` the lane that the key names (None: not a lane's key),
    `changed` whether an event was modified or removed, which is never allowed."""

    item: str
    reason: str
    lane: LaneId | None = None
    sequence: int = 0
    changed: bool = False


def read_records(records: Iterable[Record], region: str | None = None) -> tuple[list[Event], list[Refused]]:
    """Return the events of INSERT records, in order, and the refused records. With `region`, only that region's own lanes:
    copies that a peer wrote here are skipped (they must not travel on). Changes are refused in any lane."""
    events: list[Event] = []
    refused: list[Refused] = []
    prefix = "" if region is None else f"{region}{DELIMITER}"
    for record in records:
        found = _read_plain(record, prefix) or _read(record, prefix)
        if isinstance(found, Refused):
            refused.append(found)
        elif found is not PASSED_OVER:
            events.append(found)
    return events, refused


def _read_plain(record: Record, prefix: str) -> Event | Passed | None:
    """Fast path: return the event of a record whose key and image agree, as they nearly always do. None for anything
    unusual: `_read`, the slow path, finds the reason."""
    try:
        change = record["dynamodb"]
        keys, item = change["Keys"], change["NewImage"]
        if record["eventName"] != "INSERT" or keys["pk"] != item["pk"] or keys["sk"] != item["sk"]:
            return None
        if not item["pk"]["S"].startswith(prefix):
            return PASSED_OVER
        event = from_item(item)
    except (KeyError, TypeError, AttributeError, RecursionError, DamagedEvent):
        return None
    return event if event.sequence > 1 or event.prev == GENESIS else None


def _read(record: Record, prefix: str) -> Event | Passed | Refused:
    change = _map(_map(record).get("dynamodb"))
    keys = _map(change.get("Keys"))
    name = _map(record).get("eventName")
    if name != "INSERT":
        reason = f"{_name(name)} of an event: events are immutable, nothing follows from it"
        return _refused(record, reason, changed=True)
    if not _text(keys, "pk").startswith(prefix):
        return PASSED_OVER
    try:
        event = from_item(change.get("NewImage") or {})
    except DamagedEvent as error:
        return _refused(record, str(error))
    if (event.lane.key, sequence_key(event.sequence)) != (_text(keys, "pk"), _text(keys, "sk")):
        return _refused(record, f"the record's key is not its image's, {event.id}")
    if event.sequence == 1 and event.prev != GENESIS:
        return _refused(record, f"event {event.id} claims a past before the first event of its lane")
    return event


def _map(value: Any) -> Mapping[str, Any]:
    """Return the value, or an empty map if it is not a map: lookups in it then find nothing."""
    return value if isinstance(value, Mapping) else {}


def position(record: Record) -> str:
    """Return the record's sequence number in its shard, as a partial batch response names it."""
    return str(_map(_map(record).get("dynamodb")).get("SequenceNumber", ""))


def written(records: Iterable[Record], events: Sequence[Event]) -> int:
    """Return when the table took the first of these events, in milliseconds since the epoch: the time of its record, or the
    event's own where that lies in the same second, as DynamoDB tells whole seconds. 0 without events.

    An event's own time is its writer's: a clock that is wrong, or an event that came back from a peer, would be a false lag.
    """
    if not events:
        return 0
    first, own = events[0], events[0].hlc.ms
    wanted = first.lane.key, sequence_key(first.sequence)
    record = next((record for record in records if key(record) == wanted), {})
    change = _map(_map(record).get("dynamodb"))
    told = change.get("ApproximateCreationDateTime")
    if isinstance(told, datetime):
        told = told.timestamp()
    if not isinstance(told, int | float):
        return min(event.hlc.ms for event in events)
    precision = _PRECISIONS.get(str(change.get("ApproximateCreationDateTimePrecision")), 1)
    at = int(told * 1000 / (1000 if precision == 1 and told > _SECONDS_MOST else precision))
    return own if at <= own < at + 1000 else at


def key(record: Record) -> tuple[str, str]:
    """Return the record's partition and sort key, empty where it has none."""
    keys = _map(_map(_map(record).get("dynamodb")).get("Keys"))
    return _text(keys, "pk"), _text(keys, "sk")


def _name(name: Any) -> str:
    return name if isinstance(name, str) and len(name) < 20 else shown(name)


def _text(keys: Any, name: str) -> str:
    value = keys.get(name) if isinstance(keys, dict) else None
    return str(value.get("S", "")) if isinstance(value, dict) else ""


def _refused(record: Record, reason: str, changed: bool = False) -> Refused:
    keys = _map(_map(_map(record).get("dynamodb")).get("Keys"))
    item = where(keys)
    if not (_text(keys, "pk") and _text(keys, "sk")) and position(record):
        item = f"record {position(record)}"  # without a key, only its position in the stream identifies it
    try:
        lane: LaneId | None = LaneId.from_key(_text(keys, "pk"))
    except InvalidName:
        lane = None
    try:
        sequence = parse_sequence_key(_text(keys, "sk"))
    except InvalidName:
        sequence = 0
    return Refused(item, reason, lane, sequence, changed)
