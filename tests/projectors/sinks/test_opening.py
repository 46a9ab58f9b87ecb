"""Addresses of sinks: what opens, what is refused and how, and that no password is ever shown."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.world.servers import PASSWORD
from projectors.sinks.address import name_of
from projectors.sinks.opening import open_sink, prepare
from projectors.sinks.postgresql import PostgresSink
from projectors.sinks.redis import RedisSink
from projectors.sinks.search import SearchSink
from replicator.domain.errors import InvalidConfig
from replicator.runtime.settings import Settings
from tests.projectors.sinks.late import Late
from tests.projectors.sinks.views import create, stored, view

SETTINGS = Settings("us-east-1", connect_timeout=1, read_timeout=1, attempts=2)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("dynamodb", "dynamodb"),
        ("postgresql://me:secret@db.example:5432/views?sslmode=require", "postgresql://db.example:5432/views"),
        ("postgresql://db.example/views?user=me&password=secret", "postgresql://db.example/views"),
        ("postgresql://db.example/views?password=sec@ret", "postgresql://…"),
        ("postgresql://me:sec@ret@db.example/views", "postgresql://db.example/views"),
        ("postgresql://me:se?cr@et@db.example/views", "postgresql://…"),
        ("postgresql://me:se#cret@db.example/views", "postgresql://…"),
        ("rediss://:secret@cache.example:6380/1", "rediss://cache.example:6380/1"),
        ("opensearch+https://me:secret@search.example", "opensearch+https://search.example"),
        ("secret with spaces", "…"),
        ("me:secret@host", "…"),
        ("me:secret://host", "…"),
    ],
)
def test_a_name_shows_where_and_never_who(address: str, name: str) -> None:
    assert name_of(address) == name


@given(st.text(min_size=1).filter(lambda text: "/" not in text and "@" not in text), st.sampled_from(["://u:", "://:"]))
def test_no_password_is_in_a_name(password: str, user: str) -> None:
    marked = f"<{password}>"
    assert marked not in name_of(f"postgresql{user}{marked}@host/views")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("mysql://me:secret@host/views", r"'mysql://host/views' is of an unknown kind; write 'dynamodb'"),
        ("postgres", r"'postgres' is of an unknown kind"),
        ("", r"is of an unknown kind"),
        ("memory", "exists in this process alone and ends with it"),
        ("postgresql://me:sec%ret@host/views", "percent-encoded"),
        ("postgresql://me:secret@host:port/views?nonsense=1", "cannot be read"),
        ("redis://me:secret@host:port/0", "cannot be read"),
        ("opensearch+https://me:secret@host:port", "cannot be read"),
        ("opensearch+https://", "cannot be read"),
        ("postgresql://me:sec@ret@host/views", "'@' in the wrong place.*%40 for '@'"),
        ("postgresql://me:secr/et@host/views", "'@' in the wrong place.*%2F for '/'"),
        ("redis://:sec/ret@host:6379/0", "'@' in the wrong place"),
        ("redis://me:sec?ret@host/0", "'@' in the wrong place"),
        ("rediss://me:sec#ret@host/0", "'@' in the wrong place"),
        ("opensearch+https://me:sec/ret@host:9200", "'@' in the wrong place"),
        ("opensearch+https://me:sec@ret@host:9200", "'@' in the wrong place"),
    ],
)
@pytest.mark.parametrize("use", [open_sink, prepare])
def test_an_address_that_cannot_work_is_refused_with_the_remedy(address: str, said: str, use: Any) -> None:
    with pytest.raises(InvalidConfig, match=said) as raised:
        use(address, SETTINGS)
    for part in ("secret", "sec%ret", "sec", "ret@", "/ret"):
        assert part not in str(raised.value)


@pytest.mark.parametrize(
    ("address", "module", "extra"),
    [
        ("postgresql://host/views", "psycopg", "postgresql"),
        ("redis://host", "redis", "redis"),
        ("opensearch+http://host", "opensearchpy", "search"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, address: str, module: str, extra: str
) -> None:
    original = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        return original(name, *args, **kwargs)

    for loaded in [name for name in sys.modules if name.startswith(("projectors.sinks.", f"{module}.")) or name == module]:
        if loaded != "projectors.sinks.opening":
            monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InvalidConfig, match=rf"needs {module}.*pip install 'meridian-events\[{extra}\]'"):
        open_sink(address, SETTINGS)


def test_opening_connects_to_nothing() -> None:
    assert isinstance(open_sink("postgres://nobody.invalid/views", SETTINGS), PostgresSink)
    assert isinstance(open_sink("rediss://nobody.invalid", SETTINGS), RedisSink)
    assert isinstance(open_sink("opensearch+http://nobody.invalid", SETTINGS), SearchSink)


@pytest.mark.parametrize("kind", ["postgresql", "redis", "search"])
def test_what_was_prepared_can_be_used_and_prepared_again(
    request: pytest.FixtureRequest, fresh: Settings, kind: str, opensearch: Late
) -> None:
    address = opensearch.url if kind == "search" else request.getfixturevalue(f"{kind}_url")
    prepare(address, fresh)
    prepare(address, fresh)
    sink: Any = open_sink(address, fresh)
    assert sink.save([create(view(1))]) == [True]
    prepare(address, fresh)
    assert stored(sink, view(1)) == view(1)
    sink.close()


@pytest.mark.parametrize("kind", ["postgresql", "search"])
def test_what_was_not_prepared_is_named_with_the_remedy(
    request: pytest.FixtureRequest, fresh: Settings, kind: str, opensearch: Late
) -> None:
    sink: Any = open_sink(opensearch.url if kind == "search" else request.getfixturevalue(f"{kind}_url"), fresh)
    for use in (
        lambda: sink.load([view(1).id]),
        lambda: sink.save([create(view(1))]),
        lambda: list(sink.views("plane")),
        lambda: sink.summary("plane"),
        lambda: list(sink.drop("plane", 1)),
    ):
        with pytest.raises(InvalidConfig, match=rf"{fresh.prefix}.*projectors init"):
            use()
    sink.close()


@pytest.mark.parametrize("kind", ["postgresql", "redis"])
def test_a_wrong_password_is_named_as_such(request: pytest.FixtureRequest, fresh: Settings, kind: str) -> None:
    url: str = request.getfixturevalue(f"{kind}_url")
    sink: Any = open_sink(url.replace(PASSWORD, "wrong-secret"), fresh)
    with pytest.raises(InvalidConfig, match=r"127\.0\.0\.1:\d+.*refuses") as raised:
        sink.load([view(1).id])
    assert "wrong-secret" not in str(raised.value)
    sink.close()


def test_a_cache_that_may_evict_is_warned_of(redis_url: str, fresh: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    import redis

    with redis.Redis.from_url(redis_url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        prepare(redis_url, fresh)
        client.config_set("maxmemory-policy", "noeviction")
    said = capsys.readouterr()
    assert "sink.may_evict" in said.out + said.err
    assert PASSWORD not in said.out + said.err


def test_a_database_in_another_encoding_is_refused(postgresql_url: str, fresh: Settings) -> None:
    import psycopg

    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    with pytest.raises(InvalidConfig, match="in LATIN1; create one with ENCODING 'UTF8'"):
        prepare(postgresql_url.replace("/postgres", "/latin"), fresh)


def test_a_prefix_too_long_for_a_table_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="up to 40 characters"):
        open_sink("postgresql://host/views", Settings("us-east-1", prefix="p" * 41))


@pytest.mark.parametrize("make", [PostgresSink, RedisSink, SearchSink])
def test_a_sink_made_in_code_refuses_such_an_address_too(make: Any) -> None:
    for address in ("postgresql://me:sec@ret@host/db", "redis://me:sec@ret@host/0", "opensearch+https://me:sec@ret@host"):
        with pytest.raises(InvalidConfig) as raised:
            make(address, SETTINGS)
        assert "sec" not in str(raised.value)
        assert "ret" not in str(raised.value)


def test_sinks_have_the_name_of_their_address() -> None:
    for address in ("postgresql://me:x@host:5432/db", "rediss://me:x@host:6380/1", "opensearch+https://me:x@host:9200"):
        sink: Any = open_sink(address, SETTINGS)
        assert sink.name == name_of(address)
    assert (
        PostgresSink("host=db.example dbname=views password=secret", SETTINGS).name == "postgresql://db.example:5432/views"
    )


def test_an_error_does_not_name_the_user(postgresql_url: str, redis_url: str, fresh: Settings) -> None:
    import redis

    for url in (postgresql_url.replace(PASSWORD, "wrong"), postgresql_url.replace("meridian:", "nobody-known:")):
        with pytest.raises(InvalidConfig) as raised:
            PostgresSink(url, fresh).load([view(1).id])
        assert "nobody-known" not in str(raised.value)
        assert '"meridian"' not in str(raised.value)
    with redis.Redis.from_url(redis_url) as client:
        client.acl_setuser("weak-user", enabled=True, passwords=["+x"], categories=[], commands=["+ping"], keys=["*"])
        sink = RedisSink(redis_url.replace(f":{PASSWORD}", "weak-user:x"), fresh)
        with pytest.raises(InvalidConfig, match="no permissions") as raised:
            sink.load([view(1).id])
        assert "weak-user" not in str(raised.value)
        client.acl_deluser("weak-user")


def test_a_prefix_with_upper_case_is_refused_where_names_have_none() -> None:
    with pytest.raises(InvalidConfig, match=r"prefix 'Prod' has upper case.*use 'prod'"):
        open_sink("opensearch+https://host", Settings("us-east-1", prefix="Prod"))


def test_requests_to_amazon_are_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    from projectors.sinks.search import _signer

    host = "search-views-abc.eu-west-1.es.amazonaws.com"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    signed = _signer(host)("GET", f"https://{host}/", None)
    assert "Credential=AKIDEXAMPLE/" in signed["Authorization"]
    assert "/eu-west-1/es/aws4_request" in signed["Authorization"]
    monkeypatch.setattr("boto3.session.Session.get_credentials", lambda self: None)
    with pytest.raises(InvalidConfig, match="no AWS credentials"):
        open_sink(f"opensearch+https://{host}", SETTINGS)
