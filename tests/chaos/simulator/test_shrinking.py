"""Shrinking finds the fewest steps that still fail, within a bounded number of questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from chaos.simulator.shrinking import shrink


def needing(*needed: int) -> Callable[[Sequence[int]], bool]:
    return lambda steps: set(needed) <= set(steps)


@pytest.mark.parametrize("needed", [(0,), (999,), (3, 500), (0, 1, 998, 999), (17, 18, 19, 400, 401, 800)])
def test_what_is_left_is_what_is_needed_in_its_order(needed: tuple[int, ...]) -> None:
    assert shrink(range(1000), needing(*needed)) == list(needed)


def test_a_step_that_only_another_one_makes_harmless_goes_with_it() -> None:
    def fails(steps: Sequence[int]) -> bool:
        return 5 in steps and (6 not in steps or 7 in steps)

    assert shrink(range(20), fails) == [5]


def test_every_answer_is_of_a_part_of_the_plan_in_its_order() -> None:
    def fails(steps: Sequence[int]) -> bool:
        assert list(steps) == sorted(set(steps))
        return sum(steps) >= 300

    left = shrink(range(100), fails)
    assert sum(left) >= 300
    assert all(sum(left) - each < 300 for each in left)


def test_it_asks_no_more_than_it_may() -> None:
    asked = 0

    def fails(steps: Sequence[int]) -> bool:
        nonlocal asked
        asked += 1
        return sum(steps) % 7 == 0 or len(steps) > 400

    left = shrink(range(1000), fails, most=50)
    assert asked == 50
    assert fails(left)
