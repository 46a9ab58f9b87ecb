"""One region of the world: an emulator with a replicator and a projector beside it, each in a process of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from chaos.child_processes import Process
from chaos.faults.clocks import Clock
from chaos.world.backup import Backup, restore_backup
from projectors.sinks.dynamodb import DynamoSink
from replicator.aws import clients
from replicator.aws.tables import create_tables
from replicator.domain.errors import InvalidConfig
from replicator.runtime.distribution import install
from replicator.runtime.settings import Settings

_START_SECONDS = 60.0
_DELETE_SECONDS = 20.0
"""Seconds for which the deletion of a table that is being created or changed is retried."""
_IN_USE = "ResourceInUseException"


def emulator(region: str, port: int, services: str, logs: Path) -> Process:
    """Return a region's emulator, on a port of this machine. Raises InvalidConfig where ministack is not installed."""
    if find_spec("ministack") is None or find_spec("uvicorn") is None:
        raise InvalidConfig(f"regions on this machine need ministack and uvicorn; run: {install('chaos')}")
    environment = {
        **_environment(region),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_REGION": region,
        "SERVICES": services,
        "IOT_MTLS_ENABLED": "0",  # it would listen on the network, whatever the services
        "LOG_LEVEL": "WARNING",
        "TMPDIR": str(logs),
    }
    return Process(
        f"emulator of {region}", [sys.executable, "-m", "chaos.world.emulator"], environment, logs / f"{region}-emulator.log"
    )


def worker(
    program: str, module: str, settings: Settings, projections: Sequence[str], logs: Path, clock: Clock | None = None
) -> Process:
    """Return the region's replicator or its projector: the `run` command of that module, by the machine's clock or this
    one."""
    environment = {
        **_environment(settings.region),
        "MERIDIAN_REGION": settings.region,
        "MERIDIAN_PEERS": ",".join(settings.peers),
        "MERIDIAN_PREFIX": settings.prefix,
        "MERIDIAN_ENDPOINTS": ",".join(f"{region}={url}" for region, url in settings.endpoints.items()),
        "MERIDIAN_PROJECTIONS": ",".join(projections),
        "MERIDIAN_READ_TIMEOUT": str(settings.read_timeout),
        "MERIDIAN_CONNECT_TIMEOUT": str(settings.connect_timeout),
        "MERIDIAN_ATTEMPTS": str(settings.attempts),
        "MERIDIAN_POLL_INTERVAL": str(settings.poll_interval),
        "MERIDIAN_HEARTBEAT": str(settings.heartbeat),
    }
    command = ["-c", f"from replicator.cli.entrypoints import {module}; {module}()", "run"]
    return Process(
        f"{program} of {settings.region}",
        clock.launched(*command) if clock is not None else [sys.executable, *command],
        environment,
        logs / f"{settings.region}-{program}.log",
    )


def _environment(region: str) -> Mapping[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": region,
        "PYTHONUNBUFFERED": "1",
    }


class RegionProcesses:
    """Processes of one region. `settings` are for clients that reach it directly, `inside` for its own processes, which
    reach other regions over the network's links. Without an `emulator` of its own the region is elsewhere, and only its
    workers are here: it cannot be frozen or killed as a whole."""

    def __init__(
        self,
        settings: Settings,
        inside: Settings,
        emulator: Process | None,
        replicator: Process,
        projector: Process,
        runs: bool,
        tables: bool,
    ) -> None:
        self.settings = settings
        self.inside = inside
        self.name = settings.region
        self.down = False
        """Whether it was killed and is not back yet."""
        self.emulator = emulator
        self.replicator = replicator
        self.projector = projector
        self._runs = runs
        self._tables = tables

    @property
    def processes(self) -> tuple[Process, ...]:
        return (self.projector, self.replicator, *([self.emulator] if self.emulator is not None else []))

    @property
    def workers(self) -> tuple[Process, ...]:
        """Workers beside the emulator; none where functions inside it do the work."""
        return (self.replicator, self.projector) if self._runs else ()

    def freeze(self) -> None:
        """Freeze the whole region at one instant: its tables and everything that runs in it."""
        for process in reversed(self.processes):
            process.freeze()

    def thaw(self) -> None:
        for process in reversed(self.processes):
            process.thaw()

    def kill(self) -> None:
        """Kill all processes of the region (kill -9). Its tables were in memory: all its data is lost."""
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
        if self.emulator is None:
            raise InvalidConfig(f"{self.name} is at {self.settings.endpoint(self.name)}, which this run cannot start again")
        self.emulator.start()
        self.wait_healthy()
        furnish()
        for process in self.workers:
            process.start()
        self.down = False

    def furnish(self) -> None:
        """Create the region's tables."""
        if self._tables:
            create_tables(self.settings)
            DynamoSink(self.settings).create_table()

    def clear(self) -> dict[str, str]:
        """Delete the region's tables, all that have its prefix, each also when another one fails. Returns those that are
        left, each with the reason. Raises ClientError or BotoCoreError where they cannot even be listed."""
        client: Any = clients.dynamodb(replace(self.settings, read_timeout=30.0), self.name)
        pages = client.get_paginator("list_tables").paginate()
        names = [name for page in pages for name in page["TableNames"] if name.startswith(f"{self.settings.prefix}-")]
        end = time.monotonic() + _DELETE_SECONDS
        left = {name: _delete(client, name) for name in names}
        while any(why == _IN_USE for why in left.values()) and time.monotonic() < end:
            time.sleep(0.5)
            left |= {name: _delete(client, name) for name, why in left.items() if why == _IN_USE}
        return {name: why for name, why in left.items() if why}

    def wait_healthy(self) -> None:
        """Wait until the region's endpoint answers. Raises errors as `await_endpoint`."""
        await_endpoint(self.settings, self.emulator)


def await_endpoint(settings: Settings, emulator: Process | None) -> None:
    """Wait until the endpoint of the settings' region answers DynamoDB requests. Raises ProcessFailed where this emulator is
    the cause, and InvalidConfig otherwise."""
    client = boto3.session.Session().client(
        "dynamodb",
        region_name=settings.region,
        endpoint_url=settings.endpoint(settings.region),
        config=Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1, "mode": "standard"}),
    )
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            client.list_tables(Limit=1)
            return
        except (BotoCoreError, ClientError):
            if emulator is None:
                if time.monotonic() < end:
                    time.sleep(0.5)
                    continue
                url = settings.endpoint(settings.region)
                raise InvalidConfig(
                    f"no response to DynamoDB requests at {url} for {settings.region}; start it, or correct the endpoint"
                ) from None
            if not emulator.running:
                raise emulator.failure("ended while it started") from None
            if time.monotonic() > end:
                raise emulator.failure(f"did not answer within {_START_SECONDS:.0f} s") from None
            time.sleep(0.1)


def _delete(client: Any, table: str) -> str:
    """Delete a table. Returns why it is left, or an empty text."""
    try:
        client.delete_table(TableName=table)
    except ClientError as error:
        code = str(error.response["Error"]["Code"])
        return {"ResourceNotFoundException": "", _IN_USE: _IN_USE}.get(code, str(error))
    except BotoCoreError as error:
        return str(error)
    return ""
