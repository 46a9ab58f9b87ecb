"""Fleet that copies one region's events to one peer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import structlog

from chaos.fleet.event_source_mapping import HOME, PEER, Load, Mapping, Sandbox, begun
from chaos.fleet.metered_table import Bill, MeteredTable
from chaos.fleet.partitions import Partitions
from chaos.fleet.virtual_time import VirtualPool, VirtualTime
from replicator.control.backlog import TableBacklog
from replicator.control.memory_control import MemoryControl
from replicator.control.quarantine import Quarantine
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.replication.copier import Copier
from replicator.replication.invocation import GAP_SECONDS
from replicator.replication.link import Link
from replicator.replication.link_state import LinkState
from replicator.replication.peer_tables import PeerTables
from replicator.runtime.metrics import Held, embedded

_POOL = 8
"""Threads of a function's pool."""


@dataclass(slots=True)
class Copied:
    """Result of a run: what the tables billed, the simulated seconds, and the events that the peer lacks."""

    events: int
    peer: Bill
    home: Bill
    seconds: float
    lost: int
    longest: float
    """Seconds of the longest invocation."""
    busy: float = 0.0
    """Seconds of all invocations."""
    invocations: int = 0
    log_bytes: int = 0
    """Bytes of metrics."""


class CopyFleet:
    """World of one run: `round_trip` seconds to the peer, `patience` of a copier as GAP_SECONDS. `limits` makes the peer's
    partitions and those of its index of lanes, for a clock; without it they have no limit."""

    def __init__(
        self, load: Load, round_trip: float = 0.08, patience: float = GAP_SECONDS,
        limits: Callable[[Callable[[], float]], tuple[Partitions, Partitions]] | None = None,
    ) -> None:  # fmt: skip
        self._load = load
        self._patience = patience
        self._time = VirtualTime()
        self._at_home, self._at_peer = MemoryStorage(), MemoryStorage()
        self._home = MeteredTable(self._at_home, self._time, 0.005)
        partitions, index = limits(self._time.now) if limits is not None else (None, None)
        self._peer = MeteredTable(self._at_peer, self._time, round_trip, partitions, index=index)
        self._control = MemoryControl()
        self._logged = 0
        for storage in (self._at_home, self._at_peer):
            storage.insert_each(begun(load.lanes))

    def run(self) -> Copied:
        """Copy the load, and then what was put on the backlog on the way. Raises what a sandbox raised."""
        mapping = Mapping(self._load, self._time, self._sandbox)
        mapping.run(self._at_home)
        self._time.spawn(partial(self._drain, self._link()))
        found = self._found(self._time.run())
        return replace(found, longest=mapping.longest, busy=mapping.busy, invocations=mapping.invocations)

    def _drain(self, link: Link) -> None:
        while any(self._control.get_all(f"backlog#{link.name}", 1)):
            link.drain(lambda: True)
            self._time.sleep(1.0)

    def _found(self, seconds: float) -> Copied:
        here, there = (sum(last for _, last in storage.lanes()) for storage in (self._at_home, self._at_peer))
        return Copied(
            self._load.events, self._peer.bill, self._home.bill, seconds, here - there, 0.0, log_bytes=self._logged
        )

    def catch_up(self) -> Copied:
        """Append the load at home while the peer is away, put it on the backlog, and let one cold sandbox drain that."""
        before = dict(self._at_home.lanes())
        Mapping(replace(self._load, rate=1e9), VirtualTime(), lambda: lambda events: ()).run(self._at_home)
        link = self._link()
        link.defer_lanes({lane: (before[lane] + 1, last) for lane, last in self._at_home.lanes() if last > before[lane]})
        self._time.spawn(lambda: link.drain(lambda: True))
        return self._found(self._time.run())

    def _sandbox(self) -> Sandbox:
        return self._link().deliver

    def _link(self) -> Link:
        """Return the link of a cold sandbox: it remembers nothing."""
        name, log = f"{HOME}>{PEER}", structlog.get_logger()
        pool: Any = VirtualPool(self._time, _POOL)
        quarantine, time = Quarantine(self._control, name), self._time
        copier = Copier(self._home, self._peer, quarantine, pool, LinkState(), log, time.now, time.sleep, self._patience)
        backlog = TableBacklog(self._control, name, time.wall)
        peers = PeerTables(self._control, time.wall, owner=name)
        return Link(HOME, PEER, copier, backlog, peers, Held(self._emit, monotonic=time.now), time.wall)

    def _emit(self, dimensions: Any, values: Any) -> None:
        self._logged += len(embedded(dimensions, values)) + 1
