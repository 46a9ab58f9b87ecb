"""Commands of whoever runs Meridian: building versions and switching to them, proving views equal, conflicts, replay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from projectors import rebuild as rebuilding
from projectors.conflicts import Conflict, conflicts
from projectors.options import Name, Projections, Sink, Sinks, Version
from projectors.queries import Query
from projectors.rows import read_row
from projectors.settings import find_projection, read_projections, read_sinks
from projectors.sinks.opening import DYNAMODB, name_of, open_sink
from projectors.sinks.port import ReadDirectly
from projectors.verify import Place, Verdict, compare, fold_again
from projectors.versions import Versions
from replicator import aws, erasure
from replicator.console import Endpoints, Peers, Prefix, Region, err, out, stop_on_signals
from replicator.control import DynamoControl
from replicator.domain.names import StreamId, sequence_key
from replicator.erasure import PersonalData
from replicator.errors import InvalidConfig
from replicator.history import AtSequence, Moment
from replicator.settings import Settings, read_settings
from replicator.store import EventStore


@dataclass(frozen=True)
class Here:
    """A region as these commands see it."""

    settings: Settings
    store: EventStore
    personal: PersonalData | None

    @classmethod
    def connect(cls, settings: Settings) -> Here:
        aws.require_table(settings, settings.region, settings.events_table)
        return cls(settings, EventStore.connect(settings), erasure.connect(settings))

    def versions(self, sink: str) -> Versions:
        return Versions(DynamoControl(self.settings), name_of(sink))


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (rebuild, switch, versions, drop, verify, conflicts_of, replay, row):
        app.command("conflicts" if command is conflicts_of else command.__name__)(command)


def rebuild(
    name: Name,
    projections: Projections = None,
    version: Version = None,
    sink: Sink = DYNAMODB,
    again: Annotated[bool, typer.Option("--again", help="From the beginning, though it is built already.")] = False,
    region: Region = None,
    peers: Peers = None,
    prefix: Prefix = None,
    endpoints: Endpoints = None,
) -> None:
    """Build a projection's version from the whole history, beside the one readers see. Killed, it goes on from there."""
    here = Here.connect(read_settings(region=region, peers=peers, prefix=prefix, endpoints=endpoints))
    projection = find_projection(read_projections(projections), name, version)
    stop = stop_on_signals()
    with _progress(f"{name}@{projection.version}") as (bar, task):

        def tell(progress: rebuilding.Progress) -> None:
            bar.update(task, total=progress.events, completed=progress.build.events)

        work = rebuilding.Rebuild(
            projection, here.store, open_sink(sink, here.settings), here.versions(sink), here.personal, tell
        )
        build, failures = work.run(stop, again=again)
    for line in rebuilding.describe(failures):
        err.print(line, highlight=False, markup=False, soft_wrap=True)
    if not build.built:
        err.print(f"stopped after {build.streams:,} streams; run the same command again to go on")
        raise typer.Exit(130)
    out.print(f"{name}@{projection.version}: {build.streams:,} streams, {build.events:,} events in {build.seconds:.1f} s")
    if build.failures:
        err.print(f"{build.failures:,} views stand still at events that the projection cannot digest")
        raise typer.Exit(1)


def switch(
    name: Name,
    version: Annotated[int, typer.Argument(help="The version that readers are to see", min=1)],
    sink: Sink = DYNAMODB,
    force: Annotated[bool, typer.Option("--force", help="Though it is not built whole.")] = False,
    region: Region = None,
    prefix: Prefix = None,
    endpoints: Endpoints = None,
) -> None:
    """Let readers see another version of a projection, at once and all of it. The one before stays: switch back to it."""
    settings = read_settings(region=region, prefix=prefix, endpoints=endpoints)
    aws.require_table(settings, settings.region, settings.control_table)
    place = open_sink(sink, settings)
    before = Versions(DynamoControl(settings), name_of(sink)).switch(name, version, force=force)
    if isinstance(place, ReadDirectly):
        place.activate(name, version)  # also where it was switched before: a run that was killed in between is made whole
    was = f"version {before}" if before is not None else "the lowest version loaded"
    out.print(
        f"readers of {name} in {settings.region} see version {version} now; before: {was}", highlight=False, soft_wrap=True
    )


def versions(sink: Sink = DYNAMODB, region: Region = None, prefix: Prefix = None, endpoints: Endpoints = None) -> None:
    """Which versions were built in a sink, how far, and which readers see."""
    settings = read_settings(region=region, prefix=prefix, endpoints=endpoints)
    aws.require_table(settings, settings.region, settings.control_table)
    known = Versions(DynamoControl(settings), name_of(sink))
    table = Table("projection", "version", "readers", "streams", "events", "seconds", "cannot digest")
    for name, version, build in known.all():
        seen = "see it" if known.active(name) == version else "saw it before" if known.previous(name) == version else ""
        done = "" if build.built else " so far"
        table.add_row(
            name, str(version), seen, f"{build.streams:,}{done}", f"{build.events:,}", f"{build.seconds:.1f}",
            f"{build.failures:,}",
        )  # fmt: skip
    out.print(table)


def drop(
    name: Name,
    version: Annotated[int, typer.Argument(help="The version to remove", min=1)],
    sink: Sink = DYNAMODB,
    region: Region = None,
    prefix: Prefix = None,
    endpoints: Endpoints = None,
) -> None:
    """Remove every view of a version that readers do not see. Its class must not be projected any more."""
    settings = read_settings(region=region, prefix=prefix, endpoints=endpoints)
    aws.require_table(settings, settings.region, settings.control_table)
    Versions(DynamoControl(settings), name_of(sink)).forget(name, version)
    gone = 0
    with _progress(f"{name}@{version}") as (bar, task):
        for gone in open_sink(sink, settings).drop(name, version):
            bar.update(task, completed=gone)
    out.print(f"{settings.region}: {gone:,} views of {name}@{version} removed")


def verify(
    name: Name,
    projections: Projections = None,
    version: Annotated[int | None, typer.Option("--version", help="Its version; default: what readers see.", min=1)] = None,
    sinks: Sinks = None,
    regions: Annotated[bool, typer.Option("--regions", help="Compare every region's DynamoDB views, too.")] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Fold all events again and compare with that. Needs --projection.")
    ] = False,
    settle: Annotated[float, typer.Option(help="Seconds in which what is on its way may arrive.", min=0)] = 5.0,
    region: Region = None,
    peers: Peers = None,
    prefix: Prefix = None,
    endpoints: Endpoints = None,
) -> None:
    """Prove that views are the same bytes in several sinks, in all regions, or as the events have it. Names those that are
    not, and exits 1."""
    settings = read_settings(region=region, peers=peers, prefix=prefix, endpoints=endpoints)
    addresses = read_sinks(sinks)
    places = [Place(f"{settings.region} {name_of(each)}", open_sink(each, settings)) for each in addresses]
    version = version or _seen(settings, name, addresses[0])
    if regions:
        places += [Place(f"{peer} {DYNAMODB}", open_sink(DYNAMODB, settings.at(peer))) for peer in settings.peers]
    if events:
        here, chosen = Here.connect(settings), find_projection(read_projections(projections), name, version)
        folded, failures = fold_again(chosen, here.store, personal=here.personal)
        places.append(Place(f"{settings.region} events", folded))
        for line in rebuilding.describe(failures):
            err.print(line, highlight=False, markup=False, soft_wrap=True)
    if len(places) < 2:
        raise InvalidConfig("nothing to compare with; give two sinks, --regions or --events")
    first, *others = places
    verdicts = [compare(name, version, first, other, settle=settle) for other in others]
    for each in verdicts:
        _tell(each)
    if not all(each.equal for each in verdicts):
        raise typer.Exit(1)


def _tell(verdict: Verdict) -> None:
    between = f"{verdict.left} and {verdict.right}"
    cost = f"{verdict.effort.ranges:,} ranges and {verdict.effort.rows:,} of {verdict.effort.views:,} views looked at"
    if verdict.equal:
        out.print(
            f"{between}: equal ({verdict.effort.views:,} views; {cost})", highlight=False, markup=False, soft_wrap=True
        )
        return
    out.print(f"{between}: {len(verdict.differing):,} views differ ({cost})", highlight=False, markup=False, soft_wrap=True)
    for each in verdict.differing[:100]:
        what = "DAMAGED: same events, other bytes" if each.damaged else "not the same events"
        sides = [
            f"{side.vector} {side.digest.hex()[:12]}" if side is not None else "absent" for side in (each.left, each.right)
        ]
        place = f"{each.key.key}" + (f" in row {each.key.row}" if each.key.row else "")
        out.print(f"  {place}: {what}: {sides[0]} | {sides[1]}", highlight=False, markup=False, soft_wrap=True)
    if len(verdict.differing) > 100:
        out.print(f"  and {len(verdict.differing) - 100:,} more")


def conflicts_of(
    stream: Annotated[str, typer.Argument(help="type/id, e.g. aircraft/N14228")],
    projections: Projections = None,
    name: Annotated[str | None, typer.Option("--name", help="Only this projection's.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON line for each, with both events' payloads.")] = False,
    region: Region = None,
    peers: Peers = None,
    prefix: Prefix = None,
    endpoints: Endpoints = None,
) -> None:
    """List what conflict rules have discarded in a stream: the event that lost, and the one that it lost to."""
    here = Here.connect(read_settings(region=region, peers=peers, prefix=prefix, endpoints=endpoints))
    loaded = [each for each in read_projections(projections) if name is None or each.name == name]
    of = StreamId.parse(stream)
    fitting = [each for each in loaded if each.reads(of)]
    if not fitting:
        raise InvalidConfig(f"no projection given is fed by streams of type {of.type!r}; name one with --projection")
    events = list(here.store.read(of))
    reveal = here.personal.reveal if here.personal is not None else None
    found = [each for projection in fitting for each in conflicts(projection, events, reveal)]
    if as_json:
        for each in found:
            typer.echo(json.dumps(_shown(each), ensure_ascii=False))
        return
    table = Table("projection", "field", "rule", "discarded", "kept")
    for each in found:
        table.add_row(each.projection, each.field, each.rule, _event(each.discarded), _event(each.kept))
    if found:
        out.print(table)
    out.print(f"{len(events):,} events, {len(found):,} conflicts", highlight=False, soft_wrap=True)


def _event(event: Any) -> str:
    return f"{event.region} {event.sequence} {event.type}\n{event.hlc}"


def _shown(each: Conflict) -> dict[str, Any]:
    def event(of: Any) -> dict[str, Any]:
        return {
            "id": of.id,
            "type": of.type,
            "hlc": str(of.hlc),
            "payload": of.payload,
            "observed": dict(of.observed.items()),
        }

    return {
        "projection": each.projection, "field": each.field, "rule": each.rule,
        "discarded": event(each.discarded), "kept": event(each.kept),
    }  # fmt: skip


def replay(
    name: Name,
    stream: Annotated[str, typer.Argument(help="type/id, e.g. aircraft/N14228")],
    projections: Projections = None,
    version: Version = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="Only up to a moment: a token, a time (2026-11-24T12:00:00Z), or REGION:SEQUENCE.", metavar="MOMENT"
        ),
    ] = None,
    field: Annotated[
        list[str] | None, typer.Option("--field", help="Show only events that changed this field; repeat for more.")
    ] = None,
    region: Region = None,
    peers: Peers = None,
    prefix: Prefix = None,
    endpoints: Endpoints = None,
) -> None:
    """Fold a stream again into a scratch view, event by event, and show what each one changed. No sink is touched."""
    here = Here.connect(read_settings(region=region, peers=peers, prefix=prefix, endpoints=endpoints))
    projection = find_projection(read_projections(projections), name, version)
    of = StreamId.parse(stream)
    if projection.rows or not projection.reads(of):
        raise InvalidConfig(f"projection {name} keeps no view of {stream}; it reads {', '.join(projection.stream_types)}")
    unknown = set(field or ()) - projection.fields.keys()
    if unknown:
        known = ", ".join(projection.fields)
        raise InvalidConfig(f"projection {name} has no field {', '.join(sorted(unknown))}; it has {known}")
    query = Query(projection, here.store, reveal=here.personal.reveal if here.personal is not None else None)
    end = query.at(of, _moment(at)).vector if at is not None else None
    before = projection.view(str(of), projection.initial(), here.store.join().vector(of)).value
    for snapshot in query.history(of):
        event = snapshot.event
        if event is None or (end is not None and not end.covers(event.region, event.sequence)):
            continue
        changed = {key: snapshot.value[key] for key in snapshot.value if snapshot.value[key] != before[key]}
        before = snapshot.value
        if field is None or changed.keys() & set(field):
            shown = json.dumps({key: changed[key] for key in changed if field is None or key in field}, ensure_ascii=False)
            place = f"{event.region}#{sequence_key(event.sequence).lstrip('0')}"
            out.print(f"{event.hlc} {place} {event.type} → {shown}", highlight=False, markup=False, soft_wrap=True)


def _moment(text: str) -> Moment:
    region, colon, sequence = text.partition(":")
    if colon and sequence.isdecimal() and not region[:1].isdecimal():
        return AtSequence(int(sequence), region)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def row(
    name: Name,
    row: Annotated[str, typer.Argument(help="The row, e.g. JFK")],
    projections: Projections = None,
    version: Annotated[int | None, typer.Option("--version", help="Its version; default: what readers see.", min=1)] = None,
    sink: Sink = DYNAMODB,
    region: Region = None,
    prefix: Prefix = None,
    endpoints: Endpoints = None,
) -> None:
    """Print a row of a cross-stream projection: its value, how many streams feed it, and its digest, as JSON."""
    settings = read_settings(region=region, prefix=prefix, endpoints=endpoints)
    place = open_sink(sink, settings)
    seen = version or _seen(settings, name, sink)
    found = read_row(find_projection(read_projections(projections), name, seen), place, row)
    shown = {"value": found.value, "streams": found.streams, "digest": found.digest.hex()}
    typer.echo(json.dumps(shown, ensure_ascii=False))


def _seen(settings: Settings, name: str, sink: str) -> int:
    """The version that readers see."""
    aws.require_table(settings, settings.region, settings.control_table)
    return Versions(DynamoControl(settings), name_of(sink)).active(name) or 1


@contextmanager
def _progress(what: str) -> Iterator[tuple[Progress, Any]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        yield bar, bar.add_task(what, total=None)
