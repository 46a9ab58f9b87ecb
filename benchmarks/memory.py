"""Peak memory of a worker, copying few events and copying many: a process of its own for each, over a stream that is
generated as it is read, and faster than the link, as when a worker catches up.

`python -m benchmarks.memory EVENTS URL` is such a process.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog

from benchmarks.bench import EAST, WEST, Bench
from benchmarks.events import Chains, record
from benchmarks.measure import Of, Pair, Row, Task, at_most
from benchmarks.peer import peer
from benchmarks.working import run
from replicator import Settings

FEW, MANY = 10_000, 300_000
LANES = BATCH = 1000
ROUND_TRIP_MS = 20.0
_SECONDS = 240.0
TASKS = (
    Task(f"memory of the worker, {MANY:,} events", f"the same, {FEW:,} events", (at_most(Of.COUNT, 1.1),), "MB at most"),
)


def rows(bench: Bench) -> Iterator[Row]:
    task, found = TASKS[0], []
    for number, events in enumerate((FEW, MANY)):
        bench.steps(f"copying {FEW:,} and {MANY:,}", number, 2)
        with peer(ROUND_TRIP_MS) as url:
            found.append(_process(events, url))
    bench.steps(f"copying {FEW:,} and {MANY:,}", 2, 2)
    (few, start), (many, _) = found
    note = f"{start:.0f} MB before the first event; batches of {BATCH:,} in {LANES:,} lanes"
    yield Row(task, count=Pair(many, few), note=note)


def _process(events: int, url: str) -> tuple[float, float]:
    """Run such a process. Returns its peak resident memory, in the end and before it began, in MB."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    words = [sys.executable, "-m", "benchmarks.memory", str(events), url]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=_SECONDS + 30, check=False)
    if done.returncode:
        raise RuntimeError(f"copying {events:,} events failed: {done.stderr.strip()[-500:]}")
    most, start = json.loads(done.stdout)
    return most, start


def most_mb() -> float:
    """Return the peak resident memory of this process so far, in MB (Linux)."""
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def _copy(events: int, url: str) -> list[float]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    settings = Settings(EAST, (WEST,), endpoints={EAST: url, WEST: url}, read_timeout=30.0)
    chains = Chains(EAST, "m", LANES)
    made, start = 0, 0.0

    def take() -> list[dict[str, Any]]:
        nonlocal made, start
        start = start or most_mb()
        if made >= events:
            return []
        made += BATCH
        return [record(event) for event in chains.grow()]

    run(settings, take, events, _SECONDS)
    return [most_mb(), start]


if __name__ == "__main__":
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    sys.stdout.write(json.dumps(_copy(int(sys.argv[1]), sys.argv[2])))
