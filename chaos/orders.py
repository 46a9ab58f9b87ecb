"""Views in any order: the same flight events, delivered in several orders with duplicates into several sinks; then every
sink compared with the first, and each held against pandas."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.flights import Aircraft, Departures, Selection, data_file, desks, select
from chaos.truth import expected_rows, expected_views
from projectors.engine import Engine
from projectors.projection import Projection
from projectors.rows import read_row
from projectors.sinks.port import Sink
from projectors.verify import Place, Verdict, compare
from replicator.domain.clock import Hlc
from replicator.domain.event import NO_EVENTS, Event, Head, seal
from replicator.domain.names import LaneId
from replicator.domain.vector import VersionVector
from replicator.memory import MemoryStorage
from replicator.store import EventStore

REGIONS = ("ap-south-1", "eu-west-1", "us-east-1")
PROJECTIONS: tuple[type[Projection], ...] = (Aircraft, Departures)
ORDERS = ("as written", "region by region", "shuffled")
DUPLICATES = 0.1
_BATCH = 5_000
_EPOCH_MS = 1_763_914_981_123

Tell = Callable[[str, int, int], None]
"""What is being done, how much of it, of how much."""


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    events: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    """By sink and order: how long projecting took."""
    verdicts: list[Verdict] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Views and rows that are not what pandas says, and events that could not be digested."""

    @property
    def kept(self) -> bool:
        return not self.wrong and bool(self.verdicts) and all(each.equal for each in self.verdicts)


def written(selection: Selection, seed: int) -> list[Event]:
    """The reports as events of three regions, in the order in which they were written. Writers have now and then seen a
    part of what the other regions wrote: some events are concurrent, some follow each other."""
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
    """The events in batches, in one of ORDERS, a tenth of them twice or more."""
    chance = random.Random(f"{seed} {order}")
    if order == "region by region":
        line = sorted(events, key=lambda event: (event.region, event.hlc), reverse=True)
    else:
        line = list(events)
        if order == "shuffled":
            chance.shuffle(line)
    for start in range(0, len(line), _BATCH):
        batch = line[start : start + _BATCH]
        yield batch + chance.choices(line[: start + len(batch)], k=int(len(batch) * DUPLICATES))


def run_orders(events: int | None, seed: int, sinks: Mapping[str, tuple[Sink, str]], tell: Tell) -> Outcome:
    """Project at least `events` flight events into each sink, in the order that is named with it, and judge them all."""
    selection = select(events, seed)
    history = written(selection, seed)
    storage = MemoryStorage()
    storage.insert_each(history)
    outcome = Outcome(len(history))
    for name, (sink, order) in sinks.items():
        started = time.monotonic()
        engine = Engine(PROJECTIONS, EventStore(storage, REGIONS[0], REGIONS), sink)
        done = 0
        for batch in delivered(history, order, seed):
            outcome.wrong += [f"{name}: {each.event_id}: {each.reason}" for each in engine.apply(batch)]
            done += len(batch)
            tell(f"{name}, {order}", done, int(len(history) * (1 + DUPLICATES)))
        outcome.seconds[f"{name}, {order}"] = time.monotonic() - started
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
    wrong = [
        f"{place.name}: {tail} is {values.get(tail)}, the data says {truth.get(tail)}"
        for tail in sorted({*truth, *values})
        if values.get(tail) != truth.get(tail)
    ]
    named = {view.row for view in place.sink.views(Departures.name) if view.row}
    for row in sorted({*rows, *named}):
        value = read_row(Departures, place.sink, row).value
        if value != rows.get(row):
            wrong.append(f"{place.name}: row {row} is {value}, the data says {rows.get(row)}")
    return wrong
