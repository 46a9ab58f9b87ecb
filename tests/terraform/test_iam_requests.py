"""What AWS documents that requests need, one by one."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.faults.request import Asked
from tests.terraform.iam_requests import Mapper, UnknownRequest
from tests.terraform.recorder import Exchange

KEY = {"pk": {"S": "us-east-1#user#homer"}, "sk": {"S": "1"}}
EVENTS, CONTROL = "t1-events", "t1-control"
LANE = "us-east-1#user#homer"


def sent(service: str, operation: str, body: dict[str, Any], answer: dict[str, Any] | None = None) -> Exchange:
    return Exchange(Asked(service, operation, "eu-west-1", "json"), body, 200, answer or {})


def needs(*exchanges: Exchange) -> list[str]:
    return [str(need).replace("eu-west-1:000000000000:", "") for need in Mapper("t1").needs(exchanges)]


def statement(text: str, *values: str) -> dict[str, Any]:
    return {"Statement": text, "Parameters": [{"S": value} for value in values]}


INSERT = statement(f"INSERT INTO \"{EVENTS}\" VALUE {{'pk': ?, 'sk': ?}}", LANE, "1")
UPDATE = statement(f'UPDATE "{CONTROL}" SET "value" = ? WHERE "pk" = ? AND "sk" = ?', "new", "role", "self")
DELETE = statement(f'DELETE FROM "{CONTROL}" WHERE "pk" = ? AND "sk" = ?', "role", "self")
EXISTS = statement(f'EXISTS(SELECT * FROM "{CONTROL}" WHERE "pk" = ? AND "value" = ?)', "fence#a", "x")
QUERY = {"KeyConditionExpression": "pk = :lane", "ExpressionAttributeValues": {":lane": {"S": LANE}}}
QUEUE = "http://127.0.0.1:1/000000000000/t1-dead-letters"

MAPPED = {
    "a query of a table": ("dynamodb", "Query", {"TableName": EVENTS, **QUERY},
                           [f"dynamodb:Query on arn:aws:dynamodb:table/meridian-events with keys {LANE}"]),
    "a query of an index": ("dynamodb", "Query", {"TableName": EVENTS, "IndexName": "lanes", **QUERY},
                            ["dynamodb:Query on arn:aws:dynamodb:table/meridian-events/index/lanes"]),
    "an insert": ("dynamodb", "ExecuteStatement", INSERT,
                  [f"dynamodb:PartiQLInsert on arn:aws:dynamodb:table/meridian-events with keys {LANE}"]),
    "a batch of statements": ("dynamodb", "BatchExecuteStatement", {"Statements": [UPDATE, DELETE]},
                              ["dynamodb:PartiQLUpdate on arn:aws:dynamodb:table/meridian-control with keys role",
                               "dynamodb:PartiQLDelete on arn:aws:dynamodb:table/meridian-control with keys role"]),
    "a transaction with a condition": ("dynamodb", "ExecuteTransaction", {"TransactStatements": [INSERT, EXISTS]},
                                       [f"dynamodb:PartiQLInsert on arn:aws:dynamodb:table/meridian-events with keys {LANE}",
                                        "dynamodb:PartiQLSelect on arn:aws:dynamodb:table/meridian-control "
                                        "with keys fence#a",
                                        "dynamodb:ConditionCheckItem on arn:aws:dynamodb:table/meridian-control "
                                        "with keys fence#a"]),
    "a select of an index": ("dynamodb", "ExecuteStatement", statement(f'SELECT * FROM "{EVENTS}"."lanes" WHERE x = ?', "1"),
                             ["dynamodb:PartiQLSelect on arn:aws:dynamodb:table/meridian-events/index/lanes"]),
    "a transaction of items": ("dynamodb", "TransactWriteItems",
                               {"TransactItems": [{"Put": {"TableName": EVENTS, "Item": KEY}},
                                                  {"ConditionCheck": {"TableName": EVENTS, "Key": KEY}}]},
                               [f"dynamodb:PutItem on arn:aws:dynamodb:table/meridian-events with keys {LANE}",
                                f"dynamodb:ConditionCheckItem on arn:aws:dynamodb:table/meridian-events with keys {LANE}"]),
    "a batch of writes": ("dynamodb", "BatchWriteItem", {"RequestItems": {EVENTS: [{"DeleteRequest": {"Key": KEY}}]}},
                          [f"dynamodb:BatchWriteItem on arn:aws:dynamodb:table/meridian-events with keys {LANE}"]),
    "a put": ("dynamodb", "PutItem", {"TableName": "t1-keys", "Item": {"pk": {"S": "x"}, "forgotten": {"BOOL": True}}},
              ["dynamodb:PutItem on arn:aws:dynamodb:table/meridian-keys with keys x "
               "with {'dynamodb:Attributes': ['forgotten', 'pk']}"]),
    "a queue by its URL": ("sqs", "ReceiveMessage", {"QueueUrl": QUEUE},
                           ["sqs:ReceiveMessage on arn:aws:sqs:meridian-dead-letters"]),
    "a batch of messages": ("sqs", "SendMessageBatch", {"QueueUrl": QUEUE},
                            ["sqs:SendMessage on arn:aws:sqs:meridian-dead-letters"]),
    "a key with a context": ("kms", "Decrypt", {"KeyId": "mrk-1", "EncryptionContext": {"subject": "x"}},
                             ["kms:Decrypt on arn:aws:kms:key/mrk-1 with {'kms:EncryptionContext:subject': 'x', "
                              "'kms:EncryptionContextKeys': ['subject']}"]),
    "a table of the check at emulators": ("dynamodb", "CreateTable", {"TableName": "t1-check-7"}, []),
}  # fmt: skip


@pytest.mark.parametrize(("service", "operation", "body", "expected"), MAPPED.values(), ids=MAPPED)
def test_a_request_needs_what_aws_documents(service: str, operation: str, body: dict[str, Any], expected: list[str]) -> None:
    assert needs(sent(service, operation, body)) == expected


def test_records_are_of_the_stream_whose_iterator_was_given_out() -> None:
    begun = sent("kinesis", "GetShardIterator", {"StreamName": EVENTS}, {"ShardIterator": "a"})
    page = sent("kinesis", "GetRecords", {"ShardIterator": "a"}, {"NextShardIterator": "b"})
    next_page = sent("kinesis", "GetRecords", {"ShardIterator": "b"})
    stream = "arn:aws:kinesis:stream/meridian-events"
    assert needs(begun, page, next_page) == [f"kinesis:GetShardIterator on {stream}", f"kinesis:GetRecords on {stream}"]


@pytest.mark.parametrize(
    ("service", "operation", "body"),
    [
        ("dynamodb", "ExportTableToPointInTime", {}),
        ("dynamodb", "ExecuteStatement", statement("TRUNCATE everything")),
        ("s3", "GetObject", {}),
        ("sqs", "ListQueues", {}),
        ("kms", "ScheduleKeyDeletion", {"KeyId": "mrk-1"}),
        ("kinesis", "GetRecords", {"ShardIterator": "of nothing"}),
    ],
)
def test_a_request_of_which_nothing_is_known_is_an_error(service: str, operation: str, body: dict[str, Any]) -> None:
    with pytest.raises(UnknownRequest):
        needs(sent(service, operation, body))
