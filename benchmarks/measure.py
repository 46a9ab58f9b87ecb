"""Timing of two ways of doing the same work, alternately, so that a noisy machine disturbs both alike."""

from __future__ import annotations

import gc
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum

ROUNDS = 7
"""Default number of runs of each side."""


class Of(Enum):
    """Subject of a goal: each is a ratio of ours to the baseline's."""

    CPU = "CPU"
    RATE = "rate"
    COUNT = "count"


@dataclass(frozen=True, slots=True)
class Goal:
    """Bound of one ratio: at most `limit`, or at least."""

    of: Of
    limit: float
    at_least: bool = False

    def met(self, ratio: float) -> bool:
        return ratio >= self.limit if self.at_least else ratio <= self.limit

    def __str__(self) -> str:
        limit = f"{self.limit:.2%}".rstrip("0%").rstrip(".") + "%" if self.limit < 0.1 else f"{self.limit:g}x"
        return f"{self.of.value} {'>=' if self.at_least else '<='} {limit}"


def at_most(of: Of, limit: float) -> Goal:
    return Goal(of, limit)


def at_least(of: Of, limit: float) -> Goal:
    return Goal(of, limit, at_least=True)


@dataclass(frozen=True, slots=True)
class Task:
    """Row before it is measured. `counted` names the unit of its count, if it has one."""

    work: str
    baseline: str
    goals: tuple[Goal, ...]
    counted: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """Our figure and the baseline's."""

    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `cpu` is this client's own, in microseconds an event; `rate` is in events a second; `count` is
    in the task's unit. None: not measured. `note` names the circumstances, `failed` says why there is no result."""

    task: Task
    cpu: Pair | None = None
    rate: Pair | None = None
    count: Pair | None = None
    note: str = ""
    failed: str = ""

    def pair(self, of: Of) -> Pair | None:
        return {Of.CPU: self.cpu, Of.RATE: self.rate, Of.COUNT: self.count}[of]

    def judged(self) -> list[tuple[Goal, bool]]:
        """Return each goal, and whether it is met. A goal without a measurement is not met."""
        pairs = [(goal, self.pair(goal.of)) for goal in self.task.goals]
        return [(goal, pair is not None and goal.met(pair.ratio)) for goal, pair in pairs]

    @property
    def met(self) -> bool:
        return not self.failed and all(met for _, met in self.judged())


Steps = Callable[[str, int, int], None]
"""Callback for progress: the current work, the number of steps done, and the number of all steps."""


def compare(
    task: Task,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    events: int,
    *,
    theirs_events: int | None = None,
    rounds: int = ROUNDS,
    steps: Steps = lambda *_: None,
    children: bool = False,
    count: Pair | None = None,
    note: str = "",
) -> Row:
    """Return the medians of `rounds` runs of each, after one that is not counted: both are run `rounds + 1` times.

    Every run of ours does `events` events, every run of theirs as many, or `theirs_events`. `children`: child processes do
    the work, and the CPU is theirs.
    """
    mine: list[tuple[float, float]] = []
    other: list[tuple[float, float]] = []
    with _collected():
        for number in range(rounds + 1):
            steps(task.work, number, rounds + 1)
            mine.append(_once(ours, events, children))
            other.append(_once(theirs, theirs_events or events, children))
    steps(task.work, rounds + 1, rounds + 1)
    cpu, rate = (Pair(_median(mine, place), _median(other, place)) for place in (0, 1))
    return Row(task, cpu, rate, count, note)


def _median(runs: list[tuple[float, float]], place: int) -> float:
    return statistics.median(run[place] for run in runs[1:])  # the first warmed clients, connections and heads


def _once(run: Callable[[], object], events: int, children: bool) -> tuple[float, float]:
    """Return the microseconds of CPU an event, and the events a second."""
    gc.collect()
    clock = _children if children else time.process_time
    cpu, wall = clock(), time.perf_counter()
    run()
    return (clock() - cpu) / events * 1e6, events / (time.perf_counter() - wall)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def _collected() -> Iterator[None]:
    """Keep prepared objects from the garbage collector in the block: it would scan them repeatedly, at the cost of whichever
    side is measured."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
