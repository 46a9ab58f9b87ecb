"""An engine whose streams leave out what is inserted is refused before anything is written; one that shows it is not."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError
from structlog.testing import capture_logs
from typer.testing import CliRunner

from chaos.child_processes import Process, free_ports
from chaos.faults.control import ServiceProxy
from chaos.world.region import await_endpoint, emulator
from chaos.world.world import World
from replicator import NewEvent
from replicator.aws import clients
from replicator.aws.control_table import DynamoControl
from replicator.aws.dynamodb_streams import DynamoStreamReader
from replicator.aws.event_table import DynamoStorage
from replicator.aws.stream_check import require_inserts_shown
from replicator.aws.tables import create_tables
from replicator.cli.app import app
from replicator.connect import connect_store
from replicator.control.checkpoints import Checkpoints
from replicator.control.memory_control import MemoryControl
from replicator.domain.errors import InvalidConfig
from replicator.eventstore.storage import Insert
from replicator.fencing.roles import read_role
from replicator.runtime.settings import Settings

EAST = "us-east-1"
pytestmark = pytest.mark.emulator


def tables(settings: Settings) -> list[str]:
    client: Any = clients.dynamodb(settings, EAST)
    return [name for name in client.list_tables()["TableNames"] if name.startswith(settings.prefix)]


@contextmanager
def running(process: Process, settings: Settings) -> Iterator[Settings]:
    process.start()
    try:
        await_endpoint(settings, process)
        yield settings
    finally:
        process.stop()


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """ministack as it comes, with nothing in front of it."""
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    folder: Path = tmp_path_factory.mktemp("bare")
    (port,) = free_ports(1)
    environment = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "SERVICES": "dynamodb,dynamodbstreams",
                   "MINISTACK_REGION": EAST, "TMPDIR": str(folder)}  # fmt: skip
    process = Process("ministack", [sys.executable, "-m", "ministack"], environment, folder / "log")
    with running(process, Settings(EAST, endpoints={EAST: f"http://127.0.0.1:{port}"})) as settings:
        yield settings


@pytest.fixture(params=["emulator", "dynamodb-local"])
def engine(request: pytest.FixtureRequest) -> Settings:
    if request.param == "emulator":
        world: World = request.getfixturevalue("emulated")
        return replace(world.settings(EAST), prefix="shown", peers=())
    return Settings(EAST, prefix="shown", endpoints={EAST: request.getfixturevalue("local_engine")})


def test_an_engine_that_shows_inserts_takes_them_and_nothing_of_the_check_is_left(engine: Settings) -> None:
    with capture_logs() as logs:
        require_inserts_shown(engine)
        create_tables(engine)
        connect_store(engine).append("user/homer", NewEvent("set", {}))
    assert logs == []
    assert [name for name in tables(engine) if "check" in name] == []


def test_init_refuses_an_engine_that_leaves_inserts_out_and_makes_nothing(bare: Settings) -> None:
    made = CliRunner().invoke(app, ["init", "--region", EAST, "--endpoints", f"{EAST}={bare.endpoint(EAST)}"])
    assert isinstance(made.exception, InvalidConfig)
    assert str(bare.endpoint(EAST)) in str(made.exception)
    assert "chaos emulator" in str(made.exception)
    assert tables(bare) == []


def test_so_does_the_first_append_whoever_made_the_tables(bare: Settings) -> None:
    settings = replace(bare, prefix="by-hand")
    create_tables(settings)
    store = connect_store(settings)
    for _ in range(2):
        with pytest.raises(InvalidConfig, match=r"leaves PartiQL INSERTs out of its streams.*nothing was written"):
            store.append("user/homer", NewEvent("set", {}))
    assert list(store.lanes()) == []
    assert read_role(DynamoControl(settings)) is None
    assert [name for name in tables(settings) if "check" in name] == []


def test_behind_a_proxy_that_translates_inserts_it_is_good(bare: Settings, tmp_path: Path) -> None:
    port = urlsplit(bare.endpoint(EAST) or "").port
    assert port is not None
    proxy = ServiceProxy({EAST: port}, tmp_path / "log", inserts=[EAST])
    proxy.start()
    try:
        settings = replace(bare, prefix="translated", endpoints={EAST: proxy.endpoint(EAST)})
        require_inserts_shown(settings)
        create_tables(settings)
        store = connect_store(settings)
        store.append("user/homer", NewEvent("set", {}))
        store.append("user/homer", NewEvent("set", {}), NewEvent("set", {}))
        assert DynamoStorage(settings).insert_each(list(store.read("user/homer"))) == [Insert.TAKEN] * 3
        batches = DynamoStreamReader.connect(settings, Checkpoints(MemoryControl(), "reader")).poll()
    finally:
        proxy.stop()
    assert [record["eventName"] for batch in batches for record in batch.records] == ["INSERT"] * 3


def test_so_does_one_that_cannot_delete_the_table_of_the_check(bare: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = clients.dynamodb(bare, EAST)

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DeleteTable")

    with monkeypatch.context() as patch:
        patch.setattr(client, "delete_table", refuse)
        patch.setattr(clients, "dynamodb", lambda *_: client)
        with capture_logs() as logs, pytest.raises(InvalidConfig):
            require_inserts_shown(bare)
    (left,) = [log["table"] for log in logs if log["event"] == "streams.table_left"]
    client.delete_table(TableName=left)


def test_a_region_that_has_a_role_is_not_asked_again(engine: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    create_tables(engine)
    connect_store(engine).append("user/marge", NewEvent("set", {}))
    monkeypatch.setattr("replicator.aws.stream_check.require_inserts_shown", _raises)
    connect_store(engine).append("user/marge", NewEvent("set", {}))


def _raises(settings: Settings) -> None:
    raise AssertionError(settings)


def test_an_engine_that_does_not_say_is_not_refused(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    settings = Settings(EAST, endpoints={EAST: f"http://127.0.0.1:{port}"}, attempts=1)
    with running(emulator(EAST, port, "dynamodb,dynamodbstreams", tmp_path), settings):
        pass
    with capture_logs() as logs:
        require_inserts_shown(settings)  # nothing listens there any more
    assert [log["event"] for log in logs] == ["streams.not_checked"]


@pytest.mark.parametrize("host", ["dynamodb.us-east-1.amazonaws.com", "vpce-1-a.dynamodb.us-east-1.vpce.amazonaws.com"])
def test_awss_own_endpoints_are_not_asked(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: Callable[[Any, str], Any] = _no_client
    monkeypatch.setattr(clients, "dynamodb", made)
    require_inserts_shown(Settings(EAST, endpoints={EAST: f"https://{host}"}))
    require_inserts_shown(Settings(EAST))


def _no_client(settings: Settings, region: str) -> Any:
    raise AssertionError(region)
