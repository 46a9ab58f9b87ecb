"""`chaos emulator`: a region's emulator alone, for an application that is tried on this machine."""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from chaos.world.region import await_endpoint, emulator
from replicator.cli.console import err
from replicator.domain.errors import InvalidConfig
from replicator.runtime.settings import Settings
from replicator.runtime.signals import stop_on_signals

_SERVICES = "dynamodb,dynamodbstreams,kinesis,kms,sqs"


def run_emulator(
    region: Annotated[str, typer.Option(help="Region to emulate.", metavar="REGION")] = "us-east-1",
    port: Annotated[int, typer.Option(help="Port of this machine to listen on.", metavar="PORT")] = 4566,
    services: Annotated[str, typer.Option(help="Services of ministack, separated by commas.", metavar="NAMES")] = _SERVICES,
) -> None:
    """Run one region's AWS on this machine: ministack, with streams that show what is inserted, as AWS's do.

    Everything it holds is in memory. Ctrl-C ends it.
    """
    if not 1 <= port <= 65_535:
        raise InvalidConfig(f"--port {port} is not a port; choose one from 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InvalidConfig(f"cannot listen on port {port}: {error.strerror}; choose another --port") from None
    url = f"http://127.0.0.1:{port}"
    settings = Settings(region, endpoints={region: url})
    stop = stop_on_signals()
    with tempfile.TemporaryDirectory(prefix="meridian-", ignore_cleanup_errors=True) as folder:
        process = emulator(region, port, services, Path(folder))
        process.start()
        try:
            await_endpoint(settings, process)
            err.print(f"{region} is at {url}; Ctrl-C ends it", highlight=False, soft_wrap=True)
            err.print(
                f"  export MERIDIAN_REGION={region} MERIDIAN_ENDPOINTS={region}={url}", highlight=False, soft_wrap=True
            )
            while not stop.wait(0.2):
                if not process.running:
                    raise process.failure("ended by itself")
        finally:
            process.stop()
