"""Sinks by their address: `dynamodb`, `postgresql://…`, `redis://…`, `opensearch+https://…`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from projectors.engine.sink import Sink
from projectors.sinks.address import DYNAMODB, MEMORY, POSTGRESQL, REDIS, SEARCH, checked, name_of, scheme_of
from replicator.domain.errors import InvalidConfig
from replicator.runtime.distribution import needed
from replicator.runtime.settings import Settings

if TYPE_CHECKING:
    from projectors.sinks.postgresql import PostgresSink
    from projectors.sinks.redis import RedisSink
    from projectors.sinks.search import SearchSink

log = structlog.get_logger()

_REMEDY = (
    "write 'dynamodb', 'postgresql://user:password@host/database', 'redis://host:6379/0', 'rediss://…' or "
    "'opensearch+https://user:password@host:9200'"
)
_KEEPS = ("noeviction", "volatile")


def open_sink(address: str, settings: Settings) -> Sink:
    """Return the sink at `address`, with the settings' prefix, time-outs and attempts. Opens no connection yet.

    Raises InvalidConfig for an address of no known kind, one that cannot be read, and a kind whose package is missing.
    """
    checked(address)
    kind = scheme_of(address)
    if kind in POSTGRESQL:
        return _postgresql(address, settings)
    if kind in REDIS:
        return _redis(address, settings)
    if kind in SEARCH:
        return _search(address, settings)
    if address == DYNAMODB:
        from projectors.sinks.dynamodb import DynamoSink

        return DynamoSink(settings)
    if address == MEMORY:
        raise InvalidConfig(f"sink {address!r} exists in this process alone and ends with it; {_REMEDY}")
    raise InvalidConfig(f"sink {name_of(address)!r} is of an unknown kind; {_REMEDY}")


def prepare(address: str, settings: Settings) -> None:
    """Create the tables or the index that a sink needs, where missing. May be repeated. Raises InvalidConfig as open_sink
    does and when the server refuses it, RegionUnavailable when it does not answer."""
    checked(address)
    kind = scheme_of(address)
    if kind in POSTGRESQL:
        postgresql = _postgresql(address, settings)
        postgresql.create_tables()
        postgresql.close()
    elif kind in REDIS:
        cache = _redis(address, settings)
        policy = cache.check()
        cache.close()
        if policy and not policy.startswith(_KEEPS):
            log.warning(
                "sink.may_evict",
                sink=name_of(address),
                policy=policy,
                remedy="evicted views are folded again, but rows across streams would lose cells silently: "
                "for those, set maxmemory-policy noeviction or volatile-lru",
            )
    elif kind in SEARCH:
        search = _search(address, settings)
        search.create_index()
        search.close()
    elif address == DYNAMODB:
        from projectors.sinks.dynamodb import DynamoSink

        DynamoSink(settings).create_table()
    else:
        open_sink(address, settings)


def _postgresql(address: str, settings: Settings) -> PostgresSink:
    with needed("this sink needs psycopg", "postgresql"):
        from projectors.sinks.postgresql import PostgresSink
    return PostgresSink(address, settings)


def _redis(address: str, settings: Settings) -> RedisSink:
    with needed("this sink needs redis", "redis"):
        from projectors.sinks.redis import RedisSink
    return RedisSink(address, settings)


def _search(address: str, settings: Settings) -> SearchSink:
    with needed("this sink needs opensearchpy", "search"):
        from projectors.sinks.search import SearchSink
    return SearchSink(address, settings)
