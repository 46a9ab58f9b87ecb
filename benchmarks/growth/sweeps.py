"""Cost of a copied event, and delay of a batch, with one thing varied at a time.

The peer is a stub that answers after a fixed round trip (benchmarks/peer.py): an emulator's own cost would grow as well.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.bench import EAST, WEST
from benchmarks.copying import chunks, copying
from benchmarks.events import Chains, record
from benchmarks.growth.drawing import Curve, Panel, Plot
from benchmarks.measure import Steps
from benchmarks.peer import delay, peer
from replicator import NewEvent, Settings
from replicator.replication.copier import Copier
from replicator.replication.stream_records import read_records

ROUND_TRIP_MS = 20.0
BATCH = 1000
PAGE_BYTES = 1024 * 1024
"""Maximum bytes of a page of a DynamoDB stream."""
LANES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
COLD_LANES = (100, 300, 1000, 3000, 10_000)
PEERS = (1, 2, 3, 4, 6, 8)
SIZES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000)
BATCHES = (1, 3, 10, 30, 100, 300, 1000)
_COLD_EVENTS = 2000

Records = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Point:
    """Point of a curve: at `x`, CPU in microseconds an event (and peer), and milliseconds from handing a batch over until
    all peers hold it. Medians over batches."""

    x: float
    cpu: float
    lag: float


def lanes(steps: Steps) -> tuple[Plot, dict[str, list[Point]]]:
    warm = [_many_lanes(count, steps, n) for n, count in enumerate(LANES)]
    cold = [_started(count, steps, n) for n, count in enumerate(COLD_LANES)]
    found = {"heads known": warm, "a worker that has just started": cold}
    plot = _plot("lanes", "Lanes in play, batches of 1,000 events", "lanes", (100, 1000, 10_000, 100_000), found, steep=True)
    return plot, found


def peers(steps: Steps) -> tuple[Plot, dict[str, list[Point]]]:
    points = []
    with peer(ROUND_TRIP_MS) as url:
        for number, count in enumerate(PEERS):
            steps("peers", number, len(PEERS))
            chains = Chains(EAST, f"p{count}x", BATCH)
            copiers = [copying(_settings(url)) for _ in range(count)]
            points.append(_point(count, copiers, [[record(e) for e in chains.grow()] for _ in range(6)]))
    each = [Point(p.x, p.cpu * p.x, p.lag) for p in points]
    found = {"an event and peer": points, "an event, to all peers": each}
    plot = Plot(
        "peers",
        "Peers of one worker, batches of 1,000 events",
        "peers",
        PEERS,
        (
            Panel("CPU, us", [Curve(name, [(p.x, p.cpu) for p in curve]) for name, curve in found.items()]),
            Panel("until the last peer holds the batch, ms", [Curve("", [(p.x, p.lag) for p in points])]),
        ),
        even=True,
    )
    return plot, found


def sizes(steps: Steps) -> tuple[Plot, dict[str, list[Point]]]:
    points = []
    with peer(ROUND_TRIP_MS) as url:
        for number, size in enumerate(SIZES):
            steps("event size", number, len(SIZES))
            new = NewEvent("departed", {"text": "x" * (size - 11)})
            chains = Chains(EAST, f"s{size}x", max(1, min(BATCH, PAGE_BYTES // (size + 400))))
            points.append(
                _point(size, [copying(_settings(url))], [[record(e) for e in chains.grow(new=new)] for _ in range(8)])
            )
    found = {"1 MB or 1,000 events a batch": points}
    ticks = (100, 1000, 10_000, 100_000, 300_000)
    return _plot("size", "Size of an event's payload", "bytes", ticks, found, steep=True), found


def batches(steps: Steps) -> tuple[Plot, dict[str, list[Point]]]:
    points = []
    with peer(ROUND_TRIP_MS) as url:
        for number, size in enumerate(BATCHES):
            steps("batch size", number, len(BATCHES))
            chains, many = Chains(EAST, f"b{size}x", BATCH), max(6, min(40, 400 // size))
            copier = copying(_settings(url))
            for part in chunks([record(e) for e in chains.grow()], BATCH):
                _copy([copier], list(part))
            stock = [record(e) for _ in range(1 + many * size // BATCH) for e in chains.grow()]
            points.append(_point(size, [copier], [list(part) for part in chunks(stock[: many * size], size)]))
    found = {"distinct lanes": points}
    return _plot("batch", "Events in a batch, each of a lane of its own", "events", (1, 10, 100, 1000), found, True), found


def _many_lanes(count: int, steps: Steps, number: int) -> Point:
    steps("lanes", number, len(LANES))
    chains = Chains(EAST, f"l{count}x", count)
    with peer() as url:
        copier = copying(_settings(url))
        for part in chunks(chains.lanes, BATCH):
            _copy([copier], [record(e) for e in chains.grow(lanes=part)])
        delay(url, ROUND_TRIP_MS)
        return _point(count, [copier], list(_in_turn(chains, 8)))


def _started(count: int, steps: Steps, number: int) -> Point:
    """Measure a worker that has just started: it knows no heads, and reads from the peer that of each lane that it meets."""
    steps("lanes, just started", number, len(COLD_LANES))
    chains = Chains(EAST, f"c{count}x", count)
    with peer(heads=True) as url:
        first = copying(_settings(url))
        for part in chunks(chains.lanes, BATCH):
            _copy([first], [record(e) for e in chains.grow(lanes=part)])
        delay(url, ROUND_TRIP_MS)
        stock = list(_in_turn(chains, _COLD_EVENTS // BATCH))
        return _point(count, [copying(_settings(url))], stock, whole=True)


def _in_turn(chains: Chains, many: int) -> Iterator[Records]:
    """Yield batches that go through all lanes in turn."""
    at, count = 0, len(chains.lanes)
    for _ in range(many):
        parts = [chains.lanes[(at + n) % count] for n in range(BATCH)]
        at += BATCH
        yield [record(event) for event in chains.grow(lanes=parts)]


def _settings(url: str) -> Settings:
    return replace(Settings(WEST, endpoints={WEST: url}), read_timeout=30.0)


def _point(x: float, copiers: Sequence[Copier], stock: Sequence[Records], whole: bool = False) -> Point:
    """Measure the batches of `stock`. `whole`: all count together, including the first; else the first warms the
    connections."""
    cpu: list[float] = []
    lag: list[float] = []
    gc.collect()
    gc.freeze()
    try:
        for records in stock:
            used, began = time.process_time(), time.perf_counter()
            _copy(copiers, records)
            lag.append((time.perf_counter() - began) * 1000)
            cpu.append((time.process_time() - used) / len(records) / len(copiers) * 1e6)
    finally:
        gc.unfreeze()
    if whole:
        return Point(x, statistics.mean(cpu), statistics.mean(lag))
    return Point(x, statistics.median(cpu[1:]), statistics.median(lag[1:]))


def _copy(copiers: Sequence[Copier], records: Records) -> None:
    """Copy to all peers at once, as links do. Raises RuntimeError unless each accepts all."""
    events, refused = read_records(records, EAST)
    if len(copiers) == 1:
        left = [copiers[0].copy(events)]
    else:
        with ThreadPoolExecutor(len(copiers)) as pool:
            left = list(pool.map(lambda copier: copier.copy(events), copiers))
    if refused or any(left):
        raise RuntimeError(f"{len(refused)} records were refused, {sum(map(len, left))} events not copied")


def _plot(
    name: str, title: str, across: str, ticks: Sequence[float], found: dict[str, list[Point]], steep: bool = False
) -> Plot:
    def curves(of: Callable[[Point], float]) -> list[Curve]:
        return [Curve(each, [(point.x, of(point)) for point in points]) for each, points in found.items()]

    lag = f"until the peer holds the batch, ms (round trip {ROUND_TRIP_MS:.0f} ms)"
    panels = (Panel("CPU, us an event", curves(lambda p: p.cpu), steep), Panel(lag, curves(lambda p: p.lag), steep))
    return Plot(name, title, across, ticks, panels)
