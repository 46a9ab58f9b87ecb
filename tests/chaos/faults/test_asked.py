"""Requests as SDKs write them are told apart by service, operation and region, in every protocol of AWS."""

from __future__ import annotations

from functools import cache
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError

from chaos.faults.messages import Head, Malformed, Message
from chaos.faults.refusals import MESSAGE, refusal
from chaos.faults.request import UNKNOWN, Asked, what_is_asked

CALLS: list[tuple[str, str, dict[str, Any], str]] = [
    ("dynamodb", "put_item", {"TableName": "ttt", "Item": {"pk": {"S": "a"}}}, "PutItem"),
    ("dynamodbstreams", "get_records", {"ShardIterator": "x"}, "GetRecords"),
    ("kinesis", "put_record", {"StreamName": "s", "Data": b"x", "PartitionKey": "k"}, "PutRecord"),
    ("sqs", "send_message", {"QueueUrl": "http://q/1/q", "MessageBody": "x"}, "SendMessage"),
    ("sns", "publish", {"TopicArn": "arn:aws:sns:eu-west-1:1:t", "Message": "x"}, "Publish"),
    ("kms", "decrypt", {"CiphertextBlob": b"x"}, "Decrypt"),
    ("cloudwatch", "put_metric_data", {"Namespace": "n", "MetricData": [{"MetricName": "m"}]}, "PutMetricData"),
    ("stepfunctions", "list_state_machines", {}, "ListStateMachines"),
    ("ec2", "describe_instances", {}, "DescribeInstances"),
    ("sts", "get_caller_identity", {}, "GetCallerIdentity"),
    ("lambda", "invoke", {"FunctionName": "f", "Payload": b"{}"}, "Invoke"),
    ("lambda", "list_functions", {}, "ListFunctions"),
    ("lambda", "create_event_source_mapping", {"FunctionName": "f"}, "CreateEventSourceMapping"),
    ("s3", "list_buckets", {}, "ListBuckets"),
    ("s3", "get_object", {"Bucket": "b", "Key": "a/b/c"}, "GetObject"),
    ("s3", "put_object", {"Bucket": "b", "Key": "k", "Body": b"x"}, "PutObject"),
    ("s3", "copy_object", {"Bucket": "b", "Key": "k", "CopySource": "b/j"}, "CopyObject"),
    ("s3", "list_objects_v2", {"Bucket": "b"}, "ListObjectsV2"),
    ("route53", "list_hosted_zones", {}, "ListHostedZones"),
]


@cache
def _session() -> boto3.session.Session:
    return boto3.session.Session()


def _client(service: str) -> Any:
    make: Any = _session().client
    return make(
        service,
        region_name="eu-west-1",
        endpoint_url="http://127.0.0.1:1",
        aws_access_key_id="k",
        aws_secret_access_key="s",
        config=Config(retries={"total_max_attempts": 1}),
    )


class _Sent(Exception):
    pass


def _request(service: str, call: str, arguments: dict[str, Any]) -> Message:
    """What the SDK would send, as the proxy would have it."""
    client = _client(service)
    kept: list[Any] = []

    def keep(request: Any, **_: Any) -> None:
        kept.append(request)
        raise _Sent

    client.meta.events.register("before-send", keep)
    with pytest.raises(_Sent):
        getattr(client, call)(**arguments)
    (request,) = kept
    path = request.url.removeprefix("http://127.0.0.1:1") or "/"
    headers = [f"{k}: {v.decode() if isinstance(v, bytes) else v}" for k, v in request.headers.items()]
    raw = "\r\n".join([f"{request.method} {path} HTTP/1.1", *headers]).encode() + b"\r\n\r\n"
    body = request.body or b""
    body = body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else body.read()
    return Message(Head.parse(raw), body)


@pytest.mark.parametrize(("service", "call", "arguments", "operation"), CALLS, ids=lambda each: str(each)[:24])
def test_a_request_of_the_sdk_is_known_and_its_refusal_understood(
    service: str, call: str, arguments: dict[str, Any], operation: str
) -> None:
    asked = what_is_asked(_request(service, call, arguments))
    assert (asked.service, asked.operation, asked.region) == (service, operation, "eu-west-1")
    with pytest.raises(ClientError) as caught:
        _answered(service, call, arguments, asked)
    error = caught.value.response
    assert error["Error"]["Code"] == "ThrottlingException"
    assert error["Error"]["Message"] == MESSAGE
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 400


def _answered(service: str, call: str, arguments: dict[str, Any], asked: Asked) -> None:
    """The call, answered by a refusal without a network."""
    client = _client(service)

    def answer(request: Any, **_: Any) -> AWSResponse:
        kind = request.headers.get("Content-Type", b"")
        text = kind.decode() if isinstance(kind, bytes) else kind
        found = refusal(asked, 400, "ThrottlingException", content_type=text)
        return _Response(request.url, found.status, dict(found.head.headers), found.body)

    client.meta.events.register("before-send", answer)
    getattr(client, call)(**arguments)


class _Response(AWSResponse):
    """An answer that is here already."""

    def __init__(self, url: str, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(url, status, headers, None)
        self._content = body


def _made(*lines: str, body: bytes = b"") -> Message:
    return Message(Head.parse("\r\n".join(lines).encode() + b"\r\n\r\n"), body)


def test_presigned_requests_and_those_that_name_nothing() -> None:
    scope = "k%2F20261125%2Fap-southeast-2%2Fs3%2Faws4_request"
    asked = what_is_asked(_made(f"GET /b/k?X-Amz-Credential={scope} HTTP/1.1"))
    assert (asked.service, asked.operation, asked.region) == ("s3", "GetObject", "ap-southeast-2")
    assert what_is_asked(_made("GET /health HTTP/1.1"), "eu-west-1") == Asked(UNKNOWN, UNKNOWN, "eu-west-1", "rest-json")
    assert what_is_asked(_made("POST / HTTP/1.1", "X-Amz-Target: Nope.Do")).service == UNKNOWN
    cbor = _made("POST /service/GraniteServiceVersion20100801/operation/PutMetricData HTTP/1.1")
    assert (what_is_asked(cbor).operation, what_is_asked(cbor).protocol) == ("PutMetricData", "cbor")


@pytest.mark.parametrize("line", ["", "nonsense", "\x00\x01"])
def test_what_is_no_http_is_refused(line: str) -> None:
    with pytest.raises(Malformed):
        Head.parse(line.encode() + b"\r\n\r\n")
