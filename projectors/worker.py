"""`projectors run`: reads the own region's stream and folds every event, from whatever region, into views."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog

from projectors.dynamodb import DynamoSink
from projectors.engine import Engine, Failure
from projectors.projection import Projection
from replicator.control import Checkpoints, DynamoControl, Quarantine
from replicator.domain.event import Event
from replicator.dynamodb import DynamoStorage
from replicator.errors import RegionUnavailable
from replicator.records import read_records
from replicator.retries import full_jitter
from replicator.settings import Settings
from replicator.store import EventStore
from replicator.streams import Batch, StreamReader

READER = "projector"


class Projector:
    """The projector of one region."""

    def __init__(
        self,
        region: str,
        reader: StreamReader,
        store: EventStore,
        engine: Engine,
        quarantine: Quarantine,
        poll_interval: float,
    ) -> None:
        self.region = region
        self._reader = reader
        self._store = store
        self._engine = engine
        self._quarantine = quarantine
        self._poll_interval = poll_interval
        self._log = structlog.get_logger().bind(region=region)

    @classmethod
    def connect(cls, settings: Settings, projections: Sequence[type[Projection]]) -> Projector:
        """Wire the projector of the settings' region."""
        control = DynamoControl(settings)
        reader = StreamReader.connect(settings, Checkpoints(control, READER))
        store = EventStore(DynamoStorage(settings), settings.region, settings.regions)
        engine = Engine(projections, store, DynamoSink(settings))
        return cls(
            settings.region, reader, store, engine, Quarantine(control, f"{settings.region}>views"), settings.poll_interval
        )

    def run(self, stop: threading.Event) -> None:
        """Project until `stop` is set. The region's outages are waited out; nothing else ends it."""
        self._log.info("projector.started")
        failures = 0
        pending: list[Batch] = []
        while not stop.is_set():
            try:
                pending = pending or self._reader.poll()
                self._project(pending)
            except RegionUnavailable as error:
                failures += 1
                self._log.warning("projector.waits", error=str(error))
                stop.wait(full_jitter(failures))
                continue
            failures = 0
            if not pending:
                stop.wait(self._poll_interval)
            pending = []
        self._log.info("projector.stopped")

    def _project(self, batches: Sequence[Batch]) -> None:
        """Fold these batches, then checkpoint them: killed in between, they come again and are skipped by vector."""
        if any(batch.trimmed for batch in batches):
            lanes = dict(self._store.lanes())
            self._log.info("projector.reconciles", lanes=len(lanes))
            self._report(self._engine.catch_up(lanes))
        self._report(self._engine.apply(self._events(batches)))
        for batch in batches:
            self._reader.commit(batch)

    def _events(self, batches: Sequence[Batch]) -> list[Event]:
        events, refused = read_records(record for batch in batches for record in batch.records)
        for each in refused:
            self._quarantine.add(each.item, each.reason)
            self._log.error("projector.quarantined", item=each.item, reason=each.reason)
        return events

    def _report(self, failures: Sequence[Failure]) -> None:
        for failure in failures:
            self._quarantine.add(f"{failure.projection} {failure.event_id}", failure.reason)
