"""Backlog of a link: a retry queue of pointers to lanes (hinted handoff), on any storage. Never holds a payload."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from replicator.control.control_storage import ControlStorage, Value, fitting
from replicator.control.pointers import Pointers, Spans, join
from replicator.domain.names import LaneId
from replicator.runtime.wall_clock import wall_clock

NO_CAUSE: Mapping[str, str] = MappingProxyType({})
EXTERNAL = "external"
"""Target of the publisher's link: `us-east-1>external`."""
VIEWS = "views"
"""Target of the link from a region's events to its own views: `us-east-1>views`."""
_AGES = 100_000
"""Maximum number of waiting lanes whose age is kept in memory."""


@dataclass(frozen=True, slots=True)
class Part:
    """Part of a backlog. Its lanes have waited since `since` (ms) and failed `tries` times. `causes` are those of replayed
    dead letters, by lane. `receipt` is what the backlog needs to remove the part."""

    lanes: Spans
    since: int
    tries: int = 0
    causes: Mapping[LaneId, Mapping[str, str]] = field(default_factory=dict)
    receipt: Any = None


def merged(pointers: Sequence[Pointers], receipts: Sequence[str] = ()) -> Part:
    """Merge the pointers of some messages into one part."""
    causes = {lane: each.cause for each in pointers if each.cause for lane in each.lanes}
    since, tries = min(each.since for each in pointers), max(each.tries for each in pointers)
    return Part(join(each.lanes for each in pointers), since, tries, causes, list(receipts))


class Backlog(Protocol):
    """Lanes that a link still has to copy. A taken part stays on the backlog until it is done: a crash in between loses
    nothing."""

    @property
    def link(self) -> str:
        """Name of the link."""

    @property
    def mine(self) -> bool:
        """Whether this process is to take parts. Any process may defer."""

    def defer(self, lanes: Spans, since: int, tries: int = 0, cause: Mapping[str, str] = NO_CAUSE) -> None:
        """Record that these sequences wait. Deferring again is harmless. Raises RegionUnavailable when nothing was
        recorded."""

    def take(self, limit: int) -> Part | None:
        """Return the next part, of about `limit` lanes. None at the end of a round: the next call begins another one."""

    def done(self, part: Part, failed: Collection[LaneId] = (), rest: Collection[LaneId] = ()) -> None:
        """Remove the part, except for lanes that `failed` again and the `rest` that there was no time for: they keep
        waiting."""


class TableBacklog:
    """Backlog in the control table: one pointer per lane, however many events wait."""

    def __init__(
        self, control: ControlStorage, link: str, wall: Callable[[], int] = wall_clock,
        mine: Callable[[], bool] = lambda: True,
    ) -> None:  # fmt: skip
        self.link = link
        self._mine = mine
        self._control = control
        self._scope = f"backlog#{link}"
        self._wall = wall
        self._since: dict[LaneId, int] = {}
        self._after: LaneId | None = None
        self._ended = False

    @property
    def mine(self) -> bool:
        return self._mine()

    def defer(self, lanes: Spans, since: int, tries: int = 0, cause: Mapping[str, str] = NO_CAUSE) -> None:
        """Implement Backlog.defer. A renewed pointer keeps its age: a lane with continuous writes waits no longer than any
        other."""
        self._remember({lane: since for lane in lanes if lane not in self._since})
        pointers: dict[str, Value] = {}
        for lane, (low, high) in lanes.items():
            key, first = fitting(lane.key), self._since.get(lane, since)
            older = {} if first >= since else {"first": first}
            named = {} if key == lane.key else {"lane": lane.key}
            pointers[key] = {"from": low, "to": high, "since": since, **older, **named}
        self._control.put(self._scope, pointers)

    def page(self, limit: int, after: LaneId | None = None) -> dict[LaneId, Value]:
        """Return up to `limit` waiting lanes in key order behind `after`, with their pointers."""
        found = self._control.get_all(self._scope, limit, fitting(after.key) if after else "")
        return {LaneId.from_key(value.get("lane", key)): value for key, value in found}

    def take(self, limit: int) -> Part | None:
        page = {} if self._ended else self.page(limit, self._after)
        self._ended = bool(page) and len(page) < limit
        self._after = max(page, key=lambda lane: fitting(lane.key), default=None)
        if not page:
            return None
        now = self._wall()  # pointers of earlier versions have no `since`
        lanes = {lane: (value["from"], value["to"]) for lane, value in page.items()}
        since: dict[LaneId, int] = {
            lane: value["first"] if "first" in value else value.get("since", now) for lane, value in page.items()
        }
        self._remember(since)
        return Part(lanes, min(since.values()), receipt=page)

    def done(self, part: Part, failed: Collection[LaneId] = (), rest: Collection[LaneId] = ()) -> None:
        """Implement Backlog.done. Pointers that were renewed meanwhile stay."""
        left = {*failed, *rest}
        for lane in part.receipt.keys() - left:
            self._since.pop(lane, None)
        gone = {fitting(lane.key): value for lane, value in part.receipt.items() if lane not in left}
        self._control.delete(self._scope, gone)

    def _remember(self, since: Mapping[LaneId, int]) -> None:
        if len(self._since) < _AGES:
            self._since.update(since)


class Rounds:
    """Goes round a backlog, a part at a time, for as long as lanes may wait in it.

    One thread takes parts; any may defer. After a round that left lanes behind, the next one starts after `pause` seconds.
    """

    def __init__(self, backlog: Backlog, limit: int, monotonic: Callable[[], float], pause: float = 0.0) -> None:
        self.backlog = backlog
        self.behind = True  # lanes left by an earlier process
        self._limit, self._pause, self._monotonic = limit, pause, monotonic
        self.under_way = False
        self._left = False
        self._rests_until = 0.0

    def defer(self, lanes: Spans, since: int) -> None:
        """Record that these lanes wait. Raises RegionUnavailable."""
        self.backlog.defer(lanes, since)
        self.behind = True

    def drain(self, bring: Callable[[Part], Collection[LaneId]], fits: Callable[[], bool]) -> None:
        """Go round once, while there is time (`fits`), and first to the end of a round that was cut short."""
        self.behind, rounds = True, 2 if self.under_way else 1
        while rounds:
            self.step(bring)
            rounds -= not self.under_way
            if not fits():
                return

    def step(self, bring: Callable[[Part], Collection[LaneId]]) -> bool:
        """Take the next part and `bring` it, which returns the lanes that were left. Returns whether there may be more to do
        at once."""
        if not self.backlog.mine:
            self.behind = True  # by whoever takes parts now
            return False
        if not self.under_way:
            if not self.behind or self._monotonic() < self._rests_until:
                return False
            self.under_way, self._left = True, False
            self.behind = False  # before the read: a later `defer` sets it again
        try:
            part = self.backlog.take(self._limit)
            left = bring(part) if part is not None else ()
        except BaseException:
            self._left = True
            raise
        if part is not None:
            if left:
                self._left, self._rests_until = True, self._monotonic() + self._pause
            return len(left) < len(part.lanes)
        again, self.under_way = self.behind, False
        self.behind = self.behind or self._left
        return again and not self._left
