"""Two-phase set: Shapiro et al. 2011, specification 12: a removed element never comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from projectors.crdt.base import Made, State, Tag
from projectors.crdt.orset import Add, Remove, check_element
from replicator.domain.vector import VersionVector


@dataclass(frozen=True, slots=True)
class TwoPhaseSet:
    """Two-phase set of strings. State: `{"in": [element], "out": [element]}`, both sorted.

    Bounded by the elements ever named: those that are out are kept for good.
    """

    rule: str = (
        "An element that was removed once, anywhere, is out for good; an added one is in until then: remove is final."
    )
    source: str = "Shapiro, Preguiça, Baquero, Zawirski: A comprehensive study of CRDTs, RR-7506, specification 12 (2011)"

    def initial(self) -> State:
        return {"in": [], "out": []}

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        check_element(operation)
        element, held, out = operation.element, state["in"], state["out"]
        if element in out or (isinstance(operation, Add) and element in held):
            return state
        if isinstance(operation, Add):
            return {"in": sorted([*held, element]), "out": out}
        return {"in": [other for other in held if other != element], "out": sorted([*out, element])}

    def compact(self, state: State, seen: VersionVector) -> State:
        return state

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        out = {*left["out"], *right["out"]}
        return {"in": sorted({*left["in"], *right["in"]} - out), "out": sorted(out)}

    def value(self, state: State) -> Any:
        return list(state["in"])

    def discarded(self, left: Made, right: Made) -> Made | None:
        if left.operation.element != right.operation.element or type(left.operation) is type(right.operation):
            return None
        return right if isinstance(left.operation, Remove) else left

    def total(self, states: Mapping[str, State]) -> Any:
        """Return the elements that are in some cell and out of none."""
        out = {element for state in states.values() for element in state["out"]}
        return sorted({element for state in states.values() for element in state["in"]} - out)
