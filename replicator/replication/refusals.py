"""Refusals: what a region refused, as quarantine records and as metrics. An alarm stays on until `Quarantined` is 0
again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from replicator.control.backlog import EXTERNAL, VIEWS
from replicator.control.control_storage import ControlStorage
from replicator.control.quarantine import Quarantine
from replicator.control.suspects import Suspects
from replicator.replication.stream_records import Refused
from replicator.runtime.metrics import Emit
from replicator.runtime.settings import Settings
from replicator.runtime.wall_clock import wall_clock

log = structlog.get_logger()

_TELL_MS = 30_000
_SCOPE, _KEY = "counted", "quarantine"


def scopes_of(settings: Settings) -> list[str]:
    """Return all quarantine scopes of a region: itself, each link, its views and, if configured, external events."""
    own = settings.region
    targets = [*settings.peers, VIEWS, *([EXTERNAL] if settings.external else [])]
    return [own, *(f"{own}>{target}" for target in targets)]


@dataclass(slots=True)
class Refusals:
    """Records stream records that are not events of this region, and counts everything that the region has in quarantine."""

    region: str
    control: ControlStorage
    scopes: Sequence[str]
    emit: Emit
    wall: Callable[[], int] = wall_clock
    _told: int | None = None

    @classmethod
    def connect(cls, settings: Settings, control: ControlStorage, emit: Emit) -> Refusals:
        return cls(settings.region, control, scopes_of(settings), emit)

    def refuse(self, refused: Sequence[Refused]) -> None:
        """Record these, and their lanes as suspect. Raises RegionUnavailable."""
        self.suspect(refused)
        quarantine = Quarantine(self.control, self.region)
        for each in refused:
            quarantine.add(each.item, each.reason)
            log.error("replicator.quarantined", region=self.region, item=each.item, reason=each.reason)
        if refused:
            changed = sum(each.changed for each in refused)
            # An explicit 0 would end the alarm on what was changed before.
            self.emit(
                {"region": self.region}, {"EventsRefused": len(refused)} | ({"EventsChanged": changed} if changed else {})
            )

    def suspect(self, refused: Sequence[Refused]) -> None:
        """Note the lanes of these as suspect: a comparison reads them from their first events. Raises RegionUnavailable."""
        Suspects(self.control).add({each.lane for each in refused if each.lane is not None}, self.wall())

    def report(self, now: bool = False) -> None:
        """Emit the count, at most every half minute unless `now`: the alarm needs no more. One process of a region counts in
        that time, the others read what it counted."""
        at = self.wall()
        if not now and self._told is not None and at - self._told < _TELL_MS:
            return
        try:
            count = self._count(at, now)
        except Exception as error:  # a metric is no reason to fail a processed batch
            log.warning("quarantine.not_counted", error=f"{type(error).__name__}: {error}")
            return
        self.emit({"region": self.region}, {"Quarantined": count})
        self._told = at

    def _count(self, at: int, now: bool) -> int:
        counted = self.control.get(_SCOPE, _KEY)
        if counted is not None and 0 <= at - counted["at"] < _TELL_MS and not now:
            return int(counted["count"])
        count = sum(Quarantine(self.control, scope).count() for scope in self.scopes)
        self.control.put(_SCOPE, {_KEY: {"at": at, "count": count}})
        return count
