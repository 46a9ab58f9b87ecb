"""The weights of regions, and how they change when writers are moved. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Slot = tuple[str, str]
"""A record: its type (`A`) and its region."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The weight of each record (`held`), and for each region that is away the weights that its return restores (`kept`).

    `kept` names the region's own records and those that were raised from 0 to take its writers.
    """

    held: Mapping[Slot, int]
    kept: Mapping[str, Mapping[Slot, int]] = field(default_factory=dict)

    def away(self, region: str, to: str) -> Weights:
        """`region` at 0, and `to` above it. A `to` that is away itself returns first."""
        before = self.back(to)
        held, own = dict(before.held), dict(before.kept.get(region, {}))
        for kind, name in before.held:
            if name != region:
                continue
            if held[kind, region] > 0:
                own[kind, region] = held[kind, region]
                held[kind, region] = 0
            if held.get((kind, to)) == 0:  # nobody but a stand-by: it carries as much as the region did
                own[kind, to] = 0
                held[kind, to] = own.get((kind, region)) or 1
        return Weights(held, {**before.kept, **({region: own} if own else {})})

    def back(self, region: str) -> Weights:
        """The weights from before `away`. Unchanged where the region is not away. A weight that somebody gave the region
        meanwhile stays."""
        held, kept = dict(self.held), {name: dict(slots) for name, slots in self.kept.items()}
        for slot, weight in kept.pop(region, {}).items():
            if slot not in held:
                continue
            if slot[1] == region:
                held[slot] = held[slot] or weight
            elif slot in kept.get(slot[1], {}):  # raised, and sent away since: it returns to what it had at first
                kept[slot[1]][slot] = weight
            else:
                held[slot] = weight
        return Weights(held, kept)
