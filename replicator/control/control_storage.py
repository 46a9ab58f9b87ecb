"""Control state of a region: checkpoints, quarantine, and whatever else is kept in scopes. It says where copying stands; it
never holds a payload, and losing it costs only work: everything in it can be found again by comparing lanes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

Value = dict[str, Any]

_MAX_KEY_BYTES = 1024
"""What DynamoDB takes as a sort key. A lane's key may have more, and what was put there by hand still more."""


@dataclass(frozen=True, slots=True)
class Guard:
    """What a write depends on, checked in its own transaction: the region's control state under `scope` and `key` is
    exactly `value`. What fences are made of."""

    scope: str
    key: str
    value: Mapping[str, Any]

    def __str__(self) -> str:
        return f"control {self.scope} {self.key} is {control_text(self.value)}"


def control_text(value: Mapping[str, Any]) -> str:
    """How a piece of control state is written: equal values are equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def fitting(key: str) -> str:
    """`key` as a sort key can have it: itself, unless it is no Unicode, or too long. Then it is its beginning and its
    SHA-256 behind a `#`, with which no lane's key begins."""
    raw = key.encode("utf-8", "backslashreplace")
    return raw.decode() if len(raw) <= _MAX_KEY_BYTES else f"#{raw.decode()[:200]}… {sha256(raw).hexdigest()}"


class ControlStorage(Protocol):
    """A small key-value port. Values are JSON objects; `scope` groups keys that are listed together."""

    def put(self, scope: str, values: dict[str, Value]) -> None:
        """Write these values, replacing what was there. Not atomic together."""

    def swap(self, scope: str, key: str, before: Value | None, after: Value) -> bool:
        """Replace `before` (None: there is nothing yet) by `after`. True when `after` is there now, by whomever; False when
        something else is. Raises RegionUnavailable."""

    def get_all(self, scope: str, limit: int | None = None, after: str = "") -> Iterator[tuple[str, Value]]:
        """The scope's keys behind `after`, in order, with their values, consistently read."""

    def identity(self) -> str:
        """As LaneStorage.identity, of the table that this is kept in."""

    def delete(self, scope: str, values: dict[str, Value]) -> None:
        """Remove each key whose value is still exactly the one given; others stay."""
