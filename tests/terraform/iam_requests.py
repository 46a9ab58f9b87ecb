"""Actions, resources and condition keys that AWS documents for a request (the service authorization reference).

Sources: "Actions, resources, and condition keys for Amazon DynamoDB", "… for Amazon SQS", "… for AWS KMS", "… for Amazon
Kinesis Data Streams", and "IAM security policies with PartiQL for DynamoDB". A request that this module does not know raises
UnknownRequest, so that none passes unseen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.terraform.plans import ACCOUNT
from tests.terraform.recorder import Exchange

DEPLOYED = "meridian"
"""Prefix of the deployed names, which takes the place of the prefix of a test's own tables and queues."""
_ITEMS = {
    "GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan", "DescribeTable", "CreateTable", "DeleteTable",
    "UpdateTable", "DescribeTimeToLive", "UpdateTimeToLive", "DescribeContinuousBackups",
}  # fmt: skip
_QUEUES = {
    "SendMessage", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "GetQueueUrl", "ChangeMessageVisibility",
    "SendMessageBatch", "DeleteMessageBatch", "PurgeQueue",
}  # fmt: skip
_SAME = {"SendMessageBatch": "SendMessage", "DeleteMessageBatch": "DeleteMessage"}
"""SQS has no action of its own for a batch."""
_RECORDS = {
    "GetShardIterator",
    "GetRecords",
    "DescribeStream",
    "DescribeStreamSummary",
    "ListShards",
    "PutRecord",
    "PutRecords",
}
_PARTIQL = re.compile(
    r'\s*(?:(EXISTS)\s*\(\s*)?(SELECT|INSERT|DELETE)\b.*?(?:FROM|INTO)\s+"?([\w.-]+?)"?(?:\."([\w.-]+)")?(?=[\s)]|$)',
    re.IGNORECASE | re.DOTALL,
)
_UPDATED = re.compile(r'\s*UPDATE\s+"?([\w.-]+)"?', re.IGNORECASE)
_COLUMN = re.compile(r"'([^']+)'\s*:\s*\?")
_KEY_TERM = re.compile(r'"?pk"?\s*=\s*\?', re.IGNORECASE)


class UnknownRequest(AssertionError):
    """Error: nothing is known of what AWS asks for this request."""


@dataclass(frozen=True)
class Need:
    """What a request needs: an action on a resource. `keys` are dynamodb:LeadingKeys, None where the request has none;
    `more` are other condition keys."""

    action: str
    resource: str
    keys: tuple[str, ...] | None = None
    more: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def region(self) -> str:
        return self.resource.split(":")[3] if self.resource != "*" else ""

    def __str__(self) -> str:
        keys = "" if self.keys is None else f" with keys {', '.join(self.keys)}"
        return f"{self.action} on {self.resource}{keys}{f' with {dict(self.more)}' if self.more else ''}"


class Mapper:
    """Maps requests to what they need. Remembers which stream an iterator is of. `prefix` is that of the tables and queues;
    requests on tables that begin with one of `ignored` (behind the prefix) need nothing: they are made at emulators only."""

    def __init__(self, prefix: str, ignored: Sequence[str] = ("check-",)) -> None:
        self._prefix = prefix
        self._ignored = ignored
        self._iterators: dict[str, str] = {}

    def needs(self, exchanges: Iterable[Exchange]) -> list[Need]:
        """Return the needs of all these, each once. Raises UnknownRequest."""
        found: dict[str, Need] = {}
        for each in exchanges:
            for need in self._needs(each):
                found.setdefault(str(need), need)
        return list(found.values())

    def _needs(self, each: Exchange) -> Iterator[Need]:
        service, operation, region = each.asked.service, each.asked.operation, each.asked.region
        if service == "dynamodb":
            yield from (need for need in self._dynamodb(operation, region, each.body) if not self._is_ignored(need.resource))
        elif service == "dynamodbstreams":
            arn = self._stream_arn(each)
            if not self._is_ignored(arn):
                yield Need(f"dynamodb:{operation}", arn)
        elif service == "sqs" and operation in _QUEUES:
            queue = each.body.get("QueueName") or str(each.body["QueueUrl"]).rstrip("/").rpartition("/")[2]
            yield Need(f"sqs:{_SAME.get(operation, operation)}", self._arn("sqs", region, "", queue))
        elif service == "kms" and operation in ("Decrypt", "GenerateDataKey"):
            context = each.body.get("EncryptionContext", {})
            more = {f"kms:EncryptionContext:{name}": value for name, value in context.items()}
            more |= {"kms:EncryptionContextKeys": list(context)} if context else {}
            yield Need(f"kms:{operation}", f"arn:aws:kms:{region}:{ACCOUNT}:key/{each.body['KeyId']}", more=more)
        elif service == "kinesis" and operation == "ListStreams":
            yield Need("kinesis:ListStreams", "*")
        elif service == "kinesis" and operation in _RECORDS:
            yield Need(f"kinesis:{operation}", self._kinesis_arn(each))
        else:
            raise UnknownRequest(f"{each.asked} with {str(each.body)[:300]}")

    # -- DynamoDB ------------------------------------------------------------------------------------------------------

    def _dynamodb(self, operation: str, region: str, body: Mapping[str, Any]) -> Iterator[Need]:
        if operation in ("ExecuteStatement", "BatchExecuteStatement", "ExecuteTransaction"):
            many = body.get("Statements") or body.get("TransactStatements") or [body]
            yield from (need for each in many for need in self._statement(region, each))
        elif operation == "BatchGetItem":
            for table, asked in body["RequestItems"].items():
                yield self._table(operation, region, table, keys=_keys(asked["Keys"]))
        elif operation == "BatchWriteItem":
            for table, asked in body["RequestItems"].items():
                parts = [each.get("PutRequest", {}).get("Item") or each["DeleteRequest"]["Key"] for each in asked]
                yield self._table(operation, region, table, keys=_keys(parts))
        elif operation == "TransactWriteItems":
            for item in body["TransactItems"]:
                ((kind, part),) = item.items()
                name = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem"}.get(kind, "ConditionCheckItem")
                yield self._table(name, region, part["TableName"], keys=_keys([part.get("Item") or part["Key"]]))
        elif operation == "ListTables":
            yield Need("dynamodb:ListTables", "*")
        elif operation in _ITEMS:
            item = body.get("Item") or body.get("Key")
            keys = _keys([item]) if item else _queried(body) if operation == "Query" else None
            more = {"dynamodb:Attributes": sorted(_attributes(body))} if operation == "PutItem" else {}
            yield self._table(operation, region, body["TableName"], body.get("IndexName"), keys, more)
        else:
            raise UnknownRequest(f"dynamodb {operation} with {str(body)[:300]}")

    def _statement(self, region: str, each: Mapping[str, Any]) -> Iterator[Need]:
        """Yield the needs of a PartiQL statement. An EXISTS reads by SELECT and is a condition check."""
        text, values = each["Statement"], each.get("Parameters", [])
        if updated := _UPDATED.match(text):
            exists, verb, table, index = "", "UPDATE", updated[1], None
        elif found := _PARTIQL.match(text):
            exists, verb, table, index = found.groups()
        else:
            raise UnknownRequest(f"PartiQL {text[:300]}")
        keys = _parameter(text, values, verb.upper())
        yield self._table(f"PartiQL{verb.capitalize()}", region, table, index, keys)
        if exists:
            yield self._table("ConditionCheckItem", region, table, index, keys)

    def _table(
        self, operation: str, region: str, table: str, index: str | None = None, keys: tuple[str, ...] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> Need:  # fmt: skip
        arn = table if table.startswith("arn:") else self._arn("dynamodb", region, "table/", table)
        if index is not None:
            # The leading keys of an index are of other attributes: no policy has a condition on them.
            return Need(f"dynamodb:{operation}", f"{arn}/index/{index}", None, more or {})
        return Need(f"dynamodb:{operation}", arn, keys, more or {})

    # -- streams -------------------------------------------------------------------------------------------------------

    def _stream_arn(self, each: Exchange) -> str:
        if each.asked.operation == "ListStreams":
            return f"{self._arn('dynamodb', each.asked.region, 'table/', each.body['TableName'])}/stream/*"
        return self._iterated(each, each.body.get("StreamArn", ""))

    def _kinesis_arn(self, each: Exchange) -> str:
        name = each.body.get("StreamName") or str(each.body.get("StreamARN", "")).rpartition("/")[2]
        return self._iterated(each, self._arn("kinesis", each.asked.region, "stream/", name) if name else "")

    def _iterated(self, each: Exchange, arn: str) -> str:
        """Return the stream's ARN, by the iterator if the request has one, and remember the next iterator's."""
        iterator = each.body.get("ShardIterator") or each.body.get("NextToken")
        if not arn and iterator in self._iterators:
            arn = self._iterators[iterator]
        if not arn:
            raise UnknownRequest(f"{each.asked} with an iterator that nothing gave out: {str(each.body)[:300]}")
        for name in ("ShardIterator", "NextShardIterator", "NextToken"):
            if each.answer.get(name):
                self._iterators[each.answer[name]] = arn
        return arn.replace(f"{self._prefix}-", f"{DEPLOYED}-")

    # -- names ---------------------------------------------------------------------------------------------------------

    def _arn(self, service: str, region: str, kind: str, name: str) -> str:
        own = name.removeprefix(f"{self._prefix}-")
        return f"arn:aws:{service}:{region}:{ACCOUNT}:{kind}{name if own == name else f'{DEPLOYED}-{own}'}"

    def _is_ignored(self, arn: str) -> bool:
        return any(f"/{DEPLOYED}-{name}" in arn or f"/{self._prefix}-{name}" in arn for name in self._ignored)


def _keys(items: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(sorted({str(item["pk"]["S"]) for item in items}))


def _queried(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the partition key that a Query names."""
    names, values = body.get("ExpressionAttributeNames", {}), body.get("ExpressionAttributeValues", {})
    for name, placeholder in re.findall(r"([#\w]+)\s*=\s*(:\w+)", body.get("KeyConditionExpression", "")):
        if names.get(name, name) == "pk":
            return (str(values[placeholder]["S"]),)
    return ()


def _attributes(body: Mapping[str, Any]) -> set[str]:
    """Return the top-level attributes that a put names, those of its condition included."""
    return set(body.get("Item", {})) | set(body.get("ExpressionAttributeNames", {}).values())


def _parameter(text: str, values: Sequence[Mapping[str, Any]], verb: str) -> tuple[str, ...] | None:
    """Return the partition key that a statement's parameters give."""
    if verb == "INSERT":
        names = _COLUMN.findall(text)
        return (str(values[names.index("pk")]["S"]),) if "pk" in names else None
    found = _KEY_TERM.search(text)
    return (str(values[text[: found.start()].count("?")]["S"]),) if found else None
