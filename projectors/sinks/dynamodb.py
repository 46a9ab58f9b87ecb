"""Sink on DynamoDB: one item a view, changed only while its version vector is the one that was read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

from pynamodb.attributes import BinaryAttribute, NumberAttribute, UnicodeAttribute
from pynamodb.models import Model

from projectors.engine.digests import Summary, Tree
from projectors.engine.sink import Change, ViewRefused
from projectors.model.view import View, ViewKey
from projectors.sinks.stored import fingerprint, restored
from replicator.aws import clients
from replicator.aws.tables import create_missing
from replicator.domain.errors import RegionUnavailable
from replicator.domain.names import DELIMITER
from replicator.eventstore.models import bind
from replicator.runtime.retries import Transient
from replicator.runtime.settings import Settings

_FIELDS = ("version", "vector", "state", "value", "digest")
_DELETED = 25  # the most that DynamoDB deletes in a request
_REFUSED = {"ValidationError", "ValidationException", "ItemCollectionSizeLimitExceeded"}  # caused by the item's content
_WHOLE = "-"  # the sort key of a view that is no cell; a cell's is its owner, which holds a '/'


class ViewItem(Model):
    """Item of a view: `pk` is `projection@version#stream`. A cell's is `projection@version##row`, its `sk` the stream."""

    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)
    version = NumberAttribute()
    vector = UnicodeAttribute()
    state = UnicodeAttribute()
    value = UnicodeAttribute()
    digest = BinaryAttribute(legacy_encoding=False)


class DynamoSink:
    """Sink on the views table of the settings' region."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._table = settings.views_table
        self._client = clients.dynamodb(settings, settings.region)
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="views")
        columns = ", ".join(f"'{name}': ?" for name in ("pk", "sk", *_FIELDS))
        self._insert = f'INSERT INTO "{self._table}" VALUE {{{columns}}}'
        assignments = " ".join(f'SET "{name}" = ?' for name in _FIELDS)
        self._update = f'UPDATE "{self._table}" {assignments} WHERE "pk" = ? AND "sk" = ? AND "vector" = ?'

    def create_table(self) -> bool:
        """Create the views table on an emulator. Returns True when it was missing."""
        model = bind(ViewItem, self._table, self._settings, self._settings.region)
        return create_missing(model, self._settings)

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        return self._load(keys, consistent=True)

    def glance(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        """Implement LoadsCheaply.glance: eventually consistent."""
        return self._load(keys, consistent=False)

    def _load(self, keys: Collection[ViewKey], consistent: bool) -> Mapping[ViewKey, View]:
        views = map(_from_item, self._get(keys, consistent))
        return {view.id: view for view in views}

    def _get(self, keys: Collection[ViewKey], consistent: bool) -> Iterator[dict[str, Any]]:
        wanted = [_key(key) for key in set(keys)]
        for start in range(0, len(wanted), 100):
            yield from self._batch(wanted[start : start + 100], partial(self._get_some, consistent))

    def _get_some(self, consistent: bool, keys: list[Any]) -> tuple[list[Any], list[Any]]:
        request: Any = {self._table: {"Keys": keys, "ConsistentRead": consistent}}
        answer: Any = self._client.batch_get_item(RequestItems=request)
        return (
            clients.part(answer, "Responses").get(self._table, []),
            answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", []),
        )

    def _delete_some(self, requests: list[Any]) -> tuple[list[Any], list[Any]]:
        request: Any = {self._table: requests}
        answer: Any = self._client.batch_write_item(RequestItems=request)
        return [], answer.get("UnprocessedItems", {}).get(self._table, [])

    def _batch(self, waiting: list[Any], work: Callable[[list[Any]], tuple[list[Any], list[Any]]]) -> Iterator[Any]:
        """Call `work` on the waiting items until all are done. It returns what it found and what is left; when it makes no
        progress, it is tried again with pauses, a bounded number of times."""

        def once(waiting: list[Any]) -> tuple[list[Any], list[Any]]:
            found, left = work(waiting)
            if len(left) >= len(waiting):
                raise Transient("none of a batch was processed", sent=False)
            return found, left

        while waiting:
            found, waiting = self._call(partial(once, waiting))
            yield from found

    def save(self, changes: Sequence[Change]) -> list[bool]:
        statements = [self._statement(change) for change in changes]
        codes = clients.execute_batch(
            clients.sending(self._client, self._pool), self._settings, self._settings.region, statements
        )
        # A request that was sent again after its answer was lost reports a conflict with itself. And engines differ in how
        # they name one, so the stored view decides.
        doubtful = [change.view.id for change, code in zip(changes, codes, strict=True) if code not in ("", clients.NOT_NOW)]
        stored = {
            _view_key(item): (_field(item, "vector"), _field(item, "digest"))
            for item in self._get(doubtful, consistent=True)
        }
        return [self._outcome(change, code, stored) for change, code in zip(changes, codes, strict=True)]

    def _outcome(self, change: Change, code: str, stored: Mapping[ViewKey, tuple[Any, Any]]) -> bool:
        """Return whether a change was made, or lost to another. Raises RegionUnavailable when it was neither, ViewRefused
        when the item's content is the reason."""
        if not code:
            return True
        vector, digest = stored.get(change.view.id, (None, None))
        if (vector, digest) == (str(change.view.vector), change.view.digest):
            return True
        before = None if change.before is None else str(change.before)
        if code == clients.NOT_NOW or (code != clients.UNMET and vector == before):
            failed = ViewRefused if code.partition(":")[0] in _REFUSED else RegionUnavailable
            raise failed(f"{self._settings.region} did not take view {change.view.key}: {code[:300]}")
        return False

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

    def summary(self, projection: str, version: int = 1, *, thorough: bool = False) -> Summary:
        return Tree(
            (_view_key(item), fingerprint(_view_key(item), *_stored(item))) for item in self._items(projection, version)
        )

    def discard(self, keys: Collection[ViewKey]) -> None:
        self._delete([_key(key) for key in set(keys)])

    def drop(self, projection: str, version: int) -> Iterator[int]:
        gone = 0
        for cells in (False, True):
            items = self._items(projection, version, ["pk", "sk"])
            keys = ({name: item[name] for name in ("pk", "sk")} for item in items if bool(_view_key(item).row) is cells)
            while batch := list(islice(keys, _DELETED)):
                self._delete(batch)
                gone += len(batch)
                yield gone

    def _delete(self, keys: Sequence[dict[str, Any]]) -> None:
        for start in range(0, len(keys), _DELETED):
            requests: list[Any] = [{"DeleteRequest": {"Key": key}} for key in keys[start : start + _DELETED]]
            for _ in self._batch(requests, self._delete_some):
                pass

    def _items(self, projection: str, version: int, names: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
        """Yield every item of a projection's version, or these attributes of them. Scans the table."""
        request: dict[str, Any] = {"TableName": self._table, "ConsistentRead": True}
        if names:
            request["ProjectionExpression"] = ", ".join(f"#{name}" for name in names)
            request["ExpressionAttributeNames"] = {f"#{name}": name for name in names}
        begins = _prefix(projection, version)
        return (item for item in self._pages(self._client.scan, request) if item["pk"]["S"].startswith(begins))

    def _pages(self, operation: Callable[..., Any], request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        request = dict(request)
        while True:
            page: Any = self._call(partial(_page, operation, request))
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
        return clients.call(self._settings, self._settings.region, operation)


def _page(operation: Callable[..., Any], request: dict[str, Any]) -> Any:
    page = operation(**request)
    clients.part(page, "Items")
    return page


def _prefix(projection: str, version: int) -> str:
    return f"{projection}@{version}{DELIMITER}"


def _row(projection: str, version: int, row: str) -> str:
    return f"{_prefix(projection, version)}{DELIMITER}{row}"


def _key(key: ViewKey) -> dict[str, Any]:
    if key.row:
        return {"pk": {"S": _row(key.projection, key.version, key.row)}, "sk": {"S": key.key}}
    return {"pk": {"S": _prefix(key.projection, key.version) + key.key}, "sk": {"S": _WHOLE}}


def _view_key(item: dict[str, Any]) -> ViewKey:
    """Return the key of an item's view. Neither names nor keys hold a '#', so it is unambiguous."""
    space, _, rest = item["pk"]["S"].partition(DELIMITER)
    projection, _, version = space.rpartition("@")
    if rest.startswith(DELIMITER):
        return ViewKey(projection, item["sk"]["S"], int(version), rest[1:])
    return ViewKey(projection, rest, int(version))


def _from_item(item: dict[str, Any]) -> View:
    return restored(_view_key(item), *_stored(item))


def _stored(item: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """Return vector, state, value and digest; the vector is None if the version differs from the key's."""
    same = _field(item, "version") == str(_view_key(item).version)
    return _field(item, "vector") if same else None, _field(item, "state"), _field(item, "value"), _field(item, "digest")


def _field(item: dict[str, Any], name: str) -> Any:
    """Return an attribute, or None when it is missing or of another type."""
    kinds = {"version": "N", "digest": "B"}
    field = item.get(name, {}).get(kinds.get(name, "S"))
    return bytes(field) if isinstance(field, bytearray | memoryview) else field
