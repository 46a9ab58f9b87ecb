"""Forks: lanes with different histories in different regions. Only an operator decides between them; the rejected history
can be salvaged, as new events of another region, so that no acknowledged event is lost."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from replicator.domain.errors import DamagedEvent, InvalidConfig
from replicator.domain.event import Event, NewEvent, size_of
from replicator.domain.names import LaneId
from replicator.domain.protected import Protected
from replicator.eventstore.operations import Accept, Operation, Reject, Saved, Verdict, When
from replicator.eventstore.storage import MAX_EVENTS, MAX_EVENTS_BYTES
from replicator.eventstore.store import EventStore
from replicator.eventstore.store_errors import AppendContention
from replicator.eventstore.stream_state import StreamState
from replicator.ops.audit.comparison import FORKED, Comparison, Place
from replicator.ops.audit.lane_walk import parting

SALVAGED = "salvaged"
"""Metadata key of a salvaged event: the original's id, `@` and its digest."""
_ADDED_BYTES = 2048
"""Maximum bytes that an event may grow by in another lane, beside that: the region's name, and newly observed entries."""


@dataclass(frozen=True, slots=True)
class Side:
    """One history of a forked lane from the divergence on: the regions that hold it, its last sequence, and when its events
    were written (milliseconds since the epoch)."""

    regions: tuple[str, ...]
    digest: str
    last: int
    began: int
    ended: int


@dataclass(frozen=True, slots=True)
class Fork:
    """Forked lane and the sequence at which its histories diverge."""

    lane: LaneId
    first: int
    sides: tuple[Side, ...]

    def as_json(self) -> dict[str, Any]:
        return {
            "lane": self.lane.key,
            "first": self.first,
            "sides": [
                {"regions": list(s.regions), "digest": s.digest, "last": s.last, "began": s.began, "ended": s.ended}
                for s in self.sides
            ],
            "choices": self.choices(),
        }

    def choices(self) -> list[str]:
        """Return the options as commands. The region that stands alone is usually the one that was restored and then
        wrote."""
        alone = min(self.sides, key=lambda side: (len(side.regions), self.lane.region not in side.regions))
        kept = [region for side in self.sides if side is not alone for region in side.regions]
        if not kept:
            return []
        one = alone.regions[0]
        lane = f"{self.lane.region}/{self.lane.stream}"
        return [
            f"keep what {', '.join(kept)} holds, and the events of {', '.join(alone.regions)} as new ones: "
            f"replicator forks --salvage '{lane}' --from {one} --into {kept[0]}",
            f"then bring {', '.join(alone.regions)} up again: empty its tables (terraform destroy and apply), and run "
            + " and ".join(f"replicator bootstrap {region}" for region in alone.regions),
            "or leave it: the lane stays as it is in each region, all other lanes continue",
        ]


def forks(places: Mapping[str, Place], comparison: Comparison) -> list[Fork]:
    """Return the forks that a comparison found, with what each region holds."""
    found = []
    for lane in sorted({finding.lane for finding in comparison.of(FORKED)}, key=lambda lane: lane.key):
        first = min(finding.first for finding in comparison.of(FORKED) if finding.lane == lane)
        sides: dict[bytes, list[tuple[str, Event, Event]]] = {}
        for region, place in places.items():
            try:
                begin = place.storage.get([(lane, first)]).get((lane, first))
                end = next(place.storage.read(lane, limit=1, reverse=True), None)
            except DamagedEvent:
                continue
            if begin is not None and end is not None:
                sides.setdefault(begin.digest, []).append((region, begin, end))
        if len(sides) > 1:
            found.append(Fork(lane, first, tuple(_side(digest, each) for digest, each in sides.items())))
    return found


def _side(digest: bytes, held: list[tuple[str, Event, Event]]) -> Side:
    longest = max((end for _, _, end in held), key=lambda event: event.sequence)
    regions = tuple(region for region, _, _ in held)
    return Side(regions, digest.hex(), longest.sequence, held[0][1].hlc.ms, longest.hlc.ms)


class _Salvaged:
    """Valuer of the salvaged events of a stream, by this region's lane."""

    def __init__(self, region: str) -> None:
        self._region = region

    def value_of(self, state: StreamState) -> frozenset[str]:
        return frozenset(
            str(event.metadata[SALVAGED])
            for event in state.events()
            if event.region == self._region and SALVAGED in event.metadata
        )


def salvage(lane: LaneId, places: Mapping[str, Place], from_region: str, into: EventStore) -> int:
    """Append `from_region`'s events of a forked lane, from the divergence on, to `into`'s own lane of the same stream. Each
    event exactly once, however often this runs. Returns the number appended now.

    Raises InvalidConfig when the histories do not diverge, and errors as EventStore.save.
    """
    other = next((region for region in places if region not in (from_region,) and region == into.region), None)
    if other is None:
        raise InvalidConfig(f"{into.region} is the same region as {from_region}; name one that holds the history to keep")
    last = next(places[from_region].storage.read(lane, limit=1, reverse=True), None)
    there = next(places[other].storage.read(lane, limit=1, reverse=True), None)
    shared = min(last.sequence if last else 0, there.sequence if there else 0)
    parted = parting(lane, places[from_region].storage, places[other].storage, shared) if shared else None
    if parted is None:
        raise InvalidConfig(f"{from_region} and {other} hold the same history of {lane}; there is nothing to salvage")
    count = 0
    for part in _parts(places[from_region].storage.read(lane, parted[0].sequence)):
        count += _append(into, lane, part)
    return count


def _parts(events: Iterable[Event]) -> Iterator[list[Event]]:
    """Split into batches that fit one transaction, with what salvaging adds to each event; at least one event per batch."""
    part: list[Event] = []
    size = 0
    for event in events:
        weight = size_of(event) + len(json.dumps(_mark(event))) + _ADDED_BYTES
        if part and (len(part) == MAX_EVENTS // 2 or size + weight > MAX_EVENTS_BYTES):
            yield part
            part, size = [], 0
        part.append(event)
        size += weight
    if part:
        yield part


def _mark(event: Event) -> str:
    return f"{event.id}@{event.digest.hex()}"


def _append(into: EventStore, lane: LaneId, events: list[Event]) -> int:
    def not_yet(done: frozenset[str]) -> Verdict:
        new = [
            NewEvent(e.type, Protected(e.payload), e.version, {**e.metadata, SALVAGED: _mark(e)})
            for e in events
            if _mark(e) not in done
        ]
        return Accept(*new) if new else Reject("all events are there")

    result = into.save(Operation(lane.stream, (), When(_Salvaged(into.region), not_yet)))
    if isinstance(result, Saved):
        return len(result.events)
    if hasattr(result, "attempts"):
        raise AppendContention(f"{lane.stream} is written to continuously; run this again")
    return 0
