"""Command `python -m benchmarks`: one table, each row a ratio to a named baseline of the same run."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import (
    appending,
    capacity,
    copying,
    folding,
    memory,
    paging,
    projecting,
    reading,
    report,
    starting,
    verifying,
)
from benchmarks.bench import Bench
from benchmarks.measure import ROUNDS, Row
from chaos.cli.progress import Bars
from chaos.report.files import check_output, replace_text
from replicator.cli.console import out, run
from replicator.domain.errors import InvalidConfig, MeridianError
from replicator.runtime import logs
from replicator.runtime.environment import given

FAMILIES: dict[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (paging, copying, appending, reading, folding, projecting, verifying, capacity, memory, starting)
}
"""Files of rows by their names: each has TASKS, and `rows`, which measures them."""
_WIDTH = 200

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Only this file's rows; repeatable: {', '.join(FAMILIES)}.", metavar="NAME")
    ] = None,
    rounds: Annotated[int, typer.Option(help="How often each side is measured, alternately.", metavar="N")] = ROUNDS,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.", metavar="FILE")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write the table here, as Markdown.", metavar="FILE")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 when a goal is missed.")] = False,
) -> None:
    """Measure against named baselines in the same run, and judge each row by its goal.

    Exits 0 once all is measured, whatever the figures (see --strict), and 1 where something could not be. Ctrl-C leaves
    nothing running.
    """
    names = _chosen(only)
    if rounds < 1:
        raise InvalidConfig(f"--rounds is {rounds}; give 1 or more (7 unless given)")
    for option, file in (("--json", json_file), ("--markdown", markdown)):
        check_output(option, file)
    if not given("MERIDIAN_LOG"):
        logs.configure_logs("error")
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    began, where = time.monotonic(), report.machine()
    with Bars() as bars:
        found = list(_measured(names, Bench(rounds, bars.steps)))
    rows = [row for _, row in found]
    seconds = time.monotonic() - began
    wide = Console(width=max(_WIDTH, out.width))
    wide.print(report.table(rows, rounds))
    for row in rows:
        if row.note:
            wide.print(f"{row.task.work}: {row.note}", highlight=False)
        if row.failed:
            wide.print(f"{row.task.work} failed: {row.failed}", highlight=False, markup=False, style="red")
    wide.print(f"{where}; {seconds:,.0f} s", highlight=False)
    if json_file is not None:
        told = {"machine": where, "rounds": rounds, "seconds": seconds, "rows": [report.as_json(*each) for each in found]}
        replace_text(json_file, json.dumps(told, indent=2) + "\n")
    if markdown is not None:
        replace_text(markdown, report.markdown(rows))
    failed, missed = any(row.failed for row in rows), not all(row.met for row in rows)
    raise typer.Exit(1 if failed or (strict and missed) else 0)


def _chosen(only: list[str] | None) -> list[str]:
    """Return the files asked for, in their order here. Raises InvalidConfig for an unknown one, or one whose baseline is
    missing."""
    wanted = only or list(FAMILIES)
    for name in wanted:
        if name not in FAMILIES:
            raise InvalidConfig(f"--only {name!r} is no file of rows; choose from {', '.join(FAMILIES)}")
    names = [name for name in FAMILIES if name in wanted]
    for name in names:
        getattr(FAMILIES[name], "check", lambda: None)()
    return names


def _measured(names: list[str], bench: Bench) -> Iterator[tuple[str, Row]]:
    """Yield every row of these files. A row that cannot be measured skips only those behind it in its file."""
    for name in names:
        family, done = FAMILIES[name], 0
        try:
            for row in family.rows(bench):
                done += 1
                yield name, row
        except (RuntimeError, MeridianError) as error:
            for task in family.TASKS[done:]:
                yield name, Row(task, failed=f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    run(app)
