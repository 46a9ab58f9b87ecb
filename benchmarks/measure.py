"""Timing two ways of doing the same work, alternately, so that a noisy machine disturbs both alike."""

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
"""Of each side, unless told otherwise."""


class Of(Enum):
    """What a goal is about: each is a ratio of ours to the baseline's."""

    CPU = "CPU"
    RATE = "rate"
    COUNT = "count"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound of one ratio: at most `limit`, or at least."""

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
    """A row before it is measured. `counted` is what its count is of, where it has one."""

    work: str
    baseline: str
    goals: tuple[Goal, ...]
    counted: str = ""


@dataclass(frozen=True, slots=True)
class Pair:
    """A figure of ours and the baseline's."""

    ours: float
    theirs: float

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `cpu` is this client's own, in microseconds an event; `rate` is in events a second; `count` is
    of what the task says. None: not measured. `note` says under what circumstances, `failed` why there is nothing."""

    task: Task
    cpu: Pair | None = None
    rate: Pair | None = None
    count: Pair | None = None
    note: str = ""
    failed: str = ""

    def pair(self, of: Of) -> Pair | None:
        return {Of.CPU: self.cpu, Of.RATE: self.rate, Of.COUNT: self.count}[of]

    def judged(self) -> list[tuple[Goal, bool]]:
        """Each goal, and whether it is met. What was not measured is not met."""
        pairs = [(goal, self.pair(goal.of)) for goal in self.task.goals]
        return [(goal, pair is not None and goal.met(pair.ratio)) for goal, pair in pairs]

    @property
    def met(self) -> bool:
        return not self.failed and all(met for _, met in self.judged())


Steps = Callable[[str, int, int], None]
"""Is told of what is being done how many steps of how many are done."""


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
    """Medians of `rounds` runs of each, after one that is not counted: both are run `rounds + 1` times.

    Every run of ours does `events` events, every run of theirs as many, or `theirs_events`. `children`: child processes do
    it, and theirs is the CPU.
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
    """Microseconds of CPU an event, and events a second."""
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
    """What has been prepared is none of the collector's business meanwhile: it would be gone through again and again, at
    the cost of whoever happens to be measured."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
