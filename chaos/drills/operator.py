"""What an operator does in a drill: run the replicator's runbooks, and steer the desks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from chaos.drills.desk import Desk


class Runbook(Protocol):
    """One of replicator.runbooks."""

    def run(self, tell: Callable[[str], None]) -> Any: ...


class DeskSteering:
    """Steering as a drill has it: moves the desks that follow, and lets the drill look before they move.

    `leaving` and `returning` are called each time, before any desk is told; the latter gives the digests of what survived
    of the region's lanes, or None where it lost nothing.
    """

    def __init__(
        self,
        desks: Sequence[Desk],
        leaving: Callable[[], None],
        returning: Callable[[], Collection[bytes] | None],
    ) -> None:
        self._desks = tuple(desks)
        self._leaving = leaving
        self._returning = returning

    def plan(self, region: str, to: str | None) -> str:
        return f"{len(self._of(region))} desks of {region} will append in {to or region}"

    def away(self, region: str, to: str) -> str:
        self._leaving()
        for desk in self._of(region):
            desk.move(to)
        return f"{len(self._of(region))} desks of {region} append in {to} from now on"

    def back(self, region: str) -> str:
        survived = self._returning()
        for desk in self._of(region):
            desk.move(region, survived)
        return f"{len(self._of(region))} desks append in {region} again"

    def _of(self, region: str) -> list[Desk]:
        return [desk for desk in self._desks if desk.home == region]


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
