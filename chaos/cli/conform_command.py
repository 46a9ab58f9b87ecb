"""`chaos conform`."""

from __future__ import annotations

import json
from collections import Counter
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
    from chaos.conform.run_probes import Conformance

_COLOURS = {
    "as AWS": "green",
    "differs harmlessly": "cyan",
    "cannot be shown here": "yellow",
    "not offered": "yellow",
    "unsafe": "bold red",
}


def conform(
    endpoint: Annotated[
        str | None,
        typer.Option(help="URL to probe; an AWS account, by its credentials here, if this is omitted.", metavar="URL"),
    ] = None,
    region: Annotated[str, typer.Option(help="Region to probe.", metavar="REGION")] = "us-east-1",
    only: Annotated[
        list[str] | None,
        typer.Option(help="Probe only this area, or only this probe. Repeatable.", metavar="AREA|PROBE"),
    ] = None,
    show: Annotated[bool, typer.Option("--list", help="List the probes, and probe nothing.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 1, too, for promises that cannot be shown on this endpoint.")
    ] = False,
    turn: Annotated[
        str | None,
        typer.Option(
            help="Turn the expectation of one probe round on purpose: the run must find it, and exits 1.", metavar="PROBE"
        ),
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the answers here.", metavar="FILE")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write the table here, one row per probe.", metavar="FILE")
    ] = None,
) -> None:
    """Ask an endpoint what Meridian relies on, and compare each answer with AWS's documentation.

    Exits 0 when nothing is unsafe, 1 when something is (or the endpoint does not answer), 2 for bad input. Tables get a
    prefix of their own, and are deleted afterwards, also after Ctrl-C.
    """
    from chaos.conform.lab import Lab
    from chaos.conform.run_probes import PROBES, choose, run_probes

    probes = choose(only or ())
    if show:
        table = Table("probe", "area", "question", "documented")
        for probe in probes:
            table.add_row(probe.name, probe.area, escape(probe.question), escape(probe.expects))
        out.print(table)
        return
    if turn is not None and turn not in {probe.name for probe in probes}:
        why = "is left out by --only" if turn in PROBES else "does not exist; --list shows all"
        raise InvalidConfig(f"--turn: the probe {turn!r} {why}")
    if endpoint is not None and not endpoint.startswith(("http://", "https://")):
        raise InvalidConfig(f"--endpoint {endpoint!r} is not a URL such as http://127.0.0.1:4566")
    for option, file in (("--json", json_file), ("--markdown", markdown)):
        check_output(option, file)
    if not given("MERIDIAN_LOG"):
        logs.configure_logs("error")
    with Bars() as bars:
        found = run_probes(Lab(region, endpoint), probes, bars.steps, turned=turn or "", strict=strict)
    _show(found)
    if json_file is not None:
        json_file.write_text(json.dumps(found.as_json(), indent=2) + "\n")
    if markdown is not None:
        markdown.write_text(as_markdown(found))
    raise typer.Exit(0 if found.good else 1)


def _show(found: Conformance) -> None:
    """Print how many answers of each area have which verdict; then each answer that differs, the worst last."""
    from chaos.conform.probe import Verdict

    verdicts = list(Verdict)
    table = Table(title=f"{found.endpoint}, {found.region}: {len(found.answers)} probes", title_justify="left")
    for column in ("area", *map(str, verdicts)):
        table.add_column(column, justify="left" if column == "area" else "right")
    by_area = Counter((answer.probe.area, answer.judgement.verdict) for answer in found.answers)
    for area in dict.fromkeys(answer.probe.area for answer in found.answers):
        cells = [(by_area[area, verdict], _COLOURS[str(verdict)]) for verdict in verdicts]
        table.add_row(area, *(f"[{colour}]{count}[/]" if count else "" for count, colour in cells))
    out.print(table)
    for answer in sorted(found.answers, key=lambda answer: verdicts.index(answer.judgement.verdict)):
        verdict = str(answer.judgement.verdict)
        if answer.judgement.why and verdict != "not offered":
            said = f"{answer.probe.name}: {answer.seen}; AWS: {answer.probe.expects}; {answer.judgement.why}"
            line = f"[{_COLOURS[verdict]}]{verdict}[/] {escape(f'{said} ({answer.probe.page})')}"
            out.print(line, highlight=False, soft_wrap=True)
    for each in found.left:
        out.print(f"[yellow]not removed[/] {escape(each)}", highlight=False, soft_wrap=True)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in found.counts.items())
    if found.blind:
        out.print(f"[yellow]{found.turned} cannot be shown on this endpoint, turned round or not[/]", soft_wrap=True)
    out.print(f"{'[green]good enough[/]' if found.good else '[bold red]NOT good enough[/]'}: {counts}", highlight=False)


def as_markdown(found: Conformance) -> str:
    """Return one row per probe: probe, question, documented, seen, verdict, reason."""
    lines = ["| probe | question | documented | seen | verdict | why |", "| --- | --- | --- | --- | --- | --- |"]
    for answer in found.answers:
        probe = answer.probe
        documented = f"[{_cell(probe.expects)}]({probe.page})"
        cells = (probe.name, probe.question, documented, _cell(answer.seen), str(answer.judgement.verdict))
        lines.append(f"| {' | '.join(cells)} | {_cell(answer.judgement.why)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
