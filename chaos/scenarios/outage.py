"""Outage of one region, measured while it lasts: RPO, RTO, and the duration of the fail-back.

RPO is the number of events that were acknowledged in the region and are not in the one that takes over: when the clients
move, and again at the end of an outage during which nothing leaves the region. RTO is the time from the start of the outage
to the first write that is acknowledged elsewhere to a client that moved; where none moves, to the region's next write. The
fail-back is the time from the end of the outage until all clients are home; where none moved, until every region has
everything written before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Protocol

from chaos.checker.final_reads import Tables
from chaos.checker.history import History, Outcome
from chaos.scenarios.watcher import Watcher
from chaos.workload.sessions import Session
from replicator.domain.errors import RegionUnavailable

OLD_SECONDS = 10.0
"""Minimum age in seconds, when its region loses its data, at which an acknowledged event may not be gone."""
_ON_ITS_WAY = 1.0
"""Seconds after a cut of the links within which an acknowledged event may have been copied just before."""


@dataclass(slots=True)
class Figures:
    """Figures of a region's outage. Times are seconds of the timeline."""

    region: str
    at: float = 0.0
    until: float | None = None
    rpo_events: int = 0
    """Events acknowledged in the region that are not in the one that takes over."""
    rpo_lanes: int = 0
    told_rpo: int | None = None
    """RPO in events by the runbook."""
    old_events: int = 0
    """Events acknowledged OLD_SECONDS before the region's data was lost."""
    old_missing: int = 0
    """Number of these that no other region had."""
    late_events: tuple[int, int] = (0, 0)
    """Events acknowledged in the last third of the outage: in the region, and in the others."""
    cut_events: int = 0
    """Events acknowledged in the region while nothing could leave it."""
    cut_arrived: int = 0
    """Number of these that reached another region meanwhile."""
    rto_seconds: float | None = None
    failback_seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "region": self.region,
            "rpo_events": self.rpo_events,
            "rpo_lanes": self.rpo_lanes,
            "rpo_events_by_runbook": self.told_rpo,
            "rto_seconds": rounded(self.rto_seconds),
            "failback_seconds": rounded(self.failback_seconds),
        }


def rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


class Scene(Protocol):
    """Source of the figures: the stage (chaos/scenarios/stage.py)."""

    regions: tuple[str, ...]
    history: History
    tables: dict[str, Tables]
    watch: Watcher
    began: float

    def until(self, condition: Callable[[], bool]) -> bool:
        """Wait for `condition`."""


class Outage:
    """Recorder of the figures of the region's first outage. `moves`: clients are moved away from it."""

    def __init__(self, stage: Scene, region: str, moves: bool) -> None:
        self.figures = Figures(region)
        self.moves = moves
        self.left = False
        """Whether the clients have moved away."""
        self._stage = stage
        self._began: float | None = None
        self._struck = 0.0
        self._ended: float | None = None
        self._heads: dict[str, int] = {}
        self._to = next((each for each in stage.regions if each != region), region)
        """Region that takes over."""

    @property
    def begun(self) -> bool:
        return self._began is not None

    @property
    def lasts(self) -> bool:
        return self.begun and not self.over

    @property
    def over(self) -> bool:
        return self._ended is not None

    @property
    def seconds(self) -> float:
        """Seconds since it began."""
        return self._stage.history.clock() - self._began if self._began is not None else 0.0

    def begin(self) -> None:
        self._began = self._stage.history.clock()
        self.figures.at = self._began - self._stage.began

    def struck(self) -> None:
        """Record that the fault of the region is in force."""
        self._struck = self._stage.history.clock()

    def died(self, at: float, held: Collection[str]) -> None:
        """Record that the region's data was lost at this time of the history's clock. Peers hold events with these
        digests."""
        old = self._stage.history.events_of(self.figures.region, until=at - OLD_SECONDS)
        self.figures.old_events, self.figures.old_missing = len(old), len(set(old.values()) - set(held))

    def leave(self, to: str) -> None:
        """Record that clients are about to move."""
        self._to = to
        self._read(self._measure_rpo)
        self.left = True

    def end(self, silent: bool) -> None:
        """Record that the fault of the region is about to end. `silent`: nothing has left the region meanwhile."""
        history, figures = self._stage.history, self.figures
        if silent:
            self._read(self._measure_rpo)
            self._read(self._measure_cut)
        third = history.clock() - self.seconds / 3
        written = {region: len(history.events_of(region, since=third)) for region in self._stage.regions}
        figures.late_events = (written.pop(figures.region), sum(written.values()))
        self._heads = history.heads()
        self._ended = history.clock()
        figures.until = self._ended - self._stage.began

    def came_home(self) -> None:
        """Record that all clients are home."""
        if self._ended is not None and self.figures.failback_seconds is None:
            self.figures.failback_seconds = self._stage.history.clock() - self._ended

    def went_on(self) -> None:
        """Wait until every region has everything written before the end, where no client moved."""
        tables, heads = self._stage.tables.values(), self._heads
        self._stage.until(lambda: all(len(each.present(heads)) == len(heads) for each in tables))
        self.came_home()

    def told(self, rpo_events: int | None) -> None:
        """Record the RPO of a runbook. It may be missing at first, while the region does not answer."""
        if rpo_events is not None:
            self.figures.told_rpo = rpo_events

    def measure_rto(self, sessions: Collection[Session]) -> None:
        """Compute the RTO from the acknowledgements of the clients."""
        if self._began is not None:
            home = self.figures.region
            movers = {session.process for session in sessions if session.home == home}
            told = _writes(self._stage.history, movers, home, away=self.moves, since=self._began)
            self.figures.rto_seconds = min(told, default=self._began) - self._began if told else None

    def _read(self, measure: Callable[[], None]) -> None:
        """Run `measure`. A region that does not answer does not end the run."""
        try:
            measure()
        except RegionUnavailable as error:
            self._stage.watch.say(f"the cost of the outage of {self.figures.region} cannot be read now: {error}")

    def _measure_cut(self) -> None:
        cut = self._stage.history.events_of(self.figures.region, since=self._struck + _ON_ITS_WAY)
        others = [tables for region, tables in self._stage.tables.items() if region != self.figures.region]
        self.figures.cut_events = len(cut)
        self.figures.cut_arrived = len({place for tables in others for place in tables.digests(cut)})

    def _measure_rpo(self) -> None:
        own = self._stage.history.events_of(self.figures.region)
        held = self._stage.tables[self._to].digests(own)
        missing = [lane for (lane, sequence), digest in own.items() if _hex(held.get((lane, sequence))) != digest]
        self.figures.rpo_events, self.figures.rpo_lanes = len(missing), len(set(missing))


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


def _writes(history: History, processes: Collection[str], home: str, *, away: bool, since: float) -> list[float]:
    """Return when writes of these processes at home, or away from it, were acknowledged, of those called since."""
    return [
        call.ended or since
        for call in history.calls
        if call.process in processes and call.outcome is Outcome.OK and call.events and call.invoked >= since
        and (call.region != home) is away
    ]  # fmt: skip
