"""PartiQL INSERTs for engines whose streams leave them out: each becomes the conditional put that AWS's INSERT is.

ministack and LocalStack write no stream record for what PartiQL inserts. So a request that inserts is taken apart before
they see it: it becomes PutItem, or TransactWriteItems for a transaction, and the answer is put together again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

OPERATIONS = frozenset({"ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction", "CreateTable", "DeleteTable"})
"""The operations of DynamoDB's that `Inserts` is to be asked about."""

_ERRORS = "com.amazonaws.dynamodb.v20120810#"
_DUPLICATE = "Duplicate primary key exists in table"
_MAX_BATCH = 25

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


Call = Callable[[str, Mapping[str, Any]], Awaitable[Answer]]
"""Makes a request of the engine: an operation, and its JSON."""


class Inserts:
    """Answers requests that insert, by other requests of the same engine."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[str, ...]] = {}

    async def answer(self, operation: str, request: Mapping[str, Any], call: Call) -> Answer | None:
        """The answer to a request that inserts; None for any other, and for what the engine has to refuse."""
        try:
            return await self._answer(operation, request, call)
        except (ValueError, LookupError, TypeError, AttributeError):
            return None  # malformed: the engine says what is wrong with it

    async def _answer(self, operation: str, request: Mapping[str, Any], call: Call) -> Answer | None:
        if operation in ("CreateTable", "DeleteTable"):
            self._keys.pop(str(request["TableName"]), None)
        elif operation == "BatchExecuteStatement":
            return await self._batch(call, request)
        elif operation == "ExecuteTransaction":
            return await self._transaction(call, request)
        elif operation == "ExecuteStatement" and (put := await self._put(call, request)) is not None:
            answer = await call("PutItem", {**put, **_only(request, "ReturnConsumedCapacity")})
            if answer.code == "ConditionalCheckFailedException":
                return Answer(400, {"__type": f"{_ERRORS}DuplicateItemException", "message": _DUPLICATE})
            return Answer(200, {"Items": [], **answer.body}) if answer.status == 200 else answer
        return None

    async def _batch(self, call: Call, request: Mapping[str, Any]) -> Answer | None:
        """Each INSERT by itself, in their order."""
        statements = request["Statements"]
        puts = [await self._put(call, each) for each in statements]
        if len(statements) > _MAX_BATCH or not any(puts):
            return None
        told = _only(request, "ReturnConsumedCapacity")
        results, units = [], Counter[str]()
        for each, put in zip(statements, puts, strict=True):
            if put is None:
                answer = await call("BatchExecuteStatement", {"Statements": [each], **told})
                if answer.status != 200:
                    return answer
                results += answer.body["Responses"]
                used = answer.body.get("ConsumedCapacity", [])
            else:
                answer = await call("PutItem", {**put, **told})
                results.append(_batch_result(put["TableName"], answer))
                used = [answer.body["ConsumedCapacity"]] if "ConsumedCapacity" in answer.body else []
            for one in used:
                units[one["TableName"]] += one["CapacityUnits"]
        consumed = [{"TableName": table, "CapacityUnits": count} for table, count in units.items()]
        return Answer(200, {"Responses": results, **({"ConsumedCapacity": consumed} if consumed else {})})

    async def _transaction(self, call: Call, request: Mapping[str, Any]) -> Answer | None:
        items = []
        for each in request["TransactStatements"]:
            if put := await self._put(call, each):
                items.append({"Put": put})
            elif check := await self._check(call, each):
                items.append({"ConditionCheck": check})
            else:
                return None
        told = _only(request, "ClientRequestToken", "ReturnConsumedCapacity")
        answer = await call("TransactWriteItems", {"TransactItems": items, **told})
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

    async def _put(self, call: Call, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """The conditional put that an INSERT is; None for any other statement."""
        statement = parse(given["Statement"])
        if statement is None or statement.kind != "insert" or (values := statement.values(given)) is None:
            return None
        keys = await self._keys_of(call, statement.table)
        if not keys:
            return None
        return {
            "TableName": statement.table, "Item": values, "ConditionExpression": "attribute_not_exists(#key)",
            "ExpressionAttributeNames": {"#key": keys[0]},
        }  # fmt: skip

    async def _check(self, call: Call, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """The condition check that an EXISTS is; None for any other statement."""
        statement = parse(given["Statement"])
        if statement is None or statement.kind != "exists" or (values := statement.values(given)) is None:
            return None
        keys = await self._keys_of(call, statement.table)
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

    async def _keys_of(self, call: Call, table: str) -> tuple[str, ...]:
        """The names of the table's key attributes, the partition key first; nothing where there is no such table."""
        if table not in self._keys:
            answer = await call("DescribeTable", {"TableName": table})
            if answer.status != 200:
                return ()
            schema = answer.body["Table"]["KeySchema"]
            self._keys[table] = tuple(each["AttributeName"] for each in sorted(schema, key=lambda each: each["KeyType"]))
        return self._keys[table]


def _batch_result(table: str, answer: Answer) -> dict[str, Any]:
    if answer.status == 200:
        return {"TableName": table}
    if answer.code == "ConditionalCheckFailedException":
        return {"Error": {"Code": "DuplicateItem", "Message": _DUPLICATE}, "TableName": table}
    code = "ValidationError" if answer.code == "ValidationException" else answer.code.removesuffix("Exception")
    return {"Error": {"Code": code, "Message": str(answer.body.get("message", ""))}}


def _only(request: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: request[name] for name in names if name in request}
