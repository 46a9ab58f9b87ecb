"""Drill: the scenario of its kind, with a number of flights as its load, and every promise checked at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from chaos.checker.sabotage import PROMISES, break_promise
from chaos.drills.drill_result import DrillResult
from chaos.scenarios.desks import FlightLoad
from chaos.scenarios.places import REGIONS
from chaos.scenarios.runner import Run, opened
from chaos.scenarios.scenario import Scenario
from chaos.scenarios.scenario_file import load_scenario
from chaos.scenarios.stage import Stage
from chaos.scenarios.watcher import Watcher
from chaos.workload.flights import check_count, data_file
from replicator.domain.errors import InvalidConfig

KINDS = ("freeze", "kill", "restore", "partition", "one-way", "slow", "split-brain", "switchover")
"""Faults of a region: each is a file of chaos/drills/files."""
_FILES = Path(__file__).parent / "files"


@dataclass(frozen=True, slots=True)
class DrillConfig:
    """Parameters of a drill. `events` None means the whole data set; `kills` is how many workers to `kill -9` on the way;
    `breaks` names a promise to break on purpose after convergence, to show that the checker sees it; `terraform` runs it on
    what `terraform apply` deploys, with Lambdas; `outage` is the minimum seconds of the outage (None: the kind's own);
    `kind` is one of KINDS; `copies` is the number of regions that each append waits for."""

    events: int | None = 10_000
    regions: int = 3
    seed: int = 1
    kills: int = 0
    breaks: str | None = None
    terraform: bool = False
    outage: float | None = None
    kind: str = "freeze"
    copies: int = 1

    def __post_init__(self) -> None:
        check_count(self.events)
        if not 2 <= self.regions <= len(REGIONS):
            raise InvalidConfig(f"--regions {self.regions} is out of range; give 2 to {len(REGIONS)}")
        if not 1 <= self.copies <= self.regions:
            raise InvalidConfig(f"--copies {self.copies} is out of range; give 1 to {self.regions}, the number of regions")
        if self.kills < 0:
            raise InvalidConfig(f"--kills {self.kills} is negative; give the number of workers to kill")
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
        if self.breaks is not None and self.breaks not in PROMISES:
            raise InvalidConfig(f"--break {self.breaks!r} is unknown; choose from {', '.join(PROMISES)}")

    @property
    def scenario(self) -> Scenario:
        """Scenario of its kind, with this configuration."""
        scenario = load_scenario(_FILES / f"{self.kind}.yaml")
        assert isinstance(scenario.load, FlightLoad)
        outage = scenario.load.outage if self.outage is None else self.outage
        load = replace(scenario.load, flights=self.events, outage=outage, copies=self.copies)
        return replace(scenario, regions=self.regions, kills=self.kills, load=load)


def run_drill(config: DrillConfig, watch: Watcher) -> DrillResult:
    """Run a drill on a world of its own and judge it. Everything it starts has stopped when it returns or raises."""
    started = time.monotonic()
    data_file()

    def spoil(stage: Stage) -> None:
        if config.breaks is not None:
            watch.say(f"breaking a promise on purpose: {config.breaks}")
            break_promise(config.breaks, list(stage.tables.values()), stage.world.settings(stage.regions[0]))

    with opened_drill(config, watch) as run:
        result = run.go(spoil)
        return DrillResult(config.seed, config.terraform, result, time.monotonic() - started)


@contextmanager
def opened_drill(config: DrillConfig, watch: Watcher) -> Iterator[Run]:
    """Open the drill's run in its world, which exists until this is closed."""
    with opened(config.scenario, config.seed, watch, terraform=config.terraform, sampled=False) as run:
        assert isinstance(run, Run)
        yield run
