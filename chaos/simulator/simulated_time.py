"""Simulated time: replacements for what the core takes from the machine: threads, time, chance and logs.

The core takes time and chance as arguments wherever they decide anything. What is left are pools that do many requests at
once, waits between attempts, and deadlines of reads: these are replaced where they are named, for as long as `simulated` is
open. Nothing that decides what is written is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Protocol, Self, TypeVar

import structlog
import tenacity
import tenacity.nap
import tenacity.wait
from tenacity import Retrying, wait_none

import projectors.engine.engine
import projectors.reads.queries
import replicator.aws.clients
import replicator.aws.sqs
import replicator.connect
import replicator.eventstore.appender
import replicator.eventstore.event_items
import replicator.eventstore.read_repair
import replicator.eventstore.transaction
import replicator.ops.audit.anti_entropy
import replicator.ops.audit.comparison
import replicator.ops.audit.threads
import replicator.ops.runbooks.steps
import replicator.ops.system
import replicator.replication.invocation
import replicator.replication.stream_records
import replicator.runtime.retries
from chaos.simulator.stream import Image
from replicator.domain.event import Event
from replicator.eventstore.appender import contention

T = TypeVar("T")
R = TypeVar("R")

_ATTEMPTS = 20


class Timed(Protocol):
    """Owner of the simulated time. `unforeseen` receives exceptions that a worker's loop caught and did not expect."""

    now: float

    def unforeseen(self, error: BaseException) -> None: ...


class _Time:
    """Replacement of a module's `time`."""

    def __init__(self, world: Timed) -> None:
        self._world = world

    def monotonic(self) -> float:
        return self._world.now

    def sleep(self, seconds: float) -> None:
        self._world.now += seconds


class _Chance:
    """Replacement of `random` in waits: always the middle."""

    @staticmethod
    def uniform(low: float, high: float) -> float:
        return (low + high) / 2

    @staticmethod
    def randint(low: int, high: int) -> int:
        return (low + high) // 2


class Pool:
    """Executor that does each thing when it is given."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def map(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        return [function(item) for item in items]

    def submit(self, function: Callable[..., R], *args: Any) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, *_: Any, **__: Any) -> None: ...


class _Thread:
    """Thread that has ended when it was started."""

    def __init__(self, target: Callable[[], object], daemon: bool = False) -> None:
        self._target = target

    def start(self) -> None:
        self._target()

    def join(self) -> None: ...


class _Threading:
    Thread = _Thread


def _once(attempts: int) -> Callable[[Callable[[], T]], T]:
    """Replace `retries.transient`: no second attempt would find anything else, as no step comes in between."""
    return lambda once: once()


def _contention(attempts: int) -> Retrying:
    """Replace `appender.contention`, without its waits."""
    return contention(attempts).copy(wait=wait_none())


def _while_true(**_: Any) -> Callable[[Callable[[], bool]], Callable[[], bool]]:
    """Replace the engine's `retry`, without its waits."""

    def decorate(attempt: Callable[[], bool]) -> Callable[[], bool]:
        return lambda: all(attempt() for _ in range(_ATTEMPTS))

    return decorate


def _from_image(item: dict[str, Any]) -> Event:
    """Replace `from_item`: return the event that the image was made of. Tests elsewhere check that reading gives the same
    one."""
    return item.event if type(item) is Image else replicator.eventstore.event_items.from_item(item)


def _logger(world: Timed) -> type:
    """Return a logger that prints nothing, and reports unforeseen exceptions to the world."""

    class Quiet:
        def __init__(self, *_: Any, **__: Any) -> None: ...

        def bind(self, **_: Any) -> Self:
            return self

        def new(self, **_: Any) -> Self:
            return self

        def debug(self, *_: Any, **__: Any) -> None: ...

        info = warning = error = critical = msg = debug

        def exception(self, *_: Any, **__: Any) -> None:
            import sys

            error = sys.exc_info()[1]
            if error is not None:
                world.unforeseen(error)

    return Quiet


@contextmanager
def simulated(world: Timed) -> Iterator[None]:
    """Let the core take everything from this world. One at a time in a process."""
    clock = _Time(world)
    places: list[tuple[Any, str, Any]] = [
        *(
            (module, "time", clock)
            for module in (
                replicator.eventstore.read_repair, replicator.eventstore.transaction, projectors.reads.queries, tenacity,
                tenacity.nap,
            )
        ),
        *((module, "random", _Chance) for module in (replicator.runtime.retries, replicator.aws.sqs, tenacity.wait)),
        *(
            (module, "ThreadPoolExecutor", Pool)
            for module in (
                replicator.eventstore.read_repair, replicator.ops.system, replicator.ops.audit.anti_entropy,
                replicator.ops.audit.comparison, replicator.ops.runbooks.steps, replicator.connect,
                replicator.replication.invocation,
            )
        ),
        (replicator.ops.audit.threads, "threading", _Threading),
        (replicator.aws.clients, "transient", _once),
        (replicator.eventstore.appender, "contention", _contention),
        (projectors.engine.engine, "retry", _while_true),
        (replicator.replication.stream_records, "from_item", _from_image),
    ]  # fmt: skip
    before = [(module, name, getattr(module, name)) for module, name, _ in places]
    logs = structlog.get_config()
    for module, name, value in places:
        setattr(module, name, value)
    structlog.configure(wrapper_class=_logger(world), cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**logs)
        for module, name, value in before:
            setattr(module, name, value)
