"""A scenario: regions, a load, and a timeline of actions. chaos/scenarios/scenario_file.py reads one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


class AnyLoad(Protocol):
    """What a scenario says of its load."""

    @property
    def workload(self) -> type[Any]:
        """The clients: a Workload (chaos/scenarios/load.py)."""


@dataclass(frozen=True, slots=True)
class Step:
    """An action: from `at` seconds of the timeline on, for `lasts` seconds (None: done once)."""

    name: str
    arguments: Mapping[str, Any]
    at: float
    lasts: float | None = None
    when: str | None = None
    until: str | None = None
    """With a load of flights: what it waits for to begin, and to end."""

    @property
    def lasting(self) -> bool:
        return self.lasts is not None or self.until is not None

    @property
    def ends(self) -> float:
        """When it ends, as far as that is known beforehand."""
        return inf if self.until is not None else self.at + (self.lasts or 0)


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a scenario file says. `seconds` is how long clients write at least, `sessions` how many a region has."""

    name: str
    title: str
    description: str
    tags: tuple[str, ...]
    regions: int
    sessions: int
    seconds: float
    load: AnyLoad
    probes: tuple[str, ...]
    method: tuple[Step, ...]
    converge_within: float
    untested: tuple[str, ...] = ()
    """The promises that this scenario has nothing to look at for."""
    gone: int = 0
    """So many acknowledged events may go with regions that lose their data, at most."""
    kills: int = 0
    """So many workers are killed on the way, beside what steps do."""
