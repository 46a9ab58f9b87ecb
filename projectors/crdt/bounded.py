"""Bounded counter: Balegas, Serra, Duarte, Ferreira, Shapiro, Rodrigues, Preguiça, "Extending Eventually Consistent Cloud
Databases for Enforcing Numeric Invariants", SRDS 2015: a stock that regions share without coordination.

Each region holds rights to a part of the stock. It takes only what its own rights allow (`may_take`), and hands rights to
another region with a transfer. Its own lane has all that it ever took and gave, so what it decides on can only lack rights
that are still on their way to it: the stock never falls below zero, under any partition.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from projectors.crdt.base import InvalidOperation, Made, State, Tag
from projectors.crdt.checks import check_amount, clamped
from projectors.crdt.dots import beyond, each, joined, put
from replicator.domain.canonical import MAX_SAFE_INTEGER
from replicator.domain.errors import InvalidName, shown
from replicator.domain.names import check_region
from replicator.domain.vector import VersionVector


@dataclass(frozen=True, slots=True)
class Restock:
    """Operation: add `n` to the stock; the rights to it are the writing region's."""

    n: int


@dataclass(frozen=True, slots=True)
class Take:
    """Operation: take `n` from the stock, by the writing region's rights."""

    n: int


@dataclass(frozen=True, slots=True)
class Transfer:
    """Operation: hand the rights to `n` over to region `to`."""

    n: int
    to: str


_PARTS = ("rights", "pending", "overdrawn")
Parts = tuple[int, dict[str, Counter[str]]]
"""Available amount, and the other parts of the value by region."""


def may_take(value: Mapping[str, Any], n: int, region: str) -> bool:
    """Return whether `region` may take `n`, or hand over the rights to it, going by the field's value. Writers call it in
    their precondition."""
    return bool(n <= value["rights"].get(region, 0) and n <= value["available"])


@dataclass(frozen=True, slots=True)
class BoundedCounter:
    """Bounded counter: a stock and each region's rights to it. State: `{"lanes": {region: [restocked, taken, {to: handed
    over}, last sequence counted]}, "awaited": {region: {region: sequence}}}`. Bounded by the square of the regions.

    Value: `{"available": n, "rights": {region: n}, "pending": {region: n}, "overdrawn": {region: n}}`. `available` is the
    sum of the rights less what is overdrawn, and no rights are shown below zero. What a region took beyond the rights that
    the view knows of is `pending` while the view lacks events that the region had observed (a lane is late): it lessens
    nothing, since rights on their way are none of the others'. It is `overdrawn` once the view has them all: that writer
    broke the rule. An overdraft stands until later rights cover it, and while it stands `may_take` grants no more than is
    there.
    """

    rule: str = (
        "Every restock, take and transfer counts once; a region that takes only by its own rights never takes too much."
    )
    source: str = (
        "Balegas et al.: Extending Eventually Consistent Cloud Databases for Enforcing Numeric Invariants, SRDS 2015"
    )

    def initial(self) -> State:
        return {"lanes": {}, "awaited": {}}

    def apply(self, state: State, operation: Any, tag: Tag) -> State:
        if not isinstance(operation, Restock | Take | Transfer):
            raise InvalidOperation(f"a stock takes Restock(n), Take(n) or Transfer(n, to), not {shown(operation)}")
        check_amount(operation.n, "a stock")
        restocked, taken, given, last = state["lanes"].get(tag.region, (0, 0, {}, 0))
        awaited = state["awaited"]
        if isinstance(operation, Transfer):
            _check_receiver(operation, tag)
            given = {**given, operation.to: given.get(operation.to, 0) + operation.n}
        elif isinstance(operation, Restock):
            restocked += operation.n
        else:
            taken += operation.n
        if tag.sequence <= last:
            return state
        if max(restocked, taken, sum(given.values())) > MAX_SAFE_INTEGER:
            raise InvalidOperation(
                f"a stock's sum of {tag.region} would pass 2^53 - 1 with {shown(operation)}; use larger units"
            )
        if not isinstance(operation, Restock):
            others = {region: sequence for region, sequence in tag.observed.items() if region != tag.region}
            awaited = put(awaited, tag.region, joined(awaited.get(tag.region, {}), VersionVector(others)))
        return {"lanes": {**state["lanes"], tag.region: [restocked, taken, given, tag.sequence]}, "awaited": awaited}

    def compact(self, state: State, seen: VersionVector) -> State:
        return {"lanes": state["lanes"], "awaited": each(state["awaited"], lambda context: beyond(context, seen))}

    def merge(self, left: State, left_seen: VersionVector, right: State, right_seen: VersionVector) -> State:
        lanes, awaited = dict(left["lanes"]), left["awaited"]
        for region, entry in right["lanes"].items():
            if region not in lanes or entry[3] > lanes[region][3]:
                lanes[region] = entry
        for region, context in right["awaited"].items():
            awaited = put(awaited, region, joined(awaited.get(region, {}), VersionVector(context)))
        return self.compact({"lanes": lanes, "awaited": awaited}, left_seen.join(right_seen))

    def value(self, state: State) -> Any:
        available, parts = self._parts(state)
        return {"available": available, **{part: dict(numbers) for part, numbers in parts.items()}}

    def _parts(self, state: State) -> Parts:
        rights: Counter[str] = Counter()
        for region, (restocked, taken, given, _) in state["lanes"].items():
            rights[region] += restocked - taken - sum(given.values())
            rights.update(given)
        short = {region: -n for region, n in rights.items() if n < 0}
        held = Counter({region: max(n, 0) for region, n in rights.items()})
        pending = Counter({region: n for region, n in short.items() if region in state["awaited"]})
        overdrawn = Counter({region: n for region, n in short.items() if region not in state["awaited"]})
        available = max(held.total() - overdrawn.total(), 0)
        return available, {"rights": held, "pending": pending, "overdrawn": overdrawn}

    def discarded(self, left: Made, right: Made) -> Made | None:
        return None

    def total(self, states: Mapping[str, State]) -> Any:
        """Return the sums of all cells, part by part, at most 2^53 - 1 each."""
        available = 0
        total: dict[str, Counter[str]] = {part: Counter() for part in _PARTS}
        for state in states.values():
            n, parts = self._parts(state)
            available += n
            for part in _PARTS:
                total[part].update(parts[part])
        shown = {part: {region: clamped(n) for region, n in numbers.items()} for part, numbers in total.items()}
        return {"available": clamped(available), **shown}


def _check_receiver(operation: Transfer, tag: Tag) -> None:
    if type(operation.to) is not str:
        raise InvalidOperation(f"a stock's rights go to a region, by its name, not to {shown(operation.to)}")
    try:
        check_region(operation.to)
    except InvalidName as error:
        raise InvalidOperation(f"a stock's rights go to a region: {error}") from None
    if operation.to == tag.region:
        raise InvalidOperation(f"a stock's rights go to another region, not from {tag.region} to {shown(operation.to)}")
