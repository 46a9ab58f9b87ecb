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
from replicator.eventstore.storage import LaneStorage, Position

_KEPT = 200_000
_sequence = attrgetter("sequence")


class Heads:
    """High watermarks of a peer's lanes, for the most recently used ones. A remembered head is a hint: others may have made
    the lane longer since. An insert behind it reports that, and events that do not follow it make `meet` ask the peer.

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
        """Read the heads of these lanes where the remembered ones do not come right before their events. Raises
        RegionUnavailable.

        Many lanes are asked for with one request: whether the peer holds the event that they follow. That may be read
        eventually consistent, as an event that was found is there for good. A process that remembers nothing also asks for
        the last of the events: another one may have copied them.
        """
        ends, fresh = dict[LaneId, tuple[Position, Position]](), not self._heads
        for lane, events in lanes.items():
            first = min(map(_sequence, events))
            if first > self.of(lane).sequence + 1:  # a lane that begins here needs no read: the insert reports what is there
                self.forget(lane)
                ends[lane] = (lane, max(map(_sequence, events))), (lane, first - 1)
        if not ends:
            return
        with suppress(DamagedEvent):  # then each lane is read alone
            wanted = {position for both in ends.values() for position in (both if fresh else both[1:])}
            held = self._peer.get(wanted, consistent=False)
            for lane, (last_of, before) in ends.items():
                if (event := held.get(last_of) or held.get(before)) is not None:
                    self._heads[lane] = Head.of(event)
        self.learn(ends)  # neither was found: the lane has a gap before them, or they arrived just now

    def arrived(self, lanes: Mapping[LaneId, int]) -> set[LaneId]:
        """Return those of these lanes that the peer holds up to the given sequence now, and remember their heads."""
        with suppress(DamagedEvent):
            held = self._peer.get(lanes.items(), consistent=False)
            for (lane, _), event in held.items():
                self._heads[lane] = Head.of(event)
            return {lane for lane, _ in held}
        return set()

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
