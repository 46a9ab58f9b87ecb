"""Enable-wins flag: Baquero, Almeida, Shoker, "Pure Operation-Based Replicated Data Types", 2017."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from projectors.crdt.base import InvalidOperation, Made, State, Tag
from projectors.crdt.dots import beyond, joined, merged, with_dot, without_covered
from replicator.domain.errors import shown
from replicator.domain.vector import VersionVector


@dataclass(frozen=True, slots=True)
class EnableWinsFlag:
    """Enable-wins flag: true or false, false at first. State: `{"on": {region: sequence}, "off": {region: sequence}}`.

    `on` are the enables that hold, the latest of each region; `off` is what disables had observed that a view has not seen
    yet. Bounded by the regions.
    """

    rule: str = "The flag is on while some enable of it has not been observed by a disable: enable wins."
    source: str = "Baquero, Almeida, Shoker: Pure Operation-Based Replicated Data Types, arXiv:1710.04469, 2017"

    def initial(self) -> State:
        return {"on": {}, "off": {}}

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        check_switch(operation)
        if operation:
            return {"on": with_dot(state["on"], state["off"], tag.region, tag.sequence), "off": state["off"]}
        return {"on": without_covered(state["on"], tag.context), "off": joined(state["off"], tag.context)}

    def compact(self, state: State, seen: VersionVector) -> State:
        return {"on": state["on"], "off": beyond(state["off"], seen)}

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        ours, theirs = VersionVector(left["off"]), VersionVector(right["off"])
        on = merged(left["on"], right["on"], left_seen.join(ours), right_seen.join(theirs))
        return self.compact({"on": on, "off": dict(ours.join(theirs).items())}, left_seen.join(right_seen))

    def reset(self, state: State, context: VersionVector) -> State:
        """Return the state without the enables that the context covers."""
        return {"on": without_covered(state["on"], context), "off": state["off"]}

    def value(self, state: State) -> Any:
        return bool(state["on"])

    def discarded(self, left: Made, right: Made) -> Made | None:
        if left.operation == right.operation:
            return None
        return right if left.operation else left

    def total(self, states: Mapping[str, State]) -> Any:
        """Return true while some cell is on."""
        return any(self.value(state) for state in states.values())


def check_switch(operation: Any) -> None:
    """Refuse all but true and false."""
    if type(operation) is not bool:
        raise InvalidOperation(f"a flag takes True or False, not {shown(operation)}")
