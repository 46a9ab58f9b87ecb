"""PartiQL INSERTs for engines whose streams leave them out: each becomes the conditional put that AWS's INSERT is.

ministack and LocalStack write no stream record for what PartiQL inserts. A request that inserts is therefore translated
before they see it: it becomes PutItem, or TransactWriteItems for a transaction, and the answer is translated back.

The requests that Meridian sends are translated: an INSERT of which every value is a parameter, alone, in a batch, or in a
transaction with such INSERTs and EXISTS. Any other INSERT into a table with a stream is refused, as no record would show it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

TABLES = frozenset({"CreateTable", "DeleteTable", "UpdateTable"})
"""Operations that change tables, and no item."""
OPERATIONS = frozenset({"ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction"}) | TABLES
"""Operations of DynamoDB that `Inserts` must be asked about."""

_ERRORS = "com.amazonaws.dynamodb.v20120810#"
_DUPLICATE = "Duplicate primary key exists in table"
_MAX_BATCH, _MAX_TRANSACTION = 25, 100

_FLAGS = re.IGNORECASE | re.DOTALL | re.ASCII
_TABLE = r"""("?)([A-Za-z0-9_.-]+)\1"""
_INSERT = re.compile(rf"\s*INSERT\s+INTO\s+{_TABLE}\s+VALUE\s+\{{(.*)\}}\s*", _FLAGS)
_ANY_INSERT = re.compile(rf"\s*INSERT\s+INTO\s+{_TABLE}", _FLAGS)
_COLUMN = re.compile(r"\s*'([^']+)'\s*:\s*\?\s*")
_EXISTS = re.compile(rf"\s*EXISTS\s*\(\s*SELECT\s+\*\s+FROM\s+{_TABLE}\s+WHERE\s+(.*)\)\s*", _FLAGS)
_TERM = re.compile(r"""\s*"([^"]+)"\s*=\s*\?\s*""")
_AND = re.compile(r"\s+AND\s+", re.IGNORECASE | re.ASCII)
_WHO = re.compile(r"Credential=([^/,\s]+)/[^/,\s]*/([^/,\s]+)/")


class Statement(NamedTuple):
    """Statement whose values are all parameters. `kind` is insert or exists; `names` are the attributes in order, each
    once."""

    kind: str
    table: str
    names: tuple[str, ...]

    def values(self, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the attributes with their values, or None where the statement and its parameters do not fit."""
        parameters = given.get("Parameters") or []
        return dict(zip(self.names, parameters, strict=True)) if len(parameters) == len(self.names) else None


@lru_cache(maxsize=1000)
def parse(text: str) -> Statement | None:
    """Parse an INSERT or EXISTS of which every value is a parameter. Returns None for any other statement."""
    for kind, whole, part, split in (("insert", _INSERT, _COLUMN, re.compile(",")), ("exists", _EXISTS, _TERM, _AND)):
        if found := whole.fullmatch(text):
            names = [part.fullmatch(each) for each in split.split(found[3])]
            if all(names) and len({name[1] for name in names if name}) == len(names):
                return Statement(kind, found[2], tuple(name[1] for name in names if name))
    return None


class Answer(NamedTuple):
    """Answer of ministack: the status, and the body's JSON."""

    status: int
    body: dict[str, Any]

    @property
    def code(self) -> str:
        """Code of the error, without its namespace; empty for a success."""
        return "" if self.status == 200 else str(self.body.get("__type", "")).rpartition("#")[2]


class Table(NamedTuple):
    """Table's key: `keys` are the names of its key attributes, the partition key first; none where there is no such
    table."""

    keys: tuple[str, ...]
    streamed: bool


class Client(NamedTuple):
    """Client of a request. `call` makes a request of the engine in its name: an operation, and its JSON. Where one engine
    has tables of several accounts and regions, `place` says in which they are."""

    call: Callable[[str, Mapping[str, Any]], Awaitable[Answer]]
    place: tuple[str, ...] = ()


def place_of(authorization: str) -> tuple[str, ...]:
    """Return the access key and the region that a request is signed for; nothing where it is not signed."""
    found = _WHO.search(authorization)
    return found.groups() if found else ()


class Inserts:
    """Translator that answers requests that insert, by other requests of the same engine."""

    def __init__(self) -> None:
        self._tables: dict[tuple[tuple[str, ...], str], Table] = {}

    async def answer(self, operation: str, request: Mapping[str, Any], client: Client) -> Answer | None:
        """Return the answer to a request that inserts; None for any other, and for what the engine has to refuse."""
        try:
            found = await self._answer(operation, request, client)
            return found if found is not None else await self._refusal(request, client)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None  # malformed: the engine reports the error

    async def _refusal(self, request: Mapping[str, Any], client: Client) -> Answer | None:
        """Return the refusal of an INSERT that, unchanged, would be in the table and in no stream; None where there is no
        such."""
        for each in request.get("Statements") or request.get("TransactStatements") or [request]:
            found = _ANY_INSERT.match(each.get("Statement", ""))
            if found and (await self._table(client, found[2])).streamed:
                why = "every value as a parameter, each name once; a transaction of nothing but INSERT and EXISTS with ="
                text = f"This emulator's streams show an INSERT of this form only: {why}. Nothing was written: {found[0]} …"
                return Answer(400, {"__type": f"{_ERRORS}ValidationException", "message": text})
        return None

    async def _answer(self, operation: str, request: Mapping[str, Any], client: Client) -> Answer | None:
        call = client.call
        if len(request.get("Statements", ())) > _MAX_BATCH or len(request.get("TransactStatements", ())) > _MAX_TRANSACTION:
            raise ValueError("too many statements")
        if operation in TABLES:
            self._tables.pop((client.place, str(request["TableName"])), None)
        elif operation == "BatchExecuteStatement":
            return await self._batch(client, request)
        elif operation == "ExecuteTransaction":
            return await self._transaction(client, request)
        elif operation == "ExecuteStatement" and (put := await self._put(client, request)) is not None:
            answer = await call("PutItem", {**put, **_only(request, "ReturnConsumedCapacity")})
            if answer.code == "ConditionalCheckFailedException":
                return Answer(400, {"__type": f"{_ERRORS}DuplicateItemException", "message": _DUPLICATE})
            return Answer(200, {"Items": [], **answer.body}) if answer.status == 200 else answer
        return None

    async def _batch(self, client: Client, request: Mapping[str, Any]) -> Answer | None:
        """Answer a batch: each INSERT by itself, in their order."""
        call, statements = client.call, request["Statements"]
        puts = [await self._put(client, each) for each in statements]
        if not any(puts):
            return None
        for each, put in zip(statements, puts, strict=True):
            if put is None and (refusal := await self._refusal(each, client)):
                return refusal
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

    async def _transaction(self, client: Client, request: Mapping[str, Any]) -> Answer | None:
        items = []
        for each in request["TransactStatements"]:
            if put := await self._put(client, each):
                items.append({"Put": put})
            elif check := await self._check(client, each):
                items.append({"ConditionCheck": check})
            else:
                return None
        told = _only(request, "ClientRequestToken", "ReturnConsumedCapacity")
        answer = await client.call("TransactWriteItems", {"TransactItems": items, **told})
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

    async def _put(self, client: Client, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the conditional put that an INSERT is; None for any other statement."""
        statement = parse(given["Statement"])
        if statement is None or statement.kind != "insert" or (values := statement.values(given)) is None:
            return None
        keys = (await self._table(client, statement.table, statement.names)).keys
        if not keys:
            return None
        return {
            "TableName": statement.table, "Item": values, "ConditionExpression": "attribute_not_exists(#key)",
            "ExpressionAttributeNames": {"#key": keys[0]},
        }  # fmt: skip

    async def _check(self, client: Client, given: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the condition check that an EXISTS is; None for any other statement."""
        statement = parse(given["Statement"])
        if statement is None or statement.kind != "exists" or (values := statement.values(given)) is None:
            return None
        keys = (await self._table(client, statement.table, statement.names)).keys
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

    async def _table(self, client: Client, name: str, names: Collection[str] = ()) -> Table:
        """Return the table, as it was described before; described anew where a statement does not name its key."""
        found = self._tables.get((client.place, name))
        if found is None or (names and not set(found.keys) <= set(names)):
            answer = await client.call("DescribeTable", {"TableName": name})
            if answer.status != 200:
                return Table((), False)
            table = answer.body["Table"]
            keys = tuple(each["AttributeName"] for each in sorted(table["KeySchema"], key=lambda each: each["KeyType"]))
            found = Table(keys, bool((table.get("StreamSpecification") or {}).get("StreamEnabled")))
            self._tables[client.place, name] = found
        return found


def _batch_result(table: str, answer: Answer) -> dict[str, Any]:
    if answer.status == 200:
        return {"TableName": table}
    if answer.code == "ConditionalCheckFailedException":
        return {"Error": {"Code": "DuplicateItem", "Message": _DUPLICATE}, "TableName": table}
    code = "ValidationError" if answer.code == "ValidationException" else answer.code.removesuffix("Exception")
    return {"Error": {"Code": code, "Message": str(answer.body.get("message", ""))}}


def _only(request: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: request[name] for name in names if name in request}
