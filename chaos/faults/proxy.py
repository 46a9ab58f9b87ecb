"""Proxy in front of any AWS-compatible endpoint: it strikes requests by rules, and passes the rest on byte for byte.

    python -m chaos.faults.proxy [--seed N] [--gone reset] us-east-1=LISTEN:HOST:TARGET[:inserts] …

One process serves all regions; each has its port and shares the rules (record_orders.py says how they are set). The proxy
interprets nothing of HTTP beyond its framing: 0.2 ms of CPU a request, a third of what a general HTTP library takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from chaos.faults.batches import unprocessed
from chaos.faults.engine import Engine, Strike
from chaos.faults.inserts import OPERATIONS, Answer, Client, Inserts, place_of
from chaos.faults.messages import LIMIT, Head, Malformed, Message, answer, read_body, read_head
from chaos.faults.record_orders import is_order, obey
from chaos.faults.records import duplicated, partition_key, reordered
from chaos.faults.refusals import refusal, unreachable
from chaos.faults.request import Asked, what_is_asked
from chaos.faults.streams import SERVICE, Streams
from chaos.faults.upstream import Broken, Unreachable, Upstream
from replicator.domain.errors import InvalidConfig
from replicator.runtime.signals import ended, running, stop_on_signals

HOST = "127.0.0.1"
_DYNAMODB = "DynamoDB_20120810."
_SILENT_SECONDS = 900.0
_INSERTS = ":inserts"
_PAGED = (("duplicate-records", SERVICE), ("duplicate-records", "kinesis"), ("reorder-records", "kinesis"))
"""Effects on a page of records that are applied here; streams.py applies those that need more of a stream."""


Ask = Callable[[Message], Awaitable[Message]]
"""Callable that sends a request to the service."""


@dataclass(frozen=True, slots=True)
class Door:
    """Address to listen on for one region, and the region's own. The region name is for requests that give none. `inserts`:
    the engine's streams leave INSERTs out, and are made to show them (inserts.py)."""

    region: str
    listen: int
    host: str
    target: int
    inserts: bool = False

    @classmethod
    def parse(cls, text: str) -> Door:
        """Invert `str`. Raises InvalidConfig."""
        region, _, rest = text.partition("=")
        listen, _, target = rest.removesuffix(_INSERTS).partition(":")
        host, _, port = target.rpartition(":")
        if not (region and listen.isdecimal() and host and port.isdecimal()):
            raise InvalidConfig(f"{text!r} is not of the form us-east-1=LISTEN:HOST:TARGET or …:TARGET:inserts")
        return cls(region, int(listen), host, int(port), rest.endswith(_INSERTS))

    def __str__(self) -> str:
        return f"{self.region}={self.listen}:{self.host}:{self.target}{_INSERTS * self.inserts}"


class Proxy:
    """State that all connections share. `gone` is what callers get where nothing listens at the target: 502, or reset."""

    def __init__(self, engine: Engine, gone: str = "502", say: Callable[[str], None] = lambda _: None) -> None:
        self.engine = engine
        self._gone = gone
        self._say = say
        self._streams: dict[Door, Streams] = {}
        self._inserts: dict[Door, Inserts] = {}
        self._silent: set[Door] = set()
        """Doors whose target did not answer the last time."""

    async def listen(self, door: Door) -> asyncio.Server:
        """Serve this door from now on. Raises OSError when its port is taken."""
        self._streams[door] = Streams(self.engine)
        self._inserts[door] = Inserts()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.CancelledError):  # the proxy ends
                await self._serve(door, reader, writer)

        return await asyncio.start_server(serve, HOST, door.listen, limit=LIMIT, backlog=512)

    async def _serve(self, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of a client, from its acceptance to its end."""
        upstream = Upstream(door.host, door.target)
        try:
            while await self._exchange(door, reader, writer, upstream):
                pass
        except Malformed as error:
            writer.write(bytes(answer(400, "Bad Request", {"connection": "close"}, f"{error}\n".encode())))
        except Broken:
            pass  # the client's connection breaks too, as it would without the proxy
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            upstream.close()
            with suppress(OSError, RuntimeError):
                writer.close()

    async def _exchange(
        self, door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: Upstream
    ) -> bool:
        """Handle one request and its answer. Returns whether the connection goes on."""
        head = await read_head(reader)
        if head is None:
            return False
        request = Message(head, await _body(head, reader, writer))
        if is_order(request.target):
            writer.write(bytes(obey(request, self.engine)))
            await writer.drain()
            return not head.last
        asked = what_is_asked(request, door.region)
        if self.engine.latency:
            await asyncio.sleep(self.engine.latency / 1000)
        strike = self.engine.strike(asked)
        streams, ask = self._streams[door], upstream.ask
        inserts = door.inserts and asked.service == "dynamodb" and asked.operation in OPERATIONS
        if inserts:
            ask = partial(self._ask_translated, door, asked.operation, upstream)
        try:
            if strike is None and not inserts and not streams.concern(asked, request):
                passing = await upstream.relay(request, writer)
                self._answers(door)
                return passing and not head.last
            found = await _struck(request, asked, strike, streams, ask)
        except Unreachable as error:
            if strike is not None:
                strike.missed()
            self._unanswered(door, str(error))
            if self._gone == "reset":
                _reset(writer)
                return False
            kind = head.headers.get("content-type", "")
            found = unreachable(asked, f"http://{door.host}:{door.target}", str(error), kind, request.method)
        if strike is not None and strike.rule.effect == "answer-lost":
            return await _lose(strike, reader, writer)
        writer.write(bytes(found))
        await writer.drain()
        return not head.last and not found.head.last

    async def _ask_translated(self, door: Door, operation: str, upstream: Upstream, request: Message) -> Message:
        """Call the engine in such a way that its streams show what is inserted."""

        async def call(operation: str, body: Mapping[str, Any]) -> Answer:
            made = request.with_json(body)
            head = Head.parse(made.head.replaced({"x-amz-target": f"{_DYNAMODB}{operation}"}))
            found = await upstream.ask(Message(head, made.raw))
            return Answer(found.status, found.json() or {})

        given, client = request.json(), Client(call, place_of(request.head.headers.get("authorization", "")))
        found = await self._inserts[door].answer(operation, given, client) if isinstance(given, dict) else None
        if found is None:
            return await upstream.ask(request)
        headers = {"content-type": request.head.headers.get("content-type", "application/x-amz-json-1.0")}
        return answer(found.status, "OK" if found.status == 200 else "Bad Request", headers, json.dumps(found.body).encode())

    def _answers(self, door: Door) -> None:
        if door in self._silent:
            self._silent.discard(door)
            self._say(f"http://{door.host}:{door.target} responds again")

    def _unanswered(self, door: Door, why: str) -> None:
        if door not in self._silent:
            self._silent.add(door)
            self._say(f"no response from http://{door.host}:{door.target} ({why}); callers get {self._gone}")


async def _body(head: Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    if head.headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    return await read_body(reader, head)


async def _struck(request: Message, asked: Asked, strike: Strike | None, streams: Streams, ask: Ask) -> Message:
    """Return the answer to a request that a rule strikes, that reads a stream which rules have changed, or that inserts."""
    kind = request.head.headers.get("content-type", "")
    rule = strike.rule if strike is not None else None
    if rule is not None and rule.effect == "error":
        return refusal(asked, rule.status, rule.code, content_type=kind, method=request.method)
    if rule is not None and rule.effect == "expire-iterators":
        return refusal(asked, 400, "ExpiredIteratorException", content_type=kind)
    if strike is not None and strike.rule.effect == "unprocessed":
        partly = await unprocessed(request, asked.operation, strike.rule.share, strike.chance, ask)
        if partly is not None:
            return partly
        strike.missed()
        return await ask(request)
    ours = streams.concern(asked, request)
    found = await (streams.ask(request, asked, strike, ask) if ours else ask(request))
    if rule is not None and rule.effect == "slow-answer":
        await asyncio.sleep((rule.latency or 0.0) / 1000)
    elif strike is not None and (strike.rule.effect, asked.service) in _PAGED:
        return _paged(found, strike)
    return found


def _paged(found: Message, strike: Strike) -> Message:
    """Return a page of records with the strike's effect."""
    told = found.json()
    records = told.get("Records") if found.status == 200 and isinstance(told, dict) else None
    if records and strike.rule.effect == "duplicate-records":
        return found.with_json({**told, "Records": duplicated(records, strike.rule.share, strike.chance)})
    mixed = reordered(records or [], strike.rule.share, strike.chance, partition_key(None), strike.rule.harsh)
    if mixed is None:
        strike.missed()
        return found
    return found.with_json({**told, "Records": mixed})


async def _lose(strike: Strike, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Lose the answer: stay silent until the client has given up, or reset. Returns whether the connection goes on."""
    if strike.rule.how == "timeout":
        with suppress(TimeoutError):
            async with asyncio.timeout(_SILENT_SECONDS):
                while await reader.read(LIMIT):
                    pass
    _reset(writer)
    return False


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def serve(doors: Sequence[Door], engine: Engine, gone: str, say: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, which replicator.runtime.signals handles. Raises InvalidConfig when a port is taken."""
    stop = stop_on_signals()
    proxy = Proxy(engine, gone, say)
    for door in doors:
        try:
            await proxy.listen(door)
        except OSError as error:
            raise InvalidConfig(f"cannot listen on port {door.listen}: {error.strerror}; choose another port") from None
        say(f"listening on http://{HOST}:{door.listen} for {door.region} at http://{door.host}:{door.target}")
    await asyncio.to_thread(stop.wait)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser("python -m chaos.faults.proxy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gone", choices=("502", "reset"), default="502")
    parser.add_argument("doors", nargs="+", type=Door.parse, metavar="REGION=LISTEN:HOST:TARGET")
    options = parser.parse_args(arguments)

    async def run() -> None:
        engine = Engine(asyncio.get_running_loop().time, options.seed)
        await serve(options.doors, engine, options.gone, lambda text: print(text, flush=True))  # noqa: T201
        print(json.dumps(engine.told()), flush=True)  # noqa: T201

    running()
    try:
        asyncio.run(run())
    except InvalidConfig as error:
        sys.exit(str(error))
    sys.exit(ended(0))


if __name__ == "__main__":
    main(sys.argv[1:])
