"""`chaos hostile`, as it is typed, on real regions."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.hostile.kinds import DOORS
from tests.commands import command
from tests.processes import started, still_alive


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
def test_two_hundred_hostile_inputs_are_refused_or_quarantined_and_nothing_else_stops(tmp_path: Path) -> None:
    run(200, 2, tmp_path / "result.json")


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
    program = [sys.executable, "-c", "from chaos.cli.app import main; main()", "hostile", "--events", "100000"]
    with started(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert any(line.startswith("hostile inputs") for line in process.lines())
        seen = process.family()
        assert len(seen) >= 9, "itself, and two regions of an emulator, a replicator, a projector and an API"
        process.send(signal.SIGINT)
        assert process.ended()[0] == 130
        assert not still_alive(seen)
