"""A desk: the client that reports one airport's flights, in its home region or, while that is out, in another.

It does what a careful application does. An append whose outcome is unknown is kept and settled when the region answers
again; it is never repeated elsewhere, which could double it. What the desk has observed goes with it from region to
region, so its later events sort after its earlier ones.

Where its home region has lost its data and was brought up again, the desk is told what of it survived. An append of
unknown outcome is settled by that, event by event: a transaction reaches the peers lane by lane, so of one that died with
its region some events may have survived and others not. `resolve` answers for all of them at once and would say no. What
had been acknowledged and is gone is not reported again (docs/drills.md says why); the desk forgets that it saw it.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog

from chaos.drills.flights import Report
from chaos.drills.history import History
from replicator.appending import Write
from replicator.domain.event import Event, Observed
from replicator.domain.names import LaneId, StreamId
from replicator.errors import AppendContention, OutcomeUnknown, RegionUnavailable
from replicator.storage import MAX_EVENTS
from replicator.store import EventStore

log = structlog.get_logger()

_LONGEST_REST = 0.5
"""A desk that is to take its time writes a little so often, not much now and then. Single reports may take longer."""
GATES = (0.4, 0.15)
"""The parts of a desk's reports that wait until writers have moved, and until they come home."""


@dataclass(frozen=True, slots=True)
class _Unsure:
    """An append without an answer."""

    region: str
    reports: Sequence[Report]
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class _Order:
    """Where to append from now on, and, where that region had lost its data, the digests of what survived of its lanes."""

    region: str
    survived: Collection[bytes] | None = None


class Desk:
    """Appends its reports in a thread of its own. `pause` is how many seconds to take over each report, at least."""

    def __init__(
        self,
        airport: str,
        home: str,
        stores: Mapping[str, EventStore],
        reports: Sequence[Report],
        history: History,
        seed: str,
        pause: float = 0.0,
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
        self._pause = self._shortest_pause = pause
        self._observed: dict[StreamId, Observed] = {}
        self._unsure: list[_Unsure] = []
        self._held: list[Report] = []
        self._order: _Order | None = None
        self._total = len(reports)
        self._gates_open = 0
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

    @property
    def before_gate(self) -> int:
        """How much it has to report before the next gate opens."""
        return max(0, len(self._todo) - self._behind_gate)

    @property
    def at_gate(self) -> bool:
        """It has nothing to report before the next gate opens."""
        return self.done or not self.before_gate

    def slow_down(self, seconds: float) -> None:
        """Let what it has before its next gate last for so many seconds from now on, at least."""
        with self._changed:
            left = self.before_gate
            self._pause = max(self._shortest_pause, seconds / left if left else 0.0)
            self._changed.notify_all()

    def open_gates(self, count: int) -> None:
        """Let the desk through so many gates: what waits behind them (GATES) is there to be reported in the outage and in
        the fail-back, however quick the desk is."""
        self._gates_open = max(self._gates_open, count)

    @property
    def _behind_gate(self) -> int:
        return int(self._total * GATES[self._gates_open]) if self._gates_open < len(GATES) else 0

    def move(self, region: str, survived: Collection[bytes] | None = None) -> None:
        """Tell the desk where to append from now on (what traffic steering does). It takes effect with the next batch.

        `survived` are the digests of what survived of that region's lanes, where it had lost its data.
        """
        with self._changed:
            self._order = _Order(region, survived)
            self._changed.notify_all()

    def unsure(self, region: str) -> list[Event]:
        """The events that the desk sent to `region` and does not know the fate of. For a region it has left."""
        return [event for each in list(self._unsure) if each.region == region for event in each.events]

    def _run(self) -> None:
        try:
            while not self._stop.is_set() and (self._todo or self._unsure or self._held):
                self._follow_order()
                if (found := self._answerable()) is not None:
                    self._settle(found)
                elif self._todo and len(self._todo) <= self._behind_gate:
                    self._stop.wait(0.02)
                elif self._todo:
                    batch = self._next_batch()
                    self._append(batch)
                    self._take_time(len(batch))
                elif self._unsure:
                    self._wait_for_order()
                else:
                    self._todo.extend(self._held)
                    self._held = []
        except BaseException as error:
            self.error = error

    def _follow_order(self) -> None:
        with self._changed:
            order, self._order = self._order, None
        if order is not None:
            if order.survived is not None:
                self._take_stock(order.region, order.survived)
            self.region = order.region

    def _answerable(self) -> _Unsure | None:
        """An append whose region can be asked what became of it: not home while the desk is away from it."""
        return next((each for each in self._unsure if each.region == self.region or each.region != self.home), None)

    def _wait_for_order(self) -> None:
        """Nothing can be done where the desk is: wait to be told to go elsewhere."""
        self._rest(1.0)

    def _rest(self, seconds: float) -> None:
        """Wait so long, or until there is something new."""
        with self._changed:
            self._changed.wait_for(lambda: self._order is not None or self._stop.is_set(), timeout=seconds)

    def _take_time(self, reports: int) -> None:
        """Rest as long as so many reports are to take, or until that changes, or there is something new."""
        with self._changed:
            pause = self._pause
            self._changed.wait_for(
                lambda: self._order is not None or self._stop.is_set() or self._pause != pause, timeout=pause * reports
            )

    def _next_batch(self) -> list[Report]:
        """Some reports for one transaction. An arrival waits while nobody knows whether its departure was written."""
        ready = max(1, len(self._todo) - self._behind_gate)
        size = min(self._random.randint(20, 100), MAX_EVENTS, ready)
        if (pause := self._pause) * size > _LONGEST_REST:
            size = max(1, int(_LONGEST_REST / pause))
        unknown = {report.row for each in self._unsure for report in each.reports}
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
            self._unsure.append(_Unsure(self.region, ordered, error.events))
            self._wait_for_order()
        except (RegionUnavailable, AppendContention) as error:
            log.warning("desk.refused", airport=self.airport, region=self.region, error=str(error))
            self._todo.extendleft(reversed(batch))
            self._wait_for_order()
        else:
            self._acknowledged(ordered, events)

    def _settle(self, unsure: _Unsure) -> None:
        """The region can be asked: find out what became of an append that it never answered."""
        try:
            written = self._stores[unsure.region].resolve(unsure.events)
        except (OutcomeUnknown, RegionUnavailable):
            self._wait_for_order()
            return
        self._settled(unsure, unsure.events if written else ())

    def _take_stock(self, region: str, survived: Collection[bytes]) -> None:
        """The region had lost its data: settle every append by what survived, and forget what is gone."""
        for unsure in [each for each in self._unsure if each.region == region]:
            self._settled(unsure, [event for event in unsure.events if event.digest in survived])
        heads = self._history.heads()
        for stream, seen in self._observed.items():
            last = heads.get(LaneId(region, stream).key, 0)
            self._observed[stream] = Observed(seen.vector.capped(region, last), seen.hlc)

    def _settled(self, unsure: _Unsure, written: Collection[Event]) -> None:
        """These of its events are written; the other reports are to be made again."""
        self._unsure.remove(unsure)
        pairs = list(zip(unsure.reports, unsure.events, strict=True))
        there = [(report, event) for report, event in pairs if event in written]
        self._history.settled(len(there), True)
        self._history.settled(len(pairs) - len(there), False)
        if there:
            self._acknowledged([report for report, _ in there], [event for _, event in there])
        self._todo.extendleft(report for report, event in reversed(pairs) if event not in written)

    def _acknowledged(self, reports: Sequence[Report], events: Sequence[Event]) -> None:
        self._history.ok(reports, events)
        if self.region != self.home and self.moved_at is None:
            self.moved_at = time.monotonic()
        for event in events:
            seen = self._observed.get(event.stream, Observed())
            self._observed[event.stream] = Observed(
                seen.vector.advance(event.region, event.sequence), max(seen.hlc, event.hlc)
            )
