"""What the three commands share: options, errors as one line with exit code 2, the end by a signal."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from replicator import ending, logs
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
    """Run a command: wrong input exits 2 and an unavailable region 1, each with one line that says what to do. A signal ends
    it with 130 or 143, and with 141 when nobody reads its output."""
    code = 0
    try:
        ending.running()
        logs.configure()
        code = _code(app)
        code = ending.ended(code)
    except KeyboardInterrupt:
        code = ending.ended(code)
    sys.exit(code)


def _code(app: typer.Typer) -> int:
    try:
        app()
    except (InvalidConfig, InvalidName, InvalidEvent) as error:
        return _fail(error, 2)
    except (RegionUnavailable, AppendContention, MeridianError) as error:
        return _fail(error, 1)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _fail(error: Exception, code: int) -> int:
    text = str(getattr(error, "public", error))  # without what it quotes of a payload, where it has such a text
    err.print(Text.assemble(("error: ", "red"), " ".join(text.split())), soft_wrap=True, highlight=False)
    return code
