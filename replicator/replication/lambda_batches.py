"""Lambda's batch formats: stream records and queue messages in, partial batch responses out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from replicator.control.pointers import InvalidPointers, Pointers
from replicator.domain.event import Event
from replicator.domain.names import sequence_key
from replicator.replication.stream_records import key, position
from replicator.runtime.settings import Settings

Message = Mapping[str, Any]
"""Record of a batch, as Lambda delivers it."""
Answer = dict[str, list[dict[str, str]]]


class BatchFailed(Exception):
    """A stream batch must be delivered again from its beginning."""


def item_failures(identifiers: Sequence[str]) -> Answer:
    """Return the response that makes Lambda keep these messages, or return to this record. Empty: all is processed."""
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}


def stream_answer(records: Sequence[Message], lost: Sequence[Event], partial: bool) -> Answer:
    """Return the response for a stream batch of which `lost` could not be processed: Lambda resumes at the first of them.

    Raises BatchFailed instead when the first record is among them, when `partial` responses are not supported, or when a
    lost event cannot be found among the records: an empty list would mean success.
    """
    if not lost:
        return item_failures([])
    wanted = {(event.lane.key, sequence_key(event.sequence)) for event in lost}
    first = 0
    for index, record in enumerate(records):
        if key(record) in wanted:
            first = index
            break
    reason = f"{len(wanted)} events could neither be processed nor put on a backlog"
    return answer_from(first, [position(record) for record in records], partial, reason)


def answer_from(first: int, positions: Sequence[str], partial: bool, reason: str) -> Answer:
    """Return the response that makes Lambda resume a stream batch at index `first`, given all sequence numbers.

    Raises BatchFailed instead when that is the first record, or has no sequence number.
    """
    if first and partial and positions[first]:
        return item_failures([positions[first]])
    raise BatchFailed(f"{reason}; the batch must be delivered again")


def partial_batches(settings: Settings) -> bool:
    """Return whether the event source mapping supports partial failures of stream batches. ministack does for queues
    only."""
    return not settings.endpoints


def read_messages(
    messages: Sequence[Message], links: Mapping[str, Any]
) -> tuple[dict[str, list[tuple[str, Pointers]]], list[str]]:
    """Return messages by link, as (id, pointers), and the ids of those that are not pointers of any of these links."""
    found: dict[str, list[tuple[str, Pointers]]] = {}
    failed: list[str] = []
    for message in messages:
        try:
            pointers = Pointers.parse(message["body"])
            if pointers.link not in links:
                raise InvalidPointers(f"link {pointers.link} is not one of {', '.join(sorted(links))}")
        except InvalidPointers as error:
            structlog.get_logger().error("backlog.message_refused", message_id=message["messageId"], error=str(error))
            failed.append(message["messageId"])
        else:
            found.setdefault(pointers.link, []).append((message["messageId"], pointers))
    return found, failed
