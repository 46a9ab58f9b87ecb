"""Every command that runs long ends by SIGINT and SIGTERM at any moment: within seconds, with 130 or 143, without a
traceback, and with nothing left."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from chaos.child_processes import free_ports
from chaos.cli.app import app as chaos
from chaos.workload.flights import PROJECTION
from chaos.world.world import World, WorldOptions
from projectors.cli.app import app as projectors
from projectors.sinks.dynamodb import DynamoSink
from replicator import NewEvent, Settings
from replicator.aws.kinesis import create_streams
from replicator.aws.tables import create_tables
from replicator.cli.app import app as replicator
from replicator.connect import connect_store
from tests.processes import started
from tests.regions import CLEAN, activate, environment_of

pytestmark = [pytest.mark.emulator, pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")]

EAST, WEST = "us-east-1", "eu-west-1"
BIN, ROOT = Path(sys.executable).parent, Path(__file__).parents[1]
PACKAGES = ("replicator", "projectors", "chaos")
PATH = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "replicator" / "external")))
APPS = {"replicator": replicator, "projectors": projectors, "chaos": chaos}
MOMENTS = int(os.environ.get("MERIDIAN_TEST_MOMENTS", "5"))
"""How many of each command the soak tries."""
LEFT_SECONDS = 60.0
"""What is alive so long after the command is left for good."""
SLOW_MS = 1500
"""Every request of the commands takes so long, so that those that are quick here are as slow as on a bad day."""
ON_REGIONS = {
    "replicator run": "",
    "replicator publish": "",
    "replicator reconcile": "",
    "replicator failover": f"{EAST} {WEST} --yes",
    "replicator switchover": f"{EAST} {WEST} --yes",
    "replicator failback": f"{EAST} --yes --force",
    "replicator bootstrap": f"{EAST} --yes --force",
    "replicator repair": "",
    "replicator verify": "--deep --wait 60",
    "replicator status": "--watch",
    "projectors run": "",
    "projectors serve": "--port {port}",
    "projectors rebuild": "aircraft",
    "projectors drop": "aircraft 7 --force",
    "projectors verify": "aircraft --events --regions --settle 60",
}
OF_ITS_OWN = {
    "chaos proxy": "--listen {port}",
    "chaos emulator": "--port {port}",
    "chaos simulate": "--seeds 100000",
    "chaos drill": "--events 50000 --kind partition",
    "chaos run": "failover --minutes 60",
    "chaos hostile": "--events 100000",
    "chaos contend": "--operations 1000000",
    "chaos views": "--events all --every",
}
LONG = {**ON_REGIONS, **OF_ITS_OWN}
SHORT = {
    *("replicator init", "replicator append", "replicator read", "replicator homes", "replicator forget"),
    *("replicator quarantine", "replicator replay", "replicator runs", "replicator forks"),
    "replicator where",
    *("projectors init", "projectors show", "projectors switch", "projectors versions", "projectors conflicts"),
    *("projectors replay", "projectors row"),
    *("chaos list", "chaos report"),
}
"""Commands of a few requests. They share the way in and out of all commands."""
ELSEWHERE = {"chaos conform"}
"""Commands whose ends are tested with them: tests/chaos/conform/test_records.py."""


def test_every_command_is_declared_as_one_that_runs_long_or_not() -> None:
    found = {
        f"{name} {each.name or each.callback.__name__}"
        for name, app in APPS.items()
        for each in app.registered_commands
        if each.callback is not None
    }
    assert found == LONG.keys() | SHORT | ELSEWHERE
    assert not LONG.keys() & SHORT
    assert not any(app.registered_groups for app in APPS.values())


@dataclass(frozen=True)
class Ended:
    """How a command has ended: `seconds` from the signal until nothing of it was left, or what was left after long."""

    moment: float
    number: signal.Signals
    code: int
    seconds: float
    left: tuple[str, ...]
    said: str
    by_itself: bool
    """Before the signal came."""

    @property
    def by_the_interpreter(self) -> bool:
        """The signal came before any line of ours was run: Python itself was starting."""
        early = "KeyboardInterrupt" in self.said and not any(f"{ROOT / package}/" in self.said for package in PACKAGES)
        return not self.by_itself and (self.code == -self.number or early)

    @property
    def right(self) -> bool:
        if self.by_itself or self.by_the_interpreter:
            return not self.left
        return (self.code, self.left) == (128 + self.number, ()) and "Traceback" not in self.said


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    services = "dynamodb,dynamodbstreams,kinesis,sqs"
    with World([EAST, WEST], options=WorldOptions(workers=False, services=services, tables=False, faulty=True)) as made:
        yield made


@pytest.fixture
def environment(world: World, request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Two regions with some events, one of which has been failed over where the command is to bring it back."""
    prefix = f"t{uuid.uuid4().hex[:12]}"
    settings = replace(world.settings(EAST), prefix=prefix, external="externals:Accounts")
    for region in (EAST, WEST):
        create_tables(settings.at(region))
        DynamoSink(settings.at(region)).create_table()
    create_streams(settings)
    activate(settings, EAST, WEST)
    for n in range(12):
        connect_store(settings).append(f"aircraft/N{n}", *(_leg(hour) for hour in range(6)))
    assert world.services is not None
    world.services.faults.effects(SLOW_MS)
    yield _environment(settings)
    world.services.faults.effects(0)


def _leg(hour: int) -> NewEvent:
    return NewEvent("departed", {"flight": "UA1", "row": hour, "airport": "JFK", "time": f"2013-01-01T0{hour}:15", "leg": 0})


def _environment(settings: Settings) -> dict[str, str]:
    more = {"MERIDIAN_READ_TIMEOUT": "60", "MERIDIAN_PROJECTIONS": PROJECTION, "MERIDIAN_EXTERNAL": settings.external}
    return environment_of(settings, **more)


@pytest.fixture
def folder() -> Iterator[Path]:
    """For temporary files of the commands; PostgreSQL, which is never root, must be able to enter it."""
    with tempfile.TemporaryDirectory(prefix="meridian-test-") as made:
        Path(made).chmod(0o755)
        yield Path(made)


def interrupted(
    command: str, environment: dict[str, str], folder: Path, moment: float, number: signal.Signals, port: int
) -> Ended:
    """Start a command, send it a signal so many seconds later, and wait until it has ended."""
    program, *words = f"{command} {LONG[command].format(port=port)}".split()
    log = folder / f"{uuid.uuid4().hex}.log"
    with log.open("w") as output:
        given = {**CLEAN, "TMPDIR": str(folder), "PYTHONPATH": PATH, **environment}
        with started([str(BIN / program), *words], given, stdout=output, stderr=output) as it:
            time.sleep(moment)
            it.family()  # known by then, also where they change their environment
            by_itself = not it.running
            if not by_itself:
                # A terminal sends SIGINT to all of the foreground, a supervisor SIGTERM to the process that it started.
                (os.killpg if number == signal.SIGINT else os.kill)(it.pid, number)
            began = time.monotonic()
            code = it.wait()
            while (left := it.family()) and time.monotonic() - began < LEFT_SECONDS:
                time.sleep(0.02)
            seconds = time.monotonic() - began
            lines = tuple(map(_line, left))
    return Ended(moment, number, code, seconds, lines, log.read_text()[-3000:], by_itself)


def _line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return str(pid)


def tried(command: str, environment: dict[str, str], moments: int, seconds: float, folder: Path, together: int = 1) -> None:
    """Try so many random moments within the first seconds of a command, each with one of the two signals: one after the
    other, or so many of them at once."""
    chance = random.Random(f"{command}/{moments}")
    ports = free_ports(moments)
    plan = [(chance.uniform(0, seconds), (signal.SIGINT, signal.SIGTERM)[n % 2], port) for n, port in enumerate(ports)]
    with ThreadPoolExecutor(together) as pool:
        found = list(pool.map(lambda each: interrupted(command, environment, folder, *each), plan))
    codes = Counter("by itself" if each.by_itself else each.code for each in found)
    figures = {"slowest": round(max(each.seconds for each in found), 2), "codes": {str(k): n for k, n in codes.items()}}
    figures |= {"command": command, "moments": moments, "left": sum(bool(each.left) for each in found)}
    print(json.dumps(figures), flush=True)  # noqa: T201
    assert [each for each in found if not each.right] == []
    assert sum(each.by_itself for each in found) < moments


@pytest.mark.parametrize("command", ON_REGIONS)
def test_at_some_moments(command: str, environment: dict[str, str], folder: Path) -> None:
    tried(command, environment, 2, 2.0, folder)


@pytest.mark.parametrize("command", OF_ITS_OWN)
def test_at_some_moments_of_a_world_of_its_own(command: str, folder: Path) -> None:
    tried(command, {}, 2, 6.0, folder, together=2)


@pytest.mark.soak
@pytest.mark.parametrize("command", ON_REGIONS)
def test_at_many_moments(command: str, environment: dict[str, str], folder: Path) -> None:
    tried(command, environment, MOMENTS, 3.0, folder)


@pytest.mark.soak
@pytest.mark.parametrize("command", OF_ITS_OWN)
def test_at_many_moments_of_a_world_of_its_own(command: str, folder: Path) -> None:
    tried(command, {}, MOMENTS, 10.0, folder)
