"""World on this machine: for each region one emulator process, one replicator and one projector, and a network between.

A region can be killed because it consists of its own processes on its own port. Between the regions' processes there may be
a proxy for each link (network.py), in front of each region one that strikes requests to its services (faults/proxy.py), and
a region's programs may have a clock of their own that can be set wrong (faults/clocks.py). A region may also be at an
endpoint elsewhere, in tables of its own prefix, which are deleted when the world closes. Every process is then stopped by
its own id, also after an error, and the kernel ends them if this process is killed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit
from urllib.request import urlopen

from botocore.exceptions import BotoCoreError, ClientError

from chaos.child_processes import Process, free_ports
from chaos.faults.clocks import Clock
from chaos.faults.control import ServiceProxy
from chaos.world.emulator import COUNTS_PATH
from chaos.world.network import Network
from chaos.world.region import RegionProcesses, emulator, worker
from replicator.cli.console import err
from replicator.connect import connect_store
from replicator.domain.clock import HybridLogicalClock
from replicator.domain.errors import InvalidConfig
from replicator.eventstore.store import EventStore
from replicator.runtime.settings import Settings
from replicator.runtime.signals import undisturbed

__all__ = ["RegionProcesses", "World", "WorldOptions", "free_ports"]


@dataclass(frozen=True, slots=True)
class WorldOptions:
    """Options of a world. `proxied`: links can be cut; `faulty`: services can fail; `clocks`: clocks can be set. `endpoints`
    are of regions that are elsewhere; with links or faults they must be http://HOST:PORT. `seed` determines all random
    choices. `read_timeout` is in seconds, and so is `heartbeat`, from one heartbeat of a region's workers to the next (0:
    none)."""

    workers: bool = True
    read_timeout: float = 5.0
    attempts: int = 2
    services: str = "dynamodb,dynamodbstreams"
    tables: bool = True
    proxied: bool = False
    faulty: bool = False
    clocks: bool = False
    endpoints: Mapping[str, str] = field(default_factory=dict)
    prefix: str = "meridian"
    seed: int = 0
    heartbeat: float = 0.0


class World:
    """Regions that run on this machine. Use it as a context manager."""

    def __init__(
        self,
        regions: Sequence[str],
        projections: Sequence[str] = (),
        options: WorldOptions | None = None,
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        options = options or WorldOptions()
        self._step = step
        self._furnished = False
        self._directory = tempfile.TemporaryDirectory(prefix="meridian-", ignore_cleanup_errors=True)
        self.logs = Path(self._directory.name)
        self._elsewhere = {region: url for region, url in options.endpoints.items() if region in regions}
        ports = dict(zip(regions, free_ports(len(regions)), strict=True))
        direct = {region: f"http://127.0.0.1:{port}" for region, port in ports.items()} | self._elsewhere
        plain = {region for region, url in self._elsewhere.items() if options.proxied or urlsplit(url).scheme == "http"}
        targets = {region: _address(region, direct[region]) for region in regions if options.faulty or region in plain}
        self.services = (
            ServiceProxy(targets, self.logs / "faults.log", seed=options.seed, inserts=plain) if targets else None
        )
        """Proxy that strikes requests to the regions' services, and makes streams elsewhere show INSERTs; None: there is
        none."""
        front = {region: self.services.port(region) if self.services and region in targets else port
                 for region, port in ports.items()}  # fmt: skip
        fronts = {
            region: f"http://127.0.0.1:{front[region]}" if region in targets else url for region, url in direct.items()
        }
        self.network = Network(front, self.logs / "network.log", seed=options.seed) if options.proxied else None
        """Links between the regions' processes; None: they are direct."""
        self.clocks = {region: Clock(self.logs / f"{region}.clock") for region in regions} if options.clocks else {}
        """Clocks of the regions' programs, where they are not the machine's."""
        self.regions: dict[str, RegionProcesses] = {}
        self._clients: dict[str, Settings] = {}
        for region, port in ports.items():
            settings = Settings(
                region,
                tuple(other for other in regions if other != region),
                prefix=options.prefix,
                endpoints=direct,
                read_timeout=options.read_timeout,
                attempts=options.attempts,
                heartbeat=options.heartbeat,
            )
            links = {peer: self.network.endpoint(region, peer) for peer in settings.peers} if self.network else {}
            self._clients[region] = replace(settings, endpoints=fronts)
            inside = replace(settings, endpoints={**fronts, **links})
            clock = self.clocks.get(region)
            replicator = worker("replicator", "replicator", inside, projections, self.logs, clock)
            projector = worker("projector", "projectors", inside, projections, self.logs, clock)
            own = None if region in self._elsewhere else emulator(region, port, options.services, self.logs)
            self.regions[region] = RegionProcesses(
                settings, inside, own, replicator, projector, options.workers, options.tables
            )

    def __enter__(self) -> World:
        os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
        os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Start every region, furnish it, and start its workers."""
        for proxy in self._proxies:
            proxy.start()
        for region in self.regions.values():
            if region.emulator is not None:
                region.emulator.start()
        for region in self.regions.values():
            region.wait_healthy()
        self.furnish()
        for region in self.regions.values():
            for process in region.workers:
                process.start()

    def furnish(self) -> None:
        """Create what every region needs before anything runs in it."""
        self._furnished = True
        for region in self.regions.values():
            region.furnish()

    def close(self) -> None:
        """Stop everything that was started, workers first, and delete what was created elsewhere: each thing, also when
        another one fails. SIGINT and SIGTERM wait until it is done, so that it is not left half done."""
        with undisturbed(), ExitStack() as stack:  # what was pushed last is done first, and an error ends nothing
            stack.callback(self._directory.cleanup)
            for name in self._elsewhere if self._furnished else ():
                stack.callback(self._clear, self.regions[name])
            for proxy in reversed(self._proxies):
                stack.callback(proxy.stop)
            for group in (self._emulators, self._workers):
                for process in reversed(group):
                    stack.callback(process.stop)
                for process in group:
                    stack.callback(process.terminate)
            for region in self.regions.values():
                for process in region.processes:
                    if process.frozen:
                        stack.callback(process.thaw)

    def _clear(self, region: RegionProcesses) -> None:
        """Delete what was created elsewhere. Where that fails, report what is left, so that the user can delete it."""
        where = f"in {region.name} at {region.settings.endpoint(region.name)}"
        try:
            left = region.clear()
        except (BotoCoreError, ClientError) as error:
            err.print(f"tables {region.settings.prefix}-* are left {where}: {error}; delete them", markup=False)
        else:
            for name, why in left.items():
                err.print(f"table {name} is left {where}: {why}; delete it", markup=False)

    def stop_workers(self) -> None:
        """Send SIGTERM to every replicator and projector, and wait until they have ended."""
        for process in self._workers:
            process.terminate()
        for process in self._workers:
            process.stop()

    def keep_workers(self, killed: set[str]) -> None:
        """Start those of these (by name) again that were killed, as a supervisor does, and remove them from `killed`. Raises
        ProcessFailed for a worker that ended by itself."""
        for region in self.regions.values():
            for process in region.workers if not region.down else ():
                if not process.running:
                    if process.name not in killed:
                        raise process.failure("ended by itself")
                    process.start()
                    killed.discard(process.name)

    def settings(self, region: str) -> Settings:
        """Return settings for clients and operators outside the regions: no endpoint is behind a link, but services may
        fail."""
        return self._clients[region]

    def direct(self, region: str) -> Settings:
        """Return settings for the checker, which reaches the region directly."""
        return self.regions[region].settings

    def inside(self, region: str) -> Settings:
        """Return settings for the region's own processes: other regions are reached over the network's links."""
        return self.regions[region].inside

    def store(self, region: str, clock: HybridLogicalClock | None = None) -> EventStore:
        """Return the event store of a region, as an application there would use it."""
        return connect_store(self.settings(region), clock)

    def memory_mb(self) -> float:
        """Return the sum of every process's peak resident memory, in MB."""
        return sum(process.memory_mb() for process in (*self._workers, *self._emulators))

    def event_writes(self) -> Counter[str]:
        """Return how many requests wrote to events tables, by operation. Emulators count them; requests to an emulator that
        was killed are not included, nor those to endpoints elsewhere."""
        counts: Counter[str] = Counter()
        for region in self.regions.values():
            if region.emulator is not None and region.emulator.running and not region.emulator.frozen:
                with urlopen(f"{region.settings.endpoint(region.name)}{COUNTS_PATH}", timeout=30) as answer:
                    for name, count in json.load(answer).items():
                        operation, _, table = name.partition(" ")
                        counts[operation] += count if table == region.settings.events_table else 0
        return +counts

    @property
    def _workers(self) -> list[Process]:
        return [process for region in self.regions.values() for process in region.workers]

    @property
    def _emulators(self) -> list[Process]:
        return [region.emulator for region in self.regions.values() if region.emulator is not None]

    @property
    def _proxies(self) -> list[Network | ServiceProxy]:
        return [proxy for proxy in (self.services, self.network) if proxy is not None]


def _address(region: str, url: str) -> str:
    """Return HOST:PORT of an endpoint that a proxy can stand in front of. Raises InvalidConfig."""
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or not parts.port or parts.path.strip("/"):
        raise InvalidConfig(f"endpoint {url!r} of {region} cannot be put behind links and faults; write http://HOST:PORT")
    return f"{parts.hostname}:{parts.port}"
