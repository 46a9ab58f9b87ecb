"""Scenario: regions, a load, and a timeline of actions. chaos/scenarios/scenario_file.py reads one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Protocol

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


class AnyLoad(Protocol):
    """Load of a scenario, as its file describes it."""

    @property
    def workload(self) -> type[Any]:
        """Clients: a Workload (chaos/scenarios/load.py)."""


@dataclass(frozen=True, slots=True)
class Step:
    """Action on the timeline: from `at` seconds on, for `lasts` seconds (None: done once)."""

    name: str
    arguments: Mapping[str, Any]
    at: float
    lasts: float | None = None
    when: str | None = None
    until: str | None = None
    """With a load of flights: the conditions to begin (`when`) and to end."""

    @property
    def lasting(self) -> bool:
        return self.lasts is not None or self.until is not None

    @property
    def ends(self) -> float:
        """Time when it ends, as far as it is known beforehand."""
        return inf if self.until is not None else self.at + (self.lasts or 0)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Content of a scenario file. `seconds` is how long clients write at least, `sessions` how many a region has."""

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
    """Promises for which this scenario has nothing to check."""
    gone: int = 0
    """Maximum number of acknowledged events that may go with regions that lose their data."""
    kills: int = 0
    """Number of workers that are killed on the way, beside those that steps kill."""
