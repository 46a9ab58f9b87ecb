"""A proxy before OpenSearch, or its stand-in, that is as unkind as OpenSearch may be.

- Near real time: what was written since the last refresh is in no search. At its worst a search finds nothing; so here.
- Busy: it can refuse whole requests, or single actions of a _bulk, with 429 or 503, as OpenSearch does under load.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

_NOTHING = {"took": 0, "timed_out": False, "hits": {"hits": [], "total": {"value": 0, "relation": "eq"}}}


class Late(ThreadingHTTPServer):
    """`refusals` are the statuses that the next requests are refused with; `busy` is how many _bulk requests have some of
    their actions refused; while `silent` is set nothing is answered."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        parts = urlsplit(target)
        self.target = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        user = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        self.authorization = f"Basic {b64encode(user.encode()).decode()}" if parts.username else ""
        self.unseen = False
        self.blind: set[str] = set()
        self.refusals: list[int] = []
        self.busy = 0
        self.silent = threading.Event()

    @property
    def url(self) -> str:
        return f"opensearch+http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # headers and body in one packet
    server: Late

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_any(self) -> None:
        server, path = self.server, self.path
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        while server.silent.is_set():
            time.sleep(0.02)
        if server.refusals:
            error = {"type": "rejected_execution_exception", "reason": "rejected execution"}
            return self._answer(server.refusals.pop(0), {"error": error})
        name = path.partition("?")[0].rpartition("/")[2]
        if name == "_search" and self._blind(body):
            return self._answer(200, _NOTHING)
        if name == "_delete_by_query" and server.unseen:
            return self._answer(200, {"total": 0, "deleted": 0})
        if name == "_bulk":
            return self._bulk(body)
        status, answer = self._forward(body)
        if name == "_refresh" or "refresh=true" in path:
            server.unseen = False
        if name == "point_in_time" and self.command == "POST" and server.unseen:
            server.blind.add(answer["pit_id"])
        return self._answer(status, answer)

    def _blind(self, body: bytes) -> bool:
        pit = json.loads(body or b"{}").get("pit")
        return pit["id"] in self.server.blind if pit else self.server.unseen

    def _bulk(self, body: bytes) -> None:
        lines = body.decode().strip("\n").split("\n")
        pairs = list(zip(lines[::2], lines[1::2], strict=True))
        refused = set(range(0, len(pairs), 3)) if self.server.busy else set()
        self.server.busy = max(0, self.server.busy - 1)
        kept = "".join(f"{line}\n" for n, pair in enumerate(pairs) if n not in refused for line in pair)
        status, answer = self._forward(kept.encode()) if kept else (200, {"items": []})
        if status == 200:
            self.server.unseen = True
            done = iter(answer["items"])
            busy = {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "rejected execution"}}
            answer["items"] = [{"index": busy} if n in refused else next(done) for n in range(len(pairs))]
            answer["errors"] = bool(refused) or answer.get("errors", False)
        self._answer(status, answer)

    def _forward(self, body: bytes) -> tuple[int, Any]:
        headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
        if self.server.authorization:
            headers["Authorization"] = self.server.authorization
        request = urllib.request.Request(self.server.target + self.path, body or None, headers, method=self.command)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text, status = answer.read(), answer.status
        except HTTPError as error:
            with error:
                text, status = error.read(), error.code
        return status, json.loads(text) if text else {}

    def _answer(self, status: int, answer: Any) -> None:
        text = b"" if self.command == "HEAD" else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        with suppress(OSError):  # the client gave up
            self.wfile.write(text)
            self.wfile.flush()

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_any  # noqa: N815


@contextmanager
def late(target: str) -> Iterator[Late]:
    """A proxy before the server at `target`, an HTTP URL."""
    with Late(target.rstrip("/")) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
