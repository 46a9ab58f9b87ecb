"""Connection of the proxy to the service: one kept-alive connection for each connection of a client."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from chaos.faults.messages import LIMIT, Head, Message, pieces, read_body, read_head

_CONNECT_SECONDS = 10.0


class Unreachable(Exception):
    """Error: nothing accepts connections at the target, so the request did not reach any service."""


class Broken(Exception):
    """Error: the target closed the connection instead of answering, so it is unknown whether the request took effect."""


class Upstream:
    """Connection to the target, opened when it is needed and again when the target has closed it."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: Message) -> Message:
        """Return the whole answer. Raises Unreachable or Broken."""
        head = await self._send(request)
        assert self._reader is not None
        try:
            raw = await read_body(self._reader, head, request.method)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            raise Broken(str(error)) from None
        self._done(head)
        return Message(head, raw)

    async def relay(self, request: Message, client: asyncio.StreamWriter) -> bool:
        """Relay the answer, byte for byte and as it comes, to the client. Returns whether the client's connection can go on.

        Raises Unreachable or Broken.
        """
        head = await self._send(request)
        assert self._reader is not None
        waiting = head.raw  # goes out with the first piece: one packet for most answers
        try:
            async for piece in pieces(self._reader, head, request.method):
                client.write(waiting + piece)
                waiting = b""
                await client.drain()
        except asyncio.IncompleteReadError as error:
            self.close()
            raise Broken(str(error)) from None
        client.write(waiting)
        self._done(head)
        counted = head.chunked or head.length is not None or request.method == "HEAD" or head.first[1] in ("204", "304")
        return counted and not head.last

    async def _send(self, request: Message) -> Head:
        """Send the request and return the answer's head, behind any interim ones."""
        if self._reader is None or self._writer is None or self._reader.at_eof() or self._writer.is_closing():
            self.close()
            await self._open()
        assert self._reader is not None
        assert self._writer is not None
        try:
            self._writer.write(bytes(request))
            while True:
                head = await read_head(self._reader)
                if head is None:
                    raise Broken("it closed the connection")
                if head.first[1][0] != "1" or head.first[1] == "101":
                    return head
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            raise Broken(str(error)) from None
        except Broken:
            self.close()
            raise

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=LIMIT)
        except (OSError, TimeoutError) as error:
            raise Unreachable(str(error) or "no answer to a connection") from None

    def _done(self, head: Head) -> None:
        if head.last:
            self.close()

    def close(self) -> None:
        if self._writer is not None:
            with suppress(OSError, RuntimeError):
                self._writer.close()
        self._reader = self._writer = None
