"""High watermark of each lane at a peer, as far as a link needs it, and how the link reads it for new lanes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from operator import attrgetter

from replicator.domain.errors import DamagedEvent
from replicator.domain.event import NO_EVENTS, Event, Head
from replicator.domain.names import LaneId
from replicator.eventstore.storage import LaneStorage, Position

_KEPT = 200_000
LONG_RUN = 4
"""Longest run of a lane that is inserted one event per round trip; longer ones go as transactions (two write units an
event)."""
_sequence = attrgetter("sequence")


class Heads:
    """High watermarks of a peer's lanes, for the most recently used ones. A remembered head is a hint: others may have made
    the lane longer since. An insert behind it reports that, and events that do not follow it make `meet` ask the peer.

    `damaged` is called for a lane whose last event at the peer is damaged; no head is kept for it. `most` heads are kept.
    """

    def __init__(
        self,
        peer: LaneStorage,
        pool: ThreadPoolExecutor,
        damaged: Callable[[LaneId, DamagedEvent], None],
        most: int = _KEPT,
    ) -> None:
        self._peer, self._pool, self._damaged, self._most = peer, pool, damaged, most
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
        if len(self._heads) > self._most:
            self._heads.popitem(last=False)

    def meet(self, lanes: Mapping[LaneId, Sequence[Event]], alone: bool = True, sure: bool = True) -> None:
        """Read the heads of these lanes as far as their events need it: those that are not remembered and, unless this
        process is `sure` that no other one copies, those that do not come right before the events. Raises RegionUnavailable.

        Many lanes are asked for with one request: whether the peer holds the event that they follow, and the last of them,
        where it may: to a process that is alone or remembers nothing events may be delivered again, and a long run would be
        dear. These reads are eventually consistent, as an event that was found is there for good.
        """
        asked, fresh = dict[LaneId, tuple[Position, ...]](), not self._heads
        for lane, events in lanes.items():
            first, head = min(map(_sequence, events)), self._heads.get(lane)
            if first == 1 or (head is not None and (sure or first <= head.sequence + 1)):
                continue  # a lane that begins needs no read: the insert reports a first event that the peer holds
            last = [(lane, max(map(_sequence, events)))] if alone or fresh or len(events) > LONG_RUN else []
            asked[lane] = (*last, (lane, first - 1))
        if not asked:
            return
        unknown = dict.fromkeys(asked)
        with suppress(DamagedEvent):  # then each lane is read alone
            held = self._peer.get({position for positions in asked.values() for position in positions}, consistent=False)
            for lane, positions in asked.items():
                if found := [held[position] for position in positions if position in held]:
                    self._heads[lane] = Head.of(found[0])
                    del unknown[lane]
        self.confirm(unknown)  # neither was found: the lane has a gap before them, or they arrived just now

    def confirm(self, lanes: Collection[LaneId]) -> None:
        """Make sure of the ends of these lanes: of those that are remembered with one request for the events behind them, of
        the others by reading each. Raises RegionUnavailable."""
        behind = {lane: (lane, self._heads[lane].sequence + 1) for lane in lanes if lane in self._heads}
        longer = set(behind)
        with suppress(DamagedEvent):
            held = self._peer.get(behind.values()) if behind else {}
            longer = {lane for lane, position in behind.items() if position in held}
        for lane in longer:
            self.forget(lane)
        self.learn(lanes)

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
        while len(self._heads) > self._most:
            self._heads.popitem(last=False)

    def _ask(self, lane: LaneId) -> Head | None:
        try:
            return Head.of(next(self._peer.read(lane, limit=1, reverse=True), None))
        except DamagedEvent as error:
            self._damaged(lane, error)
            return None
