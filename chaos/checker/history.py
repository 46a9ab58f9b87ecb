"""History of calls: every call that a client made, when, where, and how it ended; and the final reads.

A call is invoked, and ends as ok, fail or unknown; one that never ended is unknown. An unknown call may be settled later,
when the client resolves it. The history is written as lines of JSON, one for each invocation, end and settlement, in the
order in which they happened.
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
"""Region -> the last sequence of its lane of one stream."""

Place = tuple[str, int]
"""A lane's partition key and a sequence."""


class Outcome(StrEnum):
    OK = "ok"
    FAIL = "fail"
    """Certainly not done."""
    UNKNOWN = "unknown"
    """Done or not: not known yet."""


@dataclass(frozen=True, slots=True)
class Written:
    """Event as acknowledged to its writer. `lane` is the lane's partition key, `digest` is hexadecimal, `id` is the
    change's."""

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

    `name` is write, claim, release or read. `value` is the request: for a write a list of changes `{"id", "stream", "type",
    …payload}`, for a claim or release `{"id", "stream", "owner"}`, for a read `{"stream"}`. `context` is what the client had
    seen of each stream it names.
    """

    number: int
    process: str
    """Client that called. The calls of a process do not overlap."""
    region: str
    name: str
    value: Any
    context: Mapping[str, Vector]
    """Stream -> the vector that the client had seen of it; for a read, the vector of its token."""
    invoked: float
    hlc: str = ""
    """Latest timestamp that the client had seen when it called."""
    ended: float | None = None
    outcome: Outcome = Outcome.UNKNOWN
    events: tuple[Written, ...] = ()
    """For a write: the events that it made or, while it is unknown, would make."""
    regions: tuple[str, ...] = ()
    """For a write that was acknowledged: the regions that the acknowledgement named as holding its events."""
    denied: tuple[Written, ...] = ()
    """For a write that was unknown: the events that it turned out not to have made. Only a region that lost its data has
    some events of a write and lacks others."""
    seen: Vector | None = None
    """For a read: the version vector of the value."""
    found: Any = None
    """For a read: the value. For a claim that failed: the owner."""
    why: str = ""
    """For a failed or unknown call: the reason that the client got."""
    began: int = 0
    done: int | None = None
    """Positions of its invocation (`began`) and of its known end (`done`) in the order of all lines."""


class History:
    """Recorder of calls. Safe to share between threads. `clock` returns seconds; `sink` receives each line as it happens."""

    def __init__(self, clock: Callable[[], float], sink: Callable[[dict[str, Any]], None] | None = None) -> None:
        self.clock = clock
        self.calls: list[Call] = []
        self.gone: set[str] = set()
        """Digests of acknowledged events that survived nowhere: their region lost its data, and no other held them."""
        self.lost_regions: set[str] = set()
        """Regions that have lost their data at some time."""
        self.gone_from: dict[str, int] = {}
        """Lane -> the first sequence that is gone; its place may have been given again."""
        self.doubted = 0
        """Number of calls that were unknown at first."""
        self.doubted_events = self.confirmed_events = 0
        """Number of events that they were to write, and number of these that turned out to be written."""
        self._acknowledged: Counter[str] = Counter()
        self._gone: Counter[str] = Counter()
        self._sink = sink
        self._lock = threading.Lock()
        self._lines = 0

    def invoke(self, process: str, region: str, name: str, value: Any, context: Mapping[str, Vector], hlc: str = "") -> Call:
        """Record that a client is about to call."""
        with self._lock:
            call = Call(len(self.calls), process, region, name, value, context, self.clock(), hlc, began=self._line())
            self.calls.append(call)
            if self._sink is not None:
                self._sink(
                    {"call": call.number, "is": "invoke", "at": call.invoked, "process": process, "region": region,
                     "name": name, "value": value, "context": context, "hlc": hlc}
                )  # fmt: skip
        return call

    def ok(
        self,
        call: Call,
        events: Sequence[Written] = (),
        seen: Vector | None = None,
        found: Any = None,
        regions: Sequence[str] = (),
    ) -> None:
        """Record that the call was done: `events` are those that it wrote, `regions` those that hold them already."""
        call.regions = tuple(regions)
        self._end(call, Outcome.OK, events, seen, found, "")

    def fail(self, call: Call, why: str, found: Any = None) -> None:
        """Record that the call was certainly not done."""
        self._end(call, Outcome.FAIL, (), None, found, why)

    def unknown(self, call: Call, events: Sequence[Written], why: str) -> None:
        """Record that the call got no answer. `events` are those that it would have written."""
        self._end(call, Outcome.UNKNOWN, events, None, None, why)

    def settle(self, call: Call, written: Collection[str]) -> None:
        """Record the outcome of an unknown call: its events with these digests are written, and no other."""
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
        """Record that the region lost its data. Its acknowledged events with these digests survived somewhere; the others
        are gone, and the drill must account for them. Returns those that are gone."""
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
        """Yield every acknowledged event, including those that are gone."""
        with self._lock:
            calls = list(self.calls)
        for call in calls:
            if call.outcome is Outcome.OK:
                yield from call.events

    def events_of(self, region: str, since: float = -inf, until: float = inf) -> dict[Place, str]:
        """Return the digest of each event of the region's lanes that was acknowledged in this time and is not gone."""
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
        """Return the last acknowledged sequence of each lane that is not gone."""
        found: dict[str, int] = {}
        for event in self.acknowledged():
            if event.digest not in self.gone:
                found[event.lane] = max(event.sequence, found.get(event.lane, 0))
        return found

    def count(self, region: str | None = None) -> int:
        """Return the number of acknowledged events, including those that are gone; or those of this region's lanes, without
        those that are gone."""
        return self._acknowledged.total() if region is None else self._acknowledged[region] - self._gone[region]

    def copied(self, copies: int) -> int:
        """Return the number of acknowledged events whose acknowledgement named so many regions."""
        with self._lock:
            done = [call for call in self.calls if call.outcome is Outcome.OK and len(call.regions) >= copies]
        return sum(len(call.events) for call in done)

    @property
    def gone_events(self) -> int:
        """Number of acknowledged events that are gone."""
        return self._gone.total()

    def counts(self) -> dict[str, int]:
        """Return the number of calls by outcome."""
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
                     "events": [asdict(event) for event in events], "regions": list(call.regions)}
                )  # fmt: skip


# -- the final reads -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """Event as stored. `computed` is the digest of its content, `digest` the one that it carries, both in hexadecimal."""

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
        """Stream, such as `thing/7`."""
        return "/".join(self.lane.split("#")[1:])

    @property
    def fields(self) -> Mapping[str, Any]:
        """Payload; empty if that is no object, which no client writes."""
        return self.payload if isinstance(self.payload, Mapping) else {}

    @property
    def place(self) -> tuple[str, int]:
        return self.lane, self.sequence


@dataclass(frozen=True, slots=True)
class KeptView:
    """View as stored. `body` is everything of it that must be the same everywhere, as text."""

    vector: Vector
    value: Mapping[str, Any]
    body: str


@dataclass
class Final:
    """Content of one region at the end of a run."""

    events: list[Kept] = field(default_factory=list)
    views: dict[str, KeptView] = field(default_factory=dict)
    """Stream -> its view."""
    quarantined: list[str] = field(default_factory=list)
    """Refused events, each with the reason."""
    owners: dict[str, str | None] = field(default_factory=dict)
    """Claim -> its owner, as a reader in this region sees it."""

    @cached_property
    def digests(self) -> frozenset[str]:
        """Digests of its events. Read it only when all of them are there."""
        return frozenset(kept.digest for kept in self.events)


Finals = Mapping[str, Final]
"""Region -> its content at the end of the run."""
