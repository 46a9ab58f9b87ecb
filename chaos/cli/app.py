"""The `chaos` command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from chaos.checker.sabotage import PROMISES
from chaos.cli.conform_command import conform
from chaos.cli.emulator_command import run_emulator
from chaos.cli.hostile import hostile
from chaos.cli.progress import Bars
from chaos.cli.proxy_command import proxy
from chaos.cli.run import list_scenarios, report, run_scenarios
from chaos.cli.simulate import simulate
from chaos.drills.drill import KINDS, DrillConfig, run_drill
from chaos.drills.drill_result import SHORT, DrillResult, as_markdown, describe, short_figures, summarize
from chaos.report.files import check_output
from replicator.cli.console import out, run, versioned
from replicator.domain.errors import InvalidConfig
from replicator.runtime import logs
from replicator.runtime.distribution import needed
from replicator.runtime.environment import given

app = typer.Typer(
    help="Test regions on this machine, each in processes of its own, under faults, and check every promise at the end.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
versioned(app)

app.command("run")(run_scenarios)
app.command("report")(report)
app.command("list")(list_scenarios)
app.command("proxy")(proxy)
app.command("emulator")(run_emulator)
app.command("hostile")(hostile)
app.command("simulate")(simulate)
app.command("conform")(conform)


@app.command()
def drill(
    events: Annotated[str, typer.Option(help="Minimum number of flight events, or 'all' (662,327).", metavar="N")] = "10000",
    regions: Annotated[int, typer.Option(help="Number of regions, 2 to 6.", metavar="N")] = 3,
    seed: Annotated[
        int, typer.Option(help="Seed that selects the flights, the region that fails, and the time.", metavar="N")
    ] = 1,
    kills: Annotated[
        int, typer.Option(help="Number of times to kill (kill -9) a random replicator or projector.", metavar="N")
    ] = 0,
    terraform: Annotated[
        bool, typer.Option("--terraform", help="Use what `terraform apply` deploys, including Lambdas, not workers.")
    ] = False,
    kind: Annotated[
        str, typer.Option(help=f"Kind of outage: {', '.join(KINDS)}; or all, one after another.", metavar="KIND")
    ] = "freeze",
    outage: Annotated[
        float | None,
        typer.Option(help="Minimum seconds that the outage lasts (split-brain: 60 unless given).", metavar="SECONDS"),
    ] = None,
    copies: Annotated[
        int, typer.Option(help="Number of regions that each append waits for (decision 0042).", metavar="N")
    ] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.", metavar="FILE")] = None,
    breaks: Annotated[
        str | None,
        typer.Option("--break", help=f"Break a promise on purpose: {', '.join(PROMISES)}.", metavar="PROMISE"),
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write the figures here, one row per drill.", metavar="FILE")
    ] = None,
) -> None:
    """Load real flights into every region, strike one mid-way, fail over, fail back, check every promise.

    Exits 0 when every promise was kept, 1 when one was broken. Ctrl-C leaves nothing running.
    """
    kinds = list(KINDS) if kind == "all" else [kind]
    count = _count(events)
    configs = [DrillConfig(count, regions, seed, kills, breaks, terraform, outage, each, copies) for each in kinds]
    for option, file in (("--json", json_file), ("--markdown", markdown)):
        check_output(option, file)
    if not given("MERIDIAN_LOG"):
        logs.configure_logs("error")  # the workers have logs of their own; here the progress bars and the table report
    results = []
    for config in configs:
        with Bars() as bars:
            results.append(run_drill(config, bars))
        _show(results[-1])
    if kind == "all":
        _show_all(results)
    if json_file is not None:
        told = [result.as_json() for result in results]
        json_file.write_text(json.dumps(told if kind == "all" else told[0], indent=2) + "\n")
    if markdown is not None:
        markdown.write_text(as_markdown(results))
    raise typer.Exit(0 if all(result.kept for result in results) else 1)


@app.command()
def contend(
    operations: Annotated[int, typer.Option(help="Number of operations.", metavar="N")] = 10_000,
    writers: Annotated[
        int, typer.Option(help="Number of concurrent writers, half of them in each region.", metavar="N")
    ] = 8,
    streams: Annotated[int, typer.Option(help="Number of contended streams of each kind.", metavar="N")] = 100,
    seed: Annotated[int, typer.Option(help="Seed that selects the operations.", metavar="N")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the result here.", metavar="FILE")] = None,
) -> None:
    """Many writers on few streams in two regions, cut off from each other for a while: no update lost, no claim owned twice.

    Exits 0 when every promise was kept, 1 when one was broken. Ctrl-C leaves nothing running.
    """
    from chaos.scenarios.contention import Contention, run_contention

    plan = Contention(operations, writers, streams, seed)
    check_output("--json", json_file)
    if not given("MERIDIAN_LOG"):
        logs.configure_logs("error")
    with Bars() as bars:
        outcome = run_contention(plan, bars)
    table = Table(title=f"{outcome.operations:,} operations by {writers} writers, seed {seed}", title_justify="left")
    for column in ("operation", "result"):
        table.add_column(column)
    table.add_column("", justify="right")
    for (kind, result), count in sorted(outcome.counts.items()):
        table.add_row(kind, result, f"{count:,}")
    out.print(table)
    for line in outcome.lines():
        out.print(line, highlight=False, soft_wrap=True)
    if json_file is not None:
        json_file.write_text(json.dumps(outcome.as_json(), indent=2) + "\n")
    raise typer.Exit(0 if outcome.kept else 1)


@app.command()
def views(
    events: Annotated[str, typer.Option(help="Minimum number of flight events, or 'all' (662,327).", metavar="N")] = "20000",
    seed: Annotated[int, typer.Option(help="Seed that selects the flights, orders and duplicates.", metavar="N")] = 1,
    every: Annotated[bool, typer.Option("--every", help="Project every order into every sink, not one into each.")] = False,
) -> None:
    """Project the same events, in three orders with 10% duplicates, into DynamoDB, PostgreSQL and memory, and compare all
    views with each other and with pandas.

    Exits 0 when all are equal, 1 when not. Ctrl-C leaves nothing running.
    """
    from chaos.workload.any_order import ORDERS, run_orders

    with needed("this needs psycopg", "demo"):
        from chaos.world.three_sinks import three_sinks

    count = _count(events)
    if not given("MERIDIAN_LOG"):
        logs.configure_logs("error")
    with Bars() as bars, three_sinks(ORDERS, every) as sinks:
        outcome = run_orders(count, seed, sinks, bars.steps)
    table = Table("projected into", "seconds", "events a second", title=f"{outcome.events:,} events, seed {seed}")
    for name, seconds in outcome.seconds.items():
        table.add_row(name, f"{seconds:.1f}", f"{outcome.events / seconds:,.0f}")
    out.print(table)
    for ways, streams in sorted(outcome.interleavings.items(), reverse=True):
        how = f"in {ways} different interleavings" if ways > 1 else "in the same interleaving"
        out.print(f"{streams:,} streams of several lanes were folded {how}", highlight=False)
    for verdict in outcome.verdicts:
        far = "equal" if verdict.equal else f"{len(verdict.differing):,} views DIFFER"
        out.print(f"{verdict.left} and {verdict.right}: {far} ({verdict.effort.views:,} views)", highlight=False)
    for line in outcome.wrong[:10]:
        out.print(f"[red]wrong:[/] {line}", highlight=False, soft_wrap=True)
    out.print(f"against pandas: {'equal' if not outcome.wrong else f'{len(outcome.wrong):,} are wrong'}", highlight=False)
    raise typer.Exit(0 if outcome.kept else 1)


def _count(text: str) -> int | None:
    if text == "all":
        return None
    try:
        return int(text.replace("_", "").replace(",", ""))
    except ValueError:
        raise InvalidConfig(f"--events {text!r} is not a number; give one such as 10000, or 'all'") from None


def _show(result: DrillResult) -> None:
    title = f"{result.kind.name} drill of {len(result.result.regions)} regions, seed {result.seed}"
    table = Table(title=title, title_justify="left")
    table.add_column("promise")
    table.add_column("evidence")
    table.add_column("", justify="right")
    for promise, evidence, kept in describe(result):
        table.add_row(promise, evidence, "[green]kept[/]" if kept else "[bold red]BROKEN[/]")
    out.print(table)
    for line in summarize(result):
        out.print(line, highlight=False, soft_wrap=True)
    for example in result.result.verdict.examples:
        out.print(f"[red]broken:[/] {example}", highlight=False, soft_wrap=True)


def _show_all(results: Sequence[DrillResult]) -> None:
    table = Table(
        title=f"all drills: {results[0].result.acknowledged:,} events each, seed {results[0].seed}", title_justify="left"
    )
    for number, column in enumerate(SHORT):
        table.add_column(column, justify="right" if number else "left")
    for result in results:
        table.add_row(*short_figures(result), "[green]kept[/]" if result.kept else "[bold red]BROKEN[/]")
    out.print(table)


def main() -> None:
    run(app)
