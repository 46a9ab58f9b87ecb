"""Emulator of a region: ministack, whose streams show what PartiQL inserts, as AWS's streams do (chaos/faults/inserts.py).

The translation is an ASGI application in front of ministack's, in its process. Everything but INSERTs passes unchanged, as
does everything where AUTH is on, which checks signatures. Write requests are counted as their senders made them.

    python -m chaos.world.emulator      (settings: GATEWAY_PORT, BIND_HOST and ministack's other variables)
"""

from __future__ import annotations

import json
import os
import re
import resource
import uuid
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from email.utils import formatdate
from importlib import import_module
from typing import Any

from chaos.faults.inserts import OPERATIONS, TABLES, Answer, Client, Inserts, place_of

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COUNTS_PATH = "/_meridian/requests"
"""Path of the counts of write requests: `{"operation table": count}`."""

_TARGET = "DynamoDB_20120810."
_PUTS = frozenset({"PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems"})
_JSON = b"application/x-amz-json-1.0"
_REPLACED = (b"x-amz-target", b"content-length", b"expect", b"transfer-encoding")
_TABLE = re.compile(r'(?:INTO|UPDATE|FROM)\s+"?([A-Za-z0-9_.-]+)"?', re.IGNORECASE)


class Emulator:
    """ASGI application in front of ministack's."""

    def __init__(self, inner: App) -> None:
        self._inner = inner
        self._inserts = Inserts()
        self._counts: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == COUNTS_PATH:
            await _respond(send, Answer(200, dict(sorted(self._counts.items()))))
            return
        headers = scope["headers"] if scope["type"] == "http" else ()
        target = next((value for name, value in headers if name.lower() == b"x-amz-target"), b"").decode("latin-1")
        operation = target.removeprefix(_TARGET)
        if not target.startswith(_TARGET) or operation not in OPERATIONS | _PUTS:
            await self._inner(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            return  # the client has gone

        async def call(operation: str, request: Mapping[str, Any]) -> Answer:
            return await self._call(scope, operation, request)

        answer = None
        try:
            request = json.loads(body)
            for table in _tables(operation, request) if operation not in TABLES else ():
                self._counts[f"{operation} {table}"] += 1
            given = next((value for name, value in headers if name.lower() == b"authorization"), b"").decode("latin-1")
            answer = await self._inserts.answer(operation, request, Client(call, place_of(given)))
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            pass  # malformed: ministack reports the error
        if answer is None:
            await self._inner(scope, _given(body, receive), send)
        else:
            await _respond(send, answer)

    async def _call(self, scope: Scope, operation: str, request: Mapping[str, Any]) -> Answer:
        """Call ministack as the client whose request has this scope."""
        body = json.dumps(request).encode()
        kept = [(name, value) for name, value in scope["headers"] if name.lower() not in _REPLACED]
        added = [(b"x-amz-target", f"{_TARGET}{operation}".encode()), (b"content-length", b"%d" % len(body))]
        status, parts = 500, list[bytes]()

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                parts.append(message.get("body", b""))

        await self._inner({**scope, "headers": [*kept, *added]}, _given(body, None), send)
        return Answer(status, json.loads(b"".join(parts) or b"{}"))


def _tables(operation: str, request: Mapping[str, Any]) -> set[str]:
    """Return the tables that a write request names."""
    if operation == "BatchWriteItem":
        return set(request["RequestItems"])
    if operation == "TransactWriteItems":
        return {str(each["TableName"]) for item in request["TransactItems"] for each in item.values()}
    if operation in ("BatchExecuteStatement", "ExecuteTransaction", "ExecuteStatement"):
        many: Sequence[Any] = request.get("Statements") or request.get("TransactStatements") or [request]
        return {found[1] for each in many if (found := _TABLE.search(each["Statement"]))}
    return {str(request["TableName"])}


async def _body(receive: Receive) -> bytes | None:
    """Read the request's whole body; None when the client left before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _given(body: bytes, receive: Receive | None) -> Receive:
    """Return a `receive` that yields this body, and then what the client's yields."""
    rest = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> MutableMapping[str, Any]:
        if rest:
            return rest.pop()
        return await receive() if receive is not None else {"type": "http.disconnect"}

    return given


async def _respond(send: Send, answer: Answer) -> None:
    content = json.dumps(answer.body).encode()
    headers = [
        (b"content-type", _JSON), (b"content-length", b"%d" % len(content)), (b"x-amz-crc32", b"%d" % zlib.crc32(content)),
        (b"x-amzn-requestid", uuid.uuid4().hex.upper().encode()), (b"date", formatdate(usegmt=True).encode()),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def main() -> None:
    """Run ministack, with the translation in front of it, until it is stopped.

    Uvicorn serves it; a read costs less than half of what it costs with ministack's own server: docs/decisions/0003.
    """
    import uvicorn  # here: callers that only read the counts need no server

    ministack: Any = import_module("ministack.app")
    if not ministack.AUTH:  # with AUTH a request has to reach it as it was signed
        ministack.app = Emulator(ministack.app)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    uvicorn.run(
        ministack.app, host=os.environ.get("BIND_HOST", "127.0.0.1"), port=int(os.environ.get("GATEWAY_PORT", "4566")),
        ws="none", log_level="warning", access_log=False, timeout_keep_alive=75, timeout_graceful_shutdown=1,
        date_header=False,  # ministack sets one
    )  # fmt: skip


if __name__ == "__main__":
    main()
