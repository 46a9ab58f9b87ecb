"""One link as a function has it: synchronous, and never in the way of another. Copies what it can, and leaves the rest
as pointers on the link's backlog. The long-running worker's Link does the same with threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from replicator.batches import Fits
from replicator.control import spans
from replicator.copier import Copier
from replicator.domain.event import Event
from replicator.domain.names import LaneId
from replicator.errors import RegionUnavailable
from replicator.metrics import Emit
from replicator.pointers import Spans, join
from replicator.queues import QueueBacklog

FUSE_SECONDS = 20.0
"""A peer that did not answer is left alone for so long: its events go straight to the backlog, which tries it again."""
_SLICE = 50


@dataclass(slots=True)
class Courier:
    """Copies to one peer. `wall` is in milliseconds since the epoch, `monotonic` in seconds."""

    name: str
    region: str
    copier: Copier
    backlog: QueueBacklog
    emit: Emit
    wall: Callable[[], int]
    monotonic: Callable[[], float] = time.monotonic
    _blown: float | None = None
    _copying: threading.Lock = field(default_factory=threading.Lock)

    def deliver(self, events: Sequence[Event]) -> list[Event]:
        """Copy these events or put pointers to them on the backlog. Returns those of which neither could be done."""
        if not events:
            return []
        before = self.copier.state.copied, self.copier.state.known
        left = self._copy(events)
        lost = self._defer(left)
        lag = max(0, self.wall() - self._oldest(events))
        self._report(ReplicationLag=lag, EventsCopied=self.copier.state.copied - before[0],
                     EventsKnown=self.copier.state.known - before[1], EventsDeferred=len(left))  # fmt: skip
        return lost

    def overtake(self, events: Sequence[Event]) -> list[Event]:
        """Others have long delivered: leave these events to the backlog, and the peer alone for a while. The delivery that
        hangs may end as it likes; copying twice adds nothing. Returns those that could not be deferred."""
        self._down("slower than the others by far")
        return self._defer(events)

    def _copy(self, events: Sequence[Event]) -> list[Event]:
        if self._blown is not None and self.monotonic() - self._blown < FUSE_SECONDS:
            return list(events)
        if not self._copying.acquire(blocking=False):  # an earlier batch hangs in there yet
            return list(events)
        try:
            self.copier.look_again()  # nobody restarts a function after a lane has been mended
            left = self.copier.copy(events)
        except RegionUnavailable as error:
            self._down(str(error))
            return list(events)
        except Exception as error:  # whatever it is (no table there yet, no right to write), it concerns this link alone
            structlog.get_logger().exception("link.failed", link=self.name)
            self._down(f"{type(error).__name__}: {error}")
            return list(events)
        finally:
            self._copying.release()
        self._blown = None
        return left

    def _defer(self, events: Sequence[Event]) -> list[Event]:
        """Put pointers to these on the backlog. Returns them when it takes nothing."""
        if events:
            try:
                self.backlog.defer(spans(events), self._oldest(events))
            except RegionUnavailable as error:
                structlog.get_logger().error("backlog.unavailable", link=self.name, error=str(error))
                return list(events)
        return []

    def _down(self, why: str) -> None:
        self._blown = self.monotonic()
        structlog.get_logger().warning("link.down", link=self.name, error=why)

    def catch_up(self, waiting: Sequence[tuple[Spans, int, int]], fits: Fits) -> None:
        """Bring whole lanes over, from (spans, since, tries) of some messages; what cannot be done now is deferred anew.

        Returns when all of it is either in the peer or on the backlog again. Raises RegionUnavailable when the backlog
        takes nothing: the messages that brought it are then to be kept.
        """
        lanes = join(part for part, _, _ in waiting)
        since = min(since for _, since, _ in waiting)
        tries = max(tries for _, _, tries in waiting)
        names = sorted(lanes, key=lambda lane: lane.key)
        self.copier.look_again()
        before = self.copier.state.copied
        failed: list[LaneId] = []
        rest: list[LaneId] = []
        for start in range(0, len(names), _SLICE):
            part = names[start : start + _SLICE]
            if start and not fits():  # the first slice always has its turn: a short time limit is no reason to stand still
                rest += names[start:]
                break
            try:
                failed += self.copier.catch_up(part)
            except RegionUnavailable as error:
                self._down(str(error))
                failed += names[start:]
                break
            except Exception as error:
                structlog.get_logger().exception("link.failed", link=self.name)
                self._down(f"{type(error).__name__}: {error}")
                failed += names[start:]
                break
        if failed:
            self.backlog.defer({lane: lanes[lane] for lane in failed}, since, tries + 1)
        if rest:
            self.backlog.defer({lane: lanes[lane] for lane in rest}, since, tries)
        age = max(0, self.wall() - since) if failed or rest else 0
        self._report(BacklogAge=age / 1000, ReplicationLag=age, EventsCopied=self.copier.state.copied - before)

    def _oldest(self, events: Sequence[Event]) -> int:
        return min(event.hlc.ms for event in events)

    def _report(self, **values: float) -> None:
        self.emit({"region": self.region, "link": self.name}, values)
