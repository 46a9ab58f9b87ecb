"""State of a link, shared by the copier and its observers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class LinkState:
    """Counters of a link since it started: for logs, status and tests."""

    copied: int = 0
    known: int = 0
    deferred: int = 0
    quarantined: int = 0
    up: bool = True
