"""A world on this machine: for each region one emulator process, one replicator and one projector, and a network between.

A region is killable because it is its own processes on its own port. Between the regions' processes there may be a proxy
for each link (network.py); whoever asks a region from outside reaches it directly. Every process is stopped by its
own id when the world closes, also after an error, and the kernel ends them if this process is killed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from chaos.world.network import Network
from chaos.world.processes import Process, free_ports
from chaos.world.region import RegionProcesses, emulator, worker
from replicator.domain.clock import HybridLogicalClock
from replicator.settings import Settings
from replicator.store import EventStore

__all__ = ["RegionProcesses", "World", "free_ports"]


class World:
    """Regions that run on this machine. Use it as a context manager."""

    def __init__(
        self,
        regions: Sequence[str],
        projections: Sequence[str] = (),
        *,
        workers: bool = True,
        read_timeout: float = 5.0,
        attempts: int = 2,
        services: str = "dynamodb,dynamodbstreams",
        tables: bool = True,
        proxied: bool = False,
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._step = step
        self._directory = tempfile.TemporaryDirectory(prefix="meridian-", ignore_cleanup_errors=True)
        self.logs = Path(self._directory.name)
        ports = dict(zip(regions, free_ports(len(regions)), strict=True))
        endpoints = {region: f"http://127.0.0.1:{port}" for region, port in ports.items()}
        self.network = Network(ports, self.logs / "network.log") if proxied else None
        """The links between the regions' processes; None: they are direct."""
        self.regions: dict[str, RegionProcesses] = {}
        for region, port in ports.items():
            settings = Settings(
                region,
                tuple(other for other in regions if other != region),
                endpoints=endpoints,
                read_timeout=read_timeout,
                attempts=attempts,
                write_with="puts",  # ministack's streams leave PartiQL writes out: docs/decisions/0003
            )
            links = {peer: self.network.endpoint(region, peer) for peer in settings.peers} if self.network else {}
            inside = replace(settings, endpoints={**endpoints, **links})
            replicator = worker("replicator", "replicator", inside, projections, self.logs)
            projector = worker("projector", "projectors", inside, projections, self.logs)
            own = emulator(region, port, services, self.logs)
            self.regions[region] = RegionProcesses(settings, inside, own, replicator, projector, workers, tables)

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
        """Start every region, give it what it needs, start its workers."""
        if self.network is not None:
            self.network.start()
        for region in self.regions.values():
            region.emulator.start()
        for region in self.regions.values():
            region.wait_healthy()
        self.furnish()
        for region in self.regions.values():
            for process in region.workers:
                process.start()

    def furnish(self) -> None:
        """Give every region what it needs before anything runs in it."""
        for region in self.regions.values():
            region.furnish()

    def close(self) -> None:
        """Stop everything that was started, workers first."""
        for region in self.regions.values():
            for process in region.processes:
                if process.frozen:
                    process.thaw()
        for process in self._all():
            process.stop()
        if self.network is not None:
            self.network.stop()
        self._directory.cleanup()

    def stop_workers(self) -> None:
        """SIGTERM to every replicator and projector, and wait until they have ended."""
        for region in self.regions.values():
            for process in region.workers:
                process.stop()

    def keep_workers(self, killed: set[str]) -> None:
        """Start again those of these (by name) that were killed, as a supervisor does, and strike them off. Raises
        ProcessFailed for a worker that ended by itself."""
        for region in self.regions.values():
            for process in region.workers if not region.down else ():
                if not process.running:
                    if process.name not in killed:
                        raise process.failure("ended by itself")
                    process.start()
                    killed.discard(process.name)

    def settings(self, region: str) -> Settings:
        """As clients and operators outside the regions have them: every endpoint is direct."""
        return self.regions[region].settings

    def inside(self, region: str) -> Settings:
        """As the region's own processes have them: other regions are reached over the network's links."""
        return self.regions[region].inside

    def store(self, region: str, clock: HybridLogicalClock | None = None) -> EventStore:
        """The event store of a region, as an application there would use it."""
        return EventStore.connect(self.settings(region), clock)

    def memory_mb(self) -> float:
        """The sum of every process's peak resident memory, in MB."""
        return sum(process.memory_mb() for process in self._all())

    def _all(self) -> Iterable[Process]:
        workers = [process for region in self.regions.values() for process in region.workers]
        return [*workers, *(region.emulator for region in self.regions.values())]
