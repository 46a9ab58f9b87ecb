"""The sink on DynamoDB: one item a view, changed only while its version vector is the one that was read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from pynamodb.attributes import BinaryAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from projectors.sink import Change, ViewKey
from projectors.view import View
from replicator import aws
from replicator.domain.names import DELIMITER
from replicator.domain.vector import VersionVector
from replicator.errors import DamagedEvent, RegionUnavailable
from replicator.models import bind
from replicator.settings import Settings

_FIELDS = ("version", "vector", "state", "value", "digest")
_LOST = {"DuplicateItem", "ConditionalCheckFailed"}


class ViewItem(Model):
    """A view as an item: `pk` is `projection#stream`."""

    pk = UnicodeAttribute(hash_key=True)
    version = NumberAttribute()
    vector = UnicodeAttribute()
    state = UnicodeAttribute()
    value = UnicodeAttribute()
    digest = BinaryAttribute(legacy_encoding=False)


class DynamoSink:
    """A Sink on the views table of the settings' region."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._table = settings.views_table
        self._client = aws.dynamodb(settings, settings.region)
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="views")
        columns = ", ".join(f"'{name}': ?" for name in ("pk", *_FIELDS))
        self._insert = f'INSERT INTO "{self._table}" VALUE {{{columns}}}'
        assignments = " ".join(f'SET "{name}" = ?' for name in _FIELDS)
        self._update = f'UPDATE "{self._table}" {assignments} WHERE "pk" = ? AND "vector" = ?'

    def create_table(self) -> bool:
        """Create the views table on an emulator. True when it was missing."""
        model = bind(ViewItem, self._table, self._settings, self._settings.region)
        with aws.config_errors(self._settings, self._settings.region):
            if model.exists():
                return False
            model.create_table(wait=True)
        return True

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        found: dict[ViewKey, View] = {}
        wanted = [{"pk": {"S": _key(*key)}} for key in set(keys)]
        for start in range(0, len(wanted), 100):
            waiting: list[Any] = wanted[start : start + 100]
            while waiting:
                request: Any = {self._table: {"Keys": waiting, "ConsistentRead": True}}
                answer: Any = self._call(partial(self._client.batch_get_item, RequestItems=request))
                for item in answer["Responses"].get(self._table, []):
                    view = _from_item(item)
                    found[(view.projection, view.key)] = view
                waiting = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
        return found

    def save(self, changes: Sequence[Change]) -> list[bool]:
        statements = [self._statement(change) for change in changes]
        codes = aws.execute_batch(self._client, self._settings, self._settings.region, self._pool, statements)
        # A request that was sent again after its answer was lost reports a conflict with itself.
        doubtful = [change.view for change, code in zip(changes, codes, strict=True) if code in _LOST]
        stored = self.load([(view.projection, view.key) for view in doubtful]) if doubtful else {}
        saved = []
        for change, code in zip(changes, codes, strict=True):
            if code and code not in _LOST:
                raise RegionUnavailable(f"{self._settings.region} did not take view {change.view.key}: {code}")
            saved.append(not code or stored.get((change.view.projection, change.view.key)) == change.view)
        return saved

    def views(self, projection: str) -> Iterator[View]:
        request: dict[str, Any] = {"TableName": self._table, "ConsistentRead": True}
        while True:
            page: Any = self._call(partial(self._client.scan, **request))
            for item in page["Items"]:
                if item["pk"]["S"].startswith(f"{projection}{DELIMITER}"):
                    yield _from_item(item)
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _statement(self, change: Change) -> Any:
        view = change.view
        pk = {"S": _key(view.projection, view.key)}
        fields = [
            {"N": str(view.version)},
            {"S": str(view.vector)},
            {"S": view.state_text},
            {"S": view.value_text},
            {"B": view.digest},
        ]
        if change.before is None:
            return {"Statement": self._insert, "Parameters": [pk, *fields]}
        return {"Statement": self._update, "Parameters": [*fields, pk, {"S": str(change.before)}]}

    def _call(self, operation: Any) -> Any:
        return aws.call(self._settings, self._settings.region, operation)


def _key(projection: str, key: str) -> str:
    return f"{projection}{DELIMITER}{key}"


def _from_item(item: dict[str, Any]) -> View:
    projection, _, key = item["pk"]["S"].partition(DELIMITER)
    view = View(
        projection,
        int(item["version"]["N"]),
        key,
        VersionVector.parse(item["vector"]["S"]),
        item["state"]["S"],
        item["value"]["S"],
    )
    if view.digest != bytes(item["digest"]["B"]):
        raise DamagedEvent(f"view {projection} {key} does not match its digest; rebuild it from the events")
    return view
