"""The consumer library: once each and in lane order, through restarts and resharding; what a crash can do is come again."""

from __future__ import annotations

import re
import sqlite3
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from replicator.aws.kinesis import KinesisReader
from replicator.control.checkpoints import Checkpoints
from replicator.control.memory_control import MemoryControl
from replicator.domain.errors import InvalidEvent, RegionUnavailable
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import LaneId
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.store import EventStore
from replicator.external import (
    ControlMarks,
    Deduplicator,
    External,
    ExternalConsumer,
    ExternalEvent,
    Marks,
    from_lambda,
    publish,
)
from replicator.external.waves import partition_key
from replicator.runtime.settings import Settings
from tests.replicator.memories import Killed

from externals import Accounts, FakeKinesis  # isort: skip

SETTINGS = Settings("us-east-1", batch_size=2, attempts=1)


@dataclass
class Bench:
    """A stream in memory that a publisher has filled, and a consumer with its state. `restart` forgets all but that."""

    kinesis: FakeKinesis = field(default_factory=FakeKinesis)
    control: MemoryControl = field(default_factory=MemoryControl)
    handled: list[ExternalEvent] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    die_at: int = 0
    region: str = "us-east-1"
    store: EventStore = field(default_factory=lambda: EventStore(MemoryStorage(), "us-east-1", ["us-east-1"]))
    expected: dict[LaneId, list[ExternalEvent]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, marks: Marks | None = None) -> None:
        self.now = getattr(self, "now", 0.0)
        identity = f"arn:aws:kinesis:{self.region}:000000000000:stream/meridian-external@1"
        checkpoints = Checkpoints(self.control, "consumer#c")
        reader = KinesisReader(self.kinesis, identity, checkpoints, SETTINGS, lambda: self.now)  # type: ignore[arg-type]
        deduplicator = Deduplicator(
            marks or ControlMarks(self.control, "c"), missed=lambda event, _: self.missed.append(event.id)
        )
        self.consumer = ExternalConsumer(
            reader, self.handle, deduplicator, not_ours=lambda position, error: self.strange.append(str(error))
        )

    def handle(self, event: ExternalEvent) -> None:
        self.handled.append(event)
        if len(self.handled) == self.die_at:
            raise Killed

    def publish(self, *streams: str, times: int = 1) -> list[ExternalEvent]:
        events: list[Event] = []
        for stream in streams:
            events += self.store.append(f"user/{stream}", *[NewEvent("moved", {"to": {"city": "Springfield"}})])
        made = []
        for event in events:
            lane = self.expected.setdefault(event.lane, [])
            external = Accounts.transform(event, lane[-1].sequence if lane else 0)
            assert external is not None
            lane.append(external)
            made.append(external)
            for _ in range(times):
                self.kinesis.put(partition_key(event.lane), external.encode())
        return made

    def drain(self) -> None:
        for _ in range(60):
            self.now += 11
            self.consumer.step()

    def by_lane(self) -> dict[LaneId, list[ExternalEvent]]:
        found: dict[LaneId, list[ExternalEvent]] = {}
        for event in self.handled:
            found.setdefault(event.lane, []).append(event)
        return found


STREAMS = [f"s{n}" for n in range(12)]


def test_every_event_is_handled_once_and_in_lane_order_though_the_stream_holds_it_twice() -> None:
    bench = Bench()
    for _ in range(3):
        bench.publish(*STREAMS, times=2)
    bench.drain()
    assert bench.by_lane() == bench.expected
    assert bench.missed == bench.strange == []


def test_a_lane_is_followed_in_order_through_splits_and_merges() -> None:
    bench = Bench()
    bench.publish(*STREAMS)
    bench.kinesis.split("s0")
    bench.publish(*STREAMS)
    bench.kinesis.split("s0l")
    bench.publish(*STREAMS)
    bench.kinesis.merge("s0lr", "s0r")
    bench.publish(*STREAMS)
    bench.drain()
    assert bench.by_lane() == bench.expected


def test_resharding_while_the_consumer_runs_and_is_restarted_loses_and_repeats_nothing() -> None:
    bench = Bench()
    for change in (("split", "s0"), ("split", "s0l"), ("merge", "s0ll", "s0lr"), ("merge", "s0ll+s0lr", "s0r")):
        bench.publish(*STREAMS)
        bench.consumer.step()
        getattr(bench.kinesis, change[0])(*change[1:])
        bench.publish(*STREAMS)
        bench.restart()
        bench.consumer.step()
    bench.drain()
    assert bench.by_lane() == bench.expected


def test_a_restart_goes_on_and_calls_the_handler_for_nothing_again() -> None:
    bench = Bench()
    bench.publish(*STREAMS)
    bench.drain()
    bench.restart()
    bench.publish("s0")
    bench.drain()
    assert bench.by_lane() == bench.expected


@pytest.mark.parametrize("restarted", [True, False], ids=["another consumer", "the same one"])
@pytest.mark.parametrize("die_at", [1, 2, 5, 12, 13, 20])
def test_what_the_handler_raises_ends_it_and_that_event_comes_again(die_at: int, restarted: bool) -> None:
    bench = Bench()
    bench.publish(*STREAMS, times=2)
    bench.publish(*STREAMS)
    bench.die_at = die_at
    with pytest.raises(Killed):
        bench.drain()
    bench.die_at = 0
    assert bench.handled.pop() not in bench.handled
    if restarted:
        bench.restart()
    bench.drain()
    assert bench.by_lane() == bench.expected


class Fails(MemoryControl):
    """Takes so many puts, and then fails as a region does that is gone."""

    def __init__(self, puts: int) -> None:
        super().__init__()
        self.puts = puts

    def put(self, scope: str, values: dict[str, Any]) -> None:
        self.puts -= 1
        if self.puts < 0:
            raise RegionUnavailable("gone")
        super().put(scope, values)


@pytest.mark.parametrize("puts", range(8))
def test_killed_between_any_two_writes_of_its_state_it_skips_nothing(puts: int) -> None:
    bench = Bench(control=Fails(puts))
    bench.publish(*STREAMS[:3])
    bench.publish(*STREAMS[:3])
    with pytest.raises(RegionUnavailable):
        bench.drain()
    assert isinstance(bench.control, Fails)
    bench.control.puts = 1_000
    bench.restart()
    bench.drain()
    again = {lane: list(dict.fromkeys(events)) for lane, events in bench.by_lane().items()}
    assert again == bench.expected
    assert len(bench.handled) <= 6 + 2  # at most one batch comes again


class SqliteMarks:
    """Marks beside the effects, in one database: what the handler commits is both or neither."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database

    def get(self, lane: LaneId) -> int:
        row = self.database.execute("SELECT sequence FROM marks WHERE lane = ?", (lane.key,)).fetchone()
        return int(row[0]) if row else 0

    def save(self, marks: Mapping[LaneId, int]) -> None:
        """The handler has."""


@pytest.mark.parametrize("die_at", [1, 3, 6])
def test_marks_in_the_handlers_own_transaction_give_each_event_its_effect_exactly_once(die_at: int) -> None:
    database = sqlite3.connect(":memory:")
    database.executescript("CREATE TABLE marks (lane PRIMARY KEY, sequence); CREATE TABLE effects (id);")
    bench = Bench()
    calls = 0

    def handle(event: ExternalEvent) -> None:
        nonlocal calls
        with database:
            database.execute("INSERT INTO effects VALUES (?)", (event.id,))
            database.execute("REPLACE INTO marks VALUES (?, ?)", (event.lane.key, event.sequence))
        calls += 1
        if calls == die_at:
            raise Killed

    bench.publish(*STREAMS[:3])
    bench.publish(*STREAMS[:3])
    for _ in range(2):
        bench.restart(SqliteMarks(database))
        bench.consumer._handler = handle
        try:
            bench.drain()
        except Killed:
            continue
    effects = [row[0] for row in database.execute("SELECT id FROM effects ORDER BY id")]
    assert effects == sorted(event.id for events in bench.expected.values() for event in events)


def test_a_consumer_that_moves_to_another_region_with_its_marks_gets_nothing_twice() -> None:
    bench = Bench()
    events = bench.publish(*STREAMS)
    bench.drain()
    bench.kinesis, bench.region = FakeKinesis(), "eu-west-1"  # the same events, published there
    for event in reversed(events):
        bench.kinesis.put(partition_key(event.lane), event.encode())
    bench.publish("s3")
    bench.restart()
    bench.drain()
    assert bench.by_lane() == bench.expected
    assert bench.missed == []


def test_what_the_stream_trimmed_before_it_was_read_is_told() -> None:
    bench = Bench()
    bench.publish("s0")
    bench.drain()
    lost = bench.publish("s0", "s0")
    bench.kinesis.shards["s0"].trimmed = 3
    (event,) = bench.publish("s0")
    bench.restart()
    bench.drain()
    assert bench.missed == [event.id]
    assert lost[-1].id not in {each.id for each in bench.handled}


def test_what_is_no_external_event_is_told_and_holds_up_nothing() -> None:
    bench = Bench()
    bench.publish("s0")
    bench.kinesis.put("x", b"\x00garbage")
    bench.kinesis.put("x", b'{"specversion": "1.0"}')
    bench.publish("s0")
    bench.drain()
    assert bench.by_lane() == bench.expected
    assert len(bench.strange) == 2


class CountingMarks:
    def __init__(self) -> None:
        self.kept: dict[LaneId, int] = {}
        self.gets = self.saves = 0

    def get(self, lane: LaneId) -> int:
        self.gets += 1
        return self.kept.get(lane, 0)

    def save(self, marks: Mapping[LaneId, int]) -> None:
        self.saves += 1
        self.kept.update(marks)


def test_alone_the_deduplicator_remembers_a_bounded_number_of_lanes_and_forgets_nothing_unsaved() -> None:
    bench = Bench()
    events = bench.publish(*[f"x{n}" for n in range(200)])
    kept = CountingMarks()
    marks = Deduplicator(kept, keep=20)
    for event in [*events, *events]:
        if marks.is_new(event):
            marks.done(event)
        assert len(marks._known) <= 41
        assert len(marks._unsaved) <= 20
    marks.save()
    assert kept.kept == {event.lane: 1 for event in events}
    assert kept.saves == 10
    assert not any(marks.is_new(event) for event in events)
    assert not any(Deduplicator(kept).is_new(event) for event in events)


def test_what_was_handled_and_not_saved_is_remembered_though_other_lanes_were_used_since() -> None:
    events = Bench().publish("s0", "s1", "s2", "s3")
    marks = Deduplicator(CountingMarks(), keep=2)
    assert marks.is_new(events[0])
    marks.done(events[0])
    assert [marks.is_new(event) for event in events] == [False, True, True, True]
    assert not marks.is_new(events[0])


@pytest.mark.parametrize(("alone", "gets"), [(True, 1), (False, 5)])
def test_the_deduplicator_asks_for_a_lane_once_or_once_between_saves(alone: bool, gets: int) -> None:
    bench = Bench()
    events = bench.publish(*["s0"] * 10)
    kept = CountingMarks()
    marks = Deduplicator(kept, alone=alone)
    for number, event in enumerate(events, 1):
        assert marks.is_new(event)
        marks.done(event)
        if number % 2 == 0:
            marks.save()
    assert kept.gets == gets


def test_two_copies_of_a_function_that_take_turns_handle_nothing_twice_and_miss_nothing() -> None:
    bench = Bench()
    events = bench.publish(*["s0", "s1"] * 10)
    kept, missed = CountingMarks(), []
    copies = [Deduplicator(kept, missed=lambda event, _: missed.append(event)) for _ in range(2)]
    handled = []
    for start in range(0, 20, 2):  # each batch holds the one before it again
        marks = copies[start // 2 % 2]
        for event in events[max(start - 2, 0) : start + 2]:
            if marks.is_new(event):
                handled.append(event)
                marks.done(event)
        marks.save()
    assert handled == events
    assert missed == []


def example(name: str, **given: Any) -> dict[str, Any]:
    """Run the block of docs/external-events.md that begins with `# name`; returns what it defines."""
    text = (Path(__file__).parents[3] / "docs/external-events.md").read_text()
    (block,) = re.findall(rf"```python\n(# {name}.*?)```", text, re.DOTALL)
    exec(block, given)
    return given


def test_the_example_of_a_function_handles_each_event_once_and_keeps_its_marks() -> None:
    bench = Bench()
    events = bench.publish(*STREAMS, *STREAMS)
    handled: list[ExternalEvent] = []
    batch = {"Records": [{"kinesis": {"data": b64encode(event.encode()).decode()}} for event in events]}
    for _ in range(2):
        defined = example(
            "function.py", Deduplicator=Deduplicator, ControlMarks=ControlMarks, control=bench.control,
            from_lambda=from_lambda, handle=handled.append,
        )  # fmt: skip
        defined["handler"](batch, None)
        assert handled == events


def test_the_example_of_a_transformation_is_one() -> None:
    accounts = example("accounts.py", External=External, publish=publish)["Accounts"]
    assert {rule.to for rule in accounts.rules.values()} == {"com.example.account.opened", "com.example.account.moved"}


def test_a_record_from_lambda_is_read_and_one_without_data_refused() -> None:
    (event,) = Bench().publish("s0")
    assert from_lambda({"kinesis": {"data": b64encode(event.encode()).decode()}}) == event
    for bad in ({}, {"kinesis": None}, {"kinesis": {"data": "!"}}, {"kinesis": {"data": 3}}):
        with pytest.raises(InvalidEvent):
            from_lambda(bad)
