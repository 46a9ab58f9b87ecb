"""Consumer library: delivers external events from the Kinesis stream to a handler, without duplicates and in lane order.

The guarantee: the handler is called at least once for every external event that the stream still holds, in lane order.
While the consumer runs it is called once each; an event comes again only if the consumer is killed, or its marks cannot be
saved, between the handler's return and the save of the mark. Marks are saved before the checkpoint, so nothing is skipped.
With marks that the handler's own transaction stores (see Marks), each event has its effect exactly once.
"""

from __future__ import annotations

import threading
from base64 import b64decode
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from replicator.domain.errors import InvalidEvent, RegionUnavailable
from replicator.external.external_event import ExternalEvent
from replicator.external.marks import Deduplicator
from replicator.replication.batch_reader import Batch, BatchReader
from replicator.runtime.retries import full_jitter

Handler = Callable[[ExternalEvent], None]
NotOurs = Callable[[str, InvalidEvent], None]
"""Callback for a record that is not an external event: its sequence number and the error."""

log = structlog.get_logger()


def log_not_ours(position: str, error: InvalidEvent) -> None:
    """Log a record that is not an external event. Meridian writes none; raise instead to stop before it."""
    log.error("consumer.not_an_external_event", record=position, error=str(error))


class ExternalConsumer:
    """Calls `handler` for every external event. One consumer reads all shards; run one of each name at a time.

    An exception of `handler` ends `run`; the next run begins with the same event.
    """

    def __init__(
        self, reader: BatchReader, handler: Handler, deduplicator: Deduplicator, *, not_ours: NotOurs = log_not_ours,
        poll_interval: float = 0.25,
    ) -> None:  # fmt: skip
        self._reader = reader
        self._handler = handler
        self._marks = deduplicator
        self._not_ours = not_ours
        self._poll_interval = poll_interval
        self._pending: deque[Batch] = deque()

    def run(self, stop: threading.Event) -> None:
        """Consume until `stop` is set. Outages are waited out; only an exception of the handler ends it."""
        failures = 0
        while not stop.is_set():
            try:
                busy = self.step()
            except RegionUnavailable as error:
                failures += 1
                log.warning("consumer.waits", error=str(error))
                stop.wait(full_jitter(failures))
                continue
            failures = 0
            if not busy:
                stop.wait(self._poll_interval)

    def step(self) -> bool:
        """Handle new records. Returns whether there were any. Raises what the handler raises, or RegionUnavailable."""
        if not self._pending:
            self._pending.extend(self._reader.poll())
        busy = bool(self._pending)
        while self._pending:
            try:
                for record in self._pending[0].records:
                    self._handle(record)
            finally:
                self._marks.save()
            self._reader.commit(self._pending[0])
            self._pending.popleft()
        return busy

    def _handle(self, record: Mapping[str, Any]) -> None:
        try:
            event = ExternalEvent.parse(record["Data"])
        except InvalidEvent as error:
            self._not_ours(str(record.get("SequenceNumber", "")), error)
            return
        if self._marks.is_new(event):
            self._handler(event)
            self._marks.done(event)


def from_lambda(record: Mapping[str, Any]) -> ExternalEvent:
    """Parse the external event in a record of a Kinesis stream as Lambda delivers it. Raises InvalidEvent."""
    try:
        data = b64decode(record["kinesis"]["data"], validate=True)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidEvent(f"record without readable data: {type(error).__name__}") from None
    return ExternalEvent.parse(data)
