"""Commands that only read: proofs that views are equal, conflicts, replay, rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from projectors.cli.context import Here, seen_by_readers
from projectors.cli.options import Name, Projections, Sink, Sinks, Version
from projectors.engine.conflicts import Conflict, conflicts
from projectors.engine.digests import Difference, Fingerprint
from projectors.reads.queries import Query
from projectors.reads.rows import read_row
from projectors.settings import find_projection, read_projections, read_sinks
from projectors.sinks.address import DYNAMODB, name_of
from projectors.sinks.opening import open_sink
from projectors.versions import rebuild
from projectors.versions.verify import Folded, Place, Verdict, compare
from replicator.aws import clients
from replicator.cli.console import Among, err, options, out
from replicator.connect import connect_store
from replicator.domain.canonical import same_json
from replicator.domain.errors import DamagedEvent, InvalidConfig
from replicator.domain.event import Event
from replicator.domain.names import StreamId, sequence_key
from replicator.eventstore.history import AtSequence, Moment
from replicator.runtime.settings import Settings

_SHOWN = 100


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (verify, conflicts_of, replay, row):
        app.command("conflicts" if command is conflicts_of else command.__name__)(options(command))


def verify(
    among: Among,
    name: Name,
    projections: Projections = None,
    version: Annotated[
        int | None, typer.Option("--version", help="Its version; default: the one that readers see.", min=1)
    ] = None,
    sinks: Sinks = None,
    regions: Annotated[bool, typer.Option("--regions", help="Compare every region's DynamoDB views, too.")] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Also fold all events again and compare with the result. Needs --projection.")
    ] = False,
    thorough: Annotated[
        bool,
        typer.Option(
            "--thorough",
            help="Read every view and check it, where PostgreSQL and Redis would be asked for digests of ranges only: finds "
            "what was changed behind them. Costs a read of each view.",
        ),
    ] = False,
    settle: Annotated[float, typer.Option(help="Maximum seconds to wait for events in transit.", min=0)] = 5.0,
) -> None:
    """Prove that views are the same bytes in several sinks, in all regions, or as the events have it. Names those that are
    not, and exits 1."""
    settings = among.settings()
    addresses = read_sinks(sinks)
    if len(addresses) < 2 and not regions and not events:
        raise InvalidConfig("nothing to compare with; give two sinks, --regions or --events")
    places = [_place(settings, each) for each in addresses]
    chosen = version or seen_by_readers(name, addresses[0], settings, projections)
    if regions:
        places += [_place(settings.at(peer), DYNAMODB) for peer in settings.peers]
        if not settings.peers:
            raise InvalidConfig("--regions compares with peers, and no peer is given; give --peers or set MERIDIAN_PEERS")
    if events:
        here = Here.connect(settings)
        folded = Folded(find_projection(read_projections(projections), name, chosen), here.store, here.personal)
        places.append(Place(f"{settings.region} events", folded.sink, folded))
        for line in rebuild.describe(folded.failures):
            err.print(line, highlight=False, markup=False, soft_wrap=True)
    first, *others = places
    verdicts = [compare(name, chosen, first, other, settle=settle, thorough=thorough) for other in others]
    for each in verdicts:
        if each.empty:
            raise InvalidConfig(
                f"neither {each.left} nor {each.right} holds any view of {name}@{chosen}, so nothing was compared; check "
                "the name, --version (`projectors versions` lists them), the sinks and --prefix"
            )
        _tell(each)
    if not all(each.equal for each in verdicts):
        raise typer.Exit(1)


def _place(settings: Settings, address: str) -> Place:
    if address == DYNAMODB:
        clients.require_table(settings, settings.region, settings.views_table)
    return Place(f"{settings.region} {name_of(address)}", open_sink(address, settings))


def _tell(verdict: Verdict) -> None:
    between = f"{verdict.left} and {verdict.right}"
    cost = f"{verdict.effort.ranges:,} ranges and {verdict.effort.rows:,} of {verdict.effort.views:,} views read"
    if verdict.equal:
        out.print(
            f"{between}: equal ({verdict.effort.views:,} views; {cost})", highlight=False, markup=False, soft_wrap=True
        )
        return
    if verdict.differing:
        line = f"{between}: {len(verdict.differing):,} views differ ({cost})"
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    for each in verdict.differing[:_SHOWN]:
        _line(each, "DAMAGED: same events, different bytes" if each.damaged else "not the same events")
    if len(verdict.differing) > _SHOWN:
        out.print(f"  and {len(verdict.differing) - _SHOWN:,} more")
    if verdict.unjudged:
        line = (
            f"{between}: {len(verdict.unjudged):,} views cannot be compared: a region that holds their keys does not answer"
        )
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    for each in verdict.unjudged[:_SHOWN]:
        _line(each, "cannot be compared")


def _line(each: Difference, what: str) -> None:
    left, right = (_side(side) for side in (each.left, each.right))
    place = f"{each.key.key}" + (f" in row {each.key.row}" if each.key.row else "")
    out.print(f"  {place}: {what}: {left} | {right}", highlight=False, markup=False, soft_wrap=True)


def _side(side: Fingerprint | None) -> str:
    if side is None:
        return "absent"
    return f"{side.vector} {side.digest.hex()[:12]}" if side.vector else "cannot be read"


def conflicts_of(
    among: Among,
    stream: Annotated[str, typer.Argument(help="type/id, e.g. aircraft/N14228")],
    projections: Projections = None,
    name: Annotated[str | None, typer.Option("--name", help="Only conflicts of this projection.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each as a line of JSON, with both events' payloads.")
    ] = False,
) -> None:
    """List what conflict rules have discarded in a stream: the event that lost, and the one that it lost to."""
    loaded, of = read_projections(projections), StreamId.parse(stream)
    if name is not None:
        find_projection(loaded, name)  # names those that exist
        loaded = [each for each in loaded if each.name == name]
    fitting = [each for each in loaded if each.reads(of)]
    if not fitting:
        raise InvalidConfig(f"no given projection reads streams of type {of.type!r}; name one with --projection")
    here = Here.connect(among.settings())
    events = [event for lane in here.store.regions for event in _readable(here, of, lane)]
    reveal = here.personal.reveal if here.personal is not None else None
    found = [each for projection in fitting for each in conflicts(projection, events, reveal, _skipped)]
    if as_json:
        for each in found:
            typer.echo(json.dumps(_shown(each), ensure_ascii=False))
        return
    table = Table("projection", "version", "field", "rule", "discarded", "kept")
    for each in found:
        table.add_row(
            each.projection, str(each.version), each.field, each.rule, _event(each.discarded), _event(each.kept)
        )  # fmt: skip
    if found:
        out.print(table)
    out.print(f"{len(events):,} events, {len(found):,} conflicts", highlight=False, soft_wrap=True)


def _readable(here: Here, stream: StreamId, region: str) -> Iterator[Event]:
    """Yield a lane's events, up to one that is damaged."""
    try:
        yield from here.store.read_lane(stream, region)
    except DamagedEvent as error:
        err.print(f"skipped, with the rest of its lane: {error}", highlight=False, markup=False, soft_wrap=True)


def _skipped(event: Event, why: str) -> None:
    err.print(f"skipped: {event.id}: {why}", highlight=False, markup=False, soft_wrap=True)


def _event(event: Event) -> str:
    return f"{event.region} {event.sequence} {event.type}\n{event.hlc}"


def _shown(each: Conflict) -> dict[str, Any]:
    def event(of: Event) -> dict[str, Any]:
        return {
            "id": of.id,
            "type": of.type,
            "hlc": str(of.hlc),
            "payload": of.payload,
            "observed": dict(of.observed.items()),
        }

    return {
        "projection": each.projection, "version": each.version, "field": each.field, "rule": each.rule,
        "discarded": event(each.discarded), "kept": event(each.kept),
    }  # fmt: skip


def replay(
    among: Among,
    name: Name,
    stream: Annotated[str, typer.Argument(help="type/id, e.g. aircraft/N14228")],
    projections: Projections = None,
    version: Version = None,
    at: Annotated[
        str | None,
        typer.Option(help="Stop at a moment: a token, a time (2026-11-24T12:00:00Z), or REGION:SEQUENCE.", metavar="MOMENT"),
    ] = None,
    field: Annotated[
        list[str] | None, typer.Option("--field", help="Show only events that changed this field; repeat for more.")
    ] = None,
) -> None:
    """Fold a stream again into a scratch view, event by event, and show what each one changed. No sink is touched."""
    here = Here.connect(among.settings())
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
        changed = {key: now for key, now in snapshot.value.items() if not same_json(now, before[key])}
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
    among: Among,
    name: Name,
    row: Annotated[str, typer.Argument(help="The row, e.g. JFK")],
    projections: Projections = None,
    version: Annotated[
        int | None, typer.Option("--version", help="Its version; default: the one that readers see.", min=1)
    ] = None,
    sink: Sink = DYNAMODB,
) -> None:
    """Print a row of a cross-stream projection: its value, how many streams feed it, and its digest, as JSON."""
    settings = among.settings()
    place = _place(settings, sink).sink
    seen = version or seen_by_readers(name, sink, settings, projections)
    found = read_row(find_projection(read_projections(projections), name, seen), place, row, connect_store(settings))
    shown = {"value": found.value, "streams": found.streams, "digest": found.digest.hex()}
    typer.echo(json.dumps(shown, ensure_ascii=False))
