"""`replicator run`: reads the own region's stream and hands every event of the own region to every link.

It ships only events with its own prefix, so copies never travel on and never loop. A batch is checkpointed once every
link has copied it or put it on its backlog; being killed at any instant means that some records come again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

import structlog

from replicator.control import Backlog, Checkpoints, ControlStorage, DynamoControl, Quarantine
from replicator.domain.event import Event
from replicator.domain.names import LaneId
from replicator.dynamodb import DynamoStorage
from replicator.errors import RegionUnavailable
from replicator.fencing.adopting import ADOPT_SECONDS, Adopter
from replicator.link import Link
from replicator.peers import PeerTables
from replicator.records import read_records
from replicator.retries import full_jitter
from replicator.settings import Settings
from replicator.storage import LaneStorage
from replicator.streams import Batch, StreamReader

READER = "replicator"


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
    """The replicator of one region: one reader, one link per peer."""

    def __init__(
        self, region: str, reader: StreamReader, home: LaneStorage, links: Sequence[Link], quarantine: Quarantine,
        poll_interval: float, adopter: Adopter | None = None,
    ) -> None:  # fmt: skip
        self.region = region
        self.links = tuple(links)
        self._reader = reader
        self._home = home
        self._quarantine = quarantine
        self._poll_interval = poll_interval
        self._adopter = adopter
        self._pending: deque[Batch] = deque()
        self._tickets: deque[_Ticket] = deque()
        self._failures = 0
        self._log = structlog.get_logger().bind(region=region)

    @classmethod
    def connect(cls, settings: Settings) -> Replicator:
        """Wire the replicator of the settings' region. Peers need not be up; the own region must be."""
        control: ControlStorage = DynamoControl(settings)
        reader = StreamReader.connect(settings, Checkpoints(control, READER))
        home = DynamoStorage(settings)
        links = [
            Link(
                settings.region,
                peer,
                home,
                DynamoStorage(settings, peer),
                Backlog(control, f"{settings.region}>{peer}"),
                Quarantine(control, f"{settings.region}>{peer}"),
                PeerTables(control),
            )
            for peer in settings.peers
        ]
        own = Quarantine(control, settings.region)
        adopter = Adopter.connect(settings, home)
        return cls(settings.region, reader, home, links, own, settings.poll_interval, adopter)

    def run(self, stop: threading.Event) -> None:
        """Replicate until `stop` is set. The own region's outages are waited out; nothing else ends it."""
        for link in self.links:
            link.start(stop)
        if self._adopter is not None:
            threading.Thread(target=self._adopt, args=(self._adopter, stop), name="adopt", daemon=True).start()
        self._log.info("replicator.started", peers=[link.name for link in self.links])
        try:
            while not stop.is_set():
                if rest := self.turn():
                    stop.wait(rest)
        finally:
            for link in self.links:
                link.stop()
            try:
                self._commit()
            except RegionUnavailable as error:  # what is not checkpointed comes again
                self._log.warning("replicator.not_checkpointed", error=str(error))
            self._log.info("replicator.stopped", links={link.name: link.state.copied for link in self.links})

    def _adopt(self, adopter: Adopter, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                adopter.adopt()
            except RegionUnavailable as error:
                self._log.warning("fence.not_adopted", error=str(error))
            except Exception:  # unforeseen: ending the thread would end this in silence
                self._log.exception("fence.not_adopted")
            stop.wait(ADOPT_SECONDS)

    def turn(self) -> float:
        """Hand on what is new, and return how many seconds to rest before the next turn. For `run`, or for a scheduler in
        its place, which gives the links their turns, too."""
        try:
            busy = self._step()
        except RegionUnavailable as error:
            self._failures += 1
            self._log.warning("replicator.waits", error=str(error))
            return full_jitter(self._failures)
        self._failures = 0
        return 0.0 if busy else self._poll_interval

    def _step(self) -> bool:
        # The reader does not go back: what it gave is kept here until it has been handed on.
        self._pending.extend(self._reader.poll() if not self._pending else ())
        busy = bool(self._pending)
        if any(batch.trimmed for batch in self._pending):  # once for all of them, as it is about all lanes
            self._reconcile()
        while self._pending:
            batch = self._pending[0]
            events = self._own_events(batch)
            ticket = _Ticket(replace(batch, records=()), len(self.links))  # what waits must not keep the records alive
            self._tickets.append(ticket)
            for link in self.links:
                link.offer(events, ticket.done)
            self._pending.popleft()
        self._commit()
        return busy

    def _commit(self) -> None:
        """Checkpoint what all links are done with. Shards share one queue of batches, which keeps each in order."""
        finished: dict[tuple[str, str], Batch] = {}
        done = list(takewhile(lambda ticket: ticket.waiting == 0, self._tickets))
        for batch in (ticket.batch for ticket in done):
            shard = batch.stream, batch.shard
            before = finished.get(shard, batch)
            finished[shard] = replace(batch, trimmed=batch.trimmed or before.trimmed)
        for batch in finished.values():
            self._reader.commit(batch)
        for _ in done:  # what could not be noted is noted the next time
            self._tickets.popleft()

    def _reconcile(self) -> None:
        """The stream may have lost records: let every link compare every lane of this region with its peer."""
        lanes: dict[LaneId, tuple[int, int]] = {
            lane: (1, last) for lane, last in self._home.lanes() if lane.region == self.region
        }
        self._log.info("replicator.reconciles", lanes=len(lanes))
        for link in self.links:
            link.defer_lanes(lanes)

    def _own_events(self, batch: Batch) -> list[Event]:
        events, refused = read_records(batch.records, self.region)
        for each in refused:
            self._quarantine.add(each.item, each.reason)
            self._log.error("replicator.quarantined", item=each.item, reason=each.reason)
        return events
