"""HTTP/1.1 messages as the proxy carries them: the exact bytes, of which it interprets only what it needs.

Framing is RFC 9112: a head up to an empty line, then a body that is counted, chunked or goes on until the end.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

LIMIT = 1 << 20
"""Maximum bytes of a head."""
_PIECE = 1 << 16


class Malformed(Exception):
    """Error: the bytes that arrived are not HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Head:
    """Start line and headers. `headers` are by lower-case name; of those given twice the last counts."""

    raw: bytes
    first: tuple[str, str, str]
    headers: Mapping[str, str]

    @classmethod
    def parse(cls, raw: bytes) -> Head:
        """Parse a head. Raises Malformed."""
        first, *lines = raw[:-4].decode("latin-1").split("\r\n")
        parts = first.split(" ", 2)
        if len(parts) < 2:
            raise Malformed(f"not HTTP: {first[:80]!r}")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return cls(raw, (parts[0], parts[1], parts[2] if len(parts) > 2 else ""), headers)

    @property
    def chunked(self) -> bool:
        return "chunked" in self.headers.get("transfer-encoding", "").lower()

    @property
    def length(self) -> int | None:
        """Length of the body in bytes, where the head gives it. Raises Malformed."""
        text = self.headers.get("content-length")
        if text is None:
            return None
        if not text.isdecimal():
            raise Malformed(f"invalid content-length {text[:20]!r}")
        return int(text)

    @property
    def last(self) -> bool:
        """Whether the connection ends behind this message."""
        connection = self.headers.get("connection", "").lower()
        version = self.first[0] if self.first[0].startswith("HTTP/") else self.first[2]
        return "close" in connection or (version == "HTTP/1.0" and "keep-alive" not in connection)

    def replaced(self, headers: Mapping[str, str | None]) -> bytes:
        """Return the head with these headers (lower-case names; None: without) in place of its own."""
        lines = self.raw[:-4].split(b"\r\n")
        kept = [line for line in lines[1:] if line.partition(b":")[0].decode("latin-1").lower() not in headers]
        added = [f"{name}: {value}".encode("latin-1") for name, value in headers.items() if value is not None]
        return b"\r\n".join([lines[0], *kept, *added]) + b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Message:
    """Whole request or answer. `raw` is its body as it came, with chunks."""

    head: Head
    raw: bytes

    def __bytes__(self) -> bytes:
        return self.head.raw + self.raw

    @property
    def method(self) -> str:
        return self.head.first[0]

    @property
    def target(self) -> str:
        return self.head.first[1]

    @property
    def status(self) -> int:
        return int(self.head.first[1])

    @property
    def body(self) -> bytes:
        """Decoded body. Raises Malformed."""
        plain = _unchunked(self.raw) if self.head.chunked else self.raw
        if self.head.headers.get("content-encoding", "").lower() == "gzip":
            try:
                return gzip.decompress(plain)
            except (OSError, EOFError, zlib.error) as error:
                raise Malformed(f"the body is not gzip: {error}") from None
        return plain

    def json(self) -> Any:
        """Return the body as JSON, or None where it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, Malformed, RecursionError):
            return None

    def with_json(self, value: Any) -> Message:
        """Return the same message with another body, and headers that fit it."""
        return self.with_body(json.dumps(value, separators=(",", ":")).encode())

    def with_body(self, body: bytes) -> Message:
        changed: dict[str, str | None] = {
            "content-length": str(len(body)),
            "transfer-encoding": None,
            "content-encoding": None,
        }
        if "x-amz-crc32" in self.head.headers:
            changed["x-amz-crc32"] = str(zlib.crc32(body))
        return Message(Head.parse(self.head.replaced(changed)), body)


def answer(status: int, reason: str, headers: Mapping[str, str], body: bytes) -> Message:
    """Return an answer of the proxy's own."""
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{name}: {value}" for name, value in headers.items())]
    raw = "\r\n".join([*lines, f"content-length: {len(body)}"]).encode("latin-1") + b"\r\n\r\n"
    return Message(Head.parse(raw), body)


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Read the next head; None at the end. Raises Malformed, and IncompleteReadError when it ends within one."""
    try:
        return Head.parse(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    except asyncio.LimitOverrunError:
        raise Malformed(f"the head is longer than {LIMIT} bytes") from None


async def pieces(reader: asyncio.StreamReader, head: Head, asked: str | None = None) -> AsyncIterator[bytes]:
    """Yield the body as it comes in. `asked` is the method that an answer is to; None for a request.

    Raises Malformed, and IncompleteReadError when it ends too early.
    """
    if asked is not None and (asked == "HEAD" or head.first[1] in ("204", "304") or head.first[1][0] == "1"):
        return
    if head.chunked:
        async for piece in _chunks(reader):
            yield piece
        return
    left = head.length
    if left is None:
        while asked is not None and (piece := await reader.read(_PIECE)):
            yield piece
        return
    while left:
        piece = await reader.readexactly(min(left, _PIECE))
        left -= len(piece)
        yield piece


async def read_body(reader: asyncio.StreamReader, head: Head, asked: str | None = None) -> bytes:
    return b"".join([piece async for piece in pieces(reader, head, asked)])


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    size = -1
    while size:
        line = await reader.readuntil(b"\r\n")
        size = _size(line)
        yield line
        if size:
            yield await reader.readexactly(size + 2)
    while (line := await reader.readuntil(b"\r\n")) != b"\r\n":
        yield line
    yield line


def _size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0].strip(), 16)
    except ValueError:
        raise Malformed(f"invalid chunk size {line[:20]!r}") from None


def _unchunked(raw: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while True:
        end = raw.index(b"\r\n", at)
        size = _size(raw[at:end])
        if not size:
            return b"".join(parts)
        parts.append(raw[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
