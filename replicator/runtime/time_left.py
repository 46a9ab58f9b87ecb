"""Time that a function's invocation has left for another slice of work. A worker's work has no such limit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Fits = Callable[[], bool]
"""Callable that returns whether there is time for another slice of work."""

_SPARE_MS = 20_000
"""Milliseconds that a function reserves for returning what it could not finish."""


def time_left(context: Any) -> Fits:
    """Return a check of an invocation's context: is there time for another slice of work?"""
    return lambda: bool(context.get_remaining_time_in_millis() > _SPARE_MS)
