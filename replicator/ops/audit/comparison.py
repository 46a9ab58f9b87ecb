"""Comparison of regions: equal ranges of lanes are skipped by their digests, differing ones are read from the tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Protocol

from replicator.domain.errors import DamagedEvent
from replicator.domain.event import NO_EVENTS, Event, Head
from replicator.domain.names import LaneId
from replicator.eventstore.storage import LaneStorage
from replicator.ops.audit.lane_walk import head_of, parting, walk
from replicator.ops.audit.merkle_summary import RANGES, Sum, short
from replicator.ops.audit.summary_keeper import Keeper

MISSING, FORKED, DAMAGED = "missing", "forked", "damaged"
_PARALLEL = 8
_TELL_LANES = 50_000


class Place(Protocol):
    """Region to compare."""

    @property
    def storage(self) -> LaneStorage: ...

    @property
    def keeper(self) -> Keeper: ...


@dataclass(frozen=True, slots=True)
class Finding:
    """Defect of one lane in one region: events `first` to `last` are missing there and held by `holder`; or its event
    `first` differs from the one that `holder` holds (forked), or is no longer an event (damaged)."""

    kind: str
    lane: LaneId
    region: str
    first: int
    last: int
    holder: str = ""
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "lane": self.lane.key}

    def __str__(self) -> str:
        events = f"events {self.first} to {self.last}" if self.last > self.first else f"event {self.first}"
        match self.kind:
            case "missing":
                text = f"{events} of {self.lane} missing; {self.holder} holds {'them' if self.last > self.first else 'it'}"
            case "forked":
                text = f"{self.lane} diverges from {self.holder}'s history at event {self.first}"
            case _:
                text = f"{self.lane} is damaged"
        return f"{self.region}: {text}{f' ({self.detail})' if self.detail else ''}"


@dataclass(slots=True)
class Comparison:
    """Result of a comparison. `travelling` counts events that were missing somewhere at first and have arrived or moved on
    meanwhile; `lanes` and `events` are those of the region that has most."""

    regions: tuple[str, ...]
    lanes: int = 0
    events: int = 0
    ranges: int = RANGES
    differing_ranges: int = 0
    differing_lanes: int = 0
    travelling: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether nothing is missing, forked or damaged anywhere."""
        return not self.findings

    def of(self, *kinds: str) -> list[Finding]:
        return [finding for finding in self.findings if finding.kind in kinds]

    def as_json(self) -> dict[str, Any]:
        found = [finding.as_json() for finding in self.findings]
        return {**{name: getattr(self, name) for name in _COUNTS}, "equal": self.equal, "findings": found}


_COUNTS = ("regions", "lanes", "events", "ranges", "differing_ranges", "differing_lanes", "travelling")


def compare(
    places: Mapping[str, Place],
    sleep: Callable[[float], None],
    wait: float = 10.0,
    deep: bool = False,
    tell: Callable[[str], None] = lambda _: None,
    only: Callable[[Finding], bool] = lambda _: True,
    consistent: bool = True,
) -> Comparison:
    """Compare these regions' events. Events that are missing and do not arrive within `wait` seconds are a finding; `only`
    selects the findings that matter, and nothing else is waited for.

    Unless `consistent`, lanes are compared as they are or were a second ago, at half the price. `deep` reads every event
    everywhere and recomputes every chain. Raises RegionUnavailable.
    """
    with ThreadPoolExecutor(max(_PARALLEL, len(places)), thread_name_prefix="verify") as pool:
        list(pool.map(partial(_refresh, tell=tell, consistent=consistent), places.values()))
        comparison = Comparison(tuple(places))
        sums = {region: place.keeper.sums for region, place in places.items()}
        comparison.lanes = max(sum(each.lanes for each in found.values()) for found in sums.values())
        comparison.events = max(sum(each.events for each in found.values()) for found in sums.values())
        if deep:
            lanes, damaged = _read_all(places, pool, tell)
        else:
            lanes, damaged = _differing(places, sums, comparison), _suspects(places)
        comparison.differing_lanes = len(lanes)
        comparison.findings = [finding for finding in damaged if only(finding)]
        bad = {(finding.region, finding.lane) for finding in damaged}

        def look(chosen: Sequence[LaneId]) -> dict[LaneId, list[Finding]]:
            found = dict(zip(chosen, pool.map(lambda lane: examine(lane, places), chosen), strict=True))
            return {
                lane: kept
                for lane, each in found.items()
                if (kept := [finding for finding in each if only(finding) and (finding.region, lane) not in bad])
            }

        first = look(sorted(lanes, key=lambda lane: lane.key))
        left = _settle(first, look, sleep, wait, comparison, tell)
        comparison.findings += [finding for each in left.values() for finding in each]
    return comparison


def _refresh(place: Place, tell: Callable[[str], None], consistent: bool) -> None:
    def told(lanes: int) -> None:
        if lanes % _TELL_LANES == 0:
            tell(f"{place.keeper.region}: {lanes:,} lanes read")

    place.keeper.refresh(told, consistent)


def _settle(
    first: Mapping[LaneId, list[Finding]],
    look: Callable[[Sequence[LaneId]], dict[LaneId, list[Finding]]],
    sleep: Callable[[float], None],
    wait: float,
    comparison: Comparison,
    tell: Callable[[str], None],
) -> dict[LaneId, list[Finding]]:
    """Wait for events in transit. Those missing at first are findings if they still are; those written meanwhile are not."""
    last = {(f.region, lane): f.last for lane, each in first.items() for f in each if f.kind == MISSING}
    events = sum(f.last - f.first + 1 for each in first.values() for f in each if f.kind == MISSING)
    left, waited, pause = dict(first), 0.0, 0.1
    while waited < wait and any(f.kind == MISSING for each in left.values() for f in each):
        if waited >= 1:
            tell(f"waiting for events in transit in {len(left):,} lanes …")
        sleep(pause)
        waited, pause = waited + pause, min(pause * 2, 2.0)
        left = _still(look([*left]), last)
    left = _still(left, last)
    still = sum(f.last - f.first + 1 for each in left.values() for f in each if f.kind == MISSING)
    comparison.travelling = max(events - still, 0)
    return left


def _still(found: Mapping[LaneId, list[Finding]], last: Mapping[tuple[str, LaneId], int]) -> dict[LaneId, list[Finding]]:
    """Return the events that were missing at first and still are, and every other defect."""
    left: dict[LaneId, list[Finding]] = {}
    for lane, each in found.items():
        for f in each:
            if f.kind == MISSING and f.first > last.get((f.region, lane), 0):
                continue
            cut = min(f.last, last.get((f.region, lane), f.last)) if f.kind == MISSING else f.last
            left.setdefault(lane, []).append(Finding(f.kind, lane, f.region, f.first, cut, f.holder, f.detail))
    return left


def _differing(places: Mapping[str, Place], sums: Mapping[str, Mapping[int, Sum]], comparison: Comparison) -> set[LaneId]:
    """Return the lanes that the regions' Merkle summaries differ about."""
    numbers = [n for n in range(RANGES) if len({found.get(n, Sum()).digest for found in sums.values()}) > 1]
    comparison.differing_ranges = len(numbers)
    lanes: set[LaneId] = set()
    for number in numbers:
        held = [place.keeper.range(number).lanes for place in places.values()]
        for lane in set().union(*held):
            if len({(e.sequence, e.digest) if (e := each.get(lane)) else None for each in held}) > 1:
                lanes.add(lane)
    return lanes


def _suspects(places: Mapping[str, Place]) -> list[Finding]:
    return [
        Finding(DAMAGED, lane, region, 0, 0, detail=wrong)
        for region, place in places.items()
        for lane, wrong in place.keeper.damage.items()
    ]


def _read_all(
    places: Mapping[str, Place], pool: ThreadPoolExecutor, tell: Callable[[str], None]
) -> tuple[set[LaneId], list[Finding]]:
    """Read every lane of every region in full: return those whose heads differ, and the damaged ones."""
    ends: dict[LaneId, dict[str, Head]] = {}
    damaged: list[Finding] = []
    for region, place in places.items():
        lanes = [lane for lane, _ in place.storage.lanes()]
        for start in range(0, len(lanes), 500):
            part = lanes[start : start + 500]
            tell(f"{region}: {start:,} of {len(lanes):,} lanes read")
            for lane, (head, wrong) in zip(part, pool.map(lambda lane: walk(place.storage, lane), part), strict=True):  # noqa: B023
                ends.setdefault(lane, {})[region] = head
                if wrong:
                    damaged.append(Finding(DAMAGED, lane, region, head.sequence + 1, head.sequence + 1, detail=wrong))
    differing = {
        lane for lane, found in ends.items() if len({short(found.get(region, NO_EVENTS).digest) for region in places}) > 1
    }
    return differing, damaged


def examine(lane: LaneId, places: Mapping[str, Place]) -> list[Finding]:
    """Return the defects of a lane, by its heads in the tables themselves."""
    heads: dict[str, Head] = {}
    found: list[Finding] = []
    for region, place in places.items():
        try:
            heads[region] = head_of(place.storage, lane)
        except DamagedEvent as error:
            found.append(Finding(DAMAGED, lane, region, 0, 0, detail=str(error)))
    if not heads:
        return found
    holder = holder_of(lane, heads)
    for region, head in heads.items():
        if region != holder:
            found += _against(lane, places, region, head, holder, heads[holder])
    return found


def holder_of(lane: LaneId, heads: Mapping[str, Head]) -> str:
    """Return the region that has most of a lane; its home if several have as much."""
    return max(heads, key=lambda region: (heads[region].sequence, region == lane.region, region))


def _against(
    lane: LaneId, places: Mapping[str, Place], region: str, head: Head, holder: str, longest: Head
) -> list[Finding]:
    if head.sequence:
        try:
            there: Event | None = places[holder].storage.get([(lane, head.sequence)]).get((lane, head.sequence))
        except DamagedEvent as error:
            return [Finding(DAMAGED, lane, holder, head.sequence, head.sequence, detail=str(error))]
        if there is None:
            return [
                Finding(DAMAGED, lane, holder, head.sequence, head.sequence, detail="the event is missing in the middle")
            ]
        if there.digest != head.digest:
            parted = parting(lane, places[region].storage, places[holder].storage, head.sequence)
            at = parted[0].sequence if parted else head.sequence
            digests = f"{short(parted[0].digest)} here, {short(parted[1].digest)} there" if parted else ""
            return [Finding(FORKED, lane, region, at, head.sequence, holder, digests)]
    if head.sequence < longest.sequence:
        return [Finding(MISSING, lane, region, head.sequence + 1, longest.sequence, holder)]
    return []
