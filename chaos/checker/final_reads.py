"""The final reads: tables as they are, by plain boto3. Nothing here uses the code that wrote them."""

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
    """A view item as read."""

    vector: str
    state: str
    value: str
    digest: bytes


class Tables:
    """One region's tables, read raw. A busy emulator may take long over a page, and judges are not impatient."""

    def __init__(self, settings: Settings, *, read_timeout: float = 30.0, attempts: int = 5) -> None:
        self.region = settings.region
        self._settings = replace(settings, read_timeout=read_timeout, attempts=attempts)
        self.client = clients.dynamodb(self._settings, settings.region)

    def event_items(self, lanes: Collection[str]) -> Iterator[dict[str, Any]]:
        """Every event of the region: these lanes one by one, and then whatever else the table holds.

        A scan would do, but the emulator sorts its whole table for each page of one. So the rest is looked for only when
        the table counts more items than the lanes hold.
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
        """Every view of the region, by its partition key."""
        return {
            item["pk"]["S"]: StoredView(
                item["vector"]["S"], item["state"]["S"], item["value"]["S"], bytes(item["digest"]["B"])
            )
            for item in self._scan(self._settings.views_table)
        }

    def refused(self) -> list[str]:
        """What the region's control table says was refused, a line each."""
        items = [item for item in self._scan(self._settings.control_table) if item["pk"]["S"].startswith("quarantine#")]
        return [f"{item['pk']['S']} {item['sk']['S']}: {item.get('value', {}).get('S', '')}" for item in items]

    def final(self, lanes: Collection[str], projection: str, shared: dict[tuple[str, str], Kept] | None = None) -> Final:
        """All that the region holds, for the checker. `projection` is the views' partition keys' beginning; `shared` are the
        events that were read of other regions, which are kept in memory once."""
        held = {} if shared is None else shared
        views = {
            key.removeprefix(f"{projection}#"): KeptView(json.loads(row.vector), json.loads(row.value), _body(row))
            for key, row in self.views().items()
            if key.startswith(f"{projection}#")
        }
        events = (kept_of(item) for item in self.event_items(lanes))
        return Final([held.setdefault((kept.digest, kept.computed), kept) for kept in events], views, self.refused())

    def present(self, heads: Mapping[str, int]) -> set[str]:
        """Those lanes whose event at the given sequence is here."""
        keys = [{"pk": {"S": key}, "sk": {"S": f"{sequence:016d}"}} for key, sequence in heads.items()]
        return {item["pk"]["S"] for item in self._get(self._settings.events_table, keys, "pk")}

    def last(self, lanes: Collection[str]) -> dict[str, int]:
        """The last sequence of each of these lanes that has any event here."""
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
        """The digests of those events of these (lane, sequence) that are here."""
        wanted = [{"pk": {"S": lane}, "sk": {"S": f"{sequence:016d}"}} for lane, sequence in keys]
        found = self._get(self._settings.events_table, wanted, "pk, sk, digest")
        return {(item["pk"]["S"], int(item["sk"]["S"])): bytes(item["digest"]["B"]) for item in found}

    def vectors(self, keys: Collection[str]) -> dict[str, str]:
        """The version vectors of these views, as stored."""
        wanted = [{"pk": {"S": key}, "sk": {"S": "-"}} for key in keys]
        return {item["pk"]["S"]: item["vector"]["S"] for item in self._get(self._settings.views_table, wanted, "pk, vector")}

    def items(self) -> int:
        """About how many events and views are here: to see whether anything moves, not to judge by."""
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
    """An event item as the checker knows it."""
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
    """The digest that an event item should carry, written out again from docs/decisions/0002 alone."""
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
