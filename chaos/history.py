"""What the clients know: every append they made and how it ended. The checker judges by this and the final reads alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chaos.flights import Report
from replicator.domain.event import Event


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An event that the store said is written: what it reports, its digest, and what decides a last-writer-wins race."""

    operation: tuple[int, str]
    digest: bytes
    hlc: str
    flight: str


EventKey = tuple[str, int]
"""A lane's partition key and a sequence."""


class History:
    """Records appends. Safe to share between threads."""

    def __init__(self) -> None:
        self.acknowledged: dict[EventKey, Acknowledged] = {}
        self.unknown = 0
        self.resolved_written = 0
        self.resolved_not_written = 0
        self._heads: dict[str, int] = {}
        self._lock = threading.Lock()

    def ok(self, reports: Sequence[Report], events: Sequence[Event]) -> None:
        """These reports were acknowledged as these events."""
        with self._lock:
            for report, event in zip(reports, events, strict=True):
                key = event.lane.key
                self.acknowledged[(key, event.sequence)] = Acknowledged(
                    report.operation, event.digest, str(event.hlc), str(report.event.payload["flight"])
                )
                self._heads[key] = max(self._heads.get(key, 0), event.sequence)

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
        return len(self.acknowledged)

    def writes(self) -> Iterator[tuple[str, str, str, int, str]]:
        """(stream id, HLC, region, sequence, flight) of every acknowledged event."""
        for (key, sequence), event in self.acknowledged.items():
            region, _, stream = key.split("#")
            yield stream, event.hlc, region, sequence, event.flight
