"""Marker of encrypted personal values, and the payloads that may hold one: docs/decisions/0014.

A payload from outside that held another person's encrypted value would make a projection show it to its sender. So
only payloads that Meridian made, `Protected` ones, may hold the marker.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

MARKER = "$personal"
_HINT = f'"{MARKER}"'

Path = tuple[str, ...]
"""Path of a value in a payload: keys of objects and positions in lists."""


class Protected(dict[str, Any]):
    """Payload whose personal fields are encrypted. `made` are the fields encrypted for it, as (path, envelope).

    `PersonalData.protect` makes them. Wrap a payload yourself only when it derives from a stored event's own.
    """

    def __init__(self, values: Mapping[str, Any], made: Collection[tuple[Path, Any]] = ()) -> None:
        super().__init__(values)
        self.made = frozenset(made)


def may_hold_personal(text: str) -> bool:
    """Return whether a payload's canonical text may hold a personal value: cheap, without false negatives."""
    return _HINT in text


def marked(value: Any, path: Path = ()) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Yield every object within `value` that bears the marker, with its path."""
    if isinstance(value, Mapping):
        if MARKER in value:
            yield path, value
            return
        for name, inner in value.items():
            yield from marked(inner, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from marked(inner, (*path, str(position)))


def holds_personal(payload: Mapping[str, Any]) -> bool:
    """Return whether the payload has a personal value."""
    return any(marked(payload))
