"""The port behind the event store: few verbs. Every backend obeys one contract test, tests/replicator/test_storage.py."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import Protocol

from replicator.control.control_storage import Guard
from replicator.domain.event import Event
from replicator.domain.names import LaneId

MAX_TRANSACTION = 100
"""The most events and guards that one `insert` may hold (DynamoDB's limit of a transaction)."""

MAX_TRANSACTION_BYTES = 4 * 1024 * 1024
"""The most bytes that one `insert` may hold (DynamoDB's limit of a transaction)."""

GUARDS = 2
"""Places that every append keeps for guards, whether it has them or not: the fence's (`fences.checked`), and one that the
caller gives, such as that of the homes of claims. So what fits once fits with every setting."""

MAX_EVENTS = MAX_TRANSACTION - GUARDS
"""The most events of one append: those that claims, decisions and checkpoints add are among them."""

MAX_EVENTS_BYTES = MAX_TRANSACTION_BYTES - GUARDS * 32 * 1024
"""The most bytes of one append's events, as items."""

Position = tuple[LaneId, int]
"""A lane and a sequence in it: what identifies an event."""


def check_transaction(events: Sequence[Event], guards: Sequence[Guard]) -> None:
    """Raise ValueError when these are too many for one `insert`."""
    if len(events) + len(guards) > MAX_TRANSACTION:
        raise ValueError(
            f"{len(events)} events and {len(guards)} guards in one insert; the limit is {MAX_TRANSACTION} together"
        )


class Insert(Enum):
    """What became of one event of `insert_each`."""

    ADDED = "added"
    TAKEN = "taken"
    """Its position holds an event already: the same one or another; that one was left as it is."""
    NOT_NOW = "not now"
    """Throttled or not answered: it may be there or not. Inserting it again is safe."""


class LaneStorage(Protocol):
    """One region's events table. Events can be added and read; no verb changes or removes one."""

    def insert(self, events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        """Add up to 100 events and guards, all or none. Adding the same events again is a no-op: False says that they were
        there.

        Raises LaneTaken when a different event holds one of the positions and GuardFailed when a guard does not hold
        (nothing was written), RegionUnavailable when nothing was written, and OutcomeUnknown when nobody can tell yet.
        """

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        """Add each event on its own, in any order, and say what became of each.

        Raises RegionUnavailable when none was dealt with; calling again with the same events is safe.
        """

    def get(self, positions: Collection[Position]) -> Mapping[Position, Event]:
        """The events at these positions, without those that are not there."""

    def read(
        self, lane: LaneId, first: int = 1, last: int | None = None, *, limit: int | None = None, reverse: bool = False
    ) -> Iterator[Event]:
        """The lane's events from `first` to `last`, both included, strongly consistent, fetched a page at a time."""

    def index(self, region: str) -> Iterator[LaneId]:
        """`region`'s lanes that have their first event here. Reads one key a lane; what was written within the last second
        may be missing."""

    def identity(self) -> str:
        """A text that stays the same for as long as the table does: one that was made anew or restored from a backup has
        another. Empty when there is no table."""

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        """Every lane with its last sequence. Reads the keys of the whole table: for reconciling, not for requests."""
