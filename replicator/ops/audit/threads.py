"""Parallel map over items, in threads that do not keep the process from ending: a region may hang in any of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def at_once(function: Callable[[T], R], items: Iterable[T], threads: int = 8) -> list[R]:
    """Return the result of `function` for each item, in order, some in parallel. Raises the first failure; items not begun
    by then are skipped."""
    todo = list(items)
    numbers = iter(range(len(todo)))
    done: dict[int, R] = {}
    failures: list[BaseException] = []

    def work() -> None:
        for number in numbers:  # a range's iterator yields each number once, to any thread
            try:
                done[number] = function(todo[number])
            except BaseException as error:
                failures.append(error)
            if failures:
                return

    if len(todo) < 2 or threads < 2:
        return [function(item) for item in todo]
    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(threads, len(todo)))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return [done[number] for number in range(len(todo))]
