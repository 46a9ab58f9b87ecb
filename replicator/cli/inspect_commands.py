"""Operator commands that change nothing: the comparison of regions, and the status."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated

import typer

from replicator.aws.sqs import Queue
from replicator.cli.console import Among, err, options, out
from replicator.domain.errors import InvalidConfig, MeridianError, RegionUnavailable
from replicator.domain.names import LaneId, StreamId
from replicator.ops.audit.comparison import FORKED, MISSING, Comparison, compare
from replicator.ops.audit.forks import forks as forks_of
from replicator.ops.audit.read_units import Meter
from replicator.ops.status.gather import gather
from replicator.ops.system import System
from replicator.runtime.settings import Settings

_SHOWN = 50


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (verify, status):
        app.command(command.__name__)(options(command))


def verify(
    among: Among,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every event in every region and recompute every chain.")
    ] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for events in transit.", min=0)] = 10.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the full result as one JSON object.")] = False,
) -> None:
    """Compare the events of all regions: by the heads of their lanes, ranges of equal lanes at once.

    Exits 0 when nothing is missing, forked or damaged, 1 when something is. Appends and replication may continue.
    """
    settings = among.settings()
    if not settings.peers:
        raise InvalidConfig("there is nothing to compare with; name the other regions with --peers or MERIDIAN_PEERS")
    meter = Meter()
    system = System.connect(settings, meter)
    places = system.answering()
    if silent := sorted(system.places.keys() - places.keys()):
        raise RegionUnavailable(f"{', '.join(silent)} does not answer; leave it out of --peers to compare the others")
    began = time.monotonic()
    tell = lambda text: err.print(text, highlight=False)  # noqa: E731
    found = compare(places, system.sleep, wait, deep, tell, consistent=False)
    if as_json:
        effort = {"seconds": round(time.monotonic() - began, 3), "read_units": meter.units, "requests": meter.requests}
        typer.echo(json.dumps({**found.as_json(), **effort}))
    else:
        _show(found, time.monotonic() - began, meter)
    if not found.equal:
        raise MeridianError(_remedy(found))


def _show(found: Comparison, seconds: float, meter: Meter) -> None:
    for finding in found.findings[:_SHOWN]:
        typer.echo(str(finding))
    if len(found.findings) > _SHOWN:
        typer.echo(f"… and {len(found.findings) - _SHOWN:,} more: --json lists all")
    moving = f", {found.travelling:,} events were in transit" if found.travelling else ""
    verdict = "equal" if found.equal else f"{len(found.findings):,} findings"
    out.print(
        f"{', '.join(found.regions)}: {verdict}. {found.events:,} events in {found.lanes:,} lanes; "
        f"{found.differing_ranges} of {found.ranges} ranges and {found.differing_lanes:,} lanes compared{moving}. "
        f"{meter.units:,.1f} read units, {meter.requests:,} requests, {seconds:.1f} s",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


def _remedy(found: Comparison) -> str:
    kinds = {finding.kind for finding in found.findings}
    hints = ["`replicator repair` copies what is missing"] if MISSING in kinds else []
    hints += ["`replicator forks` lists the choices for forked lanes"] if FORKED in kinds else []
    hints += ["--deep reads damaged lanes in full"] if kinds - {MISSING, FORKED} else []
    return f"regions differ; {', '.join(hints)}"


def list_forks(system: System) -> None:
    """Print every fork with its choices. Raises MeridianError when there is any."""
    places = system.answering()
    found = forks_of(places, compare(places, system.sleep, 0.0))
    for fork in found:
        typer.echo(json.dumps(fork.as_json()))
    if found:
        raise MeridianError(f"{len(found)} lanes are forked; nothing was overwritten, choose an option for each")


def status(
    among: Among,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every few seconds until Ctrl-C.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two refreshes.", min=0.5)] = 3.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object (with --watch: one per refresh).")] = False,
    html: Annotated[Path | None, typer.Option(help="Write an HTML page to this file instead.", metavar="FILE")] = None,
) -> None:
    """Show the state of every region and every link: roles, lag in events and seconds, backlogs, quarantine, open runs.

    Exits 1 when an operator must act.
    """
    settings = among.settings()
    if html is not None and not html.parent.is_dir():
        raise InvalidConfig(f"--html {html}: there is no directory {html.parent}; create it or choose another")
    system = System.connect(settings)
    depth = _Depths(settings)
    if not watch:
        _print(system, settings, depth, as_json, html)
        return
    _watch(system, settings, depth, every, as_json, html)


def _print(system: System, settings: Settings, depth: _Depths, as_json: bool, html: Path | None) -> None:
    from replicator.ops.status.judgement import Judgement, Level, worst
    from replicator.ops.status.table import show

    found = gather(system, settings.prefix, depth)
    if as_json:
        typer.echo(json.dumps(found.as_json()))
    elif html is not None:
        _write_page(html, found)
        out.print(f"{html} was written", highlight=False)
    else:
        out.print(show(found, out))
    if worst(Judgement(found).all()) is Level.ACT:
        raise typer.Exit(1)


def _watch(system: System, settings: Settings, depth: _Depths, every: float, as_json: bool, html: Path | None) -> None:
    from rich.live import Live

    from replicator.ops.status.table import show

    live = Live(console=out, auto_refresh=False, screen=out.is_terminal) if not as_json else None
    if live is not None:
        live.start()
    try:
        while True:
            found = gather(system, settings.prefix, depth)
            if live is None:
                typer.echo(json.dumps(found.as_json()))
            else:
                live.update(show(found, out), refresh=True)
            if html is not None:
                _write_page(html, found)
            time.sleep(every)
    finally:
        if live is not None:
            live.stop()


def _write_page(html: Path, found: object) -> None:
    from replicator.ops.status.model import Status
    from replicator.ops.status.page import page

    assert isinstance(found, Status)
    beside = html.with_name(f".{html.name}.new")
    beside.write_text(page(found), encoding="utf-8")
    beside.replace(html)  # a reader never sees half a page


class _Depths:
    """Numbers of messages on the queues of links, where Terraform has created them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._queues: dict[tuple[str, str], Queue] = {}
        self._without: set[str] = set()

    def __call__(self, source: str, target: str) -> int | None:
        if source in self._without:
            return None
        key = source, target
        try:
            if key not in self._queues:
                self._queues[key] = Queue(self._settings.at(source), f"backlog-{target}")
            return self._queues[key].depth()
        except (RegionUnavailable, InvalidConfig):
            self._without.add(source)  # no queues there: a long-running worker keeps its backlog in control state
            return None


def lane_named(text: str) -> LaneId:
    """Return the lane that `REGION/TYPE/ID` names. Raises InvalidName."""
    region, _, stream = text.partition("/")
    return LaneId(region, StreamId.parse(stream))
