"""Fleet of sandboxes that get one region's events, as Lambda's event source mapping hands them out.

A mapping gives each shard's records out in batches: one batch of a shard at a time, or as many as the parallelization factor
says. Then the order is kept for each item key only, and each event has its own: concurrent batches share a lane's events.
What comes after a record that failed comes again with it. Any sandbox may get any batch; each has a memory of its own, and
is replaced after some time. Source: AWS, "Lambda parameters for Amazon DynamoDB event source mappings", "Configuring partial
batch response with DynamoDB and Lambda" and "Lambda execution environment lifecycle" (developer guide).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from zlib import crc32

from chaos.fleet.virtual_time import VirtualTime
from replicator.domain.clock import Hlc
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.eventstore.memory_storage import MemoryStorage

HOME, PEER = "us-east-1", "eu-west-1"
_POLL_SECONDS = 0.25
"""Seconds between two polls of an idle shard: four a second."""
_RETRY_SECONDS = 1.0

Sandbox = Callable[[Sequence[Event]], Sequence[Event]]
"""Function's sandbox: takes a batch and returns the events that it could not deal with."""


@dataclass(frozen=True, slots=True)
class Load:
    """Parameters of a run: how much is written where, and what takes it.

    `rate` is in events a second, for all lanes together; a sandbox is replaced by a new one after `life` batches. With
    `in_turn` each lane gets one event after another, so that a batch has at most one of each; otherwise lanes are chosen by
    chance, the first one for the share `hot` of all events. A batch is handed out `window` seconds after its first record or
    when it is full. An invocation takes `overhead` seconds of processor time, and `processor` for each event.
    """

    lanes: int
    events: int
    sandboxes: int = 8
    shards: int = 4
    parallelization: int = 1
    batch: int = 20
    rate: float = 1000.0
    life: int = 200
    in_turn: bool = False
    hot: float = 0.0
    window: float = 0.0
    overhead: float = 0.0
    processor: float = 0.0
    seed: int = 1


class _Records:
    """Records of a shard that one batch at a time is made of: those of one part of its item keys."""

    def __init__(self) -> None:
        self._records: deque[tuple[float, Event]] = deque()

    def __len__(self) -> int:
        return len(self._records)

    def waiting(self, size: int, now: float) -> int:
        """Return the number of records that are there now: none, some (1) or `size` or more (2)."""
        return sum(at <= now for place in (0, size - 1) for at, _ in islice(self._records, place, place + 1))

    def add(self, at: float, event: Event) -> None:
        self._records.append((at, event))

    def batch(self, size: int, now: float) -> list[Event]:
        found: list[Event] = []
        while self._records and len(found) < size and self._records[0][0] <= now:
            found.append(self._records.popleft()[1])
        return found


class Mapping:
    """Event source mapping of the home region's stream: it hands the load out to sandboxes. `start` makes a cold one.
    `longest` is the longest invocation and `busy` the sum of all `invocations`, in seconds."""

    def __init__(self, load: Load, time: VirtualTime, start: Callable[[], Sandbox]) -> None:
        self.load = load
        self.time = time
        self._start = start
        self._random = random.Random(load.seed)
        self.longest = self.busy = 0.0
        self.invocations = 0
        self._idle = [(start(), load.life) for _ in range(load.sandboxes)]

    def run(self, home: MemoryStorage) -> float:
        """Append the load to `home` at its rate, while the sandboxes take it. Every lane has its first event already.
        Returns the simulated seconds. Raises what a sandbox raised."""
        load = self.load
        parts = [[_Records() for _ in range(load.parallelization)] for _ in range(load.shards)]
        ends = {lane: next(home.read(lane, limit=1, reverse=True)) for lane in home.index(HOME)}
        lanes, at = self._lanes(list(ends)), 0.0
        for _ in range(load.events):
            at += self._random.expovariate(load.rate)
            lane = next(lanes)
            event = ends[lane] = _next(lane, ends[lane])
            home.insert_each([event])
            part = crc32(event.id.encode()) % load.parallelization
            parts[crc32(lane.key.encode()) % load.shards][part].add(at, event)
        for records in (each for shard in parts for each in shard):
            self.time.spawn(partial(self._poll, records))
        return self.time.run()

    def _lanes(self, lanes: list[LaneId]) -> Iterator[LaneId]:
        while True:
            if self.load.in_turn:
                self._random.shuffle(lanes)
                yield from lanes
            else:
                yield lanes[0] if self.load.hot > self._random.random() else self._random.choice(lanes)

    def _poll(self, records: _Records) -> None:
        while records:
            if self.load.window and records.waiting(self.load.batch, self.time.now()) == 1:
                self.time.sleep(self.load.window)
            batch: Sequence[Event] = records.batch(self.load.batch, self.time.now())
            if not batch:
                self.time.sleep(_POLL_SECONDS)
            while batch := self._invoke(batch) if batch else ():
                self.time.sleep(_RETRY_SECONDS)

    def _invoke(self, events: Sequence[Event]) -> Sequence[Event]:
        """Give a batch to a sandbox. Returns the events that have to come again: from the first one on that it could not
        deal with."""
        while not self._idle:
            self.time.sleep(0.01)
        sandbox, life = self._idle.pop(self._random.randrange(len(self._idle)))
        began = self.time.now()
        self.time.sleep(self.load.overhead + self.load.processor * len(events))
        failed = {event.id for event in sandbox(events)}
        first = next((at for at, event in enumerate(events) if event.id in failed), len(events))
        took = self.time.now() - began
        self.longest, self.busy, self.invocations = max(self.longest, took), self.busy + took, self.invocations + 1
        self._idle.append((sandbox, life - 1) if life > 1 else (self._start(), self.load.life))
        return events[first:]


def begun(lanes: int) -> list[Event]:
    """Return the first events of that many lanes of the home region."""
    return [_next(LaneId(HOME, StreamId("account", f"a{number}")), None) for number in range(lanes)]


def _next(lane: LaneId, last: Event | None) -> Event:
    """Return an event of about 400 bytes behind `last`."""
    sequence, prev = (last.sequence + 1, last.digest) if last is not None else (1, GENESIS)
    return seal(lane, sequence, Hlc(1_700_000_000_000 + sequence, 0), NewEvent("posted", payload(sequence)), EMPTY, prev)


def payload(amount: int) -> dict[str, int | str]:
    """Return the payload of an event of about 400 bytes."""
    return {"amount": amount, "note": "x" * 120}
