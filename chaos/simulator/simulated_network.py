"""Simulated network: a request from one region to another may be refused, swallowed, slow or throttled on its way; and where
the way back is closed, it takes effect without an answer. Within a region, a single write may meet the same."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from replicator.domain.errors import RegionUnavailable

T = TypeVar("T")

HOLE_SECONDS = 1.0
SLOW_SECONDS = 0.3


class Way(StrEnum):
    """Fault of the way from one region to another."""

    REFUSED = "refused"
    HOLE = "hole"
    """Nothing ever comes back: a caller waits until it gives up."""
    SLOW = "slow"
    THROTTLED = "throttled"
    """Writes of some lanes are not accepted now."""

    @property
    def closed(self) -> bool:
        return self in (Way.REFUSED, Way.HOLE)


class Mishap(StrEnum):
    """Fault of one write of a client within its region."""

    NONE = "none"
    REFUSED = "refused"
    """It is not done, and the client gets an error."""
    ANSWER_LOST = "answer lost"
    """It is done, and the client gets no answer."""
    SENT_LOST = "sent lost"
    """It is not done, and the client gets no answer."""
    LATE = "late"
    """The client gives up; later it is done all the same."""
    KILLED_BEFORE = "killed before"
    KILLED_AFTER = "killed after"


class Unanswered(Exception):
    """Internal: a request took effect, and its answer was lost."""


class Network:
    """Ways between regions. `wait` lets time pass, in seconds."""

    def __init__(self, wait: Callable[[float], None]) -> None:
        self._wait = wait
        self.ways: dict[tuple[str, str], Way] = {}

    def cross(self, source: str, target: str, do: Callable[[], T]) -> T:
        """Call `do` in `target` for a caller in `source`. Raises RegionUnavailable when it was not done, Unanswered when it
        was."""
        if not self.ways or source == target:
            return do()
        there, back = self.ways.get((source, target)), self.ways.get((target, source))
        if there is not None and there.closed:
            self._wait(HOLE_SECONDS if there is Way.HOLE else 0.0)
            raise RegionUnavailable(f"{target} does not answer {source}")
        if there is Way.SLOW:
            self._wait(SLOW_SECONDS)
        done = do()
        if back is not None and back.closed:
            self._wait(HOLE_SECONDS)
            raise Unanswered
        return done

    def throttles(self, source: str, target: str) -> bool:
        return bool(self.ways) and self.ways.get((source, target)) is Way.THROTTLED
