"""A session: a client that writes to things, reads them at its token, and claims seats; every call is in the history.

It does what a careful application does. What it has seen of a thing goes with it from call to call and from region to
region. A write of unknown outcome is asked for again, and is never repeated under another name. Where its region lost its
data and was brought up again, it is told what survived; what is gone it forgets to have seen.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from chaos import things
from chaos.checker.history import Call, History, Written
from projectors.queries import Query
from replicator.appending import Write
from replicator.claims import Claim, HomedClaims, HomesNotMoved, Release
from replicator.domain.event import Event, NewEvent, Observed
from replicator.domain.names import StreamId
from replicator.domain.token import ConsistencyToken
from replicator.domain.vector import VersionVector
from replicator.errors import AppendContention, ClockAhead, MeridianError, NotHereYet, OutcomeUnknown, RegionUnavailable
from replicator.operation import Saved
from replicator.store import EventStore

_REFUSALS = (RegionUnavailable, AppendContention, ClockAhead, NotHereYet, HomesNotMoved)
"""What may become of a call while something is wrong."""
_MEMBERS = 6
_ASK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Doors:
    """A region as one client reaches it."""

    store: EventStore
    query: Query
    claims: HomedClaims


@dataclass(frozen=True, slots=True)
class Load:
    """What each session does. `pause` is seconds between its calls, `largest` the most changes of one transaction."""

    things: int = 60
    seats: int = 12
    pause: float = 0.05
    largest: int = 8
    reads: float = 0.2
    claims: float = 0.05


@dataclass(frozen=True, slots=True)
class _Order:
    region: str
    survived: Collection[str] | None = None


class Session:
    """Calls in a thread of its own until it is told to finish. `open_doors` is asked once for each region."""

    def __init__(
        self,
        process: str,
        home: str,
        open_doors: Callable[[str], Doors],
        history: History,
        chance: random.Random,
        load: Load,
    ) -> None:
        self.process = process
        self.home = home
        self.region = home
        self.error: BaseException | None = None
        self._open_doors = open_doors
        self._doors: dict[str, Doors] = {}
        self._history = history
        self._random = chance
        self._load = load
        self._seen: dict[str, Observed] = {}
        self._doubts: list[tuple[Call, str, Sequence[Event]]] = []
        self._seats: set[str] = set()
        self._count = 0
        self._asked = 0.0
        self._order: _Order | None = None
        self._lock = threading.Lock()
        self._finishing = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"session-{process}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def move(self, region: str, survived: Collection[str] | None = None) -> None:
        """Tell it where to call from now on. `survived` are the digests of what survived of that region's lanes, where it
        had lost its data."""
        with self._lock:
            self._order = _Order(region, survived)

    def finish(self) -> None:
        """Write no more; go on asking what became of what is unknown."""
        self._finishing.set()

    def stop(self, timeout: float) -> None:
        """End, with what is unknown then."""
        self._finishing.set()
        self._ended.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def doubtful(self, region: str) -> list[tuple[str, int]]:
        """The places of what it sent to a region and does not know the fate of."""
        return [(event.lane.key, event.sequence) for _, at, events in list(self._doubts) if at == region for event in events]

    def _run(self) -> None:
        try:
            while not self._ended.is_set() and not (self._finishing.is_set() and not self._can_ask()):
                self._follow_order()
                self._ask_again()
                if not self._finishing.is_set():
                    self._act()
                self._ended.wait(self._load.pause * self._random.uniform(0.5, 1.5))
        except BaseException as error:
            self.error = error

    def _left(self, region: str) -> bool:
        """It was told to call elsewhere, because that region does not answer."""
        return region == self.home != self.region

    def _can_ask(self) -> bool:
        """Whether there is anybody to ask what became of what is unknown."""
        return any(not self._left(region) for _, region, _ in self._doubts)

    def _here(self) -> Doors:
        if self.region not in self._doors:
            self._doors[self.region] = self._open_doors(self.region)
        return self._doors[self.region]

    def _act(self) -> None:
        what = self._random.random()
        if what < self._load.reads:
            self._read(self._thing())
        elif what < self._load.reads + self._load.claims:
            self._claim()
        else:
            self._write()

    # -- calls -----------------------------------------------------------------------------------------------------

    def _write(self) -> None:
        changes = [(self._thing(), self._change()) for _ in range(self._random.randint(1, self._load.largest))]
        streams = sorted({stream for stream, _ in changes})
        seen = {stream: self._seen.get(stream, Observed()) for stream in streams}
        writes = [
            Write(StreamId.parse(each), tuple(new for stream, new in changes if stream == each), seen[each])
            for each in streams
        ]
        value = [{"stream": stream, "type": new.type, **new.payload} for stream, new in changes]
        call = self._history.invoke(
            self.process, self.region, "write", value, _context(seen), str(max(each.hlc for each in seen.values()))
        )
        try:
            events = self._here().store.append_all(writes)
        except OutcomeUnknown as error:
            self._history.unknown(call, [_written(event) for event in error.events], str(error))
            self._doubts.append((call, self.region, error.events))
        except _REFUSALS as error:
            self._refused(call, error)
        else:
            self._history.ok(call, [_written(event) for event in events])
            self._saw_events(events)

    def _read(self, stream: str) -> None:
        seen = self._seen.get(stream, Observed())
        asked = {stream: dict(seen.vector.items())}
        call = self._history.invoke(self.process, self.region, "read", {"stream": stream}, asked, str(seen.hlc))
        token = ConsistencyToken({StreamId.parse(stream): seen.vector}) if seen.vector else None
        try:
            found = self._here().query.now(stream, token)
        except _REFUSALS as error:
            self._refused(call, error)
        else:
            self._history.ok(call, seen=dict(found.vector.items()), found=found.value)
            self._saw(stream, Observed(found.vector, found.token.hlc))

    def _claim(self) -> None:
        owner = f"user/{self.process}"
        release = bool(self._seats) and self._random.random() < 0.5
        seat = (
            self._random.choice(sorted(self._seats))
            if release
            else f"{things.SEAT}/{self._random.randrange(self._load.seats)}"
        )
        value = {"id": self._id(), "stream": seat, "owner": owner}
        call = self._history.invoke(self.process, self.region, "release" if release else "claim", value, {})
        try:
            result = self._here().claims.save([Release(seat, owner) if release else Claim(seat, owner)])
        except OutcomeUnknown as error:
            self._history.unknown(call, [_written(event) for event in error.events], str(error))
            self._doubts.append((call, error.events[0].region, error.events))
            self._seats.discard(seat)
            return
        except _REFUSALS as error:
            self._refused(call, error)
            return
        if isinstance(result, Saved):
            self._history.ok(call, [_written(event) for event in result.events])
            (self._seats.discard if release else self._seats.add)(seat)
        else:
            self._history.fail(call, "refused")

    def _refused(self, call: Call, error: MeridianError) -> None:
        self._history.fail(call, f"{type(error).__name__}: {error}")
        self._ended.wait(self._random.uniform(0.1, 0.4))

    # -- what is unknown -------------------------------------------------------------------------------------------

    def _ask_again(self) -> None:
        if not self._doubts or time.monotonic() - self._asked < _ASK_AGAIN_SECONDS:
            return
        self._asked = time.monotonic()
        call, region, events = self._doubts[0]
        if self._left(region):
            self._doubts.append(self._doubts.pop(0))
            return
        if region not in self._doors:
            self._doors[region] = self._open_doors(region)
        try:
            written = self._doors[region].store.resolve(events)
        except (OutcomeUnknown, RegionUnavailable):
            self._doubts.append(self._doubts.pop(0))
            return
        self._doubts.pop(0)
        self._history.settle(call, written)
        if written:
            self._saw_events(events)

    def _follow_order(self) -> None:
        with self._lock:
            order, self._order = self._order, None
        if order is None:
            return
        if order.survived is not None:
            self._take_stock(order.region, order.survived)
        self.region = order.region

    def _take_stock(self, region: str, survived: Collection[str]) -> None:
        """The region had lost its data: what is unknown is settled by what survived, and what is gone was never seen."""
        for doubt in [doubt for doubt in self._doubts if doubt[1] == region]:
            call, _, events = doubt
            self._doubts.remove(doubt)
            there = [event for event in events if event.digest.hex() in survived]
            if len(there) == len(events) or not there:
                self._history.settle(call, bool(there))
            self._saw_events(there)
        gone: dict[str, int] = {}
        for event in list(self._history.acknowledged()):
            if event.digest in self._history.gone:
                gone[event.lane] = min(event.sequence, gone.get(event.lane, event.sequence))
        for stream, seen in list(self._seen.items()):
            lane = f"{region}#{stream.replace('/', '#')}"
            if lane in gone:
                self._seen[stream] = Observed(seen.vector.capped(region, gone[lane] - 1), seen.hlc)
        self._seats.clear()
        self._doors.pop(region, None)

    # -- what it says and sees -------------------------------------------------------------------------------------

    def _thing(self) -> str:
        return f"{things.TYPE}/{int(self._load.things * self._random.random() ** 2)}"

    def _change(self) -> NewEvent:
        chance, id = self._random.random(), self._id()
        if chance < 0.5:
            return things.added(id, self._random.randint(-5, 20))
        if chance < 0.85:
            make = things.joined if chance < 0.7 else things.left
            return make(id, f"m{self._random.randrange(_MEMBERS)}")
        return things.named(id, f"name-{id}")

    def _id(self) -> str:
        self._count += 1
        return f"{self.process}.{self._count}"

    def _saw_events(self, events: Sequence[Event]) -> None:
        for event in events:
            self._saw(str(event.stream), Observed(VersionVector({event.region: event.sequence}), event.hlc))

    def _saw(self, stream: str, seen: Observed) -> None:
        self._seen[stream] = self._seen.get(stream, Observed()).join(seen)


def _context(seen: Mapping[str, Observed]) -> dict[str, dict[str, int]]:
    return {stream: dict(each.vector.items()) for stream, each in seen.items()}


def _written(event: Event) -> Written:
    return Written(event.lane.key, event.sequence, event.digest.hex(), str(event.hlc), str(event.payload.get("id", "")))
