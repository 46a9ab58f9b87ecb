"""High watermark of each lane at a peer, as far as a link needs it, and how the link reads it for new lanes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from operator import attrgetter

from replicator.domain.errors import DamagedEvent
from replicator.domain.event import NO_EVENTS, Event, Head
from replicator.domain.names import LaneId
from replicator.eventstore.storage import LaneStorage

_KEPT = 200_000
_sequence = attrgetter("sequence")


class Heads:
    """High watermarks of a peer's lanes, for the most recently used ones. A lane may have grown beyond the known head: an
    insert there reports that.

    `damaged` is called for a lane whose last event at the peer is damaged; no head is kept for it.
    """

    def __init__(self, peer: LaneStorage, pool: ThreadPoolExecutor, damaged: Callable[[LaneId, DamagedEvent], None]) -> None:
        self._peer, self._pool, self._damaged = peer, pool, damaged
        self._heads: OrderedDict[LaneId, Head] = OrderedDict()

    def __len__(self) -> int:
        return len(self._heads)

    def of(self, lane: LaneId) -> Head:
        """Return the lane's head; NO_EVENTS for an unknown lane."""
        return self._heads.get(lane, NO_EVENTS)

    def forget(self, lane: LaneId) -> None:
        self._heads.pop(lane, None)

    def clear(self) -> None:
        self._heads.clear()

    def advance(self, event: Event) -> None:
        """Record that the peer holds this event now."""
        head = self._heads.pop(event.lane, None)  # moved to the end: the least recently used lane is evicted first
        self._heads[event.lane] = head if head is not None and head.sequence >= event.sequence else Head.of(event)

    def meet(self, lanes: Mapping[LaneId, Sequence[Event]]) -> None:
        """Read the heads of these lanes as far as their events need it, many with one request: whether the peer holds the
        last of a lane's events, or else the one that they follow. Raises RegionUnavailable."""
        ends = {}
        for lane, events in lanes.items():
            if lane not in self._heads:
                first, last = min(map(_sequence, events)), max(map(_sequence, events))
                if first > 1:  # a lane that begins here needs no read: the insert reports a first event that the peer holds
                    ends[lane] = (lane, last), (lane, first - 1)
        if not ends:
            return
        with suppress(DamagedEvent):  # then each lane is read alone
            held = self._peer.get({position for both in ends.values() for position in both})
            for lane, (last_of, before) in ends.items():
                if (event := held.get(last_of) or held.get(before)) is not None:
                    self._heads[lane] = Head.of(event)
        self.learn(ends)  # neither is there: the lane has a gap before them, or does not exist

    def learn(self, lanes: Iterable[LaneId]) -> None:
        """Read the actual heads of those of these lanes that are unknown. Raises RegionUnavailable."""
        unknown = [lane for lane in dict.fromkeys(lanes) if lane not in self._heads]
        for lane, head in zip(unknown, self._pool.map(self._ask, unknown), strict=True):
            if head is not None:
                self._heads[lane] = head
        while len(self._heads) > _KEPT:
            self._heads.popitem(last=False)

    def _ask(self, lane: LaneId) -> Head | None:
        try:
            return Head.of(next(self._peer.read(lane, limit=1, reverse=True), None))
        except DamagedEvent as error:
            self._damaged(lane, error)
            return None
