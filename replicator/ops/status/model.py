"""Status values of a system. Plain data: `gather` collects them, `table` and `page` show them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class RegionStatus:
    """Status of one region. `role` is active, draining, fenced or rebuilding, or unknown if it does not answer (`up` is
    False).

    `lanes` and `events` count what its events table holds; `quarantined` counts its refused and unreleased events; `since`
    is when the role began, and `read` when the lanes were read, both in milliseconds since the epoch; `why` is the reason
    that the operator's run gave. `heartbeat_seconds` is the age of its newest heartbeat in its own table (None: it has
    none), and `heartbeat_overdue` whether the next one should be there: not while the region is fenced, or a runbook changes
    its role.
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
    read: int = 0
    heartbeat_seconds: float | None = None
    heartbeat_overdue: bool = False


@dataclass(frozen=True, slots=True)
class LinkStatus:
    """Status of one link. `behind_events` and `behind_lanes` count what the target lacks of the source's own lanes (None:
    one of them does not answer); `behind_seconds` is the minimum time that the oldest of those has waited; `backlog` counts
    the lanes that wait on the link's backlog (None: not known); `last_copied` is the time of the newest event of the source
    that the target holds, in milliseconds since the epoch (0: none). `heartbeat_seconds` and `heartbeat_overdue` are those
    of the source's newest heartbeat that the target holds."""

    source: str
    target: str
    behind_events: int | None = None
    behind_lanes: int | None = None
    behind_seconds: float | None = None
    backlog: int | None = None
    last_copied: int = 0
    quarantined: int = 0
    heartbeat_seconds: float | None = None
    heartbeat_overdue: bool = False


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Status of a runbook's run: `step` is its current step, or empty when it has ended."""

    run: str
    kind: str
    text: str
    begun: int
    step: str = ""
    ended: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Status of a system at a moment, `at` in milliseconds since the epoch."""

    at: int
    prefix: str
    regions: tuple[RegionStatus, ...]
    links: tuple[LinkStatus, ...]
    runs: tuple[RunStatus, ...] = field(default=())

    def as_json(self) -> dict[str, Any]:
        """Return the JSON value that `replicator status --json` prints."""
        return asdict(self)
