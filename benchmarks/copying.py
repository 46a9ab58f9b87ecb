"""Copying records to a peer, lane order and fork detection kept, against a bare batch_write_item loop without any check."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import structlog

from benchmarks.appending import NEW
from benchmarks.measure import Row, compare
from replicator import EventStore, MemoryStorage, Settings, aws
from replicator.control import MemoryControl, Quarantine
from replicator.copier import Copier
from replicator.dynamodb import DynamoStorage
from replicator.linkstate import LinkState
from replicator.models import from_item, to_item

LANES = 1000


def rows(settings: Settings) -> list[Row]:
    client = aws.dynamodb(settings, settings.region)
    runs = itertools.count()

    def records(run: int) -> list[dict[str, Any]]:
        store = EventStore(MemoryStorage(), "eu-west-1", [])
        return [to_item(event) for n in range(LANES) for event in store.append(f"user/{run}x{n}", NEW)]

    def copier(how: str) -> Copier:
        peer = DynamoStorage(replace(settings, write_with=how))
        quarantine = Quarantine(MemoryControl(), "bench")
        return Copier(MemoryStorage(), peer, quarantine, ThreadPoolExecutor(4), LinkState(), structlog.get_logger())

    stock = [records(run) for run in range(40)]

    def take() -> list[dict[str, Any]]:
        return stock[next(runs) % len(stock)]

    def batch_write() -> None:
        items = take()
        for start in range(0, LANES, 25):
            puts: list[Any] = [{"PutRequest": {"Item": item}} for item in items[start : start + 25]]
            client.batch_write_item(RequestItems={settings.events_table: puts})

    found = []
    for how in ("inserts", "puts"):
        ours = copier(how)

        def copy(ours: Copier = ours) -> None:
            ours.copy([from_item(item) for item in take()])

        found.append(compare(f"copy with {how}", copy, "boto3 batch_write_item, no checks", batch_write, LANES))
    return found
