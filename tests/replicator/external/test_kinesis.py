"""The Kinesis reader: every record, each shard in order, parents first, and never past lost records in silence."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from replicator.aws.kinesis import KinesisReader
from replicator.aws.succession import Source, Succession
from replicator.control.checkpoints import Checkpoints
from replicator.control.memory_control import MemoryControl
from replicator.domain.errors import RegionRefuses, RegionUnavailable
from replicator.runtime.settings import Settings

from externals import FakeKinesis  # isort: skip

IDENTITY = "arn:aws:kinesis:us-east-1:000000000000:stream/meridian-events@1"


@dataclass
class Bench:
    kinesis: FakeKinesis = field(default_factory=FakeKinesis)
    control: MemoryControl = field(default_factory=MemoryControl)
    identity: str = IDENTITY
    now: float = 0.0
    trimmed: int = 0

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        settings = Settings("us-east-1", batch_size=2, attempts=1)
        checkpoints = Checkpoints(self.control, "publisher")
        self.reader = KinesisReader(self.kinesis, self.identity, checkpoints, settings, lambda: self.now)  # type: ignore[arg-type]
        self.trimmed = 0

    def put(self, *names: str) -> None:
        for name in names:
            self.kinesis.put("key", name.encode())

    def read(self, polls: int = 12, commit: bool = True) -> list[str]:
        found: list[str] = []
        for _ in range(polls):
            try:
                batches = self.reader.poll()
            except RegionUnavailable:
                continue
            for batch in batches:
                self.trimmed += batch.trimmed
                found += [record["Data"].decode() for record in batch.records]
                if commit:
                    self.reader.commit(batch)
        return found


def test_records_come_once_and_after_a_restart_only_what_was_not_committed() -> None:
    bench = Bench()
    bench.put("a", "b", "c")
    assert bench.read() == ["a", "b", "c"]
    assert bench.trimmed == 1  # nobody knows what came before the first start
    bench.put("d")
    assert bench.read(commit=False) == ["d"]
    bench.restart()
    assert bench.read() == ["d"]
    bench.restart()
    assert bench.read() == []
    bench.put("e")
    assert bench.read() == ["e"]
    assert bench.trimmed == 0


def test_parents_are_read_to_their_end_before_their_children_also_after_a_restart() -> None:
    bench = Bench()
    bench.put("a", "b", "c")
    bench.kinesis.split("s0")
    bench.put("d")
    bench.kinesis.merge("s0l", "s0r")
    bench.put("e")
    assert bench.read(polls=1) == ["a", "b"]
    bench.restart()
    assert bench.read() == ["c", "d", "e"]


@pytest.mark.parametrize("code", ["ExpiredIteratorException", "ProvisionedThroughputExceededException", "InternalFailure"])
def test_expired_iterators_and_throttling_skip_nothing(code: str) -> None:
    bench = Bench()
    bench.put(*"abcde")
    assert bench.read(polls=1) == ["a", "b"]
    bench.kinesis.failures["s0"] = [code, code]
    assert bench.read() == ["c", "d", "e"]
    bench.kinesis.failures["s0"] = [code]
    bench.put("f")
    assert bench.read() == ["f"]
    assert bench.trimmed == 1


def test_records_that_kinesis_trimmed_in_silence_are_said_to_be_lost() -> None:
    bench = Bench()
    bench.put(*"abcdef")
    assert bench.read(polls=1) == ["a", "b"]
    bench.restart()
    bench.kinesis.shards["s0"].trimmed = 4
    assert bench.read() == ["e", "f"]
    assert bench.trimmed == 1


def test_a_shard_that_aged_out_unread_is_said_to_be_lost() -> None:
    bench = Bench()
    bench.put("a", "b", "c")
    assert bench.read(polls=1) == ["a", "b"]
    bench.kinesis.split("s0")
    bench.put("d")
    del bench.kinesis.shards["s0"]
    bench.restart()
    assert bench.read() == ["d"]
    assert bench.trimmed >= 1
    bench.restart()
    bench.read()
    assert bench.trimmed == 0


def test_a_position_that_the_stream_does_not_know_means_lost_records_not_a_halt() -> None:
    bench = Bench()
    bench.put("a", "b")
    bench.read()
    bench.restart()
    bench.kinesis.failures["s0"] = ["InvalidArgumentException"]
    assert bench.read() == ["a", "b"]
    assert bench.trimmed == 1


def test_an_invalid_argument_that_no_position_explains_is_not_hidden() -> None:
    bench = Bench()
    bench.put("a")
    bench.kinesis.failures["s0"] = ["InvalidArgumentException"]
    with pytest.raises(RegionRefuses, match="InvalidArgumentException"):
        bench.reader.poll()
    assert bench.read() == ["a"]


def test_checkpoints_of_a_stream_that_had_the_name_before_do_not_count() -> None:
    bench = Bench()
    bench.put("a", "b")
    assert bench.read() == ["a", "b"]
    bench.identity = IDENTITY[:-1] + "2"
    bench.restart()
    assert bench.read() == ["a", "b"]
    assert bench.trimmed == 1


def test_a_stream_that_is_made_anew_is_gone_on_with_while_it_is_read() -> None:
    bench = Bench()
    bench.put("a", "b")
    bench.reader.succession = Succession(lambda: Source(bench.identity, bench.identity), bench.identity)
    assert bench.read() == ["a", "b"]
    bench.now += 11
    bench.reader.client = FakeKinesis()  # type: ignore[assignment]
    bench.kinesis, bench.identity = bench.reader.client, IDENTITY[:-1] + "2"
    bench.put("c")
    bench.trimmed = 0
    assert bench.read() == ["c"]
    assert bench.trimmed == 1
    assert Checkpoints(bench.control, "publisher").load(bench.identity).keys() == {"s0"}


def test_all_pages_of_the_list_of_shards_are_read() -> None:
    bench = Bench()
    bench.put("a")
    for name in ("s0", "s0l", "s0r", "s0rl", "s0ll"):
        bench.kinesis.split(name)
        bench.put(name)
    assert bench.read(polls=30)[0] == "a"
    assert set(bench.reader._shards.known) == set(bench.kinesis.shards)
