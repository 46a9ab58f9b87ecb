"""Control state of a region: checkpoints, quarantine, and other data in scopes. It records the progress of copying; it never
holds a payload, and losing it costs only work: comparing lanes finds everything in it again."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

from replicator.domain.errors import RegionUnavailable

Value = dict[str, Any]
Place = tuple[str, str]
"""A scope and a key in it."""

_TRIES = 20
_MAX_KEY_BYTES = 1024
"""Maximum bytes of a DynamoDB sort key. A lane's key may be longer, and a key that was written by hand longer still."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Condition check of a write, in its own transaction: the region's control state under `scope` and `key` is exactly
    `value`. Fences are made of these."""

    scope: str
    key: str
    value: Mapping[str, Any]

    def __str__(self) -> str:
        return f"control {self.scope} {self.key} is {control_text(self.value)}"


def control_text(value: Mapping[str, Any]) -> str:
    """Encode a piece of control state: equal values give equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def fitting(key: str) -> str:
    """Return `key` in a form that a sort key can have: unchanged, unless it is not Unicode or too long. Then its beginning
    and its SHA-256 behind a `#`, with which no lane's key begins."""
    raw = key.encode("utf-8", "backslashreplace")
    return raw.decode() if len(raw) <= _MAX_KEY_BYTES else f"#{raw.decode()[:200]}… {sha256(raw).hexdigest()}"


def tries(what: str) -> Iterator[int]:
    """Yield a bounded number of tries to change control state that others change, too. Raises RegionUnavailable behind the
    last: the table is contended, or does not return what it acknowledged."""
    yield from range(_TRIES)
    raise RegionUnavailable(
        f"{what} was tried {_TRIES} times, and the control table holds something else each time; try again, and check which "
        "engine answers there if that does not help"
    )


class ControlStorage(Protocol):
    """Small key-value port. Values are JSON objects; `scope` groups keys that are listed together."""

    def put(self, scope: str, values: dict[str, Value]) -> None:
        """Write these values, replacing existing ones. Not atomic together."""

    def swap(self, scope: str, key: str, before: Value | None, after: Value) -> bool:
        """Replace `before` (None: no value yet) by `after`. Returns True when `after` is stored now, whichever process wrote
        it; False when another value is. Raises RegionUnavailable."""

    def swap_each(self, changes: Mapping[Place, tuple[Value | None, Value]]) -> None:
        """Replace each value that is still the first one of its pair (None: no value yet) by the second; others stay. Not
        atomic together. Raises RegionUnavailable."""

    def get(self, scope: str, key: str) -> Value | None:
        """Return one value, consistently read, or None if there is none."""

    def get_scopes(self, scopes: Collection[str]) -> dict[str, dict[str, Value]]:
        """Return all of these scopes, read at the same time, each consistently."""

    def get_all(self, scope: str, limit: int | None = None, after: str = "") -> Iterator[tuple[str, Value]]:
        """Return the scope's keys behind `after`, in order, with their values, consistently read."""

    def identity(self) -> str:
        """Return the identity of the underlying table, as LaneStorage.identity."""

    def delete(self, scope: str, values: dict[str, Value]) -> None:
        """Remove each key whose value is still exactly the one given; others stay."""
