"""One link: events of this region copied to one peer, in lane order, at the peer's own pace.

A link owns one thread. What it cannot copy now becomes pointers in its backlog, from which it is caught up by reading
the lanes. A link that is down, slow or throttled therefore holds up nobody else.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

from replicator.control import Backlog, Quarantine, spans
from replicator.copier import Copier
from replicator.domain.event import Event
from replicator.domain.names import LaneId
from replicator.errors import RegionUnavailable
from replicator.linkstate import LinkState
from replicator.peers import PeerTables
from replicator.retries import full_jitter
from replicator.storage import LaneStorage

_DRAIN_LANES = 50
_LOOK_SECONDS = 30.0
"""So often a link that has nothing to copy looks whether its peer's table is still the same."""


class Link:
    """Runs a Copier in a thread of its own, with a bounded queue in front of it and the backlog behind it.

    The queue takes `max_queued` events and `max_bytes` of payloads and metadata; one batch that is more than that it takes
    alone. `patience` is in seconds.
    """

    def __init__(
        self,
        source: str,
        target: str,
        home: LaneStorage,
        peer: LaneStorage,
        backlog: Backlog,
        quarantine: Quarantine,
        peers: PeerTables | None = None,
        *,
        max_queued: int = 10_000,
        max_bytes: int = 64 * 1024 * 1024,
        patience: float = 2.0,
        parallel: int = 4,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = f"{source}>{target}"
        self._source, self._target = source, target
        self._home = home
        self._peers = peers
        self.state = LinkState()
        self._log = structlog.get_logger().bind(region=source, link=self.name)
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix=f"link-{target}")
        self._copier = Copier(home, peer, quarantine, self._pool, self.state, self._log, monotonic)
        self._backlog = backlog
        self._queue: queue.Queue[tuple[Sequence[Event], Callable[[], None]]] = queue.Queue()
        self._queued = 0
        self._queued_bytes = 0
        self._max_queued, self._max_bytes = max_queued, max_bytes
        self._patience = patience
        self._room = threading.Condition()
        self._lagging = False
        self._waiting = True  # whether the backlog may hold something; unknown at the start
        self._cursor: LaneId | None = None
        self._failures = 0
        self._monotonic = monotonic
        self._looked = -math.inf
        self._stop = threading.Event()  # `start` may put its caller's in this place
        self._thread = threading.Thread(target=self._run, name=f"link-{self.name}", daemon=True)

    def start(self, stop: threading.Event | None = None) -> None:
        """Begin copying. Once `stop` is set nothing waits any more, here or in `offer`."""
        self._stop = stop or self._stop
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """Finish the batch at hand and end the thread. What is queued has not been checkpointed and comes again."""
        self._stop.set()
        with self._room:
            self._room.notify_all()
        self._thread.join(timeout)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def offer(self, events: Sequence[Event], done: Callable[[], None]) -> None:
        """Take events to copy; `done` is called once they are copied or safely in the backlog.

        Returns at once unless the queue is full. Then it waits a bounded time, once, and uses the backlog until the
        queue has emptied: a slow peer costs the others `patience` seconds at most.
        """
        if not events:
            done()
            return
        with self._room:
            if self.state.up and not self._lagging:
                self._room.wait_for(lambda: self._fits(events) or not self.state.up, self._patience)
            if self.state.up and not self._lagging and self._fits(events):
                self._queued, self._queued_bytes = self._queued + len(events), self._queued_bytes + _bytes(events)
                self._queue.put((events, done))
                return
            self._lagging = True
        if self._defer(events):
            done()

    def defer_lanes(self, lanes: dict[LaneId, tuple[int, int]]) -> None:
        """Put whole lanes on the backlog, to be compared with the peer: used when the stream may have lost records.

        Raises RegionUnavailable when the own region's control table cannot take them."""
        self._backlog.defer(lanes)
        self._waiting = True

    def _fits(self, events: Sequence[Event]) -> bool:
        fits = self._queued + len(events) <= self._max_queued and self._queued_bytes + _bytes(events) <= self._max_bytes
        return self._queued == 0 or fits

    def _defer(self, events: Sequence[Event]) -> bool:
        """Put pointers to these events on the backlog, for as long as it takes. False when stopped before that."""
        found, failures = spans(events), 0
        while not self._stop.is_set():
            try:
                self._backlog.defer(found)
            except RegionUnavailable as error:  # the own region is down: nothing else can go on here either
                self._log.warning("backlog.unavailable", error=str(error))
                failures += 1
                self._stop.wait(full_jitter(failures))
            else:
                self._waiting = True
                self.state.deferred += len(events)
                self._log.info("link.deferred", events=len(events), lanes=len(found))
                return True
        return False

    def _run(self) -> None:
        while not self._stop.is_set():
            if rest := self.turn():
                self._stop.wait(rest)

    def turn(self) -> float:
        """Do what is next, and return how many seconds to rest before the next turn. For the link's own thread, or for a
        scheduler in its place."""
        try:
            busy = self._step()
        except RegionUnavailable as error:
            self._failures += 1
            if self._failures == 1:
                self._log.warning("link.down", error=str(error))
            self._go(up=False)
            return full_jitter(self._failures)
        except Exception:
            # Unforeseen: say so and go on from the backlog. Ending the thread would end the link in silence.
            self._failures += 1
            self._log.exception("link.failed")
            self._go(up=False)
            return full_jitter(self._failures)
        if self.state.up and self._failures:
            self._log.info("link.up", after_failures=self._failures)
            self._failures = 0
        return 0.0 if busy else 0.02

    def _go(self, up: bool) -> None:
        with self._room:
            self.state.up = up
            self._room.notify_all()

    def _step(self) -> bool:
        """Copy one queued batch, or drain a part of the backlog. True when there was something to do."""
        self._meet()
        try:
            events, done = self._queue.get_nowait()
        except queue.Empty:
            self._lagging = False
            return self._drain() if self._waiting else self._look()
        try:
            self._copy_or_defer(events, done)
        finally:
            with self._room:
                self._queued, self._queued_bytes = self._queued - len(events), self._queued_bytes - _bytes(events)
                self._room.notify_all()
        return True

    def _look(self) -> bool:
        """Now and then, whether the peer's table is still the same. False: there is nothing to do."""
        now = self._monotonic()
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            with suppress(RegionUnavailable):  # nothing waits for it: it is no news that it is down
                self._copier.know_peer()
        return False

    def _meet(self) -> None:
        """Put all lanes on the backlog where the peer's table is another one than this region has copied to. In the link's
        own thread, as everything that takes pointers back."""
        table = self._copier.identity
        if self._peers is None or not table or not self._peers.replaced(self._target, table):
            return
        lanes = {lane: (1, last) for lane, last in self._home.lanes() if lane.region == self._source}
        self._log.warning("link.peer_replaced", lanes=len(lanes))
        self.defer_lanes(lanes)
        self._peers.keep(self._target, table)

    def _copy_or_defer(self, events: Sequence[Event], done: Callable[[], None]) -> None:
        left: Sequence[Event] = events
        try:
            if self.state.up:  # a link that is down is probed by draining, not with every batch
                kept = self._copier.copy(events)
                self._meet()  # what is said to be copied is in a table that is known
                left = kept
        finally:
            if not left or self._defer(left):
                done()

    def _drain(self) -> bool:
        self._waiting = False  # before looking: whoever defers from now on sets it again
        try:
            pointers = self._backlog.page(_DRAIN_LANES, after=self._cursor)
            wrapped, self._cursor = self._cursor is None, max(pointers, key=lambda lane: lane.key, default=None)
            if not pointers:
                self._waiting = self._waiting or not wrapped
                return False
            left = self._copier.catch_up(list(pointers))
            self._backlog.done({lane: value for lane, value in pointers.items() if lane not in left})
        except BaseException:
            self._waiting = True
            raise
        self._waiting = True
        self._go(up=True)
        return len(left) < len(pointers)


def _bytes(events: Sequence[Event]) -> int:
    return sum(len(event.payload_text) + len(event.metadata_text) for event in events)
