"""The drill: real flights into every region, one region frozen in the middle, its writers moved away and back, and then
every promise checked.
"""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog

from chaos import sabotage
from chaos.checker import Verdict, check_events, check_quarantine, check_truth, check_views, expected_vectors
from chaos.desk import Desk
from chaos.flights import PROJECTION, Selection, data_file, desks, select
from chaos.history import History
from chaos.processes import Process
from chaos.reading import Tables
from chaos.result import REGIONS, DrillConfig, DrillResult, Fault
from chaos.truth import expected_views
from chaos.world import World
from replicator import aws
from replicator.errors import MeridianError, RegionUnavailable
from replicator.settings import Settings

log = structlog.get_logger()

_STUCK_SECONDS = 60.0
"""Convergence is given up when nothing at all has arrived anywhere for so long."""


class Watcher(Protocol):
    """Is told how the drill goes; draws progress bars on a terminal."""

    def phase(self, name: str, total: int) -> None: ...

    def progress(self, done: int) -> None: ...

    def say(self, text: str) -> None: ...


def run_drill(config: DrillConfig, watch: Watcher) -> DrillResult:
    """Run a drill on a world of its own and judge it. Everything it starts has stopped when it returns or raises."""
    started = time.monotonic()
    data_file()
    regions = REGIONS[: config.regions]
    watch.phase("reading flights", 1)
    selection = select(config.events, config.seed)
    watch.phase("starting regions", len(regions))
    with _world(config, regions, watch) as world:
        drill = Drill(config, world, selection, watch)
        try:
            drill.load()
            drill.converge()
        finally:
            drill.stop_desks()
        drill.check()
        drill.result.total_seconds = time.monotonic() - started
        return drill.result


def _world(config: DrillConfig, regions: Sequence[str], watch: Watcher) -> World:
    if config.terraform:
        from chaos.terraform import TerraformWorld

        return TerraformWorld(regions, [PROJECTION], read_timeout=3.0, attempts=2, step=watch.say)
    return World(regions, [PROJECTION], read_timeout=3.0, attempts=2)


class Drill:
    """One run in one world: `load`, `converge`, `check`, in this order."""

    def __init__(self, config: DrillConfig, world: World, selection: Selection, watch: Watcher) -> None:
        self.world = world
        self.selection = selection
        self.watch = watch
        self.history = History()
        self.result = DrillResult(config, tuple(world.regions))
        self.random = random.Random(config.seed)
        self.tables = {region: Tables(world.settings(region)) for region in world.regions}
        self.victim = self.random.choice(list(world.regions))
        self.refuge = next(region for region in world.regions if region != self.victim)
        self.begun = time.monotonic()
        self.kills_left = config.kills
        self.next_kill = 0.0
        self.pace = config.kills * 1.0 / max(len(selection.reports), 1)  # spread the load over the kills
        stores = {region: world.store(region) for region in world.regions}
        self.desks = [
            Desk(
                airport, region, stores, reports, self.history, f"{config.seed}/{region}/{airport}", self._pause
            )
            for region, airports in desks(list(world.regions), selection.reports).items()
            for airport, reports in airports.items()
        ]  # fmt: skip

    def _pause(self) -> float:
        return self.pace * 60 * len(self.world.regions)

    @property
    def now(self) -> float:
        return time.monotonic() - self.begun

    # -- load, with the outage in the middle -----------------------------------------------------------------------

    def load(self) -> None:
        """Let every desk report everything, freezing and thawing the victim on the way."""
        total = len(self.selection.reports)
        self.watch.phase("appending", total)
        freeze_at = int(total * self.random.uniform(0.25, 0.40))
        thaw_at = int(total * self.random.uniform(0.60, 0.70))
        self.begun = time.monotonic()
        for desk in self.desks:
            desk.start()
        self._until(lambda: self.history.count() >= freeze_at)
        outage = self._freeze()
        self._until(lambda: self.history.count() >= thaw_at or self._others_done())
        self._until(lambda: self.now - outage.at >= self.result.config.outage)
        self._measure_rpo()
        self._thaw(outage)
        self._until(lambda: all(desk.done for desk in self.desks))
        self.result.load_seconds = self.now
        self._until(lambda: self.kills_left == 0)
        self.result.acknowledged = self.history.count()
        self.result.unknown = self.history.unknown
        self.result.unknown_written = self.history.resolved_written
        if self.result.acknowledged != total:
            raise MeridianError(f"{total} reports were to be made, {self.result.acknowledged} were acknowledged")

    def _others_done(self) -> bool:
        """Only desks that need the frozen region are left: waiting longer would wait for ever."""
        return all(desk.done or desk.home == self.victim for desk in self.desks) and self.result.rto_seconds is not None

    def _freeze(self) -> Fault:
        fault = Fault("freeze", self.victim, self.now)
        self.result.faults.append(fault)
        self.world.regions[self.victim].freeze()
        frozen = time.monotonic()
        self.watch.say(f"{self.victim} is frozen; its writers are to move to {self.refuge}")
        self._until(lambda: self._unhealthy(self.victim))
        moving = [desk for desk in self.desks if desk.home == self.victim and not desk.done]
        for desk in moving:
            desk.move(self.refuge)
        for desk in self.desks:
            desk.open_gate()
        self._until(lambda: any(desk.moved_at for desk in moving) or all(desk.done for desk in moving))
        moved = [desk.moved_at for desk in moving if desk.moved_at]
        self.result.rto_seconds = min(moved) - frozen if moved else None
        return fault

    def _unhealthy(self, region: str) -> bool:
        """Two health checks in a row without an answer within a second."""
        settings = self.world.settings(region)
        probe = Settings(region, endpoints=settings.endpoints, connect_timeout=1.0, read_timeout=1.0, attempts=2)
        client = aws.dynamodb(probe, region)
        try:
            aws.call(probe, region, lambda: client.list_tables(Limit=1))
        except RegionUnavailable:
            return True
        return False

    def _measure_rpo(self) -> None:
        """What was acknowledged in the victim and is not in the refuge: exact, since a frozen region sends nothing."""
        heads = {k: s for k, s in self.history.heads().items() if k.startswith(f"{self.victim}#")}
        missing = heads.keys() - self.tables[self.refuge].present(heads)
        behind = 0
        store = self.world.store(self.refuge)
        for key in missing:
            _, _, name = key.split("#")
            last = store.latest(f"aircraft/{name}", self.victim)
            behind += heads[key] - (last.sequence if last else 0)
        self.result.rpo_events, self.result.rpo_lanes = behind, len(missing)

    def _thaw(self, outage: Fault) -> None:
        thawed = time.monotonic()
        outage.until = self.now
        self.world.regions[self.victim].thaw()
        self.world.regions[self.victim].wait_healthy()
        self.watch.say(f"{self.victim} is back; its writers return")
        for desk in self.desks:
            if desk.home == self.victim:
                desk.move(self.victim)
        moved = [desk for desk in self.desks if desk.home == self.victim]
        self._until(lambda: all(desk.done or desk.region == self.victim for desk in moved))
        self.result.failback_seconds = time.monotonic() - thawed

    # -- the main thread's heartbeat -------------------------------------------------------------------------------

    def _until(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition`, keeping the bars moving, workers alive, and the killing going."""
        while True:
            self._check_desks()
            self._kill_one()
            self._keep_workers()
            self.watch.progress(self.history.count())
            if condition():
                return
            time.sleep(0.05)

    def _check_desks(self) -> None:
        for desk in self.desks:
            if desk.error is not None:
                raise desk.error

    def _kill_one(self) -> None:
        if not self.kills_left or self.now < self.next_kill:
            return
        alive = [p for region in self.world.regions.values() for p in region.workers if p.running and not p.frozen]
        if alive:
            target: Process = self.random.choice(alive)
            target.kill()
            self.result.faults.append(Fault("kill -9", target.name, self.now, self.now))
            self.kills_left -= 1
        self.next_kill = self.now + self.random.uniform(0.2, 1.6)

    def _keep_workers(self) -> None:
        """Start again what was killed, as a supervisor does. What ended by itself is an error."""
        killed = {fault.target for fault in self.result.faults if fault.kind == "kill -9"}
        for region in self.world.regions.values():
            for process in region.workers:
                if not process.running:
                    if process.name not in killed:
                        raise process.failure("ended by itself")
                    process.start()

    def stop_desks(self) -> None:
        for desk in self.desks:
            desk.stop()
        for desk in self.desks:
            desk.join(0.5)

    # -- convergence and judgement ---------------------------------------------------------------------------------

    def converge(self) -> None:
        """Wait until every lane's last event and every view's last vector are in every region."""
        started = time.monotonic()
        heads, vectors = self.history.heads(), expected_vectors(self.history)
        lanes = {region: dict(heads) for region in self.tables}
        rows = {region: dict(vectors) for region in self.tables}
        total = sum(map(len, lanes.values())) + sum(map(len, rows.values()))
        self.watch.phase("converging", total)
        moved, seen = time.monotonic(), (0, 0)
        while True:
            self._keep_workers()
            for region, tables in self.tables.items():
                for key in tables.present(lanes[region]):
                    del lanes[region][key]
                if not lanes[region]:
                    for key, vector in tables.vectors(rows[region]).items():
                        if vector == rows[region][key]:
                            del rows[region][key]
            left = sum(map(len, lanes.values())) + sum(map(len, rows.values()))
            self.watch.progress(total - left)
            if not left:
                self.result.converge_seconds = time.monotonic() - started
                return
            now_seen = (left, sum(tables.items() for tables in self.tables.values()))
            if now_seen != seen:
                moved, seen = time.monotonic(), now_seen
            elif time.monotonic() - moved > _STUCK_SECONDS:
                self.watch.say(f"gave up: {left} lanes and views have not arrived and nothing moves")
                return
            time.sleep(0.25)

    def check(self) -> None:
        """Stop the workers, break a promise if asked to, and judge."""
        breaks = self.result.config.breaks
        self.result.memory_mb = self.world.memory_mb() + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.world.stop_workers()
        if breaks is not None:
            self.watch.say(f"breaking a promise on purpose: {breaks}")
            sabotage.break_promise(breaks, list(self.tables.values()), self.world.settings(self.victim))
        self.result.verdict = self.judge()

    def judge(self) -> Verdict:
        """Read everything and hold it against the history and the data set."""
        verdict = Verdict()
        self.watch.phase("checking", len(self.tables) + 2)
        lanes = self.history.heads().keys()
        for done, (region, tables) in enumerate(self.tables.items(), 1):
            check_events(verdict, region, self.history, tables.events(lanes))
            check_quarantine(verdict, region, tables.quarantined())
            self.watch.progress(done)
        views: Mapping[str, Any] = {region: tables.views() for region, tables in self.tables.items()}
        check_views(verdict, self.history, views)
        self.watch.progress(len(self.tables) + 1)
        truth = expected_views(data_file(), self.selection.first, self.selection.last, self.history.writes())
        check_truth(verdict, views, truth)
        self.watch.progress(len(self.tables) + 2)
        return verdict
