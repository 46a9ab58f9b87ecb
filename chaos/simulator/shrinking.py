"""Shrinking of a failing plan to the fewest steps that still break the same promise: ddmin of Zeller and Hildebrandt,
"Simplifying and Isolating Failure-Inducing Input", IEEE TSE 28(2), 2002, figure 3 (only its complements: subsets of a plan
hardly ever fail), and then each step alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shrink(plan: Sequence[T], fails: Callable[[Sequence[T]], bool], most: int = 2_000) -> list[T]:
    """Return the fewest steps found for which `fails` holds, as it does for the whole plan. Calls it `most` times at most.
    No step of the result can be left out, unless that limit was reached."""
    left, asked = list(plan), 0

    def ask(steps: Sequence[T]) -> bool:
        nonlocal asked
        asked += 1
        return asked <= most and fails(steps)

    left = _prefix(left, ask)
    parts = 2
    while len(left) >= 2:
        size = -(-len(left) // parts)
        for start in range(0, len(left), size):
            rest = left[:start] + left[start + size :]
            if ask(rest):
                left, parts = rest, max(parts - 1, 2)
                break
        else:
            if size == 1:
                break
            parts = min(parts * 2, len(left))
    return left


def _prefix(plan: list[T], ask: Callable[[Sequence[T]], bool]) -> list[T]:
    """Return a failing prefix: most failures occur long before the plan ends, so halve it as long as it fails."""
    while len(plan) > 8 and ask(plan[: len(plan) // 2]):
        plan = plan[: len(plan) // 2]
    return plan
