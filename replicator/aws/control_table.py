"""Control state on DynamoDB: one item per key, changed by PartiQL on the condition that it is what was read."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any

from replicator.aws import clients
from replicator.control.control_storage import Place, Value, control_text
from replicator.domain.errors import RegionRefuses, RegionUnavailable
from replicator.runtime.retries import Transient
from replicator.runtime.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_AT_ONCE = 16
"""Maximum number of concurrent requests."""
_DELETED = ("", clients.UNMET, clients.NOT_NOW)
"""Accepted results of a deletion: done, the value has changed, or left to the next deletion."""


class DynamoControl:
    """ControlStorage in the region's control table."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._region = settings.region
        self._table = settings.control_table
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="control")

    @cached_property
    def client(self) -> DynamoDBClient:
        """DynamoDB client, created on first use."""
        return clients.dynamodb(self._settings, self._region)

    def put(self, scope: str, values: dict[str, Value]) -> None:
        puts: list[Any] = [
            {"PutRequest": {"Item": {"pk": {"S": scope}, "sk": {"S": key}, "value": {"S": control_text(value)}}}}
            for key, value in values.items()
        ]
        for start in range(0, len(puts), 25):
            self._put_batch(puts[start : start + 25])

    def _put_batch(self, waiting: list[Any]) -> None:
        def once() -> None:
            answer: Any = self.client.batch_write_item(RequestItems={self._table: waiting})
            waiting[:] = answer.get("UnprocessedItems", {}).get(self._table, [])
            if waiting:
                raise Transient("throttled", sent=True)

        clients.call(self._settings, self._region, once)

    def _change(self, scope: str, key: str, before: Value | None, after: Value) -> Any:
        place, new = [{"S": scope}, {"S": key}], {"S": control_text(after)}
        if before is None:
            statement = f"INSERT INTO \"{self._table}\" VALUE {{'pk': ?, 'sk': ?, 'value': ?}}"
            return {"Statement": statement, "Parameters": [*place, new]}
        statement = f'UPDATE "{self._table}" SET "value" = ? WHERE "pk" = ? AND "sk" = ? AND "value" = ?'
        return {"Statement": statement, "Parameters": [new, *place, {"S": control_text(before)}]}

    def _execute(self, statements: list[Any]) -> list[str]:
        return clients.execute_batch(clients.sending(self.client, self._pool), self._settings, self._region, statements)

    def swap_each(self, changes: Mapping[Place, tuple[Value | None, Value]]) -> None:
        codes = self._execute([self._change(*place, *change) for place, change in changes.items()])
        for (scope, key), code in zip(changes, codes, strict=True):
            if code == clients.NOT_NOW:
                raise RegionUnavailable(f"{self._region} does not take writes; pending work for it is kept")
            if code not in ("", clients.UNMET):
                raise self._refused(f"change {scope} {key}", code)

    def swap(self, scope: str, key: str, before: Value | None, after: Value) -> bool:
        refused: RegionRefuses | None = None
        try:
            (code,) = self._execute([self._change(scope, key, before, after)])
            if code not in ("", clients.UNMET):
                refused = self._refused(f"change {scope} {key}", code)
        except RegionRefuses as error:
            code, refused = error.code, error
        if not code:
            return True
        # A request that was repeated after its response was lost fails on its own write, and engines differ in how they
        # report a failed condition. So the stored value decides.
        try:
            found = self.get(scope, key)
        except RegionUnavailable as error:
            raise refused or error from error
        if refused is not None and found == before != after:
            raise refused
        return found == after

    def _refused(self, what: str, code: str) -> RegionRefuses:
        return RegionRefuses(f"{self._region} did not {what}: {code[:300]}", code.partition(":")[0], "BatchExecuteStatement")

    def get(self, scope: str, key: str) -> Value | None:
        page = clients.call(self._settings, self._region, self._query(self._keys(scope, "=", key)))
        return next((json.loads(item["value"]["S"]) for item in page["Items"]), None)

    def get_scopes(self, scopes: Collection[str]) -> dict[str, dict[str, Value]]:
        return dict(zip(scopes, self._pool.map(lambda scope: dict(self.get_all(scope)), scopes), strict=True))

    def _keys(self, scope: str, comparison: str, key: str) -> dict[str, Any]:
        """Return the request for the keys of a scope that compare so with `key`; for all of them if it is empty."""
        behind = f" AND sk {comparison} :key" if key else ""
        return {
            "TableName": self._table,
            "KeyConditionExpression": f"pk = :scope{behind}",
            "ExpressionAttributeValues": {":scope": {"S": scope}, **({":key": {"S": key}} if key else {})},
            "ConsistentRead": True,
        }

    def get_all(self, scope: str, limit: int | None = None, after: str = "") -> Iterator[tuple[str, Value]]:
        request = self._keys(scope, ">", after)
        if limit is not None:
            request["Limit"] = limit
        seen = 0
        while True:
            page = clients.call(self._settings, self._region, self._query(request))
            for item in page["Items"]:
                yield item["sk"]["S"], json.loads(item["value"]["S"])
                seen += 1
            if "LastEvaluatedKey" not in page or (limit is not None and seen >= limit):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _query(self, request: dict[str, Any]) -> Callable[[], Mapping[str, Any]]:
        def once() -> Mapping[str, Any]:
            answer: Any = self.client.query(**request)
            clients.part(answer, "Items")
            return answer  # type: ignore[no-any-return]

        return once

    def identity(self) -> str:
        return clients.call(self._settings, self._region, lambda: clients.table_identity(self.client, self._table))

    def delete(self, scope: str, values: dict[str, Value]) -> None:
        statement = f'DELETE FROM "{self._table}" WHERE "pk" = ? AND "sk" = ? AND "value" = ?'
        statements = [
            {"Statement": statement, "Parameters": [{"S": scope}, {"S": key}, {"S": control_text(value)}]}
            for key, value in values.items()
        ]
        codes = self._execute(statements)
        strange = {key: code for key, code in zip(values, codes, strict=True) if code not in _DELETED}
        for key, code in strange.items():
            if self.get(scope, key) == values[key]:
                raise self._refused(f"remove {scope} {key}", code)
