"""Where a peer's lanes end, as far as a link has to know it, and how it learns that of lanes that it has not met."""

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
    """The ends of a peer's lanes, those of lanes that were used last. A lane may go on behind what is remembered of it:
    whoever inserts there is told.

    `damaged` is told of a lane whose end at the peer is damaged; nothing is remembered of it.
    """

    def __init__(self, peer: LaneStorage, pool: ThreadPoolExecutor, damaged: Callable[[LaneId, DamagedEvent], None]) -> None:
        self._peer, self._pool, self._damaged = peer, pool, damaged
        self._heads: OrderedDict[LaneId, Head] = OrderedDict()

    def __len__(self) -> int:
        return len(self._heads)

    def of(self, lane: LaneId) -> Head:
        """Where the lane ends; NO_EVENTS of one that is not known."""
        return self._heads.get(lane, NO_EVENTS)

    def forget(self, lane: LaneId) -> None:
        self._heads.pop(lane, None)

    def clear(self) -> None:
        self._heads.clear()

    def advance(self, event: Event) -> None:
        """The peer holds this event now."""
        head = self._heads.pop(event.lane, None)  # and to the end: the lane that was longest idle is forgotten first
        self._heads[event.lane] = head if head is not None and head.sequence >= event.sequence else Head.of(event)

    def meet(self, lanes: Mapping[LaneId, Sequence[Event]]) -> None:
        """Learn as much of where these lanes end as their events need, of many with one request: whether the peer holds the
        last of a lane's events, or else the one that they follow. Raises RegionUnavailable."""
        ends = {}
        for lane, events in lanes.items():
            if lane not in self._heads:
                first, last = min(map(_sequence, events)), max(map(_sequence, events))
                if first > 1:  # lanes that begin here need no look: if it holds the first event, the insert says so
                    ends[lane] = (lane, last), (lane, first - 1)
        if not ends:
            return
        with suppress(DamagedEvent):  # each lane is asked for alone then
            held = self._peer.get({position for both in ends.values() for position in both})
            for lane, (last_of, before) in ends.items():
                if (event := held.get(last_of) or held.get(before)) is not None:
                    self._heads[lane] = Head.of(event)
        self.learn(ends)  # neither is there: the lane has a gap before them, or is not there at all

    def learn(self, lanes: Iterable[LaneId]) -> None:
        """Ask where each of these lanes really ends that nothing is known of. Raises RegionUnavailable."""
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
