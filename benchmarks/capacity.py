"""Write units that a link takes for an event of just under 1 KB: at the peer, and in the own region's control table.

Counted by a proxy in front of each region from the requests sent, in a steady state: the peer holds every lane's beginning
already, and the stream's batches are full.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from benchmarks.bench import EAST, WEST, Bench
from benchmarks.copying import chunks
from benchmarks.counting import UNIT_BYTES, Requests, counting
from benchmarks.events import Chains
from benchmarks.measure import Of, Pair, Row, Task, at_most
from replicator import Settings
from replicator.aws import clients
from replicator.aws.control_table import DynamoControl
from replicator.connect import connect_replicator
from replicator.control.backlog import TableBacklog
from replicator.domain.event import Event, NewEvent, size_of
from replicator.eventstore.event_items import to_item

EVENTS, LANES = 5000, 1000
_SECONDS = 120.0
TASK = Task(
    "write capacity of a copied 1 KB event", "1 write unit: the floor", (at_most(Of.COUNT, 1.02),), "write units an event"
)
TASKS = (TASK,)


def rows(bench: Bench) -> Iterator[Row]:
    with bench.regions(EAST, WEST) as settings, ExitStack() as stack:
        home, peer = (stack.enter_context(counting(settings.endpoint(region) or "")) for region in (EAST, WEST))
        chains = Chains(EAST, "k", LANES)
        new = _just_under(chains.grow()[0])  # these first events serve as samples only
        chains = Chains(EAST, "k", LANES)
        inside = replace(settings, endpoints={EAST: home.url, WEST: peer.url})
        _put(settings, chains.grow(new=new))
        _run(bench, settings, inside, LANES, "teaching the link")
        _put(settings, chains.grow(EVENTS // LANES, new=new))
        home.clear()
        peer.clear()
        _run(bench, settings, inside, EVENTS, TASK.work)
        yield _row(settings, home, peer)


def _row(settings: Settings, home: Requests, peer: Requests) -> Row:
    there, control = peer.units.total() / EVENTS, home.units[settings.control_table] / EVENTS
    note = f"{there:.4f} at the peer, {control:.4f} in the control table, over {EVENTS:,} events"
    return Row(TASK, count=Pair(there + control, 1.0), note=note)


def _just_under(sample: Event) -> NewEvent:
    """Return an event whose item is as close to a write unit as is safe, later in its lane too."""
    spare = UNIT_BYTES - size_of(sample) + len(sample.payload_text) - len('{"text":""}') - 40
    return NewEvent(sample.type, {"text": "x" * spare})


def _put(settings: Settings, events: list[Event]) -> None:
    client = clients.dynamodb(settings, EAST)
    for part in chunks(events, 25):
        puts: list[Any] = [{"PutRequest": {"Item": to_item(event)}} for event in part]
        client.batch_write_item(RequestItems={settings.events_table: puts})


def _run(bench: Bench, settings: Settings, inside: Settings, events: int, name: str) -> None:
    """Run a replicator until it has copied these events and its backlog is empty: without a checkpoint it compares every
    lane with the peer, which is no part of the steady state."""
    replicator, stop = connect_replicator(inside), threading.Event()
    backlog = TableBacklog(DynamoControl(settings), f"{EAST}>{WEST}")
    thread = threading.Thread(target=replicator.run, args=(stop,), daemon=True)
    state, end = replicator.links[0].state, time.monotonic() + _SECONDS
    thread.start()
    try:
        while (state.copied < events or backlog.page(1)) and time.monotonic() < end and thread.is_alive():
            bench.steps(name, state.copied, events)
            time.sleep(0.1)
    finally:
        stop.set()
        thread.join()
    if (state.copied, state.deferred) != (events, 0):
        raise RuntimeError(f"{state.copied} of {events} events were copied in {_SECONDS:.0f} s, {state.deferred} deferred")
