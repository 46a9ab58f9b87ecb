"""Fixtures that more than one package's tests need. A real emulator, started once for all tests that need it."""

from __future__ import annotations

import os
import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis

from chaos.world.world import World, WorldOptions
from replicator.aws import clients
from replicator.runtime.settings import Settings
from tests.engines import dynamodb_local, localstack
from tests.processes import HANGING_SECONDS

_LONG = (
    "chaos/scenarios/", "test_endings.py", "chaos/drills/", "claims/", "sinks/", "chaos/", "api/", "test_cli.py",
    "runbooks/", "test_link.py",
)  # fmt: skip

_OURS = re.compile(r"adopt|operator|(link-.+>|sampler-|session-).+")

# How fast examples are drawn depends on the machine and on chance: no reason to fail.
hypothesis.register_profile(
    "meridian", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
hypothesis.load_profile("meridian")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With MERIDIAN_TEST_PART=NUMBER/PARTS, leave out the soaks of the other parts. Numbers are counted round."""
    number, _, parts = os.environ.get("MERIDIAN_TEST_PART", "1/1").partition("/")
    soaks = [item for item in items if item.get_closest_marker("soak")]
    others = {item for at, item in enumerate(soaks) if (at - int(number)) % int(parts)}
    config.hook.pytest_deselected(items=list(others))
    items[:] = sorted((item for item in items if item not in others), key=_later)


def _later(item: pytest.Item) -> int:
    """Files that take minutes begin first, or one process would be at them when all others are done."""
    return next((at for at, name in enumerate(_LONG) if f"/{name}" in str(item.path)), len(_LONG))


@pytest.fixture(autouse=True)
def _threads_end() -> Iterator[None]:
    """The threads that a test starts end with it: one that goes on would take part in the tests after it."""
    yield
    for thread in threading.enumerate():
        if _OURS.fullmatch(thread.name):
            thread.join(HANGING_SECONDS)
            assert not thread.is_alive(), f"{thread.name} goes on when the test is over"


@pytest.fixture(scope="session")
def emulated() -> Iterator[World]:
    """Two regions on real emulator processes, without workers."""
    with World(["us-east-1", "eu-west-1"], options=WorldOptions(workers=False)) as world:
        yield world


@pytest.fixture(scope="session")
def local_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a DynamoDB Local, which says several things in another way than AWS and the emulator do."""
    with dynamodb_local(tmp_path_factory.mktemp("engine")) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def localstack_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a LocalStack whose streams show what PartiQL inserts: its second providers."""
    with localstack(tmp_path_factory.mktemp("localstack"), v2=True) as endpoint:
        yield endpoint


@pytest.fixture
def settings(emulated: World) -> Settings:
    """Settings of us-east-1 with fresh, empty tables (in both regions) of its own."""
    from projectors.sinks.dynamodb import DynamoSink
    from replicator.aws.tables import create_tables

    prefix = f"t{uuid.uuid4().hex[:12]}"
    for region in emulated.regions.values():
        fresh = replace(region.settings, prefix=prefix)
        create_tables(fresh)
        DynamoSink(fresh).create_table()
    return replace(emulated.settings("us-east-1"), prefix=prefix)


@pytest.fixture(scope="session")
def _kept(emulated: World) -> Settings:
    from projectors.sinks.dynamodb import DynamoSink
    from replicator.aws.tables import create_tables

    for region in emulated.regions.values():
        kept = replace(region.settings, prefix="kept")
        create_tables(kept)
        DynamoSink(kept).create_table()
    return replace(emulated.settings("us-east-1"), prefix="kept")


@pytest.fixture
def emptied_settings(_kept: Settings) -> Settings:
    """Settings of us-east-1 whose tables (in both regions) were emptied: quicker than new ones, where no test reads the
    tables' streams, which show the emptying."""
    for region in (_kept.region, *_kept.peers):
        client: Any = clients.dynamodb(_kept, region)
        for table in (_kept.events_table, _kept.control_table, _kept.views_table):
            names = ["pk", "sk"]
            items = client.scan(TableName=table, ConsistentRead=True)["Items"]
            for start in range(0, len(items), 25):
                keys = [{name: item[name] for name in names} for item in items[start : start + 25]]
                client.batch_write_item(RequestItems={table: [{"DeleteRequest": {"Key": key}} for key in keys]})
    return _kept
