"""Operator commands that change something: runbooks, their records, and repairs. The read-only ones are in
`inspect_commands`."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from replicator.cli import inspect_commands
from replicator.cli.console import Among, err, options, out
from replicator.cli.inspect_commands import lane_named
from replicator.connect import connect_store
from replicator.domain.errors import InvalidConfig, MeridianError
from replicator.ops.audit.anti_entropy import Mender
from replicator.ops.audit.comparison import compare
from replicator.ops.audit.forks import salvage
from replicator.ops.runbooks import Bootstrap, Failback, Failover, Runbook, Summary, Switchover
from replicator.ops.runbooks.runs import Header, headers, note_header, steps_of
from replicator.ops.steering import read_steering
from replicator.ops.system import System
from replicator.runtime.environment import given
from replicator.runtime.settings import Settings

Capacity = Annotated[
    float,
    typer.Option(help="Maximum write units per second to each region. 0: no limit.", metavar="UNITS", min=0),
]


@dataclass(frozen=True)
class Going:
    """Options of every runbook."""

    wait: Annotated[float, typer.Option(help="Seconds to wait for events in transit.", min=0)] = 60.0
    plan: Annotated[bool, typer.Option("--plan", help="Print the steps without running them.")] = False
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation prompt.")] = False
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False


@dataclass(frozen=True)
class BringingUp:
    """Options of the runbooks that bring a region up."""

    capacity: Capacity = 0.0
    without: Annotated[
        str | None,
        typer.Option(
            help="Regions that are lost for good, comma-separated: events that only they held are given up.",
            metavar="NAMES",
        ),
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Run even if the region is active and needs no recovery.")] = False

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `Recovery`."""
        return {"capacity": self.capacity, "without": _names(self.without), "force": self.force}


def register(app: typer.Typer) -> None:
    """Add the commands, and the read-only ones."""
    for command in (failover, failback, switchover, bootstrap, runs, repair, forks):
        app.command(command.__name__)(options(command))
    inspect_commands.register(app)


def failover(
    going: Going,
    among: Among,
    source: Annotated[str, typer.Argument(metavar="FROM", help="The region that is dead, dying or cut off.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The region that takes its writers.")],
    lost: Annotated[
        bool,
        typer.Option(
            "--lost",
            help="FROM was lost with all its data, or is switched off and returns only by bootstrap.",
        ),
    ] = False,
) -> None:
    """Move the writers of a region elsewhere: fence it, steer, level what has survived, and report what is missing (RPO).

    FROM need not answer. Killed at any point, run it again. `replicator failback FROM` brings the writers back.
    """
    system, _ = _system(among, target)
    _run(Failover(system, source, target, steering=read_steering(), lost=lost, wait=going.wait), going)


def switchover(
    going: Going,
    among: Among,
    source: Annotated[str, typer.Argument(metavar="FROM", help="The region that its writers leave.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The region that takes them.")],
) -> None:
    """Move the writers of a healthy region elsewhere as planned: drain, prove that nothing is missing, steer. RPO 0."""
    system, _ = _system(among, target)
    _run(Switchover(system, source, target, steering=read_steering(), wait=going.wait), going)


def failback(
    bringing: BringingUp,
    going: Going,
    among: Among,
    back: Annotated[str, typer.Argument(metavar="REGION", help="The region that is back, whole, empty or restored.")],
) -> None:
    """Bring a region's writers back: fence it, copy both ways until every head and digest agree, prove it, unfence, steer.

    A region that came back empty or from a backup is brought up from its peers on the way. Killed, run it again.
    """
    system, _ = _system(among, back)
    book = Failback(system, back, steering=read_steering(), wait=going.wait, **bringing.arguments())
    _run(book, going)


def bootstrap(
    bringing: BringingUp,
    going: Going,
    among: Among,
    new: Annotated[str, typer.Argument(metavar="REGION", help="The region that is new, emptied or restored.")],
) -> None:
    """Bring every lane to a region from its peers, its own included, prove it, and let it take appends.

    Live replication continues. Killed, run it again: it resumes with what is still missing.
    """
    system, _ = _system(among, new)
    _run(Bootstrap(system, new, wait=going.wait, **bringing.arguments()), going)


def runs(
    among: Among,
    abandon: Annotated[
        str | None, typer.Option(help="Abandon this run, as listed. Completed steps stay.", metavar="RUN")
    ] = None,
) -> None:
    """List the runs of runbooks with their steps, one JSON object a line, the latest last."""
    system, _ = _system(among)
    found: list[tuple[Header, str]] = []
    given_up = False
    for name, place in system.answering().items():
        for header in headers(place.control):
            if header.run == abandon and not header.end:
                ended = Header(header.run, header.kind, header.args, header.begun, system.wall(), "abandoned")
                given_up = note_header(place.control, header, ended)
                header = ended
            found.append((header, name))
    for header, name in sorted(found, key=lambda each: each[0].begun):
        steps = {step: {k: v for k, v in value.items() if k != "found"} for step, value in
                 steps_of(system.at(name).control, header.run).items()}  # fmt: skip
        typer.echo(json.dumps({"run": header.run, **header.value, "kept_in": name, "steps": steps}))
    if abandon is not None and not given_up:
        raise InvalidConfig(f"--abandon {abandon!r} is not an open run; give one as `replicator runs` lists it")


def repair(
    among: Among,
    to: Annotated[str | None, typer.Option(help="Region to repair. Default: all.", metavar="NAME")] = None,
    capacity: Capacity = 0.0,
) -> None:
    """Copy to every region what it lacks and another one has. Overwrites nothing: what is forked or damaged is refused.

    Run `replicator verify` before, to list the differences, and after. Killed, run it again.
    """
    system, _ = _system(among)
    if to is not None:
        system.at(to)
    places = system.answering()
    mender = Mender(
        places, system.sleep, system.monotonic, capacity,
        lambda done, total: err.print(f"{done:,} of {total:,} lanes", highlight=False),
    )  # fmt: skip
    mended = mender.mend(targets=None if to is None else {to})
    for link, count in mended.copied.items():
        out.print(f"{link}: {count:,} events copied", highlight=False)
    for name in sorted(system.places.keys() - places.keys()):
        err.print(f"{name} does not answer and was left out", highlight=False)
    left = compare(places, system.sleep, 0.0)
    out.print(f"{mended.events + mended.filled:,} events copied; {len(left.findings):,} findings left", highlight=False)
    for finding in left.findings:
        typer.echo(str(finding))
    if left.findings or mended.left:
        raise MeridianError(f"{len(left.findings)} lanes still differ; `replicator forks` lists the forked ones")


def forks(
    among: Among,
    salvage_lane: Annotated[
        str | None,
        typer.Option(
            "--salvage", help="Append --from's events of this lane to --into's own lane.", metavar="REGION/TYPE/ID"
        ),
    ] = None,
    source: Annotated[str | None, typer.Option("--from", help="Region whose history is salvaged.", metavar="NAME")] = None,
    into: Annotated[str | None, typer.Option(help="Region whose history is kept.", metavar="NAME")] = None,
) -> None:
    """List the lanes of which regions hold different histories, with the choices, one JSON object a line.

    With --salvage, append the events of one history as new ones, each exactly once, so that its region can be brought up
    again without losing them.
    """
    system, settings = _system(among)
    if salvage_lane is None:
        inspect_commands.list_forks(system)
        return
    if source is None or into is None:
        raise InvalidConfig("--salvage needs --from (region to salvage) and --into (region to append in), as listed")
    system.at(source), system.at(into)
    store = connect_store(settings.at(into))
    count = salvage(lane_named(salvage_lane), system.places, source, store)
    out.print(f"{count:,} events of {salvage_lane} were appended in {into}", highlight=False)


def _system(among: Among, named: str = "") -> tuple[System, Settings]:
    """Return the regions. If the settings name no region of their own, it is `named`, the one that the command is about."""
    if named and not any(given(name) for name in ("MERIDIAN_REGION", "AWS_REGION")):
        among = replace(among, region=among.region or named)
    settings = among.settings()
    if not settings.peers:
        raise InvalidConfig("no other region is given; name all of them with --peers or MERIDIAN_PEERS")
    return System.connect(settings), settings


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _run(book: Runbook, going: Going) -> None:
    for number, step in enumerate(book.plan(), 1):
        err.print(f"{number}. {step.name}: {step.text}", highlight=False, soft_wrap=True)
    if going.plan:
        return
    if not going.yes:
        if not err.is_terminal:
            raise InvalidConfig("no terminal to confirm on; give --yes to run the steps, or --plan to print them only")
        typer.confirm("Run these steps?", abort=True, err=True)
    began = time.monotonic()

    def tell(text: str) -> None:
        err.print(f"{time.monotonic() - began:7.1f} s  {text}", highlight=False, soft_wrap=True)

    _show(book.run(tell), going.as_json)


def _show(summary: Summary, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(summary.as_json()))
        return
    rpo = summary.rpo
    if rpo is not None:
        lanes = f" in {len(rpo):,} lanes" if rpo else ""
        out.print(f"RPO {summary.rpo_events:,} events{lanes}", highlight=False)
        for lane, (first, last) in sorted(rpo.items())[:20]:
            out.print(f"    {lane}: {first} to {last}" if last > first else f"    {lane}: {first}", highlight=False)
        if len(rpo) > 20:
            out.print(f"    … and {len(rpo) - 20:,} more lanes: --json lists all", highlight=False)
    if summary.rto_seconds is not None:
        out.print(
            f"RTO {summary.rto_seconds:.1f} s, from the beginning of this run to the steering of writers", highlight=False
        )
    for note in summary.notes:
        out.print(note, highlight=False, soft_wrap=True)
    out.print(f"{summary.kind} took {summary.seconds:.1f} s; recorded as {summary.run}", highlight=False)
