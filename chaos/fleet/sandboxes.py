"""Fleet of sandboxes that copy one region's events to one peer, as Lambda's event source mapping drives them.

A mapping gives each shard's records out in batches: one batch of a shard at a time, or as many as the parallelization factor
says. Then the order is kept for each item key only, and each event has its own: concurrent batches share a lane's events.
Any sandbox may get any batch; each has a memory of its own, and is replaced after some time. Source: AWS,
"Lambda parameters for Amazon DynamoDB event source mappings" and "Lambda execution environment lifecycle" (developer guide).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from zlib import crc32

import structlog

from chaos.fleet.metered_table import Bill, MeteredTable
from chaos.fleet.virtual_time import VirtualPool, VirtualTime
from replicator.control.backlog import TableBacklog
from replicator.control.memory_control import MemoryControl
from replicator.control.quarantine import Quarantine
from replicator.domain.clock import Hlc
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.replication.copier import Copier
from replicator.replication.invocation import GAP_SECONDS
from replicator.replication.link import Link
from replicator.replication.link_state import LinkState
from replicator.replication.peer_tables import PeerTables

HOME, PEER = "us-east-1", "eu-west-1"
_POLL_SECONDS = 0.25
"""Seconds between two polls of an idle shard: four a second."""
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """Parameters of a run: how much is written where, and what copies it.

    `rate` is in events a second, for all lanes together; `round_trip` to the peer and `at_home` are in seconds; a sandbox is
    replaced by a new one after `life` batches.
    """

    lanes: int
    events: int
    sandboxes: int = 8
    shards: int = 4
    parallelization: int = 1
    batch: int = 20
    rate: float = 1000.0
    round_trip: float = 0.08
    at_home: float = 0.005
    life: int = 200
    patience: float = GAP_SECONDS
    seed: int = 1


@dataclass(slots=True)
class Outcome:
    """Result of a run: what the peer's and the home table billed, and the simulated seconds that it took."""

    load: Load
    peer: Bill
    home: Bill
    seconds: float
    lost: int
    """Events that are at home and not at the peer."""
    latencies: list[float] = field(default_factory=list)


class _Shard:
    """Records of a shard that one batch at a time is made of: those of one part of its item keys."""

    def __init__(self) -> None:
        self.records: deque[tuple[float, Event]] = deque()

    def batch(self, size: int, now: float) -> list[Event]:
        found: list[Event] = []
        while self.records and len(found) < size and self.records[0][0] <= now:
            found.append(self.records.popleft()[1])
        return found


class Fleet:
    """World of one run."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.time = VirtualTime()
        self.random = random.Random(load.seed)
        self.at_home, self.at_peer = MemoryStorage(), MemoryStorage()
        self.home = MeteredTable(self.at_home, self.time, load.at_home)
        self.peer = MeteredTable(self.at_peer, self.time, load.round_trip)
        self.control = MemoryControl()
        self.idle = [self.sandbox() for _ in range(load.sandboxes)]
        self.born: dict[int, int] = {}
        self.latencies: list[float] = []

    def sandbox(self) -> Link:
        """Return a cold sandbox's link: it remembers nothing."""
        name = f"{HOME}>{PEER}"
        log = structlog.get_logger()
        pool: Any = VirtualPool(self.time, 8)
        load = self.load
        copier = Copier(
            self.home,
            self.peer,
            Quarantine(self.control, name),
            pool,
            LinkState(),
            log,
            self.time.now,
            self.time.sleep,
            load.patience,
        )
        backlog = TableBacklog(self.control, name, self.time.wall)
        peers = PeerTables(self.control, self.time.wall, owner=name)
        return Link(HOME, PEER, copier, backlog, peers, _nowhere, self.time.wall)

    def write(self) -> list[_Shard]:
        """Append the load at home, at its rate. Returns the records, by shard and by the batches that they may be in."""
        load = self.load
        parts = [[_Shard() for _ in range(load.parallelization)] for _ in range(load.shards)]
        ends: dict[LaneId, Event] = {}
        lanes = [LaneId(HOME, StreamId("account", f"a{number}")) for number in range(load.lanes)]
        for lane in lanes:  # every lane exists already, here and there
            ends[lane] = _next(lane, None)
            self.at_home.insert_each([ends[lane]])
            self.at_peer.insert_each([ends[lane]])
        at = 0.0
        for _ in range(load.events):
            at += self.random.expovariate(load.rate)
            lane = self.random.choice(lanes)
            event = ends[lane] = _next(lane, ends[lane])
            self.at_home.insert_each([event])
            shard = parts[crc32(lane.key.encode()) % load.shards]
            shard[crc32(event.id.encode()) % load.parallelization].records.append((at, event))
        return [each for shard in parts for each in shard]

    def run(self) -> Outcome:
        """Copy the load. Raises what a sandbox raised."""
        for shard in self.write():
            self.time.spawn(partial(self._poll, shard))
        seconds = self.time.run()
        lost = sum(len(events) for events in self.at_home._lanes.values()) - sum(
            len(events) for events in self.at_peer._lanes.values()
        )
        return Outcome(self.load, self.peer.bill, self.home.bill, seconds, lost, self.latencies)

    def _poll(self, shard: _Shard) -> None:
        """Event source mapping of one part of a shard."""
        while shard.records:
            if not (events := shard.batch(self.load.batch, self.time.now())):
                self.time.sleep(_POLL_SECONDS)
                continue
            while events:
                events = self._invoke(events)
                if events:
                    self.time.sleep(_RETRY_SECONDS)

    def _invoke(self, events: Sequence[Event]) -> list[Event]:
        """Give a batch to a sandbox. Returns the events that the mapping has to deliver again."""
        while not self.idle:
            self.time.sleep(0.01)
        link = self.idle.pop(self.random.randrange(len(self.idle)))
        lost = link.deliver(events)
        self.born[id(link)] = self.born.get(id(link), 0) + 1
        if self.born[id(link)] >= self.load.life:
            del self.born[id(link)]
            link = self.sandbox()
        self.idle.append(link)
        return lost


def _next(lane: LaneId, last: Event | None) -> Event:
    """Return an event of about 400 bytes behind `last`."""
    sequence, prev = (last.sequence + 1, last.digest) if last is not None else (1, GENESIS)
    payload = {"amount": sequence, "note": "x" * 120}
    return seal(lane, sequence, Hlc(1_700_000_000_000 + sequence, 0), NewEvent("posted", payload), EMPTY, prev)


def _nowhere(dimensions: Any, values: Any) -> None:
    """Emit no metric."""
