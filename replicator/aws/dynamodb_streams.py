"""DynamoDB Streams source. replicator/aws/shard_reader.py follows the shards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from replicator.aws import clients
from replicator.aws.dynamodb_api import Wire
from replicator.aws.shard_reader import ShardReader
from replicator.aws.shards import Shard
from replicator.aws.succession import NO_STREAM, Source, Succession
from replicator.control.checkpoints import Checkpoints
from replicator.control.leases import Leases
from replicator.domain.errors import InvalidConfig, RegionRefuses
from replicator.replication.batch_reader import Batch
from replicator.runtime.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodbstreams import DynamoDBStreamsClient

__all__ = ["Batch", "DynamoStreamReader"]


class _Client:
    """Requests of a reader to DynamoDB Streams. Records stay as they are sent: boto3's conversion of one costs several times
    what reading its event does."""

    def __init__(self, client: DynamoDBStreamsClient, settings: Settings) -> None:
        self.describe_stream = client.describe_stream
        self.get_shard_iterator = client.get_shard_iterator
        self._wire = Wire(client, settings)

    def get_records(self, **request: Any) -> Mapping[str, Any]:
        return self._wire.read("GetRecords", request)


def _find(client: DynamoDBClient, settings: Settings) -> Source:
    """Find the current stream of the events table. Raises RegionRefuses when there is none."""
    describe = partial(client.describe_table, TableName=settings.events_table)
    table = clients.call(settings, settings.region, lambda: clients.part(describe(), "Table"))
    arn = table.get("LatestStreamArn")
    if not arn or not table.get("StreamSpecification", {}).get("StreamEnabled"):
        raise RegionRefuses(
            f"table {settings.events_table} in {settings.region} has no stream; enable one with view type NEW_IMAGE",
            NO_STREAM,
        )
    return Source(arn, clients.identity_of(table))


@dataclass(slots=True)
class DynamoStreamReader(ShardReader):
    """Reads one table's stream for one reader: there are exactly two, replicator and projector."""

    client: DynamoDBStreamsClient | _Client

    @classmethod
    def connect(cls, settings: Settings, checkpoints: Checkpoints, leases: Leases | None = None) -> DynamoStreamReader:
        """Return a reader of the own region's events table: of all shards, or of those that it has `leases` of. Raises
        InvalidConfig when the table has no stream."""
        clients.require_table(settings, settings.region, settings.events_table)
        find = partial(_find, clients.dynamodb(settings, settings.region), settings)
        try:
            arn, table = find()
        except RegionRefuses as error:
            raise InvalidConfig(str(error)) from None
        client = _Client(clients.streams(settings, settings.region), settings)
        return cls(client, arn, checkpoints, settings, succession=Succession(find, table), leases=leases)

    def _describe(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        request: dict[str, Any] = {"StreamArn": self.stream_arn}
        while True:
            page = self._call(lambda: self.client.describe_stream(**request))["StreamDescription"]
            for shard in page["Shards"]:
                parent = shard.get("ParentShardId")
                found[shard["ShardId"]] = (parent,) if parent else ()
            if not page.get("LastEvaluatedShardId"):
                return found
            request["ExclusiveStartShardId"] = page["LastEvaluatedShardId"]

    def _iterator(self, name: str, shard: Shard) -> str:
        request: dict[str, Any] = {"StreamArn": self.stream_arn, "ShardId": name}
        if shard.position is None:
            request["ShardIteratorType"] = "TRIM_HORIZON"
        else:
            request.update(ShardIteratorType="AFTER_SEQUENCE_NUMBER", SequenceNumber=shard.position)
        return str(self._call(lambda: self.client.get_shard_iterator(**request))["ShardIterator"])

    def _page(self, iterator: str) -> Mapping[str, Any]:
        return self.client.get_records(ShardIterator=iterator, Limit=self.settings.batch_size)

    def _sequence_number(self, record: Mapping[str, Any]) -> str:
        return str(record["dynamodb"]["SequenceNumber"])
