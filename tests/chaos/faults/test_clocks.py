"""A process's wall clock goes forward and back while it runs; its monotonic clock and everyone else's go on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from chaos.child_processes import Process
from chaos.faults.clocks import Clock
from replicator import InvalidConfig
from replicator.domain.clock import HybridLogicalClock
from tests.processes import Started, started, wait_until

TELL = """
import sys, time
from replicator.runtime.wall_clock import wall_clock
from replicator.fencing.fence import Fence
fence = Fence("us-east-1", None, None)
for line in sys.stdin:
    print(wall_clock() / 1000, time.time(), time.time_ns() / 1e9, fence._wall() / 1000, time.monotonic(), flush=True)
"""


class Teller:
    """A program that tells its times when it is asked."""

    def __init__(self, running: Started) -> None:
        self.pid = running.pid
        self._process = running.process

    def is_off_by(self, seconds: float) -> bool:
        """Whether all its wall clocks differ by so much from this process's, to a hundredth, and its monotonic one by none:
        what it answers lies between our times before and after, however long that took."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        began = time.time(), time.monotonic()
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        *walls, monotonic = map(float, self._process.stdout.readline().split())
        ended = time.time(), time.monotonic()
        assert began[1] <= monotonic <= ended[1]
        return all(began[0] - 0.01 <= wall - seconds <= ended[0] + 0.01 for wall in walls)

    ask = is_off_by


@contextmanager
def telling(clock: Clock) -> Iterator[Teller]:
    with started(clock.launched("-c", TELL), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        yield Teller(running)


def test_a_clock_is_set_forward_and_back_while_the_program_runs(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    with telling(clock) as teller:
        assert teller.is_off_by(0)
        for seconds in (262.0, -262.0, 0.5, 0.0):
            clock.set(seconds)
            wait_until(partial(teller.is_off_by, seconds), f"off by {seconds} s")
        (tmp_path / "clock").write_text("nonsense")
        time.sleep(0.12)  # it has looked again by then
        assert teller.is_off_by(0)


def test_the_clients_of_a_region_have_its_clock_and_write_later_than_what_they_have_seen(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    hlc, began = HybridLogicalClock(clock.wall), time.time() * 1000
    first = hlc.tick()
    clock.set(200)
    ahead = hlc.tick()
    assert began + 199_990 <= ahead.ms <= time.time() * 1000 + 200_010
    clock.set(-200)
    assert clock.wall() < first.ms
    assert hlc.tick() > ahead
    assert began - 10 <= first.ms <= time.time() * 1000 + 10  # this process's own clock is right
    other, before = Clock(tmp_path / "clock"), clock.wall()
    assert before <= other.wall() <= clock.wall()


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), 1e12])
def test_a_clock_cannot_be_wrong_beyond_reason(tmp_path: Path, seconds: float) -> None:
    with pytest.raises(InvalidConfig, match="a clock offset of"):
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
        (("file", "--", "no-such-command"), "'no-such-command' is not an installed Python command"),
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
    try:
        process.wait_running(0.3)
    finally:
        process.stop()
    assert not process.running


def test_a_program_that_asks_while_its_clock_is_wrong_leaves_marks_and_one_that_does_not_ask_leaves_none(
    tmp_path: Path,
) -> None:
    clock = Clock(tmp_path / "clock")
    with telling(clock) as teller, telling(clock) as other:
        pids = [teller.pid, other.pid]
        teller.ask(0)
        other.ask(0)
        assert clock.marks(pids) == 0
        clock.set(30)
        while not clock.marks(pids):
            teller.ask(30)
        assert clock.marks([teller.pid]) == clock.marks(pids)
        assert clock.marks([other.pid]) == 0
        clock.set(0)
        wait_until(lambda: teller.is_off_by(0), "right again")
        before = clock.marks(pids)
        for _ in range(5):
            time.sleep(0.11)
            teller.ask(0)
        assert clock.marks(pids) == before


def test_a_client_that_asks_while_its_clock_is_wrong_is_counted(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock")
    clock.wall()
    clock.set(-5)
    clock.wall()
    clock.wall()
    clock.set(0)
    clock.wall()
    assert clock.told_wrong == 2
