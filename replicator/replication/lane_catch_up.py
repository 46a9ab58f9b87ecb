"""Catch-up of a link: brings lanes of a peer up to date by reading them at home, whole or, where only a few events of each
wait, many at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from replicator.control.pointers import Spans
from replicator.domain.errors import DamagedEvent, RegionUnavailable
from replicator.domain.event import Event, Head, size_of
from replicator.domain.names import LaneId
from replicator.eventstore.storage import MAX_TRANSACTION, Insert, LaneStorage, Position
from replicator.replication.divergence import Divergence, id_of
from replicator.replication.lane_heads import Heads

_READ_BYTES = 1_000_000
"""Bytes of a home lane that are held at once: many lanes are caught up together."""
_BACKWARDS = 8
"""Number of events per step when a lane is filled backwards: as many of the largest size as fit into one transaction."""
FEW = 4
"""Maximum number of events of a lane that are caught up without reading the lane: such lanes go many at once."""
_FEW_BYTES = 30_000_000
"""Bytes of such events that are held at once."""
_AT_ONCE_LEAST, _AT_ONCE_MOST = 50, 1000


@dataclass(slots=True)
class CatchUp:
    """Catches a peer's lanes up. `copy` copies events at once and returns those that the peer throttled; `insert` inserts
    runs of lanes in one transaction (both are a Copier's)."""

    divergence: Divergence
    heads: Heads
    pool: ThreadPoolExecutor
    copy: Callable[[Sequence[Event]], list[Event]]
    insert: Callable[[list[list[Event]]], bool | RegionUnavailable]
    _ahead: set[LaneId] = field(default_factory=set)
    _at_once: int = _AT_ONCE_LEAST

    @property
    def _home(self) -> LaneStorage:
        return self.divergence.home

    @property
    def _peer(self) -> LaneStorage:
        return self.divergence.peer

    def whole(self, lanes: Sequence[LaneId]) -> set[LaneId]:
        """Bring whole lanes up to date by reading them at home. Returns the lanes that must wait, as the peer throttles them
        or has more of them than their home; raises RegionUnavailable when the peer accepted nothing."""
        wanted = [lane for lane in lanes if lane not in self.divergence.stopped]
        throttled: set[LaneId] = set()
        self._ahead.clear()
        for lane in wanted:  # read anew instead of using known heads: events may have been removed from the peer
            self.heads.forget(lane)
        self.heads.learn(wanted)
        throttled.update(lane for lane in self._without_beginning(wanted) if not self._begin(lane))
        wanted = [lane for lane in wanted if lane not in self.divergence.stopped | throttled]
        while wanted:
            pages = list(self.pool.map(self._tail, wanted))
            throttled.update(event.lane for event in self.copy([event for page, _ in pages for event in page]))
            throttled |= self._ahead.intersection(wanted)
            wanted = [
                lane
                for lane, (_, more) in zip(wanted, pages, strict=True)
                if more and lane not in self.divergence.stopped | throttled
            ]
        return throttled

    def few(self, waiting: Spans) -> tuple[set[LaneId], set[LaneId]]:
        """Bring lanes up to date of which a few events wait, up to FEW each, many lanes with one request. Raises as `whole`.

        Returns the lanes that the peer throttles, and those in which something else was found than an end at both sides
        right before and right behind these events: for `whole`.
        """
        throttled, others = set[LaneId](), set[LaneId]()
        lanes = deque(lane for lane in waiting if lane not in self.divergence.stopped)
        while lanes:
            part = {lane: waiting[lane] for lane in (lanes.popleft() for _ in range(min(self._at_once, len(lanes))))}
            wanted = {(lane, n) for lane, (low, high) in part.items() for n in range(max(low - 1, 1), high + 2)}
            begins = {(lane, 1) for lane in part}
            try:
                ours = self._home.get(wanted)
                theirs = self._peer.get(begins | {(lane, n) for lane, n in wanted if n <= part[lane][1]})
            except DamagedEvent:  # each lane is read alone, and the damaged one is refused
                others.update(part)
                continue
            events = list[Event]()
            for lane, span in part.items():
                if self._ends_at(lane, span, ours, theirs):
                    head = self.heads.of(lane).sequence
                    events += [ours[lane, n] for n in range(head + 1, span[1] + 1)]
                else:
                    others.add(lane)
            throttled.update(event.lane for event in self.copy(events))
            size = sum(map(size_of, ours.values())) // len(part) + 1
            self._at_once = max(_AT_ONCE_LEAST, min(_AT_ONCE_MOST, _FEW_BYTES // size))
        return throttled, others - self.divergence.stopped

    def _ends_at(
        self, lane: LaneId, span: tuple[int, int], ours: Mapping[Position, Event], theirs: Mapping[Position, Event]
    ) -> bool:
        """Return whether the lane ends at home with these sequences, and at the peer right before them or among them, with
        the same events. Then the peer's head is remembered."""
        low, high = span
        head = low - 1
        while head < high and (lane, head + 1) in theirs:
            head += 1
        if (lane, high + 1) in ours or any((lane, n) in theirs for n in range(head + 1, high + 1)):
            return False
        if any((lane, n) not in ours for n in range(low, high + 1)) or (head and (lane, 1) not in theirs):
            return False
        for n in range(max(low - 1, 1), head + 1):
            if (lane, n) not in ours or (lane, n) not in theirs or ours[lane, n].digest != theirs[lane, n].digest:
                return False
        self.heads.forget(lane)
        if head:
            self.heads.advance(theirs[lane, head])
        return True

    def _without_beginning(self, lanes: Sequence[LaneId]) -> list[LaneId]:
        """Return the lanes whose last event the peer has but not the first. A process that stalled, and took an emptied
        table for the previous one, continued there behind the old head."""
        begun = [lane for lane in lanes if self.heads.of(lane).sequence > 1 and lane not in self.divergence.stopped]
        try:
            held = self._peer.get([(lane, 1) for lane in begun]) if begun else {}
        except DamagedEvent:  # it exists; the comparison reports what is wrong with it
            return []
        return [lane for lane in begun if (lane, 1) not in held]

    def _begin(self, lane: LaneId) -> bool:
        """Copy what the peer lacks before its first event of this lane, the lane's first event last: after a crash on the
        way the lane still counts as incomplete. Returns False when the lane must wait."""
        try:
            first = next(self._peer.read(lane, limit=1), None)
        except DamagedEvent:
            return True  # the events behind it are compared, and refused
        end = first.sequence - 1 if first is not None else 0
        while end:
            low = max(1, end - _BACKWARDS + 1)
            try:
                part = list(self._home.read(lane, low, end))
            except DamagedEvent as error:
                self.divergence.refuse(lane, id_of(lane, low), f"damaged at home: {error}")
                return True
            if len(part) != end - low + 1:
                self.divergence.refuse(lane, id_of(lane, low + len(part)), "missing from its home lane")
                return True
            answer = self.insert([part])
            if isinstance(answer, RegionUnavailable):
                return False
            if not answer:  # another process is filling it, too
                outcomes = dict(zip(part, self._peer.insert_each(part), strict=True))
                self.divergence.compare([event for event, outcome in outcomes.items() if outcome is Insert.TAKEN])
                if lane in self.divergence.stopped or Insert.NOT_NOW in outcomes.values():
                    return lane in self.divergence.stopped
            end = low - 1
        self.heads.forget(lane)
        self.heads.learn([lane])
        return True

    def agree(self, lane: LaneId, sequences: Collection[int]) -> bool:
        """Return whether home and peer hold the same undamaged events at these sequences of a lane: equal heads do not prove
        what is stored before them."""
        positions = {(lane, sequence) for sequence in sequences}
        try:
            ours, theirs = self._home.get(positions), self._peer.get(positions)
        except DamagedEvent:
            return False
        return {at: event.digest for at, event in ours.items()} == {at: event.digest for at, event in theirs.items()}

    def _tail(self, lane: LaneId) -> tuple[list[Event], bool]:
        """Return the events that the peer lacks, after a check that home holds the same event at the peer's head."""
        head = self.heads.of(lane)
        found, more = home_page(self.divergence, lane, max(head.sequence, 1), None)
        if not head.sequence or lane in self.divergence.stopped:
            return found, more
        if not found:
            self._peer_ahead(lane, head)
        elif found[0].sequence != head.sequence:
            self.divergence.refuse(
                lane, id_of(lane, head.sequence), "held by the peer and missing from its home lane", head.digest
            )
        elif found[0].digest != head.digest:
            self.divergence.fork(found[0], head.digest)
        elif found[1:] or not more:
            return found[1:], more
        else:  # the event behind it is damaged: read alone, it is refused
            return home_page(self.divergence, lane, head.sequence + 1, None)
        return [], False

    def _peer_ahead(self, lane: LaneId, head: Head) -> None:
        """Handle a peer that has more of this lane than its home, which was restored or emptied and is not brought up yet:
        the lane waits. If the events that home has differ, it is a fork all the same."""
        try:
            last = next(self._home.read(lane, limit=1, reverse=True), None)
            held = self._peer.get([(lane, last.sequence)]) if last is not None else {}
        except DamagedEvent as error:
            self.divergence.refuse(lane, f"{lane.key}#head", f"damaged at home or at the peer: {error}")
            return
        other = held.get((lane, last.sequence)) if last is not None else None
        if last is not None and (other is None or other.digest != last.digest):
            self.divergence.fork(last, other.digest if other is not None else b"")
            return
        self._ahead.add(lane)
        self.divergence.log.warning(
            "link.peer_ahead", stream=str(lane.stream), home=last.sequence if last else 0, peer=head.sequence
        )


def home_page(divergence: Divergence, lane: LaneId, first: int, last: int | None) -> tuple[list[Event], bool]:
    """Return up to 100 events and 1 MB of the home lane, and whether more follow.

    Events before a damaged one are returned; a lane whose next event is damaged is stopped.
    """
    found: list[Event] = []
    size = 0
    try:
        for event in divergence.home.read(lane, first, last, limit=MAX_TRANSACTION):
            found.append(event)
            size += size_of(event)
            if size > _READ_BYTES:
                return found, True
    except DamagedEvent as error:
        if not found:
            divergence.refuse(lane, id_of(lane, first), f"damaged at home: {error}")
        return found, bool(found)
    return found, len(found) == MAX_TRANSACTION
