"""Thread driver of publishing, used by `replicator publish`: reads the internal bus and publishes declared events until
stopped.

Batches are checkpointed once all their events are published. While Kinesis refuses some lanes the others continue, for a
number of batches; after a crash at any instant some records are delivered again.
"""

from __future__ import annotations

import threading

import structlog

from replicator.domain.errors import RegionUnavailable
from replicator.domain.names import LaneId
from replicator.external.bus import BusRecord, read_bus
from replicator.external.publisher import Publisher
from replicator.replication.batch_reader import Batch, BatchReader
from replicator.runtime.retries import full_jitter

READER = "publisher"
_BATCHES_AHEAD = 20


class PublishWorker:
    """Publisher of one region as a long-running process."""

    def __init__(self, publisher: Publisher, reader: BatchReader, table: str, poll_interval: float) -> None:
        self.publisher = publisher
        self._reader = reader
        self._table = table
        self._poll_interval = poll_interval
        self._pending: list[Batch] = []
        self._unread: list[Batch] = []
        self._behind: dict[LaneId, int] = {}
        self._resumed = False
        self._log = structlog.get_logger().bind(region=publisher.region)

    def run(self, stop: threading.Event) -> None:
        """Publish until `stop` is set. Outages of the region are waited out; nothing else ends it."""
        self._log.info("publisher.started")
        failures = 0
        while not stop.is_set():
            try:
                busy = self.step()
            except RegionUnavailable as error:
                failures += 1
                self._log.warning("publisher.waits", error=str(error))
                stop.wait(full_jitter(failures))
                continue
            failures = failures + 1 if self._behind else 0
            if self._behind:
                stop.wait(full_jitter(failures))
            elif not busy:
                stop.wait(self._poll_interval)
        self._log.info("publisher.stopped", published=self.publisher.published)

    def step(self) -> bool:
        """Publish new events and those left behind. Returns whether there were any. Raises RegionUnavailable."""
        # The reader does not go back: its batches are kept here until they have been published.
        if not self._unread and len(self._pending) < _BATCHES_AHEAD:
            self._unread = self._reader.poll()
        if not self._resumed:
            self._behind |= self.publisher.stopped()
        if any(batch.trimmed for batch in self._unread):
            lanes = self.publisher.everything()
            self._log.info("publisher.reconciles", lanes=len(lanes))
            self._behind |= lanes
        records = [BusRecord(r["SequenceNumber"], r["Data"]) for batch in self._unread for r in batch.records]
        found = read_bus(records, self._table, self.publisher.own)
        self.publisher.refuse(found.refused)
        targets = {lane: max(last, found.targets.get(lane, 0)) for lane, last in self._behind.items()}
        busy = bool(self._unread or self._behind)
        self._behind = self.publisher.publish(found.events, found.targets | targets)
        self._resumed = True
        self._pending += self._unread
        self._unread = []
        if not self._behind:
            for batch in self._pending:
                self._reader.commit(batch)
            self._pending = []
        return busy
