"""How a signal ends a command: unwound whole, though the interpreter drops an exception or something hangs."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.processes import started

COMMAND = """
import os, signal, sys, threading, time, typer
from replicator.cli import console
from replicator.runtime import signals
signals._GRACE_SECONDS = {grace}
app = typer.Typer()

class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)
        time.sleep(0.1)

@app.command()
def run() -> None:
    try:
        {body}
    finally:
        print("unwound", flush=True)

console.run(app)
"""
BODIES = {
    "in a finalizer": "Finalized(); time.sleep(3600)",
    "while it waits": "threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGTERM]).start(); threading.Event().wait()",
    "twice": "signal.raise_signal(signal.SIGTERM); signal.raise_signal(signal.SIGINT)",
    "with an event": "stop = signals.stop_on_signals(); signal.raise_signal(signal.SIGTERM); assert stop.wait(3600)",
    "as it ends by itself": "signal.raise_signal(signal.SIGTERM); sys.exit(7)",
}


def ran(body: str, grace: float = 3600.0, **how: int) -> tuple[int, str, str]:
    line = [sys.executable, "-c", COMMAND.format(body=body, grace=grace)]
    with started(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how) as running:
        return running.ended()


@pytest.mark.parametrize("body", BODIES)
def test_it_is_unwound_and_says_no_more_than_that(body: str) -> None:
    assert ran(BODIES[body]) == (143, "unwound\n", "")


def test_what_hangs_is_ended_by_force() -> None:
    hang = "signal.raise_signal(signal.SIGTERM)\n    finally:\n        threading.Event().wait()\n    try:\n        pass"
    assert ran(hang, grace=0.2)[0] == 143


def test_what_must_not_be_left_half_done_is_done_first() -> None:
    body = (
        "with signals.undisturbed():\n"
        "            signal.raise_signal(signal.SIGTERM); time.sleep(0.5); print('done', flush=True)\n"
        "        time.sleep(3600)"
    )
    code, out, err = ran(body, grace=0.1)  # over by then: what comes after the block may be cut short
    assert (code, out.partition("\n")[0], err) == (143, "done", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_it_is_loaded_a_signal_ends_it_at_once(number: signal.Signals) -> None:
    code = f"import signal, replicator.cli.entrypoints as e; e.loading(); signal.raise_signal({int(number)}); print('on')"
    with started([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.ended() == (128 + number, "", "")


def test_a_background_shell_that_has_sigint_ignored_changes_nothing() -> None:
    code = COMMAND.format(body="signal.raise_signal(signal.SIGINT); time.sleep(3600)", grace=3600)
    line = ["bash", "-c", 'trap "" INT; exec "$@"', "bash", sys.executable, "-c", code]
    with started(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.ended() == (130, "unwound\n", "")
