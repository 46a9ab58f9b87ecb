"""What a drill plays on: the world, the desks with their reports, what the clients know, and who is struck."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from chaos.drills.desk import Desk
from chaos.drills.flights import Report, Selection, desks
from chaos.drills.history import History
from chaos.drills.kinds import KINDS, Kind
from chaos.drills.losses import Losses
from chaos.drills.result import DrillConfig, DrillResult
from chaos.drills.supervisor import Supervisor
from chaos.world.network import Network
from chaos.world.reading import Tables
from chaos.world.world import World
from replicator import aws
from replicator.errors import InvalidConfig, RegionUnavailable


class Watcher(Protocol):
    """Is told how the drill goes; draws progress bars on a terminal."""

    def phase(self, name: str, total: int) -> None: ...

    def progress(self, done: int) -> None: ...

    def say(self, text: str) -> None: ...


class Stage:
    """Everything is made when a drill begins; nothing runs yet. `victim` is struck, `refuge` takes its writers."""

    def __init__(self, config: DrillConfig, world: World, selection: Selection, watch: Watcher) -> None:
        self.world = world
        self.selection = selection
        self.watch = watch
        self.kind: Kind = KINDS[config.kind]()
        self.history = History()
        self.result = DrillResult(config, tuple(world.regions))
        chance = random.Random(config.seed)
        self.tables = {region: Tables(world.settings(region)) for region in world.regions}
        self.victim = chance.choice(list(world.regions))
        self.refuge = next(region for region in world.regions if region != self.victim)
        self.losses = Losses(self.victim, self.history, self.tables)
        self.total = len(selection.reports)
        self.strike_at = int(self.total * chance.uniform(0.25, 0.40))
        self.heal_at = int(self.total * chance.uniform(0.60, 0.70))
        self.begun = time.monotonic()
        self.stores = {region: world.store(region) for region in world.regions}
        self.homes = desks(list(world.regions), selection.reports)
        counters = [
            (name, region, reports)
            for region, airports in self.homes.items()
            for airport, reports_there in airports.items()
            for name, reports in self._counters(region, airport, reports_there)
        ]
        pause = config.kills * 1.0 / max(self.total, 1) * len(counters)  # spread the load over the kills
        self.desks = [
            Desk(name, region, self.stores, reports, self.history, f"{config.seed}/{region}/{name}", pause)
            for name, region, reports in counters
        ]
        stay = [desk for desk in self.desks if desk.home == self.victim][1::2] if self.kind.stays else []
        self.followers = [desk for desk in self.desks if desk.home == self.victim and desk not in stay]
        self.supervisor = Supervisor(
            world, self.desks, config.kills, chance, self.result.faults, lambda: self.now,
            lambda: watch.progress(self.history.count()),
        )  # fmt: skip

    def _counters(self, region: str, airport: str, reports: list[Report]) -> list[tuple[str, list[Report]]]:
        """Where some writers follow and some stay, each of the victim's desks is two, which share out the aircraft."""
        if not self.kind.stays or region != self.victim:
            return [(airport, reports)]
        halves: tuple[list[Report], list[Report]] = ([], [])
        for report in reports:
            halves[sum(report.stream.id.encode()) // len(self.world.regions) % 2].append(report)
        return [(f"{airport}-{number}", half) for number, half in enumerate(halves, 1)]

    def slow_down(self, seconds: float) -> None:
        """Let what each desk has before its next gate last for so many seconds at least."""
        for desk in self.desks:
            desk.slow_down(seconds)

    @property
    def now(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self.begun

    @property
    def network(self) -> Network:
        """The world's network. Raises InvalidConfig where it has none."""
        if self.world.network is None:
            raise InvalidConfig(
                f"a {self.kind.name} drill needs a network that can be cut; make its World with proxied=True"
            )
        return self.world.network

    @property
    def own_reports(self) -> int:
        """How many reports are at home in the victim."""
        return sum(map(len, self.homes[self.victim].values()))

    @property
    def own_events(self) -> int:
        """How many events of the victim's lanes are acknowledged and not gone."""
        return self.history.count_of(self.victim)

    @property
    def own_at_gate(self) -> bool:
        """The victim's desks have nothing to report before the next gate opens."""
        return all(desk.at_gate for desk in self.desks if desk.home == self.victim)

    def victim_answers(self) -> bool:
        """Whether the victim answers one of two health checks in a row within a second."""
        settings = replace(self.world.settings(self.victim), peers=(), connect_timeout=1.0, read_timeout=1.0, attempts=2)
        client = aws.dynamodb(settings, self.victim)
        try:
            aws.call(settings, self.victim, lambda: client.list_tables(Limit=1))
        except RegionUnavailable:
            return False
        return True

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition`, keeping the bars moving, workers alive, and the killing going."""
        self.supervisor.until(condition)

    def start_desks(self) -> None:
        self.begun = time.monotonic()
        for desk in self.desks:
            desk.start()

    def stop_desks(self) -> None:
        for desk in self.desks:
            desk.stop()
        end = time.monotonic() + 0.5
        for desk in self.desks:
            desk.join(max(0.0, end - time.monotonic()))
