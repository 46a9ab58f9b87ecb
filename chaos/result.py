"""What a drill is asked to do, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos import sabotage
from chaos.checker import Verdict
from chaos.flights import check_count
from replicator.errors import InvalidConfig

REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2", "us-west-2", "eu-central-1", "sa-east-1")


@dataclass(frozen=True, slots=True)
class DrillConfig:
    """What to run. `events` None means the whole data set; `kills` is how many workers to `kill -9` on the way;
    `breaks` names a promise to break on purpose after convergence, to show that the checker sees it; `terraform` runs it
    on what `terraform apply` deploys, Lambdas and all; `outage` is how many seconds the region is frozen at least."""

    events: int | None = 10_000
    regions: int = 3
    seed: int = 1
    kills: int = 0
    breaks: str | None = None
    terraform: bool = False
    outage: float = 0.0

    def __post_init__(self) -> None:
        check_count(self.events)
        if not 2 <= self.regions <= len(REGIONS):
            raise InvalidConfig(f"--regions {self.regions} is out of range; give 2 to {len(REGIONS)}")
        if self.kills < 0:
            raise InvalidConfig(f"--kills {self.kills} is negative; give how many workers to kill")
        if self.kills and self.terraform:
            raise InvalidConfig("--kills needs workers, and with --terraform functions do the work; leave one of them out")
        if not 0 <= self.outage <= 3600:
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
    rpo_lanes: int = 0
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
        return self.verdict.kept and self.converge_seconds is not None and self.rto_seconds is not None

    def as_json(self) -> dict[str, Any]:
        verdict = self.verdict
        return {
            "regions": list(self.regions),
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
    copies = result.acknowledged * len(result.regions)
    return [
        ("nothing acknowledged is lost", f"{v.lost:,} of {copies:,} copies missing", v.lost == 0),
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
        ("writers were moved and came back", f"RTO {_seconds(result.rto_seconds, 'from the freeze')}",
         result.rto_seconds is not None),
    ]  # fmt: skip


def _seconds(value: float | None, since: str) -> str:
    return "never" if value is None else f"{value:.1f} s {since}"
