"""Folds of a stream's lanes: each as far as it goes, whatever stops the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

from projectors.model.projection import Projection, ProjectionFailed
from replicator.domain.errors import DamagedEvent
from replicator.domain.event import Event
from replicator.domain.names import LaneId, StreamId, sequence_key
from replicator.domain.vector import EMPTY, VersionVector
from replicator.erasure import KeyUnavailable
from replicator.eventstore.store import EventStore

_REMEMBERED = 1_000
_FIRST_RUN, _RUN = 50, 500
"""Numbers of events folded at once, in the first run and in later ones, when nothing is unusual about any of them."""
_RUN_CHARACTERS = 4_000_000

Read = Callable[[str, int, int], Iterable[Event]]
"""Function that reads a region's lane from one sequence to another, as far as it is here."""


@dataclass(slots=True)
class Wanted:
    """Target of a stream's views: events at hand, by lane, and the last sequence of each lane."""

    events: dict[str, dict[int, Event]] = field(default_factory=dict)
    upto: VersionVector = EMPTY

    def add(self, lane: Iterable[Event], region: str) -> None:
        """Add events of a region's lane, in any order."""
        at_hand = self.events.setdefault(region, {})
        at_hand.update([(event.sequence, event) for event in lane])
        self.upto = self.upto.advance(region, max(at_hand))

    def follow(self, seen: VersionVector) -> bool:
        """Return whether the events at hand come right behind `seen` in each lane, or are in it."""
        return all(min(at_hand) <= seen.get(region) + 1 for region, at_hand in self.events.items())


@dataclass(slots=True)
class Pass:
    """Result of a fold of a stream's lanes: how far each came, and what stopped it."""

    projection: type[Projection]
    seen: VersionVector
    merged: int = 0
    """Number of events that were concurrent with one folded before them."""
    folded: deque[Event] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    """Last events that were folded."""
    stopped: list[tuple[str, ProjectionFailed | DamagedEvent]] = field(default_factory=list)
    """Errors, each with the id of the first event that is not folded."""
    waits: dict[LaneId, tuple[int, int]] = field(default_factory=dict)
    why: str = ""

    def note(self, region: str, events: Sequence[Event], others: Sequence[tuple[str, int]]) -> None:
        """Record that these events of a region's lane are folded. `others` is how far the other lanes were then."""
        self.folded.extend(events)
        if others:
            self.merged += sum(any(reached > event.observed.get(other) for other, reached in others) for event in events)
        self.seen = self.seen.advance(region, events[-1].sequence)


def fold_lanes(
    projection: type[Projection],
    stream: StreamId,
    seen: VersionVector,
    upto: VersionVector,
    read: Read,
    fold: Callable[[Event], None],
    fold_run: Callable[[Sequence[Event]], bool] = lambda _: False,
) -> Pass:
    """Pass the events between `seen` and `upto` to `fold`. It raises ProjectionFailed, DamagedEvent or KeyUnavailable to
    stop that event's lane. `fold_run` is tried first with many events of a lane: when it returns False, it has done
    nothing."""
    made = Pass(projection, seen)
    for region, last in upto.beyond(seen).items():
        lane = LaneId(region, stream)
        others = [(other, reached) for other, reached in made.seen.items() if other != region]
        try:
            for run in _runs(read(region, made.seen.get(region) + 1, last)):
                if len(run) > 1 and fold_run(run):
                    made.note(region, run, others)
                else:
                    for event in run:
                        fold(event)
                        made.note(region, [event], others)
        except (ProjectionFailed, DamagedEvent) as error:
            made.stopped.append((f"{lane.key}#{sequence_key(made.seen.get(region) + 1)}", error))
        except KeyUnavailable as error:
            made.waits[lane] = (made.seen.get(region) + 1, last)
            made.why = str(error)
    return made


def _runs(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Yield events a few hundred at a time: those before an error, and then the error. The first run is short: a lane that
    cannot go on is tried again and again."""
    run: list[Event] = []
    size, most = 0, _FIRST_RUN
    try:
        for event in events:
            run.append(event)
            size += len(event.payload_text)
            if len(run) == most or size > _RUN_CHARACTERS:
                yield run
                run, size, most = [], 0, _RUN
    except Exception:
        if run:
            yield run
        raise
    if run:
        yield run


def reader(store: EventStore, stream: StreamId, wanted: Wanted) -> Read:
    """Return a reader of a stream's lanes: it takes the events at hand, and missing ones from the store."""
    return lambda region, first, last: _lane(store, stream, region, first, last, wanted.events.get(region, {}))


def _lane(
    store: EventStore, stream: StreamId, region: str, first: int, last: int, at_hand: dict[int, Event]
) -> Iterator[Event]:
    if last - first < len(at_hand):
        all_of_it = [at_hand.get(sequence) for sequence in range(first, last + 1)]
        if None not in all_of_it:
            yield from cast("list[Event]", all_of_it)
            return
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
