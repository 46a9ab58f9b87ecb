"""What is particular to each store: PostgreSQL and Redis are real servers, OpenSearch is a stand-in behind a proxy (late.py)
unless MERIDIAN_TEST_OPENSEARCH names a real one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from chaos.servers import Server
from projectors import View
from projectors.sinks.port import Change
from projectors.sinks.postgresql import PostgresSink
from projectors.sinks.redis import RedisSink
from projectors.sinks.search import SearchSink
from projectors.summary import Tree, differences
from replicator.domain.canonical import encode_json
from replicator.errors import DamagedEvent, RegionUnavailable
from replicator.settings import Settings
from tests.projectors.sinks.late import Late
from tests.projectors.sinks.views import create, move, stored, view


@pytest.fixture
def tables(made: Callable[[str], Any]) -> PostgresSink:
    sink: PostgresSink = made("postgresql")
    return sink


@pytest.fixture
def cache(made: Callable[[str], Any]) -> RedisSink:
    sink: RedisSink = made("redis")
    return sink


@pytest.fixture
def search(made: Callable[[str], Any], opensearch: Late) -> Iterator[SearchSink]:
    yield made("search")
    opensearch.refusals, opensearch.busy = [], 0


def of(value: dict[str, Any], key: str = "plane/N1") -> View:
    return replace(view(1, key), value_text=encode_json(value))


def test_sql_reads_into_values(tables: PostgresSink, fresh: Settings, postgresql_url: str) -> None:
    """Even where a value holds a NUL, which PostgreSQL has no text for: SQL sees U+FFFD, and the bytes are kept."""
    nul = of({"place": "JFK", "said": ["\0\0", "\\u0000", "\\\0"]})
    tables.save([create(nul), create(of({"place": "LGA"}, "plane/N2"))])
    assert stored(tables, nul) == nul
    with psycopg.connect(postgresql_url) as connection:
        query = f"SELECT key, value ->> 'place' FROM {fresh.prefix}_views WHERE value ->> 'place' = 'JFK'"
        assert connection.execute(query).fetchall() == [("plane/N1", "JFK")]
        query = f"SELECT value -> 'said' ->> %s FROM {fresh.prefix}_views WHERE key = 'plane/N1'"
        said = [connection.execute(query, (n,)).fetchall()[0][0] for n in range(3)]
        assert said == ["\ufffd\ufffd", "\\u0000", "\\\ufffd"]


def test_a_batch_is_four_statements_however_many_views_it_has(tables: PostgresSink, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    execute = psycopg.Connection.execute
    monkeypatch.setattr(psycopg.Connection, "execute", lambda *a, **k: sent.append(a) or execute(*a, **k))
    tables.save([create(view(1, f"plane/N{n}")) for n in range(500)])
    assert len(sent) == 2  # beside BEGIN and COMMIT


def test_a_batch_too_large_for_one_statement_is_still_one_transaction(
    tables: PostgresSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projectors.sinks.postgresql._CHUNK", 300)
    views = [view(1, f"plane/N{n}") for n in range(50)]
    assert tables.save([create(each) for each in views]) == [True] * 50
    bad = replace(views[0], vector=view(2).vector, value_text="no JSON")
    with pytest.raises(psycopg.DataError):
        tables.save([*(move(each, view(2, each.key)) for each in views[1:]), move(views[0], bad)])
    assert sorted(tables.views("plane"), key=lambda v: v.key) == sorted(views, key=lambda v: v.key)


def test_rows_that_were_changed_by_hand_are_told_after_a_recount(tables: PostgresSink, fresh: Settings) -> None:
    views = [view(1, f"plane/N{n}") for n in range(100)]
    tables.save([create(each) for each in views])
    tables._run(lambda c: c.execute(f"DELETE FROM {fresh.prefix}_views WHERE key = 'plane/N7'"))
    assert not list(differences(tables.summary("plane"), Tree.of(views)))
    tables.recount("plane")
    assert [each.key.key for each in differences(tables.summary("plane"), Tree.of(views))] == ["plane/N7"]


def test_a_summary_stays_at_its_moment(tables: PostgresSink) -> None:
    views = [view(1, f"plane/N{n}") for n in range(100)]
    tables.save([create(each) for each in views])
    before = tables.summary("plane")
    tables.save([move(views[0], view(2, views[0].key))])
    assert list(tables.drop("plane", 1)) == [100]
    assert not list(differences(before, Tree.of(views)))
    assert len(before.rows("")) == 100


def test_savers_and_droppers_of_the_same_views_never_deadlock(tables: PostgresSink, postgresql_server: Server) -> None:
    def work(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < end:
            keys = [view(1, f"plane/N{n}").id for n in chance.sample(range(80), 40)]
            found = tables.load(keys)
            olds = [found.get(key) for key in keys]
            news = [
                view((old.vector.get("us-east-1") if old else 0) + 1, k.key, said=f"{seed}")
                for k, old in zip(keys, olds, strict=True)
            ]
            tables.save([Change(old.vector if old else None, new) for old, new in zip(olds, news, strict=True)])
            if chance.random() < 0.1:
                list(tables.drop("plane", 1))

    end = time.monotonic() + 2
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    assert "deadlock detected" not in postgresql_server.log()
    assert not list(differences(tables.summary("plane"), Tree.of(tables.views("plane"))))


def test_a_connection_that_broke_is_replaced(tables: PostgresSink, postgresql_url: str) -> None:
    tables.save([create(view(1))])
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'meridian'")
    assert tables.save([move(view(1), view(2))]) == [True]


def test_a_cache_that_lost_everything_takes_the_views_anew(cache: RedisSink) -> None:
    views = [view(1, f"plane/N{n}", row="JFK") for n in range(20)]
    cache.save([create(each) for each in views])
    cache._client.flushdb()
    cache._client.script_flush()
    assert not cache.load([each.id for each in views])
    assert not cache.summary("plane").ranges("")
    assert cache.save([move(view(1), view(2))]) == [False]
    assert cache.save([create(each) for each in views]) == [True] * 20
    assert not list(differences(cache.summary("plane"), Tree.of(views)))


def test_a_cache_that_evicted_views_returns_none_that_is_wrong(cache: RedisSink) -> None:
    views = [view(1, f"plane/N{n}") for n in range(20)]
    cache.save([create(each) for each in views])
    cache._client.delete(*(cache._keys(each.id)[0] for each in views[:5]))
    assert cache.load([each.id for each in views]) == {each.id: each for each in views[5:]}
    assert {each.key for each in cache.views("plane")} == {each.key for each in views[5:]}
    assert cache.save([move(views[0], view(2, views[0].key))]) == [False]
    again = view(2, views[0].key)
    assert cache.save([create(again)]) == [True]  # folded anew; its old digest is unknown: the ranges are made again
    held = [again, *views[5:]]
    assert not list(differences(cache.summary("plane"), Tree.of(held)))
    assert list(cache.drop("plane", 1)) == [len(held)]
    assert not cache._client.keys(f"{cache._prefix}*")


def test_a_row_that_lost_a_cell_to_eviction_is_not_shown_without_it(cache: RedisSink) -> None:
    cells = [view(1, f"plane/N{n}", row="JFK") for n in range(5)]
    cache.save([create(each) for each in cells])
    cache._client.delete(cache._keys(cells[2].id)[0])
    with pytest.raises(DamagedEvent, match=r"row JFK of plane lost the cell of plane/N2: evicted"):
        list(cache.cells("plane", 1, "JFK"))
    with pytest.raises(DamagedEvent, match="rebuild"):
        cache.load([cells[2].id])
    assert cache.load([cells[1].id, view(1, "plane/N9", row="JFK").id]) == {cells[1].id: cells[1]}
    assert cache.save([create(cells[2])]) == [True]
    assert list(cache.cells("plane", 1, "JFK")) == cells


@pytest.mark.parametrize("lost", [1, 2])
def test_a_cache_that_evicted_its_index_makes_it_again(cache: RedisSink, lost: int) -> None:
    views = [view(1, f"plane/N{n} *", row="JFK" if n % 2 else "") for n in range(1500)]
    for start in range(0, 1500, 500):
        cache.save([create(each) for each in views[start : start + 500]])
    cache._client.delete(cache._keys(view(1).id)[lost])
    assert not list(differences(cache.summary("plane"), Tree.of(views)))
    cache._client.delete(cache._keys(view(1).id)[lost])
    assert len(list(cache.views("plane"))) == 1500


def test_values_and_words_are_searched(search: SearchSink, opensearch: Late) -> None:
    search.save(
        [
            create(of({"place": "JFK", "minutes": 12, "pilots": ["Amelia Earhart"], "": 1, " ": {}, "a.b": {"": "x"}})),
            create(of({"place": "LGA", "minutes": "twelve", "pilots": {"first": "Bessie Coleman"}}, "plane/N2")),
        ]
    )
    client: Any = search._client
    client.indices.refresh(index=search._alias)

    def found(query: dict[str, Any]) -> list[str]:
        hits = client.search(index=search._alias, body={"query": query})["hits"]["hits"]
        return [hit["_source"]["key"] for hit in hits]

    assert found({"term": {"value.place": "JFK"}}) == ["plane/N1"]
    assert found({"match": {"words": "COLEMAN"}}) == ["plane/N2"]


def test_a_view_whose_value_cannot_be_indexed_is_kept_all_the_same(
    search: SearchSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = of({"date": "x"})
    original = SearchSink._bulk
    calls: list[Any] = []

    def bulk(self: SearchSink, actions: Any) -> dict[int, int]:
        calls.append(actions)
        return (
            {**original(self, {n: a for n, a in actions.items() if n != 0}), 0: 400}
            if len(calls) == 1
            else original(self, actions)
        )

    monkeypatch.setattr(SearchSink, "_bulk", bulk)
    assert search.save([create(refused), create(view(1, "plane/N2"))]) == [True, True]
    assert stored(search, refused) == refused


def test_long_texts_and_long_ids_are_stored(search: SearchSink) -> None:
    long = replace(of({"said": "x" * 100_000, "n" * 5000: "y"}, "plane/" + "é" * 500), row="r" * 500)
    assert search.save([create(long)]) == [True]
    assert stored(search, long) == long
    assert list(search.cells("plane", 1, long.row)) == [long]


def test_what_a_busy_server_refuses_is_sent_again(search: SearchSink, opensearch: Late) -> None:
    views = [view(1, f"plane/N{n}") for n in range(30)]
    opensearch.busy = 2
    assert search.save([create(each) for each in views]) == [True] * 30
    opensearch.refusals = [429, 503]
    assert len(search.load([each.id for each in views])) == 30
    opensearch.refusals = [429, 503]
    assert len(list(search.views("plane"))) == 30


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_stays_busy_is_unavailable(search: SearchSink, opensearch: Late, status: int) -> None:
    search.save([create(view(1))])
    for refused in (
        lambda: search.save([move(view(1), view(2))]),
        lambda: search.load([view(1).id]),
        lambda: list(search.views("plane")),
        lambda: list(search.drop("plane", 1)),
    ):
        opensearch.refusals = [status] * 50
        with pytest.raises(RegionUnavailable, match=rf"127\.0\.0\.1.*{status}"):
            refused()
    opensearch.refusals, opensearch.busy = [], 50
    with pytest.raises(RegionUnavailable, match="1 of 1 views refused"):
        search.save([move(view(1), view(2))])
    opensearch.busy = 0
    assert search.save([move(view(1), view(2))]) == [True]
