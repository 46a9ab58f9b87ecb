"""Peer that accepts every write, after a given delay: `python -m benchmarks.peer PORT DELAY_MS [heads]`.

A process of its own, so that neither its CPU nor its memory is taken for ours. With `heads` it stores the last item of each
lane and returns it on reads. It reports how late events came: the time of its answer less that of the event.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from chaos.child_processes import Process, free_ports

TELL = "Bench.Tell"
"""Operation that returns, and clears, the milliseconds by which each event was late."""
PAGE = "Bench.Page"
"""Operation that sets the answer to GetRecords."""
DELAY = "Bench.Delay"
"""Operation that sets the milliseconds after which it answers."""
_HLC = re.compile(rb'"(\d{13})-\d{5}"')
_COLUMN = re.compile(r"'(\w+)': \?")
_TABLE: dict[str, Any] = {
    "TableStatus": "ACTIVE",
    "TableId": "bench",
    "CreationDateTime": 1.0,
    "ItemCount": 0,
    "TableSizeBytes": 0,
    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk")],
}


class Peer:
    """State of the peer, and its answers."""

    def __init__(self, delay: float, heads: bool) -> None:
        self.delay = delay  # seconds
        self._heads: dict[str, Any] | None = {} if heads else None
        self._late: list[float] = []
        self._page = b'{"Records":[]}'

    def answer(self, target: str, body: bytes) -> bytes:
        operation = target.rpartition(".")[2]
        if target == TELL:
            late, self._late = self._late, []
            return json.dumps(late).encode()
        if target == DELAY:
            self.delay = float(body) / 1000
            return b"{}"
        if target == PAGE:
            self._page = body
            return b"{}"
        if operation == "GetRecords":
            return self._page
        if operation == "DescribeTable":
            return json.dumps({"Table": {"TableName": json.loads(body)["TableName"], **_TABLE}}).encode()
        if operation == "Query":
            return json.dumps(self._query(json.loads(body))).encode()
        if operation == "BatchGetItem":
            return json.dumps({"Responses": self._get(json.loads(body)), "UnprocessedKeys": {}}).encode()
        if self._heads is not None:
            self._remember(operation, json.loads(body))
        if operation == "BatchExecuteStatement":
            return b'{"Responses":[%s]}' % b",".join([b"{}"] * body.count(b'"Statement"'))
        return b"{}"

    def delay_of(self, target: str, body: bytes) -> float:
        """Return the seconds after which this request is answered."""
        return self.delay

    def note(self, body: bytes) -> None:
        """Record how late the events in a request are, now that it is answered."""
        now = time.time() * 1000
        self._late += [now - int(found) for found in _HLC.findall(body)]

    def _get(self, given: Any) -> dict[str, Any]:
        held = self._heads or {}
        wanted = {table: asked["Keys"] for table, asked in given["RequestItems"].items()}
        found = {table: [(held.get(key["pk"]["S"]), key["sk"]) for key in keys] for table, keys in wanted.items()}
        return {table: [item for item, sk in each if item and item["sk"] == sk] for table, each in found.items()}

    def _query(self, given: Any) -> dict[str, Any]:
        names = {value.get("S") for value in given.get("ExpressionAttributeValues", {}).values()}
        items = [self._heads[name] for name in names if name in self._heads] if self._heads else []
        return {"Items": items, "Count": len(items), "ScannedCount": len(items)}

    def _remember(self, operation: str, given: Any) -> None:
        assert self._heads is not None
        for each in given.get("Statements") or given.get("TransactStatements") or []:
            item = dict(zip(_COLUMN.findall(each["Statement"]), each["Parameters"], strict=False))
            self._heads[item["pk"]["S"]] = item


class Server(Protocol):
    """Interface of a stub that answers requests."""

    def answer(self, target: str, body: bytes) -> bytes: ...

    def delay_of(self, target: str, body: bytes) -> float: ...

    def note(self, body: bytes) -> None: ...


class Connection(asyncio.Protocol):
    """Minimal HTTP server: just what clients of DynamoDB use."""

    def __init__(self, peer: Server) -> None:
        self._peer = peer
        self._got = bytearray()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            lines = bytes(self._got[:end]).split(b"\r\n")[1:]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
            whole = end + 4 + int(headers.get(b"content-length", 0))
            if b"expect" in headers and len(self._got) == end + 4 < whole:
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if len(self._got) < whole:
                return
            body = bytes(self._got[end + 4 : whole])
            del self._got[:whole]
            self._answer(headers.get(b"x-amz-target", b"").decode(), body)

    def _answer(self, target: str, body: bytes) -> None:
        said = self._peer.answer(target, body)
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n" % len(said)

        def send() -> None:
            self._peer.note(body)
            self._transport.write(head + said)

        if delay := self._peer.delay_of(target, body):
            asyncio.get_running_loop().call_later(delay, send)
        else:
            send()


async def serve(port: int, peer: Server) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(peer), "127.0.0.1", port)
    async with server:
        await server.serve_forever()


@contextmanager
def peer(delay_ms: float = 0.0, heads: bool = False) -> Iterator[str]:
    """Run such a peer for the block. Yields its URL."""
    with served("benchmarks.peer", str(delay_ms), *(["heads"] if heads else [])) as url:
        yield url


@contextmanager
def served(module: str, *words: str) -> Iterator[str]:
    """Run a module that serves the port that is its first argument. Yields its URL."""
    with tempfile.TemporaryDirectory(prefix="meridian-peer-") as folder:
        (port,) = free_ports(1)
        log = Path(folder) / "peer.log"
        line = [sys.executable, "-m", module, str(port), *words]
        process = Process("peer", line, {"PYTHONPATH": str(Path(__file__).resolve().parent.parent)}, log)
        url = f"http://127.0.0.1:{port}"
        try:
            process.start()
            end = time.monotonic() + 30
            while not _up(url):
                if not process.running or time.monotonic() > end:
                    raise process.failure("did not start")
                time.sleep(0.05)
            yield url
        finally:
            process.stop()


def tell(url: str) -> list[float]:
    """Return the milliseconds by which each event since the last call was late."""
    return [float(late) for late in json.loads(ask(url, TELL, b"{}"))]


def page(url: str, body: bytes) -> None:
    """Make it answer GetRecords with this body from now on."""
    ask(url, PAGE, body)


def delay(url: str, ms: float) -> None:
    """Make it answer after `ms` milliseconds from now on."""
    ask(url, DELAY, f"{ms}".encode())


def ask(url: str, target: str, body: bytes) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, body, {"X-Amz-Target": target}), timeout=30) as answer:
        return bytes(answer.read())


def _up(url: str) -> bool:
    with suppress(OSError):
        tell(url)
        return True
    return False


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Peer(float(sys.argv[2]) / 1000, "heads" in sys.argv[3:])))
