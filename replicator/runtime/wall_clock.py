"""The machine's time. Everything that needs it is given it; this is where it is had."""

from __future__ import annotations

import time


def wall_clock() -> int:
    """The machine's time in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
