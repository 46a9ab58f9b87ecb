"""Read of a page of the stream as the worker does, against boto3's get_records: a stub gives both the same bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator

from benchmarks.bench import EAST, Bench
from benchmarks.events import Chains, record
from benchmarks.measure import Row, Task
from benchmarks.peer import page, peer
from replicator import Settings
from replicator.aws import clients
from replicator.aws.dynamodb_api import Wire

RECORDS = 1000
TASKS = (Task(f"read a page of the stream, {RECORDS:,} records", "boto3 get_records", ()),)


def rows(bench: Bench) -> Iterator[Row]:
    with peer() as url:
        settings = Settings(EAST, endpoints={EAST: url}, read_timeout=30.0)
        records = [record(event) for event in Chains(EAST, "page", RECORDS).grow()]
        page(url, json.dumps({"Records": records, "NextShardIterator": "next"}).encode())
        client = clients.streams(settings, EAST)
        wire = Wire(client, settings)

        def ours() -> None:
            _complete(len(wire.read("GetRecords", {"ShardIterator": "this", "Limit": RECORDS})["Records"]))

        def theirs() -> None:
            _complete(len(client.get_records(ShardIterator="this", Limit=RECORDS)["Records"]))

        yield bench.compare(TASKS[0], ours, theirs, RECORDS)


def _complete(found: int) -> None:
    if found != RECORDS:
        raise RuntimeError(f"{found} records were read of {RECORDS}")
