"""What Lambda hands to a function and what it takes as an answer: batches of stream records and of queue messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from replicator.control.pointers import InvalidPointers, Pointers
from replicator.domain.event import Event
from replicator.domain.names import sequence_key
from replicator.replication.stream_records import key, position
from replicator.runtime.settings import Settings

Message = Mapping[str, Any]
"""A record of a batch, as Lambda hands it over."""
Answer = dict[str, list[dict[str, str]]]
Fits = Callable[[], bool]
"""Whether the invocation has time for another slice of work."""

_SPARE_MS = 20_000
"""What a function leaves of its time for handing back what it could not finish."""


class BatchFailed(Exception):
    """A stream batch is to be given again, from its beginning."""


def time_left(context: Any) -> Fits:
    """Whether an invocation's context says that there is time for another slice of work."""
    return lambda: bool(context.get_remaining_time_in_millis() > _SPARE_MS)


def item_failures(identifiers: Sequence[str]) -> Answer:
    """The answer that makes Lambda keep these messages, or go back to this record. Empty: all is dealt with."""
    return {"batchItemFailures": [{"itemIdentifier": identifier} for identifier in identifiers]}


def stream_answer(records: Sequence[Message], lost: Sequence[Event], partial: bool) -> Answer:
    """The answer for a stream batch of which `lost` could not be dealt with: Lambda gives it again from the first one.

    Raises BatchFailed instead when the first record is among them, when `partial` answers are not understood, or when a
    lost event cannot be found among the records: an empty list would mean that all is well.
    """
    if not lost:
        return item_failures([])
    wanted = {(event.lane.key, sequence_key(event.sequence)) for event in lost}
    first = 0
    for index, record in enumerate(records):
        if key(record) in wanted:
            first = index
            break
    reason = f"{len(wanted)} events could neither be dealt with nor put on a backlog"
    return answer_from(first, [position(record) for record in records], partial, reason)


def answer_from(first: int, positions: Sequence[str], partial: bool, reason: str) -> Answer:
    """The answer for a stream batch that is to come again from the record at index `first`, given all sequence numbers.

    Raises BatchFailed instead when that is the first record, or cannot be said.
    """
    if first and partial and positions[first]:
        return item_failures([positions[first]])
    raise BatchFailed(f"{reason}; the batch is to come again")


def partial_batches(settings: Settings) -> bool:
    """Whether the mapping understands that a part of a stream batch failed. ministack does so for queues only."""
    return not settings.endpoints


def read_messages(
    messages: Sequence[Message], links: Mapping[str, Any]
) -> tuple[dict[str, list[tuple[str, Pointers]]], list[str]]:
    """Messages by link, as (id, pointers), and the ids of those that are not pointers of any of these links."""
    found: dict[str, list[tuple[str, Pointers]]] = {}
    failed: list[str] = []
    for message in messages:
        try:
            pointers = Pointers.parse(message["body"])
            if pointers.link not in links:
                raise InvalidPointers(f"link {pointers.link} is none of {', '.join(sorted(links))}")
        except InvalidPointers as error:
            structlog.get_logger().error("backlog.message_refused", message_id=message["messageId"], error=str(error))
            failed.append(message["messageId"])
        else:
            found.setdefault(pointers.link, []).append((message["messageId"], pointers))
    return found, failed
