"""Checks of a Yjs update (version 1 of its encoding) before a library opens it: `yrs` reads nested values by recursion in
native code, so deep enough nesting ends the process. Nothing here recurses before the depth is known, and a count is refused
if the rest of the update could not hold it. Also puts an update into one order: `yrs` writes the members of an object in
another order each time.

The encoding is lib0's and Yjs's own: https://github.com/yjs/yjs, src/utils/encoding.js, and lib0's encoding.js.
"""

from __future__ import annotations

import json
from collections.abc import Callable

MAX_NESTING = 128
"""Maximum levels of arrays and objects within one value: more than a view shows, and far fewer than fit a native stack."""
_MOST = 2**31 - 1
_CLIENT = 2**64 - 1

_GC, _SKIP = 0, 10
_DELETED, _BINARY, _STRING, _EMBED, _FORMAT, _TYPE, _ANY, _DOC = 1, 3, 4, 5, 6, 7, 8, 9
_ORIGIN, _RIGHT_ORIGIN, _PARENT_SUB, _UNUSED = 0x80, 0x40, 0x20, 0x10
_BYTES, _ARRAY, _OBJECT, _TEXT, _INTEGER = 116, 117, 118, 119, 125
_FIXED = {120: 0, 121: 0, 122: 8, 123: 8, 124: 4, 126: 0, 127: 0}
"""Number of bytes that follow each kind: true, false, 64-bit integer, floats of 64 and 32 bits, null, undefined."""


class Refused(ValueError):
    """The update is not whole, or holds content that a view's document never has."""


def check_update(update: bytes) -> None:
    """Check an update. Raises Refused when it is truncated or goes on after its end, for values nested deeper than
    MAX_NESTING, and for shared types within the document: those can be nested by one update after the other, without an
    end."""
    _walk(_Reader(update))


def canonical(update: bytes) -> bytes:
    """Return the same update with the members of every object in the order of their names, and JSON written in one way.
    Takes updates that `check_update` has accepted."""
    reader = _Reader(update)
    _walk(reader)
    parts, end = [], 0
    for start, stop, is_json in reader.values:
        value = update[start:stop]
        parts += [update[end:start], _ordered_json(value) if is_json else _ordered(value, 0)[0]]
        end = stop
    return b"".join([*parts, update[end:]])


def _walk(reader: _Reader) -> None:
    for _ in range(reader.count()):
        structs = reader.count()
        reader.integer(_CLIENT)
        clock = reader.clock(0)
        for _ in range(structs):
            clock = reader.clock(clock, _struct(reader))
    for _ in range(reader.count()):
        reader.integer(_CLIENT)
        for _ in range(reader.count()):
            start = reader.clock(0)
            reader.clock(start, reader.integer())
    if reader.left:
        raise Refused(f"{reader.left} surplus bytes")


def _struct(reader: _Reader) -> int:
    """Read one struct. Returns how far it moves its client's clock."""
    info = reader.byte()
    if info in (_GC, _SKIP):
        return reader.integer()
    if info & _UNUSED:
        raise Refused(f"a struct of unknown kind {info}")
    for origin in (_ORIGIN, _RIGHT_ORIGIN):
        if info & origin:
            reader.id()
    if not info & (_ORIGIN | _RIGHT_ORIGIN):
        named = reader.integer()
        if named == 1:
            reader.skip(reader.integer())  # the name of the document's root
        elif named == 0:
            reader.id()
        else:
            raise Refused(f"a parent of unknown kind {named}")
        if info & _PARENT_SUB:
            reader.skip(reader.integer())
    return _content(reader, info & 0x0F)


def _content(reader: _Reader, kind: int) -> int:
    if kind == _DELETED:
        return reader.integer()
    if kind == _STRING:
        return len(reader.text().encode("utf-16-le", "surrogatepass")) // 2
    if kind == _ANY:
        values = reader.count()
        for _ in range(values):
            reader.note(_any)
        return values
    if kind == _BINARY:
        reader.skip(reader.integer())
    elif kind == _EMBED:
        reader.note(_json)
    elif kind == _FORMAT:
        reader.skip(reader.integer())
        reader.note(_json)
    elif kind == _DOC:
        reader.skip(reader.integer())
        _any(reader)
    elif kind == _TYPE:
        raise Refused("it holds a shared type; a document of a view holds plain values")
    else:
        raise Refused(f"content of unknown kind {kind}")  # `yrs` reads 2, the old JSON, otherwise than it is written
    return 1


def _any(reader: _Reader) -> None:
    """Read one value of lib0's. `open_` holds the number of items still to come of each array and object around it."""
    open_: list[tuple[bool, int]] = [(False, 1)]
    while open_:
        named, left = open_.pop()
        if not left:
            continue
        open_.append((named, left - 1))
        if named:
            reader.skip(reader.integer())
        tag = reader.byte()
        if tag in (_ARRAY, _OBJECT):
            if len(open_) > MAX_NESTING:
                raise Refused(f"a value is nested deeper than {MAX_NESTING} levels")
            open_.append((tag == _OBJECT, reader.count()))
        elif tag in (_TEXT, _BYTES):
            reader.skip(reader.integer())
        elif tag == _INTEGER:
            reader.integer(_CLIENT)  # one bit of it is the sign
        elif tag in _FIXED:
            reader.skip(_FIXED[tag])
        else:
            raise Refused(f"a value of unknown kind {tag}")


def _json(reader: _Reader) -> None:
    """Read a JSON text. The library reports its other errors."""
    depth, quoted, escaped = 0, False, False
    for character in reader.text():
        if quoted:
            quoted = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            quoted = True
        elif character in "[{":
            depth += 1
            if depth > MAX_NESTING:
                raise Refused(f"a value is nested deeper than {MAX_NESTING} levels")
        elif character in "]}":
            depth -= 1


def _ordered(value: bytes, at: int) -> tuple[bytes, int]:
    """Return one value of lib0's with its objects' members in order, and the position of its end."""
    tag, reader = value[at], _Reader(value, at + 1)
    if tag in (_TEXT, _BYTES):
        reader.skip(reader.integer())
    elif tag == _INTEGER:
        reader.integer(_CLIENT)
    elif tag in _FIXED:
        reader.skip(_FIXED[tag])
    if tag not in (_ARRAY, _OBJECT):
        return value[at : reader.at], reader.at
    count = reader.integer()
    begin, end, parts = value[at : reader.at], reader.at, []
    for _ in range(count):
        name = b""
        if tag == _OBJECT:
            reader = _Reader(value, end)
            length = reader.integer()
            name, end = value[end : reader.at + length], reader.at + length
        inner, end = _ordered(value, end)
        parts.append((name, inner))
    if tag == _OBJECT:
        parts.sort()
    return begin + b"".join(name + inner for name, inner in parts), end


def _ordered_json(value: bytes) -> bytes:
    reader = _Reader(value)
    text = reader.text()
    try:
        ordered = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    except ValueError:  # the library reports the error
        return value
    content = ordered.encode("utf-8", "surrogatepass")
    return _number(len(content)) + content


def _number(value: int) -> bytes:
    """Return a number as lib0 writes it: seven bits a byte, the lowest first."""
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*written, value])


class _Reader:
    def __init__(self, update: bytes, at: int = 0) -> None:
        self._update = update
        self._at = at
        self.values: list[tuple[int, int, bool]] = []
        """Begin and end of each value that may hold objects, and whether it is JSON."""

    @property
    def at(self) -> int:
        return self._at

    def note(self, read: Callable[[_Reader], None]) -> None:
        """Read a value and record its position."""
        start = self._at
        read(self)
        self.values.append((start, self._at, read is _json))

    @property
    def left(self) -> int:
        return len(self._update) - self._at

    def byte(self) -> int:
        self.skip(1)
        return self._update[self._at - 1]

    def skip(self, length: int) -> None:
        if length > self.left:
            raise Refused("it is truncated")
        self._at += length

    def integer(self, most: int = _MOST) -> int:
        """Read a number. Other readers may read a larger one differently."""
        value, shift = 0, 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if value > most or (shift and not byte):
                raise Refused("a number is too large or written too long")
            if byte < 0x80:
                return value
            shift += 7

    def count(self) -> int:
        """Read the number of items that follow: each has at least one byte."""
        count = self.integer()
        if count > self.left:
            raise Refused("it is truncated")
        return count

    def clock(self, clock: int, length: int | None = None) -> int:
        """Return `clock` advanced by the number that follows, or by `length`."""
        clock += self.integer() if length is None else length
        if clock > _MOST:
            raise Refused("a clock is too large")
        return clock

    def id(self) -> None:
        self.integer(_CLIENT)
        self.clock(0)

    def text(self) -> str:
        length = self.integer()
        self.skip(length)
        try:
            return self._update[self._at - length : self._at].decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise Refused("a text is no UTF-8") from None
