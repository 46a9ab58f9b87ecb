"""A region's links in memory: home, peers, backlogs and clocks, driven by threads or by a function's invocations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import structlog
from botocore.exceptions import ClientError

from replicator.aws.sqs import QueueBacklog
from replicator.control.backlog import Backlog, TableBacklog
from replicator.control.memory_control import MemoryControl
from replicator.control.pointers import Pointers, join
from replicator.control.quarantine import Quarantine
from replicator.domain.clock import Hlc
from replicator.domain.errors import DamagedEvent, RegionUnavailable
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.eventstore.event_items import to_item
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.storage import Insert, Position
from replicator.eventstore.store_errors import LaneTaken, OutcomeUnknown
from replicator.replication.copier import Copier
from replicator.replication.invocation import Outbound
from replicator.replication.lambda_batches import BatchFailed
from replicator.replication.link import Link
from replicator.replication.link_state import LinkState
from replicator.replication.peer_tables import PeerTables
from replicator.replication.refusals import Refusals
from replicator.replication.stream_records import read_records
from replicator.replication.worker import LinkThread

EAST, WEST, SOUTH = "us-east-1", "eu-west-1", "ap-southeast-2"
SECRET = "correct horse battery staple"
ALL_IS_WELL: dict[str, list[dict[str, str]]] = {"batchItemFailures": []}
DRIVERS, BACKLOGS = ("thread", "function"), ("table", "queue")


def lane_of(stream: str, region: str = EAST) -> LaneId:
    return LaneId(region, StreamId("user", stream))


def chain(lane: LaneId, count: int, after: Sequence[Event] = (), by: str = "home", nonce: str = "") -> list[Event]:
    """`count` events behind those of `after`; `by` makes another history of the same positions."""
    events = list(after)
    for sequence in range(len(events) + 1, len(events) + count + 1):
        prev = events[-1].digest if events else GENESIS
        new = NewEvent("x", {"by": by, "s": SECRET})
        events.append(seal(lane, sequence, Hlc(1000 + sequence, 0), new, EMPTY, prev, nonce))
    return events[len(after) :]


def everything(storage: MemoryStorage, region: str | None = None) -> dict[LaneId, list[Event]]:
    """By lane, whatever the storage is told to do."""
    return {lane: list(MemoryStorage.read(storage, lane)) for lane, _ in storage.lanes() if region in (None, lane.region)}


def record(event: Event, name: str = "INSERT", number: int = 1, **changed: Any) -> dict[str, Any]:
    item = to_item(event)
    keys = {"pk": item["pk"], "sk": item["sk"]}
    return {"eventName": name, "dynamodb": {"Keys": keys, "NewImage": item, "SequenceNumber": f"{number}00", **changed}}


def batch(events: Sequence[Event]) -> list[dict[str, Any]]:
    return [record(event, number=number) for number, event in enumerate(events, 1)]


def client_error(code: str) -> ClientError:
    answer: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(answer, "BatchExecuteStatement")


ERRORS: dict[str, Exception] = {
    "down": RegionUnavailable("eu-west-1 does not answer"),
    "no table": client_error("ResourceNotFoundException"),
    "no right": client_error("AccessDeniedException"),
    "a mistake": KeyError("Responses"),
}


class Table(MemoryStorage):
    """An events table that does as it is told: `error` at every call, `faults` one a call, lanes throttled or damaged, calls
    held up by `gate`. Its `stream` has whatever was written."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.error: Exception | None = None
        self.faults: Iterator[str] = iter(())
        self.throttled: set[LaneId] = set()
        self.damaged: set[Position] = set()
        self.stream: list[Event] = []
        self.gate = threading.Event()
        self.gate.set()

    def call(self, do: Callable[[], Any] = lambda: None, events: Sequence[Event] = ()) -> Any:
        self.calls += 1
        self.gate.wait()
        if self.error is not None:
            raise self.error
        fault = next(self.faults, "fine")
        if fault in ERRORS:
            raise ERRORS[fault]
        done = do()
        if fault == "unanswered":
            raise RegionUnavailable("no answer")
        if fault == "unknown" and events:
            raise OutcomeUnknown("no answer", events)
        return done

    def insert(self, events: Sequence[Event], guards: Sequence[Any] = ()) -> bool:
        if self.throttled & {event.lane for event in events}:
            raise RegionUnavailable("throttled")
        try:
            added = bool(self.call(lambda: MemoryStorage.insert(self, events), events))
        except LaneTaken:
            self.get({(event.lane, event.sequence) for event in events})  # as DynamoStorage finds out what holds them
            raise
        self.stream += events if added else ()
        return added

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        passing = [event for event in events if event.lane not in self.throttled]
        if events and not passing:
            raise RegionUnavailable("throttled")
        done = self.call(lambda: dict(zip(passing, MemoryStorage.insert_each(self, passing), strict=True)))
        self.stream += [event for event, outcome in done.items() if outcome is Insert.ADDED]
        return [done.get(event, Insert.NOT_NOW) for event in events]

    def get(self, positions: Collection[Position], *, consistent: bool = True) -> Mapping[Position, Event]:
        found: Mapping[Position, Event] = self.call(lambda: MemoryStorage.get(self, positions))
        for lane, sequence in self.damaged & set(positions):
            raise DamagedEvent(f"event {lane}#{sequence} does not match its digest")
        return found

    def read(self, lane: LaneId, *args: Any, **options: Any) -> Iterator[Event]:
        self.call()
        for event in super().read(lane, *args, **options):
            if (lane, event.sequence) in self.damaged:
                raise DamagedEvent(f"event {event.id} does not match its digest")
            yield event

    def identity(self) -> str:
        if self.error is not None:
            raise self.error
        return super().identity()

    def replace(self) -> None:
        """It is another table now, under the same name."""
        self._lanes.clear()
        self._identity = f"another than {self._identity}"


class Control(MemoryControl):
    """The control table. `error` is raised by each write, `errors` by some; `read_error` by each read."""

    error: Exception | None = None
    read_error: Exception | None = None
    errors: Iterator[bool] = iter(())

    def put(self, scope: str, values: dict[str, dict[str, Any]]) -> None:
        if self.error is not None or (scope.startswith("backlog") and next(self.errors, False)):
            raise self.error or RegionUnavailable("now and then")
        super().put(scope, values)

    def get_all(self, scope: str, limit: int | None = None, after: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
        if self.read_error is not None:
            raise self.read_error
        return super().get_all(scope, limit, after)


class Queue:
    """An SQS queue. Messages stay until they are done. `error` is raised by each send, `errors` by some."""

    name = "a queue"

    def __init__(self) -> None:
        self.held: dict[str, tuple[str, int]] = {}
        self.error: Exception | None = None
        self.errors: Iterator[bool] = iter(())
        self._numbers = 0

    def send(self, text: str, delay: int = 0) -> None:
        if self.error is not None or next(self.errors, False):
            raise self.error or RegionUnavailable("now and then")
        self._numbers += 1
        self.held[f"m{self._numbers}"] = (text, delay)

    def take(self) -> Iterator[tuple[str, str]]:
        yield from [(text, receipt) for receipt, (text, _) in self.held.items()]

    def done(self, receipt: str) -> None:
        self.held.pop(receipt, None)

    def found(self) -> list[Pointers]:
        return [Pointers.parse(text) for text, _ in self.held.values()]

    def delays(self) -> list[int]:
        return [delay for _, delay in self.held.values()]

    def messages(self) -> list[dict[str, str]]:
        return [{"messageId": receipt, "body": text} for receipt, (text, _) in self.held.items()]


class Stuck(BaseException):
    """A worker's thread waits for its own region."""


class _Waiting(threading.Event):
    def wait(self, timeout: float | None = None) -> bool:
        raise Stuck


@dataclass
class Region:
    """A region with links to its peers. `driver` and `kind` say who drives them and where their backlogs are; `at` is the
    monotonic clock, `now` the wall clock in milliseconds."""

    driver: str = "function"
    kind: str = "queue"
    name: str = EAST
    tables: dict[str, Table] = field(default_factory=lambda: {name: Table() for name in (EAST, WEST, SOUTH)})
    partial: bool = True
    at: float = 0.0
    now: int = 10_000
    told: list[tuple[dict[str, str], dict[str, float]]] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home, self.control = self.tables[self.name], Control()
        self.peers = {peer: table for peer, table in self.tables.items() if peer != self.name}
        self.queues = {peer: Queue() for peer in self.peers}
        self.pool = ThreadPoolExecutor(2)
        self.restart()

    def emit(self, dimensions: Mapping[str, str], values: Mapping[str, float]) -> None:
        self.told.append((dict(dimensions), dict(values)))

    def backlog(self, peer: str) -> Backlog:
        link = f"{self.name}>{peer}"
        if self.kind == "queue":
            return QueueBacklog(link, self.queues[peer])  # type: ignore[arg-type]
        return TableBacklog(self.control, link, lambda: self.now)

    def quarantine(self, peer: str = WEST) -> Quarantine:
        return Quarantine(self.control, f"{self.name}>{peer}")

    def link(self, peer: str) -> Link:
        log = structlog.get_logger()
        copier = Copier(
            self.home, self.peers[peer], self.quarantine(peer), self.pool, LinkState(), log, lambda: self.at
        )  # fmt: skip
        peers = PeerTables(self.control, lambda: self.now)
        return Link(self.name, peer, copier, self.backlog(peer), peers, self.emit, lambda: self.now)

    def restart(self) -> None:
        """Another process, or another sandbox: it remembers nothing."""
        self.links = {peer: self.link(peer) for peer in self.peers}
        links = {link.name: link for link in self.links.values()}
        self.refusals = Refusals(self.name, self.control, [self.name, *links], self.emit, lambda: self.now)
        self.function = Outbound(self.name, links, self.refusals, self.partial, monotonic=lambda: self.at)
        self.threads = [LinkThread(link, **self.options) for link in self.links.values()]
        for each in self.threads:
            each._stop = _Waiting()

    def append(self, *lanes: tuple[str, int]) -> list[Event]:
        """New events in these home lanes, of each lane in turn."""
        made = [chain(lane, count, everything(self.home).get(lane, [])) for lane, count in self._named(lanes)]
        MemoryStorage.insert_each(self.home, [event for events in made for event in events])
        longest = max(map(len, made), default=0)
        events = [events[n] for n in range(longest) for events in made if n < len(events)]
        self.home.stream += events
        return events

    def _named(self, lanes: Sequence[tuple[str, int]]) -> list[tuple[LaneId, int]]:
        return [(lane_of(stream, self.name), count) for stream, count in lanes]

    def deliver(self, events: Sequence[Event]) -> bool:
        """What the stream has. Whether all of it was taken: copied, or on a backlog."""
        if self.driver == "function":
            try:
                return self.function.replicate(batch(events)) == ALL_IS_WELL
            except (BatchFailed, RegionUnavailable):
                return False
        done: list[str] = []
        own, refused = read_records(batch(events), self.name)
        self.refusals.refuse(refused)
        for each in self.threads:
            try:
                each.offer(own, lambda name=each.name: done.append(name))  # type: ignore[misc]
                while not each._queue.empty():
                    each.turn()
            except Stuck:
                continue
        return len(done) == len(self.threads)

    def drain(self) -> None:
        """Time for the backlogs, as much as they want. Peers that fail are tried once."""
        if self.driver == "thread":
            for each in self.threads:
                for _ in range(20):
                    before = each.link.failures
                    each.turn()
                    if each.link.failures > before:
                        break
        elif self.kind == "queue":
            for queue in self.queues.values():
                messages = queue.messages()
                answer = self.function.catch_up(messages or [{"messageId": "none", "body": ""}], lambda: True)
                kept = {failure["itemIdentifier"] for failure in answer["batchItemFailures"]}
                for message in messages:
                    if message["messageId"] not in kept:
                        queue.done(message["messageId"])
        else:
            self.function.catch_up([], lambda: True)

    def wait(self, seconds: float) -> None:
        self.at, self.now = self.at + seconds, self.now + int(seconds * 1000)

    def idle(self, seconds: float = 31.0) -> None:
        """Time goes by, and nothing happens but what happens by itself: a thread's turns, invocations without own events."""
        self.wait(seconds)
        if self.driver == "function":
            assert self.function.replicate([]) == ALL_IS_WELL
        self.drain()

    def waiting(self, peer: str = WEST) -> dict[LaneId, tuple[int, int]]:
        """What is on a backlog."""
        if self.kind == "queue":
            return join(each.lanes for each in self.queues[peer].found())
        page = TableBacklog(self.control, f"{self.name}>{peer}").page(10_000)
        return {lane: (value["from"], value["to"]) for lane, value in page.items()}

    def break_backlog(self, error: Exception | None, peer: str = WEST) -> None:
        """The backlog takes nothing, or takes again (None)."""
        if self.kind == "queue":
            self.queues[peer].error = error
        else:
            self.control.error = error

    def refused(self, peer: str = WEST) -> list[str]:
        return [event_id for event_id, _ in self.quarantine(peer).records()]

    def lacks(self, peer: str = WEST) -> bool:
        """Whether the peer lacks anything of the home's own lanes."""
        return everything(self.peers[peer], self.name) != everything(self.home, self.name)

    def check(self) -> None:
        """Every peer's lanes are prefixes of the home lanes."""
        for table in self.peers.values():
            for lane, events in everything(table, self.name).items():
                assert events == everything(self.home)[lane][: len(events)]

    def total(self, name: str, peer: str = WEST) -> float:
        link = {"region": self.name, "link": f"{self.name}>{peer}"}
        return sum(values.get(name, 0) for dimensions, values in self.told if dimensions == link)

    def metric(self, name: str) -> list[float]:
        return [values[name] for dimensions, values in self.told if name in values and dimensions == {"region": self.name}]

    def close(self) -> None:
        self.pool.shutdown()
