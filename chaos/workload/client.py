"""Client of the event store: behaves as a careful application does with an answer, a refusal, no answer, and a token.

It records every call in the history. A write without an answer is kept, and settled when its region can be asked; it is
never repeated elsewhere, which could double it. The client carries what it has observed from call to call and from region to
region. Its driver (a thread, a simulator's step) decides when it calls, and where.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from chaos.checker.history import Call, History, Written
from projectors.reads.queries import Query
from replicator.claims import HomesNotMoved
from replicator.domain.errors import ClockAhead, RegionUnavailable
from replicator.domain.event import Event, NewEvent, Observed
from replicator.domain.names import LaneId, StreamId
from replicator.domain.token import ConsistencyToken
from replicator.domain.vector import VersionVector
from replicator.eventstore.appender import Write
from replicator.eventstore.durability import Appended
from replicator.eventstore.operations import GaveUp, Rejected, Result, Saved
from replicator.eventstore.store_errors import AppendContention, NotHereYet, OutcomeUnknown

T = TypeVar("T")

WRITE_REFUSALS = (RegionUnavailable, AppendContention, ClockAhead)
READ_REFUSALS = (RegionUnavailable, NotHereYet)
SAVE_REFUSALS = (*WRITE_REFUSALS, NotHereYet, HomesNotMoved)
"""Errors with which a call may fail while something is wrong. Any other error is one of the program."""
UNSETTLED = (OutcomeUnknown, RegionUnavailable)
"""Errors when a region cannot determine the outcome of a write now."""
_NOT_SAVED: Mapping[type, str] = {Rejected: "rejected", GaveUp: "gave up"}


@dataclass(eq=False, frozen=True, slots=True)
class Doubt:
    """Write without an answer."""

    call: Call
    region: str
    events: Sequence[Event]


class Client:
    """One client. `process` names it in the history; `home` is the region it belongs to, `region` the one it calls now."""

    def __init__(self, process: str, home: str, history: History) -> None:
        self.process = process
        self.home = home
        self.region = home
        self.history = history
        self.seen: dict[StreamId, Observed] = {}
        """Observed context of each stream."""
        self.doubts: list[Doubt] = []

    # -- calls -----------------------------------------------------------------------------------------------------

    def write(self, changes: Iterable[tuple[StreamId, NewEvent]], append: Callable[[list[Write]], Appended]) -> Call:
        """Make these changes in one transaction, each after everything that the client has seen of its stream."""
        streams: dict[StreamId, list[NewEvent]] = {}
        for stream, new in changes:
            streams.setdefault(stream, []).append(new)
        seen = {stream: self.seen.get(stream, Observed()) for stream in streams}
        value = [
            {"stream": str(stream), "type": new.type, **new.payload} for stream, news in streams.items() for new in news
        ]
        context = {str(stream): dict(each.vector.items()) for stream, each in seen.items()}
        call = self._invoke("write", value, context, str(max(each.hlc for each in seen.values())))
        writes = [Write(stream, tuple(news), seen[stream]) for stream, news in streams.items()]
        events = self._attempt(call, lambda: append(writes), WRITE_REFUSALS)
        if events is not None:
            self.history.ok(call, written(events), regions=events.regions)
            self.saw(events)
        return call

    def read(self, stream: StreamId, query: Query, timeout: float = 2.0) -> Call:
        """Read the stream's value, at least with everything that the client has seen of it."""
        seen = self.seen.get(stream, Observed())
        context = {str(stream): dict(seen.vector.items())}
        call = self._invoke("read", {"stream": str(stream)}, context, str(seen.hlc))
        try:
            found = query.now(stream, ConsistencyToken.seen(stream, seen), timeout)
        except READ_REFUSALS as error:
            self.history.fail(call, f"{type(error).__name__}: {error}")
        else:
            self.history.ok(call, seen=dict(found.vector.items()), found=found.value)
            self.seen[stream] = seen.join(Observed(found.vector, found.token.hlc))
        return call

    def save(self, name: str, value: Any, operate: Callable[[], Result]) -> Call:
        """Make a decision or a claim, under the name that it has in the history."""
        call = self._invoke(name, value, {}, "")
        result = self._attempt(call, operate, SAVE_REFUSALS)
        if isinstance(result, Saved):
            self.history.ok(call, written(result.events), regions=result.regions)
        elif result is not None:
            self.history.fail(call, _NOT_SAVED[type(result)])
        return call

    def _invoke(self, name: str, value: Any, context: Mapping[str, Mapping[str, int]], hlc: str) -> Call:
        return self.history.invoke(self.process, self.region, name, value, context, hlc)

    def _attempt(self, call: Call, do: Callable[[], T], refusals: tuple[type[Exception], ...]) -> T | None:
        """Execute a call. Returns None when it was refused or got no answer, which is recorded."""
        try:
            return do()
        except OutcomeUnknown as error:
            self.history.unknown(call, written(error.events), str(error))
            self.doubts.append(Doubt(call, error.events[0].region, error.events))
        except refusals as error:
            self.history.fail(call, f"{type(error).__name__}: {error}")
        return None

    # -- unknown outcomes -----------------------------------------------------------------------------------------

    def can_ask(self, doubt: Doubt) -> bool:
        """Return whether its region may be asked for its outcome: not home while the client is away, as home does not
        answer."""
        return doubt.region != self.home or self.region == self.home

    def settle(self, doubt: Doubt, resolve: Callable[[Sequence[Event]], bool]) -> bool:
        """Resolve the outcome of a write. Raises one of UNSETTLED."""
        done = resolve(doubt.events)
        self.settled(doubt, doubt.events if done else ())
        return done

    def settled(self, doubt: Doubt, there: Collection[Event]) -> None:
        """Record that these of its events are written, and no other."""
        self.doubts.remove(doubt)
        self.history.settle(doubt.call, [event.digest.hex() for event in there])
        self.saw(there)

    def doubtful(self, region: str) -> list[tuple[str, int]]:
        """Return the places of the events that the client sent to a region and that have an unknown outcome."""
        return [(e.lane.key, e.sequence) for doubt in list(self.doubts) if doubt.region == region for e in doubt.events]

    def take_stock(self, region: str, survived: Collection[str]) -> None:
        """Settle unknown calls after the region had lost its data: events with these digests survived, and what is gone
        counts as never seen. A transaction is copied lane by lane, so some of its events may have survived and others
        not."""
        for doubt in [each for each in self.doubts if each.region == region]:
            self.settled(doubt, [event for event in doubt.events if event.digest.hex() in survived])
        for stream, seen in list(self.seen.items()):
            first = self.history.gone_from.get(LaneId(region, stream).key)
            if first is not None:
                self.seen[stream] = Observed(seen.vector.capped(region, first - 1), seen.hlc)

    def saw(self, events: Iterable[Event]) -> None:
        """Record that these events are written; later writes of the client come after them."""
        for event in events:
            seen = Observed(VersionVector({event.region: event.sequence}), event.hlc)
            self.seen[event.stream] = self.seen.get(event.stream, Observed()).join(seen)


def written(events: Iterable[Event]) -> list[Written]:
    """Return the events as the history records them."""
    return [
        Written(event.lane.key, event.sequence, event.digest.hex(), str(event.hlc), str(event.payload.get("id", "")))
        for event in events
    ]
