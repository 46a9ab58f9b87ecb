"""PN-counter: Shapiro et al. 2011, specification 7, with one pair of sums per region."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from projectors.crdt.base import InvalidOperation, Made, Run, State, Tag, are_entries
from projectors.crdt.checks import clamped
from replicator.domain.canonical import MAX_SAFE_INTEGER
from replicator.domain.errors import shown
from replicator.domain.vector import VersionVector


@dataclass(frozen=True, slots=True)
class PnCounter:
    """PN-counter: a sum of integers. State: `{region: [added, subtracted, last sequence counted]}`.

    The last sequence makes a repeated operation a no-op. Only integers: sums of floats depend on their order. Bounded by the
    regions.
    """

    rule: str = "Every increment and decrement counts exactly once, whatever is concurrent with it."
    source: str = "Shapiro, Preguiça, Baquero, Zawirski: A comprehensive study of CRDTs, RR-7506, specification 7 (2011)"

    def initial(self) -> State:
        return {}

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        if type(operation) is not int:
            raise InvalidOperation(f"a counter takes integers, not {shown(operation)}")
        added, subtracted, last = state.get(tag.region, (0, 0, 0))
        if tag.sequence <= last:
            return state
        if operation >= 0:
            added += operation
        else:
            subtracted -= operation
        _check_sums(added, subtracted, tag.region, operation)
        return {**state, tag.region: [added, subtracted, tag.sequence]}

    def apply_run(self, state: State, run: Run) -> State:
        """Add the operations up first, then apply the sum."""
        region = run[0][1].region
        added, subtracted, last = state.get(region, (0, 0, 0))
        operation, counted = 0, last
        for operation, event in run:
            if type(operation) is not int:
                raise InvalidOperation(f"a counter takes integers, not {shown(operation)}")
            if (sequence := event.sequence) > counted:
                counted = sequence
                if operation >= 0:
                    added += operation
                else:
                    subtracted -= operation
        _check_sums(added, subtracted, region, operation)
        return {**state, region: [added, subtracted, counted]} if counted > last else state

    def is_state(self, state: Any) -> bool:
        return are_entries(state, int, int, int)

    def compact(self, state: State, seen: VersionVector) -> State:
        return state

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        merged = dict(left)
        for region, entry in right.items():
            if region not in merged or entry[2] > merged[region][2]:
                merged[region] = entry
        return merged

    def value(self, state: State) -> Any:
        return _sum(state)

    def discarded(self, left: Made, right: Made) -> Made | None:
        return None

    def total(self, states: Mapping[str, State]) -> Any:
        """Return the sum of all cells, at most 2^53 - 1 from zero."""
        return clamped(sum(map(_sum, states.values())))


def _check_sums(added: int, subtracted: int, region: str, operation: int) -> None:
    if max(added, subtracted) > MAX_SAFE_INTEGER:
        raise InvalidOperation(f"a counter's sum of {region} would pass 2^53 - 1 with {shown(operation)}; use larger units")


def _sum(state: State) -> int:
    return sum(added - subtracted for added, subtracted, _ in state.values())
