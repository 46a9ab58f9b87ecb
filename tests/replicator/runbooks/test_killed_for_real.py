"""`replicator failover` and `failback`, killed with kill -9 as each step begins, on two real emulator regions."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from replicator.connect import connect_store
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import NewEvent
from replicator.ops.system import System
from replicator.runtime.settings import Settings
from tests.processes import started
from tests.regions import CLEAN, environment_of

pytestmark = [pytest.mark.emulator, pytest.mark.soak]
EAST, WEST = "us-east-1", "eu-west-1"
STEPS = {
    "failover": ("fence", "activate", "steer", "level", "note", "homes"),
    "failback": ("fence", "measure", "control", "copy", "prove", "unfence", "steer", "homes"),
}


def run(settings: Settings, steering: Path, kill_at: str | None, *words: str) -> tuple[int, list[str], str]:
    """Run `replicator words…`, killed when it says that it begins a step: exit code, what it said, its answer."""
    environment = {**CLEAN, **environment_of(settings, MERIDIAN_STEERING=f"file:{steering}")}
    program = "from replicator.cli.app import main; main()"
    line, pipe = [sys.executable, "-u", "-c", program, *words, "--yes", "--json"], subprocess.PIPE
    said: list[str] = []
    with started(line, environment, stdout=pipe, stderr=pipe) as running:
        assert running.process.stderr is not None
        for text in running.process.stderr:
            said.append(text)
            if kill_at is not None and f" s  {kill_at}: " in text:
                running.send(signal.SIGKILL)
                break
        code, answer, _ = running.ended()
    return code, said, answer


def test_killed_at_each_step_the_same_command_ends_it(settings: Settings, tmp_path: Path) -> None:
    steering = tmp_path / "steering.json"
    stores = {region: connect_store(settings.at(region)) for region in (EAST, WEST)}
    for region, store in stores.items():
        for n in range(5):
            store.append(f"user/{n}", NewEvent("set", {"in": region}))
    for kind, words in (("failover", ("failover", EAST, WEST)), ("failback", ("failback", EAST))):
        for step in STEPS[kind]:
            code, said, _ = run(settings, steering, step, *words)
            assert code == -signal.SIGKILL, said
        code, said, answer = run(settings, steering, None, *words)
        assert code == 0, said
        assert any(line.split("s  ", 1)[-1].startswith(f"resuming {' '.join(words)}") for line in said)
        summary: Any = json.loads(answer)
        assert [step["step"] for step in summary["steps"]] == list(STEPS[kind])
        if kind == "failover":
            assert summary["rpo_events"] == 5
            with pytest.raises(RegionUnavailable):
                connect_store(settings).append("user/1", NewEvent("set", {}))
    assert json.loads(steering.read_text()) == {"away": {}}
    connect_store(settings).append("user/1", NewEvent("set", {}))
    system = System.connect(settings)
    held = {region: sorted(place.storage.lanes()) for region, place in system.places.items()}
    assert len(held[WEST]) == 10
    assert len([1 for lane, last in held[EAST] if held[WEST].count((lane, last))]) == 9  # all but the last append
