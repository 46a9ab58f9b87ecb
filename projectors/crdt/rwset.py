"""Observed-add set, remove wins: Baquero, Almeida, Shoker, "Pure Operation-Based Replicated Data Types", 2017.

A remove is tagged with its event's (region, sequence), and holds until an add of the element has observed it: the
observed-remove set with the parts of add and remove exchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from projectors.crdt.base import Made, State, Tag
from projectors.crdt.dots import beyond, each, joined, merged, put, with_dot, without_covered
from projectors.crdt.orset import Add, Remove, check_element
from replicator.domain.vector import VersionVector


@dataclass(frozen=True, slots=True)
class RemoveWinsSet:
    """Remove-wins set of strings. State: `{"in": [element], "removes": {element: {region: sequence}}, "added": {element:
    {region: sequence}}}`.

    Of several removes of an element from one region only the latest is kept. Those that hold are kept for good, as an add
    that has not observed them may still come: bounded by the elements ever named times the regions. `added` holds only what
    a view has not seen yet.
    """

    rule: str = "An added element is in the set once every remove of it has been observed by an add of it: remove wins."
    source: str = "Baquero, Almeida, Shoker: Pure Operation-Based Replicated Data Types, arXiv:1710.04469, 2017"

    def initial(self) -> State:
        return {"in": [], "removes": {}, "added": {}}

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        check_element(operation)
        element, added = operation.element, state["added"]
        removes, waiting = state["removes"].get(element, {}), added.get(element, {})
        if isinstance(operation, Remove):
            alive = with_dot(removes, waiting, tag.region, tag.sequence)
            if alive is removes:
                return state
        else:
            alive = without_covered(removes, tag.context)
            added = put(added, element, joined(waiting, tag.context))
        return {
            "in": _held(state["in"], element, not alive),
            "removes": put(state["removes"], element, alive),
            "added": added,
        }

    def compact(self, state: State, seen: VersionVector) -> State:
        return {**state, "added": each(state["added"], lambda context: beyond(context, seen))}

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        removes: dict[str, Any] = {}
        added: dict[str, Any] = {}
        for element in sorted({*left["added"], *right["added"]}):
            added[element] = dict(_context(left, element).join(_context(right, element)).items())
        named = {*left["in"], *right["in"], *left["removes"], *right["removes"]}
        for element in sorted(named):
            tags = merged(
                left["removes"].get(element, {}),
                right["removes"].get(element, {}),
                left_seen.join(_context(left, element)),
                right_seen.join(_context(right, element)),
            )
            if tags:
                removes[element] = tags
        state = {"in": sorted(named - {*removes}), "removes": removes, "added": added}
        return self.compact(state, left_seen.join(right_seen))

    def value(self, state: State) -> Any:
        return list(state["in"])

    def discarded(self, left: Made, right: Made) -> Made | None:
        if left.operation.element != right.operation.element or type(left.operation) is type(right.operation):
            return None
        return left if isinstance(left.operation, Add) else right

    def total(self, states: Mapping[str, State]) -> Any:
        """Return the elements that are in some cell and removed in none."""
        removed = {element for state in states.values() for element in state["removes"]}
        return sorted({element for state in states.values() for element in state["in"]} - removed)


def _held(elements: list[str], element: str, held: bool) -> list[str]:
    if (element in elements) == held:
        return elements
    return sorted([*elements, element]) if held else [other for other in elements if other != element]


def _context(state: State, element: str) -> VersionVector:
    return VersionVector(state["added"].get(element, {}))
