"""Observer of a run's progress."""

from __future__ import annotations

from typing import Protocol


class Watcher(Protocol):
    """Watcher that draws progress bars on a terminal, or keeps what it receives."""

    def phase(self, name: str, total: int) -> None: ...

    def progress(self, done: int) -> None: ...

    def say(self, text: str) -> None: ...
