"""Disable-wins flag: Baquero, Almeida, Shoker, "Pure Operation-Based Replicated Data Types", 2017."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from projectors.crdt.base import Made, State, Tag
from projectors.crdt.dots import beyond, joined, merged, with_dot, without_covered
from projectors.crdt.ewflag import check_switch
from replicator.domain.vector import VersionVector


@dataclass(frozen=True, slots=True)
class DisableWinsFlag:
    """Disable-wins flag: true or false, false at first. State: `{"enabled": boolean, "off": {region: sequence}, "on":
    {region: sequence}}`.

    `enabled` says that there was an enable at all; `off` are the disables that hold, the latest of each region; `on` is what
    enables had observed that a view has not seen yet. Bounded by the regions.
    """

    rule: str = "An enabled flag is on once every disable of it has been observed by an enable: disable wins."
    source: str = "Baquero, Almeida, Shoker: Pure Operation-Based Replicated Data Types, arXiv:1710.04469, 2017"

    def initial(self) -> State:
        return {"enabled": False, "off": {}, "on": {}}

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        check_switch(operation)
        if not operation:
            return {**state, "off": with_dot(state["off"], state["on"], tag.region, tag.sequence)}
        return {
            "enabled": True,
            "off": without_covered(state["off"], tag.context),
            "on": joined(state["on"], tag.context),
        }

    def compact(self, state: State, seen: VersionVector) -> State:
        return {**state, "on": beyond(state["on"], seen)}

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        ours, theirs = VersionVector(left["on"]), VersionVector(right["on"])
        off = merged(left["off"], right["off"], left_seen.join(ours), right_seen.join(theirs))
        state = {"enabled": left["enabled"] or right["enabled"], "off": off, "on": dict(ours.join(theirs).items())}
        return self.compact(state, left_seen.join(right_seen))

    def value(self, state: State) -> Any:
        return state["enabled"] and not state["off"]

    def discarded(self, left: Made, right: Made) -> Made | None:
        if left.operation == right.operation:
            return None
        return left if left.operation else right

    def total(self, states: Mapping[str, State]) -> Any:
        """Return true when some cell was enabled and no cell is disabled."""
        return any(state["enabled"] for state in states.values()) and not any(state["off"] for state in states.values())
