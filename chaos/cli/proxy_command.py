"""`chaos proxy`: the fault engine alone, in front of any AWS-compatible endpoint; or the rules for LocalStack's own."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.table import Table

from chaos.faults.control import Faults
from chaos.faults.engine import Engine
from chaos.faults.proxy import HOST, Door, serve
from chaos.faults.record_orders import FAULTS
from chaos.faults.request import UNKNOWN
from chaos.faults.rules import Rule, for_localstack, read_rules
from replicator.cli.console import err, out
from replicator.domain.errors import InvalidConfig


def proxy(
    target: Annotated[str, typer.Option(help="Endpoint behind the proxy.", metavar="URL")] = "http://127.0.0.1:4566",
    listen: Annotated[int, typer.Option(help="Port of this machine to listen on.", metavar="PORT")] = 4570,
    rules: Annotated[
        Path | None,
        typer.Option(help="Initial fault rules, in the format of LocalStack's Chaos API.", metavar="FILE"),
    ] = None,
    inserts: Annotated[
        bool, typer.Option("--inserts", help="Add PartiQL's INSERTs to the target's streams, where it omits them.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed that selects the requests to strike.", metavar="N")] = 0,
    localstack: Annotated[
        str | None,
        typer.Option(help="Give the rules to LocalStack's own engine at this URL instead, and exit.", metavar="URL"),
    ] = None,
) -> None:
    """Put faults in front of an endpoint: errors, lost answers, unprocessed items, expired iterators, split shards, …

    Point SDKs at the port; the rules can be changed while it runs, as LocalStack's are. Ctrl-C ends it and shows what
    was struck.
    """
    given = read_rules(rules) if rules is not None else ()
    if localstack is not None:
        if rules is None:
            raise InvalidConfig("--localstack needs rules to send; give --rules FILE")
        _send(given, localstack)
        return
    host, port = _address(target)
    if not 1 <= listen <= 65_535:
        raise InvalidConfig(f"--listen {listen} is not a port; choose one from 1 to 65535")
    if port == listen and host in (HOST, "localhost"):
        raise InvalidConfig(f"--listen {listen} is where the target is; choose another port")
    if not _answers(host, port):
        err.print(f"no response from {target} yet; until it responds, callers get 502", highlight=False, soft_wrap=True)
    told = asyncio.run(_run(Door(UNKNOWN, listen, host, port, inserts), given, seed))
    _show(told)


async def _run(door: Door, rules: Sequence[Rule], seed: int) -> list[dict[str, Any]]:
    engine = Engine(asyncio.get_running_loop().time, seed)
    engine.set(rules)
    where = f"http://{HOST}:{door.listen}"

    def say(text: str) -> None:
        err.print(text, highlight=False, soft_wrap=True)

    for rule in rules:
        say(f"rule: {rule}")
    say(f"rules are set at {where}{FAULTS}; Ctrl-C ends")
    await serve([door], engine, "502", say)
    return engine.told()


def _send(rules: Sequence[Rule], url: str) -> None:
    able, unable = for_localstack(rules)
    _address(url, "--localstack")
    Faults(url, localstack=True).set(rules)
    out.print(f"{len(able)} rules are set at {url}{FAULTS}", highlight=False, soft_wrap=True)
    for rule, why in unable:
        out.print(f"LocalStack does not support {rule}: {why}", highlight=False, soft_wrap=True)


def _address(url: str, option: str = "--target") -> tuple[str, int]:
    """Return the host and port of a URL. Raises InvalidConfig."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        parts, host, port = urlsplit(""), None, 0
    if parts.scheme != "http" or not host or parts.path not in ("", "/") or parts.query or parts.username:
        raise InvalidConfig(f"{option} {url!r} is not of the form http://127.0.0.1:4566; give a host and port, without TLS")
    return host, port


def _answers(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=2.0):
            return True
    except OSError:
        return False


def _show(told: Sequence[Mapping[str, Any]]) -> None:
    table = Table(title="struck requests", title_justify="left")
    for column in ("rule", "struck", "of", "where"):
        table.add_column(column, justify="right" if column in ("struck", "of") else "left")
    for each in told:
        by = "\n".join(f"{name}: {count:,}" for name, count in each["by"].items())
        table.add_row(each["does"], f"{each['struck']:,}", f"{each['seen']:,}", by or "[red]nothing[/]")
    if told:
        out.print(table)
    else:
        out.print("no rule was set")
