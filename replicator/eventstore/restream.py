"""Restreaming: split and merge streams by replay, an offline operation with its own checkpoint.

One region appends the events of some streams again, in stream order, to the streams where they belong. Old events
stay where they are. Each step appends its events and the checkpoint, itself an event of the stream `restream/<name>`, in
one transaction: killed at any point and run again, it moves every event exactly once.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from replicator.domain.errors import InvalidOperation
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import StreamId
from replicator.domain.protected import Protected, holds_personal
from replicator.domain.vector import EMPTY, VersionVector
from replicator.eventstore.history import CAUSATION
from replicator.eventstore.operations import Accept, Operation, Reject, Rejected, Saved, Verdict, When
from replicator.eventstore.reducer import Reducer
from replicator.eventstore.storage import MAX_EVENTS, MAX_EVENTS_BYTES
from replicator.eventstore.store import EventStore
from replicator.eventstore.store_errors import AppendContention
from replicator.eventstore.upcasting import PLAIN, Schemas

_ROOM_BYTES = 4096  # bytes of an event beside its payload and metadata
_ROUTED = MAX_EVENTS - 1  # events of one transaction, beside the checkpoint
_MOST_READ = 200  # maximum events between two checkpoints, even if none is routed: a checkpoint names their streams
MOVED = "meridian.restreamed"
ORIGIN, ORIGIN_TIME = "origin", "origin_time"
"""Metadata keys of a moved event: the id and the HLC of its origin."""

Route = Callable[[Event, dict[str, object]], Iterable[tuple[StreamId | str, NewEvent]]]
"""Function that routes an event, given its payload in the latest version: target streams, each with the event to append."""


_Routed = tuple[Event, list[tuple[StreamId, NewEvent]]]


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a restreaming: events read of `total`, and events appended."""

    read: int
    total: int
    appended: int


class Restream:
    """Replays `sources` through `route`. `name` names its checkpoint: a run under the same name resumes where it stopped.

    Offline: no writer may write to the sources while it runs; the end of the run checks this. One region runs it from
    start to end: a second one notices only once the checkpoint has arrived there. A split routes one source's events to
    many streams, a merge those of many sources to one, in the order of their times. A moved event is some 200 bytes larger
    than the one that the route returned, as it names its origin; one that then exceeds DynamoDB's item limit stops the run.
    """

    def __init__(
        self, store: EventStore, name: str, sources: Sequence[StreamId | str], route: Route, schemas: Schemas = PLAIN
    ) -> None:
        self._store = store
        self._checkpoint = StreamId("restream", name)
        self._sources = [StreamId.of(s) for s in sources]
        self._route = route
        self._schemas = schemas
        if not self._sources or len(set(self._sources)) != len(self._sources):
            raise InvalidOperation(
                f"restream {name!r} needs sources, each named once; it has {', '.join(map(str, sources))}"
            )

    def run(self, progress: Callable[[Progress], None] = lambda _: None) -> Progress:
        """Move the events that are not moved yet. Raises InvalidOperation when a source was written to meanwhile, or when
        the route leads back into a source; other errors as EventStore.save. Run it again after any of them."""
        ends = {source: self._store.state(source).vector for source in self._sources}
        done = self._done()
        total = sum(sequence for vector in ends.values() for _, sequence in vector.items())
        state = Progress(sum(s for vector in done.values() for _, s in vector.items()), total, 0)
        progress(state)
        for batch in self._batches(done, ends):
            moved = self._move(batch, done)
            state = Progress(state.read + len(batch), total, state.appended + moved)
            progress(state)
        for source, end in ends.items():
            if (now := self._store.state(source).vector) != end:
                raise InvalidOperation(
                    f"{source} grew from {end} to {now} during the run; stop its writers and run this again"
                )
        return state

    def _done(self) -> dict[StreamId, VersionVector]:
        state = self._store.state(self._checkpoint)
        if elsewhere := [region for region, _ in state.vector.items() if region != self._store.region]:
            raise InvalidOperation(
                f"{self._checkpoint} was begun in {', '.join(elsewhere)}; continue there, or choose another name. Two "
                "regions would each move every event"
            )
        moved = _MOVED.value_of(state)
        return {StreamId.parse(name): VersionVector(entries) for name, entries in moved.items()}

    def _batches(self, done: dict[StreamId, VersionVector], ends: dict[StreamId, VersionVector]) -> Iterator[list[_Routed]]:
        """Yield the events to move, in the order of their times, in batches that fit one transaction with the checkpoint."""
        events = heapq.merge(
            *(self._store.read(source, done.get(source, EMPTY), ends[source]) for source in self._sources),
            key=lambda event: (*event.order, event.stream),
        )
        batch: list[_Routed] = []
        count = size = 0
        for event in events:
            routed = self._routed(event)
            more = sum(len((new.payload_text + new.metadata_text).encode()) + _ROOM_BYTES for _, new in routed)
            full = count + len(routed) > _ROUTED or size + more > MAX_EVENTS_BYTES // 2
            if batch and (full or len(batch) == _MOST_READ):
                yield batch
                batch, count, size = [], 0, 0
            batch.append((event, routed))
            count, size = count + len(routed), size + more
        if batch:
            yield batch

    def _routed(self, event: Event) -> list[tuple[StreamId, NewEvent]]:
        routed = []
        payload = self._schemas.payload(event)
        for to, new in self._route(event, Protected(payload) if holds_personal(payload) else payload):
            stream = StreamId.of(to)
            if stream in self._sources:
                raise InvalidOperation(f"event {event.id} is routed to {stream}, which is a source; choose another stream")
            metadata = {**event.metadata, **new.metadata, ORIGIN: event.id, ORIGIN_TIME: str(event.hlc), CAUSATION: event.id}
            routed.append((stream, new.with_metadata(metadata)))
        if len(routed) > _ROUTED:
            raise InvalidOperation(f"event {event.id} is routed to {len(routed)} events; at most {_ROUTED} fit")
        return routed

    def _move(self, batch: list[_Routed], done: dict[StreamId, VersionVector]) -> int:
        before = dict(done)
        for event, _ in batch:
            done[event.stream] = done.get(event.stream, EMPTY).advance(event.region, event.sequence)
        changed = {event.stream: done[event.stream] for event, _ in batch}
        wanted: dict[StreamId, list[NewEvent]] = {}
        for _, routed in batch:
            for stream, new in routed:
                wanted.setdefault(stream, []).append(new)

        def nobody_else(moved: dict[str, dict[str, int]]) -> Verdict:
            if moved != _plain(before):
                return Reject(f"{self._checkpoint} is also running elsewhere; wait for that run, or stop it")
            return Accept(NewEvent(MOVED, {"done": _plain(changed)}))

        result = self._store.save(
            Operation(self._checkpoint, (), When(_MOVED, nobody_else)),
            *(Operation(stream, events) for stream, events in wanted.items()),
        )
        if isinstance(result, Rejected):
            raise InvalidOperation("; ".join(result.reasons))
        if not isinstance(result, Saved):
            raise AppendContention(f"{self._checkpoint}: {result.reason}")
        return len(result.events) - 1


_MOVED: Reducer[dict[str, dict[str, int]]] = Reducer({}, {MOVED: lambda moved, payload: {**moved, **payload["done"]}})


def _plain(done: dict[StreamId, VersionVector]) -> dict[str, dict[str, int]]:
    return {str(stream): dict(vector.items()) for stream, vector in sorted(done.items()) if vector}
