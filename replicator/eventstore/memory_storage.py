"""In-memory lane storage for tests, examples and the simulator. It passes the same contract test as DynamoDB."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence

from replicator.control.control_storage import Guard
from replicator.control.memory_control import MemoryControl
from replicator.domain.event import Event
from replicator.domain.names import LaneId
from replicator.eventstore.storage import Insert, Position, check_transaction
from replicator.eventstore.store_errors import GuardFailed, LaneTaken


class MemoryStorage:
    """LaneStorage that lives as long as the process. `control` is the control state that condition checks refer to."""

    def __init__(self, control: MemoryControl | None = None) -> None:
        self.control = control or MemoryControl()
        self._lanes: dict[LaneId, dict[int, Event]] = {}
        self._lock = threading.Lock()
        self._identity = uuid.uuid4().hex

    def insert(self, events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        check_transaction(events, guards)
        with self._lock, self.control.still():
            held = [self._lanes.get(event.lane, {}).get(event.sequence) for event in events]
            if events and held == list(events):
                return False
            taken = [event for event, other in zip(events, held, strict=True) if other is not None]
            if taken:
                raise LaneTaken(taken)
            if failed := [guard for guard in guards if not self.control.holds(guard)]:
                raise GuardFailed(failed)
            for event in events:
                self._lanes.setdefault(event.lane, {})[event.sequence] = event
        return bool(events)

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        with self._lock:
            outcomes = []
            for event in events:
                lane = self._lanes.setdefault(event.lane, {})
                outcomes.append(Insert.TAKEN if event.sequence in lane else Insert.ADDED)
                lane.setdefault(event.sequence, event)
            return outcomes

    def get(self, positions: Collection[Position], *, consistent: bool = True) -> Mapping[Position, Event]:
        with self._lock:
            found = {p: self._lanes.get(p[0], {}).get(p[1]) for p in positions}
        return {position: event for position, event in found.items() if event is not None}

    def read(
        self, lane: LaneId, first: int = 1, last: int | None = None, *, limit: int | None = None, reverse: bool = False
    ) -> Iterator[Event]:
        with self._lock:
            events = sorted(self._lanes.get(lane, {}).items(), reverse=reverse)
        chosen = [e for s, e in events if s >= first and (last is None or s <= last)]
        yield from chosen[:limit]

    def index(self, region: str, after: LaneId | None = None) -> Iterator[LaneId]:
        with self._lock:
            found = [lane for lane, events in sorted(self._lanes.items()) if lane.region == region and 1 in events]
        yield from (lane for lane in found if after is None or lane > after)

    def identity(self) -> str:
        return self._identity

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        with self._lock:
            ends = [(lane, max(events)) for lane, events in sorted(self._lanes.items()) if events]
        yield from ends
