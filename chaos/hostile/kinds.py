"""Kinds of inputs and their expected outcomes. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

STORE, STREAM, LAMBDA, API = "store", "stream", "lambda", "api"
DOORS = (STORE, STREAM, LAMBDA, API)

REFUSED, QUARANTINED, HARMLESS = "refused", "quarantined", "harmless"
"""Outcomes: refused at the door with an error; listed in a region's quarantine; declared harmless, and there unchanged
everywhere."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way of being hostile, at one door.

    `expected` are the permitted outcomes; `promise` is the reason. `travels`: it is a valid event that a projection cannot
    digest, so it is copied unchanged and quarantined before the views.
    """

    name: str
    door: str
    expected: frozenset[str]
    promise: str
    travels: bool = False


@dataclass(frozen=True, slots=True)
class Hostile:
    """One hostile input: its place in the run, its kind, the region at whose door it is, and its content.

    `sent` depends on the door: (method, arguments), a DynamoDB item, a stream record, or a Request. `mark` is a text that
    appears in everything it names, and nowhere else.
    """

    number: int
    kind: Kind
    region: str
    mark: str
    sent: Any


@dataclass(frozen=True, slots=True)
class Became:
    """Outcome of one input: `how` is one of the words above, or "wrong". `said` is the error's text, abbreviated."""

    hostile: Hostile
    how: str
    said: str

    @property
    def right(self) -> bool:
        return self.how in self.hostile.kind.expected


def kind(name: str, door: str, expected: str | Iterable[str], promise: str, travels: bool = False) -> Kind:
    """Return a Kind with one expected outcome or several."""
    return Kind(name, door, frozenset([expected] if isinstance(expected, str) else expected), promise, travels)


def mark(number: int) -> str:
    """Return the mark of the input at this place of a run."""
    return f"h{number:06d}"
