"""Last-writer-wins register: Shapiro et al. 2011, specification 8; ties are broken by HLC, then region, then sequence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from projectors.crdt.base import InvalidOperation, State, Tag
from replicator.domain.canonical import encode_json
from replicator.domain.vector import VersionVector
from replicator.errors import InvalidEvent


@dataclass(frozen=True, slots=True)
class Assign:
    """Set the register to `value`. `at` orders assignments before their HLC does (a domain time, say); None if unused."""

    value: Any
    at: int | str | None = None


@dataclass(frozen=True, slots=True)
class LwwRegister:
    """One value: the one assigned last. State: `[at, hlc, region, sequence, value]`, or null."""

    rule: str = "The assignment with the latest (domain time if declared, HLC, region, sequence) stays; others are dropped."

    def initial(self) -> State:
        return None

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        if not isinstance(operation, Assign):
            raise InvalidOperation(f"a register takes Assign(value, at), not {operation!r}")
        at = operation.at
        if at is not None and type(at) not in (int, str):
            raise InvalidOperation(f"a register is ordered by an integer or a string, not {at!r}")
        _check(operation.value)
        new = [at, str(tag.hlc), tag.region, tag.sequence, operation.value]
        return new if state is None or _rank(new) > _rank(state) else state

    def compact(self, state: State, seen: VersionVector) -> State:
        return state

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        if left is None or right is None:
            return right if left is None else left
        return max(left, right, key=_rank)

    def value(self, state: State) -> Any:
        return None if state is None else state[4]


def _check(value: Any) -> None:
    """Refuse what the view's JSON could not hold (there it stands two levels deep)."""
    if value is not None and type(value) is not bool:
        try:
            encode_json({"state": [value]}, "value")
        except InvalidEvent as error:
            raise InvalidOperation(f"a register holds JSON: {error}") from None


def _rank(state: list[Any]) -> tuple[Any, ...]:
    at, hlc, region, sequence, _ = state
    kind = 0 if at is None else 1 if isinstance(at, int) else 2  # so that any two orders compare, the same everywhere
    return (kind, 0 if at is None else at, hlc, region, sequence)
