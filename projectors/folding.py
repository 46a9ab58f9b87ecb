"""Folding a stream's lanes: each as far as it goes, whatever stops the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from projectors.projection import Projection, ProjectionFailed
from replicator.domain.event import Event
from replicator.domain.names import LaneId, StreamId, sequence_key
from replicator.domain.vector import EMPTY, VersionVector
from replicator.erasure import KeyUnavailable
from replicator.errors import DamagedEvent
from replicator.store import EventStore

_REMEMBERED = 1_000

Read = Callable[[str, int, int], Iterable[Event]]
"""A region's lane from one sequence to another, as far as it is here."""


@dataclass(slots=True)
class Wanted:
    """What the views of a stream should come to hold: events at hand, by lane, and the last sequence of each lane."""

    events: dict[str, dict[int, Event]] = field(default_factory=dict)
    upto: VersionVector = EMPTY

    def add(self, event: Event) -> None:
        self.events.setdefault(event.region, {})[event.sequence] = event
        self.upto = self.upto.advance(event.region, event.sequence)


@dataclass(slots=True)
class Pass:
    """How far a fold of a stream's lanes came, and what stopped it."""

    projection: type[Projection]
    seen: VersionVector
    merged: int = 0
    """Events that were concurrent with one folded before them."""
    folded: deque[Event] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """The last events that were folded."""
    stopped: list[tuple[str, ProjectionFailed | DamagedEvent]] = field(default_factory=list)
    """By the id of the first event that is not folded."""
    waits: dict[LaneId, tuple[int, int]] = field(default_factory=dict)
    why: str = ""


def fold_lanes(
    projection: type[Projection],
    stream: StreamId,
    seen: VersionVector,
    upto: VersionVector,
    read: Read,
    fold: Callable[[Event], None],
) -> Pass:
    """Give `fold` what lies between `seen` and `upto`. It raises ProjectionFailed, DamagedEvent or KeyUnavailable to stop
    that event's lane."""
    made = Pass(projection, seen)
    for region, last in upto.beyond(seen).items():
        lane = LaneId(region, stream)
        try:
            for event in read(region, made.seen.get(region) + 1, last):
                fold(event)
                made.folded.append(event)
                made.merged += any(other != region for other, _ in made.seen.beyond(event.observed).items())
                made.seen = made.seen.advance(region, event.sequence)
        except (ProjectionFailed, DamagedEvent) as error:
            made.stopped.append((f"{lane.key}#{sequence_key(made.seen.get(region) + 1)}", error))
        except KeyUnavailable as error:
            made.waits[lane] = (made.seen.get(region) + 1, last)
            made.why = str(error)
    return made


def reader(store: EventStore, stream: StreamId, wanted: Wanted) -> Read:
    """A stream's lanes: the events at hand, and what is missing among them from the store."""
    return lambda region, first, last: _lane(store, stream, region, first, last, wanted.events.get(region, {}))


def _lane(
    store: EventStore, stream: StreamId, region: str, first: int, last: int, at_hand: dict[int, Event]
) -> Iterator[Event]:
    sequence = first
    while sequence <= last:
        event = at_hand.get(sequence)
        if event is not None:
            yield event
            sequence += 1
            continue
        ready = min((s for s in at_hand if s > sequence), default=last + 1)
        end = min(ready - 1, last)
        for event in store.read_lane(stream, region, sequence, end):  # lazily: what comes before damage is good
            yield event
            sequence = event.sequence + 1
        if sequence <= end:
            return  # not here yet: its own arrival will bring it
