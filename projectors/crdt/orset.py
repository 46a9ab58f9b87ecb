"""Observed-remove set, add wins: Bieniusa, Zawirski, Preguiça, Shapiro, Baquero, Balegas, Duarte, "An optimized
conflict-free replicated set", INRIA RR-8083, 2012.

An add is tagged with its event's (region, sequence). A remove takes away the adds that its writer had observed, and
nothing else, so an add that is concurrent with it stays. A remove may arrive before an add that it observed (their
lanes travel on different links); its context is kept until the view has seen everything in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from projectors.crdt.base import InvalidOperation, State, Tag
from replicator.domain.vector import VersionVector


@dataclass(frozen=True, slots=True)
class Add:
    element: str


@dataclass(frozen=True, slots=True)
class Remove:
    element: str


@dataclass(frozen=True, slots=True)
class OrSet:
    """A set of strings. State: `{"adds": {element: {region: sequence}}, "removed": {element: {region: sequence}}}`.

    Of several adds of an element from one region only the latest is kept: whatever removes it has observed the earlier.
    `removed` holds only what a view has not seen yet, so it is empty whenever nothing is on its way.
    """

    rule: str = "An element is in the set while some add of it has not been observed by a remove of it: add wins."

    def initial(self) -> State:
        return {"adds": {}, "removed": {}}

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        if not isinstance(operation, Add | Remove) or not isinstance(operation.element, str):
            raise InvalidOperation(f"a set takes Add(text) or Remove(text), not {operation!r}")
        element = operation.element
        tags, removed = state["adds"].get(element, {}), state["removed"].get(element, {})
        if isinstance(operation, Add):
            if tag.sequence <= max(removed.get(tag.region, 0), tags.get(tag.region, 0)):
                return state  # removed before it arrived, or delivered twice
            tags = {**tags, tag.region: tag.sequence}
        else:
            context = tag.observed.advance(tag.region, tag.sequence - 1) if tag.sequence > 1 else tag.observed
            tags = {region: sequence for region, sequence in tags.items() if not context.covers(region, sequence)}
            removed = dict(VersionVector(removed).join(context).items())
        return {"adds": _put(state["adds"], element, tags), "removed": _put(state["removed"], element, removed)}

    def compact(self, state: State, seen: VersionVector) -> State:
        removed = state["removed"]
        for element, context in state["removed"].items():
            removed = _put(removed, element, dict(VersionVector(context).beyond(seen).items()))
        return {"adds": state["adds"], "removed": removed}

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        adds: dict[str, Any] = {}
        removed: dict[str, Any] = {}
        for element in sorted({*left["removed"], *right["removed"]}):
            context = _context(left, element).join(_context(right, element))
            removed = _put(removed, element, dict(context.items()))
        for element in sorted({*left["adds"], *right["adds"]}):
            ours, theirs = left["adds"].get(element, {}), right["adds"].get(element, {})
            tags = {}
            for region in sorted({*ours, *theirs}):
                a, b = ours.get(region, 0), theirs.get(region, 0)
                alive = max(
                    a if a == b or not (right_seen.covers(region, a) or _context(right, element).covers(region, a)) else 0,
                    b if a == b or not (left_seen.covers(region, b) or _context(left, element).covers(region, b)) else 0,
                )
                if alive:
                    tags[region] = alive
            adds = _put(adds, element, tags)
        return self.compact({"adds": adds, "removed": removed}, left_seen.join(right_seen))

    def value(self, state: State) -> Any:
        return sorted(state["adds"])


def _context(state: State, element: str) -> VersionVector:
    return VersionVector(state["removed"].get(element, {}))


def _put(entries: dict[str, Any], element: str, entry: dict[str, int]) -> dict[str, Any]:
    """`entries` with `element` set to `entry`, or without it when `entry` is empty."""
    if entry:
        return {**entries, element: entry}
    return {other: value for other, value in entries.items() if other != element} if element in entries else entries
