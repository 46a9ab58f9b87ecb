"""Kinesis as source and as destination."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from botocore.exceptions import BotoCoreError, ClientError

from replicator.aws import clients
from replicator.aws.shard_reader import ShardReader
from replicator.aws.shards import Shard
from replicator.aws.succession import Source, Succession
from replicator.control.checkpoints import Checkpoints
from replicator.domain.errors import InvalidConfig, RegionRefuses
from replicator.external.waves import Outgoing
from replicator.runtime.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_kinesis import KinesisClient


def _find(client: KinesisClient, settings: Settings, stream: str) -> Source:
    """Find the stream that has this name now. Records of an earlier stream of the same name can no longer be read."""
    about = clients.call(settings, settings.region, lambda: client.describe_stream_summary(StreamName=stream))
    summary = about["StreamDescriptionSummary"]
    identity = f"{summary['StreamARN']}@{summary['StreamCreationTimestamp'].timestamp():.0f}"
    return Source(identity, identity)


def require_stream(settings: Settings, stream: str) -> Source:
    """Return the stream of this name. Raises InvalidConfig with the remedy if there is none."""
    with _known(settings, stream):
        return _find(clients.kinesis(settings, settings.region), settings, stream)


@dataclass(slots=True)
class KinesisReader(ShardReader):
    """Reads one Kinesis stream for one reader, through any resharding.

    Kinesis does not report that it has trimmed the record to resume behind; it continues with the oldest one left. So an
    iterator is requested *at* the last processed record: if that is not the first one to arrive, it was trimmed.
    """

    client: KinesisClient
    trimmed_codes: ClassVar[tuple[str, ...]] = ("ResourceNotFoundException", "InvalidArgumentException")

    @classmethod
    def connect(cls, settings: Settings, stream: str, checkpoints: Checkpoints) -> KinesisReader:
        """Return a reader of `stream` in the settings' region. Raises InvalidConfig when there is no such stream.

        Checkpoints belong to this stream, not to an earlier one of the same name.
        """
        client = clients.kinesis(settings, settings.region)
        source = require_stream(settings, stream)
        succession = Succession(partial(_find, client, settings, stream), source.table)
        return cls(client, source.stream, checkpoints, settings, succession=succession)

    @property
    def arn(self) -> str:
        return self.stream_arn.rpartition("@")[0]

    def _describe(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        request: dict[str, Any] = {"StreamARN": self.arn}
        while True:
            page = self._call(partial(self.client.list_shards, **request))
            for shard in page["Shards"]:
                parents = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
                found[shard["ShardId"]] = tuple(parent for parent in parents if parent)
            if not page.get("NextToken"):
                return found
            request = {"NextToken": page["NextToken"]}

    def _iterator(self, name: str, shard: Shard) -> str:
        request: dict[str, Any] = {"StreamARN": self.arn, "ShardId": name}
        if shard.position is None:
            request["ShardIteratorType"] = "TRIM_HORIZON"
        else:
            request.update(ShardIteratorType="AT_SEQUENCE_NUMBER", StartingSequenceNumber=shard.position)
        shard.resumed = shard.position
        return str(self._call(lambda: self.client.get_shard_iterator(**request))["ShardIterator"])

    def _page(self, iterator: str) -> Mapping[str, Any]:
        return self.client.get_records(ShardIterator=iterator, Limit=self.settings.batch_size)

    def _sequence_number(self, record: Mapping[str, Any]) -> str:
        return str(record["SequenceNumber"])


class KinesisDestination:
    """Destination that is a Kinesis stream."""

    def __init__(self, settings: Settings, stream: str) -> None:
        self._settings = settings
        self._stream = stream
        self._client = clients.kinesis(settings, settings.region)

    def put(self, records: Sequence[Outgoing]) -> Sequence[str]:
        entries: list[Any] = [{"PartitionKey": record.key, "Data": record.data} for record in records]
        try:
            answer = self._client.put_records(StreamName=self._stream, Records=entries)
        except (BotoCoreError, ClientError) as error:
            passing = clients.sort_error(error)
            if passing is None:
                raise clients.refusal(self._settings, self._settings.region, error) from error
            return [str(passing)] * len(records)
        return [result.get("ErrorCode", "") for result in answer["Records"]]


def create_streams(settings: Settings) -> list[str]:
    """Create, on an emulator, the internal bus and the stream of external events if they are missing, and let the events
    table feed the bus. Returns the names of what was created."""
    created = []
    with clients.config_errors(settings, settings.region):
        client = clients.kinesis(settings, settings.region)
        for stream in (settings.bus_stream, settings.external_stream):
            try:
                client.create_stream(StreamName=stream, ShardCount=2)
            except client.exceptions.ResourceInUseException:
                continue
            client.get_waiter("stream_exists").wait(StreamName=stream)
            created.append(f"stream {stream}")
        arn = client.describe_stream_summary(StreamName=settings.bus_stream)["StreamDescriptionSummary"]["StreamARN"]
        dynamodb = clients.dynamodb(settings, settings.region)
        with suppress(dynamodb.exceptions.ResourceInUseException):  # it feeds the bus already
            dynamodb.enable_kinesis_streaming_destination(TableName=settings.events_table, StreamArn=arn)
    return created


@contextmanager
def _known(settings: Settings, stream: str) -> Iterator[None]:
    """Convert the error for a stream that does not exist to InvalidConfig with the remedy."""
    try:
        yield
    except RegionRefuses as error:
        if error.code != clients.NO_SUCH_TABLE:
            raise
        raise InvalidConfig(
            f"Kinesis stream {stream} does not exist in {settings.region}; run `replicator init` with MERIDIAN_EXTERNAL set "
            "(emulator) or `terraform apply` (AWS), or correct --prefix"
        ) from None
