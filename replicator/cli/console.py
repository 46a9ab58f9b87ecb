"""Console parts of the three commands: options, errors as one line with exit code 2, termination by a signal."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from importlib.metadata import version
from itertools import count
from typing import Annotated, Any, TypeVar, get_type_hints

import structlog
import typer
from rich.console import Console
from rich.text import Text

from replicator.domain.errors import (
    InvalidConfig,
    InvalidEvent,
    InvalidName,
    MeridianError,
    RegionRefuses,
    RegionUnavailable,
)
from replicator.eventstore.store_errors import AppendContention
from replicator.runtime import logs, signals
from replicator.runtime.distribution import DISTRIBUTION
from replicator.runtime.retries import full_jitter
from replicator.runtime.settings import Settings, read_settings

T = TypeVar("T")

log = structlog.get_logger()

_Region = Annotated[str | None, typer.Option(help="This region, e.g. us-east-1. (env: MERIDIAN_REGION)", metavar="NAME")]
_Peers = Annotated[
    str | None, typer.Option(help="The other regions, separated by commas. (env: MERIDIAN_PEERS)", metavar="NAMES")
]
_Prefix = Annotated[
    str | None,
    typer.Option(help="Prefix of table names. (env: MERIDIAN_PREFIX; default: meridian)", metavar="TEXT"),
]
_Endpoints = Annotated[
    str | None,
    typer.Option(
        help="Emulator URLs, e.g. us-east-1=http://127.0.0.1:4566,… Omit on AWS. (env: MERIDIAN_ENDPOINTS)",
        metavar="PAIRS",
    ),
]


@dataclass(frozen=True)
class Alone:
    """Options of a command that concerns one region."""

    region: _Region = None
    prefix: _Prefix = None
    endpoints: _Endpoints = None

    def settings(self) -> Settings:
        """Return the settings from these options and the environment. Raises InvalidConfig."""
        return read_settings(**vars(self))


@dataclass(frozen=True)
class Among(Alone):
    """Options of a command that concerns a region and its peers."""

    peers: _Peers = None


def options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take dataclasses of options: Typer sees their fields as parameters, after the command's own."""
    parameters = inspect.signature(command, eval_str=True).parameters.values()
    groups: dict[str, Any] = {each.name: each.annotation for each in parameters if is_dataclass(each.annotation)}
    shown = [each for each in parameters if each.name not in groups]
    for group in groups.values():
        hints, kind = get_type_hints(group, include_extras=True), inspect.Parameter.KEYWORD_ONLY
        shown += [inspect.Parameter(f.name, kind, default=f.default, annotation=hints[f.name]) for f in fields(group)]

    @wraps(command)
    def run(**given: Any) -> None:
        made = {name: group(**{f.name: given.pop(f.name) for f in fields(group)}) for name, group in groups.items()}
        command(**given, **made)

    vars(run).pop("__wrapped__")  # introspection then sees the new parameters
    vars(run)["__signature__"] = inspect.Signature(shown)
    run.__annotations__ = {each.name: each.annotation for each in shown}
    return run


out = Console()
err = Console(stderr=True)


def _show_version(asked: bool) -> None:
    if asked:
        out.print(version(DISTRIBUTION), highlight=False)
        raise typer.Exit


_Version = Annotated[
    bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
]


def versioned(app: typer.Typer) -> None:
    """Add the option --version to a command."""

    @app.callback()
    def options(version: _Version = False) -> None: ...


def connected(connect: Callable[[], T]) -> T:
    """Return the result of `connect`, retrying while the region does not answer, as workers do later on. Raises permanent
    errors."""
    for failures in count(1):
        try:
            return connect()
        except RegionRefuses:
            raise
        except RegionUnavailable as error:
            log.warning("region.waits", error=str(error))
            time.sleep(full_jitter(failures))
    raise AssertionError("unreachable")


def run(app: typer.Typer) -> None:
    """Run a command: wrong input exits 2 and an unavailable region 1, each with one line that gives the remedy. A signal
    ends it with 130 or 143, and a closed output with 141."""
    code = 0
    try:
        signals.running()
        logs.configure_logs()
        code = _code(app)
        code = signals.ended(code)
    except KeyboardInterrupt:
        code = signals.ended(code)
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
    text = str(getattr(error, "public", error))  # without quotes from a payload, if it has such a text
    err.print(Text.assemble(("error: ", "red"), " ".join(text.split())), soft_wrap=True, highlight=False)
    return code
