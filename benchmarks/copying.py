"""Copies of records to a peer, with lane order and fork detection, against writes there without any check."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any

import structlog

from benchmarks.bench import EAST, WEST, Bench
from benchmarks.events import Chains, record
from benchmarks.measure import Of, Row, Task, at_least, at_most
from benchmarks.peer import peer
from replicator import MemoryStorage, Settings
from replicator.aws import clients
from replicator.aws.event_table import DynamoStorage
from replicator.control.memory_control import MemoryControl
from replicator.control.quarantine import Quarantine
from replicator.domain.event import Event
from replicator.eventstore.event_items import to_item
from replicator.replication.copier import Copier
from replicator.replication.link_state import LinkState
from replicator.replication.stream_records import read_records

LANES = 1000
"""Number of lanes, each with an event a batch; the first batch loads the peer's heads and is not counted."""
ALONE = 300
FAR, FAR_ALONE, ROUND_TRIP_MS = "a peer 20 ms away", 50, 20.0
_LOOP, _EACH = "boto3 batch_write_item, no checks", "a put_item per record, one at a time"
_CPU, _RATE, _TWELVE = at_most(Of.CPU, 0.45), at_least(Of.RATE, 1.3), at_least(Of.RATE, 12.0)
TASKS = (
    Task("copy", _LOOP, (_CPU, _RATE)),
    Task("copy", _EACH, (_TWELVE,)),
    Task(f"copy, {FAR}", _LOOP, (_CPU, _RATE)),
    Task(f"copy, {FAR}", _EACH, (_TWELVE,)),
)

Records = list[dict[str, Any]]
Take = Callable[[], Records]


def rows(bench: Bench) -> Iterator[Row]:
    with bench.regions(WEST) as settings:
        for task in TASKS[:2]:
            yield _row(bench, task, settings, ALONE)
    with peer(ROUND_TRIP_MS) as url:
        for task in TASKS[2:]:
            yield _row(bench, task, Settings(WEST, endpoints={WEST: url}, read_timeout=30.0), FAR_ALONE)


def _row(bench: Bench, task: Task, settings: Settings, alone: int) -> Row:
    """Return the measured row. `alone` is the number of events a round if each has a request of its own."""
    client: Any = clients.dynamodb(settings, WEST)
    copier, table = copying(settings), settings.events_table
    each = task.baseline == _EACH
    take, others = (
        _stock(bench, f"{task.baseline[0]}o", LANES, record),
        _stock(bench, "t", alone if each else LANES, to_item),
    )

    def copy() -> None:
        events, refused = read_records(take(), EAST)
        if refused or copier.copy(events):
            raise RuntimeError("an event was not copied")

    def batch_write() -> None:
        for items in chunks(others(), 25):
            puts = [{"PutRequest": {"Item": item}} for item in items]
            client.batch_write_item(RequestItems={table: puts})

    def put_each() -> None:
        for item in others():
            client.put_item(TableName=table, Item=item)

    if each:
        return bench.compare(task, copy, put_each, LANES, theirs_events=alone, note="judged by rate")
    return bench.compare(task, copy, batch_write, LANES)


def _stock(bench: Bench, name: str, lanes: int, form: Callable[[Event], dict[str, Any]]) -> Take:
    """Return a source of batches of events, in this form: an event a lane, each following the previous one."""
    chains = Chains(EAST, f"{name}{next(_names)}x", lanes)
    made = [[form(event) for event in chains.grow()] for _ in range(bench.rounds + 1)]
    return iter(made).__next__


_names = count()


def copying(settings: Settings) -> Copier:
    """Return a copier to the settings' region, as a link has one. No event is missing, so it reads nothing at home."""
    quarantine = Quarantine(MemoryControl(), "bench")
    target = DynamoStorage(settings)
    return Copier(MemoryStorage(), target, quarantine, ThreadPoolExecutor(4), LinkState(), structlog.get_logger())


def chunks(records: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(records), size):
        yield records[start : start + size]
