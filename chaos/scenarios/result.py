"""Result of a scenario: the timeline as it went, the clients' outcomes, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.checker.verdict import Verdict
from chaos.scenarios.outage import Figures, rounded
from chaos.scenarios.scenario import Scenario

_ELSEWHERE = 5
_PRODUCTION = {
    "ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction",
    "BatchWriteItem",  # a backup that is restored
}  # fmt: skip


@dataclass(slots=True)
class Done:
    """Step of the timeline as it went. Times are seconds of the timeline."""

    name: str
    arguments: Mapping[str, Any]
    began: float
    ended: float | None = None
    said: str = ""
    struck: bool = True
    """Whether it had anything to strike: a fault that met no request does not count."""


@dataclass(slots=True)
class Result:
    """Result of one run."""

    scenario: Scenario
    seed: int
    regions: tuple[str, ...]
    """Regions in the order of their names in the scenario: first, second …"""
    endpoints: Mapping[str, str] = field(default_factory=dict)
    """Endpoints of the regions that do not run on this machine."""
    steps: list[Done] = field(default_factory=list)
    kills: Sequence[Done] = ()
    """Workers that were killed beside those that steps killed."""
    calls: Mapping[str, int] = field(default_factory=dict)
    doubted: int = 0
    """Number of calls whose outcome was unknown at first."""
    acknowledged: int = 0
    doubted_events: int = 0
    """Number of events that these were to write."""
    confirmed_events: int = 0
    """Number of them that turned out to be written."""
    gone: int = 0
    gone_lanes: int = 0
    copied: int = 0
    """Number of events that were acknowledged as held by as many regions as the load waits for, if by more than one."""
    load_seconds: float = 0.0
    converge_seconds: float | None = None
    events: Mapping[str, int] = field(default_factory=dict)
    """Acknowledged events by region, of calls since the timeline began."""
    silent: Sequence[str] = ()
    """Regions that clients call and that acknowledged nothing since the timeline began."""
    unanswered: Sequence[str] = ()
    """Sessions that had no write acknowledged after the last step was over."""
    unfinished: Sequence[str] = ()
    """Sessions that were still calling long after they should have finished."""
    left: int = 0
    """Number of lanes and views that had not arrived when waiting for them was given up."""
    verdict: Verdict = field(default_factory=Verdict)
    outage: Figures | None = None
    """Figures of the region whose clients a runbook moved."""
    views: int = 0
    """Number of views in a region."""
    writes: Mapping[str, int] = field(default_factory=dict)
    """Requests that wrote to events tables, by operation, where emulators of this machine count them."""
    memory_mb: float = 0.0
    """Memory of all processes at their peaks, in MB."""
    series: Mapping[str, Any] = field(default_factory=dict)
    """Series for the charts: chaos/scenarios/sampling.py."""

    @property
    def converge_within(self) -> float:
        """Seconds in which everything has to be everywhere. Emulators that are not ours may be many times slower."""
        return self.scenario.converge_within * (_ELSEWHERE if self.endpoints else 1)

    @property
    def unexpected(self) -> list[str]:
        """Promises for which nothing was checked, though the scenario does not allow that."""
        return [name for name in self.verdict.untested if name not in self.scenario.untested]

    @property
    def unstruck(self) -> list[Done]:
        """Faults that met nothing: the scenario did not happen as described."""
        return [each for each in self.steps if not each.struck]

    @property
    def why(self) -> list[str]:
        """Reasons why the run failed, beside broken promises: a line each."""
        found = []
        if self.converge_seconds is None or self.converge_seconds > self.converge_within:
            took = "did not converge" if self.converge_seconds is None else f"converged after {self.converge_seconds:.1f} s"
            found.append(f"the regions {took}; {self.converge_within:g} s are allowed")
        if self.silent:
            found.append(f"regions without an acknowledgement since the timeline began: {', '.join(self.silent)}")
        if self.unanswered:
            found.append(f"sessions without an acknowledged write after the last step: {', '.join(self.unanswered)}")
        if self.unfinished:
            found.append(f"sessions still calling long after the request to finish: {', '.join(self.unfinished)}")
        if self.gone > self.scenario.gone:
            found.append(f"{self.gone:,} acknowledged events are gone; expect.gone allows {self.scenario.gone:,}")
        if not self.acknowledged:
            found.append("nothing was acknowledged")
        if others := sorted(self.writes.keys() - _PRODUCTION):
            found.append(f"events were written by {', '.join(others)}, which production does not use")
        return found

    @property
    def kept(self) -> bool:
        """Whether every promise was checked and kept, every fault struck, every client was answered to the end, no more
        events are gone than may be, and everything arrived in time."""
        return not (self.why or self.unstruck or self.verdict.broken or self.unexpected)

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
            "converge_within": self.converge_within,
            "promises": self.verdict.as_json(),
            "calls": dict(self.calls),
            "unknown_at_first": self.doubted,
            "acknowledged_events": self.acknowledged,
            "acknowledged_by_region": dict(self.events),
            "silent_regions": list(self.silent),
            "unanswered_sessions": list(self.unanswered),
            "unfinished_sessions": list(self.unfinished),
            "gone_events": self.gone,
            "gone_at_most": self.scenario.gone,
            "why_not": self.why,
            "outage": self.outage.as_json() if self.outage is not None else None,
            "event_writes": dict(self.writes),
            "load_seconds": rounded(self.load_seconds),
            "converge_seconds": rounded(self.converge_seconds),
            "timeline": [
                {"action": each.name, "arguments": dict(each.arguments), "from": rounded(each.began),
                 "until": rounded(each.ended), "said": each.said, "struck": each.struck}
                for each in self.steps
            ],
            "series": dict(self.series),
        }  # fmt: skip
