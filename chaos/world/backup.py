"""Backup and restore of a region, as on AWS: a restored table is a new table, under the old name, without a stream; the
stream is enabled when the items are in. Uses plain boto3, no code of Meridian's."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from replicator.aws import clients
from replicator.runtime.settings import Settings

_KEPT = ("TableName", "AttributeDefinitions", "KeySchema")


@dataclass(frozen=True, slots=True)
class Table:
    """One table: its declaration, its items, and whether it had a stream."""

    declared: Mapping[str, Any]
    items: tuple[Mapping[str, Any], ...]
    stream: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Backup:
    """Tables of a region as they were at `taken` (time.monotonic())."""

    taken: float
    tables: tuple[Table, ...]

    def items(self, table: str) -> Iterator[Mapping[str, Any]]:
        """Return the items of the table with this name."""
        for each in self.tables:
            if each.declared["TableName"] == table:
                yield from each.items


def take_backup(settings: Settings) -> Backup:
    """Read every table of the settings' region into memory, while the region works.

    Events are read last: no view and no checkpoint in the backup then names an event that is not in it, as with tables that
    are restored to one point in time.
    """
    patient = replace(settings, read_timeout=30.0)
    client: Any = clients.dynamodb(patient, settings.region)
    names = [name for name in client.list_tables()["TableNames"] if name.startswith(f"{settings.prefix}-")]
    taken = time.monotonic()
    return Backup(taken, tuple(_read(client, name) for name in sorted(names, key=lambda n: n == settings.events_table)))


def _read(client: Any, name: str) -> Table:
    described = client.describe_table(TableName=name)["Table"]
    declared = {field: described[field] for field in _KEPT} | {"BillingMode": "PAY_PER_REQUEST"}
    if indexes := described.get("GlobalSecondaryIndexes"):
        wanted = ("IndexName", "KeySchema", "Projection")
        declared["GlobalSecondaryIndexes"] = [{field: index[field] for field in wanted} for index in indexes]
    items = [
        item for page in client.get_paginator("scan").paginate(TableName=name, ConsistentRead=True) for item in page["Items"]
    ]
    stream = described.get("StreamSpecification")
    return Table(declared, tuple(items), stream if stream and stream.get("StreamEnabled") else None)


def restore_backup(settings: Settings, backup: Backup) -> None:
    """Create the backup's tables again, with their items, in the settings' region, which has none."""
    client: Any = clients.dynamodb(replace(settings, read_timeout=30.0), settings.region)
    for table in backup.tables:
        name = table.declared["TableName"]
        client.create_table(**table.declared)
        client.get_waiter("table_exists").wait(TableName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        for start in range(0, len(table.items), 25):
            waiting: Any = [{"PutRequest": {"Item": item}} for item in table.items[start : start + 25]]
            while waiting:
                waiting = client.batch_write_item(RequestItems={name: waiting}).get("UnprocessedItems", {}).get(name)
        if table.stream is not None:
            client.update_table(TableName=name, StreamSpecification=dict(table.stream))
