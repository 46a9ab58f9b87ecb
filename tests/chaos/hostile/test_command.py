"""`chaos hostile`, as it is typed, on real regions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chaos.hostile.kinds import DOORS
from tests.commands import command


def run(events: int, seed: int, file: Path) -> None:
    answer = command("chaos", "hostile", "--events", str(events), "--seed", str(seed), "--json", str(file))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    told = json.loads(file.read_text())
    assert (told["events"], told["seed"], told["kept"], told["wrong"], told["examples"]) == (events, seed, True, [], [])
    assert {each["door"] for each in told["kinds"]} == set(DOORS)
    assert sum(each["sent"] for each in told["kinds"]) == events
    outcomes = [each.get(name, 0) for each in told["kinds"] for name in ("refused", "quarantined", "harmless")]
    assert sum(outcomes) == events
    assert told["good"] > events // 9
    assert answer.stdout.endswith("kept\n")


@pytest.mark.emulator
def test_some_hundred_hostile_inputs_are_refused_or_quarantined_and_nothing_else_stops(tmp_path: Path) -> None:
    run(400, 2, tmp_path / "result.json")


@pytest.mark.soak
@pytest.mark.emulator
@pytest.mark.parametrize("seed", [1, 2])
def test_ten_thousand_hostile_inputs_are_refused_or_quarantined_and_nothing_else_stops(seed: int, tmp_path: Path) -> None:
    run(10_000, seed, tmp_path / "result.json")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--events", "0"), "--events 0: give 1 to 999,999"),
        (("--events", "1000000"), "--events 1000000: give 1 to 999,999"),
        (("--json", "/nowhere/at/all.json"), "there is no directory /nowhere/at"),
    ],
)
def test_options_that_cannot_be_are_refused(options: tuple[str, ...], named: str) -> None:
    answer = command("chaos", "hostile", *options)
    assert answer.returncode == 2
    assert named in answer.stderr


@pytest.mark.emulator
def test_ctrl_c_leaves_nothing_running() -> None:
    program = [sys.executable, "-c", "from chaos.cli import main; main()", "hostile", "--events", "100000"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("hostile inputs"):
                break
        started = _children(process.pid)
        assert len(started) >= 8, "two regions of an emulator, a replicator, a projector and an API"
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait() != 0
    end = time.monotonic() + 10
    while (left := [pid for pid in started if _runs(pid)]) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == []


def _children(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(stat[1]) == parent:
                found.append(int(entry.name))
    return found


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
