"""Port of lane storage: few verbs. Every backend passes one contract test, tests/replicator/test_storage.py."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import Protocol

from replicator.control.control_storage import Guard
from replicator.domain.event import Event
from replicator.domain.names import LaneId

MAX_TRANSACTION = 100
"""Maximum number of events and guards in one `insert` (DynamoDB's limit of a transaction)."""

MAX_TRANSACTION_BYTES = 4 * 1024 * 1024
"""Maximum bytes of one `insert` (DynamoDB's limit of a transaction)."""

GUARDS = 2
"""Places that every append reserves for guards, used or not: the fence's condition check (`Fence.guards`), and one that the
caller gives, such as that of the owner regions of claims. What fits once fits with every setting."""

MAX_EVENTS = MAX_TRANSACTION - GUARDS
"""Maximum number of events of one append, including those that claims, decisions and checkpoints add."""

MAX_EVENTS_BYTES = MAX_TRANSACTION_BYTES - GUARDS * 32 * 1024
"""Maximum bytes of one append's events, as items."""

Position = tuple[LaneId, int]
"""Position of an event: a lane and a sequence in it."""


def check_transaction(events: Sequence[Event], guards: Sequence[Guard]) -> None:
    """Raise ValueError when these are too many for one `insert`."""
    if len(events) + len(guards) > MAX_TRANSACTION:
        raise ValueError(
            f"{len(events)} events and {len(guards)} guards in one insert; the limit is {MAX_TRANSACTION} together"
        )


class Insert(Enum):
    """Outcome of one event of `insert_each`."""

    ADDED = "added"
    TAKEN = "taken"
    """The position already holds an event, the same or another; it was left unchanged."""
    NOT_NOW = "not now"
    """Throttled or not answered: the event may be stored or not. Inserting it again is safe."""


class LaneStorage(Protocol):
    """One region's events table. Events can be added and read; no verb changes or removes one."""

    def insert(self, events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        """Add up to 100 events and guards, all or none. Adding the same events again is a no-op and returns False.

        Raises LaneTaken when a different event holds one of the positions and GuardFailed when a guard does not hold
        (nothing was written), GuardBusy when items that guards check could not be used, RegionUnavailable when nothing was
        written, and OutcomeUnknown when the outcome is not known.
        """

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        """Add each event on its own, in any order, and return the outcome of each.

        Raises RegionUnavailable when none was processed; calling again with the same events is safe.
        """

    def get(self, positions: Collection[Position], *, consistent: bool = True) -> Mapping[Position, Event]:
        """Return the events at these positions; absent ones are left out. An eventually consistent read costs half, and may
        leave out events that were added within the last second."""

    def read(
        self, lane: LaneId, first: int = 1, last: int | None = None, *, limit: int | None = None, reverse: bool = False
    ) -> Iterator[Event]:
        """Read the lane's events from `first` to `last`, both included, strongly consistent, a page at a time."""

    def index(self, region: str, after: LaneId | None = None) -> Iterator[LaneId]:
        """Return `region`'s lanes that have their first event here, in an order that stays, behind the lane `after`. Reads
        one key per lane; lanes begun within the last second may be missing."""

    def identity(self) -> str:
        """Return a text that stays the same for the lifetime of the table: a table that was recreated or restored from a
        backup has another one. Empty when there is no table."""

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        """Return every lane with its last sequence. Reads the keys of the whole table: for reconciliation, not for
        requests."""
