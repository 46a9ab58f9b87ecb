"""Appending through the event store against bare boto3 calls that write the same items."""

from __future__ import annotations

import itertools
from typing import Any

from benchmarks.measure import Row, compare
from replicator import EventStore, NewEvent, Settings, StreamId, Write, aws
from replicator.domain.event import Event
from replicator.models import to_item

NEW = NewEvent("departed", {"airport": "EWR", "flight": "UA1545", "leg": 0, "row": 1, "time": "2013-01-01T05:17"})


def _items(sample: Event, numbers: Any, count: int) -> list[dict[str, Any]]:
    return [{**to_item(sample), "pk": {"S": f"bench#{next(numbers)}"}} for _ in range(count)]


def rows(settings: Settings) -> list[Row]:
    store, client = EventStore.connect(settings), aws.dynamodb(settings, settings.region)
    (sample,) = store.append("user/sample", NEW)
    numbers = itertools.count()
    condition = "attribute_not_exists(pk)"

    def append_one() -> None:
        for _ in range(200):
            store.append("user/one", NEW)

    def put_one() -> None:
        for item in _items(sample, numbers, 200):
            client.put_item(TableName=settings.events_table, Item=item, ConditionExpression=condition)

    def append_hundred() -> None:
        for _ in range(10):
            store.append_all([Write(StreamId("user", f"many{n}"), (NEW,) * 10) for n in range(10)])

    def transact_hundred() -> None:
        for _ in range(10):
            puts: list[Any] = [
                {"Put": {"TableName": settings.events_table, "Item": item, "ConditionExpression": condition}}
                for item in _items(sample, numbers, 100)
            ]
            client.transact_write_items(TransactItems=puts)

    return [
        compare("append, one event, head known", append_one, "boto3 put_item with a condition", put_one, 200),
        compare("append, 100 events, one transaction", append_hundred, "boto3 transact_write_items", transact_hundred, 1000),
    ]
