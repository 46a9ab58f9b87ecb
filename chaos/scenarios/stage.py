"""Stage of a scenario: regions by their names in the file, sessions, the operator, and what survived of each region."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Mapping
from math import inf
from typing import Any, Protocol

from chaos.checker.final_reads import Tables
from chaos.checker.history import History, Place
from chaos.child_processes import Process
from chaos.faults.clocks import Clock
from chaos.faults.control import Faults
from chaos.scenarios.outage import Outage
from chaos.scenarios.result import Done
from chaos.scenarios.scenario import ORDINALS
from chaos.scenarios.watcher import Watcher
from chaos.workload.sessions import Session
from chaos.world.backup import Backup
from chaos.world.layers import Layers
from chaos.world.network import Network
from chaos.world.region import RegionProcesses
from chaos.world.world import World
from replicator.domain.errors import InvalidConfig

_FIRST_SEED = 2**32
"""First seed of rules without one: far from any seed that a scenario would give."""


class Steered(Protocol):
    """Clients that are informed of a runbook that moves them."""

    def leaving(self) -> None:
        """Called before they move away from the struck region."""

    def returning(self) -> None:
        """Called before they come home."""


class Stage:
    """Context of actions. `regions` are first, second …; `sink` receives each line of the history; `kills` is the number of
    workers that are killed now and then, beside those that actions kill."""

    def __init__(
        self,
        regions: tuple[str, ...],
        world: World,
        watch: Watcher,
        sink: Callable[[dict[str, Any]], None] | None = None,
        kills: int = 0,
        seed: int = 0,
    ) -> None:
        self.regions = regions
        self.world = world
        self.watch = watch
        self.history = History(time.monotonic, sink)
        self.tables = {region: Tables(world.direct(region)) for region in regions}
        self.sessions: list[Session] = []
        self.staying: list[Session] = []
        """Sessions that cannot be steered."""
        self.lost: set[str] = set()
        """Regions that have lost their data and are not back yet."""
        self.outage: Outage
        self.workload: Steered
        self.kills_left = kills
        self.kills: list[Done] = []
        self._next_kill = inf
        self._chance = random.Random(f"{seed}/kills")
        self._remarks: list[str] = []
        self._struck = True
        self._killed: set[str] = set()
        self._layers = Layers(world.network) if world.network is not None else None
        self._seeds = _FIRST_SEED
        self._backups: dict[str, Backup] = {}
        self._survived: set[str] = set()
        self.began = time.monotonic()

    def begin(self) -> None:
        """Begin the timeline."""
        self.began = time.monotonic()
        self._next_kill = 0.0

    @property
    def now(self) -> float:
        """Seconds of the timeline."""
        return time.monotonic() - self.began

    def beat(self) -> None:
        """Raise the failures of processes and sessions, and start killed workers again."""
        for session in self.sessions:
            if session.error is not None:
                raise session.error
        if self.kills_left and self.now >= self._next_kill:
            self._kill_any()
        self.world.keep_workers(self._killed)

    def _kill_any(self) -> None:
        alive = [
            each for region in self.world.regions.values() for each in region.workers if each.running and not each.frozen
        ]
        if alive:
            target = self._chance.choice(alive)
            self._killed.add(target.name)
            target.kill()
            self.kills.append(Done("kill -9", {"target": target.name}, self.now, self.now))
            self.kills_left -= 1
        self._next_kill = self.now + self._chance.uniform(0.2, 1.6)

    def until(self, condition: Callable[[], bool], seconds: float = inf) -> bool:
        """Wait for `condition`, at most `seconds`. Returns whether it was met."""
        end = time.monotonic() + seconds
        while not condition():
            self.beat()
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def name(self, ordinal: str) -> str:
        """Return the region that the seed has chosen for `first`, `second` …"""
        return self.regions[ORDINALS.index(ordinal)]

    def region(self, ordinal: str) -> RegionProcesses:
        return self.world.regions[self.name(ordinal)]

    def worker(self, ordinal: str, which: str) -> Process:
        region = self.region(ordinal)
        return region.replicator if which == "replicator" else region.projector

    def kill_worker(self, ordinal: str, which: str) -> None:
        """Kill a worker (kill -9); the next beat starts it again. One that does not run is not struck, and not started."""
        self.beat()
        process = self.worker(ordinal, which)
        if not process.running:
            self.remark(f"{process.name} did not run", False)
            return
        self._killed.add(process.name)
        process.kill()
        self.remark(f"{process.name} (process {process.pid}) ran, and was killed", not process.running)

    def come_back(self, ordinal: str, backup: Backup | None) -> None:
        """Bring a killed region back, empty or with the content of a backup, with all its workers."""
        region = self.region(ordinal)
        if backup is None:
            region.come_back_empty()
        else:
            region.come_back_restored(backup)
        self._killed -= {process.name for process in region.processes}

    def seeds(self, count: int) -> int:
        """Return the first of `count` seeds that no other rules of this run have."""
        self._seeds += count
        return self._seeds - count

    @property
    def layers(self) -> Layers:
        """Everything that is done to links at this time."""
        if self._layers is None:
            raise InvalidConfig("this world has no links that can be cut")
        return self._layers

    @property
    def network(self) -> Network:
        if self.world.network is None:
            raise InvalidConfig("this world has no links that can be cut")
        return self.world.network

    @property
    def names(self) -> Mapping[str, str]:
        """Names of the regions that are `first`, `second` …"""
        return dict(zip(ORDINALS, self.regions, strict=False))

    @property
    def services(self) -> Faults:
        if self.world.services is None:
            raise InvalidConfig("this world has no services that can fail")
        return self.world.services.faults

    def clock(self, ordinal: str) -> Clock:
        try:
            return self.world.clocks[self.name(ordinal)]
        except KeyError:
            raise InvalidConfig("this world has no clocks that can be set") from None

    def remark(self, text: str, struck: bool = True) -> None:
        """Record the effect of the action that is under way, and whether it struck anything."""
        self._remarks.append(text)
        self._struck = self._struck and struck

    def take_remarks(self) -> tuple[str, bool]:
        """Return the effect of the last action, and whether all of it struck."""
        taken = "; ".join(self._remarks), self._struck
        self._remarks, self._struck = [], True
        return taken

    def keep_backup(self, ordinal: str, backup: Backup) -> int:
        """Keep a backup until a region is restored. Returns how many events it has."""
        name = self.name(ordinal)
        self._backups[name] = backup
        table = self.world.settings(name).events_table
        held = {bytes(item["digest"]["B"]).hex() for item in backup.items(table)}
        self._survived |= held
        return len(held)

    def backup(self, ordinal: str) -> Backup:
        try:
            return self._backups[self.name(ordinal)]
        except KeyError:
            raise InvalidConfig(f"there is no backup of the {ordinal} region; add an earlier step `backup`") from None

    def die(self, ordinal: str) -> None:
        """Kill a region, and record which of its events its peers hold."""
        name, at = self.name(ordinal), self.history.clock()
        self.region(ordinal).kill()
        held = self._held(name, [region for region in self.regions if region != name])
        if name == self.outage.figures.region:
            self.outage.died(at, held)
        self._survived |= held

    def leaving(self, region: str, to: str) -> None:
        """Record that clients of a region are about to move to another."""
        if region == self.outage.figures.region and not self.outage.over:
            self.outage.leave(to)
            self.workload.leaving()

    def returning(self, region: str) -> Collection[str] | None:
        """Record that clients are about to come home. Returns the digests of what survived of the region, where it had lost
        its data."""
        self.workload.returning()
        if region not in self.lost:
            return None
        return self.survivors(region, [place for session in self.sessions for place in session.doubtful(region)])

    def survivors(self, name: str, doubtful: Collection[Place]) -> Collection[str]:
        """Record in the history what is gone of a region that was brought up again after it had lost its data. Returns the
        digests of what survived, with those of `doubtful`: events that were sent there and never answered."""
        self._survived |= self._held(name, self.regions, doubtful)
        gone = self.history.lose(name, self._survived)
        self.watch.say(f"{len(gone):,} acknowledged events of {name} survived nowhere")
        return frozenset(self._survived)

    def _held(self, name: str, at: Collection[str], doubtful: Collection[Place] = ()) -> set[str]:
        """Return the digests that these regions hold at the places of the region's events."""
        places = {*self.history.events_of(name), *doubtful}
        return {digest.hex() for region in at for digest in self.tables[region].digests(places).values()}
