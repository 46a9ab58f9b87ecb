"""Failures of a fold, by view and event, and lanes that wait: each is named, and stops nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import structlog

from projectors.model.projection import Projection
from replicator.domain.errors import RegionUnavailable
from replicator.domain.names import LaneId, StreamId, sequence_key
from replicator.domain.vector import VersionVector

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Failure:
    """Event that a projection cannot process. The view stays before it; all other views go on."""

    projection: str
    event_id: str
    reason: str
    version: int = 1

    @property
    def key(self) -> str:
        """Key of its record: it names a version after the first, which may digest what another one cannot."""
        return f"{named(self.projection, self.version)} {self.event_id}"


def named(projection: str, version: int) -> str:
    """Return the name of a projection's version in records."""
    return projection if version == 1 else f"{projection}@{version}"


class LanesWait(RegionUnavailable):
    """Some lanes' next events hold personal data whose keys are in a region that does not answer, or are of a region that is
    not in the system as it is known here. All else is folded.

    `lanes` are these lanes, with their first and last sequence; `failures` are the events that could not be digested
    meanwhile; `strangers` says for each unknown region what to do about it. Applying the same events, or catching up with
    these lanes, is safe at any later time.
    """

    def __init__(
        self,
        lanes: Mapping[LaneId, tuple[int, int]],
        failures: Sequence[Failure],
        why: str,
        strangers: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        super().__init__(f"{len(lanes)} lanes wait: {'; '.join(filter(None, [why, *strangers.values()]))}")
        self.lanes = dict(lanes)
        self.failures = list(failures)
        self.strangers = dict(strangers)


def stranger(region: str) -> str:
    """Return the name under which an unknown region is listed in quarantine."""
    return f"region {region}"


def unknown(region: str, regions: Collection[str]) -> str:
    """Return what to do about an unknown region."""
    return (
        f"{region} is not a known region of this system ({', '.join(sorted(regions))}); add it to the peers if it belongs "
        "to the system, and its lanes are folded; otherwise its events in the table are forged"
    )


@dataclass(slots=True)
class Report:
    """Report of what was not folded, and why."""

    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)
    """Failures by projection's version and event: a view that is folded again reports once."""
    waits: dict[LaneId, tuple[int, int]] = field(default_factory=dict)
    why: str = ""

    def add(self, projection: type[Projection], event_id: str, reason: str) -> None:
        """Record that a view stands before this event."""
        log.error("projector.failed", projection=projection.name, event_id=event_id, error=reason)
        failure = Failure(projection.name, event_id, reason, projection.version)
        self.failures[(failure.key, event_id)] = failure

    def fail(
        self,
        projection: type[Projection],
        stream: StreamId,
        upto: VersionVector,
        seen: VersionVector,
        reason: str,
    ) -> None:
        """Record that a whole view stands still, by the first event that it lacks: later events do not change that. If it
        lacks none, by the last event that it has."""
        for region, last in (upto.beyond(seen) or upto).items():
            event_id = f"{LaneId(region, stream).key}#{sequence_key(min(seen.get(region) + 1, last))}"
            self.add(projection, event_id, reason)
            break
