"""The DynamoDB Streams source: every shard, parents before children, resumed from checkpoints.

Records that the stream has trimmed cannot be read here. The reader never passes over them in silence: the batch that
follows says `trimmed`, and whoever reads then compares lanes, which hold everything for good.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from botocore.exceptions import ClientError

from replicator import aws
from replicator.control import Checkpoints
from replicator.errors import InvalidConfig, RegionUnavailable
from replicator.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodbstreams import DynamoDBStreamsClient

log = structlog.get_logger()

_LOOK_FOR_SHARDS_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one shard. `position` is the last one's sequence number; `closed` means it was the
    shard's end; `trimmed` means that records before this batch may have been lost from the stream."""

    shard: str
    records: tuple[dict[str, Any], ...]
    position: str | None
    closed: bool = False
    trimmed: bool = False


@dataclass(slots=True)
class _Shard:
    parent: str | None
    position: str | None = None
    iterator: str | None = None
    finished: bool = False
    trimmed: bool = False


@dataclass(slots=True)
class StreamReader:
    """Reads one table's stream for one `reader` (there are exactly two: replicator and projector).

    `poll` returns what is new; `commit` records that a batch has been dealt with. Batches of a shard must be committed
    in order. A reader that is killed starts again after its last commit, so records may come twice, never not at all.
    """

    client: DynamoDBStreamsClient
    stream_arn: str
    checkpoints: Checkpoints
    settings: Settings
    monotonic: Callable[[], float] = time.monotonic
    _shards: dict[str, _Shard] = field(default_factory=dict)
    _looked: float | None = None
    _resumed: bool = False
    _vanished: set[str] = field(default_factory=set)

    @classmethod
    def connect(cls, settings: Settings, checkpoints: Checkpoints) -> StreamReader:
        """A reader of the own region's events table. Raises InvalidConfig when the table has no stream."""
        aws.require_table(settings, settings.region, settings.events_table)
        client = aws.dynamodb(settings, settings.region)
        table = aws.call(settings, settings.region, lambda: client.describe_table(TableName=settings.events_table)["Table"])
        arn = table.get("LatestStreamArn")
        if not arn or not table.get("StreamSpecification", {}).get("StreamEnabled"):
            raise InvalidConfig(
                f"table {settings.events_table} in {settings.region} has no stream; enable one with view type NEW_IMAGE"
            )
        return cls(aws.streams(settings, settings.region), arn, checkpoints, settings)

    def poll(self) -> list[Batch]:
        """New records of every open shard, at most one batch a shard. Raises RegionUnavailable."""
        now = self.monotonic()
        if self._looked is None or now - self._looked >= _LOOK_FOR_SHARDS_SECONDS:
            self._look_for_shards()
            self._looked = now
        batches: list[Batch] = []
        failure: RegionUnavailable | None = None
        for name, shard in list(self._shards.items()):
            parent = self._shards.get(shard.parent or "")
            if not shard.finished and (parent is None or parent.finished):
                try:
                    batch = self._read(name, shard)
                except RegionUnavailable as error:  # this shard's turn comes again; what others gave is not lost for it
                    failure = error
                    continue
                if batch is not None:
                    batches.append(batch)
        if failure is not None and not batches:
            raise failure
        return batches

    def commit(self, batch: Batch) -> None:
        """Record that `batch` has been dealt with."""
        if batch.position is not None or batch.closed:
            self.checkpoints.save(self.stream_arn, batch.shard, batch.position, batch.closed)
        if batch.trimmed and self._vanished:  # their loss has been dealt with: the next start need not do it again
            for shard in self._vanished:
                self.checkpoints.save(self.stream_arn, shard, None, True)
            self._vanished = set()

    def _look_for_shards(self) -> None:
        found: dict[str, _Shard] = {}
        request: dict[str, Any] = {"StreamArn": self.stream_arn}
        while True:
            page = self._call(lambda: self.client.describe_stream(**request))["StreamDescription"]
            for description in page["Shards"]:
                found[description["ShardId"]] = _Shard(description.get("ParentShardId"))
            if not page.get("LastEvaluatedShardId"):
                break
            request["ExclusiveStartShardId"] = page["LastEvaluatedShardId"]
        if not self._resumed:
            saved = self.checkpoints.load(self.stream_arn)
            for name, shard in found.items():
                state = saved.get(name)
                if state:
                    shard.position, shard.finished = state["position"], bool(state["closed"])
            # Without any checkpoint nobody knows what the stream has trimmed already.
            self._vanished = {name for name, state in saved.items() if not state["closed"] and name not in found}
            known = saved.keys() | found.keys()
            orphans = any(shard.parent and shard.parent not in known for name, shard in found.items() if name not in saved)
            if not saved or self._vanished or orphans:
                for shard in found.values():
                    shard.trimmed = True
            self._resumed = True
            self._shards = found
            return
        vanished = {name for name, shard in self._shards.items() if name not in found and not shard.finished}
        self._vanished |= vanished
        known = self._shards.keys() | found.keys()
        orphans = any(s.parent and s.parent not in known for name, s in found.items() if name not in self._shards)
        lost = bool(vanished) or orphans
        self._shards = {name: self._shards.get(name, shard) for name, shard in found.items()}
        if lost:  # a shard aged out before it was read to its end
            for shard in self._shards.values():
                shard.trimmed = not shard.finished

    def _read(self, name: str, shard: _Shard) -> Batch | None:
        try:
            if shard.iterator is None:
                shard.iterator = self._iterator(name, shard)
            page = self._call(
                lambda: self.client.get_records(ShardIterator=str(shard.iterator), Limit=self.settings.batch_size)
            )
        except ClientError as error:
            code = aws.error_code(error)
            if code == "ExpiredIteratorException":
                shard.iterator = None  # the next poll asks for one from the last position
                return None
            if code in ("TrimmedDataAccessException", "ResourceNotFoundException"):
                log.warning("stream.trimmed", shard=name, code=code)
                shard.position, shard.iterator, shard.trimmed = None, None, True
                if code == "ResourceNotFoundException":
                    shard.finished, self._looked = True, None
                    return Batch(name, (), None, closed=True, trimmed=True)
                return None
            raise
        records: list[Any] = page.get("Records", [])
        shard.iterator = page.get("NextShardIterator")
        shard.finished = shard.iterator is None
        if shard.finished:
            self._looked = None  # its children can be read now
        if not records and not shard.finished and not shard.trimmed:
            return None
        if records:
            shard.position = records[-1]["dynamodb"]["SequenceNumber"]
        trimmed, shard.trimmed = shard.trimmed, False
        return Batch(name, tuple(records), shard.position, shard.finished, trimmed)

    def _iterator(self, name: str, shard: _Shard) -> str:
        request: dict[str, Any] = {"StreamArn": self.stream_arn, "ShardId": name}
        if shard.position is None:
            request["ShardIteratorType"] = "TRIM_HORIZON"
        else:
            request.update(ShardIteratorType="AFTER_SEQUENCE_NUMBER", SequenceNumber=shard.position)
        return str(self._call(lambda: self.client.get_shard_iterator(**request))["ShardIterator"])

    def _call(self, operation: Callable[[], Any]) -> Any:
        return aws.call(self.settings, self.settings.region, operation)
