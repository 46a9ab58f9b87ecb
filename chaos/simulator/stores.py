"""Tables and control state of simulated regions, and how a process in some region reaches them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from chaos.simulator.network import Mishap, Unanswered
from replicator.control import Guard, Value
from replicator.domain.event import NO_EVENTS, Event, Head
from replicator.domain.names import LaneId
from replicator.errors import RegionUnavailable
from replicator.memory import MemoryStorage
from replicator.memory_control import MemoryControl
from replicator.storage import Insert, Position
from replicator.store_errors import OutcomeUnknown

if TYPE_CHECKING:
    from chaos.simulator.region import Region
    from chaos.simulator.world import World

T = TypeVar("T")


class Control(MemoryControl):
    """The control state of one table."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def identity(self) -> str:
        return self._name

    def scopes(self) -> dict[str, dict[str, str]]:
        """All that is kept, as it is now."""
        return {scope: dict(held) for scope, held in self._scopes.items()}

    def restore(self, scopes: Mapping[str, Mapping[str, str]]) -> None:
        """Hold what `scopes` once gave."""
        self._scopes = {scope: dict(held) for scope, held in scopes.items()}

    def under(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Every key, with its scope, of the scopes that begin so."""
        for scope in sorted(self._scopes):
            if scope.startswith(prefix):
                for key in sorted(self._scopes[scope]):
                    yield scope, key


class Table(MemoryStorage):
    """An events table. Tells `added` of every event that is put into it, and `broken` when a lane gets a gap or a fork."""

    def __init__(
        self, name: str, control: Control, added: Callable[[Event], None], broken: Callable[[str, str], None]
    ) -> None:
        super().__init__(control)
        self._name = name
        self._added = added
        self._broken = broken
        self._ends: dict[LaneId, Head] = {}

    def identity(self) -> str:
        return self._name

    @property
    def lanes_held(self) -> Mapping[LaneId, Mapping[int, Event]]:
        return self._lanes

    def end(self, lane: LaneId) -> Head:
        return self._ends.get(lane, NO_EVENTS)

    def restore(self, lanes: Mapping[LaneId, Mapping[int, Event]]) -> None:
        """Hold these events, of which no stream tells."""
        self._lanes = {lane: dict(events) for lane, events in lanes.items()}
        self._ends = {lane: Head.of(events[max(events)]) for lane, events in lanes.items()}

    def insert(self, events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        added = super().insert(events, guards)
        if added:
            for event in events:
                self._note(event)
        return added

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        outcomes = super().insert_each(events)
        for event, outcome in zip(events, outcomes, strict=True):
            if outcome is Insert.ADDED:
                self._note(event)
        return outcomes

    def read(
        self, lane: LaneId, first: int = 1, last: int | None = None, *, limit: int | None = None, reverse: bool = False
    ) -> Iterator[Event]:
        end = self._ends.get(lane)
        if end is None:
            return iter(())
        if reverse and limit == 1 and last is None:
            return iter((self._lanes[lane][end.sequence],))
        held = self._lanes[lane]
        if len(held) != end.sequence:
            return super().read(lane, first, last, limit=limit, reverse=reverse)
        until = end.sequence if last is None else min(last, end.sequence)
        sequences = range(until, first - 1, -1) if reverse else range(first, until + 1)
        return iter([held[sequence] for sequence in sequences[:limit]])

    def _note(self, event: Event) -> None:
        end = self._ends.get(event.lane, NO_EVENTS)
        if event.sequence != end.sequence + 1:
            self._broken("gap", f"{self._name}: {event.id} was put behind {end.sequence}")
        elif event.prev != end.digest:
            self._broken("fork", f"{self._name}: {event.id} does not follow what it was put behind")
        if event.sequence > end.sequence:
            self._ends[event.lane] = Head.of(event)
        self._added(event)


@dataclass(slots=True)
class Reached:
    """The events table of `there`, as a process in `source` reaches it. `own` is the region whose lanes it may write
    (empty: any), which IAM sees to."""

    world: World
    source: str
    there: Region
    own: str = ""

    def insert(self, events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        self._allow(events)
        mishap = self._mishap(events)
        if mishap is Mishap.REFUSED or self.world.network.throttles(self.source, self.there.name):
            raise RegionUnavailable(f"{self.there.name} did not take it")
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

    def get(self, positions: Collection[Position]) -> Mapping[Position, Event]:
        return self._ask(lambda table: table.get(positions), len(positions))

    def read(
        self, lane: LaneId, first: int = 1, last: int | None = None, *, limit: int | None = None, reverse: bool = False
    ) -> Iterator[Event]:
        return self._ask(lambda table: table.read(lane, first, last, limit=limit, reverse=reverse))

    def index(self, region: str) -> Iterator[LaneId]:
        return self._ask(lambda table: table.index(region))

    def identity(self) -> str:
        return self._ask(lambda table: table.identity())

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        return self._ask(lambda table: table.lanes())

    def _allow(self, events: Sequence[Event]) -> None:
        if self.own:
            for event in events:
                if event.lane.region != self.own:
                    self.world.broken("loop", f"{self.source} wrote {event.id} to {self.there.name}, and may not")

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
    """The control state of `there`, as a process in `source` reaches it."""

    world: World
    source: str
    there: Region

    def put(self, scope: str, values: dict[str, Value]) -> None:
        self._write(lambda control: control.put(scope, values))

    def swap(self, scope: str, key: str, before: Value | None, after: Value) -> bool:
        return self._write(lambda control: control.swap(scope, key, before, after))

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
