"""Divergence of a lane between its home and a peer: what the two hold at the same places is compared, and an event that
differs, is damaged or missing stops its lane on this link. It is quarantined, never applied or overwritten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from replicator.control.quarantine import Quarantine
from replicator.domain.errors import DamagedEvent
from replicator.domain.event import Event
from replicator.domain.names import DELIMITER, LaneId, sequence_key
from replicator.eventstore.storage import LaneStorage
from replicator.replication.link_state import LinkState


@dataclass(slots=True)
class Divergence:
    """Lanes of one link that are stopped, and the comparison that stops them."""

    home: LaneStorage
    peer: LaneStorage
    quarantine: Quarantine
    state: LinkState
    log: structlog.typing.FilteringBoundLogger
    forget: Callable[[LaneId], object]
    """Callable that drops what is remembered of a lane at the peer."""
    stopped: set[LaneId] = field(default_factory=set)
    """Lanes with a refused event: nothing behind that event is copied."""
    _refused: set[tuple[str, str]] = field(default_factory=set)

    def compare(self, events: Sequence[Event]) -> None:
        """Compare events whose position is taken at the peer: the same event is a no-op, a different one is a fork."""
        if not events:
            return
        try:
            held = self.peer.get({(event.lane, event.sequence) for event in events})
        except DamagedEvent as error:
            lanes = {event.lane for event in events}
            for lane in lanes:
                own = [event for event in events if event.lane == lane]
                if len(lanes) > 1:
                    self.compare(own)
                else:
                    self.refuse(lane, own[0].id, f"damaged at the peer: {error}", theirs=own[0].digest)
            return
        for event in events:
            other = held.get((event.lane, event.sequence))
            if other is None:
                self.refuse(event.lane, event.id, "known at the peer, then gone", theirs=event.digest)
            elif other.digest != event.digest:
                self.fork(event, other.digest)
            else:
                self.state.known += 1

    def fork(self, event: Event, held: bytes) -> None:
        """Refuse the event at which the two histories diverge, which may come before the one that showed it."""
        with suppress(DamagedEvent):  # if damaged, refuse it where the fork was seen
            event, held = self._parting(event, held)
        self.refuse(event.lane, event.id, "fork: the peer holds a different history", held, event.digest)

    def _parting(self, event: Event, held: bytes) -> tuple[Event, bytes]:
        """Find the first event that differs, by bisection, and the digest that the peer holds there. Digests are chained:
        equal ones prove that all events before are equal."""
        low, high = 1, event.sequence
        while low < high:
            middle = (low + high) // 2
            position = {(event.lane, middle)}
            ours, theirs = self.home.get(position), self.peer.get(position)
            if ours and theirs and all(theirs[p].digest == ours[p].digest for p in ours):
                low = middle + 1
            else:
                high = middle
                if ours and theirs:
                    event, held = ours[(event.lane, middle)], theirs[(event.lane, middle)].digest
        return event, held

    def end_damaged(self, lane: LaneId, error: DamagedEvent) -> None:
        self.refuse(lane, f"{lane.key}#head", f"damaged at the peer: {error}")

    def refuse(
        self, lane: LaneId, event_id: str, reason: str, ours: bytes | None = None, theirs: bytes | None = None
    ) -> None:
        """Quarantine one event and stop copying its lane on this link; every other lane continues."""
        if lane in self.stopped:
            return
        self.quarantine.add(event_id, reason, ours, theirs)  # first: if it fails, the lane must not stop silently
        self.stopped.add(lane)
        self.forget(lane)
        if (event_id, reason) not in self._refused:  # a stopped lane is retried again and again
            self._refused.add((event_id, reason))
            self.state.quarantined += 1
            self.log.error("link.quarantined", event_id=event_id, reason=reason, stream=str(lane.stream))


def id_of(lane: LaneId, sequence: int) -> str:
    """Return the id of the event at this sequence of a lane."""
    return f"{lane.key}{DELIMITER}{sequence_key(sequence)}"
