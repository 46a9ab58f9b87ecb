"""Stream check: whether an engine's streams show PartiQL INSERTs. AWS's do; some emulators omit those records, and then no
appended event would ever be copied or projected."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from replicator.aws import clients
from replicator.domain.errors import InvalidConfig
from replicator.runtime.settings import Settings

log = structlog.get_logger()

_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws")
_SECONDS = 30.0
_PAUSE = 0.05
_LATE_SECONDS = 5.0
"""Seconds after the change within which the insert may still arrive: LocalStack does not keep their order."""


def require_inserts_shown(settings: Settings, sleep: Callable[[float], None] = time.sleep) -> None:
    """Insert an item into a temporary table, change it, and read the stream up to the change. The table is deleted again.
    Does nothing at AWS's own endpoints.

    Raises InvalidConfig when the stream shows the change and not the insert. An engine that shows neither is accepted.
    """
    endpoint = settings.endpoint(settings.region)
    host = urlsplit(endpoint or "").hostname
    if host is None or host.endswith(_AWS):
        return
    try:
        shown = _inserts_shown(settings, sleep)
    except (BotoCoreError, ClientError, LookupError, TypeError, ValueError) as error:
        log.warning(
            "streams.not_checked", region=settings.region, endpoint=endpoint, error=f"{type(error).__name__}: {error}"
        )
        return
    if shown is None:
        log.warning("streams.not_checked", region=settings.region, endpoint=endpoint, error="its stream shows nothing")
    elif not shown:
        raise InvalidConfig(
            f"the engine of {settings.region} at {endpoint} leaves PartiQL INSERTs out of its streams: nothing that is "
            "appended there would ever be copied or projected, and nothing was written. Put `chaos proxy --inserts` in "
            "front of it, or use `chaos emulator`, DynamoDB Local, or AWS; LocalStack shows them with "
            "PROVIDER_OVERRIDE_DYNAMODB=v2 and PROVIDER_OVERRIDE_DYNAMODBSTREAMS=v2"
        )


def _inserts_shown(settings: Settings, sleep: Callable[[float], None]) -> bool | None:
    """Return whether the insert arrived; None if not even the change did."""
    client: Any = clients.dynamodb(settings, settings.region)
    streams: Any = clients.streams(settings, settings.region)
    table = f"{settings.prefix}-check-{uuid.uuid4().hex[:12]}"
    key = {"pk": {"S": "check"}}
    made = client.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
    )
    try:
        client.get_waiter("table_exists").wait(TableName=table, WaiterConfig={"Delay": 1, "MaxAttempts": int(_SECONDS)})
        client.execute_statement(Statement=f"INSERT INTO \"{table}\" VALUE {{'pk': ?}}", Parameters=[key["pk"]])
        client.put_item(TableName=table, Item={**key, "changed": {"BOOL": True}})
        late = math.inf
        for names in _looks(streams, made["TableDescription"]["LatestStreamArn"], sleep):
            if "INSERT" in names:
                return True
            late = min(late, time.monotonic() + _LATE_SECONDS) if names else late
            if time.monotonic() >= late:
                return False
        return None
    finally:
        try:
            client.delete_table(TableName=table)
        except (BotoCoreError, ClientError) as error:  # the result holds all the same
            log.warning("streams.table_left", region=settings.region, table=table, error=f"{type(error).__name__}: {error}")


def _looks(streams: Any, arn: str, sleep: Callable[[float], None]) -> Iterator[set[str]]:
    """Poll a new stream repeatedly: yield the names of the events that arrived since the last poll."""
    end = time.monotonic() + _SECONDS
    iterators: dict[str, str] = {}
    while time.monotonic() < end:
        for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
            name = shard["ShardId"]
            if name not in iterators:
                request = {"StreamArn": arn, "ShardId": name, "ShardIteratorType": "TRIM_HORIZON"}
                iterators[name] = streams.get_shard_iterator(**request)["ShardIterator"]
        found: set[str] = set()
        for name, iterator in iterators.items():
            page = streams.get_records(ShardIterator=iterator) if iterator else {"Records": []}
            found |= {str(record["eventName"]) for record in page["Records"]}
            iterators[name] = page.get("NextShardIterator", "")
        yield found
        sleep(_PAUSE)
