"""Views in any order: the same flight events, delivered in several orders with duplicates into several sinks; then every
sink is compared with the first, and each is checked against pandas.

Each sink has a region of its own, which knows only what was delivered so far. Within a lane events arrive in order, as
replication delivers them; orders differ in how lanes interleave.
"""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.workload.flights import Aircraft, Departures, Selection, data_file, desks, select
from chaos.workload.truth import differing, expected_rows, expected_views
from projectors.engine.engine import Engine
from projectors.engine.sink import Sink
from projectors.model.projection import Projection
from projectors.reads.rows import read_row
from projectors.versions.verify import Place, Verdict, compare
from replicator.domain.clock import Hlc
from replicator.domain.event import NO_EVENTS, Event, Head, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import VersionVector
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.store import EventStore

REGIONS = ("ap-south-1", "eu-west-1", "us-east-1")
PROJECTIONS: tuple[type[Projection], ...] = (Aircraft, Departures)
ORDERS = ("as written", "region by region", "shuffled")
DUPLICATES = 0.1
_BATCH = 5_000
_BATCHES = 20  # at least this many, if the events suffice: within one, a stream's lanes are folded one after the other
_EPOCH_MS = 1_763_914_981_123

Tell = Callable[[str, int, int], None]
"""Callable that receives the name of the work, how much of it is done, and of how much."""


@dataclass(slots=True)
class Outcome:
    """Result of a run."""

    events: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of projecting, by sink and order."""
    verdicts: list[Verdict] = field(default_factory=list)
    interleavings: Counter[int] = field(default_factory=Counter)
    """Number of different interleavings of a stream's lanes -> number of streams with several lanes that were folded in so
    many."""
    wrong: list[str] = field(default_factory=list)
    """Views and rows that differ from pandas' result, and events that could not be digested."""

    @property
    def kept(self) -> bool:
        return not self.wrong and bool(self.verdicts) and all(each.equal for each in self.verdicts)


def written(selection: Selection, seed: int) -> list[Event]:
    """Return the reports as events of three regions, in the order in which they were written. Writers have now and then seen
    a part of what the other regions wrote: some events are concurrent, some follow each other."""
    chance = random.Random(seed)
    regions = {
        id(r): region for region, desk in desks(REGIONS, selection.reports).items() for rs in desk.values() for r in rs
    }
    heads: dict[LaneId, Head] = {}
    events: list[Event] = []
    for number, report in enumerate(selection.reports):
        lane = LaneId(regions[id(report)], report.stream)
        head = heads.get(lane, NO_EVENTS)
        seen = {region: heads.get(LaneId(region, report.stream), NO_EVENTS).sequence for region in REGIONS}
        observed = VersionVector({region: chance.choice((0, last, last)) for region, last in seen.items()})
        event = seal(lane, head.sequence + 1, Hlc(_EPOCH_MS + number, 0), report.event, observed, head.digest)
        heads[lane] = Head.of(event)
        events.append(event)
    return events


def delivered(events: Sequence[Event], order: str, seed: int) -> Iterator[list[Event]]:
    """Yield the events in batches, in one of ORDERS, a tenth of them twice or more. Within each lane they keep their
    order."""
    chance = random.Random(f"{seed} {order}")
    line = list(events)
    if order == "region by region":
        line.sort(key=lambda event: event.region, reverse=True)  # stable: lanes keep their order
    elif order == "shuffled":
        lanes: dict[LaneId, Iterator[Event]] = {lane: iter(found) for lane, found in _by_lane(events).items()}
        turns = [event.lane for event in events]
        chance.shuffle(turns)
        line = [next(lanes[lane]) for lane in turns]
    size = max(1, min(_BATCH, len(line) // _BATCHES))
    for start in range(0, len(line), size):
        batch = line[start : start + size]
        yield batch + chance.choices(line[: start + len(batch)], k=int(len(batch) * DUPLICATES))


def _by_lane(events: Sequence[Event]) -> dict[LaneId, list[Event]]:
    found: dict[LaneId, list[Event]] = defaultdict(list)
    for event in events:
        found[event.lane].append(event)
    return found


class _Folds:
    """Order in which the lanes of each stream are folded: a batch brings a stream's lanes in the order of their regions."""

    def __init__(self) -> None:
        self._last: dict[LaneId, int] = {}
        self._turns: dict[StreamId, list[tuple[str, int]]] = defaultdict(list)

    def add(self, batch: Sequence[Event]) -> None:
        ends: dict[LaneId, int] = {}
        for event in batch:
            if event.sequence > self._last.get(event.lane, 0):
                ends[event.lane] = max(event.sequence, ends.get(event.lane, 0))
        for lane in sorted(ends, key=lambda lane: lane.region):
            turns = self._turns[lane.stream]
            if turns and turns[-1][0] == lane.region:
                turns.pop()  # the same lane goes on
            turns.append((lane.region, ends[lane]))
        self._last.update(ends)

    def of(self, stream: StreamId) -> tuple[tuple[str, int], ...]:
        """Return how far each lane was folded before another had its turn."""
        return tuple(self._turns[stream])


def run_orders(events: int | None, seed: int, sinks: Mapping[str, tuple[Sink, str]], tell: Tell) -> Outcome:
    """Project at least `events` flight events into each sink, in the order that is named with it, and judge them all."""
    selection = select(events, seed)
    history = written(selection, seed)
    outcome = Outcome(len(history))
    folds: dict[str, _Folds] = {}
    for name, (sink, order) in sinks.items():
        started = time.monotonic()
        storage, folds[order] = MemoryStorage(), _Folds()
        engine = Engine(PROJECTIONS, EventStore(storage, REGIONS[0], REGIONS), sink)
        done = 0
        for batch in delivered(history, order, seed):
            storage.insert_each(batch)
            folds[order].add(batch)
            outcome.wrong += [f"{name}: {each.event_id}: {each.reason}" for each in engine.apply(batch)]
            done += len(batch)
            tell(f"{name}, {order}", done, int(len(history) * (1 + DUPLICATES)))
        outcome.seconds[f"{name}, {order}"] = time.monotonic() - started
    lanes = Counter(lane.stream for lane in _by_lane(history))
    several = [stream for stream, number in lanes.items() if number > 1]
    outcome.interleavings = Counter(len({each.of(stream) for each in folds.values()}) for stream in several)
    places = [Place(f"{name}, {order}", sink) for name, (sink, order) in sinks.items()]
    for projection in PROJECTIONS:
        for other in places[1:]:
            tell("comparing", len(outcome.verdicts) + 1, (len(places) - 1) * len(PROJECTIONS))
            outcome.verdicts.append(compare(projection.name, projection.version, places[0], other))
    acknowledged = [
        (e.stream.id, str(e.hlc), e.region, e.sequence, r.event.payload["flight"])
        for e, r in zip(history, selection.reports, strict=True)
    ]
    truth = expected_views(data_file(), selection.first, selection.last, acknowledged)
    rows = expected_rows(data_file(), selection.first, selection.last)
    for number, place in enumerate(places, 1):
        tell("against pandas", number, len(places))
        outcome.wrong += _judge(place, truth, rows)
    return outcome


def _judge(place: Place, truth: Mapping[str, Any], rows: Mapping[str, Any]) -> list[str]:
    values = {view.key.partition("/")[2]: view.value for view in place.sink.views(Aircraft.name)}
    named = {view.row for view in place.sink.views(Departures.name) if view.row}
    read = {row: read_row(Departures, place.sink, row).value for row in {*rows, *named}}
    return [f"{place.name}: {why}" for why in (*differing(values, truth), *differing(read, rows))]
