"""Appends through the event store against bare boto3 calls that write the same items."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

from benchmarks.bench import EAST, Bench
from benchmarks.counting import counting
from benchmarks.events import NEW
from benchmarks.measure import Of, Pair, Row, Task, at_most
from replicator import Settings, StreamId, Write
from replicator.aws import clients
from replicator.connect import connect_store
from replicator.domain.event import Event
from replicator.eventstore.event_items import to_item
from replicator.eventstore.storage import MAX_EVENTS

ONES, TIMES = 200, 5
_REQUESTS = "requests an append"
ONE = Task(
    "append one event, head known",
    "boto3 put_item with attribute_not_exists",
    (at_most(Of.CPU, 1.0), at_most(Of.COUNT, 1.0)),
    _REQUESTS,
)
MANY = Task(f"append {MAX_EVENTS} events in one transaction", "boto3 transact_write_items", (at_most(Of.CPU, 0.6),))
TASKS = (ONE, MANY)
_CONDITION = "attribute_not_exists(pk)"


def rows(bench: Bench) -> Iterator[Row]:
    with bench.regions(EAST) as settings:
        client = clients.dynamodb(settings, settings.region)
        (sample,) = connect_store(settings).append("user/sample", NEW)
        numbers = count()

        def put_one() -> None:
            for item in _items(sample, numbers, ONES):
                client.put_item(TableName=settings.events_table, Item=item, ConditionExpression=_CONDITION)

        def transact_many() -> None:
            for _ in range(TIMES):
                puts: list[Any] = [
                    {"Put": {"TableName": settings.events_table, "Item": item, "ConditionExpression": _CONDITION}}
                    for item in _items(sample, numbers, MAX_EVENTS)
                ]
                client.transact_write_items(TransactItems=puts)

        store = connect_store(settings)
        writes = [Write(StreamId("user", f"many-{n}"), (NEW,) * 14) for n in range(MAX_EVENTS // 14)]

        def append_one() -> None:
            for _ in range(ONES):
                store.append("user/one", NEW)

        def append_many() -> None:
            for _ in range(TIMES):
                store.append_all(writes)

        sent = requests_an_append(settings)
        yield bench.compare(ONE, append_one, put_one, ONES, count=Pair(sent, 1.0))
        yield bench.compare(MANY, append_many, transact_many, MAX_EVENTS * TIMES)


def requests_an_append(settings: Settings) -> float:
    """Return the number of requests that an append sends when its head is known. The fence is also read every two seconds,
    so a few appends are counted, three times, and the lowest count is returned."""
    region, appends, found = settings.region, 20, []
    with counting(settings.endpoint(region) or "") as counter:
        store = connect_store(replace(settings, endpoints={region: counter.url}))
        store.append("user/counted", NEW)
        for _ in range(3):
            counter.clear()
            for _ in range(appends):
                store.append("user/counted", NEW)
            found.append(counter.total / appends)
    return min(found)


def _items(sample: Event, numbers: Iterator[int], many: int) -> list[dict[str, Any]]:
    return [{**to_item(sample), "pk": {"S": f"bench#{next(numbers)}"}} for _ in range(many)]
