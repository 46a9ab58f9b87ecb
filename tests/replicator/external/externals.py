"""What the tests of this folder share: a declared transformation, and a Kinesis in memory that does what the emulator
cannot: refuse some records of a request, keep closed shards, split and merge, trim in silence, expire iterators."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import md5
from itertools import count
from typing import Any

from botocore.exceptions import ClientError

from replicator.domain.event import Event
from replicator.eventstore.event_items import to_item
from replicator.external import External, publish
from replicator.external.bus import BusRecord
from replicator.external.waves import Outgoing

TABLE = "meridian-events"


class Accounts(External):
    source = "https://example.com/accounts"

    opened = publish(
        "user/registered",
        to="com.example.account.opened",
        version=2,
        versions=(1, 2),
        keep=["plan"],
        rename={"name": "displayName"},
        optional=["name"],
        enrich={"by": lambda event: event.metadata.get("actor")},
    )
    moved = publish("user/moved", to="com.example.account.moved", enrich={"city": lambda event: event.payload["to"]["city"]})


def bus_record(event: Event, position: str = "1", name: str = "INSERT", **changes: Any) -> BusRecord:
    """A record as DynamoDB's Kinesis streaming destination writes it, made from the event's real item."""
    image = {
        name: {"B": b64encode(value["B"]).decode()} if "B" in value else value for name, value in to_item(event).items()
    }
    record = {
        "awsRegion": event.region,
        "eventID": "5b3c7f2e-7f9c-4d5a-9c1a-2f0e6f5d4c3b",
        "eventName": name,
        "userIdentity": None,
        "recordFormat": "application/json",
        "tableName": TABLE,
        "dynamodb": {
            "ApproximateCreationDateTime": event.hlc.ms,
            "ApproximateCreationDateTimePrecision": "MILLISECOND",
            "Keys": {"pk": image["pk"], "sk": image["sk"]},
            "NewImage": image,
            "SizeBytes": 512,
        },
        "eventSource": "aws:dynamodb",
    }
    record["dynamodb"].update(changes.pop("dynamodb", {}))
    record.update(changes)
    return BusRecord(position, json.dumps(record).encode())


class Crashed(Exception):
    """The process was killed here."""


@dataclass
class FakeDestination:
    """PutRecords. `plan` says in turn what becomes of each record: taken, refused, or refused and yet arrived; and of a
    request: a crash before or after it. When it is used up, everything is taken. Order within a request is turned round."""

    plan: list[str] = field(default_factory=list)
    arrived: list[Outgoing] = field(default_factory=list)
    requests: list[Sequence[Outgoing]] = field(default_factory=list)

    def put(self, records: Sequence[Outgoing]) -> Sequence[str]:
        self.requests.append(records)
        assert len({record.key for record in records}) == len(records), "two records of one lane in flight at once"
        answers = []
        fates = [self.plan.pop(0) if self.plan else "taken" for _ in records]
        if "crash before" in fates:
            raise Crashed
        for record, fate in reversed(list(zip(records, fates, strict=True))):
            if fate != "refused":
                self.arrived.append(record)
            answers.append("" if fate in ("taken", "crash after") else "ProvisionedThroughputExceededException")
        if "crash after" in fates:
            raise Crashed
        return answers[::-1]


def client_error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Kinesis")


TOLD = {"ResponseMetadata": {"HTTPHeaders": {"date": "Wed, 25 Nov 2026 02:40:00 GMT"}}}
"""What every answer says of its time."""


@dataclass
class FakeShard:
    low: int
    high: int
    parents: tuple[str, ...] = ()
    records: list[dict[str, Any]] = field(default_factory=list)
    closed: bool = False
    trimmed: int = 0


@dataclass
class FakeKinesis:
    """A Kinesis client over shards in memory. `failures` are raised, in turn, by get_records of that shard."""

    shards: dict[str, FakeShard] = field(default_factory=lambda: {"s0": FakeShard(0, 2**128)})
    failures: dict[str, list[str]] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: count(1))

    def describe_stream_summary(self, StreamName: str) -> dict[str, Any]:  # noqa: N803
        arn = f"arn:aws:kinesis:us-east-1:000000000000:stream/{StreamName}"
        return {"StreamDescriptionSummary": {"StreamARN": arn, "StreamCreationTimestamp": datetime(2026, 1, 1, tzinfo=UTC)}}

    def list_shards(self, StreamARN: str = "", NextToken: str = "") -> dict[str, Any]:  # noqa: N803
        assert bool(StreamARN) != bool(NextToken)
        names = list(self.shards)
        start = int(NextToken or 0)
        page = []
        for name in names[start : start + 2]:
            parents = self.shards[name].parents
            page.append({"ShardId": name, **dict(zip(("ParentShardId", "AdjacentParentShardId"), parents, strict=False))})
        return {**TOLD, "Shards": page, **({"NextToken": str(start + 2)} if len(names) > start + 2 else {})}

    def get_shard_iterator(self, **request: Any) -> dict[str, Any]:
        shard = self._shard(request["ShardId"])
        at = shard.trimmed
        if request["ShardIteratorType"] == "AT_SEQUENCE_NUMBER":
            wanted = request["StartingSequenceNumber"]
            at = next((i for i, r in enumerate(shard.records) if r["SequenceNumber"] >= wanted), len(shard.records))
        return {"ShardIterator": f"{request['ShardId']}@{max(at, shard.trimmed)}"}

    def get_records(self, ShardIterator: str, Limit: int) -> dict[str, Any]:  # noqa: N803
        name, at = ShardIterator.split("@")
        shard = self._shard(name)
        if self.failures.get(name):
            raise client_error(self.failures[name].pop(0))
        end = min(int(at) + Limit, len(shard.records))
        following = None if shard.closed and end == len(shard.records) else f"{name}@{end}"
        page = shard.records[max(int(at), shard.trimmed) : end]
        return {**TOLD, "Records": page, **({"NextShardIterator": following} if following else {})}

    def put_records(self, StreamName: str, Records: Sequence[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        return {"Records": [self.put(record["PartitionKey"], record["Data"]) for record in Records]}

    def put(self, key: str, data: bytes) -> dict[str, Any]:
        place = int(md5(key.encode()).hexdigest(), 16)
        shard = next(s for s in self.shards.values() if not s.closed and s.low <= place < s.high)
        number = f"{next(self._numbers):056d}"
        shard.records.append({"SequenceNumber": number, "PartitionKey": key, "Data": data})
        return {"SequenceNumber": number}

    def split(self, name: str) -> None:
        old = self.shards[name]
        middle = (old.low + old.high) // 2
        old.closed = True
        self.shards = {f"{name}r": FakeShard(middle, old.high, (name,)), **self.shards}  # the child comes first
        self.shards[f"{name}l"] = FakeShard(old.low, middle, (name,))

    def merge(self, one: str, other: str) -> None:
        first, second = self.shards[one], self.shards[other]
        first.closed = second.closed = True
        merged = FakeShard(min(first.low, second.low), max(first.high, second.high), (one, other))
        self.shards = {f"{one}+{other}": merged, **self.shards}

    def _shard(self, name: str) -> FakeShard:
        if name not in self.shards:
            raise client_error("ResourceNotFoundException")
        return self.shards[name]
