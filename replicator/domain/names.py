"""Names of regions, streams and lanes, and their one-to-one encoding as DynamoDB keys.

The partition key is `region#type#id`. No segment may contain the delimiter or a control character, so encoding is
injective and decoding needs no escapes: `a#b` + `c` can never collide with `a` + `b#c`.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from replicator.domain.errors import InvalidName, shown

DELIMITER = "#"
MAX_TYPE_BYTES = 128
MAX_ID_BYTES = 1024
MAX_EVENT_TYPE_BYTES = 128
SEQUENCE_DIGITS = 16
MAX_SEQUENCE = 10**SEQUENCE_DIGITS - 1

_REGION = re.compile(r"[a-z]{2}(-[a-z]{2,12}){1,3}-[1-9][0-9]?")


_good_regions: set[str] = set()
"""Cache of valid region names: there are few, and each event names some."""


def check_region(region: str) -> str:
    """Return `region` if it has the form of an AWS region name in ASCII lower case, or raise InvalidName."""
    if type(region) is str and region in _good_regions:
        return region
    if not isinstance(region, str) or not region.isascii() or not _REGION.fullmatch(region):
        raise InvalidName(f"region {shown(region)} is not an AWS region name; give one such as 'us-east-1'")
    if len(_good_regions) < 1000:
        _good_regions.add(region)
    return region


def check_segment(kind: str, text: str, max_bytes: int) -> str:
    """Return `text` if it can be one segment of a key, or raise InvalidName with `kind`, the value and the remedy.

    Refused: empty or oversized text (`max_bytes` of UTF-8), the delimiter `#`, control and format characters, lone
    surrogates, surrounding white space, and text that is not in Unicode NFC (two spellings of one visible name).
    """
    if not isinstance(text, str):
        raise InvalidName(f"{kind} {shown(text)} is a {type(text).__name__}; give a string")
    if not text:
        raise InvalidName(f"{kind} is empty; give at least one character")
    if text.isascii() and text.isprintable():
        size = len(text)
    else:
        for character in text:
            if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp"):
                raise InvalidName(f"{kind} {shown(text)} contains {character!a}; remove control and invisible characters")
        if not unicodedata.is_normalized("NFC", text):
            raise InvalidName(f"{kind} {shown(text)} is not in Unicode NFC; pass it through unicodedata.normalize('NFC', …)")
        size = len(text.encode())
    if DELIMITER in text:
        raise InvalidName(f"{kind} {shown(text)} contains the key delimiter '#'; replace it")
    if text != text.strip():
        raise InvalidName(f"{kind} {shown(text)} begins or ends with white space; strip it")
    if size > max_bytes:
        raise InvalidName(f"{kind} {text[:40]!r}… has {size} bytes; the limit is {max_bytes} bytes of UTF-8")
    return text


@dataclass(frozen=True, slots=True, order=True)
class StreamId:
    """Logical series of events about one thing: a type and an id, written `type/id`."""

    type: str
    id: str

    def __post_init__(self) -> None:
        check_segment("stream type", self.type, MAX_TYPE_BYTES)
        if "/" in self.type:
            raise InvalidName(f"stream type {shown(self.type)} contains '/'; it separates the type from the id")
        check_segment("stream id", self.id, MAX_ID_BYTES)

    @classmethod
    def parse(cls, text: str) -> StreamId:
        """Parse `type/id`. The first slash separates; the id may contain more."""
        kind, slash, name = text.partition("/") if isinstance(text, str) else ("", "", "")
        if not slash:
            raise InvalidName(f"stream {shown(text)} has no type; write it as 'type/id', for example 'user/homer'")
        return cls(kind, name)

    @classmethod
    def of(cls, stream: StreamId | str) -> StreamId:
        """Return the stream itself, or the one that a text names."""
        return stream if isinstance(stream, StreamId) else cls.parse(stream)

    def __hash__(self) -> int:
        return hash(self.id)  # cached by Python: streams are keys of many dictionaries

    def __str__(self) -> str:
        return f"{self.type}/{self.id}"


@dataclass(frozen=True, slots=True, order=True)
class LaneId:
    """One region's own part of a stream. Only that region ever writes it."""

    region: str
    stream: StreamId

    def __post_init__(self) -> None:
        check_region(self.region)

    @property
    def key(self) -> str:
        """DynamoDB partition key, such as `us-east-1#user#homer`."""
        return f"{self.region}{DELIMITER}{self.stream.type}{DELIMITER}{self.stream.id}"

    @classmethod
    def from_key(cls, key: str) -> LaneId:
        """Invert `key`. Raises InvalidName for anything `key` cannot have produced."""
        parts = key.split(DELIMITER) if isinstance(key, str) else []
        if len(parts) != 3:
            raise InvalidName(f"partition key {shown(key)} is not of the form 'region#type#id'")
        return cls(parts[0], StreamId(parts[1], parts[2]))

    def __hash__(self) -> int:
        return hash(self.stream.id)

    def __str__(self) -> str:
        return self.key


def sequence_key(sequence: int) -> str:
    """Return the DynamoDB sort key of a sequence: zero-padded to 16 digits, so that text order is number order."""
    if type(sequence) is not int or not 1 <= sequence <= MAX_SEQUENCE:
        raise InvalidName(f"sequence {shown(sequence)} is not a whole number from 1 to {MAX_SEQUENCE}")
    return f"{sequence:0{SEQUENCE_DIGITS}d}"


def parse_sequence_key(key: str) -> int:
    """Invert `sequence_key`."""
    if not isinstance(key, str) or len(key) != SEQUENCE_DIGITS or not key.isascii() or not key.isdigit() or not int(key):
        raise InvalidName(f"sort key {shown(key)} is not a sequence of {SEQUENCE_DIGITS} digits")
    return int(key)
