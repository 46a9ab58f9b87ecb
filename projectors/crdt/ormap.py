"""Observed-remove map: Almeida, Shoker, Baquero, "Delta State Replicated Data Types", Journal of Parallel and Distributed
Computing 111, 2018: a map whose values are replicated types themselves.

An update of a key is tagged with its event's (region, sequence). A remove takes away the updates that its writer had
observed and all that they had put into the key's contents ("reset-remove"): what is made anew under the key starts empty,
and holds besides only what is concurrent with the remove. So a nested type must be able to forget exactly what a context
covers, whatever has arrived since: a type that keeps a tag with everything it shows. A sum, a maximum or a last writer's
value does not say what it would be without the covered part, so those are refused where the map is declared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from projectors.crdt.base import Crdt, InvalidOperation, Made, State, Tag, may_be_state
from projectors.crdt.checks import is_text
from projectors.crdt.dots import beyond, each, joined, merged, put, with_dot, without_covered
from projectors.crdt.mvregister import LatestRegister, MvRegister
from projectors.crdt.orset import Remove
from replicator.domain.errors import InvalidConfig, shown
from replicator.domain.vector import VersionVector

MAX_NESTING = 4
"""Maximum number of maps within each other: each takes three of the 32 levels of JSON that a view may have."""


class Resettable(Crdt, Protocol):
    """Port: type that can be nested in a map."""

    def reset(self, state: State, context: VersionVector) -> State:
        """Return the state without the contributions of the events that the context covers."""


@dataclass(frozen=True, slots=True)
class Update:
    """Operation: do `operation` to the contents of `key`."""

    key: str
    operation: Any


@dataclass(frozen=True, slots=True)
class OrMap:
    """Observed-remove map: a replicated type for each key. State: `{"keys": {key: {"updates": {region: sequence}, "state":
    nested state}}, "removed": {key: {region: sequence}}}`.

    `removed` holds only what a view has not seen yet, and so does the nested state of a key that is not in the map. Bounded
    by the keys in the map times (the regions and the nested state's bound). Raises InvalidConfig for a nested type without
    `reset`, and for more than MAX_NESTING maps within each other.
    """

    of: Resettable
    rule: str = (
        "A key is in the map while some update of it has not been observed by a remove of it, and its contents are made of "
        "such updates alone: update wins."
    )
    source: str = "Almeida, Shoker, Baquero: Delta State Replicated Data Types, JPDC 111, 2018"
    depth: int = 1

    def __post_init__(self) -> None:
        if not hasattr(self.of, "reset"):
            raise InvalidConfig(
                f"a map cannot hold {type(self.of).__name__}: it cannot forget exactly what a remove had observed. "
                "Use OrSet, MvRegister, LatestRegister, EnableWinsFlag or OrMap"
            )
        if self.depth > 3 * (MAX_NESTING - 1) + 1:
            raise InvalidConfig(f"more than {MAX_NESTING} maps within each other; flatten them")
        if isinstance(self.of, MvRegister | OrMap):
            object.__setattr__(self, "of", replace(self.of, depth=self.depth + 3))

    def initial(self) -> State:
        return {"keys": {}, "removed": {}}

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        keys, removed = state["keys"], state["removed"]
        if isinstance(operation, Remove) and is_text(operation.element):
            key, context = operation.element, tag.context
            removed = put(removed, key, joined(removed.get(key, {}), context))
            return {"keys": put(keys, key, self._cut(keys.get(key), context)), "removed": removed}
        if not isinstance(operation, Update) or not is_text(operation.key):
            raise InvalidOperation(f"a map of types takes Update(text, operation) or Remove(text), not {shown(operation)}")
        key, waiting = operation.key, removed.get(operation.key, {})
        entry = keys.get(key, self._empty())
        # An update removed before it arrived adds nothing to the contents, yet removes from them what it had observed.
        nested = self.of.reset(self.of.apply(entry["state"], operation.operation, tag), VersionVector(waiting))
        updates = with_dot(entry["updates"], waiting, tag.region, tag.sequence)
        return {"keys": put(keys, key, self._entry(updates, nested)), "removed": removed}

    def is_state(self, state: Any) -> bool:
        if type(state) is not dict or state.keys() != {"keys", "removed"} or type(state["keys"]) is not dict:
            return False
        return all(
            type(entry) is dict and entry.keys() == {"updates", "state"} and may_be_state(self.of, entry["state"])
            for entry in state["keys"].values()
        )

    def compact(self, state: State, seen: VersionVector) -> State:
        return {
            "keys": each(state["keys"], lambda entry: self._entry(entry["updates"], self.of.compact(entry["state"], seen))),
            "removed": each(state["removed"], lambda context: beyond(context, seen)),
        }

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        keys: dict[str, Any] = {}
        removed: dict[str, Any] = {}
        for key in sorted({*left["removed"], *right["removed"]}):
            removed[key] = dict(_context(left, key).join(_context(right, key)).items())
        for key in sorted({*left["keys"], *right["keys"]}):
            ours, theirs = left["keys"].get(key, self._empty()), right["keys"].get(key, self._empty())
            ours_gone, theirs_gone = left_seen.join(_context(left, key)), right_seen.join(_context(right, key))
            nested = self.of.merge(ours["state"], left_seen, theirs["state"], right_seen)
            nested = self.of.reset(nested, _context(left, key).join(_context(right, key)))
            updates = merged(ours["updates"], theirs["updates"], ours_gone, theirs_gone)
            if entry := self._entry(updates, nested):
                keys[key] = entry
        return self.compact({"keys": keys, "removed": removed}, left_seen.join(right_seen))

    def reset(self, state: State, context: VersionVector) -> State:
        """Return the state without the updates that the context covers, and without what they had put into the contents."""
        return {"keys": each(state["keys"], lambda entry: self._cut(entry, context)), "removed": state["removed"]}

    def value(self, state: State) -> Any:
        return {key: self.of.value(entry["state"]) for key, entry in state["keys"].items() if self._shown(entry)}

    def discarded(self, left: Made, right: Made) -> Made | None:
        """Return the remove when one key is updated and removed; for two updates, the one that the nested type discards."""
        ours, theirs = left.operation, right.operation
        if _key(ours) != _key(theirs):
            return None
        if isinstance(ours, Update) and isinstance(theirs, Update):
            nested = Made(ours.operation, left.tag)
            lost = self.of.discarded(nested, Made(theirs.operation, right.tag))
            return None if lost is None else left if lost is nested else right
        if isinstance(ours, Remove) and isinstance(theirs, Remove):
            return None
        return left if isinstance(ours, Remove) else right

    def total(self, states: Mapping[str, State]) -> Any:
        """Return the keys of all cells, each with the nested type's total over the cells that have it."""
        cells: dict[str, dict[str, State]] = {}
        for owner, state in states.items():
            for key, entry in state["keys"].items():
                if self._shown(entry):
                    cells.setdefault(key, {})[owner] = entry["state"]
        return {key: self.of.total(held) for key, held in cells.items()}

    def _shown(self, entry: State) -> bool:
        """Return whether the key is in the map. It is not if its register has no assignment and could only show a null that
        was never assigned: a remove may take away the last one left, and leave an update that this one had replaced."""
        return bool(entry["updates"]) and not (isinstance(self.of, LatestRegister) and not entry["state"]["values"])

    def _empty(self) -> State:
        return {"updates": {}, "state": self.of.initial()}

    def _entry(self, updates: dict[str, int], nested: State) -> State:
        return {"updates": updates, "state": nested} if updates or nested != self.of.initial() else None

    def _cut(self, entry: State, context: VersionVector) -> State:
        if entry is None:
            return None
        return self._entry(without_covered(entry["updates"], context), self.of.reset(entry["state"], context))


def _key(operation: Update | Remove) -> str:
    return operation.key if isinstance(operation, Update) else operation.element


def _context(state: State, key: str) -> VersionVector:
    return VersionVector(state["removed"].get(key, {}))
