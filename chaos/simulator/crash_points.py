"""Crash points: kill a process in the middle of its work, before or after one of its next changes takes effect."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Killed(BaseException):
    """Kill of the process that raised it. Whatever the process still tries kills it again."""


class Axe:
    """Crash point of one step. `arm` sets it; `swing` does a change, or kills."""

    def __init__(self) -> None:
        self._left: int | None = None
        self._after = False
        self._dead = False

    def arm(self, changes: int, after: bool) -> None:
        """Kill at the change of this number, counted from 1."""
        self._left, self._after, self._dead = changes, after, False

    def rest(self) -> None:
        """Kill no process from now on."""
        self._left, self._dead = None, False

    def look(self) -> None:
        """Check that the process is alive before it reads something."""
        if self._dead:
            raise Killed

    def swing(self, change: Callable[[], T]) -> T:
        if self._left is None:
            return change()
        self.look()
        self._left -= 1
        if self._left == 0:
            self._dead = True
            if not self._after:
                raise Killed
        done = change()
        if self._dead:
            raise Killed
        return done
