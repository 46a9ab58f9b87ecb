"""A process's wall clock goes forward and back while it runs; its monotonic clock and everyone else's go on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chaos.faults.clocks import Clock
from chaos.world.processes import Process
from replicator import InvalidConfig
from replicator.domain.clock import HybridLogicalClock

TELL = """
import sys, time
from replicator.wallclock import wall_clock
from replicator.fencing.fence import Fence
fence = Fence("us-east-1", None, None, None)
for line in sys.stdin:
    print(wall_clock() / 1000, time.time(), time.time_ns() / 1e9, fence._wall() / 1000, time.monotonic(), flush=True)
"""


class Teller:
    """A program that tells its times when it is asked."""

    def __init__(self, clock: Clock) -> None:
        command = clock.launched("-c", TELL)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def off(self) -> tuple[list[float], float]:
        """By how many seconds its wall clocks and its monotonic one differ from this process's."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        *walls, monotonic = map(float, self.process.stdout.readline().split())
        return [wall - time.time() for wall in walls], monotonic - time.monotonic()


def _near(found: list[float], wanted: float) -> bool:
    return all(abs(each - wanted) < 0.5 for each in found)


def test_a_clock_is_set_forward_and_back_while_the_program_runs(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    teller = Teller(clock)
    try:
        assert _near(teller.off()[0], 0)
        for seconds in (262.0, -262.0, 0.5, 0.0):
            clock.set(seconds)
            time.sleep(0.12)
            walls, monotonic = teller.off()
            assert _near(walls, seconds)
            assert abs(monotonic) < 0.5
        (tmp_path / "clock").write_text("nonsense")
        time.sleep(0.12)
        assert _near(teller.off()[0], 0)
    finally:
        teller.process.kill()
        teller.process.communicate()


def test_the_clients_of_a_region_have_its_clock_and_write_later_than_what_they_have_seen(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    hlc = HybridLogicalClock(clock.wall)
    first = hlc.tick()
    clock.set(200)
    ahead = hlc.tick()
    assert 199_000 < ahead.ms - first.ms < 201_000
    clock.set(-200)
    assert clock.wall() < first.ms
    assert hlc.tick() > ahead
    assert abs(time.time() * 1000 - first.ms) < 5_000  # this process's own clock is right
    other = Clock(tmp_path / "clock")
    assert abs(other.wall() - clock.wall()) < 1_000


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e12])
def test_a_clock_cannot_be_wrong_beyond_reason(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(InvalidConfig, match="a clock cannot be"):
        Clock(tmp_path / "clock").set(seconds)
    assert not (tmp_path / "clock").exists()


def test_installed_commands_modules_and_code_run_as_they_do_without(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    clock = Clock(file)
    clock.set(3600)
    code = "import sys, time; print(sys.argv, round(time.time() / 60), __name__); sys.exit(3)"
    ran = subprocess.run(clock.launched("-c", code, "run", "--x"), capture_output=True, text=True)
    assert ran.returncode == 3
    assert ran.stdout.startswith("['-c', 'run', '--x']")
    assert ran.stdout.endswith(f"{round((time.time() + 3600) / 60)} __main__\n") or "__main__" in ran.stdout
    helped = subprocess.run(clock.launched("replicator", "--help"), capture_output=True, text=True)
    assert helped.returncode == 0
    assert "append" in helped.stdout
    (tmp_path / "said.py").write_text("import sys, time\nprint(sys.argv[1:], __name__)\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path(__file__).parents[3]}"}
    said = subprocess.run(clock.launched("-m", "said", "a"), capture_output=True, text=True, env=environment)
    assert said.stdout == "['a'] __main__\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "usage"),
        (("file", "replicator"), "usage"),
        (("file", "--"), "usage"),
        (("file", "--", "-c"), "usage"),
        (("file", "--", "no-such-command"), "'no-such-command' is no installed Python command"),
    ],
)
def test_a_command_that_is_none_is_said_so(arguments: tuple[str, ...], words: str) -> None:
    ran = subprocess.run([sys.executable, "-m", "chaos.faults.clocks", *arguments], capture_output=True, text=True)
    assert ran.returncode != 0
    assert words in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_program_by_a_wrong_clock_is_still_one_process_that_is_stopped_by_its_id(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    process = Process("teller", clock.launched("-c", "import time; time.sleep(60)"), {}, tmp_path / "log")
    process.start()
    process.wait_running(0.3)
    process.stop()
    assert not process.running


def test_a_program_that_asks_while_its_clock_is_wrong_leaves_marks_and_one_that_does_not_ask_leaves_none(
    tmp_path: Path,
) -> None:
    clock = Clock(tmp_path / "clock")
    teller, other = Teller(clock), Teller(clock)
    pids = [teller.process.pid, other.process.pid]
    try:
        teller.off()
        other.off()
        assert clock.marks(pids) == 0
        clock.set(30)
        while not clock.marks(pids):
            teller.off()
        assert clock.marks([teller.process.pid]) == clock.marks(pids)
        assert clock.marks([other.process.pid]) == 0
        clock.set(0)
        while not _near(teller.off()[0], 0):
            pass
        before = clock.marks(pids)
        for _ in range(5):
            time.sleep(0.11)
            teller.off()
        assert clock.marks(pids) == before
    finally:
        for each in (teller, other):
            each.process.kill()
            each.process.communicate()


def test_a_client_that_asks_while_its_clock_is_wrong_is_counted(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    clock.wall()
    clock.set(-5)
    clock.wall()
    clock.wall()
    clock.set(0)
    clock.wall()
    assert clock.told_wrong == 2
