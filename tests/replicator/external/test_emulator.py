"""On real servers: DynamoDB feeds the internal bus itself, the publisher writes to Kinesis, a consumer reads it."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos.world.world import World, WorldOptions
from replicator.aws import clients
from replicator.aws.control_table import DynamoControl
from replicator.aws.event_table import DynamoStorage
from replicator.aws.kinesis import KinesisDestination, KinesisReader, create_streams, require_stream
from replicator.aws.tables import create_tables
from replicator.connect import connect_consumer, connect_publish_worker, connect_store
from replicator.control.checkpoints import Checkpoints
from replicator.control.quarantine import Quarantine
from replicator.domain.errors import InvalidConfig, RegionRefuses
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import LaneId, StreamId
from replicator.external import ExternalEvent
from replicator.external.publish_worker import PublishWorker
from replicator.external.publisher import Publisher
from replicator.external.waves import Outgoing
from replicator.runtime.settings import Settings
from tests.processes import HANGING_SECONDS, Started, started, wait_until

from externals import Accounts, Crashed  # isort: skip

pytestmark = pytest.mark.emulator
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(
        ["us-east-1"], options=WorldOptions(workers=False, services="dynamodb,dynamodbstreams,kinesis", tables=False)
    ) as made:
        yield made


@pytest.fixture
def region(world: World) -> Settings:
    """Settings of a region with tables, an internal bus that DynamoDB feeds, and a stream of external events."""
    prefix = f"t{uuid.uuid4().hex[:12]}"
    settings = replace(world.settings("us-east-1"), prefix=prefix, external="externals:Accounts", poll_interval=0.05)
    create_tables(settings)
    assert create_streams(settings) == [f"stream {settings.bus_stream}", f"stream {settings.external_stream}"]
    assert create_streams(settings) == []
    return settings


PAYLOADS: dict[str, dict[str, Any]] = {
    "registered": {"plan": "plus", "name": "Homér", "ssn": "078-05-1120"},
    "moved": {"to": {"city": "Springfield"}},
    "inner": {"secret": 1},
}


def append(settings: Settings, stream: str, *types: str) -> tuple[Event, ...]:
    return connect_store(settings).append(f"user/{stream}", *[NewEvent(name, PAYLOADS[name]) for name in types])


def expected(settings: Settings) -> dict[LaneId, list[ExternalEvent]]:
    """The transformation of the lanes as the table has them."""
    storage = DynamoStorage(settings)
    found: dict[LaneId, list[ExternalEvent]] = {}
    for lane, _ in storage.lanes():
        for event in storage.read(lane):
            out = found.setdefault(lane, [])
            made = Accounts.transform(event, out[-1].sequence if out else 0)
            out += [made] if made else []
    return found


def consumed(settings: Settings, name: str = "c") -> dict[LaneId, list[ExternalEvent]]:
    """What a consumer's handler is called with until there is nothing more."""
    found: dict[LaneId, list[ExternalEvent]] = {}
    consumer = connect_consumer(
        settings, name, lambda event: found.setdefault(event.lane, []).append(event), DynamoControl(settings)
    )
    idle = 0
    while idle < 3:
        idle = 0 if consumer.step() else idle + 1
    return found


def drained(worker: PublishWorker) -> PublishWorker:
    idle = 0
    while idle < 3:
        idle = 0 if worker.step() else idle + 1
    return worker


def test_what_a_consumer_gets_is_the_transformation_of_the_lanes(region: Settings) -> None:
    for _ in range(4):
        append(region, "homer", "registered", "inner", "moved")
        append(region, "marge", "moved")
    drained(connect_publish_worker(region))
    found = consumed(region)
    assert found == expected(region)
    assert sum(map(len, found.values())) == 12
    assert consumed(region) == {}
    append(region, "homer", "moved")
    drained(connect_publish_worker(region))
    assert [event.sequence for event in consumed(region)[LaneId("us-east-1", StreamId("user", "homer"))]] == [13]


class DiesAfterPutting:
    """A destination whose process is killed once it has put so many requests, before anything is saved."""

    def __init__(self, settings: Settings, requests: int) -> None:
        self._real = KinesisDestination(settings, settings.external_stream)
        self._requests = requests

    def put(self, records: list[Outgoing]) -> Any:
        answer = self._real.put(records)
        self._requests -= 1
        if not self._requests:
            raise Crashed
        return answer


@pytest.mark.parametrize("requests", [1, 2, 3])
def test_killed_between_putting_and_saving_nothing_is_skipped_or_handled_twice(region: Settings, requests: int) -> None:
    append(region, "homer", "registered", "inner", "moved", "moved")
    append(region, "marge", "moved", "registered", "moved")
    reader = KinesisReader.connect(region, region.bus_stream, Checkpoints(DynamoControl(region), "publisher"))
    store, control = connect_store(region), DynamoControl(region)
    publisher = Publisher(Accounts, store, control, DiesAfterPutting(region, requests))  # type: ignore[arg-type]
    with pytest.raises(Crashed):
        drained(PublishWorker(publisher, reader, region.events_table, 0.01))
    before = consumed(region)  # the consumer sees what went out before the crash …
    drained(connect_publish_worker(region))
    after = consumed(region)  # … and each of the rest once
    both = {lane: before.get(lane, []) + after.get(lane, []) for lane in before.keys() | after.keys()}
    assert both == expected(region)


def test_a_split_of_both_streams_is_followed(region: Settings) -> None:
    kinesis = clients.kinesis(region, region.region)
    found: dict[LaneId, list[ExternalEvent]] = {}
    for n in range(3):
        for stream in ("homer", "marge", "bart", "lisa"):
            append(region, stream, "moved", "registered")
        drained(connect_publish_worker(region))
        for lane, events in consumed(region).items():
            found.setdefault(lane, []).extend(events)
        # ministack drops a split shard with what it holds, where AWS keeps it until it ages out: hence only when read.
        for name in (region.bus_stream, region.external_stream) if n < 2 else ():
            shard = kinesis.list_shards(StreamName=name)["Shards"][0]
            low, high = (int(shard["HashKeyRange"][f"{end}HashKey"]) for end in ("Starting", "Ending"))
            kinesis.split_shard(StreamName=name, ShardToSplit=shard["ShardId"], NewStartingHashKey=str((low + high) // 2))
    assert found == expected(region)


def test_what_is_put_on_the_bus_by_others_is_quarantined_and_holds_up_nothing(region: Settings) -> None:
    kinesis = clients.kinesis(region, region.region)
    (event,) = append(region, "homer", "moved")
    for data in (b"\x00", b"{}", json.dumps({"tableName": "other", "dynamodb": {}}).encode()):
        kinesis.put_record(StreamName=region.bus_stream, PartitionKey="x", Data=data)
    dynamodb = clients.dynamodb(region, region.region)
    key = {"pk": {"S": event.lane.key}, "sk": {"S": "0000000000000001"}}
    item = dynamodb.get_item(TableName=region.events_table, Key=key)["Item"]
    dynamodb.put_item(TableName=region.events_table, Item={**item, "hlc": {"S": "x"}})
    dynamodb.put_item(TableName=region.events_table, Item=item)
    append(region, "homer", "registered")
    drained(connect_publish_worker(region))
    assert consumed(region) == expected(region)
    records = dict(Quarantine(DynamoControl(region), "us-east-1>external").records())
    assert sum("no change of a table" in value["reason"] for value in records.values()) == 2
    assert "table other" in records
    assert "MODIFY" in records[f"{event.lane.key} 0000000000000001"]["reason"]


def test_a_function_publishes_a_batch_as_a_mapping_hands_it_over(
    region: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from replicator import handlers

    append(region, "homer", "registered", "moved")
    kinesis = clients.kinesis(region, region.region)
    messages = []
    for shard in kinesis.list_shards(StreamName=region.bus_stream)["Shards"]:
        request: Any = {"StreamName": region.bus_stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"}
        iterator = kinesis.get_shard_iterator(**request)["ShardIterator"]
        messages += [as_message(record) for record in kinesis.get_records(ShardIterator=iterator)["Records"]]
    monkeypatch.setattr(handlers, "read_settings", lambda: region)
    monkeypatch.setattr(handlers.logs, "configure_logs", lambda: None)
    handlers._published.cache_clear()
    try:
        context = type("Context", (), {"get_remaining_time_in_millis": lambda self: 60_000})()
        assert handlers.publish({"Records": messages}, context) == {"batchItemFailures": []}
    finally:
        handlers._published.cache_clear()
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["EventsPublished"] == [2.0]
    assert consumed(region) == expected(region)


def as_message(record: Any) -> dict[str, Any]:
    from base64 import b64encode

    return {"kinesis": {"sequenceNumber": record["SequenceNumber"], "data": b64encode(record["Data"]).decode()}}


def test_streams_that_do_not_exist_are_refused_by_name(region: Settings) -> None:
    nowhere = replace(region, prefix=f"{region.prefix}-none")
    with pytest.raises(InvalidConfig, match="none-events does not exist in us-east-1; run"):
        KinesisReader.connect(nowhere, nowhere.bus_stream, Checkpoints(DynamoControl(region), "publisher"))
    with pytest.raises(InvalidConfig, match="none-external does not exist"):
        require_stream(nowhere, nowhere.external_stream)
    with pytest.raises(RegionRefuses, match="none-external not found"):  # gone since: it is waited for
        KinesisDestination(nowhere, nowhere.external_stream).put([Outgoing("k", b"x")])


@contextmanager
def publishing(settings: Settings, log: Path) -> Iterator[Started]:
    """`replicator publish` as a process."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent),
        "MERIDIAN_ENDPOINTS": f"us-east-1={settings.endpoint('us-east-1')}",
        "MERIDIAN_POLL_INTERVAL": "0.02",
    }
    command = [sys.executable, "-c", "from replicator.cli.app import main; main()", "publish"]
    options = ["--external", "externals:Accounts", "--region", "us-east-1", "--prefix", settings.prefix]
    with log.open("a") as errors, started([*command, *options], environment, stderr=errors) as running:
        yield running


def test_the_command_publishes_until_it_is_stopped(region: Settings, tmp_path: Path) -> None:
    append(region, "homer", "registered", "moved")
    with publishing(region, tmp_path / "log") as command:
        found: dict[LaneId, list[ExternalEvent]] = {}
        wait_until(lambda: found.update(consumed(region, name=uuid.uuid4().hex)) or found or not command.running, "an event")
        command.send(signal.SIGTERM)
        assert command.wait() == 143
    log = (tmp_path / "log").read_text()
    assert found == expected(region), log
    assert "publisher.stopped" in log
    assert "078-05-1120" not in log


def test_two_publishers_killed_in_turn_while_events_are_appended_skip_nothing(region: Settings, tmp_path: Path) -> None:
    running: dict[int, Started] = {}
    found: dict[LaneId, list[ExternalEvent]] = {}
    missed: list[str] = []
    pause, store = threading.Event(), connect_store(region)
    consumer = connect_consumer(
        region,
        "c",
        lambda event: found.setdefault(event.lane, []).append(event),
        DynamoControl(region),
        missed=lambda event, _: missed.append(event.id),
    )
    with ExitStack() as stack:
        for turn in range(2):
            running[turn] = stack.enter_context(publishing(region, tmp_path / "log"))
        for turn in range(6):
            for _ in range(10):
                for stream in ("homer", "marge", "bart"):
                    store.append(f"user/{stream}", *[NewEvent(name, PAYLOADS[name]) for name in PAYLOADS])
            pause.wait(0.5)
            consumer.step()
            running[turn % 2].end()
            running[turn % 2] = stack.enter_context(publishing(region, tmp_path / "log"))
        wanted = expected(region)
        wait_until(lambda: (consumer.step(), found == wanted)[1], "all events")
    assert found == wanted, (tmp_path / "log").read_text()
    assert missed == []


def test_the_example_for_consumers_does_what_it_says(region: Settings) -> None:
    text = (ROOT / "docs/external-events.md").read_text()
    (example,) = re.findall(r"```python\n(# consumer.*?)```", text, re.DOTALL)
    assert len(example.splitlines()) <= 20
    append(region, "homer", "registered", "moved")
    drained(connect_publish_worker(region))
    billing = replace(region, prefix=f"{region.prefix}-billing")
    create_tables(billing)
    stop, printed = threading.Event(), []

    def show(*words: Any) -> None:
        printed.append(" ".join(map(str, words)))
        if len(printed) == 2:
            stop.set()

    def settings(prefix: str) -> Settings:
        return {"meridian": region, "billing": billing}[prefix]

    source = example.replace('Settings("eu-west-1")', "given('meridian')")
    source = source.replace('Settings("eu-west-1", prefix="billing")', "given('billing')")
    thread = threading.Thread(target=exec, args=(source, {"given": settings, "stop": stop, "print": show}), daemon=True)
    thread.start()
    thread.join(HANGING_SECONDS)
    assert not thread.is_alive()
    lane = "us-east-1#user#homer"
    assert printed == [
        f"{lane}#0000000000000001 com.example.account.opened {{'by': None, 'displayName': 'Homér', 'plan': 'plus'}}",
        f"{lane}#0000000000000002 com.example.account.moved {{'city': 'Springfield'}}",
    ]
