"""Operations: a write that carries its precondition as a value. Its outcome is a value, too.

    store.save(Operation("user/homer", [NewEvent("registered", {})], IfEmpty()))

The vocabulary is that of Atlassian's eventsrc (Operation, Saved | Rejected | GaveUp). A precondition is judged on the
stream as the region knows it, and the write happens only if the region's own lane has not moved since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from replicator.domain.errors import InvalidOperation
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import StreamId
from replicator.domain.token import ConsistencyToken
from replicator.eventstore.stream_state import StreamState

V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)


class Accept:
    """Verdict: the write may happen. `events`, derived from the state, are appended behind the operation's own."""

    __slots__ = ("events",)

    def __init__(self, *events: NewEvent) -> None:
        self.events = events

    def __repr__(self) -> str:
        return f"Accept({', '.join(map(repr, self.events))})"


class Reject:
    """Verdict: the write must not happen, for these reasons."""

    __slots__ = ("reasons",)

    def __init__(self, *reasons: str) -> None:
        self.reasons = reasons or ("rejected",)

    def __repr__(self) -> str:
        return f"Reject({', '.join(map(repr, self.reasons))})"


Verdict = Accept | Reject


class Precondition:
    """Condition on a stream under which a write to it may happen. `a & b` needs both, `a | b` either."""

    reads = True
    """Whether judging reads the stream: a write without that takes one round trip."""

    def judge(self, state: StreamState) -> Verdict:
        """Accept or reject on the stream as it is known. Called again when the lane has moved: must have no side effects."""
        raise NotImplementedError

    def tokens(self) -> tuple[ConsistencyToken | str, ...]:
        """Return the tokens that the stream must have reached before it is judged."""
        return ()

    def __and__(self, other: Precondition) -> Precondition:
        return _Both(self, other)

    def __or__(self, other: Precondition) -> Precondition:
        return _Either(self, other)


@dataclass(frozen=True, slots=True)
class Always(Precondition):
    """Precondition that always accepts."""

    reads = False

    def judge(self, state: StreamState) -> Verdict:
        return Accept()


@dataclass(frozen=True, slots=True)
class IfEmpty(Precondition):
    """Precondition: the stream has no event in any lane that is known here."""

    def judge(self, state: StreamState) -> Verdict:
        if not state.vector:
            return Accept()
        return Reject(f"stream {state.stream} is not empty: it is at {state.vector}")


@dataclass(frozen=True, slots=True)
class AtToken(Precondition):
    """Precondition: the stream is exactly at the token, with no later write (as far as is known here).

    Events that the token names and this region lacks are fetched from the region that wrote them.
    """

    token: ConsistencyToken | str

    def tokens(self) -> tuple[ConsistencyToken | str, ...]:
        return (self.token,)

    def judge(self, state: StreamState) -> Verdict:
        token = state.token(self.token)
        if state.stream not in token.vectors:
            raise InvalidOperation(f"the token has no entry for stream {state.stream}; give the token of a read of it")
        wanted = token.vector(state.stream)
        if state.vector == wanted:
            return Accept()
        return Reject(f"stream {state.stream} is at {state.vector}, no longer at {wanted}: read it again")


class Valuer(Protocol[V_co]):
    """Port that computes a value from a stream's events: a Reducer here, a query over a projection in `projectors`."""

    def value_of(self, state: StreamState) -> V_co:
        """Return the value of exactly the events of `state.vector`."""


@dataclass(frozen=True, slots=True)
class When(Precondition, Generic[V]):
    """Precondition decided by `test` on the stream's value: `Accept()`, `Accept(more events)` or `Reject(reasons)`."""

    value: Valuer[V]
    test: Callable[[V], Verdict]

    def judge(self, state: StreamState) -> Verdict:
        verdict: Any = self.test(self.value.value_of(state))
        if not isinstance(verdict, Accept | Reject):
            raise InvalidOperation(
                f"the test of stream {state.stream} returned {verdict!r}; return Accept(), Accept(events) or Reject(reasons)"
            )
        return verdict


@dataclass(frozen=True, slots=True)
class _Pair(Precondition):
    left: Precondition
    right: Precondition

    def tokens(self) -> tuple[ConsistencyToken | str, ...]:
        return (*self.left.tokens(), *self.right.tokens())


class _Both(_Pair):
    def judge(self, state: StreamState) -> Verdict:
        left, right = self.left.judge(state), self.right.judge(state)
        if isinstance(left, Accept) and isinstance(right, Accept):
            return Accept(*left.events, *right.events)
        return Reject(*(reason for each in (left, right) if isinstance(each, Reject) for reason in each.reasons))


class _Either(_Pair):
    def judge(self, state: StreamState) -> Verdict:
        left = self.left.judge(state)
        if isinstance(left, Accept):
            return left
        right = self.right.judge(state)
        return right if isinstance(right, Accept) else Reject(*left.reasons, *right.reasons)


@dataclass(frozen=True, slots=True)
class Operation:
    """Events for one stream, under a precondition.

    `after` is a token of what the writer has seen, of this stream and of others: the events sort after all of it and
    record what it names of this stream as observed. A precondition that reads the stream counts as having seen it.
    """

    stream: StreamId
    events: tuple[NewEvent, ...]
    precondition: Precondition = field(default_factory=Always)
    after: ConsistencyToken | str | None = None

    def __init__(
        self,
        stream: StreamId | str,
        events: Sequence[NewEvent] | NewEvent = (),
        precondition: Precondition | None = None,
        after: ConsistencyToken | str | None = None,
    ) -> None:
        given = (events,) if isinstance(events, NewEvent) else tuple(events)
        if wrong := [each for each in given if not isinstance(each, NewEvent)]:
            raise InvalidOperation(f"an operation takes NewEvent, not {wrong[0]!r}")
        object.__setattr__(self, "stream", StreamId.of(stream))
        object.__setattr__(self, "events", given)
        object.__setattr__(self, "precondition", precondition if precondition is not None else Always())
        object.__setattr__(self, "after", after)


@dataclass(frozen=True, slots=True)
class Saved:
    """Result: written, permanently. `token` names all streams that were written, as far as they are known now; `regions` are
    known to hold the events, the one that was written to first."""

    token: ConsistencyToken
    events: tuple[Event, ...]
    regions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """Result: not written, as a precondition rejected. `token` names the streams as they were judged."""

    reasons: tuple[str, ...]
    token: ConsistencyToken


@dataclass(frozen=True, slots=True)
class GaveUp:
    """Result: not written, as other writers moved the streams on every one of `attempts`. Trying again is safe."""

    attempts: int
    reason: str


Result = Saved | Rejected | GaveUp
