"""Fold of a stream into a place (last writer wins), a count and a set of airports, in memory, against the `eventsourcing`
library replaying an aggregate with the same state: plain in-memory application, cache off, no snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from benchmarks.bench import EAST, Bench
from benchmarks.events import Chains
from benchmarks.measure import Of, Row, Task, at_least
from projectors import Engine, MemorySink, Projection, add, collection, counter, register
from replicator import EventStore, MemoryStorage
from replicator.domain.errors import InvalidConfig
from replicator.domain.event import Event, NewEvent
from replicator.eventstore.event_items import from_item, to_item

EVENTS, AIRPORTS = 2000, 9
_THEIRS = "eventsourcing 9.5 replaying an aggregate"
_GOALS = (at_least(Of.RATE, 6.0),)
TASKS = (
    Task("fold LWW + counter + set, events at hand", _THEIRS, _GOALS),
    Task("fold LWW + counter + set, from stored items", _THEIRS, ()),
)


class Place(Projection):
    name, stream_type = "place", "user"
    place = register(departed=lambda p: p["airport"])
    flights = counter(departed=lambda p: 1)
    airports = collection(departed=lambda p: add(p["airport"]))


def check() -> None:
    """Raise InvalidConfig unless the baseline is installed."""
    if find_spec("eventsourcing") is None:
        raise InvalidConfig(
            "the baseline of benchmarks/folding.py is missing; run: pip install 'eventsourcing>=9.5,<9.6', "
            "or leave the row out with --only"
        )


def rows(bench: Bench) -> Iterator[Row]:
    check()
    store = EventStore(MemoryStorage(), EAST, [])
    chains = Chains(EAST, "N", 1)
    events = [event for n in range(EVENTS) for event in chains.grow(new=NewEvent("departed", {"airport": _airport(n)}))]
    items = [to_item(event) for event in events]

    def fold(found: list[Event]) -> None:
        sink = MemorySink()
        Engine([Place], store, sink).apply(found)
        (view,) = sink.views("place")
        _expect(view.value["place"], view.value["flights"], view.value["airports"])

    replay = _replaying()
    yield bench.compare(TASKS[0], lambda: fold(events), replay, EVENTS)
    yield bench.compare(
        TASKS[1], lambda: fold([from_item(item) for item in items]), replay, EVENTS, note="with each digest checked; no goal"
    )


def _airport(number: int) -> str:
    return f"A{number % AIRPORTS}"


def _expect(place: Any, flights: int, airports: Any) -> None:
    if (place, flights, len(airports)) != (_airport(EVENTS - 1), EVENTS, AIRPORTS):
        raise RuntimeError(f"the fold is wrong: {place}, {flights} flights, {len(airports)} airports")


def _replaying() -> Callable[[], None]:
    """Return a function that reads the aggregate from the application's repository, which replays its stored events each
    time."""
    domain, application = import_module("eventsourcing.domain"), import_module("eventsourcing.application")

    class Aircraft(domain.Aggregate):  # type: ignore[misc, name-defined]
        @domain.event("Registered")  # type: ignore[untyped-decorator]
        def __init__(self) -> None:
            self.place = ""
            self.flights = 0
            self.airports: set[str] = set()

        @domain.event("Departed")  # type: ignore[untyped-decorator]
        def depart(self, airport: str) -> None:
            self.place = airport
            self.flights += 1
            self.airports.add(airport)

    fleet = application.Application(env={"AGGREGATE_CACHE_MAXSIZE": ""})
    aircraft = Aircraft()
    for number in range(EVENTS):
        aircraft.depart(_airport(number))
    fleet.save(aircraft)

    def replay() -> None:
        found = fleet.repository.get(aircraft.id)
        _expect(found.place, found.flights, found.airports)

    return replay
