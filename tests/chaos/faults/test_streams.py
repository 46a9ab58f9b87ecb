"""The replicator's own reader of streams, through every fault that a stream can have: nothing is skipped in silence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from botocore.exceptions import ClientError

from replicator.aws.dynamodb_streams import DynamoStreamReader
from replicator.control.checkpoints import Checkpoints
from replicator.control.memory_control import MemoryControl
from replicator.replication.batch_reader import Batch
from replicator.runtime.settings import Settings
from tests.chaos.faults.conftest import REGION, Place

pytestmark = pytest.mark.emulator


@dataclass
class Bench:
    """A table that is written to directly, and a reader of its stream through the proxy."""

    place: Place
    table: str
    control: MemoryControl = field(default_factory=MemoryControl)
    batch_size: int = 7
    trimmed: int = 0
    reader: DynamoStreamReader = field(init=False)
    written: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def __post_init__(self) -> None:
        self.writer = self.place.client("dynamodb", direct=True)
        self.client = self.place.client("dynamodbstreams")
        described = self.writer.describe_table(TableName=self.table)
        self.stream = str(described["Table"]["LatestStreamArn"])
        self.restart()

    def restart(self) -> None:
        settings = Settings(REGION, batch_size=self.batch_size, attempts=1, endpoints={REGION: self.place.url})
        self.reader = DynamoStreamReader(self.client, self.stream, Checkpoints(self.control, "replicator"), settings)

    def write(self, count: int, keys: int = 8) -> None:
        """So many items, one key after the other; each key's are numbered."""
        for number in range(count):
            key = f"k{number % keys}"
            self.written[key] += 1
            item = {"pk": {"S": key}, "sk": {"S": f"{self.written[key]:06d}"}}
            self.writer.put_item(TableName=self.table, Item=item)

    def read(self, quiet: int = 4, commit: bool = True) -> list[tuple[str, int]]:
        """All that comes until `quiet` polls in a row give nothing."""
        found: list[tuple[str, int]] = []
        silent = 0
        while silent < quiet:
            batches = self.reader.poll()
            silent = 0 if batches else silent + 1
            self.trimmed += sum(batch.trimmed for batch in batches)
            for batch in batches:
                found += names(batch)
                if commit:
                    self.reader.commit(batch)
        return found

    def all(self) -> list[tuple[str, int]]:
        return sorted((key, number) for key, count in self.written.items() for number in range(1, count + 1))

    def shards(self) -> list[dict[str, Any]]:
        return list(self.client.describe_stream(StreamArn=self.stream)["StreamDescription"]["Shards"])


def names(batch: Batch) -> list[tuple[str, int]]:
    keys = [record["dynamodb"]["Keys"] for record in batch.records]
    return [(key["pk"]["S"], int(key["sk"]["S"])) for key in keys]


def in_order(found: Sequence[tuple[str, int]], *, twice: bool = False) -> bool:
    """Whether each key's numbers only rise (`twice`: or stay)."""
    last: dict[str, int] = defaultdict(int)
    for key, number in found:
        if number < last[key] or (number == last[key] and not twice):
            return False
        last[key] = number
    return True


@pytest.fixture
def bench(place: Place, table: str) -> Bench:
    return Bench(place, table)


def test_without_rules_a_stream_is_read_as_it_is(bench: Bench) -> None:
    bench.write(20)
    direct = bench.place.client("dynamodbstreams", direct=True)
    (shard,) = bench.shards()
    assert [shard] == direct.describe_stream(StreamArn=bench.stream)["StreamDescription"]["Shards"]
    assert bench.read() == [(f"k{n % 8}", n // 8 + 1) for n in range(20)]


def test_a_split_shard_closes_and_its_children_go_on_and_nothing_is_skipped_or_repeated(bench: Bench) -> None:
    bench.write(30)
    bench.place.faults.set([{"meridian": {"effect": "split-shard", "after": 2}}])
    found = bench.read()
    assert bench.place.struck() == [1]
    bench.write(40)
    found += bench.read()
    assert sorted(found) == bench.all()
    assert in_order(found)
    parent, left, right = bench.shards()
    assert left["ParentShardId"] == right["ParentShardId"] == parent["ShardId"]
    assert parent["SequenceNumberRange"]["EndingSequenceNumber"] < left["SequenceNumberRange"]["StartingSequenceNumber"]
    assert "EndingSequenceNumber" not in left["SequenceNumberRange"]
    by_shard = {}
    for shard in (left, right):
        start = {"StreamArn": bench.stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = bench.client.get_shard_iterator(**start)["ShardIterator"]
        page = bench.client.get_records(ShardIterator=iterator)
        assert "NextShardIterator" in page  # it is open
        by_shard[shard["ShardId"]] = {record["dynamodb"]["Keys"]["pk"]["S"] for record in page["Records"]}
    one, other = by_shard.values()
    assert one
    assert other
    assert not one & other  # each key's records are in one shard


def test_shards_split_again_and_again_under_two_readers_and_restarts(bench: Bench) -> None:
    slow = Bench(bench.place, bench.table, batch_size=3, written=bench.written)
    bench.write(20)
    found, seen = bench.read(), slow.read(quiet=1)
    for round_ in range(4):
        bench.place.faults.set([{"meridian": {"effect": "split-shard", "seed": round_}}])
        bench.write(24)
        found += bench.read()
        assert bench.place.struck() == [1]
        if round_ % 2:
            bench.restart()
        seen += slow.read(quiet=1)
        slow.restart()
    assert len(bench.shards()) == 9
    found += bench.read()
    seen += slow.read()
    for each in (found, seen):
        assert sorted(each) == bench.all()
        assert in_order(each)
    bench.place.faults.clear()
    bench.write(16)
    assert sorted(bench.read()) == sorted(slow.read())
    first = bench.client.describe_stream(StreamArn=bench.stream, Limit=4)["StreamDescription"]
    rest = bench.client.describe_stream(StreamArn=bench.stream, ExclusiveStartShardId=first["LastEvaluatedShardId"])
    assert len(first["Shards"]) + len(rest["StreamDescription"]["Shards"]) == 9


def test_an_expired_iterator_is_taken_anew_and_nothing_is_skipped(bench: Bench) -> None:
    bench.write(30)
    bench.place.faults.set([{"probability": 0.4, "meridian": {"effect": "expire-iterators", "times": 5}}])
    found = bench.read(quiet=12)
    assert bench.place.struck()[0] >= 2
    assert found == [(f"k{n % 8}", n // 8 + 1) for n in range(30)]


def test_trimmed_records_are_withheld_from_everyone_and_the_reader_says_so(bench: Bench) -> None:
    bench.write(14)
    assert len(bench.read()) == 14
    bench.trimmed = 0
    bench.write(20)
    lost = bench.all()
    bench.place.faults.set([{"meridian": {"effect": "trim-records"}}])
    assert bench.read() == []
    assert bench.place.struck() == [1]
    assert bench.trimmed == 1
    bench.write(10)
    assert sorted(bench.read()) == sorted(set(bench.all()) - set(lost))
    fresh = Bench(bench.place, bench.table)
    assert len(fresh.read()) == 10  # they are gone for those who come later, too
    (shard,) = bench.shards()
    first = bench.place.client("dynamodbstreams", direct=True).describe_stream(StreamArn=bench.stream)
    oldest = first["StreamDescription"]["Shards"][0]["SequenceNumberRange"]["StartingSequenceNumber"]
    start = {"StreamArn": bench.stream, "ShardId": shard["ShardId"], "SequenceNumber": oldest}
    for kind in ("AFTER_SEQUENCE_NUMBER", "AT_SEQUENCE_NUMBER"):
        with pytest.raises(ClientError, match="TrimmedDataAccessException"):
            bench.client.get_shard_iterator(ShardIteratorType=kind, **start)


def test_a_part_of_what_is_unread_can_be_trimmed_and_the_rest_is_read(bench: Bench) -> None:
    bench.write(8)
    bench.read()
    bench.trimmed = 0
    bench.write(20)
    bench.place.faults.set([{"meridian": {"effect": "trim-records", "part": 0.25}}])
    assert len(bench.read()) == 15
    assert bench.trimmed == 1


def test_trimming_where_nothing_is_unread_is_no_strike(bench: Bench) -> None:
    bench.write(8)
    bench.place.faults.set([{"meridian": {"effect": "reorder-records", "after": 10**6}}])  # iterators are the proxy's now
    bench.read()
    bench.place.faults.set([{"meridian": {"effect": "trim-records"}}])
    bench.read()
    assert bench.place.struck() == [0]
    bench.write(1)
    assert bench.read() == []
    assert bench.place.struck() == [1]


def test_a_reader_that_is_behind_a_split_and_a_trim_is_told_and_reads_what_is_left(bench: Bench) -> None:
    bench.write(16)
    bench.place.faults.set([{"meridian": {"effect": "split-shard"}}])
    found = bench.read()
    bench.write(16)
    found += bench.read(quiet=1)
    late = Bench(bench.place, bench.table)
    bench.write(16)
    bench.place.faults.set([{"meridian": {"effect": "trim-records", "part": 0.5}}])
    found += bench.read()
    assert bench.place.struck() == [1]
    left = late.read()
    assert late.trimmed >= 1
    assert set(left) < set(bench.all())
    assert left
    assert in_order(left)
    assert set(left) <= set(found)


def test_duplicates_come_right_behind_each_other_and_the_reader_goes_on_from_the_right_place(bench: Bench) -> None:
    bench.write(21)
    bench.place.faults.set([{"meridian": {"effect": "duplicate-records", "part": 0.5}}])
    found = bench.read()
    assert len(found) > 30
    assert sorted(set(found)) == bench.all()
    assert in_order(found, twice=True)
    assert not in_order(found)
    bench.restart()
    assert bench.read() == []


def test_reordered_records_keep_each_keys_order_unless_it_is_to_be_harsh(bench: Bench) -> None:
    bench.write(40, keys=4)
    bench.place.faults.set([{"meridian": {"effect": "reorder-records", "part": 1}}])
    found = bench.read()
    assert sorted(found) == bench.all()
    assert found != [(f"k{n % 4}", n // 4 + 1) for n in range(40)]
    assert in_order(found)
    bench.place.faults.set([{"meridian": {"effect": "reorder-records", "part": 1, "harsh": True}}])
    harsh = Bench(bench.place, bench.table).read()
    assert sorted(harsh) == bench.all()
    assert not in_order(harsh)


def test_kinesis_records_are_repeated_and_reordered_and_its_iterators_expire(place: Place, table: str) -> None:
    kinesis = place.client("kinesis")
    kinesis.create_stream(StreamName=table, ShardCount=1)
    for number in range(20):
        kinesis.put_record(StreamName=table, Data=b"%03d" % number, PartitionKey=f"k{number % 3}")

    def page() -> list[tuple[str, int]]:
        start = {"StreamName": table, "ShardId": "shardId-000000000000", "ShardIteratorType": "TRIM_HORIZON"}
        iterator = kinesis.get_shard_iterator(**start)["ShardIterator"]
        records = kinesis.get_records(ShardIterator=iterator)["Records"]
        return [(record["PartitionKey"], int(record["Data"]) + 1) for record in records]

    plain = page()
    place.faults.set([{"service": "kinesis", "meridian": {"effect": "duplicate-records"}}])
    assert len(page()) == 30
    place.faults.set([{"service": "kinesis", "meridian": {"effect": "reorder-records"}}])
    mixed = page()
    assert mixed != plain
    assert sorted(mixed) == sorted(plain)
    assert in_order(mixed)
    place.faults.set([{"service": "kinesis", "meridian": {"effect": "expire-iterators"}}])
    with pytest.raises(kinesis.exceptions.ExpiredIteratorException):
        page()


def test_an_unknown_shard_and_a_foreign_iterator_are_refused_as_the_service_does(bench: Bench) -> None:
    bench.write(3)
    bench.place.faults.set([{"meridian": {"effect": "split-shard", "after": 10**6}}])
    start = {"StreamArn": bench.stream, "ShardIteratorType": "TRIM_HORIZON"}
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        bench.client.get_shard_iterator(ShardId="shardId-00000000000000000000-99999999", **start)
    with pytest.raises(ClientError, match="ExpiredIteratorException"):
        bench.client.get_records(ShardIterator="meridian:nonsense")
