"""Tail of a table's stream: all its records from the beginning, shard by shard, read once for all probes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from botocore.exceptions import ClientError

from chaos.conform.lab import Lab
from replicator.aws.clients import error_code

Record = Mapping[str, Any]


class StreamTail:
    """Records of one stream, from TRIM_HORIZON of every shard. Safe to share between threads."""

    def __init__(self, lab: Lab, arn: str) -> None:
        self._lab = lab
        self._arn = arn
        self._lock = threading.Lock()
        self._iterators: dict[str, str] = {}
        self.records: list[Record] = []
        self.shards: dict[str, Mapping[str, Any]] = {}

    @property
    def client(self) -> Any:
        return self._lab.client("dynamodbstreams")

    def poll(self) -> None:
        """Read a page of every shard."""
        with self._lock:
            for shard in self.describe()["Shards"]:
                name = shard["ShardId"]
                self.shards[name] = shard
                if name not in self._iterators:
                    self._iterators[name] = self.iterator(name, "TRIM_HORIZON")
            for name, iterator in self._iterators.items():
                if iterator:
                    page = self._page(name, iterator)
                    self.records += page["Records"]
                    self._iterators[name] = page.get("NextShardIterator") or ""

    def _page(self, shard: str, iterator: str) -> Mapping[str, Any]:
        """Read a page. DynamoDB Local says of a shard without records, once it has one, that it was trimmed."""
        try:
            page: Mapping[str, Any] = self.client.get_records(ShardIterator=iterator)
        except ClientError as error:
            if error_code(error) != "TrimmedDataAccessException":
                raise
            page = self.client.get_records(ShardIterator=self.iterator(shard, "TRIM_HORIZON"))
        return page

    def describe(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.client.describe_stream(StreamArn=self._arn)["StreamDescription"]
        return found

    def ready(self) -> StreamTail:
        """Wait until the stream is enabled, and its shards can be read. Returns the tail itself."""

        def look() -> bool:
            with suppress(ClientError):  # some engines have the stream before its shards
                if self.describe()["StreamStatus"] == "ENABLED":
                    self.poll()
                    return True
            return False

        self._lab.until(look)
        return self

    def iterator(self, shard: str, kind: str, number: str = "") -> str:
        more = {"SequenceNumber": number} if number else {}
        answer = self.client.get_shard_iterator(StreamArn=self._arn, ShardId=shard, ShardIteratorType=kind, **more)
        return str(answer["ShardIterator"])

    def of(self, pk: str) -> list[Record]:
        """Return the records of a partition, in the order of the stream."""
        return [each for each in self.records if each["dynamodb"].get("Keys", {}).get("pk", {}).get("S") == pk]

    def until(self, pk: str, done: Callable[[list[Record]], object]) -> list[Record]:
        """Read until the records of this partition are as they should be. Raises NotSeen."""

        def look() -> list[Record] | None:
            self.poll()
            found = self.of(pk)
            return found if done(found) else None

        return self._lab.until(look)

    def shard_of(self, pk: str) -> tuple[str, list[Record]]:
        """Return the shard that has this partition's records, and all its records."""
        for name in self.shards:
            found, iterator = list[Record](), self.iterator(name, "TRIM_HORIZON")
            for _ in range(100):
                page = self.client.get_records(ShardIterator=iterator)
                found += page["Records"]
                iterator = page.get("NextShardIterator") or ""
                if not iterator or not page["Records"]:
                    break
            if any(each["dynamodb"]["Keys"]["pk"]["S"] == pk for each in found):
                return name, found
        raise LookupError("no shard has the records")
