"""Stripes: one value of the control state, repeated over many items for writes that check it in their own transaction.

Two transactions that check the same item at the same time conflict, and each takes two write units of the 1,000 that a
partition has ("Amazon DynamoDB Transactions: How it works" and "Partitions and data distribution", developer guide). So
there are many items, under many partition keys, and each write checks any of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from replicator.control.control_storage import ControlStorage, Guard, Value, tries

_PARTITION_KEYS = 16
_KEYS = tuple(f"{key:x}" for key in range(16))
COUNT = _PARTITION_KEYS * len(_KEYS)


@cache
def _scopes(scope: str) -> tuple[str, ...]:
    return (scope, *(f"{scope}#{part:x}" for part in range(1, _PARTITION_KEYS)))


@dataclass(frozen=True, slots=True)
class Stripes:
    """Items that repeat one value. The first of their scopes is `scope` itself."""

    scope: str

    @property
    def scopes(self) -> tuple[str, ...]:
        return _scopes(self.scope)

    def guard(self, number: int, value: Value) -> Guard:
        """Return the condition check that holds while the stripe of this number has this value."""
        part, key = divmod(number % COUNT, len(_KEYS))
        return Guard(self.scopes[part], _KEYS[key], value)

    def set(self, control: ControlStorage, value: Value, older: Callable[[Value], bool], what: str) -> None:
        """Make every stripe have this value, except those with one that is not `older`. Raises RegionUnavailable."""
        for _ in tries(what):
            held = control.get_scopes(self.scopes)
            found = {(scope, key): held[scope].get(key) for scope in self.scopes for key in _KEYS}
            stale = {
                place: before for place, before in found.items() if before is None or (before != value and older(before))
            }
            if not stale:
                return
            control.swap_each({place: (before, value) for place, before in stale.items()})
