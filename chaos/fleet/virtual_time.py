"""Virtual time for code that blocks: threads that run one at a time, in the order of the simulated seconds that they wait.

Unlike the simulator's steps, the code under test keeps its own control flow: several copiers are in the middle of their work
at the same simulated moment, as sandboxes are.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any, TypeVar

import tenacity.nap
import tenacity.wait

R = TypeVar("R")


class _Actor:
    """A thread of the simulation, and what waits for its end."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.work = work
        self.turn = threading.Semaphore(0)
        self.waiting: list[_Actor] = []
        self.ended = False


class VirtualTime:
    """Scheduler of the threads. `now` is in simulated seconds from 0; a run with the same threads is deterministic."""

    def __init__(self) -> None:
        self._now = 0.0
        self._queue: list[tuple[float, int, _Actor]] = []
        self._numbers = count()
        self._local = threading.local()
        self._scheduler = threading.Semaphore(0)
        self._failure: BaseException | None = None

    def now(self) -> float:
        return self._now

    def wall(self) -> int:
        """Milliseconds since the epoch of the simulated clock."""
        return 1_700_000_000_000 + int(self._now * 1000)

    def spawn(self, work: Callable[[], None]) -> _Actor:
        """Start a thread that runs `work`, now."""
        actor = _Actor(work)
        threading.Thread(target=self._live, args=(actor,), daemon=True).start()
        self._wake(actor, self._now)
        return actor

    def sleep(self, seconds: float) -> None:
        """Let `seconds` pass for the calling thread. Outside of a simulated thread it does nothing."""
        actor = getattr(self._local, "actor", None)
        if actor is not None:
            self._wake(actor, self._now + seconds)
            self._rest(actor)

    def join(self, actors: Iterable[_Actor]) -> None:
        """Wait for the end of these threads."""
        me: _Actor = self._local.actor
        for actor in actors:
            if not actor.ended:
                actor.waiting.append(me)
                self._rest(me)

    def run(self) -> float:
        """Run until every thread has ended. Returns the simulated seconds. Raises what a thread raised."""
        while self._queue and self._failure is None:
            self._now, _, actor = heapq.heappop(self._queue)
            actor.turn.release()
            self._scheduler.acquire()
        if self._failure is not None:
            raise self._failure
        return self._now

    def _wake(self, actor: _Actor, at: float) -> None:
        heapq.heappush(self._queue, (at, next(self._numbers), actor))

    def _rest(self, actor: _Actor) -> None:
        self._scheduler.release()
        actor.turn.acquire()

    def _live(self, actor: _Actor) -> None:
        self._local.actor = actor
        actor.turn.acquire()
        try:
            actor.work()
        except BaseException as error:
            self._failure = error
        actor.ended = True
        for each in actor.waiting:
            self._wake(each, self._now)
        self._scheduler.release()


@contextmanager
def virtual_waits(time: VirtualTime, seed: int) -> Iterator[None]:
    """Let retries wait in virtual time, with waits that `seed` chooses."""
    places: list[tuple[Any, str, Any]] = [
        (tenacity.nap, "time", SimpleNamespace(sleep=time.sleep)),
        (tenacity.wait, "random", Random(seed)),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    for module, name, value in places:
        setattr(module, name, value)
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


class VirtualPool:
    """Stand-in for a ThreadPoolExecutor of `size` threads, in virtual time."""

    def __init__(self, time: VirtualTime, size: int) -> None:
        self._time = time
        self._size = size

    def map(self, work: Callable[..., R], *arguments: Iterable[Any]) -> Iterator[R]:
        """Call `work` for each group of arguments, as many at once as there are threads. Returns the results in order."""
        calls = list(enumerate(zip(*arguments, strict=False)))
        found: dict[int, R] = {}
        failed: dict[int, BaseException] = {}
        left = iter(calls)

        def take() -> None:
            for number, given in left:
                try:
                    found[number] = work(*given)
                except Exception as error:
                    failed[number] = error

        if len(calls) > 1:
            self._time.join([self._time.spawn(take) for _ in range(min(self._size, len(calls)))])
        else:
            take()
        for number, _ in calls:
            if number in failed:
                raise failed[number]
            yield found[number]
