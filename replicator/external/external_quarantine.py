"""Poison events: events that cannot be published, recorded once each, and released when their lane has gone past them."""

from __future__ import annotations

import structlog

from replicator.control.backlog import EXTERNAL
from replicator.control.control_storage import Value, fitting
from replicator.control.quarantine import Quarantine
from replicator.domain.errors import InvalidName
from replicator.domain.names import LaneId, parse_sequence_key, sequence_key
from replicator.replication.stream_records import Refused

log = structlog.get_logger()

LINK = EXTERNAL


class Poison:
    """Quarantine of a region's external events, with its records cached."""

    def __init__(self, quarantine: Quarantine) -> None:
        self._quarantine = quarantine
        self._known: dict[str, Value] | None = None
        self._lanes: dict[LaneId, int] = {}

    def lanes(self) -> dict[LaneId, int]:
        """Return the lanes that were stopped at the last attempt, with the event before which they stopped."""
        self._records()
        return dict(self._lanes)

    def stop(self, lane: LaneId, sequence: int, reason: str) -> None:
        """Record that `lane` cannot go past this event."""
        self._add(_key(lane, sequence), reason)
        self._lanes[lane] = sequence

    def refuse(self, refused: Refused) -> None:
        """Record an item of the internal bus that is not a new event."""
        self._add(fitting(refused.item), refused.reason)

    def passed(self, lane: LaneId, sequence: int) -> None:
        """Record that `lane` has reached `sequence`: an event before which it stopped is resolved."""
        stood = self._lanes.get(lane) if self._known is not None else None
        if stood is not None and stood <= sequence:
            key = _key(lane, stood)
            value = self._records().get(key)
            if value is not None:
                self._quarantine.release({key: value})
                del self._records()[key]
            del self._lanes[lane]
            log.info("publisher.released", event_id=key)

    def _add(self, key: str, reason: str) -> None:
        held = self._records().get(key)
        value = self._quarantine.add(key, reason)  # even if known: an operator may have released it too early
        self._records()[key] = value
        if held is None or held["reason"] != value["reason"]:
            log.error("publisher.quarantined", item=key, reason=reason)

    def _records(self) -> dict[str, Value]:
        if self._known is None:
            self._known = dict(self._quarantine.records())
            for key in self._known:
                name, _, digits = key.rpartition("#")
                try:
                    self._lanes[LaneId.from_key(name)] = parse_sequence_key(digits)
                except InvalidName:
                    continue  # an item of the bus without a lane
        return self._known


def _key(lane: LaneId, sequence: int) -> str:
    return fitting(f"{lane.key}#{sequence_key(sequence)}")
