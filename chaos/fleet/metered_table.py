"""Events table that meters every request as DynamoDB bills it, and takes the time of a round trip.

Units: a write takes one per KB of its item, twice that in a transaction, also when its condition fails; the first event of a
lane takes one more for the index of lanes; a condition check takes two. A read takes one per 4 KB of each item (of a query:
of the whole page), half of that if it is eventually consistent, and as much as for an item of 4 KB where there is none.
Source: AWS, "DynamoDB read and write operations" and "Managing complex workflows with DynamoDB transactions" (developer
guide).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from chaos.fleet.partitions import Key, Partitions
from chaos.fleet.virtual_time import VirtualTime
from replicator.control.control_storage import Guard
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import Event, size_of
from replicator.domain.names import LaneId, sequence_key
from replicator.eventstore.event_items import parameters
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.models import begins
from replicator.eventstore.storage import Insert, Position
from replicator.eventstore.store_errors import GuardBusy

R = TypeVar("R")

_WRITE_BYTES, _READ_BYTES = 1024, 4096
_BATCH, _KEYS, _AT_ONCE = 25, 100, 40
"""Statements of a BatchExecuteStatement, keys of a BatchGetItem (API reference), requests that Meridian has in flight."""
_PAGE_BYTES = 1_000_000
_STATEMENT_BYTES, _KEY_BYTES = 250, 120
"""Bytes of a statement without its parameters, and of a key in a batch read."""
_ATTEMPTS = 3
_CHECK = 2.0
"""Write units of a condition check."""
_TRANSACTION_SECONDS = 0.012
"""Seconds for which a transaction holds its items: a prepare and a commit within the region. An assumption."""


@dataclass(slots=True)
class Bill:
    """Requests to a table so far, the units that they took, and the bytes of bodies, both ways."""

    write_units: float = 0.0
    read_units: float = 0.0
    requests: Counter[str] = field(default_factory=Counter)
    body_bytes: int = 0


class MeteredTable:
    """LaneStorage on a table that others use, too, `round_trip` seconds away. Only one thread runs at a time.

    With `partitions` (the events'), `checks` (the control table's) and `index` (that of lanes), writes are throttled and
    transactions conflict. They are tried again as DynamoStorage does. An index that is throttled throttles the table: AWS,
    "Understanding DynamoDB throttling" (developer guide).
    """

    def __init__(
        self, table: MemoryStorage, time: VirtualTime, round_trip: float,
        partitions: Partitions | None = None, checks: Partitions | None = None, index: Partitions | None = None,
    ) -> None:  # fmt: skip
        self.table = table
        self.bill = Bill()
        self._time = time
        self._round_trip = round_trip
        self._partitions, self._checks, self._index = partitions, checks, index
        self._random = Random(1)
        self._ends: dict[LaneId, int] = {}

    def insert(self, events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        """As LaneStorage. A single INSERT without guards is no transaction."""
        together = 2 if len(events) + len(guards) > 1 else 1
        operation = "ExecuteTransaction" if together == 2 else "ExecuteStatement"
        units = {_key(event): together * _write_units(event) for event in events}
        checked = {(guard.scope, guard.key): guard for guard in guards}
        self.bill.body_bytes += sum(map(_body, events))

        def once() -> bool | None:
            """Return None for what has to be tried again."""
            self.bill.write_units += sum(units.values()) + _CHECK * len(guards)
            busy = [checked[key] for key in checked if self._checks and not _usable(self._checks, key, _CHECK)]
            if self._partitions and [event for event in events if not self._takes(self._partitions, event, together)]:
                return None
            if busy:
                raise GuardBusy(busy, "TransactionConflict")
            begun = [(self._partitions, list(units)), (self._checks, list(checked))] if together == 2 else []
            for partitions, keys in begun:
                if partitions:
                    partitions.begin(keys)
            try:
                self._time.sleep(_TRANSACTION_SECONDS if begun else 0.0)
                return self._note(self.table.insert(events, guards), events)
            finally:
                for partitions, keys in begun:
                    if partitions:
                        partitions.end(keys)

        for attempt in range(_ATTEMPTS):
            if (answer := self._ask(operation, 1, once)) is not None:
                return answer
            self._rest(attempt)
        raise RegionUnavailable("the table does not take writes (throttled); nothing was written")

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        outcomes = dict.fromkeys(events, Insert.NOT_NOW)
        self.bill.body_bytes += sum(map(_body, events))
        for attempt in range(_ATTEMPTS):
            waiting = [event for event, outcome in outcomes.items() if outcome is Insert.NOT_NOW]

            def once(waiting: Sequence[Event] = waiting) -> None:
                limits = self._partitions
                taken = [event for event in waiting if limits is None or self._takes(limits, event)]
                self.bill.write_units += sum(map(_write_units, taken))  # what is throttled is not billed
                self._note(True, taken)
                outcomes.update(zip(taken, self.table.insert_each(taken), strict=True))

            self._ask("BatchExecuteStatement", math.ceil(len(waiting) / _BATCH), once)
            if Insert.NOT_NOW not in outcomes.values():
                break
            self._rest(attempt)
        if events and all(outcome is Insert.NOT_NOW for outcome in outcomes.values()):
            raise RegionUnavailable("the table does not take writes (throttled)")
        return list(outcomes.values())

    def _takes(self, partitions: Partitions, event: Event, together: int = 1) -> bool:
        """Return whether the table takes this event now, and the index, if it is a lane's first."""
        if event.sequence == 1 and self._index is not None and not self._index.write((begins(event), event.lane.key), 1):
            return False
        return _usable(partitions, _key(event), together * math.ceil(size_of(event) / _WRITE_BYTES))

    def _rest(self, attempt: int) -> None:
        self._time.sleep(self._random.uniform(0, 0.05 * 2**attempt))

    def get(self, positions: Collection[Position], *, consistent: bool = True) -> Mapping[Position, Event]:
        def once() -> Mapping[Position, Event]:
            found = self.table.get(positions)
            self.bill.body_bytes += sum(map(_body, found.values())) + _KEY_BYTES * len(positions)
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
        self.bill.body_bytes += sum(map(_body, page))
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


def _key(event: Event) -> Key:
    return event.lane.key, sequence_key(event.sequence)


def _usable(partitions: Partitions, key: Key, units: float) -> bool:
    return not partitions.conflict(key) and partitions.write(key, units)


def _body(event: Event) -> int:
    """Return the bytes of an event in a request or a response: its INSERT."""
    return len(parameters(event)) + _STATEMENT_BYTES
