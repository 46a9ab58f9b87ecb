"""Optimistic rule: every region grants at once what is free as far as it knows; conflicts are settled afterwards.

Available rather than consistent: two regions without communication may both grant. Once events have arrived, both see the
same first claim in stream order own it (`ownership`), and the region that granted the other one notifies its owner: it
appends the loss and the owner's compensating events, in one transaction and exactly once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from replicator.claims.ownership import LOST, OWNERSHIP, Claim, Lost, Ownership, Release, operations_of
from replicator.domain.event import NewEvent
from replicator.domain.names import StreamId
from replicator.eventstore.operations import Accept, GaveUp, Operation, Reject, Result, Saved, Verdict, When
from replicator.eventstore.store import EventStore
from replicator.eventstore.store_errors import AppendContention

log = structlog.get_logger()

Compensation = Callable[[StreamId, Lost], Sequence[NewEvent]]
"""Function from a claim's stream and the loss to the compensating events, appended to the stream of the owner that lost
it."""


def told_plainly(claim: StreamId, lost: Lost) -> Sequence[NewEvent]:
    """Return one event `meridian.claim_lost` with the claim and its owner: the default compensation."""
    return [NewEvent(LOST, {"claim": str(claim), "event": lost.event_id, "owned_by": str(lost.to_owner)})]


class OptimisticClaims:
    """Makes and releases claims in one region, and settles those that have lost."""

    def __init__(self, store: EventStore, compensation: Compensation = told_plainly) -> None:
        self._store = store
        self._compensation = compensation

    def save(self, claims: Sequence[Claim | Release], *operations: Operation, timeout: float = 2.0) -> Result:
        """Execute claims and releases, and operations on other streams, in one transaction in this region. Saved means:
        granted as far as this region knows. Errors as EventStore.save."""
        return self._store.save(*operations_of(claims, operations), timeout=timeout)

    def owner(self, claim: StreamId | str, timeout: float = 2.0) -> Ownership:
        """Return the owner of a claim, as far as this region knows."""
        return OWNERSHIP.value_of(self._store.state(claim, timeout=timeout))

    def settle(self, claim: StreamId | str) -> list[Lost]:
        """Append the losses and compensations of this region's claims that lost. Returns the ones appended now; run it
        whenever a claim's stream has received events from elsewhere. Each is appended exactly once, also after a crash at
        any point.
        """
        stream = StreamId.of(claim)
        told = []
        for lost in self.owner(stream).lost.values():
            if lost.region == self._store.region and self._tell(stream, lost):
                log.info("claim.lost", claim=str(stream), owner=str(lost.owner), event_id=lost.event_id, to=lost.to_event_id)
                told.append(lost)
        return told

    def _tell(self, stream: StreamId, lost: Lost) -> bool:
        def still_untold(owned: Ownership) -> Verdict:
            if lost.event_id not in owned.lost:
                return Reject("already compensated")  # by another process; then none of this is written
            return Accept(NewEvent(LOST, {"claim": lost.event_id, "owner": str(lost.owner)}))

        result = self._store.save(
            Operation(stream, (), When(OWNERSHIP, still_untold)),
            Operation(lost.owner, self._compensation(stream, lost)),
        )
        if isinstance(result, GaveUp):
            raise AppendContention(f"{stream}: {result.reason}")
        return isinstance(result, Saved)
