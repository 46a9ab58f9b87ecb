"""Functions of a region in place of its workers: sandboxes that the service starts, feeds and ends as it likes.

An event source mapping hands a shard's records to any sandbox, in order for each item key: with a parallelization factor the
events of a lane go to concurrent batches. A batch that fails comes again, halved; one that is too old goes to the queue of
failed batches. Sandboxes remember what they like and are recycled; mapping and queues belong to the service and stay.
Source: AWS, "Lambda parameters for Amazon DynamoDB event source mappings" and "Using Lambda with Amazon SQS" (developer
guide).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from zlib import crc32

from chaos.simulator.crash_points import Killed
from replicator.aws.redrive import Redrive, reconcile
from replicator.aws.sqs import QueueBacklog
from replicator.domain.errors import RegionUnavailable
from replicator.replication.lambda_batches import Answer, BatchFailed, Message
from replicator.replication.stream_records import position

if TYPE_CHECKING:
    from chaos.simulator.simulated_region import Region, Regions
    from chaos.simulator.stream import Shard

S = TypeVar("S")

POLL_SECONDS = 0.25
PARALLELIZATION = 2
RECORD_AGE_SECONDS = 21_600.0
"""As Terraform sets it: records that are older are given up."""
_SANDBOXES = 3
_RECYCLED = 0.05
"""Probability that a sandbox is not used again after an invocation."""
_MESSAGES = 10
_FAILED = "failed-batches"

Records = Sequence[Message]


class SimulatedQueue:
    """SQS queue of a region: messages that are taken come back unless they are removed."""

    def __init__(self, world: Regions, there: Region, name: str) -> None:
        self.name = name
        self.messages: dict[str, tuple[float, str]] = {}
        self._world = world
        self._there = there
        self._numbers = count()
        self._chance = Random(f"{there.name} {name}")

    def send(self, text: str, delay: int = 0) -> None:
        """As Queue.send. Now and then the service does not answer."""
        self._there.answering()
        if self._chance.random() < self._world.options.unsent and not self._world.healing:
            raise RegionUnavailable(f"{self.name} does not answer")
        self._world.axe.swing(lambda: self.put(text, delay))

    def put(self, text: str, delay: int = 0) -> None:
        """Put a message on the queue, as the service does."""
        self.messages[f"m{next(self._numbers)}"] = self._world.now + delay, text

    def visible(self) -> list[Message]:
        """Return the messages of the next batch."""
        ready = [key for key, (at, _) in self.messages.items() if at <= self._world.now][:_MESSAGES]
        return [{"messageId": key, "body": self.messages[key][1]} for key in ready]

    def take(self) -> Iterator[tuple[str, str]]:
        """As Queue.take."""
        yield from [(message["body"], message["messageId"]) for message in self.visible()]

    def done(self, receipt: str) -> None:
        """As Queue.done."""
        self.messages.pop(receipt, None)


def queue_of(world: Regions, there: Region, name: str) -> SimulatedQueue:
    """Return the region's queue of this name."""
    if name not in there.queues:
        there.queues[name] = SimulatedQueue(world, there, name)
    queue: SimulatedQueue = there.queues[name]
    return queue


def backlog_of(world: Regions, there: Region, target: str, link: str = "") -> QueueBacklog:
    """Return the backlog of the region towards a target, as a function reaches it."""
    queue: Any = queue_of(world, there, f"backlog-{target}")
    return QueueBacklog(link or f"{there.name}>{target}", queue)


@dataclass(slots=True)
class Progress:
    """State of a mapping in a stream: how far each part of each shard is, and whether records were trimmed before that."""

    stream: str
    cursors: dict[tuple[str, int], int] = field(default_factory=dict)
    sizes: dict[tuple[str, int], int] = field(default_factory=dict)
    """Number of records of the next batch, where the last one failed."""
    done: set[str] = field(default_factory=set)
    """Shards that were read to their end."""
    lost: bool = False


class Sandboxes(Generic[S]):
    """Sandboxes of a function. `start` makes a cold one."""

    def __init__(self, start: Callable[[], S], chance: Random) -> None:
        self._start = start
        self._chance = chance
        self.all = [start() for _ in range(_SANDBOXES)]

    def invoke(self, call: Callable[[S], Answer]) -> Answer:
        """Call the function in any sandbox. One in which it is killed is not used again."""
        number = self._chance.randrange(len(self.all))
        try:
            answer = call(self.all[number])
        except Killed:
            self.all[number] = self._start()
            raise
        if self._chance.random() < _RECYCLED:
            self.all[number] = self._start()
        return answer


class StreamMapping:
    """Event source mapping of a region's stream, for one function. `turn` has the signature of a worker's."""

    def __init__(
        self, world: Regions, there: Region, reader: str, invoke: Callable[[Records], Answer], chance: Random
    ) -> None:
        self._world = world
        self._there = there
        self._reader = reader
        self._invoke = invoke
        self._chance = chance

    def turn(self) -> float:
        """Hand out a batch of each part of each shard. Returns the seconds to rest."""
        if not self._there.up:
            return POLL_SECONDS
        progress, busy = self.progress, False
        shards = self._there.stream.shards
        for shard in list(shards.values()):
            if shard.parent and shard.parent not in shards and shard.parent not in progress.done:
                progress.lost = True
                progress.done.add(shard.parent)
            if not self._ended(progress, shard.parent):
                continue
            parts = list(range(PARALLELIZATION))
            self._chance.shuffle(parts)
            for part in parts:
                busy = self._hand_out(progress, shard, part) or busy
        return 0.0 if busy else POLL_SECONDS

    @property
    def progress(self) -> Progress:
        """State of the mapping, which the service keeps. A new stream has a new mapping, and what a restored table holds was
        never in it."""
        arn = self._there.stream.arn
        found: Progress | None = self._there.mappings.get(self._reader)
        if found is None or found.stream != arn:
            found = self._there.mappings[self._reader] = Progress(arn, lost=self._there.generation > 1)
        return found

    def _ended(self, progress: Progress, name: str) -> bool:
        shard = self._there.stream.shards.get(name)
        if shard is None:
            return True
        cursors = [progress.cursors.get((name, part), 0) for part in range(PARALLELIZATION)]
        ended = shard.closed_at is not None and min(cursors) >= shard.end
        if ended:
            progress.done.add(name)
        return ended

    def _hand_out(self, progress: Progress, shard: Shard, part: int) -> bool:
        at = shard.name, part
        cursor = progress.cursors.get(at, 0)
        if cursor < shard.first:
            progress.lost, cursor = True, shard.first
        stream = self._there.stream
        ahead = shard.records[cursor - shard.first :]
        mine = [(number, record) for number, record in enumerate(ahead, cursor) if _part_of(record) == part]
        batch = mine[: progress.sizes.get(at, self._world.options.page)] if stream.disorder != "empty" else []
        if not batch:
            if not mine:
                progress.cursors[at] = shard.end
            return False
        numbers, records = [number for number, _ in batch], [record for _, record in batch]
        if self._world.now - _created(records[0]) > RECORD_AGE_SECONDS:
            self._give_up(shard, records)
            progress.cursors[at] = numbers[-1] + 1
            return True
        given = [*records, *records[:2]] if stream.disorder == "doubled" else records
        first = self._first_failure(given)
        if first:
            left = [number for number, record in batch if int(position(record)) >= int(first)]
            progress.cursors[at], progress.sizes[at] = left[0], max(1, len(batch) // 2)
            return left[0] > cursor
        progress.cursors[at] = numbers[-1] + 1
        progress.sizes.pop(at, None)
        return True

    def _first_failure(self, records: Records) -> str:
        """Invoke the function. Returns the position of the first record that has to come again, or an empty text."""
        try:
            failed = [each["itemIdentifier"] for each in self._invoke(records)["batchItemFailures"]]
        except (BatchFailed, RegionUnavailable):
            return position(records[0])
        except Killed:
            raise
        except Exception as error:
            self._world.unforeseen(error)
            return position(records[0])
        return min(failed, key=int, default="")

    def _give_up(self, shard: Shard, records: Records) -> None:
        """Send the batch's place in the stream to the queue of failed batches, as the service does."""
        function = f"arn:aws:lambda:{self._there.name}:123456789012:function:meridian-{self._reader}"
        body = {
            "requestContext": {"functionArn": function},
            "timestamp": datetime.fromtimestamp(self._world.now, UTC).isoformat(),
            "DDBStreamBatchInfo": {
                "streamArn": self._there.stream.arn,
                "shardId": shard.name,
                "startSequenceNumber": position(records[0]),
                "endSequenceNumber": position(records[-1]),
            },
        }
        queue_of(self._world, self._there, _FAILED).put(json.dumps(body))


class QueueMapping:
    """Event source mapping of a queue. `turn` has the signature of a link's."""

    def __init__(self, queue: SimulatedQueue, invoke: Callable[[Records], Answer], up: Callable[[], bool]) -> None:
        self._queue = queue
        self._invoke = invoke
        self._up = up

    def turn(self) -> float:
        """Hand out a batch of messages, and remove those that were dealt with. Returns the seconds to rest."""
        messages = self._queue.visible() if self._up() else []
        if not messages:
            return POLL_SECONDS
        kept = {each["itemIdentifier"] for each in self._invoke(messages)["batchItemFailures"]}
        for message in messages:
            if message["messageId"] not in kept:
                self._queue.done(message["messageId"])
        return 0.0 if len(kept) < len(messages) else POLL_SECONDS


def redrive_of(world: Regions, there: Region, home: Any, control: Any, targets: Sequence[str]) -> QueueMapping:
    """Return the mapping of the queue of failed batches, whose function puts their lanes on the backlogs."""
    backlogs = {target: backlog_of(world, there, target) for target in targets}
    queue, regions = queue_of(world, there, _FAILED), tuple(world.regions)
    function = Redrive(
        there.name, regions, home, control, there.stream, backlogs, queue.send, lambda: int(world.now * 1000)
    )  # fmt: skip
    return QueueMapping(queue, function.redrive, lambda: there.up)


def bring_what_was_lost(world: Regions, there: Region, home: Any, targets: Sequence[str]) -> None:
    """Compare every lane, as an operator does whom the age of the stream's iterators has woken."""
    lost = [progress for progress in there.mappings.values() if progress.lost]
    if lost:
        backlogs = {target: backlog_of(world, there, target) for target in targets}
        list(reconcile(home, there.name, backlogs, int(world.now * 1000)))
        for progress in lost:
            progress.lost = False


def _part_of(record: Message) -> int:
    keys = record["dynamodb"]["Keys"]
    return crc32(f"{keys['pk']['S']} {keys['sk']['S']}".encode()) % PARALLELIZATION


def _created(record: Message) -> float:
    return float(record["dynamodb"]["ApproximateCreationDateTime"])
