"""The `projectors` command."""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated

import typer

from projectors.cli import build_commands
from projectors.cli.options import Projections, Sink, Sinks
from projectors.connect import connect_projector_worker, connect_service, require_tables
from projectors.model.view import ViewKey
from projectors.run.worker import ProjectorWorker
from projectors.settings import read_projections, read_sinks
from replicator.aws import clients
from replicator.cli.console import Alone, Among, connected, err, options, out, run, versioned
from replicator.domain.names import StreamId
from replicator.runtime.distribution import needed
from replicator.runtime.signals import stop_on_signals

_FINISH_SECONDS = 5
"""Seconds in which a server that is shutting down finishes the requests at hand."""

app = typer.Typer(
    help="Fold events into views that are the same bytes in every region. Settings come from MERIDIAN_* variables.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
versioned(app)


@app.command()
@options
def init(sinks: Sinks = None, *, alone: Alone) -> None:
    """Create what sinks keep views in: the views table on an emulator (on AWS, Terraform does), tables, an index."""
    from projectors.sinks.address import name_of
    from projectors.sinks.opening import prepare

    settings = alone.settings()
    for each in read_sinks(sinks):
        prepare(each, settings)
        out.print(f"{settings.region}: {name_of(each)} is ready", highlight=False)


@app.command("run")
@options
def run_worker(among: Among, projections: Projections = None, sinks: Sinks = None) -> None:
    """Fold this region's events into views until SIGTERM or Ctrl-C. May be killed at any instant.

    The first sink decides how far events are read; one of the others that does not answer catches up when it is back.
    """
    from projectors.sinks.opening import open_sink

    chosen, places = read_projections(projections), read_sinks(sinks)
    settings = among.settings()
    for each in places:
        open_sink(each, settings)  # reports an invalid address before anything is read
    tables = [settings.control_table, *([settings.views_table] if "dynamodb" in places else [])]

    def connect() -> ProjectorWorker:
        for table in tables:
            clients.require_table(settings, settings.region, table)
        return connect_projector_worker(settings, chosen, places)

    connected(connect).run(stop_on_signals())


@app.command()
@options
def show(
    alone: Alone,
    projection: Annotated[str, typer.Argument(help="The projection's name, e.g. aircraft")],
    stream: Annotated[str, typer.Argument(help="type/id, e.g. aircraft/N14228")],
    version: Annotated[int | None, typer.Option(help="Its version; default: the one that readers see.", min=1)] = None,
    sink: Sink = "dynamodb",
) -> None:
    """Print one view as this region has it: its value, version vector and digest, as JSON."""
    from projectors.cli.context import seen_by_readers
    from projectors.sinks.opening import open_sink

    settings = alone.settings()
    name, place = StreamId.parse(stream), open_sink(sink, settings)
    seen = version or seen_by_readers(projection, sink, settings, None)
    key = ViewKey(projection, str(name), seen)
    view = place.load([key]).get(key)
    if view is None:
        err.print(f"no view {projection} of {stream} in {settings.region}; check both names, or wait for the projector")
        raise typer.Exit(1)
    if view.value_text == "{}":
        err.print(f"{projection} has rows across streams: this is how far {stream} is folded; see `projectors row`")
    row = {"value": view.value, "version": seen, "vector": dict(view.vector.items()), "digest": view.digest.hex()}
    typer.echo(json.dumps(row, ensure_ascii=False))


@app.command()
@options
def serve(
    among: Among,
    projections: Projections = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=1, max=65535)] = 8080,
) -> None:
    """Serve the HTTP API of a region until SIGTERM or Ctrl-C: streams, values, tokens as ETags. See /openapi.json."""
    with needed("the API needs starlette and uvicorn", "api"):
        import uvicorn

        from projectors.api import application

    chosen = read_projections(projections)
    settings = among.settings()
    connected(partial(require_tables, settings))
    served = application(connect_service(settings, chosen))
    # By httptools, which uvicorn prefers where it is installed, a method that it does not know never reaches the API.
    uvicorn.run(
        served, host=host, port=port, http="h11", log_level="warning", timeout_graceful_shutdown=_FINISH_SECONDS
    )  # fmt: skip


build_commands.register(app)


def main() -> None:
    run(app)
