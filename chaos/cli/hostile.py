"""`chaos hostile`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from chaos.cli.progress import Bars
from chaos.report.files import check_output
from replicator.cli.console import out
from replicator.domain.errors import InvalidConfig
from replicator.runtime import logs
from replicator.runtime.environment import given

if TYPE_CHECKING:
    from chaos.hostile.run_requests import Outcome

_COLUMNS = ("sent", "refused", "quarantined", "harmless", "not as it should be")


def hostile(
    events: Annotated[int, typer.Option(help="Number of hostile inputs.", metavar="N")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the inputs; the same seed gives the same inputs.", metavar="N")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.", metavar="FILE")] = None,
) -> None:
    """Send hostile inputs to every door of two regions: each is refused clearly or quarantined, and nothing else stops.

    Exits 0 when every input had its expected outcome and every good event is everywhere, 1 when not. Ctrl-C leaves nothing
    running.
    """
    from chaos.hostile.run_requests import run_hostile

    if not 1 <= events <= 999_999:
        raise InvalidConfig(f"--events {events}: give 1 to 999,999")
    check_output("--json", json_file)
    if not given("MERIDIAN_LOG"):
        logs.configure_logs("critical")
    with Bars() as bars:
        outcome = run_hostile(events, seed, bars.steps)
    _show(outcome)
    if json_file is not None:
        json_file.write_text(json.dumps(outcome.as_json(), indent=2, ensure_ascii=True) + "\n")
    raise typer.Exit(0 if outcome.kept else 1)


def _show(outcome: Outcome) -> None:
    table = Table(title=f"{outcome.events:,} hostile inputs, seed {outcome.seed}", title_justify="left")
    for name in ("door", "kind"):
        table.add_column(name)
    for name in _COLUMNS:
        table.add_column(name, justify="right")
    total = dict.fromkeys(_COLUMNS, 0)
    for (door, kind), counts in outcome.tally.items():
        table.add_row(door, kind, *(f"{counts[name]:,}" if counts[name] else "" for name in _COLUMNS))
        total = {name: total[name] + counts[name] for name in _COLUMNS}
    table.add_section()
    table.add_row("all", "", *(f"{total[name]:,}" for name in _COLUMNS))
    out.print(table)
    took = f"sent in {outcome.seconds:.0f} s, at rest {outcome.rest_seconds:.0f} s later"
    out.print(f"{outcome.good:,} good events between them, {took}", highlight=False)
    for line in [*outcome.wrong[:10], *outcome.examples(20)]:
        out.print(
            f"[red]wrong:[/] {escape(line.encode('utf-8', 'backslashreplace').decode())}", highlight=False, soft_wrap=True
        )
    out.print("[green]kept[/]" if outcome.kept else "[bold red]BROKEN[/]")
