"""What a service, or whatever stands before it, answers when it is broken: that may pass, whatever it calls it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from botocore.exceptions import BotoCoreError, CredentialRetrievalError, NoCredentialsError

from replicator.aws import sort_error
from replicator.domain.clock import Hlc
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.dynamodb import DynamoStorage
from replicator.errors import OutcomeUnknown, RegionUnavailable
from replicator.settings import Settings

REGION = "us-east-1"
LANE = LaneId(REGION, StreamId("user", "homer"))
ANSWERS = {
    "DynamoDB": (500, {"__type": "com.amazon.coral.service#InternalServerError"}),
    "LocalStack": (500, {"__type": "InternalError", "message": "exception while calling dynamodb.Query"}),
    "a load balancer": (503, None),
    "a proxy": (502, None),
}


class Broken(ThreadingHTTPServer):
    """Answers every request alike, and counts them."""

    status = 500
    body = b""
    asked = 0


class Handler(BaseHTTPRequestHandler):
    server: Broken

    def do_POST(self) -> None:
        self.server.asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(params=ANSWERS)
def broken(request: pytest.FixtureRequest) -> Iterator[Broken]:
    with Broken(("127.0.0.1", 0), Handler) as server:
        server.status, told = ANSWERS[request.param]
        server.body = b"<html>no good</html>" if told is None else json.dumps(told).encode()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(params=["inserts", "puts"])
def storage(request: pytest.FixtureRequest, broken: Broken, monkeypatch: pytest.MonkeyPatch) -> DynamoStorage:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    endpoints = {REGION: f"http://127.0.0.1:{broken.server_port}"}
    return DynamoStorage(Settings(REGION, endpoints=endpoints, attempts=2, write_with=request.param))


@pytest.fixture
def event() -> Event:
    return seal(LANE, 1, Hlc(1_763_914_981_000, 0), NewEvent("renamed", {}), EMPTY, GENESIS)


def test_a_read_is_tried_again_and_then_the_region_is_unavailable(storage: DynamoStorage, broken: Broken) -> None:
    with pytest.raises(RegionUnavailable, match="us-east-1 does not answer"):
        next(storage.read(LANE), None)
    assert broken.asked == 2
    with pytest.raises(RegionUnavailable, match="us-east-1 does not answer"):
        storage.get([(LANE, 1)])


def test_nobody_knows_of_a_write(storage: DynamoStorage, broken: Broken, event: Event) -> None:
    with pytest.raises(OutcomeUnknown, match="may or may not be written"):
        storage.insert([event])
    assert broken.asked == 2
    with pytest.raises(RegionUnavailable, match="does not take writes"):
        storage.insert_each([event])


@pytest.mark.parametrize("error", [NoCredentialsError(), CredentialRetrievalError(provider="sso", error_msg="expired")])
def test_what_nobody_could_sign_was_not_sent(error: BotoCoreError) -> None:
    failure = sort_error(error)
    assert failure is not None
    assert not failure.sent
