"""The sink on DynamoDB: one item a view, changed only while its version vector is the one that was read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

from pynamodb.attributes import BinaryAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from projectors.sinks.port import Change
from projectors.summary import Fingerprint, Summary, Tree
from projectors.view import View, ViewKey
from replicator import aws
from replicator.domain.names import DELIMITER
from replicator.domain.vector import VersionVector
from replicator.errors import DamagedEvent, RegionUnavailable
from replicator.models import bind
from replicator.settings import Settings

_FIELDS = ("version", "vector", "state", "value", "digest")
_LOST = {"DuplicateItem", "ConditionalCheckFailed"}
_WHOLE = "-"  # the sort key of a view that is no cell; a cell's is its owner, which holds a '/'


class ViewItem(Model):
    """A view as an item: `pk` is `projection@version#stream`. A cell's is `projection@version##row`, its `sk` the stream."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
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
        columns = ", ".join(f"'{name}': ?" for name in ("pk", "sk", *_FIELDS))
        self._insert = f'INSERT INTO "{self._table}" VALUE {{{columns}}}'
        assignments = " ".join(f'SET "{name}" = ?' for name in _FIELDS)
        self._update = f'UPDATE "{self._table}" {assignments} WHERE "pk" = ? AND "sk" = ? AND "vector" = ?'

    def create_table(self) -> bool:
        """Create the views table on an emulator. True when it was missing."""
        model = bind(ViewItem, self._table, self._settings, self._settings.region)
        with aws.config_errors(self._settings, self._settings.region):
            if model.exists():
                return False
            model.create_table(wait=True)
        return True

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        views = map(_from_item, self._get(keys))
        return {view.id: view for view in views}

    def _get(self, keys: Collection[ViewKey]) -> Iterator[dict[str, Any]]:
        wanted = [_key(key) for key in set(keys)]
        for start in range(0, len(wanted), 100):
            waiting: list[Any] = wanted[start : start + 100]
            while waiting:
                request: Any = {self._table: {"Keys": waiting, "ConsistentRead": True}}
                answer: Any = self._call(partial(self._client.batch_get_item, RequestItems=request))
                yield from answer["Responses"].get(self._table, [])
                waiting = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])

    def save(self, changes: Sequence[Change]) -> list[bool]:
        statements = [self._statement(change) for change in changes]
        codes = aws.execute_batch(self._client, self._settings, self._settings.region, self._pool, statements)
        # A request that was sent again after its answer was lost reports a conflict with itself.
        doubtful = [change.view.id for change, code in zip(changes, codes, strict=True) if code in _LOST]
        stored = {_view_key(item): (item["vector"]["S"], bytes(item["digest"]["B"])) for item in self._get(doubtful)}
        saved = []
        for change, code in zip(changes, codes, strict=True):
            if code and code not in _LOST:
                raise RegionUnavailable(f"{self._settings.region} did not take view {change.view.key}: {code}")
            saved.append(not code or stored.get(change.view.id) == (str(change.view.vector), change.view.digest))
        return saved

    def views(self, projection: str, version: int = 1) -> Iterator[View]:
        return (_from_item(item) for item in self._items(projection, version))

    def cells(self, projection: str, version: int, row: str) -> Iterator[View]:
        request = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :row",
            "ExpressionAttributeValues": {":row": {"S": _row(projection, version, row)}},
            "ConsistentRead": True,
        }
        yield from (_from_item(item) for item in self._pages(self._client.query, request) if row)

    def summary(self, projection: str, version: int = 1) -> Summary:
        names = ["pk", "sk", "vector", "digest"]
        return Tree(
            (_view_key(item), Fingerprint(VersionVector.parse(item["vector"]["S"]), bytes(item["digest"]["B"])))
            for item in self._items(projection, version, names)
        )

    def drop(self, projection: str, version: int) -> Iterator[int]:
        gone = 0
        keys = ({name: item[name] for name in ("pk", "sk")} for item in self._items(projection, version, ["pk", "sk"]))
        while batch := list(islice(keys, 25)):
            waiting: Any = [{"DeleteRequest": {"Key": key}} for key in batch]
            while waiting:
                request: Any = {self._table: waiting}
                answer: Any = self._call(partial(self._client.batch_write_item, RequestItems=request))
                waiting = answer.get("UnprocessedItems", {}).get(self._table, [])
            gone += len(batch)
            yield gone

    def _items(self, projection: str, version: int, names: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """Every item of a projection's version, or these attributes of them. Scans the table."""
        request: dict[str, Any] = {"TableName": self._table, "ConsistentRead": True}
        if names:
            request["ProjectionExpression"] = ", ".join(f"#{name}" for name in names)
            request["ExpressionAttributeNames"] = {f"#{name}": name for name in names}
        begins = _prefix(projection, version)
        return (item for item in self._pages(self._client.scan, request) if item["pk"]["S"].startswith(begins))

    def _pages(self, operation: Callable[..., Any], request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        request = dict(request)
        while True:
            page: Any = self._call(partial(operation, **request))
            yield from page["Items"]
            if "LastEvaluatedKey" not in page:
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _statement(self, change: Change) -> Any:
        view = change.view
        place = list(_key(view.id).values())
        fields = [
            {"N": str(view.version)},
            {"S": str(view.vector)},
            {"S": view.state_text},
            {"S": view.value_text},
            {"B": view.digest},
        ]
        if change.before is None:
            return {"Statement": self._insert, "Parameters": [*place, *fields]}
        return {"Statement": self._update, "Parameters": [*fields, *place, {"S": str(change.before)}]}

    def _call(self, operation: Any) -> Any:
        return aws.call(self._settings, self._settings.region, operation)


def _prefix(projection: str, version: int) -> str:
    return f"{projection}@{version}{DELIMITER}"


def _row(projection: str, version: int, row: str) -> str:
    return f"{_prefix(projection, version)}{DELIMITER}{row}"


def _key(key: ViewKey) -> dict[str, Any]:
    if key.row:
        return {"pk": {"S": _row(key.projection, key.version, key.row)}, "sk": {"S": key.key}}
    return {"pk": {"S": _prefix(key.projection, key.version) + key.key}, "sk": {"S": _WHOLE}}


def _view_key(item: dict[str, Any]) -> ViewKey:
    """Neither names nor keys hold a '#', so nothing else reads so."""
    space, _, rest = item["pk"]["S"].partition(DELIMITER)
    projection, _, version = space.rpartition("@")
    if rest.startswith(DELIMITER):
        return ViewKey(projection, item["sk"]["S"], int(version), rest[1:])
    return ViewKey(projection, rest, int(version))


def _from_item(item: dict[str, Any]) -> View:
    key = _view_key(item)
    view = View(
        key.projection,
        int(item["version"]["N"]),
        key.key,
        VersionVector.parse(item["vector"]["S"]),
        item["state"]["S"],
        item["value"]["S"],
        key.row,
    )
    if view.digest != bytes(item["digest"]["B"]) or view.id != key:
        of = f"{key.projection} {key.key}" + (f" in row {key.row}" if key.row else "")
        raise DamagedEvent(f"view {of} does not match its digest; rebuild it from the events")
    return view
