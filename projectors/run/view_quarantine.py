"""Quarantine of events that views cannot process: recorded once each, sent once to the dead letters if there are any, and
released when their lane has been folded past them. Keys and errors are recorded, never payloads."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import structlog

from projectors.engine.failures import Failure, named, stranger
from replicator.control.control_storage import Value
from replicator.control.pointers import Pointers, Spans
from replicator.control.quarantine import Quarantine, by_lane, projection_of
from replicator.domain.names import DELIMITER, LaneId, parse_sequence_key, sequence_key
from replicator.replication.stream_records import Refused
from replicator.runtime.wall_clock import wall_clock

log = structlog.get_logger()

_RECORD = "record"
"""Marker in place of a projection: a record of the stream was no event."""

Send = Callable[[str], object]
"""Function that sends a text to the dead letters."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Entry to record. `lanes` are what a replay brings back: empty for a record that is in no lane, or was changed."""

    key: str
    reason: str
    lanes: Spans

    @classmethod
    def of_failure(cls, failure: Failure) -> Entry:
        lane, _, digits = failure.event_id.rpartition(DELIMITER)
        sequence = parse_sequence_key(digits)
        return cls(failure.key, failure.reason, {LaneId.from_key(lane): (sequence, sequence)})

    @classmethod
    def of_record(cls, refused: Refused) -> Entry:
        if refused.lane is None or not refused.sequence or refused.changed:
            return cls(refused.item, refused.reason, {})
        event_id = f"{refused.lane.key}{DELIMITER}{sequence_key(refused.sequence)}"
        return cls(f"{_RECORD} {event_id}", refused.reason, {refused.lane: (refused.sequence, refused.sequence)})


class Poison:
    """Quarantine of a region's views."""

    def __init__(
        self, quarantine: Quarantine, link: str, letters: Send | None = None, wall: Callable[[], int] = wall_clock
    ) -> None:
        self._quarantine = quarantine
        self._link = link
        self._letters = letters
        self._wall = wall
        self._tried_to = ""

    def record(self, found: Sequence[Entry], replayed: Collection[LaneId] = ()) -> None:
        """Record each once, and send each once to the dead letters (again if killed between the two). Entries that were
        replayed from there and failed go back there. Raises RegionUnavailable when that cannot be done."""
        if not found:
            return
        for each in found:
            new = self._quarantine.held(each.key) is None
            if self._letters is not None and each.lanes and (new or not each.lanes.keys().isdisjoint(replayed)):
                cause = {"event": each.key, "error": each.reason}
                self._letters(str(Pointers(self._link, each.lanes, self._wall(), cause=cause)))
            if new:
                log.error("projector.quarantined", item=each.key, reason=each.reason)
                self._quarantine.add(each.key, each.reason)

    def of_lanes(self, lanes: Collection[LaneId], knows: Callable[[str], bool]) -> dict[LaneId, dict[str, Value]]:
        """Return all records of these lanes. A record of a projection that this process does not know, as another one has
        newer code, stands until a process that `knows` it has tried again."""
        records = {key: value for key, value in self._quarantine.records() if self._retried(key, knows, replayed=True)}
        return {lane: found for lane, found in by_lane(records).items() if lane in lanes}

    def next(self, lanes: int, knows: Callable[[str], bool]) -> dict[LaneId, dict[str, Value]]:
        """Return records to try again, as `of_lanes`, of so many lanes after those of the last call. A stream record that
        was sent to the dead letters stands until it is replayed from there."""
        found, self._tried_to = self._quarantine.some(self._tried_to, lanes, lambda key: self._retried(key, knows))
        return found

    def meet(self, regions: Iterable[str]) -> None:
        """Release the records of regions that were unknown, and are known now."""
        held = {key: self._quarantine.held(key) for key in map(stranger, regions)}
        self.release({key: value for key, value in held.items() if value is not None})

    def _retried(self, key: str, knows: Callable[[str], bool], replayed: bool = False) -> bool:
        version = projection_of(key)
        if not version or knows(version):  # a projection may be called `record`, too
            return True
        return version == _RECORD and (self._letters is None or replayed)

    def release(self, records: Mapping[str, Value]) -> None:
        """Release these records, which have been dealt with."""
        if records:
            self._quarantine.release(records)
            log.info("projector.released", events=sorted(records))

    def forget(self, projection: str, version: int, still: Iterable[Failure] = ()) -> None:
        """Release the records of a projection's version that was folded again or is gone, but those that `still` fails."""
        name, again = named(projection, version), {each.key for each in still}
        records = self._quarantine.records()
        self.release({key: value for key, value in records if projection_of(key) == name and key not in again})


def entries(refused: Iterable[Refused], failures: Iterable[Failure], strangers: Mapping[str, str]) -> Iterator[Entry]:
    """Yield all entries to record."""
    yield from map(Entry.of_record, refused)
    yield from map(Entry.of_failure, failures)
    for region, reason in strangers.items():
        yield Entry(stranger(region), reason, {})
