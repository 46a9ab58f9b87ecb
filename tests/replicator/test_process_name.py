"""Names of processes: what another process may conclude from one, and what not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from replicator.runtime import process_name as module
from replicator.runtime.process_name import has_ended, process_name
from tests.processes import started

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

_PROGRAM = "from replicator.runtime.process_name import process_name; print(process_name(), flush=True); input()"


def test_a_process_that_runs_is_frozen_or_waits_for_its_parent_and_one_that_is_gone() -> None:
    line = [sys.executable, "-c", _PROGRAM]
    with started(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        name = next(running.lines()).strip()
        assert not has_ended(name)
        running.send(signal.SIGSTOP)
        assert not has_ended(name), "it may wake up"
        running.send(signal.SIGKILL)
        os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)
        assert has_ended(name), "although nobody has taken note of its end"
        running.wait()
        assert has_ended(name)


def test_two_names_of_one_process_differ_and_neither_has_ended() -> None:
    names = {process_name(), process_name()}
    assert len(names) == 2
    assert not any(map(has_ended, names))


def test_another_process_has_the_id_now() -> None:
    host, place, _, chance = process_name().split(" ")
    assert has_ended(f"{host} {place} {os.getpid()}.1 {chance}")


@pytest.mark.parametrize(
    "name", ["", "worker", "a b c", "host  1.1 x", "host elsewhere 999999999.1 x", "host {place} x.1 y", "host {place} 1. y"]
)
def test_nothing_is_concluded_from_other_names(name: str) -> None:
    assert not has_ended(name.format(place=process_name().split(" ")[1]))


def test_nothing_is_concluded_where_processes_are_not_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    name = process_name()
    monkeypatch.setattr(module, "_PROC", Path("/nowhere"))
    assert not has_ended(name)
    assert not has_ended(process_name())
