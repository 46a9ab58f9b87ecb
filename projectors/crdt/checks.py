"""Checks of every type: they refuse values that the view's JSON cannot hold, and amounts that are not valid."""

from __future__ import annotations

from typing import Any

from projectors.crdt.base import InvalidOperation
from replicator.domain.canonical import MAX_SAFE_INTEGER, encode_json
from replicator.domain.errors import InvalidEvent, shown


def check_json(value: Any, holder: str, levels: int) -> None:
    """Refuse a value that the view's JSON could not hold at its place, `levels` containers deep."""
    if value is None or type(value) is bool or (type(value) is str and value.isascii()):
        return
    within = value
    for _ in range(levels - 1):
        within = [within]
    try:
        encode_json({"state": within}, "value")
    except InvalidEvent as error:
        raise InvalidOperation(f"{holder} holds JSON: {error}") from None


def canonical(value: Any) -> str:
    """Return the value's canonical JSON text, which orders and distinguishes values (in Python 1, 1.0 and True are
    equal)."""
    return encode_json({"": value})


def is_text(value: Any) -> bool:
    """Return whether it is a string that JSON can hold: one without lone surrogates."""
    if type(value) is not str:
        return False
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_integer(value: Any) -> bool:
    """Return whether it is an integer that JSON can hold."""
    return type(value) is int and abs(value) <= MAX_SAFE_INTEGER


def clamped(number: int) -> int:
    """Return a sum of cells as shown: at most 2^53 - 1 from zero, which every reader of JSON takes for the same number."""
    return max(-MAX_SAFE_INTEGER, min(number, MAX_SAFE_INTEGER))


def check_amount(amount: Any, holder: str) -> None:
    """Refuse all but whole numbers from 0 to 2^53 - 1."""
    if not is_integer(amount) or amount < 0:
        raise InvalidOperation(f"{holder} takes whole numbers from 0 to 2^53 - 1, not {shown(amount)}")
