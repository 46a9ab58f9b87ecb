"""`chaos run`, `chaos list` and `chaos report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from chaos.cli.progress import Bars
from chaos.report.files import check_output
from replicator.cli.console import out
from replicator.domain.errors import InvalidConfig, MeridianError, place
from replicator.runtime import logs
from replicator.runtime.environment import given

if TYPE_CHECKING:
    from chaos.scenarios.places import NotRun
    from chaos.scenarios.result import Result
    from chaos.scenarios.scenario import Scenario


def list_scenarios() -> None:
    """List the scenarios that come with Meridian, and the actions that yours can use."""
    from chaos.scenarios.actions import ACTIONS
    from chaos.scenarios.scenario_file import find_scenarios, load_scenario

    table = Table("scenario", "what happens", "tags")
    for name, file in find_scenarios().items():
        scenario = load_scenario(file)
        table.add_row(name, escape(scenario.title), escape(", ".join(scenario.tags)))
    out.print(table)
    actions = Table("action", "what it does")
    for name, action in ACTIONS.items():
        actions.add_row(name, action.does)
    out.print(actions)


def run_scenarios(
    scenarios: Annotated[list[str], typer.Argument(help="Names (`chaos list`), files, or all.", metavar="SCENARIO")],
    seed: Annotated[
        int, typer.Option(help="Seed that selects the order of regions and the clients' calls.", metavar="N")
    ] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the results here.", metavar="FILE")] = None,
    history: Annotated[
        Path | None, typer.Option(help="Write every call of the last scenario here, a line of JSON each.", metavar="FILE")
    ] = None,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            help="Run regions at this emulator, such as LocalStack: all, or with REGION= one of them. Tables there get a "
            "prefix of their own, and are deleted afterwards.",
            metavar="[REGION=]URL",
        ),
    ] = None,
    minutes: Annotated[
        float, typer.Option(help="Continue with the next seeds for this many minutes (0: once).", min=0, max=10_000)
    ] = 0,
    html: Annotated[Path | None, typer.Option(help="Write an HTML report here.", metavar="FILE")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip the runs that the --json file already has.")] = False,
) -> None:
    """Run scenarios: clients write in every region while faults come and go; then every promise is checked.

    Exits 0 when every promise was checked and kept, 1 when one was broken or nothing could be run. What cannot be run at
    an endpoint is reported as not run. Ctrl-C leaves nothing running, and --resume continues after it.
    """
    from chaos.report.page import write_report
    from chaos.scenarios.campaign import Campaign
    from chaos.scenarios.places import NotRun, read_endpoints
    from chaos.scenarios.runner import run_scenario
    from chaos.scenarios.scenario_file import find_scenario, find_scenarios

    names = list(find_scenarios()) if scenarios == ["all"] else scenarios
    wanted = [find_scenario(name) for name in names]
    for option, file in (("--json", json_file), ("--history", history), ("--html", html)):
        check_output(option, file)
    if resume and json_file is None:
        raise InvalidConfig("--resume needs the file of the earlier runs; name it with --json FILE")
    endpoints = read_endpoints(endpoint or [])
    if not given("MERIDIAN_LOG"):
        logs.configure_logs("critical")
    campaign = Campaign(wanted, seed, minutes * 60, json_file, names, endpoint or [])
    if resume and (done := campaign.resume()):
        _say(f"{done} runs are already in {json_file}")

    def run(scenario: Scenario, seed: int) -> Result | NotRun:
        with Bars() as bars:
            bars.say(escape(f"{scenario.name}, seed {seed}: {scenario.title}"))
            return run_scenario(scenario, seed, bars, history, endpoints)

    for scenario, number, found in campaign.run(run):
        if isinstance(found, NotRun):
            _say(f"[bold]{escape(scenario.name)}[/], seed {number}: [yellow]not run[/]: {escape(found.why)}")
        elif isinstance(found, MeridianError):
            _say(f"[bold]{escape(scenario.name)}[/], seed {number}: [red]FAILED[/]: {escape(str(found))}")
        else:
            _show(found)
        if html is not None:
            write_report(html, campaign.found)
    if len(campaign.found) != 1:
        _say(campaign.summary())
    if html is not None:
        _say(f"{html} is written")
    raise typer.Exit(0 if campaign.kept else 1)


def report(
    json_file: Annotated[Path, typer.Argument(help="Output file of `chaos run --json`.", metavar="FILE")],
    html: Annotated[Path, typer.Option(help="HTML report to write.", metavar="FILE")],
) -> None:
    """Write the HTML report of finished runs."""
    from chaos.report.page import write_report
    from chaos.scenarios.campaign import read_found

    check_output("--html", html)
    found = read_found(json_file)
    try:
        write_report(html, found)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        raise InvalidConfig(
            f"{json_file} does not hold what this version's `chaos run --json` writes ({place(error)}); run it again"
        ) from None
    _say(f"{html} is written")


def _say(text: str) -> None:
    out.print(text, highlight=False, soft_wrap=True)


def _show(result: Result) -> None:
    verdict = result.verdict
    calls = ", ".join(f"{count:,} {outcome}" for outcome, count in result.calls.items())
    arrived = "never" if result.converge_seconds is None else f"{result.converge_seconds:.1f} s after the last write"
    _say(
        f"[bold]{escape(result.scenario.name)}[/], seed {result.seed}: "
        f"{'[green]kept[/]' if result.kept else '[red]BROKEN[/]'}. "
        f"{result.acknowledged:,} events acknowledged ({calls}; {result.doubted:,} unknown at first), "
        f"{result.gone:,} gone; converged: {arrived}"
    )
    for name, count in verdict.broken.items():
        _say(f"  [red]broken[/] {verdict.promises[name]}: {count} of {verdict.findings[name].looked:,}")
    for example in verdict.examples:
        _say(f"    {escape(example)}")
    for each in result.unstruck:
        _say(f"  [yellow]without effect[/] {each.name} at {each.began:.1f} s: {escape(each.said)}")
    for name in result.unexpected:
        _say(f"  [yellow]not checked[/] {verdict.promises[name]}")
    for line in result.why:
        _say(f"  [yellow]not kept[/]: {escape(line)}")
