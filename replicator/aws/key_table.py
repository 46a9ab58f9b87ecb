"""Key storage on DynamoDB: one item per subject, so that every operation is one conditional write without a transaction."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from replicator.aws import clients
from replicator.domain.errors import InvalidConfig, RegionRefuses
from replicator.erasure.keys import SubjectKeys
from replicator.runtime.settings import Settings

T = TypeVar("T")

_FORGOTTEN = "forgotten"  # no key id looks like this: those begin with a region and a dot


class DynamoKeys:
    """KeyStorage on the keys table of `region` (by default the settings' own region)."""

    def __init__(self, settings: Settings, region: str | None = None) -> None:
        self._settings = settings
        self.region = region or settings.region
        self._table = settings.keys_table
        self._client = clients.dynamodb(settings, self.region)

    def get(self, subject: str) -> SubjectKeys:
        request: Any = {"TableName": self._table, "Key": {"pk": {"S": subject}}, "ConsistentRead": True}
        item = self._call(partial(self._client.get_item, **request)).get("Item", {})
        keys = {name: bytes(value["B"]) for name, value in item.items() if "B" in value}
        return SubjectKeys({} if _FORGOTTEN in item else keys, _FORGOTTEN in item)

    def add(self, subject: str, key_id: str, wrapped: bytes) -> bool:
        request: Any = {
            "TableName": self._table,
            "Key": {"pk": {"S": subject}},
            "UpdateExpression": "SET #key = if_not_exists(#key, :wrapped)",
            "ConditionExpression": "attribute_not_exists(#forgotten)",
            "ExpressionAttributeNames": {"#key": key_id, "#forgotten": _FORGOTTEN},
            "ExpressionAttributeValues": {":wrapped": {"B": wrapped}},
        }
        try:
            self._call(partial(self._client.update_item, **request))
        except RegionRefuses as error:
            if not clients.condition_failed(error.code):
                raise
            return False
        return True

    def forget(self, subject: str) -> None:
        # A put replaces the whole item: it removes the keys and sets the mark in one step.
        request: Any = {"TableName": self._table, "Item": {"pk": {"S": subject}, _FORGOTTEN: {"BOOL": True}}}
        self._call(partial(self._client.put_item, **request))

    def _call(self, operation: Callable[[], T]) -> T:
        try:
            return clients.call(self._settings, self.region, operation)
        except RegionRefuses as error:
            if error.code == clients.NO_SUCH_TABLE:
                raise InvalidConfig(
                    f"table {self._table} does not exist in {self.region}; run `replicator init` (emulator) or "
                    "`terraform apply` (AWS), or correct --prefix"
                ) from None
            if clients.condition_failed(error.code):
                raise
            raise InvalidConfig(
                f"{self.region} refuses {error.operation} on table {self._table}: {error.code}. Allow this role to do it"
            ) from None
