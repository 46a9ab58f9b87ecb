"""Base of every CRDT here: a pure state, changed by operations that events carry, mergeable, and with canonical bytes.

They are operation-based over events (Shapiro, Preguiça, Baquero, Zawirski, "A comprehensive study of Convergent and
Commutative Replicated Data Types", INRIA RR-7506, 2011): an event's (region, sequence) is the operation's unique tag, and
the vector its writer had observed is its causal context. Each lane's operations are applied in lane order, lanes interleave
in any order. The state is then a function of the set of events alone, so it is the same bytes everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

from replicator.domain.clock import Hlc
from replicator.domain.errors import MeridianError
from replicator.domain.event import Event
from replicator.domain.vector import VersionVector

State = Any
"""State of a CRDT: JSON (objects, arrays, strings, integers, booleans, null) that is never changed in place."""


class InvalidOperation(MeridianError, ValueError):
    """An event carries a value that the field's CRDT cannot take."""


@dataclass(frozen=True, slots=True)
class Tag:
    """Tag of an operation: its event's identity, time and causal context."""

    region: str
    sequence: int
    hlc: Hlc
    observed: VersionVector

    @classmethod
    def of(cls, event: Event) -> Tag:
        """Return the tag of an event's operations."""
        return cls(event.region, event.sequence, event.hlc, event.observed)

    @property
    def context(self) -> VersionVector:
        """Causal context of the writer: what it had observed, and its own lane before this event."""
        return self.observed.advance(self.region, self.sequence - 1) if self.sequence > 1 else self.observed

    def concurrent(self, other: Tag) -> bool:
        """Return whether neither writer had seen the other's event."""
        return not (self.context.covers(other.region, other.sequence) or other.context.covers(self.region, self.sequence))


@dataclass(frozen=True, slots=True)
class Made:
    """Operation with the tag of the event that made it."""

    operation: Any
    tag: Tag


Run = Sequence[tuple[Any, Event]]
"""Operations of one lane, in its order, each with the event that made it."""


class Crdt(Protocol):
    """Conflict-free replicated data type. All methods are pure."""

    @property
    def rule(self) -> str:
        """Conflict rule in one sentence."""

    @property
    def source(self) -> str:
        """Publication that describes the type: authors, title, year."""

    def initial(self) -> State:
        """Return the state before any operation."""

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        """Return the state after one more operation of the tag's lane. Raises InvalidOperation."""

    def compact(self, state: State, seen: VersionVector) -> State:
        """Drop what no event outside `seen` can need. `seen` covers every event applied to `state`."""

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        """Return the state of the union of both sides' events. Commutative, associative, idempotent."""

    def value(self, state: State) -> Any:
        """Return the value that readers see, as JSON."""

    def discarded(self, left: Made, right: Made) -> Made | None:
        """Return the one of two concurrent operations of which the rule discards something; None when both are kept whole,
        or say the same. Symmetric, and independent of every other operation."""

    def total(self, states: Mapping[str, State]) -> Any:
        """Return the value that readers see for the cells of a row, each fed by a stream of its own (owner -> state): JSON
        that does not depend on their order."""


@runtime_checkable
class AppliesRuns(Protocol):
    """CRDT that applies many operations at once faster than one by one."""

    def apply_run(self, state: State, run: Run) -> State:
        """Return the same state as `apply` on one after the other. Raises InvalidOperation, without naming the operation."""


@runtime_checkable
class JudgesStates(Protocol):
    """CRDT that decides itself which values are states of it."""

    def is_state(self, state: Any) -> bool:
        """Return whether a JSON value can be a state of this type."""


def may_be_state(crdt: Crdt, state: Any) -> bool:
    """Return whether a stored JSON value can be a state of a type: as the type decides, or else by the kind and the members
    of its initial state."""
    if isinstance(crdt, JudgesStates):
        return crdt.is_state(state)
    first = crdt.initial()
    if first is None:
        return True
    return type(state) is type(first) and (not isinstance(first, dict) or not first or state.keys() == first.keys())


def are_entries(state: Any, *kinds: type) -> bool:
    """Return whether a state is an object of arrays, each with values of exactly these kinds."""
    return type(state) is dict and all(
        type(entry) is list and tuple(type(value) for value in entry) == kinds for entry in state.values()
    )


def applying_runs(crdt: Crdt) -> Callable[[State, Run], State]:
    """Return the fastest function by which a type applies many operations of a lane."""
    return crdt.apply_run if isinstance(crdt, AppliesRuns) else partial(apply_each, crdt)


def apply_each(crdt: Crdt, state: State, run: Run) -> State:
    """Return the state after a run, its operations applied one by one."""
    for operation, event in run:
        state = crdt.apply(state, operation, Tag.of(event))
    return state
