"""A desk: the client that reports one airport's flights, in its home region or, while that is out, in another.

It does what a careful application does. An append whose outcome is unknown is kept and settled when the region answers
again; it is never repeated elsewhere, which could double it. What the desk has observed goes with it from region to
region, so its later events sort after its earlier ones.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import structlog

from chaos.flights import Report
from chaos.history import History
from replicator.appending import Write
from replicator.domain.event import Event, Observed
from replicator.domain.names import StreamId
from replicator.errors import AppendContention, OutcomeUnknown, RegionUnavailable
from replicator.store import EventStore

log = structlog.get_logger()


class Desk:
    """Appends its reports in a thread of its own."""

    def __init__(
        self,
        airport: str,
        home: str,
        stores: Mapping[str, EventStore],
        reports: Sequence[Report],
        history: History,
        seed: str,
        pause: Callable[[], float],
    ) -> None:
        self.airport = airport
        self.home = home
        self.region = home
        self.error: BaseException | None = None
        self.moved_at: float | None = None
        """When the first append after a failover was acknowledged, as time.monotonic()."""
        self._stores = stores
        self._todo = deque(reports)
        self._history = history
        self._random = random.Random(seed)
        self._pause = pause
        self._observed: dict[StreamId, Observed] = {}
        self._unsure: list[tuple[list[Report], Sequence[Event]]] = []
        self._held: list[Report] = []
        self._order: str | None = None
        self._gate = threading.Event()
        self._behind_gate = int(len(reports) * 0.4)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"desk-{airport}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        if self._thread.ident is not None:  # interrupted before it was started, there is nothing to wait for
            self._thread.join(timeout)

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def open_gate(self) -> None:
        """Let the desk report its last two fifths: until then they wait, so that an outage finds every desk at work."""
        self._gate.set()

    def move(self, region: str) -> None:
        """Tell the desk where to append from now on (what traffic steering does). It takes effect with the next batch."""
        with self._changed:
            self._order = region
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and (self._todo or self._unsure or self._held):
                self._follow_order()
                if self._unsure and self.region == self.home:
                    self._settle()
                elif not self._gate.is_set() and len(self._todo) <= self._behind_gate:
                    self._gate.wait(0.02)
                elif self._todo:
                    self._append(self._next_batch())
                    self._stop.wait(self._pause())
                elif self._unsure:
                    self._wait_for_order()
                else:
                    self._todo.extend(self._held)
                    self._held = []
        except BaseException as error:
            self.error = error

    def _follow_order(self) -> None:
        with self._changed:
            if self._order is not None:
                self.region, self._order = self._order, None

    def _wait_for_order(self) -> None:
        """Nothing can be done where the desk is: wait to be told to go elsewhere."""
        with self._changed:
            self._changed.wait_for(lambda: self._order is not None or self._stop.is_set(), timeout=1.0)

    def _next_batch(self) -> list[Report]:
        """Some reports for one transaction. An arrival waits while nobody knows whether its departure was written."""
        ready = len(self._todo) - (0 if self._gate.is_set() else self._behind_gate)
        size = min(self._random.randint(20, 100), ready)
        unknown = {report.row for reports, _ in self._unsure for report in reports}
        batch: list[Report] = []
        for _ in range(size):
            report = self._todo.popleft()
            (self._held if report.row in unknown else batch).append(report)
        return batch

    def _append(self, batch: list[Report]) -> None:
        writes: dict[StreamId, list[Report]] = {}
        for report in batch:
            writes.setdefault(report.stream, []).append(report)
        ordered = [report for reports in writes.values() for report in reports]
        if not ordered:
            return
        store = self._stores[self.region]
        try:
            events = store.append_all(
                [
                    Write(stream, tuple(r.event for r in reports), self._observed.get(stream, Observed()))
                    for stream, reports in writes.items()
                ]
            )
        except OutcomeUnknown as error:
            log.warning("desk.unknown", airport=self.airport, region=self.region, events=len(ordered))
            self._history.unsure(len(ordered))
            self._unsure.append((ordered, error.events))
            self._wait_for_order()
        except (RegionUnavailable, AppendContention) as error:
            log.warning("desk.refused", airport=self.airport, region=self.region, error=str(error))
            self._todo.extendleft(reversed(batch))
            self._wait_for_order()
        else:
            self._acknowledged(ordered, events)

    def _settle(self) -> None:
        """The home region is back: find out what became of the appends it never answered."""
        reports, events = self._unsure[0]
        try:
            written = self._stores[self.home].resolve(events)
        except (OutcomeUnknown, RegionUnavailable):
            self._wait_for_order()
            return
        del self._unsure[0]
        self._history.settled(len(reports), written)
        if written:
            self._acknowledged(reports, events)
        else:
            self._todo.extendleft(reversed(reports))

    def _acknowledged(self, reports: Sequence[Report], events: Sequence[Event]) -> None:
        self._history.ok(reports, events)
        if self.region != self.home and self.moved_at is None:
            self.moved_at = time.monotonic()
        for event in events:
            seen = self._observed.get(event.stream, Observed())
            self._observed[event.stream] = Observed(
                seen.vector.advance(event.region, event.sequence), max(seen.hlc, event.hlc)
            )
