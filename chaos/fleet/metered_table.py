"""Events table that meters every request as DynamoDB bills it, and takes the time of a round trip.

Units: a write takes one per KB of its item, twice that in a transaction, also when its condition fails; the first event of a
lane takes one more for the index of lanes. A read takes one per 4 KB of each item (of a query: of the whole page), half of
that if it is eventually consistent, and as much as for an item of 4 KB where there is none. Source: AWS, "DynamoDB read and
write operations" and "Managing complex workflows with DynamoDB transactions" (developer guide).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from chaos.fleet.virtual_time import VirtualTime
from replicator.control.control_storage import Guard
from replicator.domain.event import Event, size_of
from replicator.domain.names import LaneId
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.storage import Insert, Position

R = TypeVar("R")

_WRITE_BYTES, _READ_BYTES = 1024, 4096
_BATCH, _KEYS, _AT_ONCE = 25, 100, 40
"""Statements of a BatchExecuteStatement, keys of a BatchGetItem (API reference), requests that Meridian has in flight."""
_PAGE_BYTES = 1_000_000


@dataclass(slots=True)
class Bill:
    """Requests to a table so far, and the units that they took."""

    write_units: float = 0.0
    read_units: float = 0.0
    requests: Counter[str] = field(default_factory=Counter)


class MeteredTable:
    """LaneStorage on a table that others use, too, `round_trip` seconds away. Only one thread runs at a time."""

    def __init__(self, table: MemoryStorage, time: VirtualTime, round_trip: float) -> None:
        self.table = table
        self.bill = Bill()
        self._time = time
        self._round_trip = round_trip
        self._ends: dict[LaneId, int] = {}

    def insert(self, events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        def once() -> bool:
            self.bill.write_units += 2 * sum(map(_write_units, events))
            return self._note(self.table.insert(events, guards), events)

        return self._ask("ExecuteTransaction", 1, once)

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        def once() -> list[Insert]:
            self.bill.write_units += sum(map(_write_units, events))
            self._note(True, events)
            return self.table.insert_each(events)

        return self._ask("BatchExecuteStatement", math.ceil(len(events) / _BATCH), once)

    def get(self, positions: Collection[Position], *, consistent: bool = True) -> Mapping[Position, Event]:
        def once() -> Mapping[Position, Event]:
            found = self.table.get(positions)
            units = sum(math.ceil(size_of(event) / _READ_BYTES) for event in found.values())
            self.bill.read_units += (units + len(set(positions)) - len(found)) * (1.0 if consistent else 0.5)
            return found

        return self._ask("BatchGetItem", math.ceil(len(positions) / _KEYS), once)

    def read(
        self, lane: LaneId, first: int = 1, last: int | None = None, *, limit: int | None = None, reverse: bool = False
    ) -> Iterator[Event]:
        events = self._events(lane, first, last, limit, reverse)
        more = True
        while more:
            page, more = self._ask("Query", 1, lambda: self._page(events))
            yield from page

    def index(self, region: str, after: LaneId | None = None) -> Iterator[LaneId]:
        return self.table.index(region, after)

    def identity(self) -> str:
        return self._ask("DescribeTable", 1, self.table.identity)

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        return self.table.lanes()

    def _events(self, lane: LaneId, first: int, last: int | None, limit: int | None, reverse: bool) -> Iterator[Event]:
        """Yield the lane's events; the end of a long lane is found without a walk."""
        if reverse and limit == 1 and last is None and lane in self._ends:
            return iter(self.table.get([(lane, self._ends[lane])]).values())
        return self.table.read(lane, first, last, limit=limit, reverse=reverse)

    def _page(self, events: Iterator[Event]) -> tuple[list[Event], bool]:
        """Return the events of the next page of a query, and whether it is full."""
        page, size = list[Event](), 0
        for event in events:
            page.append(event)
            size += size_of(event)
            if size > _PAGE_BYTES:
                break
        self.bill.read_units += max(1, math.ceil(size / _READ_BYTES))
        return page, size > _PAGE_BYTES

    def _note(self, added: bool, events: Sequence[Event]) -> bool:
        for event in events if added else ():
            self._ends[event.lane] = max(self._ends.get(event.lane, 0), event.sequence)
        return added

    def _ask(self, operation: str, requests: int, once: Callable[[], R]) -> R:
        """Meter requests that are sent together, and let the time of their round trips pass: they take effect half way."""
        self.bill.requests[operation] += requests
        half = self._round_trip * math.ceil(requests / _AT_ONCE) / 2
        self._time.sleep(half)
        answer = once()
        self._time.sleep(half)
        return answer


def _write_units(event: Event) -> int:
    return math.ceil(size_of(event) / _WRITE_BYTES) + (event.sequence == 1)
