"""Requests beneath boto3: what is sent is what boto3 would send, and what goes wrong is what boto3 would raise."""

from __future__ import annotations

import json
import socket
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from botocore.exceptions import ChecksumError, ClientError, HTTPClientError, NoCredentialsError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from replicator.aws import clients
from replicator.aws.dynamodb_api import Wire
from replicator.domain.clock import Hlc
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import VersionVector
from replicator.eventstore.event_items import from_item, insert_statement, parameters, to_item
from replicator.ops.audit.read_units import Meter
from replicator.runtime.settings import Settings
from tests.replicator.servers import serving
from tests.replicator.test_records import as_json, payloads

REGION = "us-east-1"


@dataclass
class Asked:
    headers: dict[str, str]
    body: bytes


@dataclass
class Answer:
    content: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    short: int = 0
    """How many bytes are promised and never sent."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    answer = Answer()

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[Asked] = []


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append(Asked({name.lower(): value for name, value in self.headers.items()}, body))
        answer = self.server.answer
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content) + answer.short))
        self.end_headers()
        self.wfile.write(answer.content)
        if answer.short:
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a token")
    clients.session.cache_clear()  # it keeps the credentials that it found first
    with serving(Server()) as server:
        yield server
    clients.session.cache_clear()


@pytest.fixture
def settings(server: Server) -> Settings:
    return Settings(REGION, endpoints={REGION: f"http://127.0.0.1:{server.server_port}"}, read_timeout=5.0)


@pytest.fixture
def wire(settings: Settings) -> Wire:
    return Wire(clients.dynamodb(settings, REGION), settings)


def test_a_request_is_what_boto3_sends(server: Server, settings: Settings, wire: Wire) -> None:
    request: dict[str, Any] = {
        "TableName": "events",
        "Key": {"pk": {"S": "schön"}, "sk": {"S": "1"}},
        "ConsistentRead": True,
    }
    wire.read("GetItem", request)
    clients.dynamodb(settings, REGION).get_item(**request)
    ours, theirs = server.asked
    assert json.loads(ours.body) == json.loads(theirs.body)
    for name in ("x-amz-target", "content-type", "x-amz-security-token", "host"):
        assert ours.headers[name] == theirs.headers[name]
    assert ours.headers["user-agent"].startswith("Boto3/")
    signed, known = ours.headers["authorization"], theirs.headers["authorization"]
    assert signed.partition("/")[0] == known.partition("/")[0] == "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE"
    assert f"/{REGION}/dynamodb/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token" in signed


def test_one_connection_serves_one_request_after_another_and_does_not_wait_for_more_to_send(
    server: Server, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[socket.socket] = []
    connect = socket.socket.connect

    def connecting(self: socket.socket, address: Any) -> None:
        connect(self, address)
        made.append(self)

    monkeypatch.setattr(socket.socket, "connect", connecting)
    for _ in range(3):
        wire.send("ListTables", "{}")
    assert [bool(each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) for each in made] == [True]


def test_threads_share_it(server: Server, wire: Wire) -> None:
    server.answer = Answer(b'{"TableNames": ["one"]}')
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: wire.send("ListTables", f'{{"Limit": {n}}}'), range(1, 41)))
    assert [answer["TableNames"] for answer in answers] == [["one"]] * 40
    assert sorted(json.loads(each.body)["Limit"] for each in server.asked) == list(range(1, 41))


@pytest.mark.parametrize(
    ("status", "content", "code", "message"),
    [
        (400, b'{"__type": "com.amazonaws.dynamodb.v20120810#DuplicateItemException", "message": "there"}',
         "DuplicateItemException", "there"),
        (400, b'{"__type": "com.amazon.coral.validate#ValidationException", "Message": "no"}', "ValidationException", "no"),
        (500, b'{"__type": "InternalError"}', "InternalError", ""),
        (503, b"<html>", "503", ""),
        (502, b"", "502", ""),
        (400, b'["a list"]', "400", ""),
        (400, b'{"__type": null}', "400", ""),
    ],
)  # fmt: skip
def test_what_is_refused_is_what_boto3_says_of_it(
    server: Server, settings: Settings, wire: Wire, status: int, content: bytes, code: str, message: str
) -> None:
    server.answer = Answer(content, status)
    with pytest.raises(ClientError) as ours:
        wire.send("ListTables", "{}")
    assert ours.value.response["Error"] == {"Code": code, "Message": message}
    assert ours.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    if not content.startswith((b"<", b"[")) and content and b"null" not in content:
        with pytest.raises(ClientError) as theirs:
            clients.dynamodb(settings, REGION).list_tables()
        assert theirs.value.response["Error"] == {"Code": code, "Message": message}


def test_a_cancelled_transaction_says_why(server: Server, wire: Wire) -> None:
    reasons = [{"Code": "None"}, {"Code": "DuplicateItem", "Message": "there"}]
    told = {"__type": "x#TransactionCanceledException", "CancellationReasons": reasons}
    server.answer = Answer(json.dumps(told).encode(), 400)
    with pytest.raises(ClientError) as error:
        wire.send("ExecuteTransaction", "{}")
    assert clients.cancellation_reasons(error.value) == {"DuplicateItem"}


def test_an_answer_that_was_damaged_on_its_way_is_none(server: Server, wire: Wire) -> None:
    content = b'{"TableNames": []}'
    server.answer = Answer(content, headers={"x-amz-crc32": str(zlib.crc32(content))})
    assert wire.send("ListTables", "{}")["TableNames"] == []
    server.answer = Answer(content, headers={"x-amz-crc32": "1"})
    with pytest.raises(ChecksumError) as error:
        wire.send("ListTables", "{}")
    assert (failure := clients.sort_error(error.value)) is not None
    assert failure.sent


@pytest.mark.parametrize(
    ("answer", "error"),
    [(Answer(b"<html>all is well</html>"), HTTPClientError), (Answer(b'{"TableNames"', short=10), Exception)],
)
def test_half_an_answer_is_none(server: Server, wire: Wire, answer: Answer, error: type[Exception]) -> None:
    server.answer = answer
    with pytest.raises(error) as raised:
        wire.send("ListTables", "{}")
    assert (failure := clients.sort_error(raised.value)) is not None, raised.value
    assert failure.sent


def test_nobody_waits_for_ever(server: Server, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deaf = Settings(REGION, endpoints={REGION: f"http://127.0.0.1:{silent.getsockname()[1]}"}, read_timeout=0.2)
        with pytest.raises(ReadTimeoutError):
            Wire(clients.dynamodb(deaf, REGION), deaf).send("ListTables", "{}")


def test_without_credentials_nothing_is_sent(server: Server, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_credentials", lambda: None)
    with pytest.raises(NoCredentialsError):
        wire.send("ListTables", "{}")
    assert server.asked == []


def test_reads_are_counted_where_somebody_counts(server: Server, wire: Wire) -> None:
    server.answer = Answer(json.dumps({"Items": [{"pk": {"S": "a"}, "prev": {"B": "AAAA"}}]}).encode())
    wire.read("Query", {"TableName": "events", "ConsistentRead": True})
    assert b"ReturnConsumedCapacity" not in server.asked[-1].body
    meter = Meter()
    wire.count(meter.hear)
    wire.read("Query", {"TableName": "events", "ConsistentRead": True})
    assert json.loads(server.asked[-1].body)["ReturnConsumedCapacity"] == "TOTAL"
    wire.read("Query", {"TableName": "events"})
    assert (meter.requests, meter.units) == (2, 1.5)


@given(payloads, st.integers(1, 3), st.dictionaries(st.sampled_from(["us-east-1", "eu-west-1"]), st.integers(1, 99)))
def test_an_insert_holds_the_event_s_item(payload: dict[str, Any], sequence: int, seen: dict[str, int]) -> None:
    lane = LaneId(REGION, StreamId("user", 'hömer "q" \\'))
    event = seal(lane, sequence, Hlc(1, 2), NewEvent("x", payload, 3, {"who": "é"}), VersionVector(seen), GENESIS, "n1")
    statement = json.loads(f"{insert_statement('the-events', sequence == 1)}{parameters(event)}}}")
    head, _, columns = statement["Statement"].partition(" VALUE ")
    assert head == 'INSERT INTO "the-events"'
    names = [each.split("'")[1] for each in columns.split(", ")]
    item = dict(zip(names, statement["Parameters"], strict=True))
    assert item == as_json(to_item(event))
    assert from_item(item) == event
    assert Event(*(getattr(event, name) for name in Event.__slots__)) == event  # which looks at all of it again
