"""Tables and control state of simulated regions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from replicator.control.control_storage import Guard
from replicator.control.memory_control import MemoryControl
from replicator.domain.event import NO_EVENTS, Event, Head
from replicator.domain.names import LaneId
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.storage import Insert


class Control(MemoryControl):
    """Control state of one table."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def identity(self) -> str:
        return self._name

    def scopes(self) -> dict[str, dict[str, str]]:
        """Return a copy of everything that is stored."""
        return {scope: dict(held) for scope, held in self._scopes.items()}

    def restore(self, scopes: Mapping[str, Mapping[str, str]]) -> None:
        """Restore what `scopes` once returned."""
        self._scopes = {scope: dict(held) for scope, held in scopes.items()}

    def under(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Yield every key, with its scope, of the scopes with this prefix."""
        for scope in sorted(self._scopes):
            if scope.startswith(prefix):
                for key in sorted(self._scopes[scope]):
                    yield scope, key


class Table(MemoryStorage):
    """Events table. Calls `added` with every event that is put into it, and `broken` when a lane gets a gap or a fork."""

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
        """Hold these events, without records in the stream."""
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
            self._broken("gap", f"{self._name}: {event.id} was written behind {end.sequence}")
        elif event.prev != end.digest:
            self._broken("fork", f"{self._name}: {event.id} does not follow the event that it was written behind")
        if event.sequence > end.sequence:
            self._ends[event.lane] = Head.of(event)
        self._added(event)
