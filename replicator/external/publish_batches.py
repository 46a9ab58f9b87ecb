"""Function driver of publishing: handles batches of the internal bus as a Kinesis event source mapping delivers them."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from replicator.domain.errors import RegionUnavailable
from replicator.external.bus import BusRecord, read_bus
from replicator.external.publisher import Publisher
from replicator.replication.lambda_batches import Answer, Message, answer_from, item_failures
from replicator.runtime.metrics import Emit
from replicator.runtime.time_left import Fits
from replicator.runtime.wall_clock import wall_clock

log = structlog.get_logger()


@dataclass(slots=True)
class PublishBatches:
    """Publishes one batch after the other. Keeps no state between invocations that must not be lost."""

    publisher: Publisher
    table: str
    emit: Emit
    partial: bool = True
    wall: Callable[[], int] = wall_clock
    _resumed: bool = False

    def publish(self, messages: Sequence[Message], fits: Fits) -> Answer:
        """Publish the events of the batch. The answer names the first record of the unfinished lanes. Raises BatchFailed or
        RegionUnavailable when the whole batch must be delivered again."""
        if not self._resumed:
            self._resume(fits)
        records = [from_message(message) for message in messages]
        found = read_bus(records, self.table, self.publisher.own)
        self.publisher.refuse(found.refused)
        before = self.publisher.published
        left = self.publisher.publish(found.events, found.targets, fits)
        values: dict[str, float] = {"EventsPublished": self.publisher.published - before}
        if found.since is not None:
            values["PublishLag"] = max(0, self.wall() - found.since)
        self.emit({"region": self.publisher.region}, values)
        if not left:
            return item_failures([])
        first = min(found.first[lane] for lane in left)
        reason = f"{len(left)} lanes could not be published to their end"
        return answer_from(first, [record.position for record in records], self.partial, reason)

    def _resume(self, fits: Fits) -> None:
        """Retry lanes that stopped before poison: a new version of the function may be the remedy."""
        try:
            left = self.publisher.publish((), self.publisher.stopped(), fits)
        except RegionUnavailable as error:  # its own batch reports it, if it persists
            log.warning("publisher.not_resumed", error=str(error))
        else:
            self._resumed = not left


def from_message(message: Mapping[str, Any]) -> BusRecord:
    """Parse a record of a Kinesis stream as Lambda delivers it. Unreadable data become empty data."""
    kinesis = message.get("kinesis")
    if not isinstance(kinesis, Mapping):
        return BusRecord("", b"")
    try:
        data = b64decode(kinesis.get("data", ""), validate=True)
    except (ValueError, TypeError):
        data = b""
    return BusRecord(str(kinesis.get("sequenceNumber", "")), data)
