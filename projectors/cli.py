"""The `projectors` command."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from projectors.settings import read_projections
from replicator import aws
from replicator.console import Endpoints, Peers, Prefix, Region, err, out, run, stop_on_signals
from replicator.domain.names import StreamId
from replicator.settings import read_settings

app = typer.Typer(
    help="Fold events into views that are the same bytes in every region. Settings come from MERIDIAN_* variables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Projections = Annotated[
    list[str] | None,
    typer.Option("--projection", help="module:Class; repeat for more. (env: MERIDIAN_PROJECTIONS)", metavar="NAME"),
]


@app.command()
def init(region: Region = None, prefix: Prefix = None, endpoints: Endpoints = None) -> None:
    """Create the views table on an emulator. (On AWS, Terraform does.)"""
    from projectors.dynamodb import DynamoSink

    settings = read_settings(region=region, prefix=prefix, endpoints=endpoints)
    created = DynamoSink(settings).create_table()
    out.print(f"{settings.region}: " + (f"created {settings.views_table}" if created else "table exists"))


@app.command("run")
def run_worker(
    projections: Projections = None,
    region: Region = None,
    peers: Peers = None,
    prefix: Prefix = None,
    endpoints: Endpoints = None,
) -> None:
    """Fold this region's events into views until SIGTERM or Ctrl-C. May be killed at any instant."""
    from projectors.worker import Projector

    chosen = read_projections(projections)
    settings = read_settings(region=region, peers=peers, prefix=prefix, endpoints=endpoints)
    stop = stop_on_signals()
    for table in (settings.control_table, settings.views_table):
        aws.require_table(settings, settings.region, table)
    Projector.connect(settings, chosen).run(stop)


@app.command()
def show(
    projection: Annotated[str, typer.Argument(help="The projection's name, e.g. aircraft")],
    stream: Annotated[str, typer.Argument(help="type/id, e.g. aircraft/N14228")],
    region: Region = None,
    prefix: Prefix = None,
    endpoints: Endpoints = None,
) -> None:
    """Print one view as this region has it: its value, version vector and digest, as JSON."""
    from projectors.dynamodb import DynamoSink

    key = (projection, str(StreamId.parse(stream)))
    settings = read_settings(region=region, prefix=prefix, endpoints=endpoints)
    aws.require_table(settings, settings.region, settings.views_table)
    view = DynamoSink(settings).load([key]).get(key)
    if view is None:
        err.print(f"no view {projection} of {stream} in {settings.region}; check both names, or wait for the projector")
        raise typer.Exit(1)
    row = {"value": view.value, "vector": dict(view.vector.items()), "digest": view.digest.hex()}
    typer.echo(json.dumps(row, ensure_ascii=False))


@app.command()
def serve(
    projections: Projections = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8080,
    region: Region = None,
    peers: Peers = None,
    prefix: Prefix = None,
    endpoints: Endpoints = None,
) -> None:
    """Serve the HTTP API of a region until SIGTERM or Ctrl-C: streams, values, tokens as ETags. See /openapi.json."""
    import uvicorn

    from projectors.api import Service, application

    chosen = read_projections(projections)
    settings = read_settings(region=region, peers=peers, prefix=prefix, endpoints=endpoints)
    for table in (settings.events_table, settings.views_table):
        aws.require_table(settings, settings.region, table)
    uvicorn.run(application(Service.connect(settings, chosen)), host=host, port=port, log_level="warning")


def main() -> None:
    run(app)
