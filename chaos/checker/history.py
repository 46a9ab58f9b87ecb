"""The history: every call that a client made, when, where, and how it ended. And what was read when all was over.

A call is invoked, and ends as ok, fail or unknown; one that never ended is unknown. What was unknown may be settled later,
when the client asks what became of it. Written as lines of JSON, one each for invoke, end and settlement, as they happened.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import cached_property
from math import inf
from typing import Any

Vector = Mapping[str, int]
"""region -> the last sequence of its lane of one stream."""

Place = tuple[str, int]
"""A lane's partition key and a sequence."""


class Outcome(StrEnum):
    OK = "ok"
    FAIL = "fail"
    """Certainly not done."""
    UNKNOWN = "unknown"
    """Done or not: nobody can tell yet."""


@dataclass(frozen=True, slots=True)
class Written:
    """An event as its writer was told of it. `lane` is the lane's partition key, `digest` hexadecimal, `id` the change's."""

    lane: str
    sequence: int
    digest: str
    hlc: str
    id: str

    @property
    def region(self) -> str:
        return self.lane.partition("#")[0]


@dataclass(slots=True)
class Call:
    """One call. Times are in seconds of the run's clock.

    `name` is write, claim, release or read. `value` says what was asked: for a write a list of changes `{"id", "stream",
    "type", …payload}`, for a claim or release `{"id", "stream", "owner"}`, for a read `{"stream"}`. `context` is what the
    client had seen of each stream it names.
    """

    number: int
    process: str
    """Who called. The calls of a process do not overlap."""
    region: str
    name: str
    value: Any
    context: Mapping[str, Vector]
    """stream -> what the client had seen of it; for a read, what its token asked for."""
    invoked: float
    hlc: str = ""
    """The latest timestamp that the client had seen when it called."""
    ended: float | None = None
    outcome: Outcome = Outcome.UNKNOWN
    events: tuple[Written, ...] = ()
    """Of a write: the events that it made, or, while unknown, would make."""
    denied: tuple[Written, ...] = ()
    """Of a write that was unknown: the events that it turned out not to have made. Only a region that lost its data has some
    of a write and others not."""
    seen: Vector | None = None
    """Of a read: the version vector of what was read."""
    found: Any = None
    """Of a read: the value. Of a claim that failed: who had it."""
    why: str = ""
    """Of what failed or is unknown: what the client was told."""
    began: int = 0
    done: int | None = None
    """Where in the order of all that happened it was invoked, and where its end became known."""


class History:
    """Records calls. Safe to share between threads. `clock` gives seconds; `sink` is told each line as it happens."""

    def __init__(self, clock: Callable[[], float], sink: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.clock = clock
        self.calls: list[Call] = []
        self.gone: set[str] = set()
        """The digests of acknowledged events that survived nowhere: their region lost its data, and no other held them."""
        self.lost_regions: set[str] = set()
        """The regions that have lost their data at some time."""
        self.gone_from: dict[str, int] = {}
        """Lane -> the first sequence that is gone, and whose place may have been given again."""
        self.doubted = 0
        """How many calls were unknown at first."""
        self.doubted_events = self.confirmed_events = 0
        """How many events they were to write, and how many of these turned out to be written."""
        self._acknowledged: Counter[str] = Counter()
        self._gone: Counter[str] = Counter()
        self._sink = sink
        self._lock = threading.Lock()
        self._lines = 0

    def invoke(self, process: str, region: str, name: str, value: Any, context: Mapping[str, Vector], hlc: str = "") -> Call:
        """A client is about to call."""
        with self._lock:
            call = Call(len(self.calls), process, region, name, value, context, self.clock(), hlc, began=self._line())
            self.calls.append(call)
            if self._sink is not None:
                self._sink(
                    {"call": call.number, "is": "invoke", "at": call.invoked, "process": process, "region": region,
                     "name": name, "value": value, "context": context, "hlc": hlc}
                )  # fmt: skip
        return call

    def ok(self, call: Call, events: Sequence[Written] = (), seen: Vector | None = None, found: Any = None) -> None:
        self._end(call, Outcome.OK, events, seen, found, "")

    def fail(self, call: Call, why: str, found: Any = None) -> None:
        """It was certainly not done."""
        self._end(call, Outcome.FAIL, (), None, found, why)

    def unknown(self, call: Call, events: Sequence[Written], why: str) -> None:
        """No answer. `events` are what it would have written."""
        self._end(call, Outcome.UNKNOWN, events, None, None, why)

    def settle(self, call: Call, written: Collection[str]) -> None:
        """What became of an unknown call turned out: its events with these digests are written, and no other."""
        held = set(written)
        there = tuple(event for event in call.events if event.digest in held)
        with self._lock:
            call.outcome, call.done = Outcome.OK if there else Outcome.FAIL, self._line()
            call.denied = tuple(event for event in call.events if event.digest not in held)
            call.events = there
            if there:
                call.ended = self.clock()
                self.confirmed_events += len(there)
                self._count(self._acknowledged, there)
            if self._sink is not None:
                self._sink(
                    {"call": call.number, "is": "settled", "at": self.clock(), "written": bool(there),
                     "digests": [event.digest for event in there]}
                )  # fmt: skip

    def lose(self, region: str, survived: Iterable[str]) -> list[Written]:
        """The region lost its data. Of its acknowledged events those with these digests survived somewhere; the others are
        gone, which the drill must then account for. Returns them."""
        held = set(survived)
        with self._lock:
            lost = [
                event
                for call in self.calls
                for event in (call.events if call.outcome is Outcome.OK else ())
                if event.region == region and event.digest not in held and event.digest not in self.gone
            ]
            self._count(self._gone, lost)
            self.gone |= {event.digest for event in lost}
            for event in lost:
                self.gone_from[event.lane] = min(event.sequence, self.gone_from.get(event.lane, event.sequence))
            self.lost_regions.add(region)
            if self._sink is not None:
                self._sink({"is": "lost", "at": self.clock(), "region": region, "gone": [event.digest for event in lost]})
        return lost

    def acknowledged(self) -> Iterator[Written]:
        """Every event that somebody was told is written, those that are gone included."""
        with self._lock:
            calls = list(self.calls)
        for call in calls:
            if call.outcome is Outcome.OK:
                yield from call.events

    def events_of(self, region: str, since: float = -inf, until: float = inf) -> dict[Place, str]:
        """The digest of each event of the region's lanes that was acknowledged in this time and is not gone."""
        with self._lock:
            calls = list(self.calls)
        return {
            (event.lane, event.sequence): event.digest
            for call in calls
            if call.outcome is Outcome.OK and since <= (call.ended or 0.0) <= until
            for event in call.events
            if event.region == region and event.digest not in self.gone
        }

    def heads(self) -> dict[str, int]:
        """The last acknowledged sequence of each lane that is not gone."""
        found: dict[str, int] = {}
        for event in self.acknowledged():
            if event.digest not in self.gone:
                found[event.lane] = max(event.sequence, found.get(event.lane, 0))
        return found

    def count(self, region: str | None = None) -> int:
        """How many events were acknowledged, those that are gone included; or how many of this region's lanes, and are not
        gone."""
        return self._acknowledged.total() if region is None else self._acknowledged[region] - self._gone[region]

    @property
    def gone_events(self) -> int:
        """How many acknowledged events are gone."""
        return self._gone.total()

    def counts(self) -> dict[str, int]:
        """How many calls ended how."""
        with self._lock:
            return {str(outcome): sum(call.outcome is outcome for call in self.calls) for outcome in Outcome}

    @staticmethod
    def _count(by: Counter[str], events: Iterable[Written]) -> None:
        by.update(event.region for event in events)

    def _line(self) -> int:
        self._lines += 1
        return self._lines

    def _end(
        self, call: Call, outcome: Outcome, events: Sequence[Written], seen: Vector | None, found: Any, why: str
    ) -> None:
        with self._lock:
            call.ended, call.done = self.clock(), self._line()
            if outcome is Outcome.UNKNOWN:
                self.doubted += 1
                self.doubted_events += len(events)
            elif outcome is Outcome.OK:
                self._count(self._acknowledged, events)
            call.outcome, call.events, call.seen, call.found, call.why = outcome, tuple(events), seen, found, why
            if self._sink is not None:
                self._sink(
                    {"call": call.number, "is": str(outcome), "at": call.ended, "seen": seen, "found": found, "why": why,
                     "events": [asdict(event) for event in events]}
                )  # fmt: skip


# -- the final reads -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """An event as it is kept. `computed` is the digest that its content has, `digest` the one it carries, in hexadecimal."""

    lane: str
    sequence: int
    hlc: str
    type: str
    payload: Mapping[str, Any]
    observed: Vector
    prev: str
    digest: str
    computed: str

    @property
    def region(self) -> str:
        return self.lane.split("#")[0]

    @property
    def stream(self) -> str:
        """`thing/7`."""
        return "/".join(self.lane.split("#")[1:])

    @property
    def fields(self) -> Mapping[str, Any]:
        """Its payload; nothing where that is no object, which nobody asks for."""
        return self.payload if isinstance(self.payload, Mapping) else {}

    @property
    def place(self) -> tuple[str, int]:
        return self.lane, self.sequence


@dataclass(frozen=True, slots=True)
class KeptView:
    """A view as it is kept. `body` is everything of it that must be the same everywhere, as text."""

    vector: Vector
    value: Mapping[str, Any]
    body: str


@dataclass
class Final:
    """What one region holds when all is over."""

    events: list[Kept] = field(default_factory=list)
    views: dict[str, KeptView] = field(default_factory=dict)
    """stream -> its view."""
    quarantined: list[str] = field(default_factory=list)
    """What was refused, and why."""
    owners: dict[str, str | None] = field(default_factory=dict)
    """claim -> who owns it, as a reader there is told."""

    @cached_property
    def digests(self) -> frozenset[str]:
        """Of its events. Asked for when all of them are there."""
        return frozenset(kept.digest for kept in self.events)


Finals = Mapping[str, Final]
"""region -> what it holds."""
