"""Processes of a region, made of the real parts: event stores for clients, the replicator, the projector."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from random import Random
from typing import Any

import structlog

from chaos.simulator.crash_points import Killed
from chaos.simulator.reach import Reached, ReachedControl
from chaos.simulator.simulated_functions import (
    QueueMapping,
    Sandboxes,
    StreamMapping,
    backlog_of,
    queue_of,
    redrive_of,
)
from chaos.simulator.simulated_region import APPS, Region, Regions
from chaos.simulator.simulated_time import Pool
from chaos.workload.model import Thing
from projectors.engine.engine import Engine
from projectors.engine.memory_sink import MemorySink
from projectors.engine.sink import Change
from projectors.model.view import View, ViewKey
from projectors.reads.queries import Query
from projectors.run.feed import Feed
from projectors.run.invocation import Inbound
from projectors.run.projector import Projector
from projectors.run.view_quarantine import Poison
from projectors.run.worker import READER as PROJECTOR
from projectors.run.worker import ProjectorWorker
from replicator.aws.dynamodb_streams import DynamoStreamReader
from replicator.control.backlog import VIEWS, Backlog, TableBacklog
from replicator.control.checkpoints import Checkpoints
from replicator.control.leases import Leases
from replicator.control.quarantine import Quarantine
from replicator.domain.clock import HybridLogicalClock
from replicator.domain.errors import RegionUnavailable
from replicator.eventstore.appender import AppendPolicy
from replicator.eventstore.store import EventStore
from replicator.fencing.adoption import Adopter
from replicator.fencing.check_in import CheckIn, Heard, ask
from replicator.fencing.fence import Fence
from replicator.replication.copier import Copier
from replicator.replication.invocation import GAP_SECONDS, Outbound
from replicator.replication.link import Link
from replicator.replication.link_state import LinkState
from replicator.replication.peer_tables import PeerTables
from replicator.replication.refusals import Refusals
from replicator.replication.worker import READER as REPLICATOR
from replicator.replication.worker import LinkThread, Replicator
from replicator.runtime.settings import Settings

POLL_SECONDS = 0.25


class _Waiting(threading.Event):
    """Event for unlimited waits of a process. Here the process is killed instead, and begins anew: waiting would not end, as
    nothing else moves meanwhile."""

    def wait(self, timeout: float | None = None) -> bool:
        raise Killed


@cache
def settings_of(region: str, page: int) -> Settings:
    return Settings(region, attempts=1, batch_size=page)


class Views:
    """Sink of a region, as its projector reaches it."""

    def __init__(self, world: Regions, there: Region) -> None:
        self._world = world
        self._there = there

    def load(self, keys: Sequence[ViewKey]) -> Mapping[ViewKey, View]:
        self._world.axe.look()
        return self._sink().load(keys)

    def glance(self, keys: Sequence[ViewKey]) -> Mapping[ViewKey, View]:
        """As LoadsCheaply: every third time from a replica that is behind."""
        self._world.requests += 1
        return self.load(keys) if self._world.requests % 3 else self._sink().glance(keys)

    def save(self, changes: Sequence[Change]) -> list[bool]:
        return self._world.axe.swing(lambda: self._sink().save(changes))

    def _sink(self) -> MemorySink:
        return self._there.answering().sink


def fence_of(world: Regions, there: Region) -> Fence:
    """Return the fence as a new process of a region sees it."""
    name = there.name
    control, table = ReachedControl(world, name, there), Reached(world, name, there)

    def ask_all(lanes: bool) -> tuple[Mapping[str, Heard], tuple[str, ...]]:
        heard: dict[str, Heard] = {}
        for peer in world.regions.values():
            if peer is not there:
                try:
                    heard[peer.name] = ask(ReachedControl(world, name, peer), Reached(world, name, peer), name, lanes)
                except RegionUnavailable:
                    continue
        return heard, tuple(peer for peer in world.regions if peer != name and peer not in heard)

    return Fence(
        name, control, CheckIn(lambda: {"events": table.identity(), "control": control.identity()}, ask_all),
        world.options.checked, wall=lambda: int(world.now * 1000), monotonic=lambda: world.now,
    )  # fmt: skip


class App:
    """Process that appends and reads for clients."""

    def __init__(self, world: Regions, there: Region, number: int) -> None:
        name = there.name
        self.store = EventStore(
            Reached(world, name, there, name),
            name,
            tuple(world.regions),
            HybridLogicalClock(lambda: int((world.now + there.skew[number]) * 1000)),
            peer=lambda region: Reached(world, name, world.regions[region]),
            appends=AppendPolicy(fence=fence_of(world, there), nonce=world.nonce),
        )
        self.query = Query(Thing, self.store, _sink(Views(world, there)))


@dataclass(slots=True)
class _FunctionLink:
    """Backlog of a link that a function drains, with the interface of a link that a thread drives."""

    mapping: QueueMapping
    states: Callable[[], Iterable[LinkState]]

    def turn(self) -> float:
        return self.mapping.turn()

    @property
    def state(self) -> LinkState:
        found = LinkState()
        for each in self.states():
            found.copied, found.known = found.copied + each.copied, found.known + each.known
        return found


class _Turns:
    """Mappings that have their turns together."""

    def __init__(self, *mappings: StreamMapping | QueueMapping) -> None:
        self._mappings = mappings

    def turn(self) -> float:
        return min([each.turn() for each in self._mappings])


class ReplicatorFunctions:
    """Functions that replicate, with the interface of ReplicatorProcess."""

    def __init__(self, world: Regions, there: Region) -> None:
        name = there.name
        self._world, self._there = world, there
        self.control, self.home = ReachedControl(world, name, there), Reached(world, name, there)
        chance = Random(f"{name} {REPLICATOR}")
        self.peers = [peer.name for peer in world.regions.values() if peer is not there]
        self.adopter = _adopter(world, there, self.control)
        sandboxes = Sandboxes(self._sandbox, chance)
        self.links = {
            peer: _FunctionLink(
                QueueMapping(
                    queue_of(world, there, f"backlog-{peer}"),
                    lambda messages: sandboxes.invoke(lambda function: function.catch_up(messages, lambda: True)),
                    lambda: there.up,
                ),
                lambda peer=peer: [each.links[f"{name}>{peer}"].state for each in sandboxes.all],  # type: ignore[misc]
            )
            for peer in self.peers
        }
        stream = StreamMapping(
            world, there, REPLICATOR, lambda records: sandboxes.invoke(lambda function: function.replicate(records)), chance
        )
        self.worker = _Turns(stream, redrive_of(world, there, self.home, self.control, [*self.peers, VIEWS]))

    def _sandbox(self) -> Outbound:
        world, there, name = self._world, self._there, self._there.name
        wall = partial(_wall, world)

        def link(peer: str) -> Link:
            way = f"{name}>{peer}"
            pool: Any = Pool()
            copier = Copier(
                self.home, Reached(world, name, world.regions[peer], name), Quarantine(self.control, way), pool, LinkState(),
                structlog.get_logger(), lambda: world.now, world.wait, GAP_SECONDS,
            )  # fmt: skip
            peers = PeerTables(self.control, wall, world.nonce())
            return Link(name, peer, copier, backlog_of(world, there, peer), peers, _told, wall)

        refusals = Refusals(name, self.control, (), _told, wall)
        links = {f"{name}>{peer}": link(peer) for peer in self.peers}
        return Outbound(name, links, refusals, True, lambda: self.adopter, lambda: world.now)


class ProjectorFunctions:
    """Functions that project, with the interface of ProjectorProcess."""

    def __init__(self, world: Regions, there: Region) -> None:
        self._world, self._there = world, there
        chance = Random(f"{there.name} {PROJECTOR}")
        sandboxes = Sandboxes(self._sandbox, chance)
        backlog = QueueMapping(
            queue_of(world, there, f"backlog-{VIEWS}"),
            lambda messages: sandboxes.invoke(lambda function: function.catch_up(messages, lambda: True)),
            lambda: there.up,
        )
        stream = StreamMapping(
            world, there, PROJECTOR, lambda records: sandboxes.invoke(lambda function: function.project(records)), chance
        )
        self.worker = _Turns(stream, backlog)

    def _sandbox(self) -> Inbound:
        link = f"{self._there.name}>{VIEWS}"
        backlog = backlog_of(self._world, self._there, VIEWS)
        return Inbound(_projector(self._world, self._there, backlog, link))


class ReplicatorProcess:
    """Replicator with its links. `turn` and `drain` give them their turns."""

    def __init__(self, world: Regions, there: Region) -> None:
        name = there.name
        control, home = ReachedControl(world, name, there), Reached(world, name, there)
        wall = partial(_wall, world)

        def link(peer: Region) -> LinkThread:
            way = f"{name}>{peer.name}"
            pool: Any = Pool()
            copier = Copier(
                home, Reached(world, name, peer, name), Quarantine(control, way), pool, LinkState(),
                structlog.get_logger(), lambda: world.now,
            )  # fmt: skip
            peers = PeerTables(control, wall, world.nonce())
            policy = Link(name, peer.name, copier, TableBacklog(control, way, wall), peers, _told, wall)
            return LinkThread(policy, max_queued=world.options.queue, patience=0.0)

        self.links = {peer.name: link(peer) for peer in world.regions.values() if peer is not there}
        for each in self.links.values():
            each._stop = _Waiting()
        reader = _reader(world, there, control, REPLICATOR)
        refusals = Refusals(name, control, (), _told, wall)
        self.worker = Replicator(name, reader, home, list(self.links.values()), refusals, POLL_SECONDS)
        self.adopter = _adopter(world, there, control)


class ProjectorProcess:
    """Projector of a region."""

    def __init__(self, world: Regions, there: Region) -> None:
        control, link = ReachedControl(world, there.name, there), f"{there.name}>{VIEWS}"
        reader = _reader(world, there, control, PROJECTOR)
        projector = _projector(world, there, TableBacklog(control, link, partial(_wall, world)), link)
        self.worker = ProjectorWorker(reader, projector, POLL_SECONDS)


def _projector(world: Regions, there: Region, backlog: Backlog, link: str) -> Projector:
    name, wall = there.name, partial(_wall, world)
    control, table = ReachedControl(world, name, there), Reached(world, name, there)
    store = EventStore(table, name, tuple(world.regions), HybridLogicalClock(lambda: int(world.now * 1000)))
    engine = Engine([Thing], store, _sink(Views(world, there)), watch=world.options.watched)
    feed = Feed(engine, backlog, monotonic=lambda: world.now)
    refusals = Refusals(name, control, (), _told, wall)
    poison = Poison(Quarantine(control, link), link)
    return Projector(store, [feed], poison, refusals, wall=wall, monotonic=lambda: world.now)


def _adopter(world: Regions, there: Region, control: ReachedControl) -> Adopter:
    peers = {peer.name: ReachedControl(world, there.name, peer) for peer in world.regions.values() if peer is not there}
    return Adopter(there.name, control, peers, fence_of(world, there).role)


def app_of(world: Regions, there: Region, number: int) -> App:
    """Return a process of a region that appends; a new one where the last was killed."""
    name = app_name(number)
    if name not in there.running:
        there.running[name] = App(world, there, number % APPS)
    app: App = there.running[name]
    return app


def app_name(number: int) -> str:
    """Return the name of a region's process of this number."""
    return f"app {number % APPS}"


def replicator_of(world: Regions, there: Region) -> ReplicatorProcess | ReplicatorFunctions:
    """Return the replicator of a region; a new one where the last was killed."""
    if REPLICATOR not in there.running:
        made = ReplicatorFunctions if world.options.functions else ReplicatorProcess
        there.running[REPLICATOR] = made(world, there)
    process: ReplicatorProcess | ReplicatorFunctions = there.running[REPLICATOR]
    return process


def projector_of(world: Regions, there: Region) -> ProjectorProcess | ProjectorFunctions:
    """Return the projector of a region; a new one where the last was killed."""
    if PROJECTOR not in there.running:
        made = ProjectorFunctions if world.options.functions else ProjectorProcess
        there.running[PROJECTOR] = made(world, there)
    process: ProjectorProcess | ProjectorFunctions = there.running[PROJECTOR]
    return process


def _wall(world: Regions) -> int:
    return int(world.now * 1000)


def _told(dimensions: Mapping[str, str], values: Mapping[str, float]) -> None:
    """Discard metrics: they are not read here."""


def _reader(world: Regions, there: Region, control: ReachedControl, name: str) -> DynamoStreamReader:
    client: Any = there.stream
    settings, owner = settings_of(there.name, world.options.page), f"{name} {world.now!r} {there.stream.requests}"
    leases = Leases(control, name, owner, monotonic=lambda: world.now, gone=lambda other: other != owner)
    return DynamoStreamReader(
        client, there.stream.arn, Checkpoints(control, name), settings, lambda: world.now, leases=leases
    )  # fmt: skip


def _sink(views: Views) -> Any:
    """Return the views as a Sink: the engine and queries of streams need only these two of its methods."""
    return views
