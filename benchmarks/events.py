"""Events to measure with: sealed, chained and with a nonce, as an event store makes them, but without its cost in time."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from replicator.domain.clock import Hlc
from replicator.domain.event import NO_EVENTS, Event, Head, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.eventstore.event_items import to_item

NEW = NewEvent("departed", {"airport": "EWR", "flight": "UA1545", "leg": 0, "row": 1, "time": "2013-01-01T05:17"})
"""Departure of a flight: an item of about 400 bytes."""


class Chains:
    """Lanes of one region that grow together, from their first event on."""

    def __init__(self, region: str, name: str, count: int) -> None:
        self.lanes = [LaneId(region, StreamId("user", f"{name}{n}")) for n in range(count)]
        self._heads: dict[LaneId, Head] = {}
        self._made = 0

    def grow(
        self, per_lane: int = 1, new: NewEvent = NEW, lanes: Sequence[LaneId] | None = None, ms: int | None = None
    ) -> list[Event]:
        """Return the next events of every lane (or of these), lane by lane within each turn. `ms` is their time (default:
        now)."""
        now = int(time.time() * 1000) if ms is None else ms
        return [self._next(lane, new, now) for _ in range(per_lane) for lane in lanes or self.lanes]

    def _next(self, lane: LaneId, new: NewEvent, ms: int) -> Event:
        head = self._heads.get(lane, NO_EVENTS)
        self._made += 1
        stamp = max(Hlc(ms, 0), head.hlc.next())
        observed = EMPTY.advance(lane.region, head.sequence) if head.sequence else EMPTY
        event = seal(lane, head.sequence + 1, stamp, new, observed, head.digest, f"MTIzNDU2Nzg5{self._made:x}")
        self._heads[lane] = Head.of(event)
        return event


def record(event: Event) -> dict[str, Any]:
    """Return the stream record of an event, as it is sent: binary attributes are base64."""
    item = to_item(event)
    for name in ("prev", "digest"):
        item[name] = {"B": b64encode(item[name]["B"]).decode()}
    keys = {"pk": item["pk"], "sk": item["sk"]}
    return {
        "eventName": "INSERT",
        "dynamodb": {"Keys": keys, "NewImage": item, "SequenceNumber": f"{event.sequence:021d}"},
    }
