"""What the clients know: every append they made and how it ended. The checker judges by this and the final reads alone.

An acknowledged event can be gone: its region lost its data before any other had the event, and no backup held it. Only
`lose` says so, with the digests of everything that survived anywhere. Its place in the lane is free again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from math import inf

from chaos.drills.flights import Report
from replicator.domain.event import Event


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An event that the store said is written: what it reports, its digest, what decides a last-writer-wins race, and when
    the client was told, in seconds of the history's clock."""

    operation: tuple[int, str]
    digest: bytes
    hlc: str
    flight: str
    at: float


EventKey = tuple[str, int]
"""A lane's partition key and a sequence."""


class History:
    """Records appends. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.acknowledged: dict[EventKey, Acknowledged] = {}
        """What must be everywhere in the end."""
        self.gone: dict[EventKey, list[Acknowledged]] = {}
        """What survived nowhere."""
        self.twice: list[EventKey] = []
        """Places that were acknowledged to two events, the first of which is not gone."""
        self.unknown = 0
        self.resolved_written = 0
        self.resolved_not_written = 0
        self._heads: dict[str, int] = {}
        self._lock = threading.Lock()

    def ok(self, reports: Sequence[Report], events: Sequence[Event]) -> None:
        """These reports were acknowledged as these events."""
        with self._lock:
            now = self.clock()
            for report, event in zip(reports, events, strict=True):
                key = (event.lane.key, event.sequence)
                known = self.acknowledged.get(key)
                if known is not None and known.digest != event.digest:
                    self.twice.append(key)
                self.acknowledged[key] = Acknowledged(
                    report.operation, event.digest, str(event.hlc), str(report.event.payload["flight"]), now
                )
                self._heads[key[0]] = max(self._heads.get(key[0], 0), event.sequence)

    def lose(self, region: str, survived: Collection[bytes]) -> int:
        """The region lost its data: of its acknowledged events those with these digests survived, the others are gone.
        Returns how many are."""
        with self._lock:
            own = {key: event for key, event in self.acknowledged.items() if key[0].startswith(f"{region}#")}
            lost = {key: event for key, event in own.items() if event.digest not in survived}
            for key, event in lost.items():
                self.gone.setdefault(key, []).append(event)
                del self.acknowledged[key]
            for lane in {lane for lane, _ in lost}:
                del self._heads[lane]
            for lane, sequence in own.keys() - lost.keys():
                self._heads[lane] = max(self._heads.get(lane, 0), sequence)
            return len(lost)

    def of(self, region: str, since: float = -inf, until: float = inf) -> dict[EventKey, bytes]:
        """The digest of each event of the region's lanes that was acknowledged in this time."""
        with self._lock:
            return {
                key: event.digest
                for key, event in self.acknowledged.items()
                if key[0].startswith(f"{region}#") and since <= event.at <= until
            }

    def unsure(self, count: int) -> None:
        """So many appended events got no answer."""
        with self._lock:
            self.unknown += count

    def settled(self, count: int, written: bool) -> None:
        """So many events of unknown outcome turned out to be written, or not."""
        with self._lock:
            if written:
                self.resolved_written += count
            else:
                self.resolved_not_written += count

    def heads(self) -> dict[str, int]:
        """The last acknowledged sequence of each lane, by partition key."""
        with self._lock:
            return dict(self._heads)

    def count(self) -> int:
        """How many reports were acknowledged, those that are gone included."""
        return len(self.acknowledged) + self.gone_events + len(self.twice)

    def count_of(self, region: str) -> int:
        """How many events of the region's own lanes are acknowledged and not gone."""
        with self._lock:
            return sum(head for lane, head in self._heads.items() if lane.startswith(f"{region}#"))

    @property
    def gone_events(self) -> int:
        return sum(map(len, self.gone.values()))

    def gone_reports(self) -> set[tuple[int, str]]:
        """The reports whose event is gone."""
        return {event.operation for events in self.gone.values() for event in events}

    def writes(self) -> Iterator[tuple[str, str, str, int, str]]:
        """(stream id, HLC, region, sequence, flight) of every acknowledged event."""
        for (key, sequence), event in self.acknowledged.items():
            region, _, stream = key.split("#")
            yield stream, event.hlc, region, sequence, event.flight
