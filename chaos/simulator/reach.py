"""Access of a process in one simulated region to the tables and the control state of another."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from chaos.simulator.environment import Environment
from chaos.simulator.simulated_network import Mishap, Unanswered
from chaos.simulator.simulated_region import Region
from chaos.simulator.stores import Control, Table
from replicator.control.control_storage import Guard, Place, Value
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import Event
from replicator.domain.names import LaneId
from replicator.eventstore.storage import Insert, Position
from replicator.eventstore.store_errors import OutcomeUnknown

T = TypeVar("T")
_STATEMENTS = 25


@dataclass(slots=True)
class Reached:
    """Events table of `there`, as a process in `source` reaches it. `own` is the region whose lanes it may write (empty:
    any), which IAM enforces."""

    world: Environment
    source: str
    there: Region
    own: str = ""

    def insert(self, events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        self._allow(events)
        mishap = self._mishap(events)
        if mishap is Mishap.REFUSED or self.world.network.throttles(self.source, self.there.name):
            raise RegionUnavailable(f"{self.there.name} did not accept the write")
        if mishap is Mishap.SENT_LOST or mishap is Mishap.LATE:
            if mishap is Mishap.LATE:
                self.there.late.append((tuple(events), tuple(guards)))
            raise OutcomeUnknown("no answer", events, guards)
        try:
            done = self._write(lambda table: table.insert(events, guards))
        except Unanswered:
            raise OutcomeUnknown("no answer", events, guards) from None
        if mishap is Mishap.ANSWER_LOST:
            raise OutcomeUnknown("no answer", events, guards)
        return done

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        self._allow(events)
        throttled = self.world.network.throttles(self.source, self.there.name)
        taken = events[1::2] if throttled else events
        if not taken:
            raise RegionUnavailable(f"{self.there.name} throttles")
        try:
            outcomes = self._write(lambda table: table.insert_each(taken))
        except Unanswered:
            raise RegionUnavailable("no answer") from None
        if throttled:
            return [outcomes[number // 2] if number % 2 else Insert.NOT_NOW for number in range(len(events))]
        return outcomes

    def get(self, positions: Collection[Position], *, consistent: bool = True) -> Mapping[Position, Event]:
        found = self._ask(lambda table: table.get(positions), len(positions))
        if consistent or self.world.requests % 3:
            return found
        ends = self.there.table.end  # every third such read comes to a replica that lacks each lane's latest event
        return {position: event for position, event in found.items() if event.sequence < ends(event.lane).sequence}

    def read(
        self, lane: LaneId, first: int = 1, last: int | None = None, *, limit: int | None = None, reverse: bool = False
    ) -> Iterator[Event]:
        return self._ask(lambda table: table.read(lane, first, last, limit=limit, reverse=reverse))

    def index(self, region: str, after: LaneId | None = None) -> Iterator[LaneId]:
        return self._ask(lambda table: table.index(region, after))

    def identity(self) -> str:
        return self._ask(lambda table: table.identity())

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        return self._ask(lambda table: table.lanes())

    def _allow(self, events: Sequence[Event]) -> None:
        if self.own:
            for event in events:
                if event.lane.region != self.own:
                    self.world.broken("loop", f"{self.source} wrote {event.id} to {self.there.name} without permission")

    def _mishap(self, events: Sequence[Event]) -> Mishap:
        if self.source != self.there.name or self.world.mishap is Mishap.NONE:
            return Mishap.NONE
        self.world.attempted = tuple(events)
        mishap, self.world.mishap = self.world.mishap, Mishap.NONE
        if mishap in (Mishap.KILLED_BEFORE, Mishap.KILLED_AFTER):
            self.world.axe.arm(1, mishap is Mishap.KILLED_AFTER)
        return mishap

    def _write(self, change: Callable[[Table], T]) -> T:
        self.world.requests += 1
        return self.world.network.cross(
            self.source, self.there.name, lambda: self.world.axe.swing(lambda: change(self.there.answering().table))
        )

    def _ask(self, question: Callable[[Table], T], count: int = 1) -> T:
        self.world.requests += count
        self.world.axe.look()
        try:
            return self.world.network.cross(self.source, self.there.name, lambda: question(self.there.answering().table))
        except Unanswered:
            raise RegionUnavailable("no answer") from None


@dataclass(slots=True)
class ReachedControl:
    """Control state of `there`, as a process in `source` reaches it."""

    world: Environment
    source: str
    there: Region

    def put(self, scope: str, values: dict[str, Value]) -> None:
        self._write(lambda control: control.put(scope, values))

    def swap(self, scope: str, key: str, before: Value | None, after: Value) -> bool:
        return self._write(lambda control: control.swap(scope, key, before, after))

    def swap_each(self, changes: Mapping[Place, tuple[Value | None, Value]]) -> None:
        each = list(changes.items())
        for start in range(0, len(each), _STATEMENTS):  # a process may be killed between any two requests
            some = dict(each[start : start + _STATEMENTS])
            self._write(lambda control, some=some: control.swap_each(some))  # type: ignore[misc]

    def get(self, scope: str, key: str) -> Value | None:
        return self._ask(lambda control: control.get(scope, key))

    def get_scopes(self, scopes: Collection[str]) -> dict[str, dict[str, Value]]:
        return self._ask(lambda control: control.get_scopes(scopes))

    def get_all(self, scope: str, limit: int | None = None, after: str = "") -> Iterator[tuple[str, Value]]:
        return self._ask(lambda control: control.get_all(scope, limit, after))

    def identity(self) -> str:
        return self._ask(lambda control: control.identity())

    def delete(self, scope: str, values: dict[str, Value]) -> None:
        self._write(lambda control: control.delete(scope, values))

    def _write(self, change: Callable[[Control], T]) -> T:
        try:
            return self.world.network.cross(
                self.source, self.there.name, lambda: self.world.axe.swing(lambda: change(self.there.answering().control))
            )
        except Unanswered:
            raise RegionUnavailable("no answer") from None

    def _ask(self, question: Callable[[Control], T]) -> T:
        self.world.axe.look()
        try:
            return self.world.network.cross(self.source, self.there.name, lambda: question(self.there.answering().control))
        except Unanswered:
            raise RegionUnavailable("no answer") from None
