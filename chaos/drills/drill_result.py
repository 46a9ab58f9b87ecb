"""Result of a drill: its JSON, its table, and the figures of many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chaos.scenarios.desks import FlightLoad
from chaos.scenarios.outage import OLD_SECONDS, Figures, rounded
from chaos.scenarios.places import REGIONS
from chaos.scenarios.result import Result
from chaos.scenarios.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Kind:
    """Properties of a scenario's drill."""

    name: str
    loses: bool
    """Whether the region's data is lost."""
    planned: bool
    """Whether nothing is wrong: no event may be missing anywhere when the clients move."""
    moves: bool
    """Whether clients are moved away and back. Otherwise both sides go on."""
    cuts: bool
    """Whether writes in the region during the outage reach no other region before it ends."""
    both_write: bool
    """Whether the region and the others go on writing to the end of the outage."""

    @classmethod
    def of(cls, scenario: Scenario) -> Kind:
        steps = {step.name for step in scenario.method}
        stay = isinstance(scenario.load, FlightLoad) and scenario.load.stay
        moves, cuts = bool(steps & {"failover", "switchover"}), "hole" in steps
        return cls(
            scenario.name,
            bool(steps & {"kill", "restore"}),
            "switchover" in steps,
            moves,
            cuts,
            cuts and (stay or not moves),
        )


@dataclass(slots=True)
class DrillResult:
    """Result of one drill. `as_json` is what `--json` writes."""

    seed: int
    terraform: bool
    result: Result
    total_seconds: float = 0.0

    @property
    def kind(self) -> Kind:
        return Kind.of(self.result.scenario)

    @property
    def copies(self) -> int:
        """Number of regions that each append waited for."""
        return self.result.scenario.load.copies if isinstance(self.result.scenario.load, FlightLoad) else 1

    @property
    def figures(self) -> Figures:
        return self.result.outage or Figures("")

    @property
    def events_per_second(self) -> float:
        return self.result.acknowledged / self.result.load_seconds if self.result.load_seconds else 0.0

    @property
    def kept(self) -> bool:
        verdict, result = self.result.verdict, self.result
        return not (verdict.broken or result.why or result.unstruck) and all(kept for _, _, kept in describe(self))

    def broken(self, *promises: str) -> int:
        """Return how often these promises were broken."""
        return sum(self.result.verdict.findings[name].broken for name in promises)

    @property
    def faults(self) -> list[dict[str, Any]]:
        """Faults of the world, in seconds since the load began."""
        figures = self.figures
        done = [(self.kind.name, figures.region, figures.at, figures.until)]
        done += [(each.name, each.arguments["target"], each.began, each.ended) for each in self.result.kills]
        return [
            {"kind": kind, "target": target, "at": rounded(at), "until": rounded(until)}
            for kind, target, at, until in sorted(done, key=lambda each: each[2])
        ]

    def as_json(self) -> dict[str, Any]:
        result, figures = self.result, self.figures
        return {
            "regions": sorted(result.regions, key=REGIONS.index),
            "kind": self.kind.name,
            "seed": self.seed,
            "deployed_by": "terraform" if self.terraform else "workers",
            "promises_kept": self.kept,
            "acknowledged": result.acknowledged,
            "copies": self.copies,
            "acknowledged_with_copies": result.copied,
            "unknown": result.doubted_events,
            "unknown_resolved_as_written": result.confirmed_events,
            "lost": self.broken("lost"),
            "from_nowhere": self.broken("from_nowhere"),
            "duplicated": self.broken("duplicated"),
            "overwritten": self.broken("changed", "acknowledged_twice"),
            "gaps": self.broken("gaps"),
            "forked": self.broken("forked", "quarantined"),
            "views": result.views,
            "views_identical": self.broken("views_complete", "views_identical") == 0,
            "truth_matches": self.broken("truth") == 0,
            "examples": result.verdict.examples,
            "rpo_events": figures.rpo_events,
            "rpo_lanes": figures.rpo_lanes,
            "rpo_events_by_runbook": figures.told_rpo,
            "gone": result.gone,
            "gone_lanes": result.gone_lanes,
            "old_events": figures.old_events,
            "old_events_missing": figures.old_missing,
            "late_events": list(figures.late_events),
            "cut_events": figures.cut_events,
            "cut_events_arrived": figures.cut_arrived,
            "rto_seconds": rounded(figures.rto_seconds),
            "failback_seconds": rounded(figures.failback_seconds),
            "converge_seconds": rounded(result.converge_seconds),
            "events_per_second": rounded(self.events_per_second),
            "load_seconds": rounded(result.load_seconds),
            "total_seconds": rounded(self.total_seconds),
            "memory_mb": rounded(result.memory_mb),
            "faults": self.faults,
        }


def describe(drill: DrillResult) -> Sequence[tuple[str, str, bool]]:
    """Return (promise, evidence, kept) of each promise, for the table at the end."""
    result, figures, kind = drill.result, drill.figures, drill.kind
    copies = (result.acknowledged - result.gone) * len(result.regions)

    def never(promise: str, evidence: str, *names: str) -> tuple[str, str, bool]:
        count = drill.broken(*names)
        return promise, f"{count:,} {evidence}", count == 0

    return [
        never("nothing that survived is lost", f"of {copies:,} copies missing", "lost"),
        never("what two regions held survived", f"of {result.copied:,} such events gone", "copies"),
        never("every event was written by a call", "events without a call", "from_nowhere"),
        never("nothing is stored twice", "duplicates", "duplicated"),
        never("nothing is overwritten", "events differ from what was written", "changed", "acknowledged_twice"),
        never("transactions are whole, causes come first", "torn or too early", "torn", "lane_order", "causal_order"),
        never("lanes have no gaps", "gaps", "gaps"),
        never("chains are intact", "forks or broken links", "forked", "quarantined"),
        ("every region converged", _seconds(result.converge_seconds, "after the last append"),
         result.converge_seconds is not None and not drill.broken("regions_identical")),
        ("views are the same bytes everywhere", f"{result.views:,} views in each of {len(result.regions)} regions",
         not drill.broken("views_complete", "views_identical") and result.views > 0),
        ("views equal the data set", "pandas, from the CSV", not drill.broken("truth")),
        ("writers were moved and came back" if kind.moves else "writers continued where they were",
         f"RTO {_seconds(figures.rto_seconds, f'from the {_fault(kind)}')}", figures.rto_seconds is not None),
        *_as_its_kind_says(figures, kind),
    ]  # fmt: skip


def _fault(kind: Kind) -> str:
    return "start" if kind.planned else kind.name


def _as_its_kind_says(figures: Figures, kind: Kind) -> Iterator[tuple[str, str, bool]]:
    """Yield the promises of a drill of this kind alone, and whether the intended faults did happen."""
    if kind.planned:
        yield "nothing was left behind", f"RPO {figures.rpo_events:,} events", figures.rpo_events == 0
    if kind.loses:
        yield (
            f"events older than {OLD_SECONDS:.0f} s at the strike survived",
            f"{figures.old_missing:,} of {figures.old_events:,} events in no other region",
            figures.old_events > 0 and figures.old_missing == 0,
        )
    if kind.both_write:
        here, there = figures.late_events
        yield (
            "both sides continued writing",
            f"{here:,} and {there:,} events in the last third of the outage",
            here > 0 and there > 0,
        )
    if kind.cuts:
        yield (
            "the links were cut",
            f"{figures.cut_arrived:,} of {figures.cut_events:,} events arrived",
            figures.cut_events > 0 and figures.cut_arrived == 0,
        )


def summarize(drill: DrillResult) -> Sequence[str]:
    """Return further remarks, a line each."""
    result, figures, kind = drill.result, drill.figures, drill.kind
    killed = len(result.kills)
    home = "until the writers were home" if kind.moves else "until every region had all earlier events"
    lines = [
        f"acknowledged   {result.acknowledged:,} events at {drill.events_per_second:,.0f} a second, "
        f"{result.doubted_events:,} without an answer at first ({result.confirmed_events:,} of them written, all settled)",
        f"outage         {kind.name} of {figures.region} for {(figures.until or 0) - figures.at:.1f} s"
        + (f", {killed} workers killed" if killed else ""),
        f"RPO            {figures.rpo_events:,} events in {figures.rpo_lanes:,} lanes acknowledged but not yet elsewhere"
        + ("" if kind.loses or drill.broken("lost") or not figures.rpo_events else "; none lost, all arrived later")
        + (f"; the runbook reports {figures.told_rpo:,}" if figures.told_rpo is not None else ""),
        f"fail-back      {_seconds(figures.failback_seconds, home)}",
        f"took           {drill.total_seconds:.1f} s, {result.memory_mb:,.0f} MB in all processes at their peaks",
    ]
    if kind.loses:
        lines.insert(3, f"gone           {result.gone:,} events in {result.gone_lanes:,} lanes survived nowhere")
    return [*lines, *(f"not kept       {why}" for why in result.why)]


def _seconds(value: float | None, since: str) -> str:
    return "never" if value is None else f"{value:.1f} s {since}"


# -- many drills -----------------------------------------------------------------------------------------------------

COLUMNS: dict[str, Callable[[DrillResult], str]] = {
    "kind": lambda drill: drill.kind.name,
    "events": lambda drill: f"{drill.result.acknowledged:,}",
    "RPO events/lanes": lambda drill: f"{drill.figures.rpo_events:,}/{drill.figures.rpo_lanes:,}",
    "gone": lambda drill: f"{drill.result.gone:,}",
    "RTO s": lambda drill: _number(drill.figures.rto_seconds),
    "fail-back s": lambda drill: _number(drill.figures.failback_seconds),
    "lost": lambda drill: f"{drill.broken('lost'):,}",
    "overwritten": lambda drill: f"{drill.broken('changed', 'acknowledged_twice'):,}",
    "duplicated": lambda drill: f"{drill.broken('duplicated'):,}",
    "forks": lambda drill: f"{drill.broken('forked', 'quarantined'):,}",
    "converged s": lambda drill: _number(drill.result.converge_seconds),
    "took s": lambda drill: _number(drill.total_seconds),
}
SHORT = ("kind", "RPO", "gone", "RTO s", "fail-back s", "lost/overwritten/ doubled/forks", "promises")


def as_markdown(drills: Sequence[DrillResult]) -> str:
    """Return a Markdown table, a row a drill."""
    told = ([figure(drill) for figure in COLUMNS.values()] for drill in drills)
    rows = [list(COLUMNS), ["---", *("---:" for _ in list(COLUMNS)[1:])], *told]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def short_figures(drill: DrillResult) -> Sequence[str]:
    """Return the figures for a terminal, in the order of SHORT without its last."""
    kind, _, rpo, gone, rto, failback, *breaches = (figure(drill) for figure in COLUMNS.values())
    return kind, rpo.partition("/")[0], gone, rto, failback, "/".join(breaches[:4])


def _number(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f}"
