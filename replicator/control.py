"""Control state of a region: checkpoints, quarantine, and whatever else is kept in scopes. It says where copying stands; it
never holds a payload, and losing it costs only work: everything in it can be found again by comparing lanes."""

from __future__ import annotations

import json
import math
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Protocol

from replicator import aws
from replicator.domain.names import DELIMITER, LaneId, parse_sequence_key
from replicator.errors import InvalidName, RegionRefuses, RegionUnavailable
from replicator.retries import Transient
from replicator.settings import Settings
from replicator.storage import Guard, control_text

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Value = dict[str, Any]


_DELETED = ("", aws.UNMET, aws.NOT_NOW)
"""What becomes of a deletion: done, there is something else now, or it is left to the next one."""
_MAX_KEY_BYTES = 1024
"""What DynamoDB takes as a sort key. A lane's key may have more, and what was put there by hand still more."""
_MAX_REASON = 2_000
_MAX_ITEM = 5_000


def fitting(key: str) -> str:
    """`key` as a sort key can have it: itself, unless it is no Unicode, or too long. Then it is its beginning and its
    SHA-256 behind a `#`, with which no lane's key begins."""
    raw = key.encode("utf-8", "backslashreplace")
    return raw.decode() if len(raw) <= _MAX_KEY_BYTES else f"#{raw.decode()[:200]}… {sha256(raw).hexdigest()}"


class ControlStorage(Protocol):
    """A small key-value port. Values are JSON objects; `scope` groups keys that are listed together."""

    def put(self, scope: str, values: dict[str, Value]) -> None:
        """Write these values, replacing what was there. Not atomic together."""

    def swap(self, scope: str, key: str, before: Value | None, after: Value) -> bool:
        """Replace `before` (None: there is nothing yet) by `after`. True when `after` is there now, by whomever; False when
        something else is. Raises RegionUnavailable."""

    def get_all(self, scope: str, limit: int | None = None, after: str = "") -> Iterator[tuple[str, Value]]:
        """The scope's keys behind `after`, in order, with their values, consistently read."""

    def identity(self) -> str:
        """As LaneStorage.identity, of the table that this is kept in."""

    def delete(self, scope: str, values: dict[str, Value]) -> None:
        """Remove each key whose value is still exactly the one given; others stay."""


class MemoryControl:
    """Control state in memory."""

    def __init__(self) -> None:
        self._scopes: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()
        self._identity = uuid.uuid4().hex

    def identity(self) -> str:
        return self._identity

    def put(self, scope: str, values: dict[str, Value]) -> None:
        with self._lock:
            self._scopes.setdefault(scope, {}).update({key: control_text(value) for key, value in values.items()})

    def swap(self, scope: str, key: str, before: Value | None, after: Value) -> bool:
        with self._lock:
            held = self._scopes.setdefault(scope, {})
            if held.get(key) == (None if before is None else control_text(before)):
                held[key] = control_text(after)
            return held.get(key) == control_text(after)

    def get_all(self, scope: str, limit: int | None = None, after: str = "") -> Iterator[tuple[str, Value]]:
        with self._lock:
            held = sorted((key, text) for key, text in self._scopes.get(scope, {}).items() if key > after)
        yield from ((key, json.loads(text)) for key, text in held[:limit])

    def still(self) -> threading.Lock:
        """A lock under which nothing here changes: what a guarded insert in memory holds."""
        return self._lock

    def holds(self, guard: Guard) -> bool:
        """Whether the guard holds. To be asked under `still()`."""
        return self._scopes.get(guard.scope, {}).get(guard.key) == control_text(guard.value)

    def delete(self, scope: str, values: dict[str, Value]) -> None:
        with self._lock:
            held = self._scopes.get(scope, {})
            for key, value in values.items():
                if held.get(key) == control_text(value):
                    del held[key]


class DynamoControl:
    """Control state in the region's control table."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._region = settings.region
        self._table = settings.control_table
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="control")

    @cached_property
    def client(self) -> DynamoDBClient:
        """Made when it is needed."""
        return aws.dynamodb(self._settings, self._region)

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

        aws.call(self._settings, self._region, once)

    def swap(self, scope: str, key: str, before: Value | None, after: Value) -> bool:
        place, new = [{"S": scope}, {"S": key}], {"S": control_text(after)}
        if before is None:
            statement = f"INSERT INTO \"{self._table}\" VALUE {{'pk': ?, 'sk': ?, 'value': ?}}"
            parameters: list[Any] = [*place, new]
        else:
            statement = f'UPDATE "{self._table}" SET "value" = ? WHERE "pk" = ? AND "sk" = ? AND "value" = ?'
            parameters = [new, *place, {"S": control_text(before)}]
        request: Any = [{"Statement": statement, "Parameters": parameters}]
        refused: RegionRefuses | None = None
        try:
            (code,) = aws.execute_batch(aws.sending(self.client, self._pool), self._settings, self._region, request)
            if code not in ("", aws.UNMET):
                refused = self._refused(f"change {scope} {key}", code)
        except RegionRefuses as error:
            code, refused = error.code, error
        if not code:
            return True
        # A request that was sent again after its answer was lost fails on what it wrote itself; and engines differ in how
        # they say that a condition failed. So what is there decides.
        try:
            found = next((value for held, value in self.get_all(scope) if held == key), None)
        except RegionUnavailable as error:
            raise refused or error from error
        if refused is not None and found == before != after:
            raise refused
        return found == after

    def _refused(self, what: str, code: str) -> RegionRefuses:
        return RegionRefuses(f"{self._region} did not {what}: {code[:300]}", code.partition(":")[0], "BatchExecuteStatement")

    def get_all(self, scope: str, limit: int | None = None, after: str = "") -> Iterator[tuple[str, Value]]:
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :scope",
            "ExpressionAttributeValues": {":scope": {"S": scope}},
            "ConsistentRead": True,
        }
        if after:
            request["KeyConditionExpression"] += " AND sk > :after"
            request["ExpressionAttributeValues"][":after"] = {"S": after}
        if limit is not None:
            request["Limit"] = limit
        seen = 0
        while True:
            page = aws.call(self._settings, self._region, self._query(request))
            for item in page["Items"]:
                yield item["sk"]["S"], json.loads(item["value"]["S"])
                seen += 1
            if "LastEvaluatedKey" not in page or (limit is not None and seen >= limit):
                return
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def _query(self, request: dict[str, Any]) -> Callable[[], Mapping[str, Any]]:
        def once() -> Mapping[str, Any]:
            answer: Any = self.client.query(**request)
            aws.part(answer, "Items")
            return answer  # type: ignore[no-any-return]

        return once

    def identity(self) -> str:
        return aws.call(self._settings, self._region, lambda: aws.table_identity(self.client, self._table))

    def delete(self, scope: str, values: dict[str, Value]) -> None:
        statement = f'DELETE FROM "{self._table}" WHERE "pk" = ? AND "sk" = ? AND "value" = ?'
        statements = [
            {"Statement": statement, "Parameters": [{"S": scope}, {"S": key}, {"S": control_text(value)}]}
            for key, value in values.items()
        ]
        codes = aws.execute_batch(aws.sending(self.client, self._pool), self._settings, self._region, statements)
        strange = {key: code for key, code in zip(values, codes, strict=True) if code not in _DELETED}
        held = dict(self.get_all(scope)) if strange else {}
        for key, code in strange.items():
            if held.get(key) == values[key]:
                raise self._refused(f"remove {scope} {key}", code)


_WHOLE = "@"
"""Where a checkpoint is of the whole stream: no shard has this name."""


class Checkpoints:
    """How far a reader of a DynamoDB stream has come, by shard."""

    def __init__(self, control: ControlStorage, reader: str) -> None:
        self._control = control
        self._scope = f"checkpoint#{reader}"

    def load(self, stream_arn: str) -> dict[str, Value]:
        """shard -> {position, closed}. Checkpoints of another stream (a table made anew) do not count."""
        found = {shard: v for shard, v in self._control.get_all(self._scope) if v.get("stream") == stream_arn}
        found.pop(_WHOLE, None)
        return found

    def save(self, stream_arn: str, shard: str, position: str | None, closed: bool) -> None:
        self._control.put(self._scope, {shard: {"stream": stream_arn, "position": position, "closed": closed}})

    def mark(self, stream_arn: str, seconds: float) -> None:
        """Note that what waits in shards without a position here is not older than that, in seconds since the epoch by the
        service's clock. Earlier versions take it for a closed shard that is no more."""
        mark = {"stream": stream_arn, "position": None, "closed": True, "mark": int(seconds)}
        self._control.put(self._scope, {_WHOLE: mark})

    def marked(self, stream_arn: str) -> float:
        """What was noted last of this stream; minus infinity where nothing was."""
        value = dict(self._control.get_all(self._scope)).get(_WHOLE, {})
        return float(value["mark"]) if value.get("stream") == stream_arn and "mark" in value else -math.inf


class Quarantine:
    """Events that were refused: forks, damaged events, records that change or remove one. One record an event."""

    def __init__(self, control: ControlStorage, link: str) -> None:
        self._control = control
        self._scope = f"quarantine#{link}"

    def add(self, event_id: str, reason: str, ours: bytes | None = None, theirs: bytes | None = None) -> Value:
        """Record a refused event with the digest that arrived (`theirs`) and the one that is held here (`ours`). Returns the
        record, which `release` takes."""
        key = fitting(event_id)
        value: Value = {
            "reason": reason if len(reason) <= _MAX_REASON else f"{reason[:_MAX_REASON]}…",
            "held": ours.hex() if ours else None,
            "refused": theirs.hex() if theirs else None,
            **({} if key == event_id or len(event_id) > _MAX_ITEM else {"item": event_id}),
        }
        self._control.put(self._scope, {key: value})
        return value

    def records(self) -> list[tuple[str, Value]]:
        """(event id, {reason, held, refused}) of everything that was refused and not released since."""
        return [(value.get("item", key), value) for key, value in self._control.get_all(self._scope)]

    def lanes(self) -> dict[LaneId, dict[str, Value]]:
        """The records of events and heads by their lane. Records that name none are left out."""
        found: dict[LaneId, dict[str, Value]] = {}
        for key, value in self.records():
            if (lane := lane_of(key)) is not None:
                found.setdefault(lane, {})[key] = value
        return found

    def count(self) -> int:
        """How many events were refused: one that several projections cannot digest is one."""
        return len({event_of(key) for key, _ in self.records()})

    def release(self, records: Mapping[str, Value]) -> None:
        """Take these records out, unless they were renewed meanwhile: what they say has been dealt with."""
        self._control.delete(self._scope, {fitting(key): value for key, value in records.items()})


def event_of(key: str) -> str:
    """The event that a record is about, without the projection that refused it. The key itself where it names no event."""
    head, delimiter, rest = key.partition(DELIMITER)
    return f"{head.rpartition(' ')[2]}{delimiter}{rest}" if delimiter else key


def lane_of(key: str) -> LaneId | None:
    """The lane of the event that a record is about, None where it names none."""
    try:
        return LaneId.from_key(event_of(key).rpartition(DELIMITER)[0])
    except InvalidName:
        return None


def sequences_of(keys: Iterable[str]) -> set[int]:
    """The sequences of the events that records are about, of those that name one."""
    found: set[int] = set()
    for key in keys:
        with suppress(InvalidName):
            found.add(parse_sequence_key(key.rpartition(DELIMITER)[2]))
    return found


def projection_of(key: str) -> str:
    """The projection that refused the event of a record; empty where none did."""
    head, delimiter, _ = key.partition(DELIMITER)
    return head.rpartition(" ")[0] if delimiter else ""


def select(records: Mapping[str, Value], what: str) -> dict[str, Value]:
    """The records that `what` names: one as listed, an event, a lane, or a projection (`name`, or `name@version`)."""

    def names(key: str) -> set[str]:
        projection, lane = projection_of(key), lane_of(key)
        item = event_of(key).rpartition(" ")[0]  # of a record that changes an event: its lane
        return {key, event_of(key), lane.key if lane else item, projection, projection.partition("@")[0]} - {""}

    return {key: value for key, value in records.items() if what in names(key)}
