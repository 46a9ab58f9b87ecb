"""SQS queues of a region: a backlog for each link, dead letters, and stream batches that a mapping gave up."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from replicator.aws import clients
from replicator.control.backlog import NO_CAUSE, VIEWS, Part, merged
from replicator.control.pointers import InvalidPointers, Pointers, Spans
from replicator.domain.errors import InvalidConfig, RegionRefuses
from replicator.domain.names import LaneId
from replicator.runtime.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

LONG_POLL = 1
"""Seconds to wait for a message before a queue counts as empty. Without a wait, SQS queries only some of its servers."""
MAX_DELAY = 30
"""Maximum seconds between two attempts: the longest time that a backlog rests after its peer's return."""


class Queue:
    """Queue of the settings' region, under the name that Terraform gives it."""

    def __init__(self, settings: Settings, name: str) -> None:
        self._settings = settings
        self.name = f"{settings.prefix}-{name}"

    @cached_property
    def _client(self) -> SQSClient:
        """SQS client, created on first use: a function that copies needs none as long as its peers answer."""
        return clients.sqs(self._settings, self._settings.region)

    @cached_property
    def _url(self) -> str:
        try:
            return str(self._call(lambda: self._client.get_queue_url(QueueName=self.name))["QueueUrl"])
        except RegionRefuses as error:
            if error.code not in ("AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"):
                raise
            raise InvalidConfig(
                f"queue {self.name} does not exist in {self._settings.region}; run `terraform apply`, or correct --prefix "
                "and MERIDIAN_PEERS"
            ) from None

    def send(self, text: str, delay: int = 0) -> None:
        """Put one message on the queue. Raises RegionUnavailable; sending again is harmless."""
        url = self._url
        self._call(lambda: self._client.send_message(QueueUrl=url, MessageBody=text, DelaySeconds=delay))

    def take(self) -> Iterator[tuple[str, str]]:
        """Yield (text, receipt) of each message available now, once. Messages return to the queue unless `done` within its
        timeout; those that return meanwhile are left for the next call, so this ends whatever the timeout is."""
        url = self._url
        seen: set[str] = set()
        while True:
            answer: Any = self._call(
                lambda: self._client.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=LONG_POLL)
            )
            fresh = [message for message in answer.get("Messages", []) if message["MessageId"] not in seen]
            if not fresh:
                return
            seen.update(message["MessageId"] for message in fresh)
            yield from ((message["Body"], message["ReceiptHandle"]) for message in fresh)

    def depth(self) -> int:
        """Return the approximate number of messages on the queue, including delayed and in-flight ones."""
        url = self._url
        names: Any = [
            "ApproximateNumberOfMessages", "ApproximateNumberOfMessagesDelayed", "ApproximateNumberOfMessagesNotVisible"
        ]  # fmt: skip
        found = self._call(lambda: self._client.get_queue_attributes(QueueUrl=url, AttributeNames=names))
        return sum(int(found.get("Attributes", {}).get(name, 0)) for name in names)

    def done(self, receipt: str) -> None:
        """Remove a taken message. Repeating it is harmless; a message whose timeout has passed may come back."""
        url = self._url
        try:
            self._call(lambda: self._client.delete_message(QueueUrl=url, ReceiptHandle=receipt))
        except RegionRefuses as error:
            if error.code != "ReceiptHandleIsInvalid":
                raise

    def _call(self, operation: Any) -> Any:
        return clients.call(self._settings, self._settings.region, operation)


class QueueBacklog:
    """Backlog on an SQS queue. A failed pointer is sent as a new message, so it never expires."""

    mine = True
    """Any process takes parts: SQS hands out a message once."""

    def __init__(self, link: str, queue: Queue) -> None:
        self.link = link
        self._queue = queue
        self._taking: Iterator[tuple[str, str]] | None = None

    @classmethod
    def connect(cls, settings: Settings, target: str) -> QueueBacklog:
        """Return the backlog of the settings' region towards a peer, or towards VIEWS."""
        return cls(f"{settings.region}>{target}", Queue(settings, f"backlog-{target}"))

    def defer(self, lanes: Spans, since: int, tries: int = 0, cause: Mapping[str, str] = NO_CAUSE) -> None:
        """Implement Backlog.defer. After `tries` failures lanes rest up to MAX_DELAY seconds. A replayed dead letter that
        fails again becomes a dead letter again, with its `cause`."""
        delay = random.randint(1, min(MAX_DELAY, 2 ** min(tries, 10))) if tries else 0
        for part in Pointers(self.link, lanes, since, tries, cause).split():
            self._queue.send(str(part), delay)

    def take(self, limit: int) -> Part | None:
        """Return up to ten messages, however many lanes they name."""
        if self._taking is None:
            self._taking = self._queue.take()
        while messages := list(islice(self._taking, 10)):
            if part := part_of(self.link, messages):
                return part
        self._taking = None
        return None

    def done(self, part: Part, failed: Collection[LaneId] = (), rest: Collection[LaneId] = ()) -> None:
        for lanes, tries in ((failed, part.tries + 1), (rest, part.tries)):
            if first := {lane: part.lanes[lane] for lane in lanes if lane not in part.causes}:
                self.defer(first, part.since, tries)
            for lane in part.causes.keys() & set(lanes):
                self.defer({lane: part.lanes[lane]}, part.since, tries, part.causes[lane])
        for receipt in part.receipt or ():
            self._queue.done(receipt)


def part_of(link: str, messages: Iterable[tuple[str, str]]) -> Part | None:
    """Merge this link's pointers in (text, receipt) of messages into one part. Other messages are left to the dead
    letters."""
    found: list[tuple[Pointers, str]] = []
    for text, receipt in messages:
        with suppress(InvalidPointers):
            pointers = Pointers.parse(text)
            if pointers.link == link:
                found.append((pointers, receipt))
    return merged([each for each, _ in found], [receipt for _, receipt in found]) if found else None


def dead_letters(settings: Settings) -> Queue:
    """Return the dead letter queue: pointers that failed too often, and events that no projection accepts; they need an
    operator."""
    return Queue(settings, "dead-letters")


def replay(settings: Settings, letters: Queue) -> Iterator[tuple[str, Pointers | None]]:
    """Send every dead letter back to the backlog of its link. Yields each text with its pointers, or with None if it is not
    pointers: those stay."""
    links = {f"{settings.region}>{target}": target for target in (*settings.peers, VIEWS)}
    queues = {target: Queue(settings, f"backlog-{target}") for target in links.values()}
    for text, receipt in letters.take():
        try:
            pointers: Pointers | None = Pointers.parse(text)
        except ValueError:
            pointers = None
        way = ">".join(pointers.link.split(">")[:2]) if pointers else ""  # a secondary sink's link extends the views' link
        if pointers is None or way not in links or (way != pointers.link and links[way] != VIEWS):
            yield text, None
            continue
        QueueBacklog(pointers.link, queues[links[way]]).defer(pointers.lanes, pointers.since, cause=pointers.cause)
        letters.done(receipt)
        yield text, pointers
