"""A world on this machine: for each region one emulator process, one replicator and one projector.

A region is killable because it is its own processes on its own port. Every process is stopped by its own id when the
world closes, also after an error, and the kernel ends them if this process is killed.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chaos.processes import Process
from projectors.sinks.dynamodb import DynamoSink
from replicator.domain.clock import HybridLogicalClock
from replicator.settings import Settings
from replicator.store import EventStore
from replicator.tables import create_tables

_START_SECONDS = 60.0


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nothing listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class RegionProcesses:
    """One region of the world."""

    def __init__(
        self, settings: Settings, port: int, projections: Sequence[str], logs: Path, services: str, workers: bool
    ) -> None:
        self._workers = workers
        self.settings = settings
        self.name = settings.region
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
            "MERIDIAN_ENDPOINTS": ",".join(f"{region}={url}" for region, url in settings.endpoints.items()),
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
        step: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._step = step
        self._tables = tables
        self._directory = tempfile.TemporaryDirectory(prefix="meridian-", ignore_cleanup_errors=True)
        self.logs = Path(self._directory.name)
        ports = free_ports(len(regions))
        endpoints = {region: f"http://127.0.0.1:{port}" for region, port in zip(regions, ports, strict=True)}
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
            self.regions[region] = RegionProcesses(settings, port, projections, self.logs, services, workers)

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
        for region in self.regions.values() if self._tables else ():
            create_tables(region.settings)
            DynamoSink(region.settings).create_table()

    def close(self) -> None:
        """Stop everything that was started, workers first."""
        for region in self.regions.values():
            for process in region.processes:
                if process.frozen:
                    process.thaw()
        for process in self._all():
            process.stop()
        self._directory.cleanup()

    def stop_workers(self) -> None:
        """SIGTERM to every replicator and projector, and wait until they have ended."""
        for region in self.regions.values():
            for process in region.workers:
                process.stop()

    def settings(self, region: str) -> Settings:
        return self.regions[region].settings

    def store(self, region: str, clock: HybridLogicalClock | None = None) -> EventStore:
        """The event store of a region, as an application there would use it."""
        return EventStore.connect(self.settings(region), clock)

    def memory_mb(self) -> float:
        """The sum of every process's peak resident memory, in MB."""
        return sum(process.memory_mb() for process in self._all())

    def _all(self) -> Iterable[Process]:
        workers = [process for region in self.regions.values() for process in region.workers]
        return [*workers, *(region.emulator for region in self.regions.values())]
