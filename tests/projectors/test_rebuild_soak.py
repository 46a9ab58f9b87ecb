"""300,000 events built into a second version of a projection, killed ten times with kill -9, while readers read."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chaos.workload.any_order import written
from chaos.workload.flights import Aircraft, select
from chaos.world.world import World, WorldOptions
from projectors import Engine, MemorySink
from projectors.api.service import Service
from projectors.sinks.dynamodb import DynamoSink
from projectors.versions.verify import Place, compare
from projectors.versions.versions import Versions
from replicator import EventStore, MemoryStorage, Settings
from replicator.aws.control_table import DynamoControl
from replicator.domain.names import StreamId
from tests.processes import HANGING_SECONDS, Started, started
from tests.projectors.fleet import Aircraft2
from tests.regions import environment_of

pytestmark = pytest.mark.soak

ROOT = Path(__file__).parents[2]
EVENTS, KILLS = 300_000, 10
REGIONS = ("ap-south-1", "eu-west-1", "us-east-1")


@contextmanager
def rebuilding(settings: Settings, history: Path) -> Iterator[Started]:
    environment = {**os.environ, **environment_of(settings, MERIDIAN_READ_TIMEOUT="60")}
    line = [sys.executable, "-m", "tests.projectors.rebuilding", str(history)]
    with started(line, environment, cwd=ROOT, stdout=subprocess.DEVNULL) as running:
        yield running


class Readers:
    """Read random aircraft all the time. An answer must be wholly one version's: of the views as they are stored, and of
    what readers are given."""

    def __init__(self, settings: Settings, sink: DynamoSink, store: EventStore, tails: list[str]) -> None:
        self.service = Service(store, [Aircraft, Aircraft2], sink, versions=Versions(DynamoControl(settings)))
        self.tails = tails
        self.seen: dict[int | None, int] = {}
        self.wrong: list[Any] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._read)

    def __enter__(self) -> Readers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _read(self) -> None:
        chance = random.Random(7)
        while not self._done.wait(0.05):
            answer = self.service.value(StreamId("aircraft", chance.choice(self.tails)), "aircraft", None, None)
            self.seen[answer.version] = self.seen.get(answer.version, 0) + 1
            if ("movements" in answer.body["value"]) != (answer.version == 2):
                self.wrong.append(answer)


def test_killed_ten_times_a_rebuild_ends_right_and_readers_see_one_version_or_the_other(tmp_path: Path) -> None:
    chance = random.Random(1)
    history = written(select(EVENTS, 1), 1)
    memory = MemoryStorage()
    memory.insert_each(history)
    file = tmp_path / "history"
    file.write_bytes(pickle.dumps(history))
    expected = {1: MemorySink(), 2: MemorySink()}
    with World(["us-east-1"], options=WorldOptions(workers=False, read_timeout=60.0)) as world:
        settings = replace(world.settings("us-east-1"), peers=REGIONS[:2])
        sink, store = DynamoSink(settings), EventStore(memory, "us-east-1", REGIONS)
        versions = Versions(DynamoControl(settings))
        for projection, target in ((Aircraft, sink), (Aircraft, expected[1]), (Aircraft2, expected[2])):
            engine = Engine([projection], EventStore(memory, "us-east-1", REGIONS), target, watch=False)
            for start in range(0, len(history), 10_000):
                assert engine.apply(history[start : start + 10_000]) == []
        killed, reached = 0, [0]
        with Readers(settings, sink, store, sorted({event.stream.id for event in history})) as readers:
            while True:
                with rebuilding(settings, file) as work:
                    if killed < KILLS:
                        while work.running:  # until it has done something more, at whatever moment
                            time.sleep(chance.uniform(0.1, 1.0))
                            build = versions.build("aircraft", 2)
                            if build is not None and build.streams > reached[-1]:
                                reached.append(build.streams)
                                break
                        assert work.running, "it ended before it was killed"
                        work.end()
                        killed += 1
                        continue
                    assert work.process.wait(4 * HANGING_SECONDS) == 0
                    break
            assert set(readers.seen) == {1}, "nobody was switched yet"
            versions.switch("aircraft", 2)
            time.sleep(2.5)
            versions.switch("aircraft", 1)
            time.sleep(2.5)
            versions.switch("aircraft", 2)
            time.sleep(2.5)
        assert killed == KILLS
        assert sorted(set(reached)) == reached, "each run went on where the one before was killed"
        assert readers.wrong == []
        assert set(readers.seen) == {1, 2}
        for version, memory_sink in expected.items():
            verdict = compare("aircraft", version, Place("rebuilt", sink), Place("in one go", memory_sink))
            assert verdict.equal, verdict.differing[:3]
            assert verdict.effort.views == len({event.stream for event in history})
        print(f"streams at each kill: {reached[1:]}; answers by version: {readers.seen}")  # noqa: T201
