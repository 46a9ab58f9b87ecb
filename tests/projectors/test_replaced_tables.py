"""A projector whose events table is made anew goes on with the new one."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from projectors import Projection, counter
from projectors.connect import connect_projector_worker
from projectors.sinks.dynamodb import DynamoSink
from replicator.aws import clients
from replicator.aws.event_table import DynamoStorage
from replicator.aws.tables import create_tables
from replicator.domain.event import NewEvent
from replicator.eventstore.store import EventStore
from replicator.runtime.settings import Settings
from tests.replicator.test_worker import until


class Visits(Projection):
    name, stream_type = "visits", "user"
    count = counter(visited=lambda p: 1)


@pytest.mark.emulator
@pytest.mark.parametrize("away", [0.0, 1.5], ids=["at once", "later"])
def test_the_same_projector_goes_on_with_the_table_that_is_there_now(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, away: float
) -> None:
    monkeypatch.setattr("replicator.aws.shard_reader._LOOK_FOR_SHARDS_SECONDS", 0.3)
    here = replace(settings, poll_interval=0.1, read_timeout=20)
    sink, stop = DynamoSink(here), threading.Event()

    def viewed() -> dict[str, object]:
        return {view.key: view.value for view in sink.views("visits")}

    def append(stream: str) -> None:
        EventStore(DynamoStorage(here), here.region, here.regions).append(stream, NewEvent("visited", {}))

    append("user/before")
    with ThreadPoolExecutor(1) as pool:
        ran = pool.submit(connect_projector_worker(here, [Visits]).run, stop)
        try:
            until(lambda: len(viewed()) == 1)
            clients.dynamodb(here, here.region).delete_table(TableName=here.events_table)
            time.sleep(away)
            create_tables(here)
            append("user/after")
            until(lambda: ran.done() or len(viewed()) == 2)
            append("user/later")
            until(lambda: ran.done() or len(viewed()) == 3)
        finally:
            stop.set()
        ran.result(timeout=10)
    assert len(viewed()) == 3
