"""Whole replicator over a stream that is generated as it is read: the worker's reader, tickets, link, queue and copier, and
a peer that is reached over HTTP (benchmarks/peer.py)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

from replicator.aws.dynamodb_streams import DynamoStreamReader
from replicator.connect import connect_link
from replicator.control.backlog import TableBacklog
from replicator.control.memory_control import MemoryControl
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.replication.batch_reader import Batch
from replicator.replication.refusals import Refusals
from replicator.replication.worker import LinkThread, Replicator
from replicator.runtime.metrics import log_metrics
from replicator.runtime.settings import Settings

Take = Callable[[], Sequence[dict[str, Any]]]
"""Function that returns the records since its last call: a batch, fewer, or none."""


class MadeUp:
    """Stand-in for a DynamoStreamReader that reads from a function. `done` is the number of checkpointed records."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._given = 0
        self.done = 0

    def session(self) -> AbstractContextManager[None]:
        return nullcontext()

    def poll(self) -> list[Batch]:
        records = self._take()
        if not records:
            return []
        self._given += len(records)
        return [Batch("shard", tuple(records), str(self._given))]

    def commit(self, batch: Batch) -> None:
        self.done = int(batch.position or 0)


def run(settings: Settings, take: Take, events: int, seconds: float) -> Replicator:
    """Run a replicator of the settings' region to its peers until it has done `events` events. Raises RuntimeError when that
    takes longer than `seconds`, or when any of them was not copied at once."""
    reader, stop = MadeUp(take), threading.Event()
    control, home = MemoryControl(), MemoryStorage()

    def link(peer: str) -> LinkThread:
        backlog, pool = TableBacklog(control, f"{settings.region}>{peer}"), ThreadPoolExecutor(4)
        policy = connect_link(settings, peer, home, control, backlog, pool, log_metrics)
        return LinkThread(policy, patience=seconds)  # a stream that waits loses nothing, and reading a backlog would

    links = [link(peer) for peer in settings.peers]
    refusals = Refusals(settings.region, control, (), log_metrics)
    replicator = Replicator(settings.region, cast(DynamoStreamReader, reader), home, links, refusals, settings.poll_interval)
    thread = threading.Thread(target=replicator.run, args=(stop,), daemon=True)
    end = time.monotonic() + seconds
    thread.start()
    try:
        while reader.done < events and thread.is_alive() and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        stop.set()
        thread.join()
    copied = [link.state.copied for link in links]
    if copied != [events] * len(links):
        raise RuntimeError(f"{copied} events of {events} were copied within {seconds:.0f} s")
    return replicator
