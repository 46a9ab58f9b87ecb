"""Driver of the projector by a long-running process, as in `projectors run`: it reads the own region's stream and folds
every event, from whatever region, into views."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog

from projectors.run.projector import Projector
from replicator.domain.errors import RegionUnavailable
from replicator.replication.batch_reader import Batch, BatchReader
from replicator.runtime.retries import full_jitter

READER = "projector"


class ProjectorWorker:
    """Drives the projector of one region in a process."""

    def __init__(self, reader: BatchReader, projector: Projector, poll_interval: float) -> None:
        self._reader = reader
        self._projector = projector
        self._poll_interval = poll_interval
        self._pending: list[Batch] = []
        self._failures = 0
        self._log = structlog.get_logger().bind(region=projector.region)

    def run(self, stop: threading.Event) -> None:
        """Project until `stop` is set. Outages of the region are waited out; nothing else ends it."""
        self._log.info("projector.started")
        with self._reader.session():
            while not stop.is_set():
                if rest := self.turn():
                    stop.wait(rest)
        self._log.info("projector.stopped")

    def turn(self) -> float:
        """Project what is new, and return the seconds to rest before the next turn. For `run`, or for a scheduler in its
        place."""
        try:
            self._projector.look()
            self._pending = self._pending or self._reader.poll()
            busy = bool(self._pending)
            self._project(self._pending)
            self._pending = []  # done, whatever becomes of the backlogs
            more = self._projector.step()  # a part of each backlog: the stream has its turn in between
        except RegionUnavailable as error:
            self._failures += 1
            self._log.warning("projector.waits", error=str(error))
            return full_jitter(self._failures)
        self._failures = 0
        return 0.0 if busy or more else self._poll_interval

    def _project(self, batches: Sequence[Batch]) -> None:
        """Fold these batches, then checkpoint them: killed in between, they come again and are skipped by vector."""
        if any(batch.trimmed for batch in batches):
            self._projector.reconcile()
        records = [record for batch in batches for record in batch.records]
        if records and (lost := self._projector.project(records)):
            raise RegionUnavailable(f"{len(lost)} events can be neither folded nor put on a backlog")
        for batch in batches:
            self._reader.commit(batch)
