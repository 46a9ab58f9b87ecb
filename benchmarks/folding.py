"""Folding events of one stream into LWW, counter and set, in memory, against the bare dictionary updates they amount to."""

from __future__ import annotations

from typing import Any

from benchmarks.measure import Row, compare
from projectors import Engine, MemorySink, Projection, add, collection, counter, register
from replicator import EventStore, MemoryStorage, NewEvent, Settings

EVENTS = 2000


class Place(Projection):
    name, stream_type = "place", "aircraft"
    place = register(departed=lambda p: p["airport"])
    flights = counter(departed=lambda p: 1)
    airports = collection(departed=lambda p: add(p["airport"]))


def rows(settings: Settings) -> list[Row]:
    storage = MemoryStorage()
    store = EventStore(storage, "us-east-1", [])
    for n in range(EVENTS // 100):
        store.append("aircraft/N1", *[NewEvent("departed", {"airport": f"A{(n + k) % 9}"}) for k in range(100)])
    events = list(store.read("aircraft/N1"))

    def fold() -> None:
        Engine([Place], store, MemorySink()).apply(events)

    def plain() -> None:
        view: dict[str, Any] = {"place": None, "flights": 0, "airports": set()}
        for event in events:
            airport = event.payload["airport"]
            view["place"] = airport
            view["flights"] += 1
            view["airports"].add(airport)

    return [compare("fold LWW + counter + set", fold, "plain dictionary updates", plain, EVENTS)]
