"""A table that is made anew, or whose stream is: whoever reads it goes on with the new stream and compares all lanes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from replicator.aws.dynamodb_streams import DynamoStreamReader
from replicator.aws.succession import NO_STREAM, Source, Succession
from replicator.aws.tables import create_tables
from replicator.control.checkpoints import Checkpoints
from replicator.control.memory_control import MemoryControl
from replicator.domain.errors import RegionRefuses, RegionUnavailable
from replicator.domain.event import NewEvent
from replicator.replication.batch_reader import Batch
from replicator.runtime.settings import Settings
from tests.replicator.test_worker import Side, running, until

SHARD = "shardId-0"  # an emulator's shards are called the same in every stream


def error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "GetRecords")


@dataclass
class Streams:
    """A client of several streams, each of one shard; `ended` are those whose shard is closed."""

    records: dict[str, list[int]]
    ended: set[str] = field(default_factory=set)

    def describe_stream(self, StreamArn: str) -> dict[str, Any]:  # noqa: N803
        self._known(StreamArn)
        return {"StreamDescription": {"Shards": [{"ShardId": SHARD}]}}

    def get_shard_iterator(self, StreamArn: str, SequenceNumber: str = "", **_: str) -> dict[str, Any]:  # noqa: N803
        self._known(StreamArn)
        at = self.records[StreamArn].index(int(SequenceNumber)) + 1 if SequenceNumber else 0
        return {"ShardIterator": f"{StreamArn}@{at}"}

    def get_records(self, ShardIterator: str, Limit: int) -> dict[str, Any]:  # noqa: N803
        arn, _, at = ShardIterator.partition("@")
        self._known(arn)
        records = self.records[arn][int(at) : int(at) + Limit]
        end = int(at) + len(records)
        more = {} if arn in self.ended and end == len(self.records[arn]) else {"NextShardIterator": f"{arn}@{end}"}
        return {"Records": [{"dynamodb": {"SequenceNumber": str(n)}} for n in records], **more}

    def _known(self, arn: str) -> None:
        if arn not in self.records:
            raise error("ResourceNotFoundException")


@dataclass
class Bench:
    """A reader of streams whose table says `source`, or raises it. Each poll is eleven seconds after the last."""

    streams: Streams
    source: Source | Exception
    control: MemoryControl = field(default_factory=MemoryControl)
    now: float = 0.0

    def __post_init__(self) -> None:
        settings = Settings("us-east-1", batch_size=2, attempts=1)
        checkpoints = Checkpoints(self.control, "replicator")
        client: Any = self.streams
        self.reader = DynamoStreamReader(
            client, "old", checkpoints, settings, lambda: self.now, succession=Succession(self._find, "table")
        )  # fmt: skip

    def _find(self) -> Source:
        if isinstance(self.source, Exception):
            raise self.source
        return self.source

    def poll(self) -> list[Batch]:
        self.now += 11
        return self.reader.poll()

    def read(self, polls: int = 8) -> list[int]:
        found: list[int] = []
        for _ in range(polls):
            try:
                batches = self.poll()
            except RegionUnavailable:
                continue
            found += numbers(batches)
            for batch in batches:
                self.reader.commit(batch)
        return found


def numbers(batches: list[Batch]) -> list[int]:
    return [int(record["dynamodb"]["SequenceNumber"]) for batch in batches for record in batch.records]


def bench(**records: list[int]) -> Bench:
    made = Bench(Streams({"old": [1, 2, 3], **records}), Source("old", "table"))
    made.poll()
    return made


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "open"])
def test_a_stream_that_was_switched_off_and_on_is_read_to_its_end_and_then_the_new_one(
    ended: bool,
) -> None:
    given = bench(new=[11, 12, 13])
    given.streams.ended = {"old"} if ended else set()
    given.source = Source("new", "table")
    assert given.read() == [3, 11, 12, 13]


def test_all_lanes_are_compared_when_the_new_stream_is_begun() -> None:
    given = bench(new=[])
    given.source = Source("new", "table")
    found = [batch for _ in range(6) for batch in given.poll()]
    assert [(batch.stream, batch.trimmed) for batch in found] == [("old", False), ("new", True)]


def test_what_a_replaced_table_had_is_not_handed_on() -> None:
    """The new table's lanes may hold other events at these places by now: copies of both would be a fork."""
    given = bench(new=[11])
    given.source = Source("new", "another table")
    batches = given.poll()
    assert numbers(batches) == [11]
    assert [batch.trimmed for batch in batches] == [True]


def test_while_there_is_no_table_its_stream_is_read_and_then_the_next_table_is_waited_for() -> None:
    given = bench(new=[11])
    given.source = RegionRefuses("no such table", "ResourceNotFoundException")
    assert numbers(given.poll()) == [3]
    for _ in range(2):
        with pytest.raises(RegionRefuses, match="no such table"):
            given.poll()
    del given.streams.records["old"]
    given.read()  # the shard is gone: that is told once
    with pytest.raises(RegionRefuses, match="no such table"):
        given.poll()
    given.source = Source("new", "another table")
    assert given.read() == [11]


def test_a_table_whose_stream_is_off_is_waited_for() -> None:
    given = bench(new=[11])
    given.source = RegionRefuses("no stream; enable one", NO_STREAM)
    assert given.read() == [3]
    with pytest.raises(RegionRefuses, match="enable one"):
        given.poll()
    given.source = Source("new", "table")
    assert given.read() == [11]


def test_a_stream_that_is_gone_is_left_for_the_one_that_took_its_place() -> None:
    given = bench(new=[11])
    del given.streams.records["old"]
    given.source = Source("new", "table")
    assert given.read() == [11]


@pytest.mark.parametrize("failure", [RegionUnavailable("away"), RegionRefuses("not allowed", "AccessDeniedException")])
def test_reading_goes_on_where_nobody_can_say_which_stream_is_the_present_one(failure: Exception) -> None:
    given = bench()
    given.source = failure
    assert numbers(given.poll()) == [3]
    assert given.poll() == []


def test_what_is_committed_late_is_no_checkpoint_of_the_new_stream() -> None:
    given = bench(new=[11, 12, 13])
    given.source = Source("new", "table")
    (late,) = given.poll()
    assert late.stream == "old"
    while given.reader.stream_arn == "old":
        given.poll()
    given.reader.commit(late)
    checkpoints = Checkpoints(given.control, "replicator")
    assert checkpoints.load("new") == {}


def test_a_new_stream_that_has_no_shards_yet_is_compared_when_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    given = bench(new=[11])
    given.source = Source("new", "another table")
    describe = given.streams.describe_stream
    monkeypatch.setattr(given.streams, "describe_stream", lambda StreamArn: {"StreamDescription": {"Shards": []}})  # noqa: N803
    assert given.poll() == given.poll() == []
    monkeypatch.setattr(given.streams, "describe_stream", describe)
    assert [batch.trimmed for batch in given.poll()] == [True]


# -- on the emulator -------------------------------------------------------------------------------------------------


@pytest.fixture
def pair(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> tuple[Side, Side]:
    monkeypatch.setattr("replicator.aws.shard_reader._LOOK_FOR_SHARDS_SECONDS", 0.3)
    here = replace(settings, poll_interval=0.1, read_timeout=20)
    return Side(here), Side(replace(here, region="eu-west-1", peers=("us-east-1",)))


def deleted(side: Side) -> None:
    side.client.delete_table(TableName=side.settings.events_table)


def made_anew(side: Side) -> None:
    deleted(side)
    create_tables(side.settings)


def made_anew_later(side: Side) -> None:
    deleted(side)
    time.sleep(1.5)
    create_tables(side.settings)


def switched(side: Side) -> None:
    table = {"TableName": side.settings.events_table}
    side.client.update_table(**table, StreamSpecification={"StreamEnabled": False})
    side.store.append("user/unseen", NewEvent("x", {}))
    side.client.update_table(**table, StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"})


CHANGES = pytest.mark.parametrize("change", [made_anew, made_anew_later, switched])


@pytest.mark.emulator
@CHANGES
def test_the_same_replicator_goes_on_with_the_table_that_is_there_now(
    pair: tuple[Side, Side], change: Callable[[Side], None]
) -> None:
    here, there = pair
    before = here.store.append("user/before", NewEvent("x", {}))
    with running(here.worker()):
        until(lambda: list(there.everything().values()) == [list(before)] and here.idle())
        change(here)
        here.store.append("user/after", NewEvent("x", {}))
        until(lambda: here.everything().items() <= there.everything().items())
        (later,) = here.store.append("user/later", NewEvent("x", {}))
        until(lambda: later.lane in there.everything())
    assert before[0].lane in there.everything()
