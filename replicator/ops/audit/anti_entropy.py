"""Anti-entropy repair: copies events that regions lack from regions that have them. Never over anything: differences are
refused."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import structlog

from replicator.control.control_storage import ControlStorage, Guard
from replicator.control.quarantine import Quarantine
from replicator.domain.clock import ZERO
from replicator.domain.errors import DamagedEvent, RegionUnavailable
from replicator.domain.event import GENESIS, Event, Head, size_of
from replicator.domain.names import MAX_SEQUENCE, LaneId
from replicator.eventstore.storage import Insert, LaneStorage, Position
from replicator.ops.audit.comparison import Place, holder_of
from replicator.ops.audit.lane_walk import head_of
from replicator.ops.audit.merkle_summary import RANGES, Entry, short
from replicator.ops.audit.threads import at_once
from replicator.replication.copier import Copier
from replicator.replication.link_state import LinkState

Work = dict[tuple[str, str], list[LaneId]]
_SEGMENT = 200
_AT_ONCE = 4
_TRIES = 4
_PARALLEL = 8


class Mendable(Place, Protocol):
    """Region whose lanes can be repaired."""

    @property
    def control(self) -> ControlStorage: ...


@dataclass(slots=True)
class Mended:
    """Result of a repair: events copied, by `holder>region`; lanes refused because they are forked or damaged (counted once
    for each region that was not brought up for it, or that holds another history as long as the longest); lanes that a
    region left because it throttles; events put back into the middle of a lane."""

    copied: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    left: int = 0
    filled: int = 0

    @property
    def events(self) -> int:
        return sum(self.copied.values())


class Paced:
    """Lane storage with a write limit of `capacity` write units a second (0: no limit)."""

    def __init__(
        self, storage: LaneStorage, capacity: float, monotonic: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        self._storage = storage
        self._capacity = capacity
        self._monotonic = monotonic
        self._sleep = sleep
        self._free_at = 0.0
        self._lock = threading.Lock()

    def _spend(self, events: Sequence[Event], times: int) -> None:
        if not self._capacity:
            return
        units = times * sum(math.ceil(size_of(event) / 1024) for event in events)
        with self._lock:
            now = self._monotonic()
            begin = max(now, self._free_at)
            self._free_at = begin + units / self._capacity
        if begin > now:
            self._sleep(begin - now)

    def insert(self, events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        self._spend(events, 2 if len(events) + len(guards) > 1 else 1)
        return self._storage.insert(events, guards)

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        self._spend(events, 1)
        return self._storage.insert_each(events)

    def get(self, positions: Collection[Position], *, consistent: bool = True) -> Mapping[Position, Event]:
        return self._storage.get(positions, consistent=consistent)

    def read(
        self, lane: LaneId, first: int = 1, last: int | None = None, *, limit: int | None = None, reverse: bool = False
    ) -> Iterator[Event]:
        return self._storage.read(lane, first, last, limit=limit, reverse=reverse)

    def index(self, region: str, after: LaneId | None = None) -> Iterator[LaneId]:
        return self._storage.index(region, after)

    def identity(self) -> str:
        return self._storage.identity()

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        return self._storage.lanes()


@dataclass(slots=True)
class Mender:
    """Brings lanes up in the regions that are behind. `capacity` is in write units per second and region."""

    places: Mapping[str, Mendable]
    sleep: Callable[[float], None]
    monotonic: Callable[[], float]
    capacity: float = 0.0
    tell: Callable[[int, int], None] = lambda done, total: None

    def mend(self, of: str | None = None, targets: Collection[str] | None = None) -> Mended:
        """Bring every lane (or those of the region `of`) up in every region (or in `targets`), by the Merkle summaries.

        Works in segments of lanes, some in parallel. After a crash at any point, the next run copies what is still missing.
        Raises RegionUnavailable.
        """
        work, refused = self._work(of, targets)
        paced = {
            region: Paced(place.storage, self.capacity, self.monotonic, self.sleep) for region, place in self.places.items()
        }
        segments = [
            (holder, region, lanes[start : start + _SEGMENT])
            for (holder, region), lanes in work.items()
            for start in range(0, len(lanes), _SEGMENT)
        ]
        done, total = 0, sum(len(lanes) for lanes in work.values())
        mended = Mended(dict.fromkeys((f"{holder}>{region}" for holder, region in work), 0), refused)
        with (
            ThreadPoolExecutor(_PARALLEL, thread_name_prefix="mend") as pool,
            ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="segment") as runners,
        ):
            each = lambda segment: self._segment(segment[0], segment[2], paced[segment[1]], segment[1], pool)  # noqa: E731
            for (holder, region, lanes), (state, left) in zip(segments, runners.map(each, segments), strict=True):
                mended.copied[f"{holder}>{region}"] += state.copied
                mended.refused += state.quarantined
                mended.left += left
                done += len(lanes)
                self.tell(done, total)
        mended.filled = self._fill(of, targets)
        return mended

    def _segment(
        self, holder: str, lanes: Sequence[LaneId], peer: Paced, region: str, pool: ThreadPoolExecutor
    ) -> tuple[LinkState, int]:
        link, state = f"{holder}>{region}", LinkState()
        quarantine = Quarantine(self.places[holder].control, link)
        bound = structlog.get_logger().bind(region=region, link=link)
        copier = Copier(self.places[holder].storage, peer, quarantine, pool, state, bound)
        return state, len(self._catch_up(copier, lanes))

    def _fill(self, of: str | None, targets: Collection[str] | None) -> int:
        """Put back events that were removed from the middle of lanes."""
        filled = 0
        for region, place in self.places.items():
            lanes = [lane for lane in place.keeper.damage if of is None or lane.region == of]
            for lane in lanes if targets is None or region in targets else []:
                for holder, other in self.places.items():
                    if holder != region and lane not in other.keeper.damage:
                        filled += fill(lane, other.storage, place.storage)
        return filled

    def _catch_up(self, copier: Copier, lanes: Sequence[LaneId]) -> set[LaneId]:
        left = set(lanes)
        for attempt in range(_TRIES):
            try:
                left = copier.catch_up(sorted(left, key=lambda lane: lane.key))
            except RegionUnavailable:
                if attempt == _TRIES - 1:
                    raise
            if not left:
                break
            self.sleep(0.2 * 2**attempt)
        return left

    def _work(self, of: str | None, targets: Collection[str] | None) -> tuple[Work, int]:
        """Return (region that has most, region that lacks some) -> lanes, by the Merkle summaries; and the number of lanes
        left alone, counted once for each region that they were not copied to.

        Only histories that all longer holders agree on are copied to a region: otherwise a fork would spread to regions that
        hold only what came before it. Whether the region itself has forked from those shows when copying.
        """
        chosen = [region for region in self.places if targets is None or region in targets]
        work: Work = {}
        refused = 0
        for lanes in self._differing():
            lanes = {lane: ends for lane, ends in lanes.items() if of is None or lane.region == of}
            doubtful = {lane: ends for lane, ends in lanes.items() if any(len(_ahead(ends, r)) > 1 for r in chosen)}
            parted = dict(zip(doubtful, at_once(lambda each: self._parted(*each), doubtful.items()), strict=True))
            for lane, ends in lanes.items():
                heads = {region: Head(entry.sequence, GENESIS, ZERO) for region, entry in ends.items()}
                holder = holder_of(lane, heads)
                for region in chosen:
                    if region in ends and ends[region].sequence < ends[holder].sequence:
                        if parted.get(lane, 0) > ends[region].sequence:
                            refused += 1
                        else:
                            work.setdefault((holder, region), []).append(lane)
                    elif region in ends and ends[region].digest != ends[holder].digest:
                        refused += 1
        return work, refused

    def _parted(self, lane: LaneId, ends: Mapping[str, Entry]) -> int:
        """Return the sequence up to which regions hold different histories, as far as the heads of the shorter ones show (0:
        they agree). Digests are chained, so a check of each head in the next longer history is enough."""
        kinds = {(entry.sequence, entry.digest): region for region, entry in ends.items() if entry.sequence}
        ordered = sorted(kinds)
        parted = 0
        for (sequence, digest), longer in pairwise(ordered):
            held: Event | None = None
            if longer[0] > sequence:
                with suppress(DamagedEvent):
                    held = self.places[kinds[longer]].storage.get([(lane, sequence)]).get((lane, sequence))
            if held is None or short(held.digest) != digest:
                parted = sequence
        return parted

    def _differing(self) -> Iterator[dict[LaneId, dict[str, Entry]]]:
        """Yield the lanes that the Merkle summaries differ about, range by range, with their heads in each region in which
        they are not damaged."""
        for place in self.places.values():
            place.keeper.refresh()
        numbers = [
            n
            for n in range(RANGES)
            if len({place.keeper.sums[n].digest if n in place.keeper.sums else "" for place in self.places.values()}) > 1
        ]
        for number in numbers:
            held = {region: place.keeper.range(number).lanes for region, place in self.places.items()}
            differing: dict[LaneId, dict[str, Entry]] = {}
            for lane in sorted(set().union(*held.values()), key=lambda lane: lane.key):
                found = {region: self._end(region, lane, lanes.get(lane)) for region, lanes in held.items()}
                ends = {region: entry for region, entry in found.items() if entry is not None}
                if len({(entry.sequence, entry.digest) for entry in ends.values()}) > 1:
                    differing[lane] = ends
            yield differing

    def _end(self, region: str, lane: LaneId, entry: Entry | None) -> Entry | None:
        """Return a lane's head in a region: by the summary, or by the table if the entry is suspect; None: it is damaged."""
        if entry is None:
            return Entry(0, "", 0)
        if not entry.suspect:
            return entry
        try:
            return Entry.at(head_of(self.places[region].storage, lane))
        except DamagedEvent:
            return None


def _ahead(ends: Mapping[str, Entry], region: str) -> set[tuple[int, str]]:
    """Return the different heads of the regions that have more of a lane than `region`."""
    sequence = ends[region].sequence if region in ends else MAX_SEQUENCE
    return {(entry.sequence, entry.digest) for entry in ends.values() if entry.sequence > sequence}


def fill(lane: LaneId, holder: LaneStorage, region: LaneStorage) -> int:
    """Put back events that were removed from the middle of a lane, if the remaining ones are the holder's. Returns their
    number."""
    try:
        held = {event.sequence: event for event in region.read(lane)}
    except DamagedEvent:
        return 0  # what is stored is not an event: nothing is put beside it
    last = max(held, default=0)
    missing = [event for event in holder.read(lane, 1, last) if event.sequence not in held]
    for event in missing:
        after = held.get(event.sequence + 1)
        if after is not None and after.prev != event.digest:
            return 0
    return sum(outcome is Insert.ADDED for outcome in region.insert_each(missing)) if missing else 0
