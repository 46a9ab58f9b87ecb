"""Proxy in front of an emulator that records each request with its answer.

It sees what leaves the process: requests of boto3, of PynamoDB and of Meridian's own wire alike.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from chaos.faults.messages import LIMIT, Message, read_body, read_head
from chaos.faults.request import Asked, what_is_asked
from chaos.faults.upstream import Broken, Unreachable, Upstream


@dataclass(frozen=True)
class Exchange:
    """Request and its answer: service, operation and region by the signature, and both bodies' JSON."""

    asked: Asked
    body: dict[str, Any]
    status: int
    answer: dict[str, Any]


class Recorder:
    """Proxy on a port of its own, in a thread. `exchanges` are those since the last `clear`, in order of their answers."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._exchanges: list[Exchange] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="recorder", daemon=True)
        self.url = ""

    def start(self) -> None:
        """Listen from now on."""
        self._thread.start()
        server: Future[asyncio.Server] = asyncio.run_coroutine_threadsafe(self._listen(), self._loop)
        port = server.result(30).sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=LIMIT, backlog=512)

    def stop(self) -> None:
        """End all connections and the thread."""

        async def end() -> None:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    def take(self) -> list[Exchange]:
        """Return what was recorded since the last call."""
        taken, self._exchanges = self._exchanges, []
        return taken

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream = Upstream(*self._target)
        try:
            with suppress(asyncio.CancelledError, OSError, asyncio.IncompleteReadError, Unreachable, Broken):
                while (head := await read_head(reader)) is not None:
                    request = Message(head, await read_body(reader, head))
                    answer = await upstream.ask(request)
                    self._record(request, answer)
                    writer.write(bytes(answer))
                    await writer.drain()
                    if head.last or answer.head.last:
                        return
        finally:
            self._tasks.discard(task)
            upstream.close()
            writer.close()

    def _record(self, request: Message, answer: Message) -> None:
        body, told = request.json(), answer.json()
        parts = [each if isinstance(each, dict) else {} for each in (body, told)]
        self._exchanges.append(Exchange(what_is_asked(request), parts[0], answer.status, parts[1]))


@contextmanager
def recording(host: str, port: int) -> Iterator[Recorder]:
    """Yield a recorder of the requests to this emulator."""
    recorder = Recorder(host, port)
    recorder.start()
    try:
        yield recorder
    finally:
        recorder.stop()
