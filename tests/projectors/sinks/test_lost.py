"""Servers that are killed, frozen and started again under a sink that is in use. PostgreSQL and Redis are real servers;
OpenSearch is a stand-in, or the one that MERIDIAN_TEST_OPENSEARCH names, behind a proxy."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from chaos.world.servers import PASSWORD, Server, free_port, postgresql, redis_server
from projectors import Engine, MemorySink, Projection, View, counter, register
from projectors.engine.digests import Tree, differences
from projectors.model.view import ViewKey
from projectors.sinks.postgresql import PostgresSink
from projectors.sinks.redis import RedisSink
from projectors.sinks.search import SearchSink
from replicator import EventStore, MemoryStorage, NewEvent
from replicator.domain.errors import RegionUnavailable
from replicator.runtime.settings import Settings
from tests.processes import comes_back
from tests.projectors.sinks.late import Late
from tests.projectors.sinks.views import create, move, stored, view

SETTINGS = Settings("us-east-1", connect_timeout=1, read_timeout=0.5, attempts=2)


class Place(Projection):
    name, stream_type = "place", "aircraft"
    place = register(departed=lambda p: p["airport"])
    flights = counter(departed=lambda p: 1)


@pytest.fixture
def database() -> Iterator[Server]:
    with postgresql(durable=True) as server:
        yield server


@pytest.fixture
def redis() -> Iterator[Server]:
    with redis_server() as server:
        yield server


def refused(sink: Any, methods: int = 6) -> None:
    """Every method (or so many) says, in bounded time, who does not answer, and no password."""
    calls: list[Callable[[], Any]] = [
        lambda: sink.load([view(1).id]),
        lambda: sink.save([move(view(1), view(2))]),
        lambda: list(sink.views("plane")),
        lambda: list(sink.cells("plane", 1, "JFK")),
        lambda: sink.summary("plane"),
        lambda: list(sink.drop("plane", 1)),
    ]
    for call in calls[:methods]:
        with pytest.raises(RegionUnavailable, match=r"127\.0\.0\.1:\d+.* does not answer") as raised:
            comes_back(call)
        assert PASSWORD not in str(raised.value)


def killed_while_saving(server: Server, sink: Any) -> list[View]:
    """Kill -9 in the midst of batches; what was acknowledged."""
    acknowledged: list[View] = []

    def save() -> None:
        for batch in range(10_000):
            views = [view(1, f"plane/{batch}-{n}", row="JFK" if n % 2 else "") for n in range(20)]
            try:
                assert sink.save([create(each) for each in views]) == [True] * 20
            except RegionUnavailable:
                return
            acknowledged.extend(views)

    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(save)
        while len(acknowledged) < 400:
            time.sleep(0.01)
            assert not saving.done() or not saving.exception()
        server.kill()
        saving.result()
    return acknowledged


def test_postgresql_killed_while_saving_keeps_every_save_it_acknowledged(database: Server) -> None:
    sink = PostgresSink(database.url, SETTINGS)
    sink.create_tables()
    acknowledged = killed_while_saving(database, sink)
    refused(sink)
    database.start()
    assert sink.load([each.id for each in acknowledged]) == {each.id: each for each in acknowledged}
    held = list(sink.views("plane"))
    assert not list(differences(sink.summary("plane"), Tree.of(held)))
    assert len(held) % 20 == 0  # a batch is there or it is not
    assert sink.save([move(acknowledged[0], view(2, acknowledged[0].key, row=acknowledged[0].row))]) == [True]
    sink.close()


def test_redis_killed_while_saving_is_empty_and_the_engine_folds_anew(redis: Server) -> None:
    sink = RedisSink(redis.url, SETTINGS)
    store = EventStore(MemoryStorage(), "us-east-1", [])
    store.append("aircraft/N1", *[NewEvent("departed", {"airport": airport}) for airport in ("EWR", "JFK")])
    events = list(store.read("aircraft/N1"))
    Engine([Place], store, sink).apply(events[:1])
    killed_while_saving(redis, sink)
    refused(sink)
    redis.start()
    assert not sink.load([ViewKey("place", "aircraft/N1")])
    Engine([Place], store, sink).apply(events[1:])  # the lost view is made of the first event too
    truth = MemorySink()
    Engine([Place], store, truth).apply(events)
    assert list(sink.views("place")) == list(truth.views("place")) != []
    sink.close()


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
def test_a_frozen_server_is_unavailable_in_bounded_time_and_serves_again(request: pytest.FixtureRequest, kind: str) -> None:
    server: Server = request.getfixturevalue("database" if kind == "postgresql" else "redis")
    sink: Any = (PostgresSink if kind == "postgresql" else RedisSink)(server.url, SETTINGS)
    if kind == "postgresql":
        sink.create_tables()
    assert sink.save([create(view(1))]) == [True]
    server.freeze()
    refused(sink, 2)
    server.thaw()
    assert sink.save([move(view(1), view(2))]) == [True]
    assert stored(sink, view(2)) == view(2)
    sink.close()


def test_an_opensearch_that_is_gone_is_unavailable_and_serves_again(opensearch: Late) -> None:
    settings = Settings("us-east-1", prefix=f"lost{time.time_ns()}", connect_timeout=1, read_timeout=0.5, attempts=2)
    gone = SearchSink(f"opensearch+http://meridian:{PASSWORD}@127.0.0.1:{free_port()}", settings)
    refused(gone)
    gone.close()
    sink = SearchSink(opensearch.url, settings)
    sink.create_index()
    assert sink.save([create(view(1))]) == [True]
    opensearch.silent.set()
    try:
        refused(sink)
    finally:
        opensearch.silent.clear()
    assert sink.save([move(view(1), view(2))]) == [True]
    assert list(sink.views("plane")) == [view(2)]
    sink.close()


def test_a_lock_that_somebody_holds_ends_in_bounded_time(database: Server) -> None:
    sink = PostgresSink(database.url, SETTINGS)
    sink.create_tables()
    sink.save([create(view(1))])
    with sink._connection() as other, other.transaction():
        other.execute("LOCK TABLE meridian_views IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(RegionUnavailable, match="statement timeout"):
            PostgresSink(database.url, SETTINGS).save([move(view(1), view(2))])
    assert sink.save([move(view(1), view(2))]) == [True]
    sink.close()
