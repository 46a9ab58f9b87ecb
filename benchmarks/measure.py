"""Timing two ways of doing the same work, alternately, so that a noisy machine disturbs both alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 7


@dataclass(frozen=True)
class Row:
    """One line of the table. CPU is this client's own, in microseconds an event; rates are events a second."""

    work: str
    baseline: str
    cpu: float
    baseline_cpu: float
    rate: float
    baseline_rate: float


def compare(work: str, ours: Callable[[], None], baseline: str, theirs: Callable[[], None], events: int) -> Row:
    """Medians of ROUNDS runs of each; every run does `events` events."""
    ours()  # warm: clients, connections, heads
    theirs()
    mine, other = [], []
    for _ in range(ROUNDS):
        mine.append(_once(ours, events))
        other.append(_once(theirs, events))
    return Row(
        work,
        baseline,
        statistics.median(cpu for cpu, _ in mine),
        statistics.median(cpu for cpu, _ in other),
        statistics.median(rate for _, rate in mine),
        statistics.median(rate for _, rate in other),
    )


def _once(run: Callable[[], None], events: int) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return (time.process_time() - cpu) / events * 1e6, events / (time.perf_counter() - wall)
