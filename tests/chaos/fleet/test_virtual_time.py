"""Threads take turns in the order of the time that they wait."""

from __future__ import annotations

import pytest

from chaos.fleet.virtual_time import VirtualPool, VirtualTime


def test_threads_run_in_the_order_of_their_time() -> None:
    time = VirtualTime()
    found: list[tuple[str, float]] = []

    def work(name: str, pause: float) -> None:
        for _ in range(3):
            time.sleep(pause)
            found.append((name, time.now()))

    time.spawn(lambda: work("a", 2.0))
    time.spawn(lambda: work("b", 3.0))
    assert time.run() == 9.0
    assert found == [("a", 2.0), ("b", 3.0), ("a", 4.0), ("b", 6.0), ("a", 6.0), ("b", 9.0)]


@pytest.mark.parametrize(("size", "seconds"), [(1, 10.0), (2, 5.0), (4, 3.0), (10, 1.0)])
def test_a_pool_does_as_many_calls_at_once_as_it_has_threads(size: int, seconds: float) -> None:
    time = VirtualTime()
    found: list[int] = []

    def double(number: int) -> int:
        time.sleep(1.0)
        return 2 * number

    time.spawn(lambda: found.extend(VirtualPool(time, size).map(double, range(10))))
    assert time.run() == seconds
    assert found == [2 * number for number in range(10)]


def test_what_a_call_of_a_pool_raises_its_caller_gets() -> None:
    time = VirtualTime()
    caught: list[str] = []

    def work() -> None:
        try:
            list(VirtualPool(time, 2).map(lambda number: 1 // number, [1, 0]))
        except ZeroDivisionError as error:
            caught.append(str(error))

    time.spawn(work)
    time.run()
    assert len(caught) == 1


def test_what_a_thread_raises_ends_the_run() -> None:
    time = VirtualTime()
    time.spawn(lambda: time.sleep(-1 // 0))
    with pytest.raises(ZeroDivisionError):
        time.run()
