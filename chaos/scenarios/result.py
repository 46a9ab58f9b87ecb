"""What came of a scenario: the timeline as it went, what clients were told, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from chaos.checker.verdict import Verdict
from chaos.scenarios.scenario import Scenario


@dataclass(slots=True)
class Done:
    """A step of the timeline as it went. Seconds of the timeline."""

    name: str
    arguments: Mapping[str, Any]
    began: float
    ended: float | None = None
    said: str = ""
    struck: bool = True
    """Whether it had anything to strike: a fault that met no request is none."""


@dataclass(slots=True)
class Result:
    """What came of it."""

    scenario: Scenario
    seed: int
    regions: tuple[str, ...]
    """In the order of their names in the scenario: first, second …"""
    endpoints: Mapping[str, str] = field(default_factory=dict)
    """Where regions are that do not run on this machine."""
    steps: list[Done] = field(default_factory=list)
    calls: Mapping[str, int] = field(default_factory=dict)
    doubted: int = 0
    """Calls whose outcome was unknown at first."""
    acknowledged: int = 0
    gone: int = 0
    load_seconds: float = 0.0
    converge_seconds: float | None = None
    left: int = 0
    """Lanes and views that had not arrived when waiting for them was given up."""
    verdict: Verdict = field(default_factory=Verdict)
    series: Mapping[str, Any] = field(default_factory=dict)
    """What a picture is drawn from: chaos/scenarios/sampling.py."""

    @property
    def unexpected(self) -> list[str]:
        """Promises that nothing was looked at for, though the scenario does not say so."""
        return [name for name in self.verdict.untested if name not in self.scenario.untested]

    @property
    def unstruck(self) -> list[Done]:
        """Faults that met nothing: the scenario was not what it says."""
        return [each for each in self.steps if not each.struck]

    @property
    def kept(self) -> bool:
        """Every promise was looked at, and kept, every fault struck, and everything arrived in time."""
        in_time = self.converge_seconds is not None and self.converge_seconds <= self.scenario.converge_within
        return in_time and not self.unstruck and not self.verdict.broken and not self.unexpected and self.acknowledged > 0

    def as_json(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario.name,
            "title": self.scenario.title,
            "description": self.scenario.description,
            "seed": self.seed,
            "regions": list(self.regions),
            "endpoints": dict(self.endpoints),
            "kept": self.kept,
            "broken": self.verdict.broken,
            "not_looked_at": self.unexpected,
            "expected_untested": list(self.scenario.untested),
            "converge_within": self.scenario.converge_within,
            "promises": self.verdict.as_json(),
            "calls": dict(self.calls),
            "unknown_at_first": self.doubted,
            "acknowledged_events": self.acknowledged,
            "gone_events": self.gone,
            "load_seconds": round(self.load_seconds, 2),
            "converge_seconds": None if self.converge_seconds is None else round(self.converge_seconds, 2),
            "timeline": [
                {"action": each.name, "arguments": dict(each.arguments), "from": round(each.began, 2),
                 "until": None if each.ended is None else round(each.ended, 2), "said": each.said, "struck": each.struck}
                for each in self.steps
            ],
            "series": dict(self.series),
        }  # fmt: skip
