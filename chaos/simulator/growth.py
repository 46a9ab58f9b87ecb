"""Cost of an event, and its time to be everywhere, as regions and streams grow. No faults.

Every process of a world has its turn when its rest is over. A request to a peer takes a tenth of a second, one after the
other; requests within a region take none. A thousand events a second are written, in transactions of 20, one event in each
of 20 streams, by all regions in turn; there are as many events as streams, and ten thousand at least. Lag is not measured in
the first seconds, in which links read what their peers have.
"""

from __future__ import annotations

import gc
import heapq
import resource
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from typing import Any, TypeVar

from rich.table import Table

from chaos.simulator.environment import BEGIN, Options
from chaos.simulator.seeds import pool
from chaos.simulator.simulated_network import Network
from chaos.simulator.simulated_processes import app_of, projector_of, replicator_of
from chaos.simulator.simulated_region import Region
from chaos.simulator.simulated_sessions import stream_of
from chaos.simulator.simulated_time import simulated
from chaos.simulator.simulated_world import World
from chaos.workload import model
from replicator.domain.event import Event
from replicator.eventstore.appender import Write

T = TypeVar("T")
Turn = Callable[[], float]
"""Callable that does the next work. Returns the seconds until its next turn; a negative number: never."""

SIZES = [(regions, 1_000) for regions in (9, 7, 5, 3, 2)] + [(2, 10**power) for power in (5, 4, 2)]
LARGEST = (2, 1_000_000)
REQUEST_SECONDS = 0.1
A_SECOND = 1_000
LEAST_EVENTS = 10_000
CPU_SECONDS = 240.0
"""CPU seconds after which a point is cut short; the table then says how far it came."""
_AT_ONCE = 20
_BEGIN_SECONDS = 3.0
_KEPT_SECONDS = 60.0
_TRIM_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Point:
    """Result for one number of regions and streams. `events` were written of the `wanted`; `cpu` is in microseconds an
    event, all regions' appending, copying and folding together; lags are in simulated seconds from the acknowledgement until
    the event is in every region's table (None: too few events); `megabytes` are what its process grew by."""

    regions: int
    streams: int
    wanted: int
    events: int
    copies: float
    cpu: float
    lag50: float | None
    lag99: float | None
    megabytes: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


class _Ways(Network):
    """Network without faults that counts the requests across it."""

    crossed = 0

    def cross(self, source: str, target: str, do: Callable[[], T]) -> T:
        if source != target:
            self.crossed += 1
        return do()


class _Growing(World):
    """World that records when each event has arrived everywhere."""

    network: _Ways

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.network = _Ways(self.wait)
        self.lags = array("d")
        self._left: dict[bytes, tuple[float, int]] = {}

    @property
    def underway(self) -> int:
        return len(self._left)

    def born(self, event: Event) -> None:
        super().born(event)
        self._left[event.digest] = self.now, len(self.regions) - 1

    def arrived(self, event: Event) -> None:
        super().arrived(event)
        began, left = self._left.pop(event.digest)
        if left > 1:
            self._left[event.digest] = began, left - 1
        elif began > BEGIN + _BEGIN_SECONDS:
            self.lags.append(self.now - began + (self.network.crossed - 0.5) * REQUEST_SECONDS)


def grow(jobs: int, tell: Callable[[int, int], None]) -> list[Point]:
    """Run every point, each in a process of its own. `tell` receives how many are done, of how many."""
    sizes = [LARGEST, *SIZES]
    points: list[Point] = []
    with pool(jobs, one_each=True) as running:
        for future in as_completed([running.submit(point, *size) for size in sizes]):
            points.append(future.result())
            tell(len(points), len(sizes))
    return sorted(points, key=lambda each: (each.regions, each.streams))


def point(regions: int, streams: int) -> Point:
    """Run one point in this process."""
    gc.disable()  # nothing is garbage before the end, and collection would take longer the more there is
    before, wanted = _megabytes(), max(streams, LEAST_EVENTS)
    world = _Growing(Options(regions, streams, sessions=1, page=1_000, queue=20_000))
    with simulated(world):
        began = time.process_time()
        _run(world, wanted, began + CPU_SECONDS)
        spent = time.process_time() - began
    return Point(
        regions, streams, wanted, world.events, world.copies / world.events, spent / world.events * 1e6,
        _quantile(world.lags, 0.5), _quantile(world.lags, 0.99), _megabytes() - before,
    )  # fmt: skip


def _quantile(lags: Sequence[float], part: float) -> float | None:
    return sorted(lags)[int(len(lags) * part)] if lags else None


def _run(world: _Growing, wanted: int, until: float) -> None:
    """Write `wanted` events and bring them everywhere and into every view. None is written after `until`, in CPU seconds."""
    world.begin()
    numbers = count()
    turns: list[tuple[float, int, Turn]] = []
    for each in _turns(world, wanted, until):
        heapq.heappush(turns, (BEGIN, next(numbers), each))
    writing = len(world.regions)
    while writing or world.underway:
        world.now, _, turn = heapq.heappop(turns)
        world.network.crossed = 0
        if (rest := turn()) < 0.0:
            writing -= 1
        else:
            heapq.heappush(turns, (world.now + rest, next(numbers), turn))
    for region in world.regions.values():
        while projector_of(world, region).worker.turn() == 0.0:
            pass


def _turns(world: _Growing, wanted: int, until: float) -> Iterator[Turn]:
    """Yield the turns of writers first, then of all that runs in every region."""
    streams = count()
    for region in world.regions.values():
        yield partial(_write, world, region, streams, wanted, until)
    for region in world.regions.values():
        process = replicator_of(world, region)
        yield process.worker.turn
        yield projector_of(world, region).worker.turn
        for link in process.links.values():
            yield partial(_link, world, link)
        region.stream.kept = _KEPT_SECONDS
        yield partial(_trim, region)


def _write(world: _Growing, region: Region, streams: Iterator[int], wanted: int, until: float) -> float:
    """Write one transaction. Returns the seconds until the next one; a negative number when no more is wanted."""
    if world.events >= wanted or (world.events and time.process_time() > until):
        return -1.0
    numbers = [next(streams) for _ in range(_AT_ONCE)]
    app_of(world, region, 0).store.append_all(
        [Write(stream_of(number % world.options.streams), (model.added(f"{number}", 1),)) for number in numbers]
    )
    return _AT_ONCE * len(world.regions) / A_SECOND


def _link(world: _Growing, link: Any) -> float:
    return max(float(link.turn()), world.network.crossed * REQUEST_SECONDS)


def _trim(region: Region) -> float:
    region.stream.trim()
    return _TRIM_SECONDS


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def table(points: Sequence[Point]) -> Table:
    """Return the points as a table for a terminal."""
    made = Table(title="1,000 events a second, no faults; copies and CPU are of an event", title_justify="left")
    for name in ("regions", "streams", "events", "copies", "CPU µs", "lag p50", "p99", "MB"):
        made.add_column(name, justify="right", no_wrap=name != "events")
    for each in points:
        events = f"{each.events:,}" + (f" of {each.wanted:,}: CPU limit" if each.events < each.wanted else "")
        made.add_row(
            f"{each.regions}", f"{each.streams:,}", events, f"{each.copies:.2f}", f"{each.cpu:,.0f}", _seconds(each.lag50),
            _seconds(each.lag99), f"{each.megabytes:,.0f}",
        )  # fmt: skip
    return made


def _seconds(lag: float | None) -> str:
    return "-" if lag is None else f"{lag:.2f} s"
