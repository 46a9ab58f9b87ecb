"""Every client tries a request as often as Meridian says, whatever botocore's defaults are: they changed with botocore 1.44.
Run with both, by `make test` and `make newest`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from botocore.exceptions import ClientError
from pynamodb.exceptions import PynamoDBException

from replicator.aws import clients
from replicator.aws.event_table import DynamoStorage
from replicator.domain.errors import RegionUnavailable
from replicator.domain.names import LaneId, StreamId
from replicator.eventstore.models import EventItem, bind
from replicator.ops.steering import traffic_clients
from replicator.runtime.settings import Settings
from tests.replicator.servers import Engine, Reply, serving

REGION = "us-east-1"
CALLS: dict[str, Callable[[Settings], object]] = {
    "dynamodb": lambda settings: clients.dynamodb(settings, REGION).describe_table(TableName="t"),
    "streams": lambda settings: clients.streams(settings, REGION).list_streams(),
    "kinesis": lambda settings: clients.kinesis(settings, REGION).list_streams(),
    "sqs": lambda settings: clients.sqs(settings, REGION).get_queue_url(QueueName="q"),
    "kms": lambda settings: clients.kms(settings, REGION).describe_key(KeyId="k"),
    "pynamodb": lambda settings: list(bind(EventItem, "t", settings, REGION).query("p")),
}
FAILURES = {
    "broken": (503, json.dumps({"__type": "ServiceUnavailable"}).encode()),
    "throttled": (400, json.dumps({"__type": "ThrottlingException"}).encode()),
    "too much": (400, json.dumps({"__type": "ProvisionedThroughputExceededException"}).encode()),
}


class Failing(Engine):
    """Fails every request alike."""

    told: Reply

    def reply(self, operation: str, body: bytes) -> Reply:
        return self.told


class AnyRequest(BaseHTTPRequestHandler):
    server: Failing

    def do_GET(self) -> None:
        self.server.asked += 1
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


@pytest.fixture
def engine() -> Iterator[Failing]:
    with serving(Failing()) as served:
        yield served


def settings(engine: Engine, attempts: int = 1) -> Settings:
    return Settings(region=REGION, endpoints={REGION: engine.url}, attempts=attempts)


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("client", CALLS)
def test_a_client_sends_a_request_once_and_leaves_repeating_to_meridian(engine: Failing, client: str, failure: str) -> None:
    engine.told = FAILURES[failure]
    with pytest.raises((ClientError, PynamoDBException)):
        CALLS[client](settings(engine))
    assert engine.asked == 1


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("attempts", [1, 3])
def test_meridian_tries_as_often_as_is_set(
    engine: Failing, monkeypatch: pytest.MonkeyPatch, attempts: int, failure: str
) -> None:
    monkeypatch.setattr("tenacity.nap.time.sleep", lambda seconds: None)
    engine.told = FAILURES[failure]
    with pytest.raises(RegionUnavailable):
        list(DynamoStorage(settings(engine, attempts)).read(LaneId(REGION, StreamId("user", "homer")), 0))
    assert engine.asked == attempts


@pytest.mark.parametrize("client", [name for name in CALLS if name != "pynamodb"])
def test_a_client_names_its_retry_mode(engine: Failing, client: str) -> None:
    made: Any = getattr(clients, client)(settings(engine), REGION)
    assert made.meta.config.retries == {"total_max_attempts": 1, "mode": "standard"}


@pytest.mark.parametrize(
    ("make", "attempts"),
    [
        (lambda: traffic_clients.route53(hasty=True), 1),
        (lambda: traffic_clients.route53(), 5),
        (lambda: traffic_clients.control_config(), 3),
        (lambda: traffic_clients.cluster(REGION, "http://127.0.0.1:9"), 1),
    ],
    ids=["route53, hasty", "route53", "control config", "cluster"],
)
def test_clients_of_traffic_name_their_retry_mode(make: Callable[[], Any], attempts: int) -> None:
    assert make().meta.config.retries == {"total_max_attempts": attempts, "mode": "standard"}


def test_a_hasty_client_of_traffic_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Failing(AnyRequest)) as engine:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ROUTE_53", engine.url)
        with pytest.raises(ClientError):
            traffic_clients.route53(hasty=True).list_hosted_zones()
        assert engine.asked == 1
