"""Lane runs: the next events of one lane to publish, from the delivered ones or read from the lane. Pure except for the
given read function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from replicator.domain.errors import DamagedEvent, place
from replicator.domain.event import Event
from replicator.domain.names import LaneId
from replicator.external.positions import Position
from replicator.external.transformation import External, TransformationFailed
from replicator.external.waves import MAX_RECORD_BYTES, Outgoing, partition_key

PAGE_EVENTS = 100
PAGE_BYTES = 256 * 1024
"""Limits of one page of a lane, in events and bytes: many lanes are prepared together, and any may be long."""

ReadLane = Callable[[LaneId, int, int], Iterable[Event]]
"""Function that reads the events of a lane from a sequence on, up to a limit. Raises DamagedEvent."""


@dataclass(slots=True)
class Run:
    """Page of a lane to publish. `steps` are the positions behind each event, with the record to send before reaching it, if
    any. `poison` is why the event behind the last step cannot be published, `ended` whether the lane has no more events."""

    steps: list[tuple[Position, Outgoing | None]] = field(default_factory=list)
    poison: str = ""
    ended: bool = False

    @property
    def outgoing(self) -> list[Outgoing]:
        return [record for _, record in self.steps if record is not None]

    def reached(self, sent: int) -> Position | None:
        """Return the position once `sent` records were acknowledged; None when that is no further than before."""
        at: Position | None = None
        for position, record in self.steps:
            if record is not None:
                sent -= 1
                if sent < 0:
                    break
            at = position
        return at

    def done(self, sent: int) -> bool:
        """Return whether all of it was sent."""
        return sent == len(self.outgoing)


def prepare(external: type[External], lane: LaneId, at: Position, delivered: Mapping[int, Event], read: ReadLane) -> Run:
    """Prepare the next page of `lane` behind `at`. Delivered events are used if they follow, chained; the rest is read from
    the lane."""
    run = Run()
    first = delivered.get(at.sequence + 1)
    events: Iterable[Event]
    if first is not None and first.prev == at.digest:
        events = _following(at, delivered)
    else:
        events = read(lane, at.sequence + 1, PAGE_EVENTS)
        run.ended = True  # unless a full page shows otherwise
    size = count = 0
    try:
        for event in events:
            if count == PAGE_EVENTS or (count and size >= PAGE_BYTES):
                run.ended = False
                break
            if event.prev != at.digest:
                raise DamagedEvent(f"event {event.id} does not follow what was published before it: its past has changed")
            record = _record(external, event, at.published)
            at = at.after(event, record is not None)
            run.steps.append((at, record))
            count, size = count + 1, size + len(event.payload_text) + (record.size if record else 0)
        else:
            run.ended = run.ended and count < PAGE_EVENTS
    except (TransformationFailed, DamagedEvent) as error:
        run.poison = str(error)
    return run


def _following(at: Position, delivered: Mapping[int, Event]) -> Iterable[Event]:
    digest, sequence = at.digest, at.sequence + 1
    while (event := delivered.get(sequence)) is not None and event.prev == digest:
        yield event
        digest, sequence = event.digest, sequence + 1


def _record(external: type[External], event: Event, previous: int) -> Outgoing | None:
    made = external.transform(event, previous)
    if made is None:
        return None
    try:
        record = Outgoing(partition_key(event.lane), made.encode())
    except (ValueError, RecursionError) as error:
        raise TransformationFailed(f"the external event of {event.id} cannot be encoded: {place(error)}") from None
    if record.size > MAX_RECORD_BYTES:
        raise TransformationFailed(
            f"the external event of {event.id} has {record.size:,} bytes; Kinesis takes {MAX_RECORD_BYTES:,}. "
            "Publish the address of its large part instead"
        )
    return record
