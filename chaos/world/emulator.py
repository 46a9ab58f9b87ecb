"""A region's emulator: ministack, whose streams show what PartiQL inserts, as AWS's streams do.

ministack 1.5 writes no stream record for an INSERT. So a request that inserts is taken apart before ministack sees it, and
becomes the conditional put that AWS's INSERT is: PutItem, or TransactWriteItems for a transaction. The answer is put
together again. Everything else passes as it is, and so does everything where AUTH is on, which checks what was signed.
Write requests are counted as their senders made them.

    python -m chaos.world.emulator      (settings: GATEWAY_PORT and ministack's other variables)
"""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COUNTS_PATH = "/_meridian/requests"
"""Where the counts of write requests are given: `{"operation table": count}`."""

_TARGET = "DynamoDB_20120810."
_WRITES = frozenset({
    "PutItem", "UpdateItem", "DeleteItem", "BatchWriteItem", "TransactWriteItems", "ExecuteStatement",
    "BatchExecuteStatement", "ExecuteTransaction", "CreateTable", "DeleteTable",
})  # fmt: skip
_JSON = b"application/x-amz-json-1.0"
_ERRORS = "com.amazonaws.dynamodb.v20120810#"
_DUPLICATE = "Duplicate primary key exists in table"
_MAX_BATCH = 25
_REPLACED = (b"x-amz-target", b"content-length", b"expect", b"transfer-encoding")

_TABLE = re.compile(r'(?:INTO|UPDATE|FROM)\s+"?([A-Za-z0-9_.-]+)"?', re.IGNORECASE)
_INSERT = re.compile(r"""\s*INSERT\s+INTO\s+"?([A-Za-z0-9_.-]+)"?\s+VALUE\s+\{(.*)\}\s*""", re.IGNORECASE | re.DOTALL)
_COLUMN = re.compile(r"\s*'([^']+)'\s*:\s*\?\s*")
_EXISTS = re.compile(
    r"""\s*EXISTS\s*\(\s*SELECT\s+\*\s+FROM\s+"?([A-Za-z0-9_.-]+)"?\s+WHERE\s+(.*)\)\s*""", re.IGNORECASE | re.DOTALL
)
_TERM = re.compile(r"""\s*"([^"]+)"\s*=\s*\?\s*""")
_AND = re.compile(r"\s+AND\s+", re.IGNORECASE)


class Statement(NamedTuple):
    """A statement whose values are all parameters. `kind` is insert or exists; `names` are the attributes in order."""

    kind: str
    table: str
    names: tuple[str, ...]

    def values(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """The attributes with their values, or None where the statement and its parameters do not fit."""
        parameters = given.get("Parameters") or []
        return dict(zip(self.names, parameters, strict=True)) if len(parameters) == len(self.names) else None


@lru_cache(maxsize=1000)
def parse(text: str) -> Statement | None:
    """An INSERT or EXISTS of which every value is a parameter. None for any other statement."""
    for kind, whole, part, split in (("insert", _INSERT, _COLUMN, re.compile(",")), ("exists", _EXISTS, _TERM, _AND)):
        if found := whole.fullmatch(text):
            names = [part.fullmatch(each) for each in split.split(found[2])]
            if all(names):
                return Statement(kind, found[1], tuple(name[1] for name in names if name))
    return None


class Answer(NamedTuple):
    """What ministack answered: the status, and the body's JSON."""

    status: int
    body: dict[str, Any]

    @property
    def code(self) -> str:
        """The error's code, without its namespace; empty for a success."""
        return "" if self.status == 200 else str(self.body.get("__type", "")).rpartition("#")[2]


class Emulator:
    """The ASGI application in front of ministack's."""

    def __init__(self, inner: App) -> None:
        self._inner = inner
        self._keys: dict[str, tuple[str, ...]] = {}
        self._counts: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        if scope["path"] == COUNTS_PATH:
            await _respond(send, Answer(200, dict(sorted(self._counts.items()))))
            return
        target = next((value for name, value in scope["headers"] if name.lower() == b"x-amz-target"), b"").decode("latin-1")
        operation = target.removeprefix(_TARGET)
        if not target.startswith(_TARGET) or operation not in _WRITES:
            await self._inner(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:
            return  # the client has gone
        answer = None
        try:
            request = json.loads(body)
            self._count(operation, request)
            answer = await self._translated(_Caller(self._inner, scope), operation, request)
        except (ValueError, LookupError, TypeError, AttributeError):
            pass  # malformed: ministack says what is wrong with it
        if answer is None:
            await self._inner(scope, _given(body, receive), send)
        else:
            await _respond(send, answer)

    def _count(self, operation: str, request: Mapping[str, Any]) -> None:
        for table in _tables(operation, request):
            self._counts[f"{operation} {table}"] += 1
        if operation in ("CreateTable", "DeleteTable"):
            self._keys.pop(str(request["TableName"]), None)

    async def _translated(self, caller: _Caller, operation: str, request: Mapping[str, Any]) -> Answer | None:
        """The answer to a request that inserts; None for any other."""
        if operation == "ExecuteStatement":
            put = await self._put(caller, request)
            if put is None:
                return None
            answer = await caller.call("PutItem", {**put, **_only(request, "ReturnConsumedCapacity")})
            if answer.code == "ConditionalCheckFailedException":
                return Answer(400, {"__type": f"{_ERRORS}DuplicateItemException", "message": _DUPLICATE})
            return Answer(200, {"Items": [], **answer.body}) if answer.status == 200 else answer
        if operation == "BatchExecuteStatement":
            return await self._batch(caller, request)
        if operation == "ExecuteTransaction":
            return await self._transaction(caller, request)
        return None

    async def _batch(self, caller: _Caller, request: Mapping[str, Any]) -> Answer | None:
        """Each INSERT by itself, in their order."""
        statements = request["Statements"]
        puts = [await self._put(caller, each) for each in statements]
        if len(statements) > _MAX_BATCH or not any(puts):
            return None
        told = _only(request, "ReturnConsumedCapacity")
        results, units = [], Counter[str]()
        for each, put in zip(statements, puts, strict=True):
            if put is None:
                answer = await caller.call("BatchExecuteStatement", {"Statements": [each], **told})
                if answer.status != 200:
                    return answer
                results += answer.body["Responses"]
                used = answer.body.get("ConsumedCapacity", [])
            else:
                answer = await caller.call("PutItem", {**put, **told})
                results.append(_batch_result(put["TableName"], answer))
                used = [answer.body["ConsumedCapacity"]] if "ConsumedCapacity" in answer.body else []
            for one in used:
                units[one["TableName"]] += one["CapacityUnits"]
        consumed = [{"TableName": table, "CapacityUnits": count} for table, count in units.items()]
        return Answer(200, {"Responses": results, **({"ConsumedCapacity": consumed} if consumed else {})})

    async def _transaction(self, caller: _Caller, request: Mapping[str, Any]) -> Answer | None:
        items = []
        for each in request["TransactStatements"]:
            if put := await self._put(caller, each):
                items.append({"Put": put})
            elif check := await self._check(caller, each):
                items.append({"ConditionCheck": check})
            else:
                return None
        told = _only(request, "ClientRequestToken", "ReturnConsumedCapacity")
        answer = await caller.call("TransactWriteItems", {"TransactItems": items, **told})
        if answer.status == 200:
            return Answer(200, {"Responses": [], **answer.body})
        if "CancellationReasons" not in answer.body:
            return answer
        reasons = [
            {"Code": "DuplicateItem", "Message": _DUPLICATE}
            if "Put" in item and reason.get("Code") == "ConditionalCheckFailed" else reason
            for item, reason in zip(items, answer.body["CancellationReasons"], strict=True)
        ]  # fmt: skip
        codes = ", ".join(str(reason.get("Code")) for reason in reasons)
        message = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
        return Answer(answer.status, {**answer.body, "message": message, "CancellationReasons": reasons})

    async def _put(self, caller: _Caller, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """The conditional put that an INSERT is; None for any other statement."""
        statement = parse(given["Statement"])
        if statement is None or statement.kind != "insert" or (values := statement.values(given)) is None:
            return None
        keys = await self._keys_of(caller, statement.table)
        if not keys:
            return None
        return {
            "TableName": statement.table, "Item": values, "ConditionExpression": "attribute_not_exists(#key)",
            "ExpressionAttributeNames": {"#key": keys[0]},
        }  # fmt: skip

    async def _check(self, caller: _Caller, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """The condition check that an EXISTS is; None for any other statement."""
        statement = parse(given["Statement"])
        if statement is None or statement.kind != "exists" or (values := statement.values(given)) is None:
            return None
        keys = await self._keys_of(caller, statement.table)
        others = [name for name in values if name not in keys]
        if not keys or not others or not values.keys() >= set(keys):
            return None
        return {
            "TableName": statement.table,
            "Key": {name: values[name] for name in keys},
            "ConditionExpression": " AND ".join(f"#n{number} = :v{number}" for number in range(len(others))),
            "ExpressionAttributeNames": {f"#n{number}": name for number, name in enumerate(others)},
            "ExpressionAttributeValues": {f":v{number}": values[name] for number, name in enumerate(others)},
        }

    async def _keys_of(self, caller: _Caller, table: str) -> tuple[str, ...]:
        """The names of the table's key attributes, the partition key first; nothing where there is no such table."""
        if table not in self._keys:
            answer = await caller.call("DescribeTable", {"TableName": table})
            if answer.status != 200:
                return ()
            schema = answer.body["Table"]["KeySchema"]
            self._keys[table] = tuple(each["AttributeName"] for each in sorted(schema, key=lambda each: each["KeyType"]))
        return self._keys[table]


class _Caller:
    """Makes requests of ministack in the name of the client whose request has this scope."""

    def __init__(self, inner: App, scope: Scope) -> None:
        self._inner = inner
        self._scope = scope
        self._kept = [(name, value) for name, value in scope["headers"] if name.lower() not in _REPLACED]

    async def call(self, operation: str, request: Mapping[str, Any]) -> Answer:
        body = json.dumps(request).encode()
        headers = [
            *self._kept, (b"x-amz-target", f"{_TARGET}{operation}".encode()), (b"content-length", b"%d" % len(body)),
        ]  # fmt: skip
        status, parts = 500, list[bytes]()

        async def send(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            else:
                parts.append(message.get("body", b""))

        await self._inner({**self._scope, "headers": headers}, _given(body, None), send)
        return Answer(status, json.loads(b"".join(parts) or b"{}"))


def _tables(operation: str, request: Mapping[str, Any]) -> set[str]:
    """The tables that a write request names."""
    if operation == "BatchWriteItem":
        return set(request["RequestItems"])
    if operation == "TransactWriteItems":
        return {str(each["TableName"]) for item in request["TransactItems"] for each in item.values()}
    if operation in ("BatchExecuteStatement", "ExecuteTransaction", "ExecuteStatement"):
        many: Sequence[Any] = request.get("Statements") or request.get("TransactStatements") or [request]
        return {found[1] for each in many if (found := _TABLE.search(each["Statement"]))}
    return {str(request["TableName"])}


def _batch_result(table: str, answer: Answer) -> dict[str, Any]:
    if answer.status == 200:
        return {"TableName": table}
    if answer.code == "ConditionalCheckFailedException":
        return {"Error": {"Code": "DuplicateItem", "Message": _DUPLICATE}, "TableName": table}
    code = "ValidationError" if answer.code == "ValidationException" else answer.code.removesuffix("Exception")
    return {"Error": {"Code": code, "Message": str(answer.body.get("message", ""))}}


def _only(request: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: request[name] for name in names if name in request}


async def _body(receive: Receive) -> bytes | None:
    """The request's whole body; None when the client left before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _given(body: bytes, receive: Receive | None) -> Receive:
    """A `receive` that gives this body, and then what the client's gives."""
    rest = [{"type": "http.request", "body": body, "more_body": False}]

    async def given() -> MutableMapping[str, Any]:
        if rest:
            return rest.pop()
        return await receive() if receive is not None else {"type": "http.disconnect"}

    return given


async def _respond(send: Send, answer: Answer) -> None:
    content = json.dumps(answer.body).encode()
    headers = [
        (b"content-type", _JSON), (b"content-length", b"%d" % len(content)), (b"x-amz-crc32", b"%d" % zlib.crc32(content)),
    ]  # fmt: skip
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def main() -> None:
    """Run ministack, with the translation in front of it, until it is stopped."""
    ministack: Any = import_module("ministack.app")
    if not ministack.AUTH:  # there a request has to reach it as it was signed
        ministack.app = Emulator(ministack.app)
    ministack.main()


if __name__ == "__main__":
    main()
