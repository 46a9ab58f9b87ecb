"""Appends that wait for a copy, beside plain ones: `python -m benchmarks.durability [--rounds N] [--json FILE]`.

The region is an emulator; its peers answer after 20 and 80 ms. What an append with `copies=2` takes beyond a plain one is
given in round trips to the nearest peer. Then three emulators and a replicator: the write units of an event at a peer.
"""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.bench import EAST, WEST
from benchmarks.counting import counting
from benchmarks.events import NEW
from benchmarks.peer import peer
from chaos.world.world import World, WorldOptions
from replicator import Event, EventStore
from replicator.cli.console import out
from replicator.connect import connect_replicator, connect_store
from replicator.runtime import logs

SOUTH = "ap-southeast-2"
NEAR_MS, FAR_MS = 20.0, 80.0
APPENDS, PAUSE = 200, 0.02
GOALS = {"p50": 1.2, "p99": 1.6}
"""Round trips beyond a plain append."""
UNITS = 1.02
"""Write units of an event at a peer, of those without copies."""

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Times:
    """Milliseconds of plain appends and of those that wait for a copy."""

    threads: int
    plain: dict[str, float]
    copied: dict[str, float]

    @property
    def trips(self) -> dict[str, float]:
        """Round trips beyond a plain append."""
        return {name: (self.copied[name] - self.plain[name]) / NEAR_MS for name in GOALS}


@app.command()
def durability(
    rounds: Annotated[int, typer.Option(help="How often each side is measured, alternately.")] = 5,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure appends that wait for a copy. Exits with 1 when a goal is missed."""
    logs.configure_logs("error")
    found = [times(threads, rounds) for threads in (1, 8)]
    for each in found:
        for name, goal in GOALS.items():
            out.print(
                f"copies=2, {each.threads} at once, {name}: {each.copied[name]:.1f} ms, plain {each.plain[name]:.1f} ms: "
                f"{each.trips[name]:.2f} round trips (goal {goal})"
            )
    plain, copied = units(1), units(2)
    out.print(
        f"write units of an event at a peer: {copied:.3f} with copies=2, {plain:.3f} without: "
        f"{copied / plain:.3f}x (goal {UNITS})"
    )
    if json_file is not None:
        json_file.write_text(
            json.dumps({"times": [asdict(each) for each in found], "units": [plain, copied]}, indent=2) + "\n"
        )
    missed = copied / plain > UNITS or any(each.trips[name] > goal for each in found for name, goal in GOALS.items())
    raise typer.Exit(int(missed))


def times(threads: int, rounds: int) -> Times:
    """Return the medians over the rounds of each percentile."""
    taken: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    with (
        World([EAST], options=WorldOptions(workers=False, read_timeout=60.0)) as world,
        peer(NEAR_MS) as near,
        peer(FAR_MS) as far,
    ):
        own = world.settings(EAST)
        settings = replace(own, peers=(WEST, SOUTH), endpoints={**own.endpoints, WEST: near, SOUTH: far})
        store = connect_store(settings)
        for copies in taken:
            _append(store, copies, threads, 20)  # connections, heads, response times
        for _ in range(rounds):
            for copies, found in taken.items():
                cuts = statistics.quantiles(_append(store, copies, threads, APPENDS), n=100)
                found.append({"p50": cuts[49], "p99": cuts[98]})
    plain, copied = ({name: statistics.median(each[name] for each in found) for name in GOALS} for found in taken.values())
    return Times(threads, plain, copied)


def _append(store: EventStore, copies: int, threads: int, many: int) -> list[float]:
    """Append at a steady pace, each thread to a stream of its own. Returns the milliseconds of each."""

    def write(thread: int) -> list[float]:
        found = []
        for _ in range(many):
            began = time.perf_counter()
            store.append(f"user/{copies}-{thread}", NEW, copies=copies)
            found.append(1000 * (time.perf_counter() - began))
            time.sleep(PAUSE)
        return found

    with ThreadPoolExecutor(threads) as pool:
        return [taken for found in pool.map(write, range(threads)) for taken in found]


def units(copies: int) -> float:
    """Return the write units of an event at a peer: by its writer, and by the replicator behind it."""
    with World([EAST, WEST, SOUTH], options=WorldOptions(workers=False, read_timeout=60.0)) as world:
        settings = world.settings(EAST)
        with counting(str(settings.endpoint(WEST))) as west, counting(str(settings.endpoint(SOUTH))) as south:
            counted = replace(settings, endpoints={**settings.endpoints, WEST: west.url, SOUTH: south.url}, heartbeat=0)
            stop = threading.Event()
            thread = threading.Thread(target=connect_replicator(counted).run, args=(stop,))
            thread.start()
            try:
                store = connect_store(counted)
                events: list[Event] = []
                for n in range(APPENDS):  # slowly: runs of a lane would go as transactions, at two units an event
                    events += store.append(f"user/{n % 20}", NEW, copies=copies)
                    time.sleep(PAUSE)
                peers = [world.store(name) for name in (WEST, SOUTH)]
                _wait(
                    lambda: all(sum(1 for n in range(20) for _ in each.read(f"user/{n}")) == len(events) for each in peers)
                )
                time.sleep(3)  # the replicator has had the records of them all
            finally:
                stop.set()
                thread.join()
            table = settings.events_table
            return float(west.units[table] + south.units[table]) / 2 / len(events)


def _wait(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not done():
        if time.monotonic() > end:
            raise RuntimeError("the peers did not get the events within two minutes")
        time.sleep(0.2)


if __name__ == "__main__":
    app()
