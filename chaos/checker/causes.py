"""Knowledge of the clients about their writes: which event each became, and which events it follows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from chaos.checker.history import Call, Finals, History, Kept, Outcome, Place, Vector, Written


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a thing, as the clients know it."""

    call: Call
    stream: str
    type: str
    payload: Mapping[str, Any]

    @property
    def context(self) -> Vector:
        """Version vector of the stream that its writer had seen."""
        return self.call.context.get(self.stream, {})


@dataclass(slots=True)
class Knowledge:
    """Indexes of the history for the checks. Built once, read by all of them."""

    acknowledged: dict[str, tuple[Call, Written]] = field(default_factory=dict)
    """Acknowledged events by digest, without those that are gone."""
    again: list[tuple[Call, Written, Call]] = field(default_factory=list)
    """Events that were acknowledged again, each with the call, the event and the call (another one or the same) that it was
    acknowledged to first."""
    unknown: dict[str, tuple[Call, Written]] = field(default_factory=dict)
    """Events that may have been written, by digest."""
    changes: dict[str, Change] = field(default_factory=dict)
    """Every change that any client requested, by id."""
    gone_from: dict[str, int] = field(default_factory=dict)
    """Lane -> the first sequence that is gone; its place may have been given again."""
    gone: set[Place] = field(default_factory=set)
    """Places of the events that are gone."""
    gone_ids: set[str] = field(default_factory=set)
    """Ids of the changes that are gone."""
    events: dict[Place, Kept] = field(default_factory=dict)
    """Event that is stored at each place, in some region."""

    @classmethod
    def of(cls, history: History, finals: Finals) -> Knowledge:
        known = cls()
        told: dict[str, Call] = {}
        held = {kept.digest for final in finals.values() for kept in final.events}
        for call in history.calls:
            if isinstance(call.value, list):
                for each in call.value:
                    known.changes[each["id"]] = Change(call, each["stream"], each["type"], each)
            for event in call.events:
                if event.digest in told:
                    known.again.append((call, event, told[event.digest]))
                    continue
                told[event.digest] = call
                if event.digest in history.gone:
                    known._lose(event)
                elif call.outcome is Outcome.OK:
                    known.acknowledged[event.digest] = (call, event)
                elif call.outcome is Outcome.UNKNOWN:
                    known.unknown[event.digest] = (call, event)
        known._lose_unsaid(history, held)
        known.gone_ids -= {event.id for _, event in known.acknowledged.values()}  # requested again, and acknowledged
        for final in finals.values():
            for kept in final.events:
                known.events.setdefault(kept.place, kept)
        return known

    def _lose(self, event: Written) -> None:
        self.gone_from[event.lane] = min(event.sequence, self.gone_from.get(event.lane, event.sequence))
        self.gone.add((event.lane, event.sequence))
        self.gone_ids.add(event.id)

    def _lose_unsaid(self, history: History, held: set[str]) -> None:
        """Count unacknowledged events as gone if their region lost its data: they may have been stored there, and read."""
        for call in history.calls:
            for event in (*call.denied, *(call.events if call.outcome is Outcome.UNKNOWN else ())):
                if event.lane.partition("#")[0] in history.lost_regions and event.digest not in held:
                    self._lose(event)

    def still(self, stream: str, vector: Vector) -> dict[str, int]:
        """Return the part of a vector that still has its old meaning: up to where each lane lost something permanently."""
        capped = {}
        for region, sequence in vector.items():
            lane = lane_of(region, stream)
            capped[region] = min(sequence, self.gone_from.get(lane, sequence + 1) - 1)
        return {region: sequence for region, sequence in capped.items() if sequence}

    def means_the_same(self, stream: str, vector: Vector) -> bool:
        """Return whether nothing of a vector is gone."""
        return all(vector[region] < self.gone_from.get(lane_of(region, stream), vector[region] + 1) for region in vector)

    def nowhere(self, stream: str, vector: Vector) -> Place | None:
        """Return the first place of a vector that has no event and never had one that is gone; None if there is none."""
        for region, last in vector.items():
            lane = lane_of(region, stream)
            for sequence in range(1, last + 1):
                if (lane, sequence) not in self.events and (lane, sequence) not in self.gone:
                    return lane, sequence
        return None

    def within(self, stream: str, vector: Vector) -> Iterator[Kept]:
        """Yield the events of a vector. Places without an event are left out: `nowhere` reports them."""
        for region, last in vector.items():
            lane = lane_of(region, stream)
            for sequence in range(1, last + 1):
                if (kept := self.events.get((lane, sequence))) is not None:
                    yield kept

    def had_seen(self, kept: Kept, other: Kept) -> bool | None:
        """Return whether the writer of `kept` had seen `other`, an event of the same stream: by its context, or because
        its own lane held it already. None if it had seen an event at that place, and the event that was there then may be
        gone."""
        if kept.lane == other.lane:
            return other.sequence < kept.sequence
        change = self.changes.get(str(kept.fields.get("id")))
        if change is None or change.context.get(other.region, 0) < other.sequence:
            return False
        return True if other.sequence < self.gone_from.get(other.lane, other.sequence + 1) else None


def lane_of(region: str, stream: str) -> str:
    """Return the partition key of a region's lane of a stream."""
    kind, _, name = stream.partition("/")
    return f"{region}#{kind}#{name}"


def stream_of(lane: str) -> str:
    """Return the stream of a lane's partition key."""
    return lane.partition("#")[2].replace("#", "/", 1)


def vector_of(found: object) -> Vector | None:
    """Return the value as a vector if it is one: whole numbers from 1 on, by region. None otherwise."""
    if not isinstance(found, Mapping):
        return None
    fits = all(isinstance(region, str) and whole(last) and last > 0 for region, last in found.items())
    return dict(found) if fits else None


def whole(found: object) -> bool:
    """Return whether it is a whole number. True and 1.0, which Python takes for 1, are not."""
    return type(found) is int


def dominates(vector: Vector, other: Vector) -> bool:
    """Return whether `vector` includes all of `other`."""
    return all(vector.get(region, 0) >= sequence for region, sequence in other.items())


def by_lane(events: Iterable[Kept]) -> dict[str, list[Kept]]:
    """Return the events of each lane, in order."""
    lanes: dict[str, list[Kept]] = {}
    for kept in events:
        lanes.setdefault(kept.lane, []).append(kept)
    for held in lanes.values():
        held.sort(key=lambda kept: kept.sequence)
    return lanes
