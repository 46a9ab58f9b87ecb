"""Multi-value register: Shapiro et al. 2011, specification 10. Concurrent assignments are all kept, for others to choose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from projectors.crdt.base import InvalidOperation, Made, State, Tag
from projectors.crdt.checks import canonical, check_json
from projectors.crdt.dots import beyond, joined, merged
from projectors.crdt.lww import Assign
from replicator.domain.canonical import same_json
from replicator.domain.errors import shown
from replicator.domain.vector import VersionVector


@dataclass(frozen=True, slots=True)
class MvRegister:
    """Multi-value register: the values that no later assignment has observed. State: `{"values": {region: [sequence, hlc,
    value]}, "overwritten": {region: sequence}}`.

    At most one value a region. `overwritten` holds only what a view has not seen yet. `depth` is how deep the view's JSON
    holds the state.
    """

    rule: str = "Every assignment that no other assignment has observed is kept; the value is the list of all of them."
    source: str = "Shapiro, Preguiça, Baquero, Zawirski: A comprehensive study of CRDTs, RR-7506, specification 10 (2011)"
    depth: int = 1

    def initial(self) -> State:
        return {"values": {}, "overwritten": {}}

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        if not isinstance(operation, Assign) or operation.at is not None:
            raise InvalidOperation(f"a register ordered by what was observed takes Assign(value), not {shown(operation)}")
        check_json(operation.value, "a register", self.depth + 3)
        values, context = state["values"], tag.context
        overwritten = joined(state["overwritten"], context)
        new = tag.sequence > max(overwritten.get(tag.region, 0), values[tag.region][0] if tag.region in values else 0)
        kept = {region: entry for region, entry in values.items() if not context.covers(region, entry[0])}
        if new:
            kept[tag.region] = [tag.sequence, str(tag.hlc), operation.value]
        return {"values": kept, "overwritten": overwritten}

    def compact(self, state: State, seen: VersionVector) -> State:
        return {"values": state["values"], "overwritten": beyond(state["overwritten"], seen)}

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        ours, theirs = VersionVector(left["overwritten"]), VersionVector(right["overwritten"])
        gone = left_seen.join(ours), right_seen.join(theirs)
        values = merged(left["values"], right["values"], *gone, sequence=lambda entry: int(entry[0]))
        overwritten = dict(ours.join(theirs).items())
        return self.compact({"values": values, "overwritten": overwritten}, left_seen.join(right_seen))

    def reset(self, state: State, context: VersionVector) -> State:
        """Return the state without the values that the context covers."""
        values = {region: entry for region, entry in state["values"].items() if not context.covers(region, entry[0])}
        return {"values": values, "overwritten": state["overwritten"]}

    def value(self, state: State) -> Any:
        """Return each different value once, in the order of the code points of their canonical JSON with a `}` behind it: so
        10 stands before 1, and "a" before "b"."""
        return _distinct(entry[2] for entry in state["values"].values())

    def discarded(self, left: Made, right: Made) -> Made | None:
        return None

    def total(self, states: Mapping[str, State]) -> Any:
        """Return the values of all cells, each different one once."""
        return _distinct(entry[2] for state in states.values() for entry in state["values"].values())


@dataclass(frozen=True, slots=True)
class LatestRegister(MvRegister):
    """Last-writer-wins register for maps: it keeps as many entries as there are regions, so that a remove can take away
    those that it had observed and leave the others. State as of MvRegister."""

    rule: str = (
        "Among the assignments that no other assignment has observed, the one with the latest (HLC, region) is shown."
    )

    def value(self, state: State) -> Any:
        entries = [(entry[1], region, entry[0]) for region, entry in state["values"].items()]
        return state["values"][max(entries)[1]][2] if entries else None

    def discarded(self, left: Made, right: Made) -> Made | None:
        if same_json(left.operation.value, right.operation.value):
            return None
        return min(left, right, key=lambda made: (str(made.tag.hlc), made.tag.region, made.tag.sequence))

    def total(self, states: Mapping[str, State]) -> Any:
        """Return the latest assignment of all cells; between two streams alike in all else, the later owner's by name."""
        entries = [
            (entry[1], region, entry[0], owner)
            for owner, state in states.items()
            for region, entry in state["values"].items()
        ]
        if not entries:
            return None
        _, region, _, owner = max(entries)
        return states[owner]["values"][region][2]


def _distinct(values: Iterable[Any]) -> list[Any]:
    return [value for _, value in sorted({canonical(value): value for value in values}.items())]
