"""Grow-only set: Shapiro et al. 2011, specification 11."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from projectors.crdt.base import InvalidOperation, Made, State, Tag
from projectors.crdt.checks import is_text
from projectors.crdt.orset import Add
from replicator.domain.errors import shown
from replicator.domain.vector import VersionVector


@dataclass(frozen=True, slots=True)
class GSet:
    """Grow-only set of strings: it never loses one. State: the sorted list. Bounded by the elements ever added."""

    rule: str = "An element that was added once, anywhere, stays in the set for good."
    source: str = "Shapiro, Preguiça, Baquero, Zawirski: A comprehensive study of CRDTs, RR-7506, specification 11 (2011)"

    def initial(self) -> State:
        return []

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        if not isinstance(operation, Add) or not is_text(operation.element):
            raise InvalidOperation(f"a grow-only set takes Add(text), not {shown(operation)}")
        return state if operation.element in state else sorted([*state, operation.element])

    def compact(self, state: State, seen: VersionVector) -> State:
        return state

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        return sorted({*left, *right})

    def value(self, state: State) -> Any:
        return list(state)

    def discarded(self, left: Made, right: Made) -> Made | None:
        return None

    def total(self, states: Mapping[str, State]) -> Any:
        """Return the union of all cells."""
        return sorted({element for state in states.values() for element in state})
