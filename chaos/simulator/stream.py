"""Stream of a table as DynamoDB Streams gives it: shards that are split and rolled, records for 24 hours, iterators for 15
minutes. Pages may be empty, out of order, or hold a record twice."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any
from zlib import crc32

from botocore.exceptions import ClientError, EndpointConnectionError

from replicator.domain.event import Event
from replicator.domain.names import sequence_key
from replicator.eventstore.event_items import to_item

KEPT_SECONDS = 24 * 3600.0
ITERATOR_SECONDS = 15 * 60.0


class Image(dict[str, Any]):
    """Item of an event, which is built when it is first read."""

    __slots__ = ("event",)

    def __init__(self, event: Event) -> None:
        self.event = event

    def __bool__(self) -> bool:
        return True

    def __missing__(self, name: str) -> Any:
        self.update(to_item(self.event))
        return self.get(name)


@dataclass(slots=True)
class Shard:
    """One shard. `records` are what is left of it, behind `first` that were trimmed. `hashes` are the partition keys that it
    takes, as a range of their checksums."""

    name: str
    parent: str
    hashes: tuple[int, int]
    records: list[dict[str, Any]] = field(default_factory=list)
    first: int = 0
    closed_at: float | None = None

    @property
    def end(self) -> int:
        return self.first + len(self.records)


@dataclass(slots=True)
class TableStream:
    """Client of one table's stream. `up` returns whether the region answers; records are there for `kept` seconds."""

    arn: str
    now: Callable[[], float]
    up: Callable[[], bool]
    shards: dict[str, Shard] = field(default_factory=dict)
    disorder: str = ""
    """Disorder of the next pages: empty, shuffled or doubled; the empty text: none."""
    requests: int = 0
    kept: float = KEPT_SECONDS
    _open: list[Shard] = field(default_factory=list)
    _numbers: int = 0
    _names: int = 0

    def __post_init__(self) -> None:
        self._begin("", (0, 1 << 32))

    def _begin(self, parent: str, hashes: tuple[int, int]) -> None:
        self._names += 1
        shard = Shard(f"shard-{self._names:04d}", parent, hashes)
        self.shards[shard.name] = shard
        self._open.append(shard)

    def add(self, event: Event) -> None:
        """Record that an event was put into the table."""
        key = event.lane.key
        shard = self._open[0]
        if len(self._open) > 1:
            at = crc32(key.encode())
            shard = next(each for each in self._open if each.hashes[0] <= at < each.hashes[1])
        self._numbers += 1
        shard.records.append(
            {
                "eventName": "INSERT",
                "dynamodb": {
                    "Keys": {"pk": {"S": key}, "sk": {"S": sequence_key(event.sequence)}},
                    "NewImage": Image(event),
                    "SequenceNumber": f"{self._numbers:021d}",
                    "ApproximateCreationDateTime": self.now(),
                },
            }
        )

    def split(self, number: int, parts: int) -> str:
        """Close an open shard and begin `parts` children: one when it is only rolled."""
        shard = self._open.pop(number % len(self._open))
        shard.closed_at = self.now()
        low, high = shard.hashes
        edges = [low + (high - low) * part // parts for part in range(parts)] + [high]
        for part in range(parts):
            self._begin(shard.name, (edges[part], edges[part + 1]))
        return shard.name

    @contextmanager
    def disordered(self, disorder: str) -> Iterator[None]:
        """Give pages with this disorder while the context is open."""
        self.disorder = disorder
        try:
            yield
        finally:
            self.disorder = ""

    @property
    def width(self) -> int:
        """Number of open shards."""
        return len(self._open)

    def trim(self) -> None:
        """Drop records that are older than `kept`."""
        oldest = self.now() - self.kept
        for shard in list(self.shards.values()):
            gone = bisect_left(shard.records, oldest, key=_created)
            del shard.records[:gone]
            shard.first += gone
            if shard.closed_at is not None and shard.closed_at < oldest and not shard.records:
                del self.shards[shard.name]

    # -- called by DynamoStreamReader ---------------------------------------------------------------------------

    def describe_stream(self, StreamArn: str, ExclusiveStartShardId: str = "") -> dict[str, Any]:  # noqa: N803
        self._check(StreamArn, "DescribeStream")
        shards = [
            {"ShardId": shard.name, **({"ParentShardId": shard.parent} if shard.parent else {})}
            for shard in self.shards.values()
        ]
        return {**self._told(), "StreamDescription": {"Shards": shards}}

    def get_shard_iterator(
        self, StreamArn: str, ShardId: str, ShardIteratorType: str, SequenceNumber: str = ""  # noqa: N803
    ) -> dict[str, Any]:  # fmt: skip
        self._check(StreamArn, "GetShardIterator")
        shard = self.shards.get(ShardId)
        if shard is None:
            raise _error("ResourceNotFoundException", "GetShardIterator")
        if ShardIteratorType == "LATEST":
            return self._iterator(shard, shard.end)
        if ShardIteratorType == "TRIM_HORIZON":
            return self._iterator(shard, shard.first)
        at = bisect_left(shard.records, SequenceNumber, key=_number)
        if at == len(shard.records) or _number(shard.records[at]) != SequenceNumber:
            raise _error("TrimmedDataAccessException", "GetShardIterator")
        return self._iterator(shard, shard.first + at + (ShardIteratorType != "AT_SEQUENCE_NUMBER"))

    def get_records(self, ShardIterator: str, Limit: int = 1000) -> dict[str, Any]:  # noqa: N803
        arn, name, start, until = ShardIterator.split("|")
        self._check(arn, "GetRecords")
        if self.now() > float(until):
            raise _error("ExpiredIteratorException", "GetRecords")
        shard, at = self.shards.get(name), int(start)
        if shard is None:
            raise _error("ResourceNotFoundException", "GetRecords")
        if at < shard.first:
            raise _error("TrimmedDataAccessException", "GetRecords")
        end = at if self.disorder == "empty" else min(at + Limit, shard.end)
        page: dict[str, Any] = {
            **self._told(),
            "Records": self._disordered(shard.records[at - shard.first : end - shard.first]),
        }
        if shard.closed_at is None or end < shard.end:
            page["NextShardIterator"] = self._iterator(shard, end)["ShardIterator"]
        return page

    def _disordered(self, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if self.disorder == "shuffled":  # a checkpointed page is done as a whole, so any record may be the last
            return [*records[1::2], *records[::2]]
        return [*records, *records[:2]] if self.disorder == "doubled" else records

    def _told(self) -> dict[str, Any]:
        return {"ResponseMetadata": {"HTTPHeaders": {"date": formatdate(self.now(), usegmt=True)}}}

    def _iterator(self, shard: Shard, at: int) -> dict[str, str]:
        return {"ShardIterator": f"{self.arn}|{shard.name}|{at}|{self.now() + ITERATOR_SECONDS!r}"}

    def _check(self, arn: str, operation: str) -> None:
        self.requests += 1
        if not self.up():
            raise EndpointConnectionError(endpoint_url=self.arn)
        if arn != self.arn:
            raise _error("ResourceNotFoundException", operation)


def _number(record: dict[str, Any]) -> str:
    return str(record["dynamodb"]["SequenceNumber"])


def _created(record: dict[str, Any]) -> float:
    return float(record["dynamodb"]["ApproximateCreationDateTime"])


def _error(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)
