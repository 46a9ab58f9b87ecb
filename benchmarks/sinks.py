"""Saves of small views into each sink, in batches: `python -m benchmarks.sinks`. Ratios are against memory in the same run.

PostgreSQL (with fsync, as in production), Redis and the DynamoDB emulator are real programs on this machine; OpenSearch is a
stub in memory, whose figures show what the client costs and nothing of OpenSearch.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from benchmarks.measure import ROUNDS
from chaos.world.servers import postgresql, redis_server, search_stand_in
from chaos.world.world import World, WorldOptions
from projectors import MemorySink, Sink, View
from projectors.engine.sink import Change
from projectors.sinks.opening import open_sink, prepare
from replicator.domain.canonical import encode_json
from replicator.domain.vector import VersionVector

VIEWS = 1000
BATCHES = (100, 1000)


def batch(sequence: int, size: int) -> list[list[View]]:
    """Return the views at `sequence`, in batches: about 100 bytes each."""
    vector = VersionVector({"us-east-1": sequence, "eu-west-1": 7})
    text = encode_json({"place": "JFK", "flights": sequence})
    views = [View("place", 1, f"aircraft/N{n}", vector, text, text) for n in range(VIEWS)]
    return [views[start : start + size] for start in range(0, VIEWS, size)]


def save(sink: Sink, old: Sequence[Sequence[View]] | None, new: Sequence[Sequence[View]]) -> float:
    """Return the views saved a second, all of which are made or moved."""
    rounds = [
        [Change(before[n].vector if before else None, view) for n, view in enumerate(views)]
        for before, views in zip(old or [[]] * len(new), new, strict=True)
    ]
    began = time.perf_counter()
    for changes in rounds:
        if not all(sink.save(changes)):
            raise RuntimeError("a change was refused")
    return VIEWS / (time.perf_counter() - began)


def rates(sinks: dict[str, Sink], size: int) -> dict[str, tuple[float, float]]:
    """Return for each sink the medians of making views and of moving them, all sinks taking turns."""
    made: dict[str, list[float]] = {name: [] for name in sinks}
    moved: dict[str, list[float]] = {name: [] for name in sinks}
    one, two = batch(1, size), batch(2, size)
    for _ in range(ROUNDS + 1):
        for name, sink in sinks.items():
            made[name].append(save(sink, None, one))
            moved[name].append(save(sink, one, two))
            for _ in sink.drop("place", 1):
                pass
    return {name: (statistics.median(made[name][1:]), statistics.median(moved[name][1:])) for name in sinks}


def main() -> None:
    out = Console(width=150)
    table = Table(title=f"views saved a second; medians of {ROUNDS} rounds of {VIEWS}", title_justify="left")
    for name in ("sink", "views in a batch", "made/s", "moved/s", "memory is quicker, made", "moved"):
        table.add_column(name, justify="left" if name == "sink" else "right")
    with World(["us-east-1"], options=WorldOptions(workers=False, read_timeout=30.0)) as world, ExitStack() as stack:
        settings = replace(world.settings("us-east-1"), prefix="bench")
        addresses = {
            "dynamodb (emulator)": "dynamodb",
            "postgresql": stack.enter_context(postgresql(durable=True)).url,
            "redis": stack.enter_context(redis_server()).url,
            "search (stand-in)": stack.enter_context(search_stand_in()).url,
        }
        sinks: dict[str, Sink] = {"memory": MemorySink()}
        for name, address in addresses.items():
            prepare(address, settings)
            sinks[name] = open_sink(address, settings)
        for size in BATCHES:
            found = rates(sinks, size)
            for name, (made, moved) in found.items():
                ratios = [f"{base / ours:,.0f}x" for ours, base in zip((made, moved), found["memory"], strict=True)]
                table.add_row(name, str(size), f"{made:,.0f}", f"{moved:,.0f}", *ratios)
    out.print(table)


if __name__ == "__main__":
    main()
