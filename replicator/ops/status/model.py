"""What the status of a system is made of. Plain values: how they are found out is in `gathering`, how they look in `table`
and `page`."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RegionStatus:
    """One region. `role` is active, draining, fenced or rebuilding, or unknown where it does not answer (`up` is False).

    `lanes` and `events` are what its events table holds; `quarantined` what it has refused and nobody released;
    `since` is when the role began, in milliseconds since the epoch; `why` is what the operator's run said.
    """

    region: str
    up: bool
    role: str = "unknown"
    epoch: int = 0
    since: int = 0
    why: str = ""
    lanes: int = 0
    events: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """One link. `behind_events` and `behind_lanes` are what the source's own lanes have and the target lacks (None: one of
    them does not answer); `behind_seconds` is how long the oldest of those has waited, at least; `backlog` counts the lanes
    that wait on the link's backlog (None: not known); `last_copied` is the time of the newest event of the source that the
    target holds, in milliseconds since the epoch (0: none)."""

    source: str
    target: str
    behind_events: int | None = None
    behind_lanes: int | None = None
    behind_seconds: float | None = None
    backlog: int | None = None
    last_copied: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A runbook that was begun: `step` is the one it stands at, or empty when it has ended."""

    run: str
    kind: str
    text: str
    begun: int
    step: str = ""
    ended: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """A system at a moment, `at` in milliseconds since the epoch."""

    at: int
    prefix: str
    regions: tuple[RegionStatus, ...]
    links: tuple[LinkStatus, ...]
    runs: tuple[RunStatus, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """As `replicator status --json` prints it."""
        return asdict(self)
