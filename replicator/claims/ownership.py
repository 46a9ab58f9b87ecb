"""Ownership of a claim: a pure fold of the claim's stream, the same in every region that knows the same events.

The first claim in stream order (HLC, region, sequence) of a free value owns it. A claim by another owner while it is owned
has lost, even if the two regions did not know of each other. A lost claim stays lost, even when the winner
releases: its owner has been notified, or will be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from replicator.domain.errors import InvalidName
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import StreamId
from replicator.eventstore.operations import Accept, Operation, Reject, Verdict, When
from replicator.eventstore.stream_state import StreamState

CLAIMED, RELEASED, LOST = "meridian.claimed", "meridian.released", "meridian.claim_lost"


@dataclass(frozen=True, slots=True)
class Lost:
    """A claim that lost: its event, region and owner, and the event and owner that it lost to."""

    event_id: str
    region: str
    owner: StreamId
    to_event_id: str
    to_owner: StreamId


@dataclass(frozen=True, slots=True)
class Ownership:
    """State of a claim: the owner and the event that made it, and the lost claims whose owners have not been notified
    yet."""

    owner: StreamId | None = None
    event_id: str = ""
    lost: Mapping[str, Lost] = field(default_factory=dict)

    def apply(self, event: Event) -> Ownership:
        """Return the ownership after one more event, in stream order. An event that no claim can have written changes
        nothing."""
        if event.type == LOST:
            return self._told(str(event.payload.get("claim")))
        if event.type not in (CLAIMED, RELEASED):
            return self
        try:
            owner = StreamId.parse(event.payload.get("owner", ""))
        except InvalidName:
            return self
        return self._claimed(event, owner) if event.type == CLAIMED else self._released(owner)

    def _claimed(self, event: Event, owner: StreamId) -> Ownership:
        if self.owner is None:
            # The owner's earlier losses are over: a notification now would take from it what it owns.
            left = {event_id: each for event_id, each in self.lost.items() if each.owner != owner}
            return replace(self, owner=owner, event_id=event.id, lost=left)
        if self.owner == owner:
            return self
        loser = Lost(event.id, event.region, owner, self.event_id, self.owner)
        return replace(self, lost={**self.lost, event.id: loser})

    def _released(self, owner: StreamId) -> Ownership:
        left = {event_id: each for event_id, each in self.lost.items() if each.owner != owner}
        if self.owner == owner:
            return replace(self, owner=None, event_id="", lost=left)
        return replace(self, lost=left)

    def _told(self, event_id: str) -> Ownership:
        """The owner was notified that this claim lost. If a late event makes it the owner after all, the claim is over."""
        left = {other: each for other, each in self.lost.items() if other != event_id}
        if self.event_id == event_id:
            return replace(self, owner=None, event_id="", lost=left)
        return replace(self, lost=left)


class _OwnershipOf:
    """Valuer of ownership for preconditions and queries."""

    def value_of(self, state: StreamState) -> Ownership:
        owned = Ownership()
        for event in state.events():
            owned = owned.apply(event)
        return owned


OWNERSHIP = _OwnershipOf()


@dataclass(frozen=True, slots=True)
class Claim:
    """Claim of `stream` by `owner` (the stream that will own it): `Claim("email/homer@example.com", "user/homer")`."""

    stream: StreamId | str
    owner: StreamId | str

    def operation(self, extra: Mapping[str, Any] | None = None, hold: bool = False) -> Operation:
        """Return the operation that claims; accepted if the stream is free or already the owner's. In the latter case
        nothing is written, unless `hold`: a claim that other writes depend on gets another event, as a stream without one
        may move before the write."""
        stream, owner = StreamId.of(self.stream), StreamId.of(self.owner)

        def test(owned: Ownership) -> Verdict:
            if owned.owner is None or (hold and owned.owner == owner):
                return Accept(NewEvent(CLAIMED, {"owner": str(owner), **(extra or {})}))
            if owned.owner == owner:
                return Accept()
            return Reject(f"{stream} is owned by {owned.owner}")

        return Operation(stream, (), When(OWNERSHIP, test))


@dataclass(frozen=True, slots=True)
class Release:
    """Release of `stream` by `owner`."""

    stream: StreamId | str
    owner: StreamId | str

    def operation(self, extra: Mapping[str, Any] | None = None, hold: bool = False) -> Operation:
        """Return the operation that releases; accepted if the stream is the owner's. Always an event, so it always holds."""
        stream, owner = StreamId.of(self.stream), StreamId.of(self.owner)

        def test(owned: Ownership) -> Verdict:
            if owned.owner == owner:
                return Accept(NewEvent(RELEASED, {"owner": str(owner), **(extra or {})}))
            return Reject(f"{stream} is owned by {owned.owner or 'no one'}, not by {owner}")

        return Operation(stream, (), When(OWNERSHIP, test))


def operations_of(
    claims: Sequence[Claim | Release], operations: Sequence[Operation], extra: Mapping[str, Any] | None = None
) -> list[Operation]:
    """Return all operations of one save. They depend on each other, so an event holds every claim's stream."""
    together = len(claims) + len(operations) > 1
    return [*(each.operation(extra, hold=together) for each in claims), *operations]
