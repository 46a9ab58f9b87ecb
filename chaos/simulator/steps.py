"""Steps of a plan. Each holds all its random choices, and does something or nothing in any world: so any part of a plan is a
plan. `do` returns its result, for the trace; `str` describes it in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from chaos.simulator.disasters import strike
from chaos.simulator.simulated_network import Mishap, Way
from chaos.simulator.simulated_operator import Order
from chaos.simulator.simulated_processes import app_name, projector_of, replicator_of
from chaos.simulator.simulated_sessions import Change, stream_of
from projectors.run.worker import READER as PROJECTOR
from replicator.replication.worker import READER as REPLICATOR

if TYPE_CHECKING:
    from chaos.simulator.simulated_region import Region
    from chaos.simulator.simulated_world import World

_MAPPINGS_SECONDS, _MAPPINGS_TURNS = 60.0, 50
"""Seconds of a wait in which functions have turns, and how many."""


class Step(Protocol):
    """One step of a plan."""

    def do(self, world: World) -> str: ...


def _kill(at: int, after: bool) -> str:
    return f", killed {'after' if after else 'at'} change {at}" if at else ""


@dataclass(frozen=True, slots=True)
class Append:
    session: int
    app: int
    changes: tuple[Change, ...]
    mishap: Mishap = Mishap.NONE

    def do(self, world: World) -> str:
        return world.session(self.session).append(self.app, self.changes, self.mishap)

    def __str__(self) -> str:
        mishap = f" ({self.mishap})" if self.mishap is not Mishap.NONE else ""
        return f"session {self.session} appends by process {self.app}: {', '.join(map(str, self.changes))}{mishap}"


@dataclass(frozen=True, slots=True)
class Settle:
    session: int
    app: int
    number: int
    mishap: Mishap = Mishap.NONE

    def do(self, world: World) -> str:
        return world.session(self.session).ask(self.app, self.number, self.mishap)

    def __str__(self) -> str:
        return f"session {self.session} resolves an append without an answer"


@dataclass(frozen=True, slots=True)
class Read:
    session: int
    app: int
    stream: int

    def do(self, world: World) -> str:
        return world.session(self.session).look(self.app, self.stream)

    def __str__(self) -> str:
        return f"session {self.session} reads {stream_of(self.stream)} by process {self.app}"


@dataclass(frozen=True, slots=True)
class Move:
    session: int
    region: int

    def do(self, world: World) -> str:
        session = world.session(self.session)
        session.region = world.region(self.region).name
        return ""

    def __str__(self) -> str:
        return f"session {self.session} moves to region {self.region}"


@dataclass(frozen=True, slots=True)
class Land:
    region: int

    def do(self, world: World) -> str:
        region = world.region(self.region)
        return f"{region.land()} did" if region.up else ""

    def __str__(self) -> str:
        return f"writes on their way in region {self.region} arrive"


@dataclass(frozen=True, slots=True)
class Replicate:
    region: int
    disorder: str = ""
    kill: int = 0
    after: bool = False

    def do(self, world: World) -> str:
        region = world.region(self.region)
        with world.killing(self.kill, self.after) as killed, region.stream.disordered(self.disorder):
            rest = replicator_of(world, region).worker.turn()
        if killed:
            region.kill(REPLICATOR)
            return "killed"
        return _rested(rest)

    def __str__(self) -> str:
        disorder = f" a page that is {self.disorder}" if self.disorder else ""
        return f"the replicator of region {self.region} reads{disorder}{_kill(self.kill, self.after)}"


@dataclass(frozen=True, slots=True)
class Drain:
    source: int
    target: int
    turns: int = 1
    kill: int = 0
    after: bool = False

    def do(self, world: World) -> str:
        region, peer = world.region(self.source), world.region(self.target)
        if region is peer:
            return ""
        with world.killing(self.kill, self.after) as killed:
            link = replicator_of(world, region).links[peer.name]
            for _ in range(self.turns):
                link.turn()
        if killed:
            region.kill(REPLICATOR)
            return "killed"
        return f"{link.state.copied} copied, {link.state.known} known so far"

    def __str__(self) -> str:
        return f"link {self.source}>{self.target} has {self.turns} turns{_kill(self.kill, self.after)}"


@dataclass(frozen=True, slots=True)
class Project:
    region: int
    disorder: str = ""
    kill: int = 0
    after: bool = False

    def do(self, world: World) -> str:
        region = world.region(self.region)
        with world.killing(self.kill, self.after) as killed, region.stream.disordered(self.disorder):
            rest = projector_of(world, region).worker.turn()
        if killed:
            region.kill(PROJECTOR)
            return "killed"
        return _rested(rest)

    def __str__(self) -> str:
        disorder = f" a page that is {self.disorder}" if self.disorder else ""
        return f"the projector of region {self.region} reads{disorder}{_kill(self.kill, self.after)}"


@dataclass(frozen=True, slots=True)
class Adopt:
    region: int

    def do(self, world: World) -> str:
        region = world.region(self.region)
        if not region.up:
            return ""
        with world.killing(0, False):
            return _tried(replicator_of(world, region).adopter.adopt)

    def __str__(self) -> str:
        return f"region {self.region} requests its role from its peers"


@dataclass(frozen=True, slots=True)
class Crash:
    """Crash of a process. `process` is 0 or 1 for those that append, 2 for the replicator, 3 for the projector."""

    region: int
    process: int

    def do(self, world: World) -> str:
        region = world.region(self.region)
        if self.process < 2:
            region.kill(app_name(self.process))
        elif self.process == 2:
            region.kill(REPLICATOR)
        else:
            region.kill(PROJECTOR)
        return ""

    def __str__(self) -> str:
        names = ("process 0", "process 1", "the replicator", "the projector")
        return f"{names[self.process]} of region {self.region} is killed"


@dataclass(frozen=True, slots=True)
class SetClock:
    region: int
    app: int
    seconds: float

    def do(self, world: World) -> str:
        world.region(self.region).skew[self.app] = self.seconds
        return ""

    def __str__(self) -> str:
        return f"the clock of process {self.app} of region {self.region} is {self.seconds:+} s off"


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: float

    def do(self, world: World) -> str:
        world.wait(self.seconds)
        for region in world.regions.values():
            if world.options.functions and self.seconds >= _MAPPINGS_SECONDS:
                _let_mappings_work(world, region)
            region.stream.trim()
        return ""

    def __str__(self) -> str:
        return f"{self.seconds:,} s pass"


@dataclass(frozen=True, slots=True)
class Break:
    """Break of a way between two regions, or (`way` is None) its repair."""

    source: int
    target: int
    way: Way | None

    def do(self, world: World) -> str:
        edge = world.region(self.source).name, world.region(self.target).name
        if edge[0] == edge[1]:
            return ""
        if self.way is None:
            world.network.ways.pop(edge, None)
        else:
            world.network.ways[edge] = self.way
        return ""

    def __str__(self) -> str:
        return f"the path {self.source}>{self.target} is {self.way or 'restored'}"


@dataclass(frozen=True, slots=True)
class Cut:
    """Cut of one region off from all others, or (not `off`) the repair of all its ways."""

    region: int
    off: bool

    def do(self, world: World) -> str:
        name = world.region(self.region).name
        for other in world.options.names:
            for edge in ((name, other), (other, name)):
                if self.off and other != name:
                    world.network.ways[edge] = Way.HOLE
                else:
                    world.network.ways.pop(edge, None)
        return ""

    def __str__(self) -> str:
        return f"region {self.region} is {'cut off' if self.off else 'connected again'}"


@dataclass(frozen=True, slots=True)
class Split:
    region: int
    number: int
    parts: int

    def do(self, world: World) -> str:
        stream = world.region(self.region).stream
        return f"it was {stream.split(self.number, self.parts if stream.width < 4 else 1)}"

    def __str__(self) -> str:
        return f"a shard of region {self.region} is closed and has {self.parts} children"


@dataclass(frozen=True, slots=True)
class Switch:
    """Stop of a region, or its return. Its processes are killed when it stops."""

    region: int
    up: bool

    def do(self, world: World) -> str:
        region = world.region(self.region)
        if region.up and not self.up:
            region.stop()
        region.up = self.up
        return ""

    def __str__(self) -> str:
        return f"region {self.region} {'answers again' if self.up else 'is down'}"


@dataclass(frozen=True, slots=True)
class BackUp:
    region: int

    def do(self, world: World) -> str:
        region = world.region(self.region)
        if region.up and region.whole:
            region.back_up()
        return ""

    def __str__(self) -> str:
        return f"region {self.region} is backed up"


@dataclass(frozen=True, slots=True)
class Lose:
    region: int
    restored: bool

    def do(self, world: World) -> str:
        return strike(world, world.region(self.region), self.restored)

    def __str__(self) -> str:
        return f"region {self.region} is down and loses its data" + (", its backup is restored" * self.restored)


@dataclass(frozen=True, slots=True)
class FailOver:
    region: int
    to: int
    kill: int = 0
    after: bool = False

    def do(self, world: World) -> str:
        region, target = world.region(self.region), world.region(self.to)
        if region is target:
            return ""
        order = Order(region.name, target.name, not region.whole)
        with world.killing(self.kill, self.after):
            return world.operator.run(order)
        return "killed"

    def __str__(self) -> str:
        return f"failover from region {self.region} to {self.to}{_kill(self.kill, self.after)}"


@dataclass(frozen=True, slots=True)
class FailBack:
    region: int
    kill: int = 0
    after: bool = False

    def do(self, world: World) -> str:
        with world.killing(self.kill, self.after):
            return world.operator.run(Order(world.region(self.region).name))
        return "killed"

    def __str__(self) -> str:
        return f"fail-back of region {self.region}{_kill(self.kill, self.after)}"


def _let_mappings_work(world: World, region: Region) -> None:
    """Let the region's functions do what they can: mappings poll all the time, unlike workers, which may not run."""
    for mapping in (replicator_of(world, region).worker, projector_of(world, region).worker):
        for _ in range(_MAPPINGS_TURNS):
            if mapping.turn():
                break


def _rested(seconds: float) -> str:
    """Return the result of a worker's turn, by how long it rests then."""
    return f"rests {seconds:.3g} s" if seconds else "did something"


def _tried(do: Callable[[], object]) -> str:
    from replicator.domain.errors import RegionUnavailable

    try:
        do()
    except RegionUnavailable:
        return "unavailable"
    return ""
