"""Canonical encodings. They must never change: stored vectors in tests/replicator/domain pin them.

Payloads and metadata are JSON (RFC 8259) restricted to I-JSON (RFC 7493): UTF-8, object keys sorted by code point, no
white space, no NaN or infinity, integers within +-(2^53 - 1), floats as their shortest round-trip decimal. The writer makes
the text once; from then on it is stored, copied and hashed as text: no region ever re-encodes an event.

Digests hash a sequence of netstrings (D. J. Bernstein, 1997: `<length>:<bytes>,`), which no two different lists of
fields can share, and which any language can reproduce in a few lines.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from replicator.domain.errors import InvalidEvent, shown

try:
    import orjson
except ImportError:  # an optional extra: without it canonical text is read just the same, only more slowly
    orjson = None  # type: ignore[assignment]

MAX_DEPTH = 32
MAX_SAFE_INTEGER = 2**53 - 1


# Every value that I-JSON forbids shows in the text as one of these; a text without them needs no walk over its values.
_SUSPECT = re.compile(r"[0-9](?:[0-9]{15}|[eE]\+?[0-9]{3})")


_STRICT = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER if orjson is not None else 0


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def unique_members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object's members. Raises ValueError for a duplicate name: readers differ in which one counts."""
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {shown(twice)} is given twice in one object")
    return members


_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False, default=dict
).encode


_encode_any = json.JSONEncoder(sort_keys=True, default=dict).encode


_decoder: Any = json.JSONDecoder(parse_constant=_refuse, object_pairs_hook=unique_members)


def encode_json(value: Any, what: str = "payload") -> str:
    """Return the canonical JSON text of a mapping. Raises InvalidEvent with the path of the first value that JSON cannot
    hold."""
    if not isinstance(value, Mapping):
        raise InvalidEvent(f"{what} is a {type(value).__name__}; give a mapping (a JSON object)")
    _check(value, what, 1)
    return _encode(value)


def same_json(left: Any, right: Any) -> bool:
    """Return whether two values are the same JSON: to Python 1, 1.0 and True are equal, as JSON they are three values."""
    return left is right or _encode_any(left) == _encode_any(right)


def decode_json(text: str, what: str = "payload") -> dict[str, Any]:
    """Parse stored JSON. Raises InvalidEvent when it is not an object of I-JSON, nested at most MAX_DEPTH levels."""
    if orjson is not None and (found := _canonical(text)) is not None:
        return found
    try:
        value = _parse(text)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidEvent(f"{what} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidEvent(f"{what} is JSON but not an object")
    if text.count("{") + text.count("[") > MAX_DEPTH or "\\u" in text or _SUSPECT.search(text):
        _check(value, what, 1)
    return value


def loads(text: str | bytes) -> Any:
    """Parse JSON that is neither canonical nor checked, such as the responses of services. Raises ValueError."""
    if orjson is not None:
        try:
            return orjson.loads(text)
        except ValueError:  # it is stricter: about surrogates, for example
            pass
    return json.loads(text)


def _canonical(text: str) -> dict[str, Any] | None:
    """Fast path: return the text's value if a faster JSON encoder reproduces the same text; then no name is duplicated, no
    integer too large and no number unusual. None for all else, which takes the slow path."""
    try:
        value = orjson.loads(text)
        if type(value) is not dict or orjson.dumps(value, option=_STRICT) != text.encode():
            return None
    except (ValueError, TypeError, AttributeError):
        return None
    return value if text.count("{") + text.count("[") <= MAX_DEPTH else None


def _parse(text: str) -> Any:
    """Parse JSON. A text that is one object with nothing around it, as nearly all are, skips the search for white space:
    half of the time."""
    try:
        value, end = _decoder.scan_once(text, 0)
    except StopIteration:
        end = -1
    return value if end == len(text) else _decoder.decode(text)


def _check(value: Any, path: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidEvent(f"{path} is nested deeper than {MAX_DEPTH} levels; flatten it")
    if value is None or value is True or value is False:
        return
    kind = type(value)
    if kind is str:
        if not value.isascii():
            _check_text(value, path)
    elif kind is int:
        if not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            raise InvalidEvent(f"{path} is {shown(value)}, beyond +-(2^53 - 1); send it as a string")
    elif kind is float:
        if not math.isfinite(value):
            raise InvalidEvent(f"{path} is {value}; JSON has no such number, leave it out or send null")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if type(key) is not str:
                raise InvalidEvent(f"{path} has the key {shown(key)}; JSON keys are strings")
            if not key.isascii():
                _check_text(key, f"key of {path}")
            _check(inner, f"{path}.{key}", depth + 1)
    elif kind in (list, tuple):
        for position, inner in enumerate(value):
            _check(inner, f"{path}[{position}]", depth + 1)
    else:
        raise InvalidEvent(f"{path} is a {kind.__name__}; use str, int, float, bool, None, list or dict")


def _check_text(text: str, path: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidEvent(f"{path} is {shown(text)}, which holds a lone surrogate and is not valid Unicode") from None


def netstrings(*fields: bytes) -> bytes:
    """Return each field as a netstring, concatenated. Injective over lists of fields."""
    return b"".join([b"%d:%b," % (len(field), field) for field in fields])
