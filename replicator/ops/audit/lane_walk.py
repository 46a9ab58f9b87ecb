"""Lane walk: reads a lane from its first event to its last, and finds where two histories of it diverge."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from replicator.domain.errors import DamagedEvent
from replicator.domain.event import NO_EVENTS, Event, Head
from replicator.domain.names import LaneId
from replicator.eventstore.storage import LaneStorage


def walk(storage: LaneStorage, lane: LaneId, tick: Callable[[], None] = lambda: None) -> tuple[Head, str]:
    """Return the head up to which the lane is intact, and the defect behind it (empty: none). Recomputes every digest, and
    calls `tick` for each event."""
    head = NO_EVENTS
    try:
        for event in storage.read(lane):
            tick()
            if event.sequence != head.sequence + 1:
                return head, f"event {head.sequence + 1} is missing: the next one is {event.sequence}"
            if event.prev != head.digest:
                return head, f"event {event.sequence} does not follow the one before it: the digest chain is broken"
            head = Head.of(event)
    except DamagedEvent as error:
        return head, str(error)
    return head, ""


def head_of(storage: LaneStorage, lane: LaneId) -> Head:
    """Read the lane's head, strongly consistent. Raises DamagedEvent when its last event is damaged."""
    return Head.of(next(storage.read(lane, limit=1, reverse=True), None))


def parting(lane: LaneId, ours: LaneStorage, theirs: LaneStorage, last: int) -> tuple[Event, Event] | None:
    """Return the events at the first sequence at which two tables differ; None when one of them cannot be read.

    Digests are chained: equal ones prove that all before are equal, so a bisection finds it. `last` is a differing sequence.
    """
    low, high = 1, last
    found: tuple[Event, Event] | None = None
    while low <= high:
        middle = (low + high) // 2
        with suppress(DamagedEvent):
            left, right = ours.get([(lane, middle)]), theirs.get([(lane, middle)])
            if left and right:
                one, other = left[(lane, middle)], right[(lane, middle)]
                if one.digest == other.digest:
                    low = middle + 1
                    continue
                found = one, other
        high = middle - 1
    return found
