"""Campaign of the simulator: many seeds, run by several processes, and their results."""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from chaos.checker.verdict import PROMISES
from chaos.simulator.environment import Options
from chaos.simulator.judgement import NOT_SIMULATED, SEEN
from chaos.simulator.mutants import check_plant, planted
from chaos.simulator.run_steps import Outcome, run_seed
from replicator.domain.errors import InvalidConfig, place

MOST_STEPS = 100_000
MOST_JOBS = 64
_BATCH = 20
_HASHES = "PYTHONHASHSEED"
DIED = "died"
"""Promise that a seed breaks whose process does not survive it."""
HUNG = "hung"
"""Promise that a seed breaks which does not end in time."""
OUTSIDE = {DIED: "no seed ends its process", HUNG: "every seed ends in time"}
"""Promises judged from outside of a seed, which has no plan that could be shrunk then."""

Tell = Callable[[int, int], None]
"""Callable that receives how many seeds are done, and how many are broken."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """Parameters of a campaign: `seeds` seeds from `first` on, of `steps` steps each, in worlds of `options`, by `jobs`
    processes. `plant` is a planted bug by name. Raises InvalidConfig."""

    seeds: int = 1000
    steps: int = 1000
    first: int = 1
    options: Options = field(default_factory=Options)
    plant: str | None = None
    jobs: int = 2

    def __post_init__(self) -> None:
        for option, value, least, most in (
            ("--seeds", self.seeds, 1, 100_000_000), ("--steps", self.steps, 1, MOST_STEPS),
            ("--seed", self.first, 0, 10**15), ("--jobs", self.jobs, 1, MOST_JOBS),
        ):  # fmt: skip
            if not least <= value <= most:
                raise InvalidConfig(f"{option} {value}: give {least:,} to {most:,}")
        check_plant(self.plant)

    @property
    def patience(self) -> float:
        """Seconds after which a seed hangs: a hundred times what it takes on a slow machine."""
        return 120.0 + 0.1 * self.steps * self.options.regions

    def command(self, seed: int) -> str:
        """Return the command that runs one seed of it again."""
        plant = f" --plant {self.plant}" if self.plant else ""
        return (
            f"chaos simulate --seeds 1 --seed {seed} --steps {self.steps} --regions {self.options.regions} "
            f"--streams {self.options.streams}{plant}"
        )


@dataclass
class Tally:
    """Result of a campaign. `simulated` are seconds of the worlds' own time, `cpu` seconds of all processes that ran seeds,
    `wall` seconds from begin to end."""

    seeds: int = 0
    steps: int = 0
    events: int = 0
    copies: int = 0
    disasters: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    looked: Counter[str] = field(default_factory=Counter)
    """Number of checks of each promise."""
    simulated: float = 0.0
    wall: float = 0.0
    cpu: float = 0.0
    broken: list[Outcome] = field(default_factory=list)
    """Seeds that broke a promise, the lowest first."""
    notes: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Whether every promise that the simulator can check was checked, and none was broken."""
        return not self.broken and not self.untested

    @property
    def untested(self) -> list[str]:
        """Promises for which nothing was checked: these do not count as kept."""
        return [name for name in (*PROMISES, *SEEN) if name not in NOT_SIMULATED and not self.looked[name]]

    def add(self, outcome: Outcome) -> None:
        self.seeds += 1
        self.steps += outcome.steps
        self.events += outcome.events
        self.copies += outcome.copies
        self.disasters += outcome.disasters
        self.simulated += outcome.simulated
        self.calls.update(outcome.calls)
        self.looked.update(outcome.looked)
        if not outcome.kept:
            self.broken.append(outcome)
            self.broken.sort(key=lambda each: each.seed)

    def as_json(self) -> dict[str, Any]:
        return {
            "seeds": self.seeds, "steps": self.steps, "events": self.events, "copies": self.copies,
            "disasters": self.disasters, "calls": dict(self.calls), "simulated_seconds": round(self.simulated),
            "looked": {name: self.looked[name] for name in (*PROMISES, *SEEN) if name not in NOT_SIMULATED},
            "not_looked_at": self.untested, "not_simulated": list(NOT_SIMULATED),
            "wall_seconds": round(self.wall, 2), "cpu_seconds": round(self.cpu, 2), "notes": self.notes,
            "broken": [
                {"seed": each.seed, "promises": dict(each.broken), "examples": list(each.examples)} for each in self.broken
            ],
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Batch:
    """Seeds that one process has run, and the CPU seconds that it took."""

    outcomes: Sequence[Outcome]
    cpu: float


def run_campaign(campaign: Campaign, tell: Tell = lambda done, broken: None) -> Tally:
    """Run a campaign to its end; with a planted bug, until it is found (then no lower seed finds it). Ctrl-C leaves no
    process.

    A process that dies loses no seed: its seeds are run again, each in a process of its own, and a seed that kills that one,
    too, is broken.
    """
    began, tally = time.monotonic(), Tally()

    def take(batch: _Batch) -> None:
        tally.cpu += batch.cpu
        for outcome in batch.outcomes:
            tally.add(outcome)
        tell(tally.seeds, len(tally.broken))

    batches = _batches(campaign)
    while lost := _run(campaign, batches, tally, take):
        for seeds in lost:
            which = f"seeds {seeds[0]} to {seeds[-1]}; they were" if len(seeds) > 1 else f"seed {seeds[0]}; it was"
            tally.notes.append(f"a process {lost[seeds]} while it ran {which} run again")
            for seed in seeds:
                take(_alone(campaign, seed))
    tally.wall = time.monotonic() - began
    return tally


def _batches(campaign: Campaign) -> Iterator[range]:
    size = max(1, min(_BATCH, campaign.seeds // (4 * campaign.jobs)))
    end = campaign.first + campaign.seeds
    return (range(start, min(start + size, end)) for start in range(campaign.first, end, size))


class _Pool(ProcessPoolExecutor):
    """Process pool that only its parent ends. A terminal sends Ctrl-C to the processes of the pool as well: they start with
    SIGINT blocked, before `_begin` can ignore it."""

    def submit(self, *call: Any, **named: Any) -> Future[Any]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        try:
            return super().submit(*call, **named)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def pool(jobs: int, one_each: bool = False) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of processes that do only what they are given, each of them one thing with `one_each`; they end with this.
    All hash alike: the chosen examples of a broken promise, and their order, depend on hashes of texts."""
    context, before = multiprocessing.get_context("spawn"), os.environ.get(_HASHES)
    os.environ[_HASHES] = "0"
    with _Pool(jobs, context, _begin, max_tasks_per_child=1 if one_each else None) as running:
        try:
            yield running
        except BaseException:
            for process in multiprocessing.active_children():  # their work in progress is not waited for
                process.kill()
            raise
        finally:
            os.environ.pop(_HASHES)
            if before is not None:
                os.environ[_HASHES] = before


def _begin() -> None:
    """Start a process of the pool: only its parent ends it, not the terminal; and it does not outlive its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    gc.set_threshold(20_000, 20, 20)


def _end_with_parent() -> None:
    """End with the parent. A killed parent ends no process: its pool would wait for more work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _run(campaign: Campaign, batches: Iterator[range], tally: Tally, take: Callable[[_Batch], None]) -> dict[range, str]:
    """Give batches to a pool until there are none, or nothing more is wanted. Returns those that were with the pool when a
    process of it died or failed, with the promise of each; the others are left in `batches`."""
    running: dict[Future[_Batch], range] = {}
    lost: dict[range, str] = {}
    with pool(campaign.jobs) as processes:
        while True:
            while not lost and len(running) < campaign.jobs and not (campaign.plant and tally.broken):
                seeds = next(batches, None)
                if seeds is None:
                    break
                try:
                    running[processes.submit(run_batch, campaign, seeds)] = seeds
                except BrokenProcessPool:
                    lost[seeds] = "died"
            if not running:
                return lost
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                seeds = running.pop(future)
                error = future.exception()
                if error is None:
                    take(future.result())
                else:
                    lost[seeds] = "died" if isinstance(error, BrokenProcessPool) else f"failed with {_named(error)}"


def _alone(campaign: Campaign, seed: int) -> _Batch:
    with pool(1) as processes:
        try:
            return processes.submit(run_batch, campaign, range(seed, seed + 1)).result()
        except BrokenProcessPool as error:
            return _Batch([_outside(seed, DIED, error)], 0.0)
        except Exception as error:
            return _Batch([_outside(seed, "unforeseen", error)], 0.0)


def _outside(seed: int, promise: str, error: BaseException) -> Outcome:
    return Outcome(seed, 0, {promise: 1}, [f"{promise}: {_named(error)}"], "")


def _named(error: BaseException) -> str:
    where = place(error)
    return where if where.endswith(f": {error}") else f"{where}: {error}"


def run_batch(campaign: Campaign, seeds: range) -> _Batch:
    """Run these seeds in this process, up to the first that finds the planted bug."""
    began, outcomes = time.process_time(), []
    with planted(campaign.plant):
        for seed in seeds:
            outcomes.append(_run_seed(campaign, seed))
            if campaign.plant and not outcomes[-1].kept:
                break
    return _Batch(outcomes, time.process_time() - began)


def _run_seed(campaign: Campaign, seed: int) -> Outcome:
    """Run a seed. Any failure is the outcome of this seed alone."""
    try:
        with watched(campaign.patience):
            return run_seed(seed, campaign.steps, campaign.options)
    except Hung as error:
        return _outside(seed, HUNG, error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _outside(seed, "unforeseen", error)


class Hung(BaseException):
    """Interrupt of work that did not end in time. No `except Exception` of the core stops it."""


@contextmanager
def watched(seconds: float) -> Iterator[None]:
    """Raise Hung in work that takes longer than `seconds`; end the process where even that does not end it. Only a process's
    main thread can be watched; others are not."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        raise Hung(f"not finished after {seconds:,.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 10.0)  # again and again, as some code may catch the first
    faulthandler.dump_traceback_later(2 * seconds + 60.0, exit=True)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, before)
