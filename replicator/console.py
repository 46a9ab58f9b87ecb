"""What the three commands share: shared options, errors as one line with exit code 2, clean stops on signals."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from replicator import logs
from replicator.errors import (
    AppendContention,
    InvalidConfig,
    InvalidEvent,
    InvalidName,
    MeridianError,
    RegionUnavailable,
)

Region = Annotated[str | None, typer.Option(help="This region, e.g. us-east-1. (env: MERIDIAN_REGION)", metavar="NAME")]
Peers = Annotated[
    str | None, typer.Option(help="The other regions, separated by commas. (env: MERIDIAN_PEERS)", metavar="NAMES")
]
Prefix = Annotated[
    str | None,
    typer.Option(help="What table names begin with. (env: MERIDIAN_PREFIX; default: meridian)", metavar="TEXT"),
]
Endpoints = Annotated[
    str | None,
    typer.Option(
        help="Emulator URLs, e.g. us-east-1=http://127.0.0.1:4566,… Omit on AWS. (env: MERIDIAN_ENDPOINTS)",
        metavar="PAIRS",
    ),
]

out = Console()
err = Console(stderr=True)


def run(app: typer.Typer) -> None:
    """Run a command: wrong input exits 2 and an unavailable region 1, each with one line that says what to do."""
    logs.configure()
    try:
        app()
    except (InvalidConfig, InvalidName, InvalidEvent) as error:
        _fail(error, 2)
    except (RegionUnavailable, AppendContention, MeridianError) as error:
        _fail(error, 1)
    except KeyboardInterrupt:
        sys.exit(130)


def _fail(error: Exception, code: int) -> None:
    text = str(getattr(error, "public", error))  # without what it quotes of a payload, where it has such a text
    err.print(Text.assemble(("error: ", "red"), " ".join(text.split())), soft_wrap=True, highlight=False)
    sys.exit(code)


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set, for workers that stop cleanly."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
