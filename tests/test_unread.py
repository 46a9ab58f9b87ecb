"""Output that nobody reads ends a command as SIGPIPE ends others: 141, without a word. 1 would mean that regions differ."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from replicator import NewEvent, Settings
from replicator.connect import connect_store
from tests.processes import started
from tests.regions import CLEAN, activate, environment_of

BIN = Path(sys.executable).parent
WORKER = """
import sys, threading, time
from replicator.cli import console
from replicator.runtime import signals
import typer
app = typer.Typer()

def write() -> None:
    for n in range(100_000):
        print(n, flush=True)

writing = threading.Thread(target=write, daemon=True)

@app.command()
def run() -> None:
    {body}

console.run(app)
"""
BODIES = {
    "in the main thread": "write()",
    "in another thread": "writing.start(); time.sleep(3600)",
    "by a worker that stops in order": "writing.start(); signals.stop_on_signals().wait()",
    "to standard error": "print('x' * 100_000, file=sys.stderr); time.sleep(3600)",
    "by rich": "[console.out.print(n) for n in range(100_000)]",
    "by an error": "raise SystemExit(print('x' * 7) or 2)",
}


def closed(*line: str, environment: dict[str, str] | None = None, both: bool = False) -> tuple[int, str]:
    """Run it with a pipe that nobody reads as its standard output, and with `both` its standard error, too."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        err = writer if both else subprocess.PIPE
        with started(line, environment or CLEAN, stdout=writer, stderr=err) as running:
            code, _, said = running.ended()
            return code, said
    finally:
        os.close(writer)


@pytest.mark.parametrize("program", ["replicator", "projectors", "chaos"])
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["written at the end", "written at once"])
def test_each_command_ends_with_141_and_says_nothing(program: str, unbuffered: str) -> None:
    environment = {**CLEAN, "PYTHONUNBUFFERED": unbuffered}
    assert closed(str(BIN / program), "--help", environment=environment) == (141, "")


@pytest.mark.parametrize("body", BODIES)
def test_whoever_writes_and_however(body: str) -> None:
    both = "error" in body
    assert closed(sys.executable, "-c", WORKER.format(body=BODIES[body]), both=both) == (141, "")


@pytest.mark.emulator
def test_head_takes_the_first_lines_and_nothing_is_said(settings: Settings) -> None:
    activate(settings, settings.region, *settings.peers)
    store = connect_store(settings)
    for n in range(30):
        store.append(f"user/u{n}", NewEvent("set", {"text": "x" * 4_000}))
    environment = {**CLEAN, **environment_of(settings)}
    for line in (("verify", "--wait", "0"), ("verify", "--wait", "0", "--json"), ("status",), ("read", "user/u1")):
        code, said = closed(str(BIN / "replicator"), *line, environment=environment)
        assert (code, "Traceback" in said, "error" in said) == (141, False, False), said
    pipe = f"{BIN / 'replicator'} verify --wait 0 | head -1; echo ${{PIPESTATUS[0]}}"
    with started(["bash", "-c", pipe], environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        code, out, said = running.ended()
    assert code == 0
    assert "Traceback" not in said
    assert len(out.splitlines()) == 2
