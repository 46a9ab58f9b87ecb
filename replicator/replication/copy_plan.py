"""Copy plan: the pure decision on events that arrive for a lane at a peer, from the lane's head and the events."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

from replicator.domain.event import Event, Head

_sequence = attrgetter("sequence")


@dataclass(slots=True)
class Plan:
    """Decisions for one lane, in the order of execution.

    `known`: at or below the peer's head; to be compared with what the peer holds, otherwise no-ops.
    `insert`: consecutive events behind the head, each chained to the one before.
    `missing`: first and last sequence of a gap before the events that could not be placed; read them from the home
    lane. `fork`: an event that should follow the head but is chained to a different past; nothing after it is placed.
    """

    known: list[Event] = field(default_factory=list)
    insert: list[Event] = field(default_factory=list)
    missing: tuple[int, int] | None = None
    fork: Event | None = None


def follow(head: Head, events: Sequence[Event]) -> bool:
    """Return whether these events of one lane follow the head as they are, one after the other. Then no plan is needed."""
    sequence, digest = head.sequence, head.digest
    for event in events:
        sequence += 1
        if event.sequence != sequence or event.prev != digest:
            return False
        digest = event.digest
    return True


def plan(head: Head, events: Iterable[Event]) -> Plan:
    """Place `events` of one lane, in any order and with duplicates, after the peer's `head` of that lane."""
    decided = Plan()
    sequence, digest = head.sequence, head.digest
    for event in sorted(events, key=_sequence):
        if event.sequence <= sequence:
            if decided.insert and event == decided.insert[event.sequence - decided.insert[0].sequence]:
                continue  # delivered twice in this batch
            decided.known.append(event)
        elif event.sequence > sequence + 1:
            decided.missing = (sequence + 1, event.sequence - 1)
            break
        elif event.prev != digest:
            decided.fork = event
            break
        else:
            decided.insert.append(event)
            sequence, digest = event.sequence, event.digest
    return decided
