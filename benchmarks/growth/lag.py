"""Delay of events at a steady load: a whole replicator whose stream brings events at an even pace, each stamped with the
moment at which it was due, so that waiting counts in full. The peer records when it answered."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmarks.bench import EAST, WEST
from benchmarks.events import Chains, record
from benchmarks.growth.drawing import Curve, Panel, Plot
from benchmarks.growth.sweeps import BATCH, ROUND_TRIP_MS
from benchmarks.measure import Steps
from benchmarks.peer import peer, tell
from benchmarks.working import run
from replicator import Settings
from replicator.aws.event_table import DynamoStorage

SHARES = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
LANES = 1000
_FULL_EVENTS = 20_000
_SECONDS = 8.0
_MAKING_US = 120.0
"""Maximum microseconds of making a record: their times begin when all are made."""


@dataclass(frozen=True, slots=True)
class Late:
    """Delay at a share of the capacity: the rate in events a second, median and 99th percentile of the delay in
    milliseconds."""

    share: float
    rate: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Found:
    """Results: `capacity` in events a second; `bare` is the round trip of one event alone, in milliseconds."""

    capacity: float
    bare: Late
    points: list[Late]


def load(steps: Steps) -> tuple[Plot, Found]:
    with peer(ROUND_TRIP_MS) as url:
        settings = Settings(EAST, (WEST,), endpoints={EAST: url, WEST: url}, read_timeout=30.0)
        steps("load", 0, len(SHARES) + 1)
        bare, capacity = _bare(settings), _capacity(settings, url)
        points = []
        for number, share in enumerate(SHARES):
            steps("load", number + 1, len(SHARES) + 1)
            points.append(_steady(settings, url, share, share * capacity))
    across = [100 * late.share for late in points]
    curves = [
        Curve("99th percentile", [(100 * late.share, late.p99) for late in points]),
        Curve("median", [(100 * late.share, late.p50) for late in points]),
        Curve("a bare round trip, median", [(at, bare.p50) for at in (across[0], across[-1])]),
    ]
    title = f"Load, of the {capacity:,.0f} events/s that one worker copies to one peer"
    panel = Panel(f"from due to held by the peer, ms (round trip {ROUND_TRIP_MS:.0f} ms)", curves, steep=True)
    ticks = [100 * share for share in SHARES]
    return Plot("load", title, "% of capacity", ticks, (panel,), even=True), Found(capacity, bare, points)


def _bare(settings: Settings) -> Late:
    storage, chains = DynamoStorage(settings, WEST), Chains(EAST, "bare", 1)
    taken = []
    for event in chains.grow(200):
        began = time.perf_counter()
        storage.insert_each([event])
        taken.append((time.perf_counter() - began) * 1000)
    return _late(0.0, 0.0, taken[20:])


def _capacity(settings: Settings, url: str) -> float:
    """Return the events a second when a full batch is always waiting."""
    chains = Chains(EAST, "full", LANES)
    stock = iter([[record(event) for event in chains.grow()] for _ in range(_FULL_EVENTS // LANES)])
    gc.collect()
    gc.freeze()
    began = time.perf_counter()
    try:
        run(settings, lambda: next(stock, []), _FULL_EVENTS, 120.0)
    finally:
        gc.unfreeze()
    rate = _FULL_EVENTS / (time.perf_counter() - began)
    tell(url)
    return rate


def _steady(settings: Settings, url: str, share: float, rate: float) -> Late:
    count = round(rate * _SECONDS)
    start = time.time() * 1000 + 500 + count * _MAKING_US / 1000
    due = [start + number * 1000 / rate for number in range(count)]
    chains = Chains(EAST, f"at{share:.0%}x".replace("%", ""), LANES)
    stock: list[dict[str, Any]] = [
        record(event)
        for number, at in enumerate(due)
        for event in chains.grow(lanes=[chains.lanes[number % LANES]], ms=int(at))
    ]
    given = 0

    def take() -> Sequence[dict[str, Any]]:
        nonlocal given
        now, first = time.time() * 1000, given
        while given < count and given - first < BATCH and due[given] <= now:
            given += 1
        return stock[first:given]

    gc.collect()
    gc.freeze()
    try:
        run(replace(settings), take, count, _SECONDS + 60)
    finally:
        gc.unfreeze()
    return _late(share, rate, tell(url)[count // 5 :])  # without the start


def _late(share: float, rate: float, taken: Sequence[float]) -> Late:
    cuts = statistics.quantiles(taken, n=100)
    return Late(share, rate, cuts[49], cuts[98])
