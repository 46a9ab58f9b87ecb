"""What an operator does in a drill: run the replicator's runbooks, and steer the writers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol


class Runbook(Protocol):
    """One of replicator.runbooks."""

    def run(self, tell: Callable[[str], None]) -> Any: ...


class Writer(Protocol):
    """Somebody who writes at home, and goes where it is told."""

    home: str

    def move(self, region: str, survived: Collection[Any] | None = None) -> None:
        """Write there from now on. `survived` are the digests of what survived of that region's lanes, where it had lost
        its data."""


class WriterSteering:
    """Steering as a drill or a scenario has it: moves the writers that follow, and lets it look before they move.

    `leaving` and `returning` are called with the region each time, before any writer is told; the latter gives the digests
    of what survived of the region's lanes, or None where it lost nothing.
    """

    def __init__(
        self,
        writers: Sequence[Writer],
        leaving: Callable[[str], None],
        returning: Callable[[str], Collection[Any] | None],
    ) -> None:
        self._writers = tuple(writers)
        self._leaving = leaving
        self._returning = returning

    def plan(self, region: str, to: str | None) -> str:
        return f"{len(self._of(region))} writers of {region} will append in {to or region}"

    def away(self, region: str, to: str) -> str:
        self._leaving(region)
        for writer in self._of(region):
            writer.move(to)
        return f"{len(self._of(region))} writers of {region} append in {to} from now on"

    def back(self, region: str) -> str:
        survived = self._returning(region)
        for writer in self._of(region):
            writer.move(region, survived)
        return f"{len(self._of(region))} writers append in {region} again"

    def _of(self, region: str) -> list[Writer]:
        return [writer for writer in self._writers if writer.home == region]


class Running:
    """A runbook that runs in a thread of its own."""

    def __init__(self, book: Runbook, tell: Callable[[str], None]) -> None:
        self._book = book
        self._tell = tell
        self._summary: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="operator", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def summary(self) -> Any:
        """What it came to, once it is done. Raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._summary

    def _run(self) -> None:
        try:
            self._summary = self._book.run(self._tell)
        except BaseException as error:
            self._error = error
