"""Copying what regions lack from regions that have it, whichever those are. Never over anything: what differs is refused."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from replicator.audit.comparison import Place, holder_of
from replicator.audit.ledger import RANGES, Entry
from replicator.audit.walking import head_of
from replicator.control import ControlStorage, Quarantine
from replicator.copier import Copier, LinkState
from replicator.domain.clock import ZERO
from replicator.domain.event import GENESIS, NO_EVENTS, Event, Head, size_of
from replicator.domain.names import LaneId
from replicator.errors import DamagedEvent, RegionUnavailable
from replicator.storage import Guard, Insert, LaneStorage, Position

_SEGMENT = 200
_AT_ONCE = 4
_TRIES = 4
_PARALLEL = 8


class Mendable(Place, Protocol):
    """A region whose lanes can be mended."""

    @property
    def control(self) -> ControlStorage: ...


@dataclass(slots=True)
class Mended:
    """What was done: events copied, by `holder>region`; how many lanes were refused because they are forked or damaged, and
    how many a region did not take because it throttles; events that were put back into the middle of a lane."""

    copied: dict[str, int] = field(default_factory=dict)
    refused: int = 0
    left: int = 0
    filled: int = 0

    @property
    def events(self) -> int:
        return sum(self.copied.values())


class Paced:
    """A storage that takes at most `capacity` write units a second (0: as much as it can)."""

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

    def get(self, positions: Collection[Position]) -> Mapping[Position, Event]:
        return self._storage.get(positions)

    def read(
        self, lane: LaneId, first: int = 1, last: int | None = None, *, limit: int | None = None, reverse: bool = False
    ) -> Iterator[Event]:
        return self._storage.read(lane, first, last, limit=limit, reverse=reverse)

    def index(self, region: str) -> Iterator[LaneId]:
        return self._storage.index(region)

    def identity(self) -> str:
        return self._storage.identity()

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        return self._storage.lanes()


@dataclass(slots=True)
class Mender:
    """Brings lanes up in the regions that are behind. `capacity` is in write units a second and region."""

    places: Mapping[str, Mendable]
    sleep: Callable[[float], None]
    monotonic: Callable[[], float]
    capacity: float = 0.0
    tell: Callable[[int, int], None] = lambda done, total: None

    def mend(self, of: str | None = None, targets: Collection[str] | None = None) -> Mended:
        """Bring every lane (or those of the region `of`) up in every region (or in `targets`), as the ledgers have them.

        In segments of lanes, some at once. Killed at any point, the next run copies what is still missing. Raises
        RegionUnavailable.
        """
        work = self._work(of, targets)
        paced = {
            region: Paced(place.storage, self.capacity, self.monotonic, self.sleep) for region, place in self.places.items()
        }
        segments = [
            (holder, region, lanes[start : start + _SEGMENT])
            for (holder, region), lanes in work.items()
            for start in range(0, len(lanes), _SEGMENT)
        ]
        done, total = 0, sum(len(lanes) for lanes in work.values())
        mended = Mended(dict.fromkeys((f"{holder}>{region}" for holder, region in work), 0))
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
        """Put back what was taken out of the middle of lanes."""
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

    def _work(self, of: str | None, targets: Collection[str] | None) -> dict[tuple[str, str], list[LaneId]]:
        """(who has most of it, who lacks some of it) -> lanes, by the ledgers. Where a lane's ends differ in length only,
        whether it is forked is found out by copying."""
        for place in self.places.values():
            place.keeper.refresh()
        numbers = [
            n
            for n in range(RANGES)
            if len({place.keeper.sums[n].digest if n in place.keeper.sums else "" for place in self.places.values()}) > 1
        ]
        for place in self.places.values():
            place.keeper.load(numbers)
        work: dict[tuple[str, str], list[LaneId]] = {}
        for number in numbers:
            held = {region: place.keeper.range(number).lanes for region, place in self.places.items()}
            for lane in sorted(set().union(*held.values()), key=lambda lane: lane.key):
                if of is not None and lane.region != of:
                    continue
                ends = {region: self._end(region, lane, lanes.get(lane)) for region, lanes in held.items()}
                heads = {region: head for region, head in ends.items() if head is not None}
                holder = holder_of(lane, heads) if heads else ""
                for region, head in heads.items():
                    behind = head.sequence < heads[holder].sequence
                    if behind and (targets is None or region in targets):
                        work.setdefault((holder, region), []).append(lane)
        return work

    def _end(self, region: str, lane: LaneId, entry: Entry | None) -> Head | None:
        """Where a lane ends in a region: by the ledger, by the table where the ledger is in doubt; None: it is damaged."""
        if entry is None:
            return NO_EVENTS
        if not entry.suspect:
            return Head(entry.sequence, GENESIS, ZERO)
        try:
            return head_of(self.places[region].storage, lane)
        except DamagedEvent:
            return None


def fill(lane: LaneId, holder: LaneStorage, region: LaneStorage) -> int:
    """Put back what was taken out of the middle of a lane, where what is left there is the holder's. Returns how much."""
    try:
        held = {event.sequence: event for event in region.read(lane)}
    except DamagedEvent:
        return 0  # what is there is no event: nothing is put beside it
    last = max(held, default=0)
    missing = [event for event in holder.read(lane, 1, last) if event.sequence not in held]
    for event in missing:
        after = held.get(event.sequence + 1)
        if after is not None and after.prev != event.digest:
            return 0
    return sum(outcome is Insert.ADDED for outcome in region.insert_each(missing)) if missing else 0
