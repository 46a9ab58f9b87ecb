"""Two workers of a region against one: `python -m benchmarks.workers [--rounds N] [--away MS] [--json FILE]`.

`replicator run` and `projectors run` as processes, on a stream of four shards. The peer, or the table of views, answers
after `--away` milliseconds: one worker is limited by waiting, not by the cores of this machine.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import shared_stream
from benchmarks.bench import EAST, WEST
from benchmarks.peer import ask, peer, served
from chaos.child_processes import Process
from replicator.cli.console import out
from replicator.domain.errors import MeridianError

SHARDS = 4
_PAGES = {"replicator": 6, "projectors": 2}
"""Pages of each shard, by program."""
_READERS = {"replicator": "replicator", "projectors": "projector"}
_SECONDS = 120.0

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Found:
    """Events a second of one worker and of two, medians."""

    program: str
    one: float
    two: float

    def __str__(self) -> str:
        return f"{self.program} run: {self.one:,.0f} events/s by one, {self.two:,.0f} by two: {self.two / self.one:.2f}x"


@app.command()
def workers(
    rounds: Annotated[int, typer.Option(help="How often each side is measured, alternately.")] = 5,
    away: Annotated[float, typer.Option(help="Milliseconds after which the peer, or the table of views, answers.")] = 200.0,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure two workers of a region against one."""
    found = [measure(program, rounds, away) for program in _READERS]
    for each in found:
        out.print(str(each))
    if json_file is not None:
        json_file.write_text(json.dumps([vars(each) for each in found], indent=2) + "\n")


def measure(program: str, rounds: int, away: float) -> Found:
    """Return the medians of `rounds` runs of one worker and of two, alternately."""
    words = (str(SHARDS), str(_PAGES[program]), f"{away}")
    with peer(away) as far, served("benchmarks.shared_stream", *words) as home:
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(rounds):
            for count in rates:
                rates[count].append(_run(program, count, home, far))
    return Found(program, *(statistics.median(each) for each in rates.values()))


def _run(program: str, count: int, home: str, far: str) -> float:
    """Return the events a second of so many workers, from when they share the shards until all is checkpointed."""
    ask(home, shared_stream.BEGIN, b"{}")
    with tempfile.TemporaryDirectory(prefix="meridian-workers-") as folder, ExitStack() as stack:
        for number in range(count):
            worker = _worker(program, home, far, Path(folder) / f"{number}.log")
            worker.start()
            stack.callback(worker.kill)
        _wait(lambda: _shared(home, program, count))
        ask(home, shared_stream.GO, b"{}")
        _wait(lambda: _state(home)["took"])
        return SHARDS * _PAGES[program] * shared_stream.PAGE / float(_state(home)["took"])


def _worker(program: str, home: str, far: str, log: Path) -> Process:
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
        "MERIDIAN_REGION": EAST,
        "MERIDIAN_PEERS": WEST if program == "replicator" else "",
        "MERIDIAN_ENDPOINTS": f"{EAST}={home},{WEST}={far}",
        "MERIDIAN_PROJECTIONS": "benchmarks.folding:Place",
        "MERIDIAN_READ_TIMEOUT": "30",
        "MERIDIAN_SHARD_LEASE": "3",
    }
    line = [sys.executable, "-c", f"from replicator.cli.entrypoints import {program}; {program}()", "run"]
    return Process(program, line, environment, log)


def _shared(home: str, program: str, count: int) -> bool:
    """Return whether so many workers hold the shards, each as many."""
    owners = Counter(_state(home)["owners"][_READERS[program]])
    return None not in owners and sorted(owners.values()) == [SHARDS // count] * count


def _state(home: str) -> Any:
    return json.loads(ask(home, shared_stream.STATE, b"{}"))


def _wait(happened: Callable[[], Any]) -> None:
    end = time.monotonic() + _SECONDS
    while not happened():
        if time.monotonic() > end:
            raise MeridianError(f"not done within {_SECONDS:.0f} s")
        time.sleep(0.05)


if __name__ == "__main__":
    app()
