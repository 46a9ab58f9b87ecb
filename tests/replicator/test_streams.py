"""The stream reader: every record once, each shard in order, and never past lost records in silence.

The fake does what the emulator cannot: split shards, expire iterators, trim records, throttle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

import pytest
from botocore.exceptions import ClientError

from replicator.aws.control_table import DynamoControl
from replicator.aws.dynamodb_streams import DynamoStreamReader
from replicator.connect import connect_store
from replicator.control.checkpoints import Checkpoints
from replicator.control.memory_control import MemoryControl
from replicator.domain.errors import InvalidConfig, RegionUnavailable
from replicator.domain.event import NewEvent
from replicator.domain.names import StreamId
from replicator.eventstore.appender import Write
from replicator.eventstore.event_items import from_item
from replicator.replication.batch_reader import Batch
from replicator.runtime.settings import Settings

ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/meridian-events/stream/1"


def error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "GetRecords")


@dataclass
class Shard:
    records: list[int]
    parent: str | None = None
    closed: bool = False
    trimmed: int = 0
    """How many of the records are gone."""


@dataclass
class FakeStreams:
    """A dynamodbstreams client over scripted shards. `failures` are raised, in turn, by get_records of that shard."""

    shards: dict[str, Shard]
    failures: dict[str, list[str]] = field(default_factory=dict)
    described: int = 0
    date: str | None = None
    """The time that answers have: `clock`'s, unless it is given."""
    clock: Callable[[], float] = lambda: 0.0

    def describe_stream(self, StreamArn: str, ExclusiveStartShardId: str | None = None) -> dict[str, Any]:  # noqa: N803
        self.described += 1
        names = list(self.shards)
        start = names.index(ExclusiveStartShardId) + 1 if ExclusiveStartShardId else 0
        page = [{"ShardId": n, "ParentShardId": self.shards[n].parent} for n in names[start : start + 2]]
        more = {"LastEvaluatedShardId": names[start + 1]} if len(names) > start + 2 else {}
        return {**self._told(), "StreamDescription": {"Shards": page, **more}}

    def get_shard_iterator(self, **request: Any) -> dict[str, Any]:
        shard = self._shard(request["ShardId"])
        if request["ShardIteratorType"] == "TRIM_HORIZON":
            return {"ShardIterator": f"{request['ShardId']}@{shard.trimmed}"}
        position = shard.records.index(int(request["SequenceNumber"])) + 1
        if position < shard.trimmed:
            raise error("TrimmedDataAccessException")
        return {"ShardIterator": f"{request['ShardId']}@{position}"}

    def get_records(self, ShardIterator: str, Limit: int) -> dict[str, Any]:  # noqa: N803
        name, at = ShardIterator.split("@")
        shard = self._shard(name)
        if self.failures.get(name):
            raise error(self.failures[name].pop(0))
        end = min(int(at) + Limit, len(shard.records))
        records = [{"dynamodb": {"SequenceNumber": str(n)}} for n in shard.records[int(at) : end]]
        following = None if shard.closed and end == len(shard.records) else f"{name}@{end}"
        answer = {**self._told(), "Records": records}
        return {**answer, **({"NextShardIterator": following} if following else {})}

    def _told(self) -> dict[str, Any]:
        date = formatdate(self.clock(), usegmt=True) if self.date is None else self.date
        return {"ResponseMetadata": {"HTTPHeaders": {"date": date}}}

    def _shard(self, name: str) -> Shard:
        if name not in self.shards:
            raise error("ResourceNotFoundException")
        return self.shards[name]


@dataclass
class Bench:
    """A reader over a fake, its checkpoints and its time. `read` polls, commits and returns the record numbers."""

    fake: FakeStreams
    control: MemoryControl = field(default_factory=MemoryControl)
    now: float = 0.0
    trimmed: int = 0

    def __post_init__(self) -> None:
        self.fake.clock = lambda: self.now
        self.restart()

    def restart(self) -> None:
        settings = Settings("us-east-1", batch_size=2, attempts=1)
        checkpoints = Checkpoints(self.control, "replicator")
        self.reader = DynamoStreamReader(self.fake, ARN, checkpoints, settings, lambda: self.now)  # type: ignore[arg-type]

    def read(self, polls: int = 12, commit: bool = True) -> list[int]:
        found: list[int] = []
        for _ in range(polls):
            try:
                batches = self.reader.poll()
            except RegionUnavailable:
                continue  # as the worker does: wait, and poll again
            self.trimmed += sum(batch.trimmed for batch in batches)
            for batch in batches:
                found += numbers([batch])
                if commit:
                    self.reader.commit(batch)
        return found


def numbers(batches: Sequence[Batch]) -> list[int]:
    return [int(record["dynamodb"]["SequenceNumber"]) for batch in batches for record in batch.records]


HOUR = 3600.0


def away(bench: Bench, hours: float) -> None:
    """The reader ends, and another starts so much later."""
    bench.now += hours * HOUR
    bench.restart()
    bench.trimmed = 0


def test_parents_are_read_to_their_end_before_their_children() -> None:
    shards = {
        "c": Shard([5, 6, 7], parent="a"),
        "d": Shard([8], parent="b"),
        "a": Shard([1, 2, 3, 4], closed=True),
        "b": Shard([20, 21, 22], closed=False),
    }
    bench = Bench(FakeStreams(shards))
    found = bench.read()
    assert [n for n in found if n < 8] == [1, 2, 3, 4, 5, 6, 7]
    assert [n for n in found if n >= 20] == [20, 21, 22]
    assert 8 not in found  # its parent is still open
    shards["b"].closed = True
    assert bench.read() == [8]


def test_a_shard_that_splits_while_it_is_read_is_followed_into_its_children_at_once() -> None:
    fake = FakeStreams({"a": Shard([1, 2, 3])})
    bench = Bench(fake)
    assert bench.read() == [1, 2, 3]
    fake.shards["a"].records.append(4)
    fake.shards["a"].closed = True
    fake.shards |= {"b": Shard([5, 7], parent="a"), "c": Shard([6, 8], parent="a")}
    found = bench.read()  # without any time passing
    assert found[0] == 4
    assert sorted(found) == [4, 5, 6, 7, 8]


def test_all_pages_of_the_stream_description_are_read() -> None:
    bench = Bench(FakeStreams({f"s{n}": Shard([n]) for n in range(1, 8)}))
    assert sorted(bench.read()) == list(range(1, 8))


def test_shards_are_looked_for_only_now_and_then() -> None:
    bench = Bench(FakeStreams({"a": Shard([])}))
    bench.read(polls=50)
    assert bench.fake.described == 1
    bench.now = 11
    bench.read(polls=50)
    assert bench.fake.described == 2


def test_an_expired_iterator_is_replaced_and_nothing_is_skipped() -> None:
    fake = FakeStreams({"a": Shard([1, 2, 3, 4, 5])})
    bench = Bench(fake)
    assert bench.read(polls=1) == [1, 2]
    fake.failures["a"] = ["ExpiredIteratorException"]
    assert bench.read() == [3, 4, 5]
    fake.failures["a"] = ["ExpiredIteratorException"]  # also before the first record
    bench.restart()
    fake.shards["a"].records += [6]
    assert bench.read() == [6]


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "InternalServerError"])
def test_a_throttled_shard_loses_no_records_of_the_others(code: str) -> None:
    shards = {"a": Shard([1, 2, 3]), "b": Shard([4, 5, 6]), "c": Shard([7, 8, 9])}
    bench = Bench(FakeStreams(shards, failures={"b": [code, code]}))
    assert sorted(bench.read()) == list(range(1, 10))


def test_a_first_start_without_a_checkpoint_says_that_records_may_be_lost() -> None:
    bench = Bench(FakeStreams({"a": Shard([])}))
    (batch,) = bench.reader.poll()
    assert batch.trimmed
    assert not any(b.trimmed for b in bench.reader.poll())


def test_a_restart_goes_on_after_the_last_commit_and_says_nothing_is_lost() -> None:
    fake = FakeStreams({"a": Shard([1, 2, 3, 4], closed=True), "b": Shard([5, 6, 7, 8], parent="a")})
    bench = Bench(fake)
    assert bench.read(polls=2) == [1, 2, 3, 4, 5, 6]
    assert bench.read(polls=1, commit=False) == [7, 8]
    away(bench, 0)
    assert bench.read() == [7, 8]
    bench.restart()
    assert bench.read() == []
    assert bench.trimmed == 0


def test_trimmed_records_are_said_to_be_lost_and_reading_goes_on_with_what_is_left() -> None:
    fake = FakeStreams({"a": Shard([1, 2, 3, 4, 5, 6])})
    bench = Bench(fake)
    assert bench.read(polls=1) == [1, 2]
    away(bench, 0)
    fake.shards["a"].trimmed = 4
    assert bench.read() == [5, 6]
    assert bench.trimmed == 1


def test_an_iterator_that_was_trimmed_under_the_reader_is_said_so() -> None:
    fake = FakeStreams({"a": Shard([1, 2, 3, 4])})
    bench = Bench(fake)
    assert bench.read(polls=1) == [1, 2]
    bench.trimmed = 0
    fake.shards["a"].trimmed = 3
    fake.failures["a"] = ["TrimmedDataAccessException"]
    assert bench.read() == [4]
    assert bench.trimmed == 1


@pytest.mark.parametrize(("seconds", "trimmed"), [(1200, 0), (25 * HOUR, 1)])
def test_a_shard_without_a_record_yet_may_have_lost_some_when_not_read_for_a_day(seconds: float, trimmed: int) -> None:
    """It has no position by which the stream could tell that it trimmed what came and went meanwhile."""
    fake = FakeStreams({"a": Shard([1]), "b": Shard([])})
    bench = Bench(fake)
    assert bench.read() == [1]
    bench.trimmed = 0
    fake.shards["b"] = Shard([2, 3], trimmed=trimmed)
    fake.failures["b"] = ["ExpiredIteratorException"]
    bench.now = seconds
    assert bench.read() == [2, 3][trimmed:]
    assert bench.trimmed == trimmed


@pytest.mark.parametrize(("hours", "trimmed"), [(5, 0), (22, 0), (25, 1)])
def test_a_child_that_was_not_begun_before_a_day_s_pause_may_have_lost_records(hours: float, trimmed: int) -> None:
    """The parent's end is committed, the child has no position, and nobody else tells what the stream has trimmed of it."""
    fake = FakeStreams({"a": Shard([1, 2], closed=True), "b": Shard([], parent="a")})
    bench = Bench(fake)
    assert bench.read() == [1, 2]
    away(bench, hours)
    fake.shards["b"] = Shard([3, 4], parent="a", trimmed=trimmed)
    assert bench.read() == [3, 4][trimmed:]
    assert bench.trimmed == trimmed


def test_a_stream_whose_quiet_shards_are_rolled_is_not_compared_when_a_reader_comes_back() -> None:
    """As DynamoDB does every four hours or so: the youngest shard has no checkpoint, and is not old."""
    bench = Bench(FakeStreams({"a": Shard([1]), "b0": Shard([])}))
    for hour in range(30):
        bench.read(polls=3)
        bench.now += HOUR
        if hour % 4 == 3:
            bench.fake.shards[f"b{hour // 4}"].closed = True
            bench.fake.shards[f"b{hour // 4 + 1}"] = Shard([], parent=f"b{hour // 4}")
    away(bench, 12)
    bench.fake.shards["b7"] = Shard([2], parent="b6")
    assert bench.read() == [2]
    assert bench.trimmed == 0


def test_an_empty_page_is_not_taken_for_the_end_of_a_shard() -> None:
    """A stream may give empty pages before records that come later."""
    bench = Bench(FakeStreams({"a": Shard([1]), "b": Shard([])}))
    assert bench.read() == [1]
    away(bench, 20)
    bench.read()  # pages of b are empty, and an old record comes behind them
    away(bench, 5)
    bench.fake.shards["b"] = Shard([2, 3], trimmed=1)
    assert bench.read() == [3]
    assert bench.trimmed == 1


def test_empty_pages_make_no_shard_young_while_it_runs_either() -> None:
    bench = Bench(FakeStreams({"a": Shard([1]), "b": Shard([])}))
    assert bench.read() == [1]
    bench.trimmed = 0
    for _ in range(20):
        bench.now += HOUR
        bench.read(polls=1)
    bench.fake.shards["b"] = Shard([2, 3], trimmed=1)  # behind pages that were empty
    bench.fake.failures["b"] = ["ExpiredIteratorException"]
    bench.now += 5 * HOUR
    assert bench.read() == [3]
    assert bench.trimmed == 1


def test_how_long_a_reader_was_away_counts_also_when_a_shard_cannot_be_read_at_first() -> None:
    bench = Bench(FakeStreams({"a": Shard([1]), "b": Shard([])}))
    assert bench.read() == [1]
    bench.fake.shards["b"] = Shard([2, 3])
    away(bench, 22)
    bench.fake.failures["b"] = ["InternalServerError", "InternalServerError", "ExpiredIteratorException"]
    bench.read(polls=2)
    bench.now += 3 * HOUR
    bench.fake.shards["b"].trimmed = 1
    assert bench.read() == [3]
    assert bench.trimmed == 1


@pytest.mark.parametrize("closed", [False, True])
def test_what_was_read_and_not_dealt_with_keeps_its_age(closed: bool) -> None:
    bench = Bench(FakeStreams({"a": Shard([1]), "b": Shard([])}))
    assert bench.read() == [1]
    bench.fake.shards["b"] = Shard([2, 3], closed=closed)
    away(bench, 20)
    assert bench.read(commit=False) == [2, 3]  # killed before it has dealt with them
    away(bench, 5)
    bench.fake.shards["b"].trimmed = 1
    assert bench.read() == [3]
    assert bench.trimmed == 1


def test_a_loss_that_was_said_and_not_dealt_with_is_said_again() -> None:
    bench = Bench(FakeStreams({"a": Shard([1]), "b": Shard([])}))
    assert bench.read() == [1]
    away(bench, 30)
    bench.read(commit=False)
    assert bench.trimmed == 1
    away(bench, 1)
    bench.read()
    assert bench.trimmed == 1
    away(bench, 1)
    bench.read()
    assert bench.trimmed == 0


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_where_the_service_tells_no_time_records_may_be_lost(date: str) -> None:
    bench = Bench(FakeStreams({"a": Shard([1]), "b": Shard([])}, date=date))
    assert bench.read() == [1]
    away(bench, 0)
    bench.read()
    assert bench.trimmed == 1


def test_a_note_that_cannot_be_written_stops_no_reading_and_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(FakeStreams({"a": Shard([1])}))

    def down(*_: object) -> None:
        raise RegionUnavailable("down")

    checkpoints = Checkpoints(bench.control, "replicator")
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "mark", down)
        assert bench.read() == [1]
    assert checkpoints.marked(ARN) == -math.inf
    bench.now += 100.0
    bench.read()
    assert checkpoints.marked(ARN) == 0.0  # when the stream was described


def test_readers_of_an_earlier_version_pass_over_the_note() -> None:
    """They take every key of the scope for a shard, and one that is closed and gone for nothing."""
    bench = Bench(FakeStreams({"a": Shard([1])}))
    assert bench.read() == [1]
    notes = {key: value for key, value in bench.control.get_all("checkpoint#replicator") if key != "a"}
    assert [(value["closed"], value["position"], "mark" in value) for value in notes.values()] == [(True, None, True)]


def test_a_reader_that_ends_soon_after_its_first_commit_has_left_its_note() -> None:
    """As a command does, which reads everything and then commits."""
    bench = Bench(FakeStreams({"a": Shard([1]), "b": Shard([])}))
    batches = [batch for _ in range(3) for batch in bench.reader.poll()]
    for batch in batches:
        bench.reader.commit(batch)
    away(bench, 1)
    bench.fake.shards["c"] = Shard([2])
    assert bench.read() == [2]
    assert bench.trimmed == 0


def test_a_shard_that_vanished_before_its_end_is_said_to_be_lost() -> None:
    fake = FakeStreams({"a": Shard([1, 2, 3]), "b": Shard([9])})
    bench = Bench(fake)
    assert sorted(bench.read(polls=1)) == [1, 2, 9]
    bench.trimmed = 0
    del fake.shards["a"]
    fake.shards["c"] = Shard([4], parent="a")
    assert bench.read() == [4]
    assert bench.trimmed >= 1


@pytest.mark.parametrize(
    ("closed", "parent", "lost"),
    [
        pytest.param(False, "b", True, id="an open shard vanished"),
        pytest.param(True, "b", True, id="a child of a closed shard held records and has aged out"),
        pytest.param(True, "a", False, id="the next generation is there"),
    ],
)
def test_shards_that_came_or_went_between_two_runs_are_said_to_be_lost(closed: bool, parent: str, lost: bool) -> None:
    bench = Bench(FakeStreams({"a": Shard([1, 2], closed=closed)}))
    assert bench.read() == [1, 2]  # where it is closed, its end is committed
    away(bench, 0)
    bench.fake.shards = {"c": Shard([7], parent=parent)}
    assert bench.read() == [7]
    assert (bench.trimmed >= 1) == lost


def test_checkpoints_of_a_table_made_anew_do_not_count() -> None:
    bench = Bench(FakeStreams({"a": Shard([1, 2])}))
    Checkpoints(bench.control, "replicator").save("arn:old", "a", "2", closed=False)
    assert bench.read() == [1, 2]
    assert bench.trimmed == 1


def test_a_shard_that_fails_holds_up_no_other_and_is_said_when_it_is_alone() -> None:
    fake = FakeStreams({"a": Shard([1, 2, 3]), "b": Shard([4]), "c": Shard([9], parent="b")})
    bench = Bench(fake)
    fake.failures["a"] = ["ProvisionedThroughputExceededException"]
    assert bench.read(polls=1) == [4]
    fake.failures["b"] = ["ExpiredIteratorException"]
    assert bench.read(polls=1) == [1, 2]
    fake.shards["b"].closed = True
    assert bench.read(polls=3) == [3, 9]
    fake.failures["a"] = ["InternalServerError"]
    with pytest.raises(RegionUnavailable):
        bench.reader.poll()


@pytest.mark.emulator
def test_every_append_comes_once_in_lane_order_and_after_a_restart_only_what_was_not_committed(settings: Settings) -> None:
    store, control = connect_store(settings), DynamoControl(settings)
    reader = DynamoStreamReader.connect(settings, Checkpoints(control, "replicator"))
    appended = [
        event
        for n in range(6)
        for event in store.append_all([Write(StreamId("u", str(s)), (NewEvent("x", {"n": n}),) * 4) for s in range(5)])
    ]

    def drain(reader: DynamoStreamReader, commit: bool) -> list[Any]:
        found = []
        for batch in (b for _ in range(4) for b in reader.poll()):
            found += [from_item(record["dynamodb"]["NewImage"]) for record in batch.records]
            if commit:
                reader.commit(batch)
        return sorted(found, key=lambda e: e.lane.key)  # stable: keeps each lane's order

    expected = sorted(appended, key=lambda e: e.lane.key)
    assert drain(reader, commit=True) == expected
    later = store.append("u/0", *[NewEvent("later", {})] * 3)
    assert drain(reader, commit=False) == list(later)
    assert math.isfinite(reader._shards.told), "the service says what time it is"
    restarted = DynamoStreamReader.connect(settings, Checkpoints(control, "replicator"))
    assert drain(restarted, commit=True) == list(later)
    assert drain(DynamoStreamReader.connect(settings, Checkpoints(control, "replicator")), commit=True) == []


@pytest.mark.emulator
def test_a_table_without_a_stream_is_refused_by_name(settings: Settings) -> None:
    checkpoints = Checkpoints(MemoryControl(), "replicator")
    broken = Settings("us-east-1", prefix=f"{settings.prefix}-none", endpoints=settings.endpoints)
    with pytest.raises(InvalidConfig, match=f"{settings.prefix}-none-events does not exist"):
        DynamoStreamReader.connect(broken, checkpoints)
