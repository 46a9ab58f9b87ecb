"""What a service, or whatever stands before it, answers when it is broken: that may pass, whatever it calls it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from botocore.exceptions import BotoCoreError, CredentialRetrievalError, EndpointConnectionError, NoCredentialsError

from replicator.aws import clients
from replicator.aws.clients import sort_error
from replicator.aws.dynamodb_api import Wire
from replicator.aws.event_table import DynamoStorage
from replicator.cli.console import connected
from replicator.domain.clock import Hlc
from replicator.domain.errors import InvalidConfig, RegionRefuses, RegionUnavailable
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.eventstore.storage import Insert
from replicator.eventstore.store_errors import OutcomeUnknown
from replicator.runtime.settings import Settings
from tests.replicator.servers import Engine, Reply, serving

REGION = "us-east-1"
LANE = LaneId(REGION, StreamId("user", "homer"))
ANSWERS = {
    "DynamoDB": (500, {"__type": "com.amazon.coral.service#InternalServerError"}),
    "LocalStack": (500, {"__type": "InternalError", "message": "exception while calling dynamodb.Query"}),
    "a load balancer": (503, None),
    "a proxy": (502, None),
}


class Broken(Engine):
    """Answers every request alike."""

    status, body = 500, b""

    def reply(self, operation: str, body: bytes) -> Reply:
        return self.status, self.body


@pytest.fixture(params=ANSWERS)
def broken(request: pytest.FixtureRequest) -> Iterator[Broken]:
    with serving(Broken()) as server:
        server.status, told = ANSWERS[request.param]
        server.body = b"<html>no good</html>" if told is None else json.dumps(told).encode()
        yield server


@pytest.fixture
def storage(broken: Broken, monkeypatch: pytest.MonkeyPatch) -> DynamoStorage:
    return stored(broken, monkeypatch)


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


class Tired:
    """Credentials that cannot be had any more after a number of times."""

    def __init__(self, wire: Wire, times: int, error: BotoCoreError) -> None:
        self._credentials, self.left, self._error = wire._credentials, times, error

    def __call__(self) -> object:
        self.left -= 1
        if self.left < 0:
            raise self._error
        return self._credentials()


ERRORS = [NoCredentialsError(), CredentialRetrievalError(provider="sts", error_msg="away")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_without_credentials_the_region_is_unavailable_and_nothing_is_sent(
    error: BotoCoreError, monkeypatch: pytest.MonkeyPatch, event: Event
) -> None:
    with Broken() as server:  # nobody is served
        storage = stored(server, monkeypatch)
        monkeypatch.setattr(storage.wire, "_credentials", Tired(storage.wire, 0, error))
        for call in (
            lambda: storage.get([(LANE, 1)]),
            lambda: storage.insert_each([event]),
            lambda: list(storage.read(LANE)),
            lambda: storage.insert([event]),
        ):
            with pytest.raises(RegionUnavailable):
                call()
        assert server.asked == 0


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_append_that_was_sent_is_unknown_also_where_credentials_end_before_it_is_settled(
    error: BotoCoreError, monkeypatch: pytest.MonkeyPatch, event: Event
) -> None:
    with serving(Broken()) as server:
        server.body = b"{}"
        storage = stored(server, monkeypatch)
        tired = Tired(storage.wire, 2, error)
        monkeypatch.setattr(storage.wire, "_credentials", tired)

        def second(*_: object) -> None:  # the second attempt is told that the place is taken
            server.status = 400
            server.body = b'{"__type":"com.amazonaws.dynamodb.v20120810#DuplicateItemException"}'

        monkeypatch.setattr("tenacity.nap.time.sleep", second)
        with pytest.raises(OutcomeUnknown) as unknown:
            storage.insert([event])
        assert list(unknown.value.events) == [event]


def test_credentials_that_fail_in_between_cost_one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seventy-five events are three requests; what the third needs can be had the second time."""

    class Taking(Engine):
        def reply(self, operation: str, body: bytes) -> Reply:
            return 200, json.dumps({"Responses": [{}] * body.count(b'"Statement"')}).encode()

    with serving(Taking()) as server:
        storage = stored(server, monkeypatch)
        held, turns = storage.wire._credentials, iter([False, False, True])

        def credentials() -> object:
            if next(turns, False):
                raise CredentialRetrievalError(provider="sts", error_msg="away")
            return held()

        monkeypatch.setattr(storage.wire, "_credentials", credentials)
        events = [
            seal(LaneId(REGION, StreamId("user", f"{n}")), 1, Hlc(n, 0), NewEvent("x", {}), EMPTY, GENESIS)
            for n in range(75)
        ]
        assert storage.insert_each(events) == [Insert.ADDED] * 75


def settings_of(server: Engine, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return Settings(REGION, endpoints={REGION: server.url}, attempts=2)


def stored(server: Engine, monkeypatch: pytest.MonkeyPatch) -> DynamoStorage:
    return DynamoStorage(settings_of(server, monkeypatch))


@pytest.mark.parametrize("waits", [connected, lambda connect: connect()], ids=["a worker", "any other command"])
def test_a_region_that_does_not_answer_at_the_start_is_no_wrong_setting(
    waits: Callable[[Callable[[], None]], None], broken: Broken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers go on when it answers; other commands end, and say to try again."""
    settings = settings_of(broken, monkeypatch)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        broken.status, broken.body = 200, b'{"Table": {}}'

    monkeypatch.setattr("replicator.cli.console.time.sleep", sleep)
    connect = partial(clients.require_table, settings, REGION, settings.events_table)
    if waits is connected:
        waits(connect)
        assert len(slept) == 1
    else:
        with pytest.raises(RegionUnavailable, match="does not answer"):
            waits(connect)


def test_what_waiting_does_not_mend_ends_a_worker_at_the_start() -> None:
    for error in (RegionRefuses("no such table"), InvalidConfig("no such endpoint")):

        def refuse(error: Exception = error) -> None:
            raise error

        with pytest.raises(type(error)):
            connected(refuse)


NOWHERE = EndpointConnectionError(endpoint_url="https://dynamodb.us-east-1.amazonaws.com")


def test_on_aws_a_region_without_a_connection_is_an_outage() -> None:
    with pytest.raises(RegionUnavailable, match="does not answer"), clients.config_errors(Settings(REGION), REGION):
        raise NOWHERE


def test_at_an_endpoint_that_was_named_it_is_a_wrong_address() -> None:
    named = Settings(REGION, endpoints={REGION: "http://127.0.0.1:1"})
    with pytest.raises(InvalidConfig, match="Check --endpoints"), clients.config_errors(named, REGION):
        raise NOWHERE
