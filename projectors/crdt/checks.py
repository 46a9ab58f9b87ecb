"""What every type refuses: values that the view's JSON cannot hold, and amounts that are none."""

from __future__ import annotations

from typing import Any

from projectors.crdt.base import InvalidOperation
from replicator.domain.canonical import MAX_SAFE_INTEGER, encode_json
from replicator.domain.errors import InvalidEvent, shown


def check_json(value: Any, holder: str, levels: int) -> None:
    """Refuse what the view's JSON could not hold where it stands, `levels` containers deep."""
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
    """The value's canonical JSON text: what orders values and tells them apart (in Python 1, 1.0 and True are equal)."""
    return encode_json({"": value})


def is_text(value: Any) -> bool:
    """Is it a string that JSON can hold: one without lone surrogates?"""
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
    """Is it an integer that JSON can hold?"""
    return type(value) is int and abs(value) <= MAX_SAFE_INTEGER


def clamped(number: int) -> int:
    """A sum of cells as it is shown: at most 2^53 - 1 from zero, what every reader of JSON takes for the same number."""
    return max(-MAX_SAFE_INTEGER, min(number, MAX_SAFE_INTEGER))


def check_amount(amount: Any, holder: str) -> None:
    """Refuse all but whole numbers from 0 to 2^53 - 1."""
    if not is_integer(amount) or amount < 0:
        raise InvalidOperation(f"{holder} takes whole numbers from 0 to 2^53 - 1, not {shown(amount)}")
