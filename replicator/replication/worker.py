"""Thread driver of links, used by `replicator run`: reads the own region's stream and hands every event of the own region
to every link.

Only events with the region's own prefix are sent, so copies never travel on and never loop. A batch is checkpointed once
every link has copied it or put it on its backlog; after a crash at any instant some records are delivered again.
"""

from __future__ import annotations

import math
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import takewhile
from types import MappingProxyType

import structlog

from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import Event
from replicator.domain.names import LaneId
from replicator.eventstore.storage import LaneStorage
from replicator.replication.batch_reader import Batch, BatchReader
from replicator.replication.link import Link
from replicator.replication.refusals import Refusals
from replicator.replication.stream_records import read_records, written
from replicator.runtime.retries import full_jitter

READER = "replicator"
_IDLE_SECONDS = 0.02

_Take = Callable[[Sequence[Event], int | None], Sequence[Event]]
"""Callable that takes events, and since when they have waited, and returns those that it could not take."""
Job = Callable[[threading.Event], None]
"""Callable that works until the event is set."""


class LinkThread:
    """Drives one link by its own thread, with a bounded queue in front of it. Delays no other link.

    The queue holds `max_queued` events and `max_bytes` of payloads and metadata; a larger batch is accepted when it is
    empty. `patience` is in seconds.
    """

    def __init__(
        self, link: Link, *, max_queued: int = 10_000, max_bytes: int = 64 * 1024 * 1024, patience: float = 2.0
    ) -> None:
        self.link = link
        self.name, self.state = link.name, link.state
        self._queue: queue.Queue[tuple[Sequence[Event], Callable[[], None], int | None]] = queue.Queue()
        self._queued = 0
        self._queued_bytes = 0
        self._max_queued, self._max_bytes = max_queued, max_bytes
        self._patience = patience
        self._room = threading.Condition()
        self._stop = threading.Event()  # `start` may replace it by its caller's
        self._log = structlog.get_logger().bind(link=self.name)
        self._thread = threading.Thread(target=self._run, name=f"link-{self.name}", daemon=True)

    def start(self, stop: threading.Event | None = None) -> None:
        """Begin copying. Once `stop` is set nothing waits any more, here or in `offer`."""
        self._stop = stop or self._stop
        self._thread.start()

    def stop(self, timeout: float = 30.0) -> None:
        """Finish the current batch and end the thread. Queued events are not checkpointed and are delivered again."""
        self._stop.set()
        self._tell()
        self._thread.join(timeout)
        self.link.copier.pool.shutdown(wait=False, cancel_futures=True)

    def offer(self, events: Sequence[Event], done: Callable[[], None], since: int | None = None) -> None:
        """Accept events to copy; `done` is called once they are copied or stored on the backlog. `since` as in
        `Link.deliver`.

        Returns at once unless the queue is full. Then it waits a bounded time, once, and uses the backlog until the
        queue has emptied: a slow peer costs the others `patience` seconds at most.
        """
        if not events:
            done()
            return
        with self._room:
            if self.link.admits:
                self._room.wait_for(lambda: self._fits(events) or not self.link.admits, self._patience)
            admits = self.link.admits
            if admits and self._fits(events):
                self._queued, self._queued_bytes = self._queued + len(events), self._queued_bytes + _bytes(events)
                self._queue.put((events, done, since))
                return
        overtake = partial(self.link.overtake, seconds=math.inf)
        self._hand(overtake if admits else self.link.defer, events, done, since)

    def _fits(self, events: Sequence[Event]) -> bool:
        fits = self._queued + len(events) <= self._max_queued and self._queued_bytes + _bytes(events) <= self._max_bytes
        return self._queued == 0 or fits

    def _hand(self, take: _Take, events: Sequence[Event], done: Callable[[], None], since: int | None) -> None:
        """Hand events to the link, repeatedly until they are copied or deferred. `done` is not called if stopped before
        that."""
        failures = 0
        while not self._stop.is_set():
            try:
                events = take(events, since)
            except Exception:  # unforeseen: accepted events must not be lost
                self._log.exception("link.failed")
            if not events:
                done()
                return
            failures += 1  # the own region is down: nothing else can proceed here either
            self._stop.wait(full_jitter(failures))
            take = self.link.defer

    def _run(self) -> None:
        while not self._stop.is_set():
            if rest := self.turn():
                self._stop.wait(rest)

    def turn(self) -> float:
        """Do the next piece of work, and return the seconds to rest before the next turn. Called by the link's own thread,
        or by a scheduler in its place."""
        failures, busy = self.link.failures, False
        try:
            busy = self._step()
        except RegionUnavailable as error:
            self.link.down(str(error))
        except Exception as error:
            # Unforeseen: log it and continue from the backlog. Ending the thread would end the link silently.
            self._log.exception("link.failed")
            self.link.down(f"{type(error).__name__}: {error}")
        if self.link.failures > failures:
            self._tell()
            return full_jitter(self.link.failures)
        return 0.0 if busy else _IDLE_SECONDS

    def _step(self) -> bool:
        """Copy one queued batch, or process a part of the backlog. Returns True when there was something to do."""
        self.link.look()
        try:
            events, done, since = self._queue.get_nowait()
        except queue.Empty:
            self.link.caught_up()
            return self.link.step()
        try:
            self._hand(self.link.deliver, events, done, since)
        finally:
            with self._room:
                self._queued, self._queued_bytes = self._queued - len(events), self._queued_bytes - _bytes(events)
                self._room.notify_all()
        return True

    def _tell(self) -> None:
        """Wake the callers that wait for room in the queue."""
        with self._room:
            self._room.notify_all()


@dataclass(slots=True)
class _Ticket:
    """A batch on its way through the links."""

    batch: Batch
    waiting: int
    lock: threading.Lock = field(default_factory=threading.Lock)

    def done(self) -> None:
        with self.lock:
            self.waiting -= 1


class Replicator:
    """Replicator of one region: one reader, one link per peer. `jobs` run beside them, each in a thread of that name."""

    def __init__(
        self, region: str, reader: BatchReader, home: LaneStorage, links: Sequence[LinkThread], refusals: Refusals,
        poll_interval: float, jobs: Mapping[str, Job] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.region = region
        self.links = tuple(links)
        self._reader = reader
        self._home = home
        self._refusals = refusals
        self._poll_interval = poll_interval
        self._jobs = jobs
        self._pending: deque[Batch] = deque()
        self._tickets: deque[_Ticket] = deque()
        self._failures = 0
        self._log = structlog.get_logger().bind(region=region)

    def run(self, stop: threading.Event) -> None:
        """Replicate until `stop` is set. Outages of the own region are waited out; nothing else ends it."""
        for link in self.links:
            link.start(stop)
        for name, job in self._jobs.items():
            threading.Thread(target=job, args=(stop,), name=name, daemon=True).start()
        self._log.info("replicator.started", peers=[link.name for link in self.links])
        with self._reader.session():
            try:
                while not stop.is_set():
                    if rest := self.turn():
                        stop.wait(rest)
            finally:
                for link in self.links:
                    link.stop()
                try:
                    self._commit()
                except RegionUnavailable as error:  # records without a checkpoint are delivered again
                    self._log.warning("replicator.not_checkpointed", error=str(error))
        self._log.info("replicator.stopped", links={link.name: link.state.copied for link in self.links})

    def turn(self) -> float:
        """Hand on new records, and return the seconds to rest before the next turn. Called by `run`, or by a scheduler in
        its place, which then drives the links, too."""
        try:
            busy = self._step()
        except RegionUnavailable as error:
            self._failures += 1
            self._log.warning("replicator.waits", error=str(error))
            return full_jitter(self._failures)
        self._failures = 0
        return 0.0 if busy else self._poll_interval

    def _step(self) -> bool:
        # The reader does not go back: its batches are kept here until they have been handed on.
        self._pending.extend(self._reader.poll() if not self._pending else ())
        busy = bool(self._pending)
        if any(batch.trimmed for batch in self._pending):  # once for all of them, as it concerns all lanes
            self._reconcile()
        while self._pending:
            batch = self._pending[0]
            events, refused = read_records(batch.records, self.region)
            self._refusals.refuse(refused)
            ticket = _Ticket(replace(batch, records=()), len(self.links))  # a waiting ticket must not keep the records alive
            self._tickets.append(ticket)
            since = written(batch.records, events)
            for link in self.links:
                link.offer(events, ticket.done, since)
            self._pending.popleft()
        self._commit()
        self._refusals.report()
        return busy

    def _commit(self) -> None:
        """Checkpoint the batches that all links have finished. Shards share one queue of batches, which keeps each in
        order."""
        finished: dict[tuple[str, str], Batch] = {}
        done = list(takewhile(lambda ticket: ticket.waiting == 0, self._tickets))
        for batch in (ticket.batch for ticket in done):
            shard = batch.stream, batch.shard
            before = finished.get(shard, batch)
            finished[shard] = replace(batch, trimmed=batch.trimmed or before.trimmed)
        for batch in finished.values():
            self._reader.commit(batch)
        for _ in done:  # a batch that could not be committed is committed the next time
            self._tickets.popleft()

    def _reconcile(self) -> None:
        """Records may have been lost from the stream: let every link compare every lane of this region with its peer."""
        lanes: dict[LaneId, tuple[int, int]] = {
            lane: (1, last) for lane, last in self._home.lanes() if lane.region == self.region
        }
        self._log.info("replicator.reconciles", lanes=len(lanes))
        for link in self.links:
            link.link.defer_lanes(lanes)


def _bytes(events: Sequence[Event]) -> int:
    return sum(len(event.payload_text) + len(event.metadata_text) for event in events)
