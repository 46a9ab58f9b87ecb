"""Rebuild: builds a version of a projection from the whole history, beside the one that readers see.

It may be killed at any instant and run again: it goes on behind its checkpoint, and what was folded already is skipped by
the views' own vectors. Events that are appended meanwhile are folded by the region's projector, which feeds both versions,
or by the last pass here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from threading import Event as Flag

from projectors.engine.cells import load_each
from projectors.engine.engine import Engine
from projectors.engine.failures import Failure, LanesWait
from projectors.engine.memory_sink import MemorySink
from projectors.engine.sink import Sink
from projectors.model.projection import Projection
from projectors.versions.versions import Build, Versions
from replicator.domain.names import LaneId, StreamId
from replicator.erasure import PersonalData
from replicator.eventstore.store import EventStore

_SLICE = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a rebuild."""

    build: Build
    streams: int
    """Number of streams of the projection."""
    events: int
    """Number of events in these streams."""
    remaining: float | None
    """Seconds left at the pace so far; None before there is one."""


class Rebuild:
    """Builds one projection's version into one sink. `tell` is called for each slice."""

    def __init__(
        self,
        projection: type[Projection],
        store: EventStore,
        sink: Sink,
        versions: Versions,
        personal: PersonalData | None = None,
        tell: Callable[[Progress], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._projection = projection
        self._store = store
        self._versions = versions
        self._sink = sink
        self._personal = personal
        self._tell = tell
        self._clock = clock

    def run(self, stop: Flag | None = None, *, again: bool = False) -> tuple[Build, list[Failure]]:
        """Fold every stream that feeds the projection. Ends early when `stop` is set: the same call goes on from there.
        `again`: from the beginning, though it may have been built before, and views that are damaged or wrong are made anew.

        Returns how far it came, and the events that cannot be digested. Raises RegionUnavailable after a checkpoint of what
        is done; LanesWait when all is folded except lanes that wait for the keys of a region that does not answer.
        """
        build = self._versions.begin(self._projection.name, self._projection.version)
        build = Build(drops=build.drops) if again or build.built else build
        engine, lanes = self._engine(), self._lanes()
        every, pace = sum(sum(each.values()) for each in lanes.values()), _Pace(self._clock)
        for part, wanted in self._parts(lanes, build.after, stop):
            started, events = self._clock(), sum(wanted.values())
            if again:
                self._mend(wanted)
            self._catch_up(engine, wanted)
            build = replace(
                build, after=str(part[-1]), streams=build.streams + len(part), events=build.events + events,
                seconds=round(build.seconds + self._clock() - started, 3),
            )  # fmt: skip
            self._keep(build)
            pace.add(events)
            self._tell(Progress(build, len(lanes), every, pace.left(every - build.events)))
        # Once more, for events appended behind that pass, with no memory of it: a view that is up to date costs one
        # read, and one that no longer exists is made.
        engine = self._engine()
        failures: dict[tuple[str, str], Failure] = {}
        waits: list[LanesWait] = []
        for _, wanted in self._parts(self._lanes(), "", stop):
            found, wait = self._catch_up(engine, wanted)
            failures.update({(each.projection, each.event_id): each for each in found})
            waits += [wait] if wait is not None else []
        if waits:
            raise LanesWait({lane: span for each in waits for lane, span in each.lanes.items()}, [], str(waits[0]))
        if stop is None or not stop.is_set():
            build = replace(build, built=True, failures=len(failures))
            self._keep(build)
        return build, list(failures.values())

    def _parts(
        self, lanes: Mapping[StreamId, Mapping[str, int]], after: str, stop: Flag | None
    ) -> Iterator[tuple[list[StreamId], dict[LaneId, int]]]:
        """Yield some streams at a time, in the order of their names, with their lanes."""
        names = iter([stream for stream in sorted(lanes, key=str) if str(stream) > after])
        while (stop is None or not stop.is_set()) and (part := list(islice(names, _SLICE))):
            yield part, {LaneId(region, stream): last for stream in part for region, last in lanes[stream].items()}

    def _engine(self, sink: Sink | None = None) -> Engine:
        return Engine([self._projection], self._store, sink or self._sink, self._personal, watch=False)

    def _mend(self, wanted: Mapping[LaneId, int]) -> None:
        """Discard views of these lanes that are damaged, or differ from what the events make of them at their vectors."""
        right = MemorySink()
        self._catch_up(self._engine(right), wanted)
        expected = {view.id: view for view in right.views(self._projection.name, self._projection.version)}
        found, damaged = load_each(self._sink, list(expected))
        wrong = {key for key, view in found.items() if view.vector == expected[key].vector and view != expected[key]}
        wrong |= damaged.keys() | {key for key in expected if key.row and key not in found and key not in damaged}
        # How far a stream is folded goes first: if that is absent, missing cells are made again.
        self._sink.discard({key._replace(row="") for key in wrong})
        self._sink.discard({key for key in wrong if key.row})

    @staticmethod
    def _catch_up(engine: Engine, wanted: Mapping[LaneId, int]) -> tuple[list[Failure], LanesWait | None]:
        try:
            return engine.catch_up(wanted), None
        except LanesWait as error:
            return error.failures, error

    def _keep(self, build: Build) -> None:
        self._versions.keep(self._projection.name, self._projection.version, build)

    def _lanes(self) -> Mapping[StreamId, Mapping[str, int]]:
        found: dict[StreamId, dict[str, int]] = {}
        for lane, last in self._store.lanes():
            if self._projection.reads(lane.stream):
                found.setdefault(lane.stream, {})[lane.region] = last
        return found


class _Pace:
    """Pace of this run, in events a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._started, self._events = clock, clock(), 0

    def add(self, events: int) -> None:
        self._events += events

    def left(self, events: int) -> float | None:
        return max(events, 0) * (self._clock() - self._started) / self._events if self._events else None


def describe(failures: Sequence[Failure], limit: int = 10) -> list[str]:
    """Return the first failures, a line each."""
    lines = [f"{each.event_id}: {each.reason}" for each in failures[:limit]]
    return lines + ([f"and {len(failures) - limit:,} more"] if len(failures) > limit else [])
