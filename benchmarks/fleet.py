"""Command `python -m benchmarks.fleet`: what copying costs when many short-lived sandboxes do it, in simulated time.

Needs no emulator: the sandboxes run Meridian's own link and copier against tables that meter every request as DynamoDB bills
it (chaos/fleet). Exits 1 when a goal is missed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from chaos.cli.progress import Bars
from chaos.fleet.sandboxes import Fleet, Load, Outcome
from chaos.report.files import check_output, replace_text
from replicator.cli.console import out, run
from replicator.runtime import logs

_WIDTH = 140

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Row:
    """A figure of a run, and its goal: at most so much."""

    name: str
    load: Load
    figure: Callable[[Outcome], float]
    unit: str
    goal: float


def write_units(found: Outcome) -> float:
    return found.peer.write_units / found.load.events


def read_units(found: Outcome) -> float:
    return found.peer.read_units / found.load.events


_HOT = Load(lanes=200, events=8000)
ROWS = (
    Row("copy, 8 sandboxes, 200 hot lanes", _HOT, write_units, "write units an event", 1.05),
    Row("the same", _HOT, read_units, "peer's read units an event", 0.5),
    Row(
        "copy, 16 sandboxes, 50 lanes, parallelization 2",
        Load(lanes=50, events=8000, sandboxes=16, parallelization=2),
        write_units,
        "write units an event",
        1.10,
    ),
    Row("copy, 8 sandboxes, 2,000 lanes", Load(lanes=2000, events=10_000), write_units, "write units an event", 1.02),
    Row("copy, 8 sandboxes, 20,000 lanes", Load(lanes=20_000, events=10_000), write_units, "write units an event", 1.02),
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
    loads = list(dict.fromkeys(row.load for row in ROWS))
    found: dict[Load, Outcome] = {}
    with Bars() as bars:
        for number, load in enumerate(loads):
            bars.steps("fleets", number, len(loads))
            found[load] = Fleet(replace(load, seed=seed)).run()
    table = Table("work", "figure", "goal", "unit", "lost", "simulated s")
    figures = [(row, row.figure(found[row.load]), found[row.load]) for row in ROWS]
    for row, figure, outcome in figures:
        shown = f"{figure:.3f}" if figure <= row.goal else f"[red]{figure:.3f}[/red]"
        table.add_row(row.name, shown, f"<= {row.goal:g}", row.unit, str(outcome.lost), f"{outcome.seconds:,.0f}")
    Console(width=max(_WIDTH, out.width)).print(table)
    out.print(f"{time.monotonic() - began:,.1f} s", highlight=False)
    if json_file is not None:
        listed = [{"work": row.name, "unit": row.unit, "figure": figure, "goal": row.goal} for row, figure, _ in figures]
        replace_text(json_file, json.dumps({"seed": seed, "rows": listed}, indent=2) + "\n")
    raise typer.Exit(0 if all(figure <= row.goal and not outcome.lost for row, figure, outcome in figures) else 1)


if __name__ == "__main__":
    run(app)
