"""Last-writer-wins map: a last-writer-wins register for each key (Shapiro et al. 2011, specification 8), in which removing
the key is an assignment too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from projectors.crdt.base import InvalidOperation, Made, State, Tag, are_entries
from projectors.crdt.checks import check_json, is_text
from projectors.crdt.orset import Remove
from replicator.domain.canonical import same_json
from replicator.domain.errors import shown
from replicator.domain.vector import VersionVector


@dataclass(frozen=True, slots=True)
class Put:
    """Operation: set the key to the value."""

    key: str
    value: Any


@dataclass(frozen=True, slots=True)
class LwwMap:
    """Last-writer-wins map: one value for each key. State: `{key: [hlc, region, sequence, value]}`, without the value if the
    key is removed.

    Bounded by the keys ever named: a removed key stays, as an earlier assignment may still come.
    """

    rule: str = "For each key, the put or remove with the latest (HLC, region, sequence) is kept; the others are dropped."
    source: str = "Shapiro, Preguiça, Baquero, Zawirski: A comprehensive study of CRDTs, RR-7506, specification 8 (2011)"

    def initial(self) -> State:
        return {}

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        key, new = _assigned(operation, tag)
        if key in state and _rank(new) <= _rank(state[key]):
            return state
        return {**state, key: new}

    def is_state(self, state: Any) -> bool:
        if type(state) is not dict:
            return False
        stamps = {key: entry[:3] if type(entry) is list and len(entry) in (3, 4) else entry for key, entry in state.items()}
        return are_entries(stamps, str, str, int)

    def compact(self, state: State, seen: VersionVector) -> State:
        return state

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        later = {key: entry for key, entry in right.items() if key not in left or _rank(entry) > _rank(left[key])}
        return {**left, **later}

    def value(self, state: State) -> Any:
        return {key: entry[3] for key, entry in state.items() if len(entry) > 3}

    def discarded(self, left: Made, right: Made) -> Made | None:
        (key, ours), (other, theirs) = _assigned(left.operation, left.tag), _assigned(right.operation, right.tag)
        if key != other or same_json(ours[3:], theirs[3:]):
            return None
        return left if _rank(ours) < _rank(theirs) else right

    def total(self, states: Mapping[str, State]) -> Any:
        """Return, for each key, the last put or remove of all cells; between two streams alike in all else, the later
        owner's by name."""
        last: dict[str, list[Any]] = {}
        for owner in sorted(states):
            last.update({key: e for key, e in states[owner].items() if key not in last or _rank(e) >= _rank(last[key])})
        return self.value(last)


def _assigned(operation: Any, tag: Tag) -> tuple[str, list[Any]]:
    stamp = [str(tag.hlc), tag.region, tag.sequence]
    if isinstance(operation, Remove) and is_text(operation.element):
        return operation.element, stamp
    if isinstance(operation, Put) and is_text(operation.key):
        check_json(operation.value, "a map", 3)
        return operation.key, [*stamp, operation.value]
    raise InvalidOperation(f"a map takes Put(text, value) or Remove(text), not {shown(operation)}")


def _rank(entry: list[Any]) -> list[Any]:
    return entry[:3]
