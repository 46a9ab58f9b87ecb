"""Grow-only counter: Shapiro et al. 2011, specification 6, with one sum per region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from projectors.crdt.base import InvalidOperation, Made, State, Tag, are_entries
from projectors.crdt.checks import check_amount, clamped
from replicator.domain.canonical import MAX_SAFE_INTEGER
from replicator.domain.errors import shown
from replicator.domain.vector import VersionVector


@dataclass(frozen=True, slots=True)
class GCounter:
    """Grow-only counter: a sum that never falls. State: `{region: [sum, last sequence counted]}`. Bounded by the regions."""

    rule: str = "Every increment counts exactly once, whatever is concurrent with it, and nothing is ever taken back."
    source: str = "Shapiro, Preguiça, Baquero, Zawirski: A comprehensive study of CRDTs, RR-7506, specification 6 (2011)"

    def initial(self) -> State:
        return {}

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        check_amount(operation, "a grow-only counter")
        counted, last = state.get(tag.region, (0, 0))
        if tag.sequence <= last:
            return state
        if counted + operation > MAX_SAFE_INTEGER:
            raise InvalidOperation(
                f"a counter's sum of {tag.region} would pass 2^53 - 1 with {shown(operation)}; use larger units"
            )
        return {**state, tag.region: [counted + operation, tag.sequence]}

    def is_state(self, state: Any) -> bool:
        return are_entries(state, int, int)

    def compact(self, state: State, seen: VersionVector) -> State:
        return state

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        later = {region: entry for region, entry in right.items() if region not in left or entry[1] > left[region][1]}
        return {**left, **later}

    def value(self, state: State) -> Any:
        return _sum(state)

    def discarded(self, left: Made, right: Made) -> Made | None:
        return None

    def total(self, states: Mapping[str, State]) -> Any:
        """Return the sum of all cells, at most 2^53 - 1."""
        return clamped(sum(map(_sum, states.values())))


def _sum(state: State) -> int:
    return sum(counted for counted, _ in state.values())
