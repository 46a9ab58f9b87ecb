"""Simulated region: its tables, their stream and its views."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chaos.simulator.environment import Environment, Options
from chaos.simulator.stores import Control, Table
from chaos.simulator.stream import TableStream
from projectors.engine.memory_sink import MemorySink
from replicator.control.control_storage import Guard
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import Event
from replicator.domain.names import LaneId
from replicator.eventstore.store_errors import GuardFailed, LaneTaken

APPS = 2
"""Number of processes of a region that append, each with its own clock."""


@dataclass(frozen=True, slots=True)
class Backup:
    """Content of a region's tables at a time."""

    lanes: dict[LaneId, dict[int, Event]]
    control: dict[str, dict[str, str]]


@dataclass
class Region:
    """One region. `up`: it answers; `whole`: it has not lost its data, or was brought up again since."""

    world: Environment
    name: str
    up: bool = True
    whole: bool = True
    skew: list[float] = field(default_factory=lambda: [0.0] * APPS)
    """Error of each process's clock, in seconds."""
    late: list[tuple[tuple[Event, ...], tuple[Guard, ...]]] = field(default_factory=list)
    """Writes that are still on their way."""
    backup: Backup | None = None
    generation: int = 0

    def __post_init__(self) -> None:
        self.table: Table
        self.control: Control
        self.stream: TableStream
        self.sink: MemorySink
        self.anew()

    def anew(self, backup: Backup | None = None) -> None:
        """Replace the tables by new ones, empty or with the content of a backup. All processes of the region are killed."""
        self.generation += 1
        name = f"{self.name}/{self.generation}"
        self.control = Control(name)
        self.stream = TableStream(name, lambda: self.world.now, lambda: self.up)
        self.table = Table(name, self.control, self._added, self.world.broken)
        self.sink = MemorySink()
        self.late = []
        self.mappings: dict[str, Any] = {}
        self.queues: dict[str, Any] = {}
        if backup is not None:
            self.table.restore(backup.lanes)
            self.control.restore(backup.control)
        self.stop()

    def stop(self) -> None:
        """Kill all that runs here: the processes by their names, as chaos/simulator/simulated_processes.py starts them."""
        self.running: dict[str, Any] = {}

    def kill(self, name: str) -> None:
        """Kill the process of this name, if it runs."""
        self.running.pop(name, None)

    def answering(self) -> Region:
        """Return this region, if it answers. Raises RegionUnavailable."""
        if not self.up:
            raise RegionUnavailable(f"{self.name} is down")
        return self

    def back_up(self) -> None:
        lanes = {lane: dict(events) for lane, events in self.table.lanes_held.items()}
        self.backup = Backup(lanes, self.control.scopes())

    def land(self) -> int:
        """Let the writes that were on their way arrive. Returns how many were done."""
        late, self.late = self.late, []
        done = 0
        for events, guards in late:
            try:
                done += self.table.insert(events, guards)
            except (LaneTaken, GuardFailed):
                continue
        return done

    def _added(self, event: Event) -> None:
        self.stream.add(event)
        if event.lane.region != self.name:
            self.world.arrived(event)
        else:
            self.world.born(event)


class Regions(Environment):
    """Simulated world as its processes see it: the regions and their environment."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self.regions = {name: Region(self, name) for name in options.names}

    def region(self, number: int) -> Region:
        return self.regions[self.options.names[number % self.options.regions]]
