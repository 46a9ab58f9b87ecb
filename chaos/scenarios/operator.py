"""The operator of a scenario: runs the replicator's runbooks, which steer the sessions."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from chaos.drills.operator import Running, WriterSteering
from replicator.errors import MeridianError, RegionUnavailable
from replicator.runbooks import Failback, Failover, Switchover
from replicator.system import System

if TYPE_CHECKING:
    from chaos.scenarios.stage import Stage

_LONGEST_SECONDS = 900.0
_ATTEMPTS = 4


class Operator:
    """Runs one runbook at a time. `lost` are the regions that have lost their data and are not back yet."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.lost: set[str] = set()

    def failover(self, region: str, to: str) -> None:
        name = self._stage.name(region)
        if self._stage.region(region).down:
            self.lost.add(name)
        self._act(lambda system, steering: Failover(
            system, name, self._stage.name(to), steering=steering, lost=name in self.lost
        ), to)  # fmt: skip

    def switchover(self, region: str, to: str) -> None:
        name = self._stage.name(region)
        self._act(lambda system, steering: Switchover(system, name, self._stage.name(to), steering=steering), to)

    def failback(self, region: str) -> None:
        name = self._stage.name(region)
        self._act(lambda system, steering: Failback(system, name, steering=steering), region)
        self.lost.discard(name)

    def _act(self, book: Any, seen_from: str) -> None:
        stage = self._stage
        system = System.connect(stage.world.settings(stage.name(seen_from)))
        steering = WriterSteering(stage.sessions, lambda _: None, self._returning)
        for attempt in range(1, _ATTEMPTS + 1):
            running = Running(book(system, steering), stage.watch.say)
            if not stage.until(lambda running=running: running.done, _LONGEST_SECONDS):  # type: ignore[misc]
                raise MeridianError(f"a runbook did not end within {_LONGEST_SECONDS:.0f} s")
            try:
                summary = running.summary()
                break
            except RegionUnavailable as error:  # slow, it may be: "run this again", as operators do
                if attempt == _ATTEMPTS:
                    raise
                stage.watch.say(f"{error}: once more")
        stage.remark(f"RPO {summary.rpo_events} events" if summary.rpo_events is not None else "RPO unknown")

    def _returning(self, region: str) -> Collection[str] | None:
        doubtful = [place for session in self._stage.sessions for place in session.doubtful(region)]
        return self._stage.survivors(region, doubtful)
