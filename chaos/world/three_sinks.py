"""Sinks on this machine to project into: DynamoDB on an emulator, PostgreSQL, and memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from chaos.world.servers import postgresql
from chaos.world.world import World, WorldOptions
from projectors.engine.memory_sink import MemorySink
from projectors.engine.sink import Sink
from projectors.sinks.dynamodb import DynamoSink
from projectors.sinks.postgresql import PostgresSink


@contextmanager
def three_sinks(orders: Sequence[str], every: bool = False) -> Iterator[dict[str, tuple[Sink, str]]]:
    """Open empty sinks by name, each with the order in which it is to be fed: one of `orders`, or as many sinks of each kind
    as there are orders."""
    with World(["us-east-1"], options=WorldOptions(workers=False, read_timeout=30.0)) as world, postgresql() as server:
        settings = world.settings("us-east-1")
        found: dict[str, tuple[Sink, str]] = {}
        opened: list[PostgresSink] = []
        try:
            for number, order in enumerate(orders):
                prefixed = replace(settings, prefix=f"order{number}")
                for kind, sink in ((0, MemorySink()), (1, DynamoSink(prefixed)), (2, PostgresSink(server.url, prefixed))):
                    if not every and kind != number % 3:
                        continue
                    if isinstance(sink, DynamoSink):
                        sink.create_table()
                    if isinstance(sink, PostgresSink):
                        sink.create_tables()
                        opened.append(sink)
                    name = ("memory", "dynamodb", "postgresql")[kind]
                    found[f"{name} {number + 1}" if every else name] = (sink, order)
            yield found
        finally:
            for each in opened:
                each.close()
