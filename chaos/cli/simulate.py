"""`chaos simulate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from chaos.cli.progress import Bars
from chaos.report.files import check_output
from replicator.cli.console import out
from replicator.domain.errors import InvalidConfig, place
from replicator.runtime import logs
from replicator.runtime.environment import given

if TYPE_CHECKING:
    from chaos.simulator.replay import Replay
    from chaos.simulator.run_steps import Outcome
    from chaos.simulator.seeds import Campaign, Tally

_EXAMPLES = 2
_SHRINK_SECONDS = 1800.0
_YEAR = 365.25 * 24 * 3600


def simulate(
    seeds: Annotated[int, typer.Option(help="Number of seeds, each a world of its own.", metavar="N")] = 1000,
    steps: Annotated[int, typer.Option(help="Number of steps of each seed.", metavar="N")] = 1000,
    seed: Annotated[int, typer.Option(help="First seed; with --seeds 1 the only one.", metavar="N")] = 1,
    regions: Annotated[int, typer.Option(help="Number of regions, 2 to 9.", metavar="N")] = 3,
    streams: Annotated[int, typer.Option(help="Number of streams to write to.", metavar="N")] = 8,
    plant: Annotated[
        str | None, typer.Option(help="Bug to plant until a seed finds it; list shows all bugs.", metavar="NAME|list")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Number of processes.", metavar="N")] = 2,
    grow: Annotated[
        bool, typer.Option("--grow", help="Measure what an event costs with more regions and streams, without faults.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.", metavar="FILE")] = None,
) -> None:
    """Run the real core under simulated time, clocks, networks and disasters: years in minutes, the same every time.

    Exits 0 when every promise was checked and kept; 1 when one was not checked (run more seeds), or one was
    broken: then the plan of the lowest such seed is shrunk to the fewest steps and shown. Ctrl-C leaves nothing running.
    """
    from chaos.simulator.environment import Options
    from chaos.simulator.seeds import Campaign

    if plant == "list":
        _list_plants()
        return
    check_output("--json", json_file)
    if grow and plant is not None:
        raise InvalidConfig(f"--grow measures costs and checks no promise, so --plant {plant} has no effect; leave one out")
    campaign = Campaign(seeds, steps, seed, Options(regions, streams), plant, jobs)
    if not given("MERIDIAN_LOG"):
        logs.configure_logs("critical")
    told, kept = _grow(jobs) if grow else _run(campaign)
    if json_file is not None:
        try:
            json_file.write_text(json.dumps(told, indent=2) + "\n")
        except OSError as error:
            raise InvalidConfig(f"--json {json_file} cannot be written: {error.strerror}") from error
    raise typer.Exit(0 if kept else 1)


def _list_plants() -> None:
    from chaos.simulator.mutants import MUTANTS

    table = Table("planted bug", "what the core does with it")
    for mutant in MUTANTS.values():
        table.add_row(mutant.name, mutant.does)
    out.print(table)


def _run(campaign: Campaign) -> tuple[Any, bool]:
    from chaos.simulator.seeds import run_campaign

    with Bars() as bars:
        tally = run_campaign(campaign, lambda done, broken: bars.steps("seeds", done, campaign.seeds))
    _show(tally)
    told = tally.as_json()
    if tally.broken:
        told["replay"] = _tell(campaign, tally.broken[0])
    return told, tally.kept


def _show(tally: Tally) -> None:
    from chaos.simulator.judgement import NOT_SIMULATED

    table = Table(show_header=False)
    calls = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(tally.calls.items()))
    for name, value in (
        ("seeds", f"{tally.seeds:,}" + (f", {len(tally.broken):,} broke a promise" if tally.broken else "")),
        ("steps", f"{tally.steps:,}"),
        ("simulated time", f"{tally.simulated / _YEAR:,.1f} years"),
        ("calls", f"{tally.calls.total():,}: {calls}"),
        ("events", f"{tally.events:,}, copied {tally.copies:,} times"),
        ("regions that lost their data", f"{tally.disasters:,}"),
        ("wall", f"{tally.wall:.1f} s"),
        ("CPU", f"{tally.cpu:.1f} s, {tally.cpu / max(tally.seeds, 1):.3f} s a seed"),
        ("checked", f"{sum(count > 0 for count in tally.looked.values())} promises, {tally.looked.total():,} times"),
        ("not checked", f"[bold red]{', '.join(tally.untested)}[/]" if tally.untested else ""),
        ("not simulated", ", ".join(NOT_SIMULATED)),
        ("promises", _kept(tally)),
    ):
        if not value:
            continue
        table.add_row(name, value)
    out.print(table)
    for note in tally.notes:
        _say(note)


def _kept(tally: Tally) -> str:
    if tally.broken:
        return "[bold red]BROKEN[/]"
    return "[bold red]NOT ALL CHECKED: run more seeds or steps[/]" if tally.untested else "[green]kept[/]"


def _tell(campaign: Campaign, worst: Outcome) -> dict[str, Any]:
    """Print what a seed broke, and how in the fewest steps. Returns the same for JSON."""
    from chaos.checker.verdict import PROMISES
    from chaos.simulator.judgement import SEEN
    from chaos.simulator.seeds import OUTSIDE

    words, again = {**PROMISES, **SEEN, **OUTSIDE}, campaign.command(worst.seed)
    told: dict[str, Any] = {"seed": worst.seed, "again": again}
    _say(f"seed {worst.seed} broke:")
    for promise, count in worst.broken.items():
        out.print(f"  [red]{promise}[/], {count:,} times: {words[promise]}", highlight=False, soft_wrap=True)
        for example in [each for each in worst.examples if each.startswith(f"{promise}: ")][:_EXAMPLES]:
            _say(f"    {example.removeprefix(f'{promise}: ')}")
    shrunk = _shrink(campaign, worst) if worst.steps else "none of its steps was reported"
    if isinstance(shrunk, str):
        _say(f"its plan is not shrunk: {shrunk}")
        told["not_shrunk"] = shrunk
    else:
        names = ", ".join(f"{number} {name}" for number, name in enumerate(campaign.options.names))
        _say(f"{len(shrunk.steps)} of its {campaign.steps:,} steps break {shrunk.promise} (regions: {names}):")
        for number, (step, result) in enumerate(shrunk.steps, 1):
            _say(f"{number:4}. {step}" + (f" -> {result}" if result else ""))
        for example in shrunk.outcome.examples[:6]:
            _say(f"    {example}")
        told |= {
            "promise": shrunk.promise, "steps": [{"step": step, "result": result} for step, result in shrunk.steps],
            "examples": list(shrunk.outcome.examples),
        }  # fmt: skip
    _say(f"again: {again}")
    return told


def _shrink(campaign: Campaign, worst: Outcome) -> Replay | str:
    """Return the seed in the fewest steps, or why there is no such plan."""
    from chaos.simulator.replay import replay
    from chaos.simulator.seeds import pool

    patience = _SHRINK_SECONDS + 10 * campaign.patience
    try:
        with Bars() as bars, pool(1) as processes:
            bars.phase("shrinking", 1)
            asked = processes.submit(replay, worst, campaign.steps, campaign.options, campaign.plant)
            shrunk = asked.result(patience)
            bars.progress(1)
    except TimeoutError:
        return f"not done after {patience:,.0f} s"
    except Exception as error:
        return f"{place(error)}: {error}"
    return shrunk


def _say(text: str) -> None:
    out.print(text, highlight=False, soft_wrap=True, markup=False)


def _grow(jobs: int) -> tuple[Any, bool]:
    from chaos.simulator.growth import grow, table

    with Bars() as bars:
        points = grow(jobs, lambda done, total: bars.steps("growing", done, total))
    out.print(table(points))
    return [point.as_json() for point in points], True
