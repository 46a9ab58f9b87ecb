"""Values of streams, asked of the events themselves: now, at a moment of their history, or one after the other.

A query starts from the stored view where there is one, so a long stream costs as many reads as it has new events. It may
keep views itself (`keep_after`), where no projector runs. What it returns is what the projector's view will be at the same
version vector, to the byte.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from projectors.projection import Projection, Reveal, forgotten_in, without
from projectors.sink import Change, Sink
from projectors.view import View
from replicator.domain.event import Event
from replicator.domain.names import StreamId
from replicator.domain.token import ConsistencyToken
from replicator.domain.vector import EMPTY, VersionVector
from replicator.errors import DamagedEvent
from replicator.history import Moment, moment_of, vector_at
from replicator.state import StreamState
from replicator.store import EventStore


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A stream's value at one version vector. `token` names it; `at` is the time of the latest event in it, None before
    any; `event` is, in a history, the event that made it."""

    stream: StreamId
    value: dict[str, Any]
    vector: VersionVector
    token: ConsistencyToken
    at: datetime | None = None
    event: Event | None = None


class Query:
    """Values of one projection. `sink` holds its views; `keep_after` is how many events a read may fold before it keeps
    the view itself (0: never). Safe to share between threads. All methods raise ProjectionFailed for an event that the
    projection cannot digest, and what EventStore.read raises."""

    def __init__(
        self,
        projection: type[Projection],
        store: EventStore,
        sink: Sink | None = None,
        *,
        reveal: Reveal | None = None,
        keep_after: int = 0,
    ) -> None:
        self.projection = projection
        self._store = store
        self._sink = sink
        self._reveal = reveal
        self._keep_after = keep_after

    def now(self, stream: StreamId | str, at_least: ConsistencyToken | str | None = None, timeout: float = 2.0) -> Snapshot:
        """The value of everything that is here, and at least of what the token names (see EventStore.state)."""
        state = self._store.state(stream, at_least, timeout)
        return self._snapshot(state, self._view(state))

    def at(self, stream: StreamId | str, moment: Moment, timeout: float = 2.0) -> Snapshot:
        """The value as it was at a moment: after an event of a lane (`AtSequence`), at a token, at a time.

        A time is judged by the events' own times, and by what is here now: an event that arrives later may belong to it.
        """
        token = moment if isinstance(moment, ConsistencyToken | str) else None
        state = self._store.state(stream, token, timeout)
        cut = state.cut(vector_at(self._store, state, moment))
        return self._snapshot(cut, self._view(cut))

    def history(
        self, stream: StreamId | str, after: ConsistencyToken | str | None = None, timeout: float = 2.0
    ) -> Iterator[Snapshot]:
        """The value after each event, in stream order: after those that the token names, or from the beginning."""
        state = self._store.state(stream, after, timeout)
        vector = EMPTY if after is None else self._store.token(after).vector(state.stream)
        states = self._states(state.cut(vector))
        for event in state.events(vector):
            states, vector = self._step(states, event, state, vector)
            view = self.projection.view(str(state.stream), states, vector)
            yield Snapshot(state.stream, view.value, vector, _token(state, vector, event), moment_of(event.hlc), event)

    def value_of(self, state: StreamState) -> dict[str, Any]:
        """The value at a state: what makes a query the `value` of a precondition `When`."""
        return self._view(state).value

    def _snapshot(self, state: StreamState, view: View) -> Snapshot:
        at = moment_of(state.latest) if state.vector else None
        return Snapshot(state.stream, view.value, view.vector, state.token(), at)

    def _view(self, state: StreamState) -> View:
        stored = self._stored(state.stream)
        start = stored
        if start is not None and (start.version != self.projection.version or not start.vector <= state.vector):
            start = None  # made by other code, or ahead of what is asked for
        if start is not None and start.vector == state.vector:
            return start
        events = list(state.events(start.vector if start is not None else EMPTY))
        states = self._folded(start.state if start is not None else self.projection.initial(), events, state)
        view = self.projection.view(str(state.stream), states, state.vector)
        if 0 < self._keep_after <= len(events):
            self._keep(stored, view, state)
        return view

    def _stored(self, stream: StreamId) -> View | None:
        if self._sink is None:
            return None
        key = (self.projection.name, str(stream))
        try:
            return self._sink.load([key]).get(key)
        except DamagedEvent:
            return None  # the projector says so; the events are the truth

    def _keep(self, stored: View | None, view: View, state: StreamState) -> None:
        """Save the view, unless it is no step forward, or holds what has not arrived here and may yet turn out forked."""
        before = stored.vector if stored is not None else None
        if self._sink is not None and not state.pulled and (before is None or before <= view.vector):
            self._sink.save([Change(before, view)])  # where somebody else was faster, theirs is as good

    def _states(self, state: StreamState) -> dict[str, Any]:
        return self._folded(self.projection.initial(), state.events(), state)

    def _folded(self, states: dict[str, Any], events: Iterable[Event], state: StreamState) -> dict[str, Any]:
        known = forgotten_in(states)
        for event in events:
            states = self.projection.apply(states, event, self._reveal)
        while (gone := forgotten_in(states)) != known:  # what was folded before may hold what is forgotten now
            known, states = gone, without(self.projection.initial(), gone)
            for event in state.events():
                states = self.projection.apply(states, event, self._reveal)
        return states

    def _step(
        self, states: dict[str, Any], event: Event, state: StreamState, vector: VersionVector
    ) -> tuple[dict[str, Any], VersionVector]:
        vector = vector.advance(event.region, event.sequence)
        moved = self.projection.apply(states, event, self._reveal)
        if forgotten_in(moved) != forgotten_in(states):
            moved = self._states(state.cut(vector))
        return moved, vector


def _token(state: StreamState, vector: VersionVector, event: Event) -> ConsistencyToken:
    return ConsistencyToken({state.stream: vector}, event.hlc)
