"""Observed-remove set, add wins: Bieniusa, Zawirski, Preguiça, Shapiro, Baquero, Balegas, Duarte, "An optimized
conflict-free replicated set", INRIA RR-8083, 2012.

An add is tagged with its event's (region, sequence). A remove takes away the adds that its writer had observed, and
nothing else, so an add that is concurrent with it stays. A remove may arrive before an add that it observed (their
lanes travel on different links); its context is kept until the view has seen everything in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from projectors.crdt.base import InvalidOperation, Made, Run, State, Tag, apply_each
from projectors.crdt.checks import is_text
from projectors.crdt.dots import beyond, each, joined, merged, put, with_dot, without_covered
from replicator.domain.errors import shown
from replicator.domain.vector import VersionVector


@dataclass(frozen=True, slots=True)
class Add:
    """Operation: add `element` to the set."""

    element: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Operation: remove `element`, as far as its writer has seen it, from the set."""

    element: str


@dataclass(frozen=True, slots=True)
class OrSet:
    """Observed-remove set of strings. State: `{"adds": {element: {region: sequence}}, "removed": {element: {region:
    sequence}}}`.

    Of several adds of an element from one region only the latest is kept: whatever removes it has observed the earlier.
    `removed` holds only what a view has not seen yet, so it is empty whenever nothing is on its way. Bounded by the elements
    in the set times the regions.
    """

    rule: str = "An element is in the set while some add of it has not been observed by a remove of it: add wins."
    source: str = "Bieniusa et al.: An optimized conflict-free replicated set, INRIA RR-8083, 2012"

    def initial(self) -> State:
        return {"adds": {}, "removed": {}}

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        check_element(operation)
        element = operation.element
        tags, removed = state["adds"].get(element, {}), state["removed"].get(element, {})
        if isinstance(operation, Add):
            alive = with_dot(tags, removed, tag.region, tag.sequence)
            return state if alive is tags else {"adds": put(state["adds"], element, alive), "removed": state["removed"]}
        context = tag.context
        return {
            "adds": put(state["adds"], element, without_covered(tags, context)),
            "removed": put(state["removed"], element, joined(removed, context)),
        }

    def apply_run(self, state: State, run: Run) -> State:
        """Apply the adds to one copy of the set."""
        region = run[0][1].region
        adds, removed, dead = dict(state["adds"]), state["removed"], False
        for operation, event in run:
            if type(operation) is not Add:
                return apply_each(self, state, run)
            element = operation.element
            if type(element) is not str or not element.isascii():
                check_element(operation)
            waiting = removed.get(element) if removed else None
            tags = adds.get(element)
            if waiting is None and (tags is None or (len(tags) == 1 and tags.get(region, event.sequence) < event.sequence)):
                adds[element] = {region: event.sequence}  # no other region has added it: the latest of a region counts
            else:
                adds[element] = alive = with_dot(tags or {}, waiting or {}, region, event.sequence)
                dead |= not alive  # an earlier remove had seen it
        return {"adds": each(adds, lambda tags: tags) if dead else adds, "removed": removed}

    def compact(self, state: State, seen: VersionVector) -> State:
        return {"adds": state["adds"], "removed": each(state["removed"], lambda context: beyond(context, seen))}

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        adds: dict[str, Any] = {}
        removed: dict[str, Any] = {}
        for element in sorted({*left["removed"], *right["removed"]}):
            removed[element] = dict(_context(left, element).join(_context(right, element)).items())
        for element in sorted({*left["adds"], *right["adds"]}):
            tags = merged(
                left["adds"].get(element, {}),
                right["adds"].get(element, {}),
                left_seen.join(_context(left, element)),
                right_seen.join(_context(right, element)),
            )
            if tags:
                adds[element] = tags
        return self.compact({"adds": adds, "removed": removed}, left_seen.join(right_seen))

    def reset(self, state: State, context: VersionVector) -> State:
        """Return the state without the adds that the context covers."""
        return {"adds": each(state["adds"], lambda tags: without_covered(tags, context)), "removed": state["removed"]}

    def value(self, state: State) -> Any:
        return sorted(state["adds"])

    def discarded(self, left: Made, right: Made) -> Made | None:
        if left.operation.element != right.operation.element or type(left.operation) is type(right.operation):
            return None
        return left if isinstance(left.operation, Remove) else right

    def total(self, states: Mapping[str, State]) -> Any:
        """Return the union of all cells."""
        return sorted({element for state in states.values() for element in state["adds"]})


def check_element(operation: Any) -> None:
    """Refuse all but the adding and the removing of a string."""
    if not isinstance(operation, Add | Remove) or not is_text(operation.element):
        raise InvalidOperation(f"a set takes Add(text) or Remove(text), not {shown(operation)}")


def _context(state: State, element: str) -> VersionVector:
    return VersionVector(state["removed"].get(element, {}))
