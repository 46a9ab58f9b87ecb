"""Max- and min-register: the largest or smallest of all assignments. Baquero, Almeida, Cunha, Ferreira,
"Composition in State-based Replicated Data Types", Bulletin of the EATCS 123, 2017: the join of a chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from projectors.crdt.base import InvalidOperation, Made, State, Tag
from projectors.crdt.checks import is_integer, is_text
from replicator.domain.errors import InvalidConfig, shown
from replicator.domain.vector import VersionVector

Ordered = Literal["integer", "string"]


@dataclass(frozen=True, slots=True)
class MaxRegister:
    """Max-register: the largest integer or string of all assigned. State: that value, or null. Bounded by one value.

    Which of the two kinds it takes is declared: if the first to come decided, the event refused would depend on the order.
    Strings are ordered by code point.
    """

    of: Ordered = "integer"
    rule: str = "The largest value that was ever assigned stays, whenever it was."
    source: str = "Baquero, Almeida, Cunha, Ferreira: Composition in State-based Replicated Data Types, EATCS 123, 2017"

    def __post_init__(self) -> None:
        if self.of not in ("integer", "string"):
            raise InvalidConfig(f"a maximum or minimum is of 'integer' or 'string', not {self.of!r}")

    def initial(self) -> State:
        return None

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        if not self._takes(operation):
            wanted = "integers within +-(2^53 - 1)" if self.of == "integer" else "strings"
            raise InvalidOperation(f"this register takes {wanted}, not {shown(operation)}")
        return self._state(self._choose(self.value(state), operation))

    def compact(self, state: State, seen: VersionVector) -> State:
        return state

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        return self._state(self._choose(self.value(left), self.value(right)))

    def value(self, state: State) -> Any:
        return state

    def is_state(self, state: Any) -> bool:
        return state is None or self._takes(state)

    def _takes(self, value: Any) -> bool:
        return is_integer(value) if self.of == "integer" else is_text(value)

    def _state(self, value: Any) -> State:
        return value

    def discarded(self, left: Made, right: Made) -> Made | None:
        if left.operation == right.operation:
            return None
        return right if self._choose(left.operation, right.operation) == left.operation else left

    def total(self, states: Mapping[str, State]) -> Any:
        """Return the extremum of all cells."""
        total = None
        for state in states.values():
            total = self._choose(total, self.value(state))
        return total

    def _choose(self, left: Any, right: Any) -> Any:
        if left is None or right is None:
            return right if left is None else left
        return max(left, right)


@dataclass(frozen=True, slots=True)
class MinRegister(MaxRegister):
    """Min-register: the smallest integer or string of all assigned. State: `{"least": value}`, or null, so that a maximum's
    state is never taken for a minimum's. Otherwise as MaxRegister."""

    rule: str = "The smallest value that was ever assigned stays, whenever it was."

    def value(self, state: State) -> Any:
        return None if state is None else state["least"]

    def is_state(self, state: Any) -> bool:
        return state is None or (isinstance(state, dict) and state.keys() == {"least"} and self._takes(state["least"]))

    def _state(self, value: Any) -> State:
        return None if value is None else {"least": value}

    def _choose(self, left: Any, right: Any) -> Any:
        if left is None or right is None:
            return right if left is None else left
        return min(left, right)
