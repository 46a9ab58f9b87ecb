"""A region's projector in memory: table, sinks, backlogs and clocks, driven by a worker or by a function's invocations."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from projectors import Engine, MemorySink, Projection, counter, register
from projectors.engine.sink import Change
from projectors.model.view import View, ViewKey
from projectors.run.feed import Feed
from projectors.run.invocation import Inbound
from projectors.run.projector import LOOK_SECONDS, Projector
from projectors.run.view_quarantine import Poison
from projectors.run.worker import ProjectorWorker
from replicator import Event, EventStore, HybridLogicalClock, MemoryStorage, NewEvent, RegionUnavailable
from replicator.aws.sqs import QueueBacklog
from replicator.control.backlog import Backlog, TableBacklog
from replicator.control.pointers import Pointers, join
from replicator.control.quarantine import Quarantine
from replicator.domain.errors import DamagedEvent, InvalidConfig
from replicator.domain.names import LaneId, StreamId
from replicator.erasure import PersonalData
from replicator.replication.batch_reader import Batch
from replicator.replication.lambda_batches import BatchFailed
from replicator.replication.refusals import Refusals
from tests.replicator.links import ALL_IS_WELL, BACKLOGS, EAST, WEST, Control, Queue, record

VIEWS = f"{EAST}>views"
SECRET = "4929 1234 horse"
SECOND = "postgresql://host/db"
WAYS = [(driver, kind) for driver in ("worker", "function") for kind in BACKLOGS]


class Member(Projection):
    """Does not know that a member may have no name, and says what it has seen."""

    name, stream_type = "member", "member"
    called = register(joined=lambda p: p["name"])
    visits = counter(visited=lambda p: 1)
    paid = counter(paid=lambda p: int(p["sum"]))


class Mended(Projection):
    name, stream_type = "member", "member"
    called = register(joined=lambda p: p.get("name", "nobody"))
    visits = counter(visited=lambda p: 1)
    paid = counter(paid=lambda p: 0)


class Visits(Projection):
    name, stream_type = "visits", "member"
    visits = counter(visited=lambda p: 1)


def lane(stream: str, region: str = EAST) -> LaneId:
    return LaneId(region, StreamId("member", stream))


def batch(*events: Event) -> list[dict[str, Any]]:
    return [record(event, number=number) for number, event in enumerate(events, 1)]


class Table(MemoryStorage):
    """An events table that can hold damaged events: in a lane, from this sequence on."""

    def __init__(self) -> None:
        super().__init__()
        self.damaged: dict[LaneId, int] = {}

    def read(self, lane: LaneId, *args: Any, **options: Any) -> Iterator[Event]:
        for event in super().read(lane, *args, **options):
            if event.sequence >= self.damaged.get(lane, event.sequence + 1):
                raise DamagedEvent(f"event {event.id} does not match its digest")
            yield event


class Sink(MemorySink):
    """`error` at every call, `faults` one a save; views that are damaged. `asked` counts loads."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.faults: Iterator[str] = iter(())
        self.damaged: set[ViewKey] = set()
        self.saves = self.asked = 0

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if found := self.damaged & set(keys):
            raise DamagedEvent(f"view {found} does not match its digest; rebuild it from the events")
        return super().load(keys)

    def save(self, changes: Sequence[Change]) -> list[bool]:
        self.saves += 1
        fault = next(self.faults, "fine")
        if self.error is not None or fault == "before":
            raise self.error or RegionUnavailable("crashed before the save")
        saved = super().save(changes)
        if fault == "after":
            raise RegionUnavailable("crashed after the save, nobody was told")
        return saved


class Reader:
    """Batches that are given to it once, and those that were committed."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.committed: list[Batch] = []

    def session(self) -> AbstractContextManager[None]:
        return nullcontext()

    def poll(self) -> list[Batch]:
        batches, self.batches = self.batches, []
        return batches

    def commit(self, batch: Batch) -> None:
        self.committed.append(batch)


@dataclass
class Bench:
    """A region with its views; `west` writes events whose copies arrive here. `at` is the monotonic clock, `now` the wall
    clock. `second` is a secondary sink, fed where `sinks` is 2."""

    driver: str = "function"
    kind: str = "queue"
    projections: Sequence[type[Projection]] = (Member, Visits)
    sinks: int = 1
    partial: bool = True
    regions: tuple[str, ...] = (EAST, WEST)
    personal: PersonalData | None = None
    now: int = 1_800_000_000_000
    at: float = 0.0
    table: Table = field(default_factory=Table)
    sink: Sink = field(default_factory=Sink)
    second: Sink = field(default_factory=Sink)
    control: Control = field(default_factory=Control)
    queue: Queue = field(default_factory=Queue)
    letters: Queue = field(default_factory=Queue)
    told: list[tuple[dict[str, str], dict[str, float]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        clock = HybridLogicalClock(lambda: 1_799_999_990_000)
        self.east = EventStore(self.table, EAST, self.regions, clock)
        self.west = EventStore(MemoryStorage(), WEST, self.regions, clock)
        self.quarantine = Quarantine(self.control, VIEWS)
        self.restart()

    def backlog(self, link: str = VIEWS) -> Backlog:
        if self.kind == "queue":
            return QueueBacklog(link, self.queue)  # type: ignore[arg-type]
        return TableBacklog(self.control, link, lambda: self.now)

    def restart(self, *projections: type[Projection]) -> None:
        """Another process, or another sandbox, perhaps with other code."""
        self.projections = projections or self.projections

        def emit(dimensions: Mapping[str, str], values: Mapping[str, float]) -> None:
            self.told.append((dict(dimensions), dict(values)))

        self.store = EventStore(self.table, EAST, self.regions)
        function = self.driver == "function"

        def engine(sink: Sink, watch: bool) -> Engine:
            if isinstance(sink.error, InvalidConfig):
                raise sink.error
            return Engine(self.projections, self.store, sink, self.personal, watch=watch)

        monotonic: Callable[[], float] = lambda: self.at  # noqa: E731
        feeds = [Feed(engine(self.sink, True), self.backlog(), "", 0.0 if function else 10.0, monotonic)]
        if self.sinks > 1:
            make = partial(engine, self.second, False)
            feeds.append(Feed(make, self.backlog(f"{VIEWS}>{SECOND}"), SECOND, 10.0, monotonic))
        poison = Poison(self.quarantine, VIEWS, self.letters.send if function else None, lambda: self.now)
        refusals = Refusals(EAST, self.control, [EAST, VIEWS], emit, lambda: self.now)
        self.projector = Projector(self.store, feeds, poison, refusals, wall=lambda: self.now, monotonic=monotonic)
        self.reader = Reader()
        self.inbound = Inbound(self.projector, self.partial)
        self.worker = ProjectorWorker(self.reader, self.projector, 1.0)  # type: ignore[arg-type]

    def append(self, stream: str, *kinds: str, at: str = EAST, **payload: Any) -> list[Event]:
        """Events of these types, here or copied from the other region."""
        news = [NewEvent(kind, {"secret": SECRET, **payload}) for kind in kinds]
        events = (self.east if at == EAST else self.west).append(f"member/{stream}", *news)
        if at != EAST:
            self.table.insert_each(events)
        return list(events)

    def project(self, records: Sequence[Mapping[str, Any]], trimmed: bool = False) -> bool:
        """What the stream has. Whether all of it was taken: folded, or on a backlog."""
        if self.driver == "function":
            try:
                return self.inbound.project(records) == ALL_IS_WELL
            except (BatchFailed, RegionUnavailable):
                return False
        self.reader.batches.append(Batch("shard", tuple(records), "1", trimmed=trimmed))
        before = len(self.reader.committed)
        self.worker.turn()
        taken = len(self.reader.committed) > before
        if not taken:
            self.worker._pending = []  # as a process that is killed here: the stream has them again
        return taken

    def drain(self) -> None:
        """Time for the backlogs, as much as they want."""
        if self.driver == "worker":
            for _ in range(30):
                self.worker.turn()
        elif self.kind == "table":
            self.inbound.catch_up([], lambda: True)
        else:
            self.take(self.queue)

    def take(self, queue: Queue, fits: Callable[[], bool] = lambda: True) -> None:
        """Hand over what is on a queue, as SQS does, or a replay of the dead letters."""
        if messages := queue.messages():
            answer = self.inbound.catch_up(messages, fits)
            kept = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
            for message in messages:
                if message["messageId"] not in kept:
                    queue.done(message["messageId"])

    def idle(self, seconds: float = LOOK_SECONDS) -> None:
        """Time goes by, and nothing happens but what happens by itself."""
        self.at, self.now = self.at + seconds, self.now + int(seconds * 1000)
        if self.driver == "function":
            assert self.inbound.project([]) == ALL_IS_WELL
        self.drain()

    def waiting(self, link: str = VIEWS) -> dict[LaneId, tuple[int, int]]:
        """What is on a backlog."""
        if self.kind == "queue":
            return join(each.lanes for each in self.queue.found() if each.link == link)
        page = TableBacklog(self.control, link).page(10_000)
        return {lane: (value["from"], value["to"]) for lane, value in page.items()}

    def break_backlog(self, error: Exception | None) -> None:
        if self.kind == "queue":
            self.queue.error = error
        else:
            self.control.error = error

    def view(self, stream: str, projection: str = "member", sink: Sink | None = None) -> dict[str, Any] | None:
        key = next(each for each in self.projections if each.name == projection).key(f"member/{stream}")
        view = MemorySink.load(sink or self.sink, [key]).get(key)
        return view.value if view else None

    def digests(self, sink: Sink | None = None) -> dict[ViewKey, bytes]:
        return {view.id: view.digest for p in self.projections for view in (sink or self.sink).views(p.name, p.version)}

    def refused(self) -> list[str]:
        return [key for key, _ in self.quarantine.records()]

    def metric(self, name: str) -> list[float]:
        return [values[name] for _, values in self.told if name in values]

    def said(self) -> str:
        """Everything that leaves the region's tables."""
        return json.dumps([self.told, self.queue.messages(), self.letters.messages(), self.quarantine.records()])

    def letter(self) -> list[Pointers]:
        return self.letters.found()
