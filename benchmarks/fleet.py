"""Command `python -m benchmarks.fleet`: what an event costs when sandboxes copy and project it, in simulated time.

Needs no emulator: the sandboxes run Meridian's own link and copier against tables that meter every request as DynamoDB bills
it (chaos/fleet). Exits 1 when a goal is missed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.connecting import first_requests
from benchmarks.cost.month import DEFAULTS, DOCUMENTED, Setup, bill, total
from benchmarks.cost.page import LARGE
from chaos.cli.progress import Bars
from chaos.fleet.append_fleet import AppendFleet
from chaos.fleet.copy_fleet import CopyFleet
from chaos.fleet.event_source_mapping import Load
from chaos.fleet.metered_table import Bill
from chaos.fleet.partitions import Partitions
from chaos.fleet.view_fleet import ViewFleet
from chaos.report.files import check_output, replace_text
from replicator.cli.console import out, run
from replicator.runtime import logs

_WIDTH = 140


@dataclass(frozen=True, slots=True)
class Ran:
    """Result of a run: what was billed, the simulated seconds, what is missing at the end, and the longest invocation."""

    events: int
    bill: Bill
    seconds: float
    missing: int
    longest: float = 0.0
    measured: float = 0.0
    """Figure of a row that is no fleet's run: real seconds, or dollars."""


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of a run, and its goal: at most so much."""

    name: str
    run: Callable[[int], Ran]
    figure: Callable[[Ran], float]
    unit: str
    goal: float


def copied(load: Load, round_trip: float = 0.08) -> Callable[[int], Ran]:
    """Return a run of a fleet that copies, for a seed."""

    @cache
    def run(seed: int) -> Ran:
        found = CopyFleet(replace(load, seed=seed), round_trip).run()
        return Ran(found.events, found.peer, found.seconds, found.lost, found.longest)

    return run


@cache
def throttled(seed: int) -> Ran:
    """Run a fleet that copies faster than the peer's only partition takes."""
    load = Load(lanes=2000, events=6000, rate=1500.0, batch=200, seed=seed)
    found = CopyFleet(load, limits=lambda now: (Partitions(now, 1, burst=0.0), Partitions(now, 1))).run()
    return Ran(found.events, found.peer, found.seconds, found.lost)


def caught_up(load: Load) -> Callable[[int], Ran]:
    """Return a run of a sandbox that brings what an outage left, for a seed. The peer is 200 ms away."""

    @cache
    def run(seed: int) -> Ran:
        found = CopyFleet(replace(load, seed=seed), round_trip=0.2).catch_up()
        return Ran(found.events, found.peer, found.seconds, found.lost)

    return run


def projected(load: Load) -> Callable[[int], Ran]:
    """Return a run of a fleet that projects, for a seed."""

    @cache
    def run(seed: int) -> Ran:
        found = ViewFleet(replace(load, seed=seed)).run()
        return Ran(found.events, found.sink, found.seconds, found.behind)

    return run


@cache
def appended(seed: int) -> Ran:
    """Run a fleet whose appends check the fence."""
    found = AppendFleet(seed=seed).run()
    return Ran(found.events, found.bill, found.seconds, found.failed)


def connected(seed: int) -> Ran:
    """Send the first requests to four peers 200 ms away: in real time."""
    return Ran(4, Bill(), 0.0, 0, measured=first_requests())


def month(setup: Setup) -> Callable[[int], Ran]:
    """Return a run of the large system of docs/cost.md. It measures the dollars of a month without storage."""
    return lambda seed: Ran(1, Bill(), 0.0, 0, measured=total(bill(LARGE, setup)))


def writes(found: Ran) -> float:
    return found.bill.write_units / found.events


def reads(found: Ran) -> float:
    return found.bill.read_units / found.events


def seconds(found: Ran) -> float:
    """Return the seconds for 2,000 events, of as many lanes."""
    return 2000 * found.seconds / found.events


def failures(found: Ran) -> float:
    return found.missing


def all_there(found: Ran) -> float:
    return found.seconds


def measured(found: Ran) -> float:
    return found.measured


def longest(found: Ran) -> float:
    return found.longest


_WRITES, _READS, _DOLLARS = "write units an event", "read units an event", "dollars a month"
_HOT = copied(Load(lanes=200, events=8000))
_SPLIT = copied(Load(lanes=50, events=8000, sandboxes=16, parallelization=2))
_BUSY = copied(Load(lanes=100, events=2400, sandboxes=16, parallelization=2, batch=500, rate=40, hot=0.5), 0.2)
_AWAY = caught_up(Load(lanes=20_000, events=20_000, in_turn=True))
_VIEWS = projected(Load(lanes=200, events=8000, in_turn=True))
ROWS = (
    Row("copy, 8 sandboxes, 200 hot lanes", _HOT, writes, _WRITES, 1.05),
    Row("the same, at the peer", _HOT, reads, _READS, 0.5),
    Row("copy, 16 sandboxes, 50 lanes, parallelization 2", _SPLIT, writes, _WRITES, 1.10),
    Row("copy, 8 sandboxes, 2,000 lanes", copied(Load(lanes=2000, events=10_000)), writes, _WRITES, 1.02),
    Row("copy, 8 sandboxes, 20,000 lanes", copied(Load(lanes=20_000, events=10_000)), writes, _WRITES, 1.02),
    Row("copy 1,500 events/s to a peer that takes 1,000", throttled, writes, _WRITES, 1.02),
    Row(
        "copy 40 events/s for 60 s, half of them in one lane, 200 ms away, parallelization 2",
        _BUSY,
        all_there,
        "seconds",
        75,
    ),
    Row("the same, the longest invocation", _BUSY, longest, "seconds", 30),
    Row("catch up after an outage, 200 ms away, one function", _AWAY, seconds, "seconds for 2,000 lanes", 1.0),
    Row("the same", _AWAY, writes, _WRITES, 1.02),
    Row("project, 8 sandboxes, 200 streams, one event a batch and stream", _VIEWS, writes, _WRITES, 1.03),
    Row("append with a checked fence, 2,000 a second, 25 processes", appended, failures, "RegionUnavailable", 0),
    Row("the same", appended, writes, _WRITES, 5.0),
    Row("20 first requests each to four peers, 200 ms away", connected, measured, "real seconds", 0.8),
    Row("1,000 events/s, three regions, recommended settings", month(DOCUMENTED), measured, _DOLLARS, 7000),
    Row("the same, defaults", month(DEFAULTS), measured, _DOLLARS, 11_000),
)


@app.command()
def fleet(
    seed: Annotated[int, typer.Option(help="Seed of the writes and of the choice of sandboxes.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.", metavar="FILE")] = None,
) -> None:
    """Run the fleets, and judge each figure by its goal."""
    check_output("--json", json_file)
    logs.configure_logs("error")
    began = time.monotonic()
    table = Table("work", "figure", "goal", "unit", "missing", "simulated s")
    figures: list[tuple[Row, float, Ran]] = []
    with Bars() as bars:
        for number, row in enumerate(ROWS):
            bars.steps("fleets", number, len(ROWS))
            found = row.run(seed)
            figures.append((row, row.figure(found), found))
    for row, figure, found in figures:
        shown = f"{figure:.3f}" if figure <= row.goal else f"[red]{figure:.3f}[/red]"
        table.add_row(row.name, shown, f"<= {row.goal:g}", row.unit, str(found.missing), f"{found.seconds:,.0f}")
    Console(width=max(_WIDTH, out.width)).print(table)
    out.print(f"{time.monotonic() - began:,.1f} s", highlight=False)
    if json_file is not None:
        listed = [{"work": row.name, "unit": row.unit, "figure": figure, "goal": row.goal} for row, figure, _ in figures]
        replace_text(json_file, json.dumps({"seed": seed, "rows": listed}, indent=2) + "\n")
    raise typer.Exit(0 if all(figure <= row.goal and not found.missing for row, figure, found in figures) else 1)


if __name__ == "__main__":
    run(app)
