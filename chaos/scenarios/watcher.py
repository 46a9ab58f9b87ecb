"""Who is told how a run goes."""

from __future__ import annotations

from typing import Protocol


class Watcher(Protocol):
    """Draws progress bars on a terminal, or keeps what it is told."""

    def phase(self, name: str, total: int) -> None: ...

    def progress(self, done: int) -> None: ...

    def say(self, text: str) -> None: ...
