"""Queries for values of streams, folded from the events themselves: now, at a moment of their history, or one by one.

A query starts from the stored view if there is one, so a long stream costs as many reads as it has new events. It may keep
views itself (`keep_after`), where no projector runs. What it returns is what the projector's view will be at the same
version vector, to the byte.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import structlog

from projectors.crdt import BoundedCounter, GCounter, PnCounter
from projectors.engine.sink import BROKEN, Change, Sink, ViewRefused
from projectors.model.projection import Projection, ProjectionFailed, Reveal, forgotten_in, without
from projectors.model.view import MAX_VIEW_BYTES, View
from replicator.domain.clock import ZERO, Hlc
from replicator.domain.errors import DamagedEvent, InvalidEvent, RegionUnavailable
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.token import ConsistencyToken
from replicator.domain.vector import EMPTY, VersionVector
from replicator.eventstore.history import Moment, moment_of, vector_at
from replicator.eventstore.store import EventStore
from replicator.eventstore.stream_state import StreamState

log = structlog.get_logger()

_SUMS = (PnCounter, GCounter, BoundedCounter)
"""Types that may refuse an operation for the sum that it leads to, and not only for what it is."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Value of a stream at one version vector. `token` names it; `at` is the time of the latest event in it, None before
    any; `event` is, in a history, the event that made it."""

    stream: StreamId
    value: dict[str, Any]
    vector: VersionVector
    token: ConsistencyToken
    at: datetime | None = None
    event: Event | None = None


class _Stored(NamedTuple):
    """Stored view of a stream: the view to start from, and the vector to save one over. They differ when the stored view
    counts as absent."""

    view: View | None
    before: VersionVector | None


_NOTHING = _Stored(None, None)


class Query:
    """Queries for values of one projection. `sink` holds its views; `keep_after` is how many events a read may fold before
    it keeps the view itself (0: never). Safe to share between threads. All methods raise ProjectionFailed for an event that
    the projection cannot process, and what EventStore.state raises; a sink that does not answer fails nothing."""

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
        self._told = False

    def now(self, stream: StreamId | str, at_least: ConsistencyToken | str | None = None, timeout: float = 2.0) -> Snapshot:
        """Return the value of all events that are here, and at least of those that the token names (see
        EventStore.state)."""
        stored = self._stored(stream)  # read first: a view that a projector moves meanwhile would be ahead, and of no use
        state = self._store.state(stream, at_least, timeout)
        return self._snapshot(state, self._view(state, stored))

    def at(
        self,
        stream: StreamId | str,
        moment: Moment,
        at_least: ConsistencyToken | str | None = None,
        timeout: float = 2.0,
    ) -> Snapshot:
        """Return the value as it was at a moment: after an event of a lane (`AtSequence`), at a token, at a time.

        A time is judged by the events' own times, and by what is here now with what `at_least` names: an event that arrives
        later may belong to it. Raises NotHereYet when an event that belongs to the moment or to `at_least` cannot be
        fetched.
        """
        end = time.monotonic() + timeout
        stored = self._stored(stream)
        token = moment if isinstance(moment, ConsistencyToken | str) else None
        state = self._store.state(stream, self._store.join(token, at_least), timeout)
        vector = vector_at(self._store, state, moment)
        if not vector <= state.vector:  # the event's writer had observed what has not arrived here
            wanted = ConsistencyToken({state.stream: vector})
            state = self._store.state(state.stream, wanted, max(end - time.monotonic(), 0))
        cut = state.cut(vector)
        return self._snapshot(cut, self._view(cut, stored))

    def history(
        self,
        stream: StreamId | str,
        after: ConsistencyToken | str | None = None,
        at_least: ConsistencyToken | str | None = None,
        timeout: float = 2.0,
    ) -> Iterator[Snapshot]:
        """Yield the value after each event, in stream order: after those that `after` names, or from the beginning. Events
        that `at_least` names are included."""
        stored = self._stored(stream)
        state = self._store.state(stream, self._store.join(after, at_least), timeout)
        vector = self._store.join(after).vector(state.stream)
        states = self._view(state.cut(vector), stored).state
        for event in state.events(vector):
            vector = vector.advance(event.region, event.sequence)
            states = self._folded(states, [event], state, vector)
            view = self._written(state.stream, states, vector)
            yield Snapshot(state.stream, view.value, vector, _token(state, vector, event), moment_of(event.hlc), event)

    def value_of(self, state: StreamState) -> dict[str, Any]:
        """Return the value at a state: this makes a query the `value` of a precondition `When`."""
        return self._view(state, self._stored(state.stream)).value

    def check(self, stream: StreamId, events: Sequence[NewEvent]) -> None:
        """Raise ProjectionFailed or DamagedEvent if these events could not be digested when appended now.

        They are folded on an empty state, to check each by itself, and, if they feed a counter, also on the present value,
        to check their sum. A stream whose value already cannot be made does not fail the check.
        """
        view = self._with(stream, EMPTY, self.projection.initial(), ZERO, events)
        if view.size > MAX_VIEW_BYTES:
            reason = InvalidEvent(f"its view would have {view.size:,} bytes; sinks take {MAX_VIEW_BYTES:,}. Keep less in it")
            raise ProjectionFailed(f"projection {self.projection.name}", reason)
        fed = {kind for each in self.projection.fields.values() if isinstance(each.crdt, _SUMS) for kind in each.handlers}
        if self.projection.rows or not any(new.type in fed for new in events):
            return
        stored = self._stored(stream)
        state = self._store.cut(stream)
        try:
            present = self._view(state, stored)
        except (ProjectionFailed, DamagedEvent):
            return
        self._with(stream, present.vector, present.state, state.latest, events)

    def _with(
        self, stream: StreamId, vector: VersionVector, states: dict[str, Any], hlc: Hlc, events: Sequence[NewEvent]
    ) -> View:
        """Return the view with these events on top, as this region would append them."""
        seen, region = vector, self._store.region
        for sequence, new in enumerate(events, vector.get(region) + 1):
            event = seal(LaneId(region, stream), sequence, hlc, new, seen, GENESIS)
            self.projection.rows_of(event)
            states, vector = self.projection.apply(states, event, self._reveal), vector.advance(region, sequence)
        return self._written(stream, states, vector)

    def _snapshot(self, state: StreamState, view: View) -> Snapshot:
        at = moment_of(state.latest) if state.vector else None
        return Snapshot(state.stream, view.value, view.vector, state.token(), at)

    def _view(self, state: StreamState, stored: _Stored) -> View:
        start = stored.view
        if start is not None and not start.vector <= state.vector:
            start = None  # ahead of the state that is asked for
        if start is not None and start.vector == state.vector:
            return start
        events = list(state.events(start.vector if start is not None else EMPTY))
        states = self._folded(start.state if start is not None else self.projection.initial(), events, state, state.vector)
        view = self._written(state.stream, states, state.vector)
        if 0 < self._keep_after <= len(events):
            self._keep(stored, view, state)
        return view

    def _stored(self, stream: StreamId | str) -> _Stored:
        if self._sink is None:
            return _NOTHING
        key = self.projection.key(stream)
        try:
            view = self._sink.load([key]).get(key)
        except (DamagedEvent, ViewRefused, *BROKEN):
            return _NOTHING  # the projector reports it; the events are the truth
        except RegionUnavailable as error:
            log.warning("view.not_loaded", projection=self.projection.name, stream=str(stream), error=str(error))
            return _NOTHING  # the events can answer too
        if view is not None and (why := self.projection.misfit(view)):
            if not self._told:
                log.warning("view.of_another_declaration", projection=self.projection.name, stream=str(stream), why=why)
            self._told = True  # once a process: the projector reports each
            return _Stored(None, view.vector)
        return _NOTHING if view is None else _Stored(view, view.vector)

    def _keep(self, stored: _Stored, view: View, state: StreamState) -> None:
        """Save the view, unless it is no step forward, or no sink accepts its size, or it holds events that have not arrived
        here and may still turn out forked."""
        if self._sink is None or state.pulled or view.size > MAX_VIEW_BYTES:
            return
        if stored.before is not None and not stored.before <= view.vector:
            return
        try:
            self._sink.save([Change(stored.before, view)])  # if another writer was faster, its view is as good
        except (RegionUnavailable, ViewRefused, *BROKEN) as error:
            log.warning("view.not_kept", projection=view.projection, stream=view.key, error=str(error))

    def _folded(
        self, states: dict[str, Any], events: Iterable[Event], state: StreamState, upto: VersionVector
    ) -> dict[str, Any]:
        """Return the states after the events up to `upto`. When these reveal a forgotten subject, fold the whole stream
        anew."""
        known = forgotten_in(states)
        for event in events:
            states = self.projection.apply(states, event, self._reveal)
        while (gone := forgotten_in(states)) != known:  # what was folded before may hold data that is forgotten now
            known, states = gone, without(self.projection.initial(), gone)
            for event in state.events(upto=upto):
                states = self.projection.apply(states, event, self._reveal)
        return states

    def _written(self, stream: StreamId, states: dict[str, Any], vector: VersionVector) -> View:
        try:
            return self.projection.view(str(stream), states, vector)
        except Exception as error:  # each event was fit, their sum is not; or a type's own code is wrong
            where = f"projection {self.projection.name} cannot serialize its view of {stream} at {vector}"
            raise ProjectionFailed(where, error) from error


def _token(state: StreamState, vector: VersionVector, event: Event) -> ConsistencyToken:
    return ConsistencyToken({state.stream: vector}, event.hlc)
