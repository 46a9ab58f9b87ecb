"""Main module of the `replicator` command."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated, Any

import typer

from replicator.aws import clients
from replicator.aws.control_table import DynamoControl
from replicator.cli import ops_commands
from replicator.cli.console import Alone, Among, connected, err, options, out, run, versioned
from replicator.connect import connect_publish_worker, connect_replicator, connect_store
from replicator.control.control_storage import Value
from replicator.control.quarantine import Quarantine, event_of, lane_of, projection_of, select
from replicator.domain.errors import InvalidConfig, InvalidEvent, MeridianError, RegionUnavailable
from replicator.domain.event import Event, NewEvent, Observed
from replicator.domain.names import DELIMITER, LaneId, StreamId, parse_sequence_key
from replicator.domain.token import ConsistencyToken
from replicator.domain.vector import VersionVector
from replicator.eventstore.durability import WITHIN_SECONDS
from replicator.eventstore.store import EventStore
from replicator.external.publish_worker import PublishWorker
from replicator.replication.worker import Replicator
from replicator.runtime.settings import Settings
from replicator.runtime.signals import stop_on_signals

_NAMED = 5
"""Maximum number of events, lanes and projections that an error names."""

app = typer.Typer(
    help="Append immutable events in a region and copy them to every other. Settings come from MERIDIAN_* variables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
versioned(app)


@app.command()
@options
def init(alone: Alone) -> None:
    """Create the events, control and keys tables on an emulator. (On AWS, Terraform does.)

    Refuses an emulator whose streams omit PartiQL INSERTs: nothing would be copied there.
    If MERIDIAN_EXTERNAL is set, also the internal bus, fed by the events table, and the stream of external events.
    """
    from replicator.aws.kinesis import create_streams
    from replicator.aws.stream_check import require_inserts_shown
    from replicator.aws.tables import check_endpoint, create_tables

    settings = alone.settings()
    check_endpoint(settings)
    require_inserts_shown(settings)
    created = create_tables(settings)
    created += create_streams(settings) if settings.external else []
    out.print(f"{settings.region}: created {', '.join(created)}" if created else f"{settings.region}: tables exist")


@app.command("run")
@options
def run_worker(among: Among) -> None:
    """Copy this region's events to its peers until SIGTERM or Ctrl-C. May be killed at any instant."""

    settings = among.settings()

    def connect() -> Replicator:
        clients.require_table(settings, settings.region, settings.control_table)
        return connect_replicator(settings)

    connected(connect).run(stop_on_signals())


@app.command()
@options
def publish(
    among: Among,
    external: Annotated[
        str | None,
        typer.Option(help="Transformation, module:Class. (env: MERIDIAN_EXTERNAL)", metavar="NAME"),
    ] = None,
) -> None:
    """Publish this region's events as external ones until SIGTERM or Ctrl-C. May be killed at any instant."""

    settings = among.settings()
    if external is not None:
        settings = replace(settings, external=external)

    def connect() -> PublishWorker:
        clients.require_table(settings, settings.region, settings.control_table)
        return connect_publish_worker(settings)

    connected(connect).run(stop_on_signals())


@app.command()
@options
def append(
    among: Among,
    stream: Annotated[str, typer.Argument(help="Stream, type/id, e.g. user/homer")],
    event_type: Annotated[str, typer.Argument(help="Event type, e.g. renamed")],
    payload: Annotated[str, typer.Argument(help='Payload, a JSON object, e.g. \'{"name": "Homer"}\'')] = "{}",
    copies: Annotated[
        int | None,
        typer.Option(help="Wait until this number of regions hold it. (env: MERIDIAN_COPIES, by stream type)", min=1),
    ] = None,
    within: Annotated[float, typer.Option(help="Seconds to wait for copies.")] = WITHIN_SECONDS,
) -> None:
    """Append one event to this region's lane of a stream, after reading the stream.

    Prints it, with the regions that are known to hold it. Fewer than --copies is no failure: see `replicator where`.
    """
    name = StreamId.parse(stream)
    new = NewEvent(event_type, _object(payload))
    store = _store(among.settings())
    stored = store.append(name, new, observed=Observed.of(store.read(name)), copies=copies, within=within)
    for event in stored:
        _json({**_shown(event), "regions": list(stored.regions)})


@app.command()
@options
def where(
    among: Among,
    named: Annotated[str, typer.Argument(metavar="TOKEN|EVENT", help="Consistency token, or an event's id.")],
    wait: Annotated[float, typer.Option(help="Seconds to wait for --regions to hold it.", min=0)] = 0.0,
    regions: Annotated[int | None, typer.Option(help="Exit with 1 unless this number of regions hold it.", min=1)] = None,
) -> None:
    """Print which regions hold an event, or everything that a token names, and what the others lack, as a JSON object.

    Exact: what a region holds it holds for good. One read a lane and region.
    """
    store = _store(among.settings())
    token = _event_token(named) if DELIMITER in named else store.token(named)
    if regions is None:
        _json(store.stable(token, max(wait, 2.0)).as_json())
    else:
        _json(store.wait_until(token, regions, max(wait, 0.001)).as_json())


@app.command()
@options
def read(
    among: Among,
    stream: Annotated[str, typer.Argument(help="Stream, type/id, e.g. user/homer")],
    limit: Annotated[int | None, typer.Option(help="Maximum number of events.", min=1)] = None,
    reverse: Annotated[bool, typer.Option(help="Print the latest event first.")] = False,
) -> None:
    """Print a stream as this region has it, merged over its lanes, one JSON object an event."""
    name = StreamId.parse(stream)
    store = _store(among.settings())
    for event in store.read(name, limit=limit, reverse=reverse):
        _print(event)


@app.command()
@options
def homes(
    among: Among,
    to: Annotated[
        str | None,
        typer.Option("--set", help="Move the homes of claims to these regions, comma-separated.", metavar="NAMES"),
    ] = None,
    types: Annotated[
        str | None,
        typer.Option(
            help="All stream types that are claims, comma-separated, e.g. email,phone. Required with --set.",
            metavar="TYPES",
        ),
    ] = None,
    lost: Annotated[
        str | None,
        typer.Option(help="Regions that are lost for good, not to be queried: see docs/decisions/0011.", metavar="NAMES"),
    ] = None,
    wait: Annotated[float, typer.Option(help="Seconds to wait for claims to arrive in their new homes.", min=0)] = 60.0,
) -> None:
    """Print which regions are home to which types of claims, as each region has it; with --set, name or move them.

    A move closes claims in every region, waits until all claims have arrived, and opens them in the new homes. Killed or
    refused at any step, run it again. It needs to know every region that is home now (--peers), also one that is --lost.
    """
    from replicator.aws.event_table import DynamoStorage
    from replicator.claims.homes import HomeMover, Homes

    settings = among.settings()
    regions = (settings.region, *settings.peers)
    gone = tuple(name.strip() for name in (lost or "").split(",") if name.strip())
    controls = {name: DynamoControl(settings.at(name)) for name in regions}
    if to is not None:
        names = frozenset(name.strip() for name in (types or "").split(",") if name.strip())
        if not names:
            raise InvalidConfig("--set needs --types: the stream types that are claims, for example --types email,nickname")
        for name in names:
            StreamId(name, "any")
        storages = {name: DynamoStorage(settings.at(name)) for name in regions}
        mover = HomeMover(controls, storages, names, lambda text: err.print(text, highlight=False))
        mover.move([name.strip() for name in to.split(",") if name.strip()], gone, wait)
    silent = []
    for name in regions:
        try:
            found = None if name in gone else Homes.read(controls[name])
        except RegionUnavailable:
            silent.append(name)
            _json({"region": name, "up": False})
        else:
            _json({"region": name, **(found.value if found is not None else {"epoch": None})})
    if silent:
        raise RegionUnavailable(f"{', '.join(silent)} does not answer, so its record of homes is unknown")


@app.command()
@options
def forget(
    among: Among,
    subject: Annotated[str, typer.Argument(help="Subject of the personal data, as given to protect it, e.g. user/homer")],
    streams: Annotated[
        list[str] | None,
        typer.Option("--stream", help="Stream that holds its data; repeat for more. Default: SUBJECT.", metavar="TYPE/ID"),
    ] = None,
) -> None:
    """Forget a subject for good: destroy the keys of its personal data in every region. There is no way back.

    Prints a line for each region. Exits with 1 when some are pending: they follow by themselves, or run it again.
    """
    from replicator.connect import connect_keys
    from replicator.erasure import forget as forget_subject

    settings = among.settings()
    clients.require_table(settings, settings.region, settings.keys_table)
    answer = forget_subject(_store(settings), connect_keys(settings), subject, streams or ())
    for name in settings.regions:
        if name not in settings.retired:
            typer.echo(f"{name}: " + (f"pending ({answer.pending[name]})" if name in answer.pending else "destroyed"))
    if answer.pending:
        raise RegionUnavailable(f"{subject} is not forgotten yet in {', '.join(sorted(answer.pending))}; run it again")


@app.command()
@options
def quarantine(
    among: Among,
    release: Annotated[
        str | None,
        typer.Option(help="Release an event, a lane, or all of a projection, once its cause is resolved.", metavar="WHAT"),
    ] = None,
) -> None:
    """List what this region refused to copy or could not project, one JSON object a line. Empty is good.

    With --release, take some out of the list and so end their alarm. What is still wrong comes back with its lane's next
    event.
    """
    settings = among.settings()
    clients.require_table(settings, settings.region, settings.control_table)
    control = DynamoControl(settings)
    links = (settings.region, *(f"{settings.region}>{target}" for target in (*settings.peers, "views", "external")))
    listed = {link: dict(Quarantine(control, link).records()) for link in links}
    chosen = {link: found if release is None else select(found, release) for link, found in listed.items()}
    if release is not None and not any(chosen.values()):
        raise InvalidConfig(f"--release {release!r} names nothing in quarantine; {_releasable(listed.values())}")
    for link, found in chosen.items():
        for event_id, value in found.items():
            _json({"link": link, "event": event_id, **value})
        if release is not None:
            Quarantine(control, link).release(found)


def _releasable(listed: Iterable[Mapping[str, Value]]) -> str:
    """Return the names that could be given instead, for an error."""
    keys = [key for found in listed for key in found]
    lanes = [lane.key for key in keys if (lane := lane_of(key)) is not None]
    kinds = {"event": map(event_of, keys), "lane": lanes, "projection": filter(None, map(projection_of, keys))}
    found = {kind: sorted(set(names)) for kind, names in kinds.items()}
    named = [f"{k} ({', '.join(names[:_NAMED])}{' …' if names[_NAMED:] else ''})" for k, names in found.items() if names]
    return f"give one of its {' or '.join(named)}" if keys else "quarantine is empty: there is nothing to release"


@app.command()
@options
def replay(among: Among) -> None:
    """Send every dead letter of a region deployed by Terraform back to work, after its cause is fixed.

    Prints each as a JSON object. What fails again comes back to the dead letters; a letter that is not Meridian's stays.
    """
    from replicator.aws.sqs import dead_letters
    from replicator.aws.sqs import replay as replay_letters

    settings = among.settings()
    strange = 0
    for text, pointers in replay_letters(settings, dead_letters(settings)):
        if pointers is None:
            strange += 1
            _json({"left": text[:200]})
        else:
            lanes = {lane.key: list(span) for lane, span in pointers.lanes.items()}
            _json({"link": pointers.link, "lanes": lanes, "cause": dict(pointers.cause)})
    if strange:
        raise MeridianError(f"{strange} dead letters belong to no link of this region and were left; inspect them in SQS")


@app.command()
@options
def reconcile(
    among: Among,
    to: Annotated[str | None, typer.Option(help="Peer to compare with, or 'views'. Default: all.", metavar="NAME")] = None,
) -> None:
    """Compare every lane of a region deployed by Terraform with its peers and views, and copy what is missing.

    For a peer that was added later, or when in doubt. Reads every key of the events table once.
    """
    from replicator.aws.event_table import DynamoStorage
    from replicator.aws.redrive import reconcile as put_on_backlogs
    from replicator.aws.sqs import QueueBacklog
    from replicator.control.backlog import VIEWS
    from replicator.runtime.wall_clock import wall_clock

    settings = among.settings()
    targets = (*settings.peers, VIEWS)
    if to is not None and to not in targets:
        raise InvalidConfig(f"--to {to!r} is not a target of {settings.region}; choose from {', '.join(targets)}")
    clients.require_table(settings, settings.region, settings.events_table)
    backlogs = {target: QueueBacklog.connect(settings, target) for target in targets if to in (None, target)}
    count = 0
    for count in put_on_backlogs(DynamoStorage(settings), settings.region, backlogs, wall_clock()):
        err.print(f"{count:,} lanes …", highlight=False)
    out.print(f"{settings.region}: {count:,} lanes are on the backlogs of {', '.join(backlogs)}")


ops_commands.register(app)


def _store(settings: Settings) -> EventStore:
    clients.require_table(settings, settings.region, settings.events_table)
    return connect_store(settings)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidEvent(
            f'payload {text!r} is not JSON ({error}); give an object such as \'{{"name": "Homer"}}\''
        ) from None
    if not isinstance(value, dict):
        raise InvalidEvent(f'payload {text!r} is not a JSON object; give one such as \'{{"name": "Homer"}}\'')
    return value


def _event_token(event_id: str) -> ConsistencyToken:
    key, _, sequence = event_id.rpartition(DELIMITER)
    lane = LaneId.from_key(key)
    return ConsistencyToken({lane.stream: VersionVector({lane.region: parse_sequence_key(sequence)})})


def _print(*events: Event) -> None:
    for event in events:
        _json(_shown(event))


def _shown(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "hlc": str(event.hlc),
        "type": event.type,
        "version": event.version,
        "payload": event.payload,
        "metadata": event.metadata,
        "observed": dict(event.observed.items()),
        "digest": event.digest.hex(),
    }


def _json(value: dict[str, Any]) -> None:
    typer.echo(json.dumps(value, ensure_ascii=False))


def main() -> None:
    run(app)
