"""Proof that views are equal: two sinks, of one region or of two, compared range by range; and views compared with the
events that they are made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from typing import TypeVar

from projectors.engine.cells import load_each
from projectors.engine.digests import Difference, Effort, Fingerprint, differences
from projectors.engine.engine import Engine
from projectors.engine.failures import Failure, LanesWait
from projectors.engine.memory_sink import MemorySink
from projectors.engine.sink import Sink
from projectors.model.projection import Projection
from projectors.model.view import ViewKey
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.erasure import PersonalData
from replicator.eventstore.store import EventStore

_SLICE = 300
T = TypeVar("T")


class Folded:
    """All views of a projection, folded from the events alone into memory: the reference for a sink. Reads every event."""

    def __init__(self, projection: type[Projection], store: EventStore, personal: PersonalData | None = None) -> None:
        self.sink = MemorySink()
        self.failures: list[Failure] = []
        """Events that the projection cannot process: their views stand before them, as in a sink."""
        self.waits: set[LaneId] = set()
        """Lanes with personal data whose keys are in a region that does not answer."""
        self._projection = projection
        self._store = store
        self._personal = personal
        self._fold(self.sink, self.failures, (each for each in store.lanes() if projection.reads(each[0].stream)))

    def again(self, keys: Collection[ViewKey]) -> Sink:
        """Return these views, folded from the present events of their streams."""
        sink, streams = MemorySink(), sorted({StreamId.parse(key.key) for key in keys}, key=str)
        lanes = (LaneId(region, stream) for stream in streams for region in self._store.regions)
        ends = ((lane, last) for part in _slices(lanes) for lane, last in self._store.begun(part).items())
        self.waits -= {lane for lane in self.waits if lane.stream in streams}
        self._fold(sink, [], ends)
        return sink

    def _fold(self, sink: Sink, failures: list[Failure], lanes: Iterable[tuple[LaneId, int]]) -> None:
        engine = Engine([self._projection], self._store, sink, self._personal, watch=False)
        for part in _slices(lanes):
            try:
                failures += engine.catch_up(dict(part))
            except LanesWait as error:
                failures += error.failures
                self.waits |= error.lanes.keys()


@dataclass(frozen=True, slots=True)
class Place:
    """Sink with its display name: `us-east-1 dynamodb`. Or views that were folded from the events."""

    name: str
    sink: Sink
    folded: Folded | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of a comparison: the views that differ, those that cannot be judged, and the cost."""

    left: str
    right: str
    differing: list[Difference]
    effort: Effort
    unjudged: list[Difference] = field(default_factory=list)
    """Views that differ while some of their events cannot be read, for want of another region's keys."""

    @property
    def equal(self) -> bool:
        return not self.differing and not self.unjudged

    @property
    def empty(self) -> bool:
        """Whether neither side holds any view, so that nothing was compared."""
        return self.equal and not self.effort.views

    @property
    def damaged(self) -> list[Difference]:
        """Views whose difference no delay explains."""
        return [each for each in self.differing if each.damaged]


def compare(
    projection: str,
    version: int,
    left: Place,
    right: Place,
    *,
    settle: float = 0.0,
    thorough: bool = False,
    sleep: Callable[[float], None] = time.sleep,
) -> Verdict:
    """Compare the views of a projection's version in two sinks. Views of different vectors are compared again for up to
    `settle` seconds: events may be on their way. `thorough`: read every view, and trust no digest of a range."""
    effort = Effort()
    ours, theirs = (
        each.sink.summary(projection, version, thorough=True) if thorough else each.sink.summary(projection, version)
        for each in (left, right)
    )
    found = list(differences(ours, theirs, effort))
    damaged = [each for each in found if each.damaged]
    delayed = [each for each in found if not each.damaged]
    waited = 0.0
    while waited < settle and delayed:
        pause = min(0.5, settle - waited)
        sleep(pause)
        waited += pause
        found = _again([each.key for each in delayed], left, right)
        damaged += [each for each in found if each.damaged]
        delayed = [each for each in found if not each.damaged]
    unsure = {str(lane.stream) for each in (left, right) if each.folded for lane in each.folded.waits}
    differing = damaged + [each for each in delayed if each.key.key not in unsure]
    unjudged = [each for each in delayed if each.key.key in unsure]
    return Verdict(
        left.name, right.name, sorted(differing, key=lambda each: each.key), effort,
        sorted(unjudged, key=lambda each: each.key),
    )  # fmt: skip


def _again(keys: Sequence[ViewKey], left: Place, right: Place) -> list[Difference]:
    ours, theirs = _fingerprints(left, keys), _fingerprints(right, keys)
    return [Difference(key, ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)]


def _fingerprints(place: Place, keys: Sequence[ViewKey]) -> dict[ViewKey, Fingerprint]:
    sink = place.folded.again(keys) if place.folded is not None else place.sink
    found: dict[ViewKey, Fingerprint] = {}
    for part in _slices(keys):
        views, damaged = load_each(sink, part)
        found.update({key: Fingerprint(view.vector, view.digest) for key, view in views.items()})
        for key, why in damaged.items():  # no sound view has such a fingerprint, nor has the other side
            found[key] = Fingerprint(EMPTY, sha256(f"{place.name}: {key}: {why}".encode()).digest())
    return found


def _slices(items: Iterable[T]) -> Iterator[list[T]]:
    left = iter(items)
    while part := list(islice(left, _SLICE)):
        yield part
