"""Who owns a claim: a pure fold of the claim's stream, the same in every region that knows the same events.

The first claim in stream order (HLC, region, sequence) of what is free owns it. A claim by another while it is owned has
lost; so it was when the two regions did not know of each other. A claim that lost stays lost, also when the winner
releases: its owner has been told, or will be.
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
    """A claim that lost: the event that made it, who made it, and the event and owner that it lost to."""

    event_id: str
    region: str
    owner: StreamId
    to_event_id: str
    to_owner: StreamId


@dataclass(frozen=True, slots=True)
class Ownership:
    """A claim's owner, by which event, and the claims that lost and whose owners have not been told yet."""

    owner: StreamId | None = None
    event_id: str = ""
    lost: Mapping[str, Lost] = field(default_factory=dict)

    def apply(self, event: Event) -> Ownership:
        """The ownership after one more event, in stream order. An event that no claim can have written changes nothing."""
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
            # What it lost before is over: to tell it now would take from it what it owns.
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
        """Its owner has been told that this claim lost. Should it hold after all, by an event that came late, it is over."""
        left = {other: each for other, each in self.lost.items() if other != event_id}
        if self.event_id == event_id:
            return replace(self, owner=None, event_id="", lost=left)
        return replace(self, lost=left)


class _OwnershipOf:
    """The valuer that preconditions and queries ask."""

    def value_of(self, state: StreamState) -> Ownership:
        owned = Ownership()
        for event in state.events():
            owned = owned.apply(event)
        return owned


OWNERSHIP = _OwnershipOf()


@dataclass(frozen=True, slots=True)
class Claim:
    """`owner` (a stream: what will own it) claims `stream`: `Claim("email/homer@example.com", "user/homer")`."""

    stream: StreamId | str
    owner: StreamId | str

    def operation(self, extra: Mapping[str, Any] | None = None, hold: bool = False) -> Operation:
        """Accepted when it is free, or already the owner's. Then nothing is written, unless it is to `hold`: a claim that
        something else depends on gets an event again, as a stream without one may move before the write."""
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
    """`owner` gives `stream` up."""

    stream: StreamId | str
    owner: StreamId | str

    def operation(self, extra: Mapping[str, Any] | None = None, hold: bool = False) -> Operation:
        """Accepted when it is the owner's. Always an event, so it always holds."""
        stream, owner = StreamId.of(self.stream), StreamId.of(self.owner)

        def test(owned: Ownership) -> Verdict:
            if owned.owner == owner:
                return Accept(NewEvent(RELEASED, {"owner": str(owner), **(extra or {})}))
            return Reject(f"{stream} is not owned by {owner}, but by {owned.owner or 'nobody'}")

        return Operation(stream, (), When(OWNERSHIP, test))


def operations_of(
    claims: Sequence[Claim | Release], operations: Sequence[Operation], extra: Mapping[str, Any] | None = None
) -> list[Operation]:
    """All of one save. What comes together depends on each other, so every claim's stream is held by an event."""
    together = len(claims) + len(operations) > 1
    return [*(each.operation(extra, hold=together) for each in claims), *operations]
