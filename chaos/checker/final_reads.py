"""Final reads: the tables' content by plain boto3. Nothing here uses the code that wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from typing import Any

from chaos.checker.history import Final, Kept, KeptView
from replicator.aws import clients
from replicator.runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class StoredView:
    """View item as read."""

    vector: str
    state: str
    value: str
    digest: bytes


class Tables:
    """One region's tables, read raw. Timeouts are long, as a busy emulator may take long for a page."""

    def __init__(self, settings: Settings, *, read_timeout: float = 30.0, attempts: int = 5) -> None:
        self.region = settings.region
        self._settings = replace(settings, read_timeout=read_timeout, attempts=attempts)
        self.client = clients.dynamodb(self._settings, settings.region)

    def event_items(self, lanes: Collection[str]) -> Iterator[dict[str, Any]]:
        """Yield every event of the region: these lanes one by one, and then everything else in the table.

        A scan alone would do, but the emulator sorts its whole table for each page of one. The rest is therefore read only
        when the table counts more items than the lanes hold.
        """
        count = 0
        for lane in lanes:
            for item in self._lane(lane):
                count += 1
                yield item
        if self._count(self._settings.events_table) != count:
            known = set(lanes)
            yield from (item for item in self._scan(self._settings.events_table) if item["pk"]["S"] not in known)

    def _lane(self, lane: str) -> Iterator[dict[str, Any]]:
        request: dict[str, Any] = {
            "TableName": self._settings.events_table,
            "KeyConditionExpression": "pk = :lane",
            "ExpressionAttributeValues": {":lane": {"S": lane}},
            "ConsistentRead": True,
        }
        yield from self._pages(self.client.query, request)

    def views(self) -> dict[str, StoredView]:
        """Return every view of the region, by its partition key."""
        return {
            item["pk"]["S"]: StoredView(
                item["vector"]["S"], item["state"]["S"], item["value"]["S"], bytes(item["digest"]["B"])
            )
            for item in self._scan(self._settings.views_table)
        }

    def refused(self) -> list[str]:
        """Return the refused events that the region's control table lists, a line each."""
        items = [item for item in self._scan(self._settings.control_table) if item["pk"]["S"].startswith("quarantine#")]
        return [f"{item['pk']['S']} {item['sk']['S']}: {item.get('value', {}).get('S', '')}" for item in items]

    def final(self, lanes: Collection[str], projection: str, shared: dict[tuple[str, str], Kept] | None = None) -> Final:
        """Return all that the region holds, for the checker. `projection` is the prefix of the views' partition keys.
        `shared` are the events already read of other regions, which are kept in memory once."""
        held = {} if shared is None else shared
        views = {
            key.removeprefix(f"{projection}#"): KeptView(json.loads(row.vector), json.loads(row.value), _body(row))
            for key, row in self.views().items()
            if key.startswith(f"{projection}#")
        }
        events = (kept_of(item) for item in self.event_items(lanes))
        return Final([held.setdefault((kept.digest, kept.computed), kept) for kept in events], views, self.refused())

    def present(self, heads: Mapping[str, int]) -> set[str]:
        """Return the lanes whose event at the given sequence is here."""
        keys = [{"pk": {"S": key}, "sk": {"S": f"{sequence:016d}"}} for key, sequence in heads.items()]
        return {item["pk"]["S"] for item in self._get(self._settings.events_table, keys, "pk")}

    def last(self, lanes: Collection[str]) -> dict[str, int]:
        """Return the last sequence of each of these lanes that has any event here."""
        found = {}
        for lane in lanes:
            request: Any = {
                "TableName": self._settings.events_table,
                "KeyConditionExpression": "pk = :lane",
                "ExpressionAttributeValues": {":lane": {"S": lane}},
                "ConsistentRead": True,
                "ScanIndexForward": False,
                "Limit": 1,
            }
            for item in self._call(partial(self.client.query, **request))["Items"]:
                found[lane] = int(item["sk"]["S"])
        return found

    def digests(self, keys: Collection[tuple[str, int]]) -> dict[tuple[str, int], bytes]:
        """Return the digests of those of these (lane, sequence) that are here."""
        wanted = [{"pk": {"S": lane}, "sk": {"S": f"{sequence:016d}"}} for lane, sequence in keys]
        found = self._get(self._settings.events_table, wanted, "pk, sk, digest")
        return {(item["pk"]["S"], int(item["sk"]["S"])): bytes(item["digest"]["B"]) for item in found}

    def vectors(self, keys: Collection[str]) -> dict[str, str]:
        """Return the version vectors of these views, as stored."""
        wanted = [{"pk": {"S": key}, "sk": {"S": "-"}} for key in keys]
        return {item["pk"]["S"]: item["vector"]["S"] for item in self._get(self._settings.views_table, wanted, "pk, vector")}

    def items(self) -> int:
        """Return about how many events and views are here: to notice progress, not to judge."""
        return self._count(self._settings.events_table) + self._count(self._settings.views_table)

    def _count(self, table: str) -> int:
        answer: Any = self._call(partial(self.client.describe_table, TableName=table))
        return int(answer["Table"].get("ItemCount", 0))

    def _call(self, operation: Callable[[], Any]) -> Any:
        return clients.call(self._settings, self.region, operation)

    def _get(self, table: str, keys: list[dict[str, Any]], columns: str) -> Iterator[dict[str, Any]]:
        for start in range(0, len(keys), 100):
            waiting: Any = keys[start : start + 100]
            while waiting:
                request: Any = {table: {"Keys": waiting, "ProjectionExpression": columns, "ConsistentRead": True}}
                answer: Any = self._call(partial(self.client.batch_get_item, RequestItems=request))
                yield from answer["Responses"].get(table, [])
                waiting = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])

    def _scan(self, table: str) -> Iterator[dict[str, Any]]:
        yield from self._pages(self.client.scan, {"TableName": table, "ConsistentRead": True})

    def _pages(self, operation: Callable[..., Any], request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        while True:
            page: Any = self._call(partial(operation, **request))
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def kept_of(item: Mapping[str, Any]) -> Kept:
    """Return an event item as the checker's `Kept`."""
    return Kept(
        item["pk"]["S"],
        int(item["sk"]["S"]),
        item["hlc"]["S"],
        item["type"]["S"],
        json.loads(item["payload"]["S"]),
        json.loads(item["observed"]["S"]),
        bytes(item["prev"]["B"]).hex(),
        bytes(item["digest"]["B"]).hex(),
        content_digest(item).hex(),
    )


def _body(row: StoredView) -> str:
    return "\n".join((row.vector, row.state, row.value, row.digest.hex()))


def content_digest(item: Mapping[str, Any]) -> bytes:
    """Return the digest that an event item should carry: a second implementation, from docs/decisions/0002 alone."""
    region, kind, name = item["pk"]["S"].split("#")
    fields = [
        b"meridian.event.1",
        bytes(item["prev"]["B"]),
        region.encode(),
        kind.encode(),
        name.encode(),
        str(int(item["sk"]["S"])).encode(),
        item["hlc"]["S"].encode(),
        item["type"]["S"].encode(),
        item["version"]["N"].encode(),
        item["payload"]["S"].encode(),
        item["metadata"]["S"].encode(),
        item["observed"]["S"].encode(),
    ]
    return sha256(b"".join(str(len(field)).encode() + b":" + field + b"," for field in fields)).digest()
