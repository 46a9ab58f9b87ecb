"""A run that keeps every promise, made with real stores and a real engine in memory: to be broken, one promise at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from chaos.checker.final_reads import kept_of
from chaos.checker.history import Call, Final, History, Kept, KeptView, Outcome
from chaos.workload import model
from chaos.workload.client import Client
from projectors.engine.engine import Engine
from projectors.engine.memory_sink import MemorySink
from projectors.reads.queries import Query
from replicator.claims import Claim, OptimisticClaims, Release
from replicator.domain.clock import HybridLogicalClock
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import StreamId
from replicator.eventstore.appender import Write
from replicator.eventstore.event_items import to_item
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.store import EventStore
from replicator.eventstore.store_errors import OutcomeUnknown

EAST, WEST, SOUTH = "us-east-1", "eu-west-1", "ap-southeast-2"
REGIONS = (EAST, WEST, SOUTH)


@dataclass
class Run:
    """Three regions, the sessions that wrote, and what both came to."""

    now: float = 1_763_914_981.0
    tables: dict[str, MemoryStorage] = field(default_factory=lambda: {region: MemoryStorage() for region in REGIONS})
    clients: dict[str, Client] = field(default_factory=dict)
    finals: dict[str, Final] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.history = History(lambda: self.now)
        self.stores = {
            region: EventStore(table, region, REGIONS, HybridLogicalClock(lambda: int(self.now * 1000)))
            for region, table in self.tables.items()
        }
        self._ids = 0

    def client(self, process: str, region: str) -> Client:
        """What a process knows, wherever it calls."""
        client = self.clients.setdefault(process, Client(process, region, self.history))
        client.region = region
        return client

    def write(self, process: str, region: str, *changes: tuple[str, NewEvent], outcome: Outcome = Outcome.OK) -> Call:
        """One transaction of a process."""

        def append(writes: list[Write]) -> Sequence[Event]:
            events = self.stores[region].append_all(writes)
            if outcome is Outcome.UNKNOWN:
                raise OutcomeUnknown("no answer", events)
            return events

        self.now += 0.01
        return self.client(process, region).write([(StreamId.parse(each), new) for each, new in changes], append)

    def id(self) -> str:
        self._ids += 1
        return f"c{self._ids}"

    def add(self, process: str, region: str, stream: str, n: int, **how: Any) -> Call:
        return self.write(process, region, (stream, model.added(self.id(), n)), **how)

    def join(self, process: str, region: str, stream: str, who: str) -> Call:
        return self.write(process, region, (stream, model.joined(self.id(), who)))

    def leave(self, process: str, region: str, stream: str, who: str) -> Call:
        return self.write(process, region, (stream, model.left(self.id(), who)))

    def name(self, process: str, region: str, stream: str, to: str) -> Call:
        return self.write(process, region, (stream, model.named(self.id(), to)))

    def read(self, process: str, region: str, stream: str) -> Call:
        query = Query(model.Thing, self.stores[region], MemorySink())
        return self.client(process, region).read(StreamId.parse(stream), query)

    def claim(self, process: str, name: str, release: bool = False) -> Call:
        """Claims at home in EAST."""
        owner, claims = f"user/{process}", OptimisticClaims(self.stores[EAST])
        value = {"id": self.id(), "stream": name, "owner": owner}
        wanted = Release(name, owner) if release else Claim(name, owner)
        called = "release" if release else "claim"
        return self.client(process, EAST).save(called, value, lambda: claims.save([wanted]))

    def copy(self) -> None:
        for home, table in self.tables.items():
            for lane, last in list(table.lanes()):
                for peer in self.tables.values() if lane.region == home else ():
                    peer.insert_each(list(table.read(lane, 1, last)))

    def end(self) -> Run:
        """Copy everything everywhere, and read it."""
        self.copy()
        for region, table in self.tables.items():
            events = [event for lane, last in table.lanes() for event in table.read(lane, 1, last)]
            sink = MemorySink()
            engine = Engine([model.Thing], self.stores[region], sink)
            engine.apply([event for event in events if event.stream.type == model.TYPE])
            views = {
                view.key: KeptView(dict(view.vector.items()), view.value, f"{view.vector}{view.state_text}{view.value_text}")
                for view in sink.views("thing", 1)
            }
            final = Final([kept_of(to_item(event)) for event in events], views)
            for stream in {kept.stream for kept in final.events if kept.stream.startswith("seat/")}:
                owner = OptimisticClaims(self.stores[region]).owner(stream).owner
                final.owners[stream] = str(owner) if owner else None
            self.finals[region] = final
        return self

    def alter(self, region: str, at: Kept, **changes: Any) -> None:
        """Change an event that a region holds."""
        events = self.finals[region].events
        events[events.index(at)] = replace(at, **changes)

    def view(self, region: str, stream: str, **changes: Any) -> None:
        """Change a value that a region's view holds."""
        view = self.finals[region].views[stream]
        value: Mapping[str, Any] = {**view.value, **changes}
        self.finals[region].views[stream] = replace(view, value=value)


def good_run() -> Run:
    """Three sessions in three regions on two things and a seat."""
    run = Run()
    run.join("a", EAST, "thing/1", "homer")
    run.add("a", EAST, "thing/1", 3)
    run.name("a", EAST, "thing/1", "spade")
    run.read("a", EAST, "thing/1")
    run.copy()
    run.read("b", WEST, "thing/1")
    run.leave("b", WEST, "thing/1", "homer")
    run.name("b", WEST, "thing/1", "shovel")
    run.join("c", SOUTH, "thing/1", "marge")
    run.name("c", SOUTH, "thing/1", "fork")
    run.write("a", EAST, ("thing/1", model.added("t1", 1)), ("thing/2", model.added("t2", -1)))
    run.add("c", SOUTH, "thing/2", 5, outcome=Outcome.UNKNOWN)
    run.copy()
    run.read("a", EAST, "thing/1")
    run.claim("a", "seat/1")
    run.claim("b", "seat/1")
    run.claim("a", "seat/1", release=True)
    run.claim("b", "seat/1")
    return run.end()
