"""Strict reader of JSON that people write: nothing unknown, nothing twice, no invalid number; errors name the place."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from replicator.domain.errors import InvalidConfig, shown

T = TypeVar("T")
_SHOWN = 80


def strict_json(text: str | bytes, place: str) -> object:
    """Return the value of a JSON text. Raises InvalidConfig for invalid JSON, NaN, Infinity and keys given twice."""

    def constant(name: str) -> object:
        raise InvalidConfig(f"{place}: {name} is not a JSON number; write a finite number")

    def pairs(given: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(given)
        if len(found) < len(given):
            twice = next(key for i, (key, _) in enumerate(given) if key in dict(given[:i]))
            raise InvalidConfig(f"{place}: {_short(twice)} is given twice; keep one")
        return found

    try:
        return json.loads(text, parse_constant=constant, object_pairs_hook=pairs)
    except InvalidConfig:
        raise
    except (ValueError, RecursionError) as error:
        raise InvalidConfig(f"{place} is not JSON: {error or 'too deeply nested'}; give a JSON list of rules") from None


@dataclass(frozen=True, slots=True)
class Fields:
    """Keys of one JSON object, each read once for its type and range. All methods raise InvalidConfig."""

    given: Mapping[str, Any]
    place: str

    @classmethod
    def of(cls, value: object, place: str, known: tuple[str, ...]) -> Fields:
        """Return the object's fields. Refuses a value that is no object, and keys that are not known."""
        if not isinstance(value, dict):
            raise InvalidConfig(f"{place}: {_short(value)} is not a JSON object; write {{…}} with {', '.join(known)}")
        for key in value:
            if key not in known:
                raise InvalidConfig(f"{place}: there is no {_short(key)}; choose from {', '.join(known)}")
        return cls(value, place)

    def fields(self, name: str, known: tuple[str, ...]) -> Fields | None:
        return Fields.of(self.given[name], f"{self.place}, {name}", known) if name in self.given else None

    def text(self, name: str, pattern: str, wanted: str) -> str | None:
        if name not in self.given:
            return None
        value = self.given[name]
        if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
            raise self._wrong(name, wanted)
        return value

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        value = self.given.get(name, default)
        if not isinstance(value, str) or value not in choices:
            raise self._wrong(name, f"one of {', '.join(choices)}")
        return value

    def truth(self, name: str) -> bool:
        value = self.given.get(name, False)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false")
        return value

    def number(self, name: str, low: float, high: float, wanted: str, default: T, *, above: bool = False) -> float | T:
        if name not in self.given:
            return default
        value = self.given[name]
        if not _is_number(value) or not low <= value <= high or (above and value == low):
            raise self._wrong(name, f"a number {wanted}")
        return float(value)

    def whole(self, name: str, low: int, high: int, wanted: str, default: T) -> int | T:
        if name not in self.given:
            return default
        value = self.given[name]
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise self._wrong(name, wanted)
        return value

    def window(self, name: str) -> tuple[float, float | None]:
        """Return from and until, in seconds; until may be null: without end."""
        value = self.given.get(name, [0, None])
        wanted = "[from, until] in seconds after the rules are set, from before until, such as [5, 20] or [5, null]"
        if not isinstance(value, list) or len(value) != 2:
            raise self._wrong(name, wanted)
        begins, ends = value
        if not _is_number(begins) or begins < 0 or not (ends is None or _is_number(ends)):
            raise self._wrong(name, wanted)
        if ends is not None and not begins < ends:
            raise self._wrong(name, wanted)
        return float(begins), None if ends is None else float(ends)

    def _wrong(self, name: str, wanted: str) -> InvalidConfig:
        return InvalidConfig(f"{self.place}: {name} {_short(self.given[name])} is wrong; write {wanted}")


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _short(value: object) -> str:
    text = shown(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
