"""Judgement of a status: what is wrong, and how badly. Pure; used by the terminal view and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from replicator.ops.status.model import LinkStatus, RegionStatus, RunStatus, Status
from replicator.ops.status.words import numbered, plain, span

LATE_SECONDS = 60.0
"""Seconds from which a link is late: Terraform's `lag_seconds`."""
STUCK_SECONDS = 300.0
"""Seconds from which an operator must act on a link: Terraform's `backlog_age_seconds`."""

_FINE = ("active", "new")  # a new region is active with its first append
_ROLES = {
    "draining": "takes no more writes and sends its remaining events",
    "fenced": "takes no writes",
    "rebuilding": "is being rebuilt and takes no writes",
    "unknown": "does not report its role",
}


class Level(IntEnum):
    """Severity: nothing, something to watch, or something that an operator must act on."""

    WELL = 0
    WATCH = 1
    ACT = 2


@dataclass(frozen=True, slots=True)
class Concern:
    """A region, link or run that is not well: its severity, its name, and the problem."""

    level: Level
    where: str
    text: str


class Judgement:
    """Problems of a status: of each of its parts, and of all together.

    A link is not blamed for its ends. Values unknown because a region does not answer, and events waiting for that region,
    are that region's concern; a lag towards a region that is being rebuilt is to be watched, not to be acted on.
    """

    def __init__(self, status: Status) -> None:
        self._status = status
        self._down = {region.region for region in status.regions if not region.up}
        self._rebuilding = {region.region for region in status.regions if region.role == "rebuilding"}
        self._refusing = {region.region for region in status.regions if region.quarantined}

    def region(self, region: RegionStatus) -> Concern | None:
        """Return the problem of a region, if any."""
        found: list[tuple[Level, str]] = []
        if not region.up:
            found.append((Level.ACT, "does not answer"))
        elif region.role not in _FINE:
            found.append((Level.WATCH, _ROLES.get(region.role, f"is {region.role}")))
        if region.heartbeat_overdue:
            never = region.heartbeat_seconds is None
            found.append(
                (Level.ACT, f"has written no heartbeat {'yet' if never else f'for {span(region.heartbeat_seconds)}'}")
            )
        if region.quarantined:
            found.append((Level.ACT, f"holds {numbered(region.quarantined, 'event')} in quarantine"))
        return _together(region.region, found)

    def link(self, link: LinkStatus) -> Concern | None:
        """Return the problem of a link, if any."""
        found: list[tuple[Level, str]] = []
        if link.behind_events is None and not self.cut_off(link):
            found.append((Level.WATCH, "does not report how far it is behind"))
        if link.behind_events:
            behind = f"is {numbered(link.behind_events, 'event')} behind"
            if link.behind_seconds is None:
                found.append((Level.WATCH, f"{behind}, for an unknown time"))
            elif link.behind_seconds > LATE_SECONDS:
                act = link.behind_seconds > STUCK_SECONDS and link.target not in self._rebuilding
                level = Level.ACT if act else Level.WATCH
                found.append((level, f"{behind}, for {span(link.behind_seconds)} at least"))
        if link.heartbeat_overdue and not self.cut_off(link):
            level = Level.WATCH if link.target in self._rebuilding else Level.ACT
            found.append((level, f"has brought no heartbeat for {span(link.heartbeat_seconds)}"))
        if link.backlog and not self.cut_off(link):
            found.append((Level.WATCH, f"has {numbered(link.backlog, 'lane')} waiting on its backlog"))
        if link.quarantined:
            found.append((Level.ACT, f"has {numbered(link.quarantined, 'event')} in quarantine"))
        return _together(f"{link.source} → {link.target}", found)

    def run(self, run: RunStatus) -> Concern | None:
        """Return the concern of an open run: it should be resumed."""
        if run.ended is not None:
            return None
        at = f"is at step “{plain(run.step)}”" if plain(run.step) else "has not ended"
        return Concern(Level.WATCH, f"{run.kind} {run.run}", f"{at}; run its command again to resume")

    def cut_off(self, link: LinkStatus) -> bool:
        """Return whether an end of the link does not answer."""
        return link.source in self._down or link.target in self._down

    def all(self) -> list[Concern]:
        """Return all problems, the worst first. A quarantine that a region reports is not repeated by its links."""
        found = [self.region(region) for region in self._status.regions]
        for link in self._status.links:
            said = not self._refusing.isdisjoint((link.source, link.target))
            found.append(self.link(replace(link, quarantined=0) if said else link))
        found += [self.run(run) for run in self._status.runs]
        return sorted((concern for concern in found if concern), key=lambda concern: -concern.level)


def _together(where: str, found: Sequence[tuple[Level, str]]) -> Concern | None:
    if not found:
        return None
    return Concern(max(level for level, _ in found), where, "; ".join(text for _, text in found))


def level_of(concern: Concern | None) -> Level:
    return concern.level if concern else Level.WELL


def worst(found: Sequence[Concern]) -> Level:
    """Return the worst level of these."""
    return max((concern.level for concern in found), default=Level.WELL)


def headline(status: Status, found: Sequence[Concern]) -> str:
    """Return one line on whether anything is wrong."""
    act = sum(concern.level is Level.ACT for concern in found)
    if act:
        rest = f", {len(found) - act} to watch" if len(found) > act else ""
        return f"{numbered(act, 'thing')} to act on{rest}"
    if found:
        return f"{numbered(len(found), 'thing')} to watch, none to act on"
    return f"All is well: {numbered(len(status.regions), 'region')}, {numbered(len(status.links), 'link')}"
