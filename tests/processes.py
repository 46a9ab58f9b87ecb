"""What the tests ask the system about processes."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path


def children(pid: int) -> set[int]:
    """The processes that this one, by whichever of its threads, has started and that are not gone. Linux only."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return {int(child) for task in tasks for child in (task / "children").read_text().split()}
    except OSError:
        return set()


def alive(pid: int) -> bool:
    """Whether it runs, or could go on: one that waits for its parent to take note of its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def still_alive(pids: Iterable[int], seconds: float = 20.0) -> list[int]:
    """Those that do not end within this time. Who is told to end needs a moment for it."""
    end, left = time.monotonic() + seconds, list(pids)
    while (left := [pid for pid in left if alive(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    return left
