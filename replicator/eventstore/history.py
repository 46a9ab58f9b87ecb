"""History of a stream: the state at a sequence, a token or a time, and the audit trail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from replicator.domain.clock import MAX_MILLISECONDS, Hlc, milliseconds_of, time_of
from replicator.domain.errors import InvalidOperation
from replicator.domain.event import Event, NewEvent, Observed
from replicator.domain.names import check_region
from replicator.domain.token import ConsistencyToken
from replicator.domain.vector import EMPTY, VersionVector
from replicator.eventstore.stream_state import StreamState

if TYPE_CHECKING:
    from replicator.eventstore.store import EventStore

WHO, CORRELATION, CAUSATION = "who", "correlation", "causation"


@dataclass(frozen=True, slots=True)
class AtSequence:
    """The moment after event `sequence` of `region`'s lane: that event and all that its writer had observed."""

    sequence: int
    region: str


Moment = ConsistencyToken | str | AtSequence | datetime
"""Moment in a stream's history: a token (or its text), a position in a lane, or a time (with its time zone)."""


def vector_at(store: EventStore, state: StreamState, moment: Moment) -> VersionVector:
    """Return the vector of the events that belong to `moment`. For a time: all of `state` up to and including that
    millisecond.

    For a sequence it may lie beyond `state`: what the event's writer had observed need not have arrived here yet.

    Raises InvalidToken, or InvalidOperation for a moment that the stream has not had or a time without a zone.
    """
    if isinstance(moment, AtSequence):
        check_region(moment.region)
        if moment.sequence < 0 or moment.sequence > state.vector.get(moment.region):
            raise InvalidOperation(
                f"stream {state.stream} has no event {moment.sequence} from {moment.region} here; it is at {state.vector}"
            )
        if moment.sequence == 0:
            return EMPTY
        after = state.vector.capped(moment.region, moment.sequence - 1)
        event = next(e for e in state.events(after) if (e.region, e.sequence) == (moment.region, moment.sequence))
        return Observed.of([event]).vector
    if isinstance(moment, datetime):
        if moment.tzinfo is None:
            raise InvalidOperation(f"time {moment.isoformat()} has no time zone; give one, for example datetime.now(UTC)")
        ms = min(max(milliseconds_of(moment), 0), MAX_MILLISECONDS)
        ends = {region: _last_until(store, state, region, last, ms) for region, last in state.vector.items()}
        return VersionVector(ends)
    return store.token(moment).vector(state.stream)


def _last_until(store: EventStore, state: StreamState, region: str, last: int, ms: int) -> int:
    """Return the last sequence of a lane with a time of at most `ms`. Lanes run in HLC order, so a bisection finds it."""
    pulled = {event.sequence: event for event in state.pulled if event.region == region}
    low, high = 0, last
    while low < high:
        middle = (low + high + 1) // 2
        event = pulled.get(middle) or next(store.read_lane(state.stream, region, middle, middle), None)
        if event is not None and event.hlc.ms <= ms:
            low = middle
        else:
            high = middle - 1
    return low


def signed(
    new: NewEvent, *, who: str | None = None, correlation: str | None = None, causation: Event | str | None = None
) -> NewEvent:
    """Return `new` with the audit trail's metadata: the actor, the request it belongs to, the event that caused it.

    Raises InvalidEvent for a value that is not text.
    """
    cause = causation.id if isinstance(causation, Event) else causation
    given = {WHO: who, CORRELATION: correlation, CAUSATION: cause}
    return new.with_metadata({**new.metadata, **{name: text for name, text in given.items() if text is not None}})


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Audit record of one event: actor, time and action. `at` is the event's time; `digest` proves the record."""

    event_id: str
    at: datetime
    region: str
    type: str
    version: int
    who: str | None
    correlation: str | None
    causation: str | None
    metadata: Mapping[str, str]
    digest: str

    @classmethod
    def of(cls, event: Event) -> AuditEntry:
        """Return the entry of an event."""
        metadata = event.metadata
        return cls(
            event.id, moment_of(event.hlc), event.region, event.type, event.version, metadata.get(WHO),
            metadata.get(CORRELATION), metadata.get(CAUSATION), metadata, event.digest.hex(),
        )  # fmt: skip


def audit(state: StreamState, after: VersionVector = EMPTY) -> Iterator[AuditEntry]:
    """Return the audit trail of a stream, in stream order: the stream itself without its payloads."""
    return map(AuditEntry.of, state.events(after))


def moment_of(hlc: Hlc) -> datetime:
    """Return a timestamp's wall time in UTC, to the millisecond."""
    return time_of(hlc.ms)
