"""Operators' commands that change something: they build versions, switch to them and drop them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from projectors.cli import inspect_commands
from projectors.cli.context import Here, versions_in
from projectors.cli.options import Name, Projections, Sink, Version
from projectors.engine.sink import ReadDirectly
from projectors.engine.sink import Sink as Port
from projectors.run.view_quarantine import Poison
from projectors.settings import find_projection, given_projections, read_projections
from projectors.sinks.address import DYNAMODB, name_of
from projectors.sinks.opening import open_sink
from projectors.versions import rebuild as rebuilding
from projectors.versions.versions import Build, NotSwitched, Versions
from replicator.aws.control_table import DynamoControl
from replicator.cli.console import Alone, Among, err, options, out
from replicator.control.backlog import VIEWS
from replicator.control.quarantine import Quarantine
from replicator.domain.errors import DamagedEvent
from replicator.runtime.settings import Settings
from replicator.runtime.signals import stop_on_signals


def register(app: typer.Typer) -> None:
    """Add the commands, and those that only read."""
    for command in (rebuild, switch, versions, drop):
        app.command(command.__name__)(options(command))
    inspect_commands.register(app)


def rebuild(
    among: Among,
    name: Name,
    projections: Projections = None,
    version: Version = None,
    sink: Sink = DYNAMODB,
    again: Annotated[bool, typer.Option("--again", help="Rebuild from the beginning, even if it is already built.")] = False,
) -> None:
    """Build a projection's version from the whole history, beside the one readers see. If killed, it resumes from there."""
    here = Here.connect(among.settings())
    projection = find_projection(read_projections(projections), name, version)
    known = versions_in(sink, here.settings)
    stop = stop_on_signals()
    with _progress(f"{name}@{projection.version}") as (bar, task):

        def tell(progress: rebuilding.Progress) -> None:
            bar.update(task, total=progress.events, completed=progress.build.events)

        work = rebuilding.Rebuild(projection, here.store, open_sink(sink, here.settings), known, here.personal, tell)
        build, failures = work.run(stop, again=again)
    for line in rebuilding.describe(failures):
        err.print(line, highlight=False, markup=False, soft_wrap=True)
    if build.built:
        _poison(here.settings).forget(name, projection.version, failures)
    else:
        err.print(f"stopped after {build.streams:,} streams; run the same command again to go on")
        raise typer.Exit(130)
    out.print(f"{name}@{projection.version}: {build.streams:,} streams, {build.events:,} events in {build.seconds:.1f} s")
    if build.failures:
        err.print(f"{build.failures:,} views have stopped at events that the projection cannot process")
        raise typer.Exit(1)


def switch(
    alone: Alone,
    name: Name,
    version: Annotated[int, typer.Argument(help="The version that readers will see", min=1)],
    projections: Projections = None,
    sink: Sink = DYNAMODB,
    force: Annotated[bool, typer.Option("--force", help="Even if it is not completely built.")] = False,
) -> None:
    """Let readers see another version of a projection, at once and all of it. The previous one stays: switch back to it."""
    settings = alone.settings()
    was = min((each.version for each in given_projections(projections) if each.name == name), default=1)
    place, known = open_sink(sink, settings), versions_in(sink, settings)
    before = known.switch(name, version, was=was, force=force)
    if isinstance(place, ReadDirectly):
        place.activate(name, version)  # also if it was switched before: a run that was killed in between is completed
    previous = f"version {before}" if before is not None else "the lowest version loaded"
    out.print(
        f"readers of {name} in {settings.region} see version {version} now; previously: {previous}",
        highlight=False,
        soft_wrap=True,
    )


def versions(alone: Alone, projections: Projections = None, sink: Sink = DYNAMODB) -> None:
    """List the versions in a sink: how far each is built, and which one readers see."""
    settings = alone.settings()
    loaded, known = given_projections(projections), versions_in(sink, settings)
    builds = {(name, version): build for name, version, build in known.all()}
    chosen = {name: (active, previous) for name, active, previous in known.known()}
    named = {*builds, *((each.name, each.version) for each in loaded)}
    named |= {(name, version) for name, both in chosen.items() for version in both if version is not None}
    table = Table("projection", "version", "readers", "streams", "events", "seconds", "cannot process")
    for name, version in sorted(named):
        active, previous = chosen.get(name, (None, None))
        sees = known.seen(name, loaded) if active is not None or any(each.name == name for each in loaded) else None
        seen = "see it" if version == sees else "saw it before" if version == previous else ""
        table.add_row(name, str(version), seen, *_far(builds.get((name, version))))
    out.print(table)


def _far(build: Build | None) -> tuple[str, ...]:
    if build is None:
        return ("never rebuilt", "", "", "")
    done = "" if build.built else " so far"
    return f"{build.streams:,}{done}", f"{build.events:,}", f"{build.seconds:.1f}", f"{build.failures:,}"


def drop(
    alone: Alone,
    name: Name,
    version: Annotated[int, typer.Argument(help="The version to remove", min=1)],
    sink: Sink = DYNAMODB,
    force: Annotated[
        bool, typer.Option("--force", help="Even if readers were never switched, and so may see this version.")
    ] = False,
) -> None:
    """Remove every view of a version that readers do not see. Its class must not be projected any more."""
    settings = alone.settings()
    known, place, gone = versions_in(sink, settings), open_sink(sink, settings), 0
    if not _is_somewhere(known, place, name, version):
        err.print(
            f"there is no {name}@{version} in {settings.region} {name_of(sink)}: no view, and no record of a build; see "
            "`projectors versions` for what there is",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        raise typer.Exit(1)
    known.dropping(name, version, force=force)
    with _progress(f"{name}@{version}") as (bar, task):
        for gone in place.drop(name, version):
            bar.update(task, completed=gone)
    known.dropped(name, version)
    _poison(settings).forget(name, version)
    out.print(f"{settings.region}: {gone:,} views of {name}@{version} removed")


def _poison(settings: Settings) -> Poison:
    link = f"{settings.region}>{VIEWS}"
    return Poison(Quarantine(DynamoControl(settings), link), link)


def _is_somewhere(known: Versions, place: Port, name: str, version: int) -> bool:
    """Return whether anything is recorded of this version, even an interrupted drop, or any view of it is kept."""
    chosen = {each: both for each, *both in known.known()}
    if known.build(name, version) is not None or version in chosen.get(name, ()):
        return True
    try:
        known.begin(name, version)
        return next(iter(place.views(name, version)), None) is not None
    except (NotSwitched, DamagedEvent):
        return True


@contextmanager
def _progress(what: str) -> Iterator[tuple[Progress, Any]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        yield bar, bar.add_task(what, total=None)
