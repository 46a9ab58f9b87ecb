"""Read of a long lane through the event store, every digest and the chain checked, against a bare paginator that checks
nothing. Both end with every event's payload and metadata as dictionaries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from benchmarks.bench import EAST, Bench
from benchmarks.copying import chunks
from benchmarks.events import Chains
from benchmarks.measure import Of, Row, Task, at_most
from replicator.aws import clients
from replicator.connect import connect_store
from replicator.eventstore.event_items import to_item

EVENTS = 10_000
TASKS = (Task(f"read a lane of {EVENTS:,}", "boto3 query paginator and json.loads", (at_most(Of.CPU, 0.5),)),)


def rows(bench: Bench) -> Iterator[Row]:
    with bench.regions(EAST) as settings:
        client = clients.dynamodb(settings, settings.region)
        chains = Chains(EAST, "long", 1)
        (lane,) = chains.lanes
        for events in chunks(chains.grow(EVENTS), 25):
            puts: list[Any] = [{"PutRequest": {"Item": to_item(event)}} for event in events]
            client.batch_write_item(RequestItems={settings.events_table: puts})
        store = connect_store(settings)

        def ours() -> None:
            found = [(event.payload, event.metadata) for event in store.read_lane(lane.stream)]
            _complete(len(found))

        def theirs() -> None:
            pages = client.get_paginator("query").paginate(
                TableName=settings.events_table,
                KeyConditionExpression="pk = :lane",
                ExpressionAttributeValues={":lane": {"S": lane.key}},
                ConsistentRead=True,
            )
            found = [
                (json.loads(item["payload"]["S"]), json.loads(item["metadata"]["S"]))
                for page in pages
                for item in page["Items"]
            ]
            _complete(len(found))

        yield bench.compare(TASKS[0], ours, theirs, EVENTS)


def _complete(found: int) -> None:
    if found != EVENTS:
        raise RuntimeError(f"{found} events were read of {EVENTS}")
