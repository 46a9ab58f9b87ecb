"""What a drill is asked to do, and what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.drills import sabotage
from chaos.drills.checker import Verdict
from chaos.drills.flights import check_count
from chaos.drills.kinds import KINDS, Kind
from chaos.drills.losses import OLD_SECONDS
from replicator.errors import InvalidConfig

REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2", "us-west-2", "eu-central-1", "sa-east-1")


@dataclass(frozen=True, slots=True)
class DrillConfig:
    """What to run. `events` None means the whole data set; `kills` is how many workers to `kill -9` on the way;
    `breaks` names a promise to break on purpose after convergence, to show that the checker sees it; `terraform` runs it
    on what `terraform apply` deploys, Lambdas and all; `outage` is how many seconds the outage lasts at least (None: as
    long as its kind wants); `kind` is one of chaos/drills/kinds.py."""

    events: int | None = 10_000
    regions: int = 3
    seed: int = 1
    kills: int = 0
    breaks: str | None = None
    terraform: bool = False
    outage: float | None = None
    kind: str = "freeze"

    def __post_init__(self) -> None:
        check_count(self.events)
        if not 2 <= self.regions <= len(REGIONS):
            raise InvalidConfig(f"--regions {self.regions} is out of range; give 2 to {len(REGIONS)}")
        if self.kills < 0:
            raise InvalidConfig(f"--kills {self.kills} is negative; give how many workers to kill")
        if self.kills and self.terraform:
            raise InvalidConfig("--kills needs workers, and with --terraform functions do the work; leave one of them out")
        if self.kind not in KINDS:
            raise InvalidConfig(f"--kind {self.kind!r} is unknown; choose from {', '.join(KINDS)}, or all")
        if self.terraform and self.kind != "freeze":
            raise InvalidConfig(
                f"--kind {self.kind} needs workers in processes of their own, and with --terraform functions inside the "
                "emulator do the work; leave one of them out, or use --kind freeze"
            )
        if self.outage is not None and not 0 <= self.outage <= 3600:
            raise InvalidConfig(f"--outage {self.outage:g} is out of range; give 0 to 3600 seconds")
        if self.breaks is not None and self.breaks not in sabotage.PROMISES:
            raise InvalidConfig(f"--break {self.breaks!r} is unknown; choose from {', '.join(sabotage.PROMISES)}")


@dataclass(slots=True)
class Fault:
    """Something that was done to the world, in seconds since the load began."""

    kind: str
    target: str
    at: float
    until: float | None = None


@dataclass(slots=True)
class DrillResult:
    """What happened. `as_json` is what `--json` writes."""

    config: DrillConfig
    regions: tuple[str, ...]
    verdict: Verdict = field(default_factory=Verdict)
    acknowledged: int = 0
    unknown: int = 0
    unknown_written: int = 0
    rpo_events: int = 0
    """Acknowledged in the struck region and not in the refuge when the writers moved."""
    rpo_lanes: int = 0
    told_rpo: int | None = None
    """What the runbook said of that."""
    gone_events: int = 0
    """Acknowledged, and survived nowhere."""
    gone_lanes: int = 0
    old_events: int = 0
    """Acknowledged OLD_SECONDS before its data was lost."""
    old_missing: int = 0
    """What no other region had of these."""
    late_events: tuple[int, int] = (0, 0)
    """Acknowledged in the last third of the outage in the struck region, and in the others."""
    cut_events: int = 0
    """Acknowledged in the struck region while its links were cut."""
    cut_arrived: int = 0
    """What reached another region of these meanwhile."""
    rto_seconds: float | None = None
    failback_seconds: float | None = None
    converge_seconds: float | None = None
    load_seconds: float = 0.0
    total_seconds: float = 0.0
    memory_mb: float = 0.0
    faults: list[Fault] = field(default_factory=list)

    @property
    def events_per_second(self) -> float:
        return self.acknowledged / self.load_seconds if self.load_seconds else 0.0

    @property
    def kept(self) -> bool:
        return self.verdict.kept and all(kept for _, _, kept in describe(self))

    def as_json(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            "regions": list(self.regions),
            "kind": self.config.kind,
            "seed": self.config.seed,
            "deployed_by": "terraform" if self.config.terraform else "workers",
            "promises_kept": self.kept,
            "acknowledged": self.acknowledged,
            "unknown": self.unknown,
            "unknown_resolved_as_written": self.unknown_written,
            "lost": verdict.lost,
            "from_nowhere": verdict.from_nowhere,
            "duplicated": verdict.duplicated,
            "overwritten": verdict.overwritten,
            "gaps": verdict.gaps,
            "forked": verdict.forked,
            "views": verdict.views,
            "views_identical": verdict.views_identical,
            "truth_matches": verdict.truth_matches,
            "examples": verdict.examples,
            "rpo_events": self.rpo_events,
            "rpo_lanes": self.rpo_lanes,
            "rpo_events_by_runbook": self.told_rpo,
            "gone_events": self.gone_events,
            "gone_lanes": self.gone_lanes,
            "old_events": self.old_events,
            "old_events_missing": self.old_missing,
            "late_events": list(self.late_events),
            "cut_events": self.cut_events,
            "cut_events_arrived": self.cut_arrived,
            "rto_seconds": _rounded(self.rto_seconds),
            "failback_seconds": _rounded(self.failback_seconds),
            "converge_seconds": _rounded(self.converge_seconds),
            "events_per_second": _rounded(self.events_per_second),
            "load_seconds": _rounded(self.load_seconds),
            "total_seconds": _rounded(self.total_seconds),
            "memory_mb": _rounded(self.memory_mb),
            "faults": [
                {"kind": f.kind, "target": f.target, "at": _rounded(f.at), "until": _rounded(f.until)} for f in self.faults
            ],
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def describe(result: DrillResult) -> Sequence[tuple[str, str, bool]]:
    """(promise, evidence, kept) of each promise, for the table at the end."""
    v = result.verdict
    copies = (result.acknowledged - result.gone_events) * len(result.regions)
    kind = KINDS[result.config.kind]
    fault = "start" if kind.planned else kind.name
    return [
        ("nothing that survived is lost", f"{v.lost:,} of {copies:,} copies missing", v.lost == 0),
        ("nothing comes from nowhere", f"{v.from_nowhere:,} events nobody acknowledged", v.from_nowhere == 0),
        ("nothing is there twice", f"{v.duplicated:,} duplicates", v.duplicated == 0),
        ("nothing is overwritten", f"{v.overwritten:,} events differ from what was written", v.overwritten == 0),
        ("lanes have no gaps", f"{v.gaps:,} gaps", v.gaps == 0),
        ("chains are intact", f"{v.forked:,} forks or broken links", v.forked == 0),
        ("every region converged", _seconds(result.converge_seconds, "after the last append"),
         result.converge_seconds is not None),
        ("views are the same bytes everywhere", f"{v.views:,} views in each of {len(result.regions)} regions",
         v.views_identical and v.views > 0),
        ("views equal the data set", "pandas, from the CSV", v.truth_matches),
        ("writers were moved and came back" if kind.moves else "writers went on where they were",
         f"RTO {_seconds(result.rto_seconds, f'from the {fault}')}", result.rto_seconds is not None),
        *_as_its_kind_says(result, kind),
    ]  # fmt: skip


def _as_its_kind_says(result: DrillResult, kind: type[Kind]) -> Iterator[tuple[str, str, bool]]:
    """What there is to keep in a drill of this kind alone, and whether what was to happen did happen."""
    if kind.planned:
        yield "nothing was left behind", f"RPO {result.rpo_events:,} events", result.rpo_events == 0
    if kind.loses:
        yield (
            f"what was older than {OLD_SECONDS:.0f} s at the strike survived",
            f"{result.old_missing:,} of {result.old_events:,} events in no other region",
            result.old_events > 0 and result.old_missing == 0,
        )
    if kind.both_write:
        here, there = result.late_events
        yield (
            "both sides went on writing",
            f"{here:,} and {there:,} events in the last third of the outage",
            here > 0 and there > 0,
        )
    if kind.cuts:
        yield (
            "the links were cut",
            f"{result.cut_arrived:,} of {result.cut_events:,} events came over",
            result.cut_events > 0 and result.cut_arrived == 0,
        )


def summarize(result: DrillResult) -> Sequence[str]:
    """What else there is to say, a line each."""
    kind = KINDS[result.config.kind]
    fault = next(f for f in result.faults if f.kind == kind.name)
    killed = sum(f.kind == "kill -9" for f in result.faults)
    home = "until the writers were home" if kind.moves else "until every region had what was written before"
    lines = [
        f"acknowledged   {result.acknowledged:,} events at {result.events_per_second:,.0f} a second, "
        f"{result.unknown:,} without an answer at first ({result.unknown_written:,} of them written, all settled)",
        f"outage         {kind.name} of {fault.target} for {(fault.until or 0) - fault.at:.1f} s"
        + (f", {killed} workers killed" if killed else ""),
        f"RPO            {result.rpo_events:,} events in {result.rpo_lanes:,} lanes acknowledged but not yet elsewhere"
        + ("" if kind.loses or result.verdict.lost or not result.rpo_events else "; none lost, all arrived later")
        + (f"; the runbook says {result.told_rpo:,}" if result.told_rpo is not None else ""),
        f"fail-back      {_seconds(result.failback_seconds, home)}",
        f"took           {result.total_seconds:.1f} s, {result.memory_mb:,.0f} MB in all processes at their peaks",
    ]
    if kind.loses:
        lines.insert(3, f"gone           {result.gone_events:,} events in {result.gone_lanes:,} lanes survived nowhere")
    return lines


def _seconds(value: float | None, since: str) -> str:
    return "never" if value is None else f"{value:.1f} s {since}"
