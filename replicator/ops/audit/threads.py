"""Doing the same to many things at once, in threads that keep no process from ending: a region may hang in any of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def at_once(function: Callable[[T], R], items: Iterable[T], threads: int = 8) -> list[R]:
    """What `function` makes of each item, in order, some at a time. Raises the first failure; what was not begun by then
    is left out."""
    todo = list(items)
    numbers = iter(range(len(todo)))
    done: dict[int, R] = {}
    failures: list[BaseException] = []

    def work() -> None:
        for number in numbers:  # a range's iterator gives each number once, whoever asks
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
