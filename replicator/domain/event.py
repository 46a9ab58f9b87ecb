"""Events: immutable facts, chained by digest within their lane. An invalid one cannot be constructed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Any, NamedTuple

from replicator.domain.canonical import decode_json, encode_json, loads, netstrings
from replicator.domain.clock import ZERO, Hlc
from replicator.domain.errors import DamagedEvent, InvalidEvent
from replicator.domain.names import MAX_EVENT_TYPE_BYTES, LaneId, StreamId, check_segment, sequence_key
from replicator.domain.protected import MARKER, Protected, holds_personal, may_hold_personal
from replicator.domain.vector import EMPTY, VersionVector

ENCODING = b"meridian.event.1"
GENESIS = bytes(32)
"""Digest that stands before the first event of every lane."""
NONCE = "$nonce"
"""Reserved metadata key: makes every append a distinct event, even when two processes append the same content at the same
instant. Without it each would take the other's event for its own, and one append would be lost."""
HANDED_OVER = "-"
"""Last character of the nonce of an event that its writer hands over to peers itself: who copies the table's stream asks a
peer for it before it writes it there."""
MAX_ITEM_BYTES = 400 * 1024
"""DynamoDB's limit of one item in bytes, attribute names included."""

# Attribute names (pk sk hlc type version payload metadata observed prev digest), two digests, and a number's worst case.
_FIXED_ITEM_BYTES = 2 + 2 + 3 + 4 + 7 + 7 + 8 + 8 + 4 + 6 + 32 + 32 + 21
# The index entry of a lane's first event, in the attribute `begins`: its region, `#` and a hexadecimal digit.
_BEGINS_BYTES = 6 + 2

SURELY_FITS = MAX_ITEM_BYTES // 8
"""Number of characters of text that cannot make an item too large: at most four bytes per character, all else is bounded."""
ONLY_NONCE = re.compile(r'\{"\$nonce":"[A-Za-z0-9_-]+"\}')
_HANDED_OVER = re.compile(r'\{"\$nonce":"[A-Za-z0-9_-]*-"[,}]')
_BEGINNING = netstrings(ENCODING)


@dataclass(frozen=True, slots=True, init=False, repr=False)
class NewEvent:
    """Event to append: an event type, a JSON payload, and optionally a schema version and metadata.

    `metadata` holds strings about the event rather than the fact itself (who, correlation, causation). Both are encoded
    at construction: later changes to the writer's own objects have no effect, and two new events are equal if their
    JSON is. Raises InvalidName or InvalidEvent at construction.
    """

    type: str
    version: int
    payload_text: str
    metadata_text: str
    _protected: bool = field(compare=False)

    def __init__(
        self, type: str, payload: Mapping[str, Any], version: int = 1, metadata: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        check_segment("event type", type, MAX_EVENT_TYPE_BYTES)
        if version.__class__ is not int or not 1 <= version <= 65_535:
            raise InvalidEvent(f"schema version {version!r} is not a whole number from 1 to 65535")
        payload_text, protected = encode_json(payload), isinstance(payload, Protected)
        if may_hold_personal(payload_text) and not protected and holds_personal(payload):
            raise InvalidEvent(
                f"payload of {type!r} has the key {MARKER!r}, which marks what Meridian has encrypted; rename it, and "
                "never accept it from users. Wrap values made of a stored event's payload in Protected"
            )
        keep = object.__setattr__
        keep(self, "type", type)
        keep(self, "version", version)
        keep(self, "payload_text", payload_text)
        keep(self, "metadata_text", "{}" if metadata == {} else _metadata_text(metadata))
        keep(self, "_protected", protected)

    def __repr__(self) -> str:
        return f"NewEvent({self.type!r}, {self.payload!r}, version={self.version}, metadata={self.metadata!r})"

    @property
    def payload(self) -> dict[str, Any]:
        """Payload, parsed anew at each access: the caller owns the result."""
        parsed: dict[str, Any] = loads(self.payload_text)
        return Protected(parsed) if self._protected else parsed

    @property
    def metadata(self) -> dict[str, str]:
        """Metadata, parsed anew at each access."""
        parsed: dict[str, str] = loads(self.metadata_text)
        return parsed

    def with_metadata(self, metadata: Mapping[str, str]) -> NewEvent:
        """Return the same event with other metadata. Raises InvalidEvent."""
        return NewEvent(self.type, self.payload, self.version, metadata)


def _metadata_text(metadata: Mapping[str, str]) -> str:
    text = encode_json(metadata, "metadata")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise InvalidEvent(f"metadata.{key} is {value!r}; metadata values are strings")
        if key == NONCE:
            raise InvalidEvent(f"metadata has the key {NONCE!r}, which is Meridian's own; rename it")
    return text


@dataclass(frozen=True, slots=True)
class Event:
    """Immutable fact in a lane.

    `sequence` counts from 1 without gaps; `observed` is the stream's version vector as its writer knew it (its causal
    context); `prev` is the digest of the event before it in its lane (GENESIS for the first); `digest` is 32 bytes of
    SHA-256 over everything else. Constructing an event whose digest does not match raises DamagedEvent.
    """

    lane: LaneId
    sequence: int
    hlc: Hlc
    type: str
    version: int
    payload_text: str
    metadata_text: str
    observed: VersionVector
    prev: bytes
    digest: bytes

    def __post_init__(self) -> None:
        if not (
            type(self.lane) is LaneId and type(self.sequence) is int and type(self.hlc) is Hlc and type(self.type) is str
            and type(self.version) is int and type(self.payload_text) is str and type(self.metadata_text) is str
            and type(self.observed) is VersionVector and type(self.prev) is bytes and type(self.digest) is bytes
        ):  # fmt: skip
            self._name_type()
        expected = digest_of(self)
        if expected != self.digest:
            raise DamagedEvent(
                f"event {self.id} does not match its digest: stored {self.digest.hex()}, computed {expected.hex()}. "
                "It was altered after it was written; compare it with another region's copy"
            )
        sequence_key(self.sequence)
        check_segment("event type", self.type, MAX_EVENT_TYPE_BYTES)
        if not 1 <= self.version <= 65_535 or len(self.prev) != 32:
            raise InvalidEvent(f"event {self.id} has version {self.version} and a prev of {len(self.prev)} bytes")
        decode_json(self.payload_text)
        if not ONLY_NONCE.fullmatch(self.metadata_text):
            decode_json(self.metadata_text, "metadata")
        _check_size(self)

    def _name_type(self) -> None:
        for name, kind in _TYPES:
            if type(getattr(self, name)) is not kind:
                raise DamagedEvent(f"event {self.sequence!r} of lane {self.lane}: {name} is not of type {kind.__name__}")

    @property
    def id(self) -> str:
        """Event id, such as `us-east-1#user#homer#0000000000000007`: unique across regions, permanently."""
        return f"{self.lane.key}#{sequence_key(self.sequence)}"

    @property
    def stream(self) -> StreamId:
        """Stream that the event belongs to."""
        return self.lane.stream

    @property
    def region(self) -> str:
        """Region that wrote the event."""
        return self.lane.region

    @property
    def payload(self) -> dict[str, Any]:
        """Payload, parsed anew at each access: the event stays immutable and the caller owns the result."""
        parsed: dict[str, Any] = loads(self.payload_text)  # checked when the event was made
        return parsed

    @property
    def metadata(self) -> dict[str, Any]:
        """Metadata as the writer gave it, parsed anew at each access."""
        metadata: dict[str, Any] = loads(self.metadata_text)
        metadata.pop(NONCE, None)
        return metadata

    @property
    def order(self) -> tuple[Hlc, str, int]:
        """Total order of a stream's events: HLC, then region, then sequence. The same in every region."""
        return (self.hlc, self.lane.region, self.sequence)


def _check_size(event: Event) -> None:
    if len(event.payload_text) + len(event.metadata_text) > SURELY_FITS and size_of(event) > MAX_ITEM_BYTES:
        raise InvalidEvent(
            f"event {event.id} would be an item of {size_of(event):,} bytes; DynamoDB's limit is {MAX_ITEM_BYTES:,}. "
            "Put the large part into an object store and its address into the event"
        )


_TYPES: tuple[tuple[str, type], ...] = (
    ("lane", LaneId), ("sequence", int), ("hlc", Hlc), ("type", str), ("version", int), ("payload_text", str),
    ("metadata_text", str), ("observed", VersionVector), ("prev", bytes), ("digest", bytes),
)  # fmt: skip


def is_handed_over(event: Event) -> bool:
    """Return whether the event's writer hands it over to peers itself, besides the table's stream."""
    return _HANDED_OVER.match(event.metadata_text) is not None


def digest_of(event: Event) -> bytes:
    """Return SHA-256 over the netstrings of the encoding's name, `prev`, and every field of the event, in this order."""
    return _digest(
        event.lane, event.sequence, event.hlc, event.type, event.version, event.payload_text, event.metadata_text,
        event.observed, event.prev,
    )  # fmt: skip


def _digest(
    lane: LaneId, sequence: int, hlc: Hlc, type: str, version: int, payload: str, metadata: str,
    observed: VersionVector, prev: bytes,
) -> bytes:  # fmt: skip
    a, b, c, d, e = lane.region, lane.stream.type, lane.stream.id, f"{sequence:d}", str(hlc)
    f, g, h, i, j = type, f"{version:d}", payload, metadata, str(observed)
    try:
        joined = (
            f"{len(a)}:{a},{len(b)}:{b},{len(c)}:{c},{len(d)}:{d},{len(e)}:{e},"
            f"{len(f)}:{f},{len(g)}:{g},{len(h)}:{h},{len(i)}:{i},{len(j)}:{j},"
        )
        if joined.isascii():  # as many bytes as characters: nearly always
            return sha256(b"%b%d:%b,%b" % (_BEGINNING, len(prev), prev, joined.encode())).digest()
        return sha256(netstrings(ENCODING, prev, *[text.encode() for text in (a, b, c, d, e, f, g, h, i, j)])).digest()
    except (TypeError, AttributeError, ValueError) as error:
        raise DamagedEvent(f"event {sequence!r} of lane {lane} has a field of the wrong type: {error}") from None


def size_of(event: Event) -> int:
    """Return the size of the event's DynamoDB item in bytes, an upper bound counted as DynamoDB counts it."""
    return (
        _FIXED_ITEM_BYTES
        + (_BEGINS_BYTES + len(event.lane.region) if event.sequence == 1 else 0)
        + len(event.lane.key.encode())
        + 16
        + 19
        + len(event.type.encode())
        + len(event.payload_text.encode())
        + len(event.metadata_text.encode())
        + len(str(event.observed))
    )


def seal(
    lane: LaneId, sequence: int, hlc: Hlc, new: NewEvent, observed: VersionVector, prev: bytes, nonce: str = ""
) -> Event:
    """Turn a NewEvent into the event at `sequence` of `lane`, chained to the event before it.

    `nonce` is a unique text, kept in the metadata; empty if the event need not differ from others of the same content.
    """
    sequence_key(sequence)
    if not nonce:
        metadata = new.metadata_text
    elif new.metadata_text == "{}" and ONLY_NONCE.fullmatch(text := f'{{"{NONCE}":"{nonce}"}}'):
        metadata = text
    else:
        metadata = encode_json({**new.metadata, NONCE: nonce}, "metadata")
    digest = _digest(lane, sequence, hlc, new.type, new.version, new.payload_text, metadata, observed, prev)
    fields = (lane, sequence, hlc, new.type, new.version, new.payload_text, metadata, observed, prev, digest)
    if not (type(lane) is LaneId and type(hlc) is Hlc and type(observed) is VersionVector and len(prev) == 32):
        return Event(*fields)  # raises an error that names the wrong field
    event = assemble(*fields)  # its texts were checked when `new` was made; its digest was just computed
    _check_size(event)
    return event


_new = object.__new__
(
    _set_lane, _set_sequence, _set_hlc, _set_type, _set_version, _set_payload, _set_metadata, _set_observed, _set_prev,
    _set_digest,
) = (Event.__dict__[name].__set__ for name in Event.__slots__)  # fmt: skip


def assemble(
    lane: LaneId, sequence: int, hlc: Hlc, type: str, version: int, payload: str, metadata: str,
    observed: VersionVector, prev: bytes, digest: bytes,
) -> Event:  # fmt: skip
    """Assemble an event from parts that the caller has checked in every way that `Event` does. Checks none of them."""
    event: Event = _new(Event)
    _set_lane(event, lane)
    _set_sequence(event, sequence)
    _set_hlc(event, hlc)
    _set_type(event, type)
    _set_version(event, version)
    _set_payload(event, payload)
    _set_metadata(event, metadata)
    _set_observed(event, observed)
    _set_prev(event, prev)
    _set_digest(event, digest)
    return event


class Head(NamedTuple):
    """End of a lane: its last event's sequence, digest and timestamp. An empty lane is at NO_EVENTS."""

    sequence: int
    digest: bytes
    hlc: Hlc

    @classmethod
    def of(cls, event: Event | None) -> Head:
        return cls(event.sequence, event.digest, event.hlc) if event else NO_EVENTS


NO_EVENTS = Head(0, GENESIS, ZERO)


@dataclass(frozen=True, slots=True)
class Observed:
    """Causal context of a writer in a stream: the vector that its next event records, and the time that it must exceed."""

    vector: VersionVector = EMPTY
    hlc: Hlc = ZERO

    @classmethod
    def of(cls, events: Iterable[Event]) -> Observed:
        """Return everything that `events` are and had themselves observed."""
        seen = cls()
        for event in events:
            vector = seen.vector.join(event.observed).advance(event.region, event.sequence)
            seen = cls(vector, max(seen.hlc, event.hlc))
        return seen

    def join(self, other: Observed) -> Observed:
        """Return what a writer has seen that has seen both."""
        return Observed(self.vector.join(other.vector), max(self.hlc, other.hlc))
