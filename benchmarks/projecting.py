"""Projection of ten new events of each row at once, against one upsert an event that keeps the same three fields."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from benchmarks.bench import EAST, Bench
from benchmarks.events import Chains
from benchmarks.folding import Place
from benchmarks.measure import Of, Row, Task, at_least
from chaos.world.servers import postgresql
from projectors import Engine
from projectors.engine.sink import Sink
from projectors.sinks.dynamodb import DynamoSink
from projectors.sinks.postgresql import PostgresSink
from replicator import EventStore, MemoryStorage
from replicator.aws import clients
from replicator.domain.event import Event

ROWS, EACH, UPSERTS = 100, 10, 200
_GOALS = (at_least(Of.RATE, 6.0),)
DYNAMODB = Task("project into DynamoDB, 10 events a row", "boto3 update_item an event", _GOALS)
POSTGRESQL = Task("project into PostgreSQL, 10 events a row", "psycopg INSERT .. ON CONFLICT, a commit an event", _GOALS)
TASKS = (DYNAMODB, POSTGRESQL)
_TABLE = """CREATE TABLE IF NOT EXISTS plain (
    stream text PRIMARY KEY, place text NOT NULL, flights bigint NOT NULL, airports text[] NOT NULL)"""
_UPSERT = """INSERT INTO plain VALUES (%(stream)s, %(place)s, 1, ARRAY[%(place)s])
    ON CONFLICT (stream) DO UPDATE SET place = excluded.place, flights = plain.flights + 1,
    airports = CASE WHEN excluded.place = ANY (plain.airports) THEN plain.airports
        ELSE plain.airports || excluded.airports END"""


def rows(bench: Bench) -> Iterator[Row]:
    with bench.regions(EAST) as settings:
        client, table = clients.dynamodb(settings, EAST), settings.views_table

        def update(event: Event) -> None:
            airport = event.payload["airport"]
            client.update_item(
                TableName=table,
                Key={"pk": {"S": f"plain#{event.stream}"}, "sk": {"S": "-"}},
                UpdateExpression="SET place = :place ADD flights :one, airports :airports",
                ExpressionAttributeValues={":place": {"S": airport}, ":one": {"N": "1"}, ":airports": {"SS": [airport]}},
            )

        yield _compare(bench, DYNAMODB, DynamoSink(settings), update)
        with postgresql(durable=True) as server, psycopg.connect(server.url, autocommit=True) as plain:
            sink = PostgresSink(server.url, settings)
            sink.create_tables()
            plain.execute(_TABLE)

            def upsert(event: Event) -> None:
                plain.execute(_UPSERT, {"stream": str(event.stream), "place": event.payload["airport"]})

            with _closed(sink):
                yield _compare(bench, POSTGRESQL, sink, upsert)


@contextmanager
def _closed(sink: PostgresSink) -> Iterator[None]:
    try:
        yield
    finally:
        sink.close()


def _compare(bench: Bench, task: Task, sink: Sink, upsert: Callable[[Event], Any]) -> Row:
    """Compare with a running engine: it holds its views already, as after the batch before."""
    chains = Chains(EAST, f"{task.baseline[:5]}", ROWS)
    engine = Engine([Place], EventStore(MemoryStorage(), EAST, []), sink)
    if engine.apply(chains.grow(1)):
        raise RuntimeError("an event was not folded")
    batches = iter([chains.grow(EACH) for _ in range(bench.rounds + 1)])
    alone = iter([chains.grow(EACH)[:UPSERTS] for _ in range(bench.rounds + 1)])

    def ours() -> None:
        if engine.apply(next(batches)):
            raise RuntimeError("an event was not folded")

    def theirs() -> None:
        for event in next(alone):
            upsert(event)

    return bench.compare(task, ours, theirs, ROWS * EACH, theirs_events=UPSERTS, note="judged by rate")
