"""Sampling of replication lag while a scenario runs: a sample of the acknowledged events is looked up in the tables. It
serves the chart; nothing is judged by it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import floor
from typing import Any

from botocore.exceptions import ClientError

from chaos.checker.final_reads import Tables
from chaos.checker.history import Call, Outcome
from replicator.domain.errors import MeridianError
from replicator.runtime.settings import Settings

EVERY_SECONDS = 0.5
_PER_LOOK = 6
"""Number of events of each region that enter the sample between two reads."""
_PENDING = 300
"""Maximum number of a region's events that are waited for; the oldest stay."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """Acknowledged event, `at` seconds of the run's clock."""

    at: float
    lane: str
    sequence: int
    digest: str

    @property
    def source(self) -> str:
        return self.lane.partition("#")[0]


@dataclass(frozen=True, slots=True)
class Sample:
    """One read of one region, `at` seconds of the run's clock.

    `events` and `views` give for each source region the seconds since the acknowledgement of the oldest event of the sample
    that is not here (not in its view); 0 where all are. `answered`: whether the region could be read.
    """

    at: float
    events: Mapping[str, float]
    views: Mapping[str, float]
    answered: bool


class Waiting:
    """Events that one region is expected to get, by the history's acknowledgements. Pure; shared between threads."""

    def __init__(self, region: str, regions: Collection[str], type: str) -> None:
        self.region = region
        self._type = type
        self._lock = threading.Lock()
        self._new: dict[str, list[Acknowledged]] = {source: [] for source in regions}
        self._events: dict[str, list[Acknowledged]] = {source: [] for source in regions if source != region}
        self._views: dict[str, list[Acknowledged]] = {source: [] for source in regions}

    def hear(self, line: Mapping[str, Any]) -> None:
        """Receive a line of the history."""
        if line["is"] == "ok" and line["events"]:
            with self._lock:
                for event in line["events"][:2]:
                    source, kind, _ = event["lane"].split("#")
                    if kind == self._type and source in self._new:
                        self._new[source].append(Acknowledged(line["at"], event["lane"], event["sequence"], event["digest"]))
        elif line["is"] == "lost":
            gone = set(line["gone"])
            with self._lock:
                for lists in (self._new, self._events, self._views):
                    for source, waiting in lists.items():
                        lists[source] = [each for each in waiting if each.digest not in gone]

    def wanted(self) -> tuple[list[Acknowledged], list[Acknowledged]]:
        """Return what to look for now: events, and events in views."""
        with self._lock:
            for source, new in self._new.items():
                chosen = new[:: max(1, len(new) // _PER_LOOK)]
                self._new[source] = []
                for lists in (self._events, self._views):
                    if source in lists:
                        lists[source] = [*lists[source], *chosen][:_PENDING]
            return [each for waiting in self._events.values() for each in waiting], [
                each for waiting in self._views.values() for each in waiting
            ]

    def found(
        self, now: float, here: Collection[Acknowledged], seen: Collection[Acknowledged], answered: bool = True
    ) -> Sample:
        """Record the wanted events that are here, and those that its views include."""
        with self._lock:
            for lists, arrived in ((self._events, set(here)), (self._views, set(seen))):
                for source, waiting in lists.items():
                    lists[source] = [each for each in waiting if each not in arrived]
            return Sample(now, _oldest(self._events, now), _oldest(self._views, now), answered)


def _oldest(waiting: Mapping[str, Sequence[Acknowledged]], now: float) -> dict[str, float]:
    return {source: max((max(0.0, now - each.at) for each in events), default=0.0) for source, events in waiting.items()}


def series(calls: Iterable[Call], samples: Mapping[str, Sequence[Sample]], began: float) -> dict[str, Any]:
    """Return the data of the charts, as JSON. All times are seconds of the timeline, which began at `began`.

    `calls`: region -> outcome -> {second: how many ended in it}, and "events": {second: how many were acknowledged}. `lag`:
    region -> {"at", "answered", "events": source -> seconds behind, "views": the same}, lists of one length.
    """
    counted: dict[str, dict[str, Counter[int]]] = {}
    for call in calls:
        if call.ended is not None:
            second = floor(call.ended - began)
            rates = counted.setdefault(call.region, {name: Counter() for name in ("events", *map(str, Outcome))})
            rates[str(call.outcome)][second] += 1
            if call.outcome is Outcome.OK:
                rates["events"][second] += len(call.events)
    return {
        "calls": {
            region: {name: {str(second): count for second, count in sorted(each.items())} for name, each in rates.items()}
            for region, rates in sorted(counted.items())
        },
        "lag": {
            region: {
                "at": [round(each.at - began, 2) for each in looks],
                "answered": [each.answered for each in looks],
                "events": _by_source([each.events for each in looks]),
                "views": _by_source([each.views for each in looks]),
            }
            for region, looks in sorted(samples.items())
        },
    }


def _by_source(looks: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    return {source: [round(each[source], 2) for each in looks] for source in sorted(looks[0] if looks else ())}


@dataclass(slots=True)
class Sampler:
    """Sampler that reads every region every half second, in a thread each. `clock` is the history's; `views` is the prefix
    of the views' keys."""

    settings: Mapping[str, Settings]
    clock: Callable[[], float]
    type: str
    views: str
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    _waiting: dict[str, Waiting] = field(default_factory=dict)
    _threads: list[threading.Thread] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        for region in self.settings:
            self.samples[region] = []
            self._waiting[region] = Waiting(region, list(self.settings), self.type)

    def hear(self, line: Mapping[str, Any]) -> None:
        """Receive a line of the history."""
        for waiting in self._waiting.values():
            waiting.hear(line)

    def start(self) -> None:
        for region in self.settings:
            thread = threading.Thread(target=self._run, args=(region,), name=f"sampler-{region}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """End, after a last read of each region."""
        self._ended.set()
        for thread in self._threads:
            thread.join(15.0)
        self._threads.clear()

    def _run(self, region: str) -> None:
        settings = replace(self.settings[region], connect_timeout=1.0)
        tables = Tables(settings, read_timeout=2.0, attempts=1)  # a later answer would say nothing about now
        last = False
        while not last:
            last = self._ended.wait(EVERY_SECONDS)
            self.samples[region].append(self._look(tables, self._waiting[region]))

    def _look(self, tables: Tables, waiting: Waiting) -> Sample:
        events, viewed = waiting.wanted()
        try:
            digests = tables.digests({(each.lane, each.sequence) for each in events})
            vectors = {key: json.loads(text) for key, text in tables.vectors({self._key(each) for each in viewed}).items()}
        except (MeridianError, ClientError):
            return waiting.found(self.clock(), (), (), answered=False)
        here = [each for each in events if (each.lane, each.sequence) in digests]
        seen = [each for each in viewed if vectors.get(self._key(each), {}).get(each.source, 0) >= each.sequence]
        return waiting.found(self.clock(), here, seen)

    def _key(self, event: Acknowledged) -> str:
        _, kind, name = event.lane.split("#")
        return f"{self.views}#{kind}/{name}"
