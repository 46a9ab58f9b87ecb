"""Timing two ways of doing the same work, alternately, so that a noisy machine disturbs both alike."""

from __future__ import annotations

import resource
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


def compare(
    work: str, ours: Callable[[], None], baseline: str, theirs: Callable[[], None], events: int, children: bool = False
) -> Row:
    """Medians of ROUNDS runs of each; every run does `events` events. `children`: processes do it, and theirs is the CPU."""
    ours()  # warm: clients, connections, heads
    theirs()
    mine, other = [], []
    for _ in range(ROUNDS):
        mine.append(_once(ours, events, children))
        other.append(_once(theirs, events, children))
    return Row(
        work,
        baseline,
        statistics.median(cpu for cpu, _ in mine),
        statistics.median(cpu for cpu, _ in other),
        statistics.median(rate for _, rate in mine),
        statistics.median(rate for _, rate in other),
    )


def _once(run: Callable[[], None], events: int, children: bool) -> tuple[float, float]:
    clock = _children if children else time.process_time
    cpu, wall = clock(), time.perf_counter()
    run()
    return (clock() - cpu) / events * 1e6, events / (time.perf_counter() - wall)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
