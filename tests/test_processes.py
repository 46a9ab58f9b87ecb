"""What a test starts ends with the test: also when it fails before it meant to end it, and what left the group, too."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests import processes
from tests.processes import alive, comes_back, started, still_alive, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")

FAMILY = """
import subprocess, sys, time
sleep = [sys.executable, "-c", "import time; time.sleep(3600)"]
leave = "import subprocess as s, sys; print(s.Popen(sys.argv[1:], start_new_session=True, stdout=s.DEVNULL).pid)"
child = subprocess.Popen(sleep)
away = subprocess.Popen(sleep, start_new_session=True)
lost = subprocess.run([sys.executable, "-c", leave, *sleep], stdout=subprocess.PIPE, text=True).stdout
print(child.pid, away.pid, lost, flush=True)
time.sleep(3600)
"""


def test_a_test_that_fails_before_its_signal_leaves_no_process() -> None:
    family: set[int] = set()

    def test() -> None:
        with started([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE) as running:
            family.update({running.pid, *map(int, next(running.lines()).split())})
            assert all(alive(pid) for pid in family)
            raise AssertionError("before the signal")

    with pytest.raises(AssertionError, match="before the signal"):
        test()
    assert len(family) == 4, "itself, a child, a child in a session of its own, and one without a parent"
    assert [pid for pid in family if alive(pid)] == []


def test_what_a_test_starts_dies_with_a_test_run_that_is_killed(tmp_path: Path) -> None:
    inner = (
        "import sys, time; from tests.processes import started\n"
        "with started([sys.executable, '-c', 'import time; time.sleep(3600)']) as running:\n"
        "    print(running.pid, flush=True); time.sleep(3600)"
    )
    root = Path(__file__).parents[1]
    with started([sys.executable, "-c", inner], stdout=subprocess.PIPE, cwd=root) as run:
        pid = int(next(run.lines()))
        run.process.kill()
        run.wait()
        assert not still_alive([pid])


def test_a_wait_for_what_never_comes_fails_and_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "HANGING_SECONDS", 0.05)
    with pytest.raises(AssertionError, match="the end of time: not within"):
        wait_until(lambda: False, "the end of time")
    with pytest.raises(AssertionError, match="it hangs"):
        comes_back(threading.Event().wait)


def test_a_call_that_comes_back_gives_its_result_or_its_error() -> None:
    assert comes_back(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        comes_back(lambda: 1 // 0)
