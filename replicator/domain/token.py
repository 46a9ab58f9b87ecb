"""Consistency token: what a client has seen, as one opaque, compact, versioned text. It is also the HTTP ETag.

The text is base64url of `version | system | body | seal`: one byte, four bytes that name the system it is of, the body
below, and twelve bytes of HMAC-SHA256 (RFC 2104, truncated as its section 5 allows) over all before them. Numbers are
LEB128. The body is the HLC, the table of region names, and for each stream its type, its id and its vector's entries.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from replicator.domain.clock import ZERO, Hlc
from replicator.domain.errors import InvalidToken, MeridianError
from replicator.domain.event import Event, Observed
from replicator.domain.names import StreamId
from replicator.domain.vector import EMPTY, VersionVector

VERSION = 1
MAX_TEXT = 8_192
"""Maximum characters of a token: what HTTP servers accept as one header. It holds some hundred streams."""

_SYSTEM_BYTES = 4
_SEAL_BYTES = 12


@dataclass(frozen=True, slots=True)
class ConsistencyToken:
    """Version vectors seen, by stream, and the latest time among all of it."""

    vectors: Mapping[StreamId, VersionVector] = field(default_factory=dict)
    hlc: Hlc = ZERO

    @classmethod
    def of(cls, events: Iterable[Event]) -> ConsistencyToken:
        """Return a token of everything that `events` are and had themselves observed."""
        token = cls()
        for event in events:
            seen = Observed.of([event])
            token = token.join(cls({event.stream: seen.vector}, seen.hlc))
        return token

    @classmethod
    def seen(cls, stream: StreamId, observed: Observed) -> ConsistencyToken:
        """Return a token of one stream."""
        return cls({stream: observed.vector}, observed.hlc)

    def vector(self, stream: StreamId) -> VersionVector:
        """Return the token's vector of `stream`: EMPTY if it has none."""
        return self.vectors.get(stream, EMPTY)

    def observed(self, stream: StreamId) -> Observed:
        """Return what a writer with this token has seen of `stream`. The time is the whole token's: later than all of it."""
        return Observed(self.vector(stream), self.hlc)

    def join(self, other: ConsistencyToken) -> ConsistencyToken:
        """Return the least token that covers both."""
        vectors = dict(self.vectors)
        for stream, vector in other.vectors.items():
            vectors[stream] = vectors.get(stream, EMPTY).join(vector)
        return ConsistencyToken(vectors, max(self.hlc, other.hlc))

    def __hash__(self) -> int:
        return hash((frozenset(self.vectors.items()), self.hlc))


class TokenCodec:
    """Encodes and decodes tokens of one system.

    `system` is the name that all its regions share; `keys` seal tokens: the first one signs, all are accepted, so keys
    can be rotated without a gap. Without keys, tokens are sealed with one derived from the system's name: mistakes and
    damage are detected, a determined forger is not. A forged token can make a read wait its bounded time, and a write
    carry a time up to the clock's bound ahead (docs/decisions/0005), which drags this region's later events along. So
    give keys where tokens come from untrusted clients.
    """

    def __init__(self, system: str, keys: Sequence[bytes] = ()) -> None:
        self._system = sha256(b"meridian.system:" + system.encode()).digest()[:_SYSTEM_BYTES]
        self._keys = tuple(keys) or (sha256(b"meridian.token:" + system.encode()).digest(),)

    def encode(self, token: ConsistencyToken) -> str:
        """Encode a token as text: letters, digits, `-` and `_`. Raises InvalidToken when it names too many streams."""
        signed = bytes([VERSION]) + self._system + _body(token)
        text = _base64(signed + _seal(self._keys[0], signed))
        if len(text) > MAX_TEXT:
            raise InvalidToken(
                f"a token of {len(token.vectors)} streams has {len(text):,} characters; the limit is {MAX_TEXT:,}. "
                "Keep one token for each group of streams that are read together"
            )
        return text

    def decode(self, text: str) -> ConsistencyToken:
        """Invert `encode`. Raises InvalidToken for a text that is no token, of another version or system, or forged."""
        if not isinstance(text, str) or not text or len(text) > MAX_TEXT:
            raise InvalidToken(f"token {_shown(text)} is not a text of 1 to {MAX_TEXT:,} characters; {_REMEDY}")
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise InvalidToken(f"token {_shown(text)} is not base64url; {_REMEDY}") from None
        if _base64(raw) != text:  # an ETag is compared as text, so the same bytes must have one spelling
            raise InvalidToken(f"token {_shown(text)} is not in this system's canonical form; {_REMEDY}")
        if raw and raw[0] != VERSION:
            raise InvalidToken(
                f"token {_shown(text)} is of version {raw[0]}; this code reads version {VERSION}. Upgrade it, or "
                "read again without a token"
            )
        signed, seal = raw[:-_SEAL_BYTES], raw[-_SEAL_BYTES:]
        if len(signed) <= 1 + _SYSTEM_BYTES:
            raise InvalidToken(f"token {_shown(text)} is truncated; {_REMEDY}")
        if signed[1 : 1 + _SYSTEM_BYTES] != self._system:
            raise InvalidToken(f"token {_shown(text)} belongs to another Meridian system; {_REMEDY}")
        if not any(hmac.compare_digest(seal, _seal(key, signed)) for key in self._keys):
            raise InvalidToken(f"token {_shown(text)} is forged, damaged, or sealed with a key unknown here; {_REMEDY}")
        try:
            token = _Reader(signed[1 + _SYSTEM_BYTES :]).token()
        except (MeridianError, ValueError, IndexError) as error:
            raise InvalidToken(f"token {_shown(text)} cannot be read: {error}; {_REMEDY}") from None
        return token


_REMEDY = "give a token as a read or a write of this system returned it"


def _shown(text: Any) -> str:
    shown = repr(text)
    return shown if len(shown) <= 60 else f"{shown[:40]}…"


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _seal(key: bytes, signed: bytes) -> bytes:
    return hmac.new(key, signed, sha256).digest()[:_SEAL_BYTES]


def _body(token: ConsistencyToken) -> bytes:
    regions = sorted({region for vector in token.vectors.values() for region, _ in vector.items()})
    place = {region: index for index, region in enumerate(regions)}
    parts = [_number(token.hlc.ms), _number(token.hlc.counter), _number(len(regions)), *map(_text, regions)]
    parts.append(_number(len(token.vectors)))
    for stream, vector in sorted(token.vectors.items()):
        entries = list(vector.items())
        parts += [_text(stream.type), _text(stream.id), _number(len(entries))]
        for region, sequence in entries:
            parts += [_number(place[region]), _number(sequence)]
    return b"".join(parts)


def _number(value: int) -> bytes:
    """Encode as unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _text(text: str) -> bytes:
    raw = text.encode()
    return _number(len(raw)) + raw


class _Reader:
    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def token(self) -> ConsistencyToken:
        hlc = Hlc(self._number(), self._number())
        regions = [self._text() for _ in range(self._number())]
        vectors: dict[StreamId, VersionVector] = {}
        for _ in range(self._number()):
            stream = StreamId(self._text(), self._text())
            vectors[stream] = VersionVector({regions[self._number()]: self._number() for _ in range(self._number())})
        if self._at != len(self._raw):
            raise ValueError("it has bytes after its end")
        return ConsistencyToken(vectors, hlc)

    def _number(self) -> int:
        value = shift = 0
        while True:
            byte = self._raw[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("it holds a number that is too large")

    def _text(self) -> str:
        size = self._number()
        raw = self._raw[self._at : self._at + size]
        if len(raw) != size:
            raise ValueError("it ends within a name")
        self._at += size
        return raw.decode()
