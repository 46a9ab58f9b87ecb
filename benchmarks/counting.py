"""Proxy that counts the requests received, and the write units that they take, for any client. Not used while timing."""

from __future__ import annotations

import http.client
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread, local
from typing import Any
from urllib.parse import urlsplit

UNIT_BYTES = 1024
"""Bytes of an item that one write unit covers."""
_COLUMN = re.compile(r"'(\w+)': \?")
_TABLE = re.compile(r'(?:INTO|UPDATE|FROM) "([^"]+)"')
_IN_TRANSACTION = 2
_KEPT = ("content-type", "x-amzn-requestid", "x-amz-crc32")


@dataclass(slots=True)
class Requests:
    """Counts so far: requests by operation, write units by table."""

    url: str
    by_operation: Counter[str] = field(default_factory=Counter)
    units: Counter[str] = field(default_factory=Counter)
    _lock: Lock = field(default_factory=Lock)

    @property
    def total(self) -> int:
        return sum(self.by_operation.values())

    def clear(self) -> None:
        with self._lock:
            self.by_operation.clear()
            self.units.clear()

    def add(self, target: str, body: bytes) -> None:
        operation = target.rpartition(".")[2]
        found = written(operation, body)
        with self._lock:
            self.by_operation[operation] += 1
            self.units.update(found)


@contextmanager
def counting(upstream: str) -> Iterator[Requests]:
    """Run a proxy in front of an endpoint, in a thread of this process."""
    address = urlsplit(upstream)
    kept = local()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            found.add(self.headers.get("x-amz-target", ""), body)
            if not hasattr(kept, "connection"):
                kept.connection = http.client.HTTPConnection(address.hostname or "", address.port)
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            kept.connection.request("POST", self.path, body, headers)
            answer = kept.connection.getresponse()
            said = answer.read()
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() in _KEPT:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: requests are only counted."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    found = Requests(f"http://127.0.0.1:{server.server_address[1]}")
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()


def written(operation: str, body: bytes) -> Counter[str]:
    """Return the write units that a request takes, by table, computed from its items as DynamoDB does: a write refused by
    its condition takes as much, an update as an item of what it sets, an entry of the index of lanes one more."""
    units: Counter[str] = Counter()
    given: Any = json.loads(body or b"{}")
    if operation in ("ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction"):
        statements = given.get("Statements") or given.get("TransactStatements") or [given]
        for each in statements:
            units.update(_of_statement(each, operation == "ExecuteTransaction"))
    elif operation in ("PutItem", "UpdateItem", "DeleteItem"):
        units[given["TableName"]] += _of_write(given)
    elif operation == "BatchWriteItem":
        for table, requests in given["RequestItems"].items():
            units[table] += sum(_of_write(next(iter(request.values()))) for request in requests)
    elif operation == "TransactWriteItems":
        for action in given["TransactItems"]:
            ((kind, write),) = action.items()
            if kind != "ConditionCheck":
                units[write["TableName"]] += _IN_TRANSACTION * _of_write(write)
    return units


def _of_statement(given: Mapping[str, Any], transaction: bool) -> Counter[str]:
    text = given["Statement"]
    if text.startswith(("SELECT", "EXISTS")):
        return Counter()
    table = _TABLE.search(text)
    item = dict(zip(_COLUMN.findall(text), given.get("Parameters", []), strict=False))
    return Counter({table[1] if table else "": _of_item(item) * (_IN_TRANSACTION if transaction else 1)})


def _of_write(write: Mapping[str, Any]) -> int:
    """Return the units of a put by its item, of an update by its key and values."""
    return _of_item(write.get("Item") or {**write.get("Key", {}), **write.get("ExpressionAttributeValues", {})})


def _of_item(item: Mapping[str, Any]) -> int:
    return max(1, math.ceil(item_bytes(item) / UNIT_BYTES)) + ("begins" in item)


def item_bytes(item: Mapping[str, Any]) -> int:
    """Return the size of an item in DynamoDB's JSON, by DynamoDB's rules: names and values; of binary values the decoded
    bytes."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: Mapping[str, Any]) -> int:
    kind, content = next(iter(value.items()))
    if not isinstance(content, str):
        return len(json.dumps(content))
    if kind == "B":
        return len(content) * 3 // 4 - content[-2:].count("=")
    if kind == "N":
        return len(content.lstrip("-")) // 2 + 2
    return len(content.encode())
