"""Last-writer-wins register: Shapiro et al. 2011, specification 8; ties are broken by HLC, then region, then sequence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from projectors.crdt.base import InvalidOperation, Made, Run, State, Tag, apply_each, are_entries
from projectors.crdt.checks import check_json, is_integer, is_text
from replicator.domain.canonical import same_json
from replicator.domain.errors import shown
from replicator.domain.vector import VersionVector


@dataclass(frozen=True, slots=True)
class Assign:
    """Operation: set the register to `value`. `at` orders assignments before their HLC (a domain time, say); None if
    unused."""

    value: Any
    at: int | str | None = None


@dataclass(frozen=True, slots=True)
class LwwRegister:
    """Last-writer-wins register: the value assigned last. State: `[at, hlc, region, sequence, value]`, or null. Bounded by
    one value."""

    rule: str = "The assignment with the latest (domain time if declared, HLC, region, sequence) stays; others are dropped."
    source: str = "Shapiro, Preguiça, Baquero, Zawirski: A comprehensive study of CRDTs, RR-7506, specification 8 (2011)"

    def initial(self) -> State:
        return None

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        if not isinstance(operation, Assign):
            raise InvalidOperation(f"a register takes Assign(value, at), not {shown(operation)}")
        at = operation.at
        if at is not None and not (is_text(at) or is_integer(at)):
            raise InvalidOperation(f"a register is ordered by an integer or a string, not {shown(at)}")
        check_json(operation.value, "a register", 2)
        new = [at, str(tag.hlc), tag.region, tag.sequence, operation.value]
        return new if state is None or _rank(new) > _rank(state) else state

    def apply_run(self, state: State, run: Run) -> State:
        """Apply the latest assignment only."""
        latest, ms, counter = None, -1, -1
        for each in run:
            operation, event = each
            if type(operation) is not Assign or operation.at is not None:
                return apply_each(self, state, run)
            check_json(operation.value, "a register", 2)
            hlc = event.hlc
            if hlc.ms > ms or (hlc.ms == ms and hlc.counter >= counter):  # a lane's sequences rise
                latest, ms, counter = each, hlc.ms, hlc.counter
        return state if latest is None else self.apply(state, latest[0], Tag.of(latest[1]))

    def is_state(self, state: Any) -> bool:
        return state is None or (type(state) is list and len(state) == 5 and are_entries({"": state[1:4]}, str, str, int))

    def compact(self, state: State, seen: VersionVector) -> State:
        return state

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        if left is None or right is None:
            return right if left is None else left
        return max(left, right, key=_rank)

    def value(self, state: State) -> Any:
        return None if state is None else state[4]

    def discarded(self, left: Made, right: Made) -> Made | None:
        if same_json(left.operation.value, right.operation.value):
            return None
        return min(left, right, key=lambda made: _rank(self.apply(None, made.operation, made.tag)))

    def total(self, states: Mapping[str, State]) -> Any:
        """Return the last assignment of all cells; between two streams alike in all else, the later owner's by name."""
        held = [(_rank(state), owner) for owner, state in states.items() if state is not None]
        return self.value(states[max(held)[1]]) if held else None


def _rank(state: list[Any]) -> tuple[Any, ...]:
    at, hlc, region, sequence, _ = state
    kind = 0 if at is None else 1 if isinstance(at, int) else 2  # so that any two orders compare, the same everywhere
    return (kind, 0 if at is None else at, hlc, region, sequence)
