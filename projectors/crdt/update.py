"""A Yjs update (version 1 of its encoding) looked through before a library opens it: `yrs` reads nested values by recursion
in native code, so one that is nested deep enough ends the process. Nothing here recurses before that is known, and no count
is believed that the rest of the update could not hold. And an update put into one order: `yrs` writes the members of an
object in another one each time.

The encoding is lib0's and Yjs's own: https://github.com/yjs/yjs, src/utils/encoding.js, and lib0's encoding.js.
"""

from __future__ import annotations

import json
from collections.abc import Callable

MAX_NESTING = 128
"""Levels of arrays and objects within one value: more than a view shows, and far from what a native stack holds."""
_MOST = 2**31 - 1
_CLIENT = 2**64 - 1

_GC, _SKIP = 0, 10
_DELETED, _BINARY, _STRING, _EMBED, _FORMAT, _TYPE, _ANY, _DOC = 1, 3, 4, 5, 6, 7, 8, 9
_ORIGIN, _RIGHT_ORIGIN, _PARENT_SUB, _UNUSED = 0x80, 0x40, 0x20, 0x10
_BYTES, _ARRAY, _OBJECT, _TEXT, _INTEGER = 116, 117, 118, 119, 125
_FIXED = {120: 0, 121: 0, 122: 8, 123: 8, 124: 4, 126: 0, 127: 0}
"""How many bytes follow: true, false, a 64-bit integer, floats of 64 and 32 bits, null, undefined."""


class Refused(ValueError):
    """The update is not whole, or holds what a document of a view has no use for."""


def check_update(update: bytes) -> None:
    """Raises Refused for an update that is cut short or goes on after its end, for values nested deeper than MAX_NESTING,
    and for shared types within the document: those can be nested by one update after the other, without an end."""
    _walk(_Reader(update))


def canonical(update: bytes) -> bytes:
    """The same update with the members of every object in the order of their names, and JSON written in one way. For what
    `check_update` has let pass."""
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
        raise Refused(f"{reader.left} bytes too many")


def _struct(reader: _Reader) -> int:
    """One struct: how far it moves its client's clock."""
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
        raise Refused(f"content of unknown kind {kind}")  # 2, the old JSON, `yrs` reads otherwise than it is written
    return 1


def _any(reader: _Reader) -> None:
    """One value of lib0's. `open_` has what is still to come of each array and object around it."""
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
            reader.integer(_CLIENT)  # the sign is a bit of it
        elif tag in _FIXED:
            reader.skip(_FIXED[tag])
        else:
            raise Refused(f"a value of unknown kind {tag}")


def _json(reader: _Reader) -> None:
    """A JSON text. What is wrong with it otherwise the library says."""
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
    """One value of lib0's with its objects' members in order, and where it ends."""
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
    except ValueError:  # the library says what is wrong with it
        return value
    content = ordered.encode("utf-8", "surrogatepass")
    return _number(len(content)) + content


def _number(value: int) -> bytes:
    """A number as lib0 writes it: seven bits a byte, the lowest first."""
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
        """Where each value that may hold objects begins and ends, and whether it is JSON's."""

    @property
    def at(self) -> int:
        return self._at

    def note(self, read: Callable[[_Reader], None]) -> None:
        """Read a value and remember where it is."""
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
            raise Refused("it is cut short")
        self._at += length

    def integer(self, most: int = _MOST) -> int:
        """A number. One that is larger others may read as another."""
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
        """How many things follow: each has a byte at least."""
        count = self.integer()
        if count > self.left:
            raise Refused("it is cut short")
        return count

    def clock(self, clock: int, length: int | None = None) -> int:
        """A clock that follows, or the one that is `length` after this."""
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
