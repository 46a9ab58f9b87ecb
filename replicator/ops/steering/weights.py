"""Weights of regions, and their changes when writers are moved. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

Slot = tuple[str, str]
"""Key of a record: its type (`A`) and its region."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Weight of each record (`held`), and for each region that is away the weights that its return restores (`kept`).

    `kept` names the region's own records and those that were raised from 0 to receive its writers.
    """

    held: Mapping[Slot, int]
    kept: Mapping[str, Mapping[Slot, int]] = field(default_factory=dict)

    def away(self, region: str, to: str) -> Weights:
        """Return the weights with `region` at 0, and `to` above it. A `to` that is away itself returns first; if `region` is
        away to others, they get their earlier weights back."""
        before = self.back(to)
        held, kept = dict(before.held), {name: dict(slots) for name, slots in before.kept.items()}
        own = kept.pop(region, {})
        for slot in [each for each in own if each[1] not in (region, to)]:
            _lower(slot, own.pop(slot), held, kept)
        for kind, name in before.held:
            if name != region:
                continue
            if held[kind, region] > 0:
                own[kind, region] = held[kind, region]
                held[kind, region] = 0
            if held.get((kind, to)) == 0 or _raised((kind, to), kept):  # a stand-by only
                own[kind, to] = 0
                held[kind, to] = held[kind, to] or own.get((kind, region)) or 1  # it carries as much as the region did
        return Weights(held, {**kept, **({region: own} if own else {})})

    def back(self, region: str) -> Weights:
        """Return the weights from before `away`. Unchanged if the region is not away. A weight that was given to the region
        meanwhile stays."""
        held, kept = dict(self.held), {name: dict(slots) for name, slots in self.kept.items()}
        for slot, weight in kept.pop(region, {}).items():
            if slot[1] != region:
                _lower(slot, weight, held, kept)
            elif slot in held:
                held[slot] = held[slot] or weight
        return Weights(held, kept)


def _raised(slot: Slot, kept: Mapping[str, Mapping[Slot, int]]) -> bool:
    """Return whether a region that is away has raised this record of another."""
    return any(slot in slots for name, slots in kept.items() if name != slot[1])


def _lower(slot: Slot, weight: int, held: dict[Slot, int], kept: dict[str, dict[Slot, int]]) -> None:
    """Restore this weight of a raised record, unless another region that is away needs it raised."""
    if slot not in held or _raised(slot, kept):
        return
    if slot in kept.get(slot[1], {}):  # raised, and sent away since: it returns to its first weight
        kept[slot[1]][slot] = weight
    else:
        held[slot] = weight
