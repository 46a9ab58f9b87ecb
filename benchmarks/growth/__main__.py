"""Command `python -m benchmarks.growth`: growth of cost, as plots and tables. Under ten minutes."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from benchmarks.growth import lag, sweeps
from benchmarks.growth.drawing import Plot
from benchmarks.report import machine
from chaos.cli.progress import Bars
from chaos.report.files import check_output, replace_text
from replicator.cli.console import out, run
from replicator.domain.errors import InvalidConfig
from replicator.runtime import logs
from replicator.runtime.environment import given

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "performance"
SWEEPS = {"lanes": sweeps.lanes, "peers": sweeps.peers, "size": sweeps.sizes, "batch": sweeps.batches}
LOAD = "load"
NAMES = (*SWEEPS, LOAD)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def grow(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Only this plot; repeatable: {', '.join(NAMES)}.", metavar="NAME")
    ] = None,
    folder: Annotated[Path, typer.Option("--out", help="Where the plots are written.", metavar="FOLDER")] = FOLDER,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.", metavar="FILE")] = None,
) -> None:
    """Measure what a copied event costs and how late it is, against lanes, peers, event size, batch size and load.

    Writes an SVG a plot. Ctrl-C leaves nothing running.
    """
    for name in only or ():
        if name not in NAMES:
            raise InvalidConfig(f"--only {name!r} is no plot; choose from {', '.join(NAMES)}")
    if not folder.parent.is_dir():
        raise InvalidConfig(f"--out {folder}: there is no directory {folder.parent}; create it or choose another")
    check_output("--json", json_file)
    folder.mkdir(exist_ok=True)
    if not given("MERIDIAN_LOG"):
        logs.configure_logs("error")
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    began, told = time.monotonic(), {"machine": machine()}
    tables: list[Table] = []
    plots: list[Plot] = []
    figures: dict[str, Any] = {}
    with Bars() as bars:
        for name in [name for name in NAMES if name in (only or NAMES)]:
            if name == LOAD:
                plot, late = lag.load(bars.steps)
                figures[name] = asdict(late)
                tables.append(_of_load(plot, late))
            else:
                plot, found = SWEEPS[name](bars.steps)
                figures[name] = {curve: [asdict(point) for point in points] for curve, points in found.items()}
                tables.append(_of_sweep(plot, found))
            plots.append(plot)
            replace_text(folder / f"{plot.name}.svg", plot.svg())
    for table in tables:
        out.print(table)
    out.print(f"{told['machine']}; {time.monotonic() - began:,.0f} s; plots in {folder}", highlight=False, soft_wrap=True)
    if json_file is not None:
        replace_text(json_file, json.dumps({**told, "plots": figures}, indent=2) + "\n")


def _of_sweep(plot: Plot, found: dict[str, list[sweeps.Point]]) -> Table:
    table = Table(title=plot.title, title_justify="left")
    for column in (plot.across, "", "CPU us/event", "lag ms"):
        table.add_column(column, justify="left" if not column else "right")
    for curve, points in found.items():
        for point in points:
            table.add_row(f"{point.x:,.0f}", curve, f"{point.cpu:,.0f}", f"{point.lag:,.0f}")
    return table


def _of_load(plot: Plot, found: lag.Found) -> Table:
    table = Table(title=plot.title, title_justify="left")
    for column in (plot.across, "events/s", "p50 ms", "p99 ms", "p50, in round trips"):
        table.add_column(column, justify="right")
    table.add_row("one alone", "", f"{found.bare.p50:.0f}", f"{found.bare.p99:.0f}", "1.0")
    for late in found.points:
        table.add_row(
            f"{late.share:.0%}",
            f"{late.rate:,.0f}",
            f"{late.p50:,.0f}",
            f"{late.p99:,.0f}",
            f"{late.p50 / found.bare.p50:.1f}",
        )
    return table


if __name__ == "__main__":
    run(app)
