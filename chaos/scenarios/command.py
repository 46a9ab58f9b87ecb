"""`chaos run` and `chaos list`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from chaos.bars import Bars
from chaos.checker.verdict import PROMISES
from replicator import logs
from replicator.console import out
from replicator.errors import InvalidConfig

if TYPE_CHECKING:
    from chaos.scenarios.result import Result


def list_scenarios() -> None:
    """The scenarios that come with Meridian, and the actions that yours can use."""
    from chaos.scenarios.actions import ACTIONS
    from chaos.scenarios.scenario import find_scenarios, load_scenario

    table = Table("scenario", "what happens", "tags")
    for name, file in find_scenarios().items():
        scenario = load_scenario(file)
        table.add_row(name, scenario.title, ", ".join(scenario.tags))
    out.print(table)
    actions = Table("action", "what it does")
    for name, action in ACTIONS.items():
        actions.add_row(name, action.does)
    out.print(actions)


def run_scenarios(
    scenarios: Annotated[list[str], typer.Argument(help="Names (`chaos list`), files, or all.", metavar="SCENARIO")],
    seed: Annotated[int, typer.Option(help="Chooses which region is first, and what clients do.", metavar="N")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results here.", metavar="FILE")] = None,
    history: Annotated[
        Path | None, typer.Option(help="Write every call here, a line of JSON each (of the last scenario).", metavar="FILE")
    ] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            help="Run regions at this emulator, such as LocalStack: all, or with REGION= one of them. Tables there get a "
            "prefix of their own, and are deleted afterwards.",
            metavar="[REGION=]URL",
        ),
    ] = None,
) -> None:
    """Run scenarios: clients write in every region while faults come and go; then every promise is checked.

    Exits 0 when every promise was looked at and kept, 1 when one was broken or nothing could be run. What cannot be run at
    an endpoint is told as not run. Ctrl-C leaves nothing running.
    """
    from chaos.scenarios.places import NotRun, read_endpoints
    from chaos.scenarios.runner import run_scenario
    from chaos.scenarios.scenario import find_scenario, find_scenarios

    wanted = [find_scenario(name) for name in (find_scenarios() if scenarios == ["all"] else scenarios)]
    for option, file in (("--json", json_file), ("--history", history)):
        if file is not None and not file.parent.is_dir():
            raise InvalidConfig(f"{option} {file}: there is no directory {file.parent}; create it or choose another")
    if "MERIDIAN_LOG" not in os.environ:
        logs.configure("critical")
    endpoints = read_endpoints(endpoint or [])
    results: list[Result | NotRun] = []
    for scenario in wanted:
        with Bars() as bars:
            bars.say(f"{scenario.name}: {scenario.title}")
            result = run_scenario(scenario, seed, bars, history, endpoints)
        results.append(result)
        if isinstance(result, NotRun):
            _say(f"[bold]{scenario.name}[/], seed {seed}: [yellow]not run[/]: {result.why}")
        else:
            _show(result)
    if json_file is not None:
        json_file.write_text(json.dumps([result.as_json() for result in results], indent=2) + "\n")
    done = [result for result in results if not isinstance(result, NotRun)]
    if len(results) > 1 or not done:
        kept = sum(result.kept for result in done)
        events = sum(result.acknowledged for result in done)
        _say(f"{kept} of {len(results)} kept, {len(done) - kept} not, {len(results) - len(done)} not run; {events:,} events")
    raise typer.Exit(0 if done and all(result.kept for result in done) else 1)


def _say(text: str) -> None:
    out.print(text, highlight=False, soft_wrap=True)


def _show(result: Result) -> None:
    verdict = result.verdict
    calls = ", ".join(f"{count:,} {outcome}" for outcome, count in result.calls.items())
    arrived = "never" if result.converge_seconds is None else f"{result.converge_seconds:.1f} s after the last write"
    _say(
        f"[bold]{result.scenario.name}[/], seed {result.seed}: {'[green]kept[/]' if result.kept else '[red]BROKEN[/]'}. "
        f"{result.acknowledged:,} events acknowledged ({calls}; {result.doubted:,} unknown at first), "
        f"{result.gone:,} gone; everything everywhere: {arrived}"
    )
    for name, count in verdict.broken.items():
        _say(f"  [red]broken[/] {PROMISES[name]}: {count} of {verdict.findings[name].looked:,}")
    for example in verdict.examples:
        _say(f"    {example}")
    for each in result.unstruck:
        _say(f"  [yellow]met nothing[/] {each.name} at {each.began:.1f} s: {each.said}")
    for name in result.unexpected:
        _say(f"  [yellow]not looked at[/] {PROMISES[name]}")
