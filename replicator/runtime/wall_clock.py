"""Wall clock of the machine: the default source of time, passed to everything that needs it."""

from __future__ import annotations

import time


def wall_clock() -> int:
    """Return the machine's time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
