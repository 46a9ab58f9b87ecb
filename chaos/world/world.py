"""A world on this machine: for each region one emulator process, one replicator and one projector, and a network between.

A region is killable because it is its own processes on its own port. Between the regions' processes there may be a proxy
for each link (network.py); whoever asks a region from outside reaches it directly. Every process is stopped by its
own id when the world closes, also after an error, and the kernel ends them if this process is killed.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chaos.world.backup import Backup, restore_backup
from chaos.world.network import Network
from chaos.world.processes import Process, free_ports
from projectors.sinks.dynamodb import DynamoSink
from replicator.domain.clock import HybridLogicalClock
from replicator.settings import Settings
from replicator.store import EventStore
from replicator.tables import create_tables

__all__ = ["RegionProcesses", "World", "free_ports"]

_START_SECONDS = 60.0


class RegionProcesses:
    """One region of the world."""

    def __init__(
        self,
        settings: Settings,
        inside: Settings,
        port: int,
        projections: Sequence[str],
        logs: Path,
        services: str,
        workers: bool,
        tables: bool,
    ) -> None:
        self._workers = workers
        self._tables = tables
        self.settings = settings
        self.inside = inside
        """The same, with endpoints as the region's own processes have them."""
        self.name = settings.region
        self.down = False
        """Killed, and not back yet."""
        environment = {
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": self.name,
            "PYTHONUNBUFFERED": "1",
        }
        self.emulator = Process(
            f"emulator of {self.name}",
            [sys.executable, "-m", "ministack"],
            {
                **environment,
                "GATEWAY_PORT": str(port),
                "BIND_HOST": "127.0.0.1",
                "MINISTACK_REGION": self.name,
                "SERVICES": services,
                "LOG_LEVEL": "WARNING",
                "TMPDIR": str(logs),
            },
            logs / f"{self.name}-emulator.log",
        )
        worker = {
            **environment,
            "MERIDIAN_REGION": self.name,
            "MERIDIAN_PEERS": ",".join(settings.peers),
            "MERIDIAN_PREFIX": settings.prefix,
            "MERIDIAN_ENDPOINTS": ",".join(f"{region}={url}" for region, url in inside.endpoints.items()),
            "MERIDIAN_PROJECTIONS": ",".join(projections),
            "MERIDIAN_READ_TIMEOUT": str(settings.read_timeout),
            "MERIDIAN_CONNECT_TIMEOUT": str(settings.connect_timeout),
            "MERIDIAN_ATTEMPTS": str(settings.attempts),
            "MERIDIAN_POLL_INTERVAL": str(settings.poll_interval),
            "MERIDIAN_WRITE_WITH": settings.write_with,
        }
        self.replicator = Process(
            f"replicator of {self.name}",
            [sys.executable, "-c", "from replicator.cli import main; main()", "run"],
            worker,
            logs / f"{self.name}-replicator.log",
        )
        self.projector = Process(
            f"projector of {self.name}",
            [sys.executable, "-c", "from projectors.cli import main; main()", "run"],
            worker,
            logs / f"{self.name}-projector.log",
        )

    @property
    def processes(self) -> tuple[Process, ...]:
        return (self.projector, self.replicator, self.emulator)

    @property
    def workers(self) -> tuple[Process, ...]:
        """What runs beside the emulator; nothing where functions inside it do the work."""
        return (self.replicator, self.projector) if self._workers else ()

    def freeze(self) -> None:
        """The whole region stops at one instant: its tables and everything that runs in it."""
        for process in reversed(self.processes):
            process.freeze()

    def thaw(self) -> None:
        for process in reversed(self.processes):
            process.thaw()

    def kill(self) -> None:
        """kill -9 to everything of the region. Its tables lived in its memory: all its data is lost."""
        self.down = True
        for process in reversed(self.processes):
            process.kill()

    def come_back_empty(self) -> None:
        """Start again what was killed, on the same port, with new and empty tables."""
        self._come_back(self.furnish)

    def come_back_restored(self, backup: Backup) -> None:
        """Start again what was killed, on the same port, with new tables that hold the backup."""
        self._come_back(lambda: restore_backup(self.settings, backup))

    def _come_back(self, furnish: Callable[[], None]) -> None:
        self.emulator.start()
        self.wait_healthy()
        furnish()
        for process in self.workers:
            process.start()
        self.down = False

    def furnish(self) -> None:
        """Make the region's tables."""
        if self._tables:
            create_tables(self.settings)
            DynamoSink(self.settings).create_table()

    def wait_healthy(self) -> None:
        """Wait until the region's emulator answers DynamoDB requests. Raises ProcessFailed."""
        client = boto3.session.Session().client(
            "dynamodb",
            region_name=self.name,
            endpoint_url=self.settings.endpoint(self.name),
            config=Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}),
        )
        end = time.monotonic() + _START_SECONDS
        while True:
            try:
                client.list_tables(Limit=1)
                return
            except (BotoCoreError, ClientError):
                if not self.emulator.running:
                    raise self.emulator.failure("ended while it started") from None
                if time.monotonic() > end:
                    raise self.emulator.failure(f"did not answer within {_START_SECONDS:.0f} s") from None
                time.sleep(0.1)


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
        ports = free_ports(len(regions))
        endpoints = {region: f"http://127.0.0.1:{port}" for region, port in zip(regions, ports, strict=True)}
        ports_of = dict(zip(regions, ports, strict=True))
        self.network = Network(ports_of, self.logs / "network.log") if proxied else None
        """The links between the regions' processes; None: they are direct."""
        self.regions: dict[str, RegionProcesses] = {}
        for region, port in zip(regions, ports, strict=True):
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
            self.regions[region] = RegionProcesses(settings, inside, port, projections, self.logs, services, workers, tables)

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
