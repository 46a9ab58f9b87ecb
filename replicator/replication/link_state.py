"""What a link has done: shared by whoever copies and whoever asks."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class LinkState:
    """What a link has done since it started: for logs, status and tests."""

    copied: int = 0
    known: int = 0
    deferred: int = 0
    quarantined: int = 0
    up: bool = True
