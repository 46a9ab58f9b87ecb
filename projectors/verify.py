"""The proof that views are equal: two sinks, of one region or of two, compared range by range; and views held against the
events that they are made of."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from projectors.engine import Engine, Failure
from projectors.projection import Projection
from projectors.sinks.memory import MemorySink
from projectors.sinks.port import Sink
from projectors.summary import Difference, Effort, Fingerprint, differences
from projectors.view import ViewKey
from replicator.domain.names import StreamId
from replicator.erasure import PersonalData
from replicator.store import EventStore

_SLICE = 300


@dataclass(frozen=True, slots=True)
class Place:
    """A sink by the name that people know it by: `us-east-1 dynamodb`."""

    name: str
    sink: Sink


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a comparison found: the views that differ, and what it cost."""

    left: str
    right: str
    differing: list[Difference]
    effort: Effort

    @property
    def equal(self) -> bool:
        return not self.differing

    @property
    def damaged(self) -> list[Difference]:
        """Those that no delay explains."""
        return [each for each in self.differing if each.damaged]


def compare(
    projection: str,
    version: int,
    left: Place,
    right: Place,
    *,
    settle: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Verdict:
    """Compare what two sinks hold of a projection's version. Views of different vectors are looked at again for up to
    `settle` seconds: events may be on their way."""
    effort = Effort()
    found = list(differences(left.sink.summary(projection, version), right.sink.summary(projection, version), effort))
    waited = 0.0
    while waited < settle and any(not each.damaged for each in found):
        pause = min(0.5, settle - waited)
        sleep(pause)
        waited += pause
        found = _again(found, left.sink, right.sink)
    return Verdict(left.name, right.name, found, effort)


def _again(found: Iterable[Difference], left: Sink, right: Sink) -> list[Difference]:
    keys = [each.key for each in found]
    ours, theirs = _fingerprints(left, keys), _fingerprints(right, keys)
    return [Difference(key, ours.get(key), theirs.get(key)) for key in keys if ours.get(key) != theirs.get(key)]


def _fingerprints(sink: Sink, keys: Sequence[ViewKey]) -> dict[ViewKey, Fingerprint]:
    return {key: Fingerprint(view.vector, view.digest) for key, view in sink.load(keys).items()}


def fold_again(
    projection: type[Projection],
    store: EventStore,
    streams: Iterable[StreamId] | None = None,
    personal: PersonalData | None = None,
) -> tuple[MemorySink, list[Failure]]:
    """All views of a projection, or those of some streams, folded from the events alone into memory: what a sink should
    hold. Reads every event."""
    sink = MemorySink()
    engine = Engine([projection], store, sink, personal, watch=False)
    failures: list[Failure] = []
    wanted = None if streams is None else set(streams)
    lanes = ((lane, last) for lane, last in store.lanes() if projection.reads(lane.stream))
    lanes = (each for each in lanes if wanted is None or each[0].stream in wanted)
    while part := dict(islice(lanes, _SLICE)):
        failures += engine.catch_up(part)
    return sink, failures
