"""Fleet of processes that append to streams whose writes check the region's fence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from chaos.fleet.event_source_mapping import HOME, payload
from chaos.fleet.metered_table import Bill, MeteredTable
from chaos.fleet.partitions import Partitions
from chaos.fleet.virtual_time import VirtualTime, virtual_waits
from replicator.control.memory_control import MemoryControl
from replicator.domain.clock import HybridLogicalClock
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import NewEvent
from replicator.eventstore.appender import AppendPolicy
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.store import EventStore
from replicator.fencing.check_in import CheckIn
from replicator.fencing.fence import EVERY_TYPE, Fence

_ROUND_TRIP = 0.003
_PARTITIONS = 16
"""Partitions of the events table, which has grown with its load. The control table has the four of a new one."""


@dataclass(slots=True)
class Appended:
    """Result of a run: what the events table billed, checks included, and the appends that failed."""

    events: int
    bill: Bill
    seconds: float
    failed: int
    conflicts: int
    throttled: int


@dataclass(slots=True)
class AppendFleet:
    """World of one run: `appends` at a mean of `rate` a second, by so many processes with so many threads each. Every
    thread has ten streams of its own."""

    appends: int = 10_000
    rate: float = 2000.0
    processes: int = 25
    threads: int = 8
    seed: int = 1

    def run(self) -> Appended:
        """Append, and wait for each answer. Raises what is no RegionUnavailable."""
        time, random, control = VirtualTime(), Random(self.seed), MemoryControl()
        checks = Partitions(time.now)
        table = MeteredTable(MemoryStorage(control), time, _ROUND_TRIP, Partitions(time.now, _PARTITIONS), checks)
        at, times = 0.0, list[float]()
        for _ in range(self.appends):
            at += random.expovariate(self.rate)
            times.append(at)
        left, failed = iter(enumerate(times)), list[RegionUnavailable]()

        def work(store: EventStore, name: str) -> Callable[[], None]:
            def append() -> None:
                for number, due in left:
                    time.sleep(max(0.0, due - time.now()))
                    try:
                        store.append(f"account/{name}-{number % 10}", NewEvent("posted", payload(number)))
                    except RegionUnavailable as error:
                        failed.append(error)

            return append

        with virtual_waits(time, self.seed):
            for number in range(self.processes):
                store = self._store(time, table, control, Random(f"{self.seed} {number}"))
                for thread in range(self.threads):
                    time.spawn(work(store, f"{number}-{thread}"))
            seconds = time.run()
        return Appended(self.appends, table.bill, seconds, len(failed), checks.conflicts, checks.throttled)

    def _store(self, time: VirtualTime, table: MeteredTable, control: MemoryControl, random: Random) -> EventStore:
        """Return the store of a new process."""
        tables = {"events": table.identity(), "control": control.identity()}
        fence = Fence(
            HOME, control, CheckIn(lambda: tables, lambda lanes: ({}, ())), [EVERY_TYPE],
            wall=time.wall, monotonic=time.now,
        )  # fmt: skip
        fence.pick = random.randrange
        return EventStore(table, HOME, [HOME], HybridLogicalClock(time.wall), appends=AppendPolicy(fence=fence))
