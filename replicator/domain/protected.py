"""What marks an encrypted personal value in a payload, and which payloads may hold one: docs/decisions/0014.

A payload that comes from outside and holds somebody's encrypted value would have a projection show it to whoever sent it,
so only payloads that Meridian made, `Protected` ones, may hold the mark.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

MARKER = "$personal"
_HINT = f'"{MARKER}"'

Path = tuple[str, ...]
"""Where a value stands in a payload: names of objects' keys and positions in lists."""


class Protected(dict[str, Any]):
    """A payload whose personal fields are encrypted. `made` is what was encrypted for it, and where, as (path, envelope).

    `PersonalData.protect` makes them. Wrap a payload by hand only when it is made of a stored event's own.
    """

    def __init__(self, values: Mapping[str, Any], made: Collection[tuple[Path, Any]] = ()) -> None:
        super().__init__(values)
        self.made = frozenset(made)


def may_hold_personal(text: str) -> bool:
    """Whether a payload's canonical text can have a personal value at all: cheap, and never wrong when it says no."""
    return _HINT in text


def marked(value: Any, path: Path = ()) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every object within `value` that bears the mark, and where it stands."""
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
    """Whether the payload has a personal value."""
    return any(marked(payload))
