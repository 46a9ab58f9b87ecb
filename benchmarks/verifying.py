"""Read units that `replicator verify` takes for two equal regions, against reading every event of both."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.bench import EAST, WEST, Bench
from benchmarks.copying import chunks
from benchmarks.events import Chains
from benchmarks.measure import Of, Pair, Row, Task, at_most
from replicator import Settings
from replicator.aws import clients as aws
from replicator.domain.event import NewEvent
from replicator.domain.names import LaneId
from replicator.eventstore.event_items import to_item
from replicator.ops.audit.comparison import compare
from replicator.ops.audit.read_units import Meter
from replicator.ops.system import System

EVENTS, PER_LANE, SAMPLE = 20_000, 80, 50
TASKS = (
    Task(
        f"verify two equal regions of {EVENTS:,} events",
        "reading both",
        (at_most(Of.COUNT, 0.2),),
        "read units",
    ),
)


def rows(bench: Bench) -> Iterator[Row]:
    task = TASKS[0]
    with bench.regions(EAST, WEST) as settings:
        lanes = _fill(bench, settings)
        first, again = _verified(settings, len(lanes)), _verified(settings, len(lanes))
        whole = _reading(settings, lanes[:SAMPLE]) * len(lanes) / SAMPLE
        note = f"two reads a lane, eventually consistent; {first:,.0f} units without a ledger. {PER_LANE} events a lane"
        yield Row(task, count=Pair(again, whole), note=note)


def _fill(bench: Bench, settings: Settings) -> list[LaneId]:
    """Write the same lanes of both regions to both of them."""
    clients: list[Any] = [aws.dynamodb(settings, region) for region in (EAST, WEST)]
    new = NewEvent("renamed", {"text": "x" * 100})
    lanes: list[LaneId] = []
    for region in (EAST, WEST):
        chains = Chains(region, region[:2], EVENTS // PER_LANE // 2)
        lanes += chains.lanes

        def put(part: Any) -> None:
            for client in clients:
                client.batch_write_item(RequestItems={settings.events_table: part})

        with ThreadPoolExecutor(4) as pool:
            for number in range(PER_LANE):
                items = [{"PutRequest": {"Item": to_item(event)}} for event in chains.grow(new=new)]
                list(pool.map(put, chunks(items, 25)))
                bench.steps(f"filling {region}", number + 1, PER_LANE)
    return lanes


def _verified(settings: Settings, lanes: int) -> float:
    """Return the units that a new process reads."""
    meter = Meter()
    system = System.connect(settings, meter)
    found = compare(system.places, system.sleep, wait=0.5, consistent=False)
    if (found.equal, found.events, found.lanes) != (True, EVENTS, lanes):
        raise RuntimeError(f"the regions are not found equal: {found.events} events in {found.lanes} lanes")
    return meter.units


def _reading(settings: Settings, lanes: list[LaneId]) -> float:
    """Return the units of reading these lanes in both regions."""
    meter = Meter()
    for place in System.connect(settings, meter).places.values():
        for lane in lanes:
            if sum(1 for _ in place.storage.read(lane)) != PER_LANE:
                raise RuntimeError(f"lane {lane} is not whole")
    return meter.units
