"""An emulator of several services with the proxy in front, once for all tests of faults."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from chaos.child_processes import Process, free_ports
from chaos.faults.control import Faults, ServiceProxy
from chaos.world.region import emulator
from tests.processes import HANGING_SECONDS

REGION = "us-east-1"
SERVICES = "dynamodb,dynamodbstreams,kinesis,sqs,sns,s3"


@dataclass(frozen=True)
class Place:
    """The emulator, the proxy in front of it, and clients by either way."""

    behind: Process
    port: int
    proxy: ServiceProxy

    @property
    def faults(self) -> Faults:
        return self.proxy.faults

    @property
    def url(self) -> str:
        return self.proxy.endpoint(REGION)

    def client(self, service: str, *, direct: bool = False, timeout: float = HANGING_SECONDS, region: str = REGION) -> Any:
        """An SDK client that never tries again."""
        make: Callable[..., Any] = boto3.session.Session().client
        return make(
            service,
            region_name=region,
            endpoint_url=f"http://127.0.0.1:{self.port}" if direct else self.url,
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(read_timeout=timeout, connect_timeout=HANGING_SECONDS, retries={"total_max_attempts": 1}),
        )

    def struck(self) -> list[int]:
        """How often each of the rules that are set has struck."""
        return [told.struck for told in self.faults.told() if told.active]


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    logs = tmp_path_factory.mktemp("faults")
    (port,) = free_ports(1)
    behind = emulator(REGION, port, SERVICES, logs)
    proxy = ServiceProxy({REGION: port}, logs / "proxy.log", seed=7, gone="502")
    place = Place(behind, port, proxy)
    behind.start()
    proxy.start()
    try:
        _wait(place)
        yield place
    finally:
        proxy.stop()
        behind.stop()


def _wait(place: Place) -> None:
    client = place.client("dynamodb", direct=True)
    for _ in range(300):
        try:
            client.list_tables()
            return
        except BotoCoreError:
            place.behind.wait_running(0.1)
    raise place.behind.failure("did not answer")


@pytest.fixture
def place(started: Place) -> Iterator[Place]:
    started.faults.clear()
    yield started
    started.faults.clear()


@pytest.fixture
def table(place: Place) -> str:
    """A new table with keys pk and sk and a stream."""
    name = f"t{uuid.uuid4().hex[:12]}"
    place.client("dynamodb", direct=True).create_table(
        TableName=name,
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": "S"} for key in ("pk", "sk")],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"},
    )
    return name
