"""A watcher for tests."""

from __future__ import annotations


class Quiet:
    """Keeps what it was told, and shows nothing."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def phase(self, name: str, total: int) -> None:
        self.told.append(name)

    def progress(self, done: int) -> None:
        pass

    def say(self, text: str) -> None:
        self.told.append(text)
