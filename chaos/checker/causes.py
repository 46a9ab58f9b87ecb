"""What the clients know about their writes: which event each became, and what it came after."""

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
        """What its writer had seen of the stream."""
        return self.call.context.get(self.stream, {})


@dataclass(slots=True)
class Knowledge:
    """The history, by what the checks ask for. Made once, read by all of them."""

    acknowledged: dict[str, tuple[Call, Written]] = field(default_factory=dict)
    """By digest; without what is gone."""
    again: list[tuple[Call, Written, Call]] = field(default_factory=list)
    """What was told to a call though another one (or the same) had been told of it, which comes last."""
    unknown: dict[str, tuple[Call, Written]] = field(default_factory=dict)
    """What may have been written, by digest."""
    changes: dict[str, Change] = field(default_factory=dict)
    """By id: every change that anybody asked for."""
    gone_from: dict[str, int] = field(default_factory=dict)
    """Lane -> the first sequence that is gone, and whose place may have been given again."""
    gone: set[Place] = field(default_factory=set)
    """The places of what is gone."""
    gone_ids: set[str] = field(default_factory=set)
    """The changes that are gone."""
    events: dict[Place, Kept] = field(default_factory=dict)
    """What is kept at each place, in some region."""

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
        known.gone_ids -= {event.id for _, event in known.acknowledged.values()}  # asked for again, and acknowledged
        for final in finals.values():
            for kept in final.events:
                known.events.setdefault(kept.place, kept)
        return known

    def _lose(self, event: Written) -> None:
        self.gone_from[event.lane] = min(event.sequence, self.gone_from.get(event.lane, event.sequence))
        self.gone.add((event.lane, event.sequence))
        self.gone_ids.add(event.id)

    def _lose_unsaid(self, history: History, held: set[str]) -> None:
        """What nobody was told to be written may have been in a region that lost its data, and somebody may have read it."""
        for call in history.calls:
            for event in (*call.denied, *(call.events if call.outcome is Outcome.UNKNOWN else ())):
                if event.lane.partition("#")[0] in history.lost_regions and event.digest not in held:
                    self._lose(event)

    def still(self, stream: str, vector: Vector) -> dict[str, int]:
        """Of a vector what means the same now as it did then: up to where the lane lost something for good."""
        capped = {}
        for region, sequence in vector.items():
            lane = lane_of(region, stream)
            capped[region] = min(sequence, self.gone_from.get(lane, sequence + 1) - 1)
        return {region: sequence for region, sequence in capped.items() if sequence}

    def means_the_same(self, stream: str, vector: Vector) -> bool:
        """Whether nothing of a vector is gone."""
        return all(vector[region] < self.gone_from.get(lane_of(region, stream), vector[region] + 1) for region in vector)

    def nowhere(self, stream: str, vector: Vector) -> Place | None:
        """The first place of a vector where no event is, and where none was that is gone."""
        for region, last in vector.items():
            lane = lane_of(region, stream)
            for sequence in range(1, last + 1):
                if (lane, sequence) not in self.events and (lane, sequence) not in self.gone:
                    return lane, sequence
        return None

    def within(self, stream: str, vector: Vector) -> Iterator[Kept]:
        """The events of a vector. Those that are nowhere are left out: `nowhere` tells of them."""
        for region, last in vector.items():
            lane = lane_of(region, stream)
            for sequence in range(1, last + 1):
                if (kept := self.events.get((lane, sequence))) is not None:
                    yield kept

    def had_seen(self, kept: Kept, other: Kept) -> bool | None:
        """Whether the writer of `kept` had seen `other`, which is of the same stream: by what it said then, or as its own
        lane held it already. None where it had seen something at that place, and what was there then may be gone."""
        if kept.lane == other.lane:
            return other.sequence < kept.sequence
        change = self.changes.get(str(kept.fields.get("id")))
        if change is None or change.context.get(other.region, 0) < other.sequence:
            return False
        return True if other.sequence < self.gone_from.get(other.lane, other.sequence + 1) else None


def lane_of(region: str, stream: str) -> str:
    """The partition key of a region's lane of a stream."""
    kind, _, name = stream.partition("/")
    return f"{region}#{kind}#{name}"


def stream_of(lane: str) -> str:
    """The stream of a lane's partition key."""
    return lane.partition("#")[2].replace("#", "/", 1)


def vector_of(found: object) -> Vector | None:
    """What was found as a vector, if it is one: whole numbers from 1 on, by regions."""
    if not isinstance(found, Mapping):
        return None
    fits = all(isinstance(region, str) and whole(last) and last > 0 for region, last in found.items())
    return dict(found) if fits else None


def whole(found: object) -> bool:
    """Whether it is a whole number: true and 1.0, which Python takes for 1, are none."""
    return type(found) is int


def dominates(vector: Vector, other: Vector) -> bool:
    """Whether `vector` has everything of `other`."""
    return all(vector.get(region, 0) >= sequence for region, sequence in other.items())


def by_lane(events: Iterable[Kept]) -> dict[str, list[Kept]]:
    """The events of each lane, in order."""
    lanes: dict[str, list[Kept]] = {}
    for kept in events:
        lanes.setdefault(kept.lane, []).append(kept)
    for held in lanes.values():
        held.sort(key=lambda kept: kept.sequence)
    return lanes
