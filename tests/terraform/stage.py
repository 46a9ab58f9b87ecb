"""A system of three regions on one emulator, with tables and queues of its own, and its commands as they are typed.

Commands reach the emulator through a recorder, everything else reaches it directly: what is recorded is what commands send.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from projectors import Engine
from projectors.sinks.dynamodb import DynamoSink
from replicator import Event, EventStore, NewEvent
from replicator.aws import clients
from replicator.aws.control_table import DynamoControl
from replicator.aws.event_table import DynamoStorage
from replicator.aws.tables import create_tables
from replicator.connect import connect_personal_data, connect_store
from replicator.erasure import PersonalData
from replicator.runtime.settings import Settings
from tests.commands import Answer, command
from tests.processes import Started, started
from tests.regions import CLEAN, activate, environment_of
from tests.terraform.members import ALL, Member, Towns
from tests.terraform.recorder import Exchange, Recorder

REGIONS = EAST, WEST, SOUTH = "us-east-1", "eu-west-1", "ap-southeast-2"
NOWHERE = "http://127.0.0.1:1"
QUEUES = ("backlog-views", "dead-letters", "failed-batches")


class Stage:
    """Regions with fresh and empty tables and queues. `exchanges` are those of all its commands so far."""

    def __init__(self, direct: Settings, recorder: Recorder) -> None:
        self.settings = replace(direct, prefix=f"t{uuid.uuid4().hex[:12]}")
        self._recorder = recorder
        self.exchanges: list[Exchange] = []

    def at(self, region: str) -> Settings:
        """Settings of a region that reach the emulator directly."""
        return self.settings.at(region)

    def furnish(self, *regions: str) -> None:
        """Create the tables and queues of these regions, by default of all."""
        for region in regions or REGIONS:
            settings = self.at(region)
            create_tables(settings)
            DynamoSink(settings).create_table()
            queues = clients.sqs(settings, region)
            for name in (*(f"backlog-{peer}" for peer in settings.peers), *QUEUES):
                queues.create_queue(QueueName=f"{settings.prefix}-{name}")

    def activate(self) -> None:
        activate(self.settings, *REGIONS)

    def twin(self) -> Stage:
        """Return another stage, of a system of one region only."""
        return Stage(replace(self.settings, peers=()), self._recorder)

    def empty(self, region: str) -> None:
        """Lose everything that a region's tables hold."""
        client: Any = clients.dynamodb(self.at(region), region)
        for name in ("events", "control", "views", "keys"):
            client.delete_table(TableName=f"{self.settings.prefix}-{name}")
        create_tables(self.at(region))
        DynamoSink(self.at(region)).create_table()

    # -- state ---------------------------------------------------------------------------------------------------------

    def store(self, region: str) -> EventStore:
        return connect_store(self.at(region))

    def control(self, region: str) -> DynamoControl:
        return DynamoControl(self.at(region))

    def personal(self, region: str) -> PersonalData:
        return connect_personal_data(self.at(region))

    def joins(self, region: str, name: str) -> Event:
        """A member joins in a region. How members are called is personal."""
        stream = f"member/{name}"
        (event,) = self.store(region).append(
            stream, NewEvent("joined", self.personal(region).protect(stream, {"name": name.title()}, ["name"]))
        )
        return event

    def visits(self, region: str, name: str, times: int = 1, town: str = "Springfield") -> list[Event]:
        store = self.store(region)
        return [store.append(f"member/{name}", NewEvent("visited", {"town": town}))[0] for _ in range(times)]

    def populate(self) -> None:
        """Two members with events of two regions each, of which every region has all."""
        self.furnish()
        self.activate()
        for region, name in ((EAST, "homer"), (WEST, "marge")):
            self.joins(region, name)
            self.visits(EAST, name)
            self.visits(WEST, name)
        self.copy()

    def copy(self, *to: str) -> None:
        """Copy every region's own lanes to these regions, by default to all."""
        for home in REGIONS:
            storage = DynamoStorage(self.at(home))
            for lane, _ in list(storage.lanes()):
                for there in (to or REGIONS) if lane.region == home else ():
                    if there != home:
                        DynamoStorage(self.at(there)).insert_each(list(storage.read(lane)))

    def project(self, *regions: str) -> None:
        """Fold every event of these regions, by default of all, into views of the first version."""
        for region in regions or REGIONS:
            settings = self.at(region)
            storage = DynamoStorage(settings)
            events = [event for lane, _ in list(storage.lanes()) for event in storage.read(lane)]
            Engine([Member, Towns], self.store(region), DynamoSink(settings), self.personal(region)).apply(events)

    # -- commands ------------------------------------------------------------------------------------------------------

    def run(self, *line: str, code: int | Sequence[int] = 0, record: bool = True, **more: str) -> Answer:
        """Run a command in us-east-1 with this exit code, and record what it sends."""
        answer = command(*line, **self._environment(record, **more))
        self._keep(record)
        said = f"{' '.join(line)} exits with {answer.returncode}: {answer.stdout}{answer.stderr}"
        assert answer.returncode in ([code] if isinstance(code, int) else code), said
        assert "Traceback" not in answer.stderr, said
        return answer

    @contextmanager
    def running(self, *line: str, **more: str) -> Iterator[Started]:
        """Run a command until the block ends, then end it by SIGTERM."""
        package, *arguments = line
        code = f"from {package}.cli.app import main; main()"
        with started([sys.executable, "-c", code, *arguments], {**CLEAN, **self._environment(True, **more)}) as process:
            yield process
            process.process.terminate()
            assert process.wait() == 143, line
        self._keep(True)

    def recorded(self, service: str, operation: str) -> bool:
        """Return whether a running command has sent such a request."""
        self._keep(True)
        return any((each.asked.service, each.asked.operation) == (service, operation) for each in self.exchanges)

    def _keep(self, record: bool) -> None:
        if record:
            self.exchanges += self._recorder.take()

    def _environment(self, record: bool, **more: str) -> dict[str, str]:
        url = self._recorder.url if record else str(self.settings.endpoint(EAST))
        gone = more.pop("gone", "")
        settings = replace(self.settings, endpoints={region: NOWHERE if region == gone else url for region in REGIONS})
        return environment_of(
            settings,
            **{
                "MERIDIAN_PROJECTIONS": ",".join(ALL),
                "MERIDIAN_PERSONAL_KEY": settings.personal_key,
                "MERIDIAN_READ_TIMEOUT": "30",
                "MERIDIAN_POLL_INTERVAL": "0.05",
                **more,
            },
        )


Scene = Callable[[Stage], None]
