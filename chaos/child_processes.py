"""Child processes that never outlive their work: each started in a group of its own, and stopped by its own id."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from replicator.domain.errors import MeridianError

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded here: a fork of a program with threads may not


class ProcessFailed(MeridianError):
    """Error: a process that the world needs ended or never became ready. The message holds the end of its log."""


def dying_with_this_process() -> Callable[[], None]:
    """Return a function that a child calls before its program is executed. On Linux the kernel then kills the child when
    this process ends, however it ends."""
    parent = os.getpid()

    def prepare() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)  # the parent ended before

    return prepare


def free_ports(count: int) -> list[int]:
    """Return ports of this machine that nothing listens on now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class Process:
    """One program: can be frozen (SIGSTOP), thawed, killed (SIGKILL), stopped (SIGTERM) and started again."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.frozen = False
        self.starts = 0
        self.pids: list[int] = []
        """Process id of each start, the latest last."""
        self._command = list(command)
        self._environment = dict(environment)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def stopped(self) -> bool:
        """Whether it runs and is stopped, by the kernel's account (elsewhere than on Linux: by `freeze` and `thaw`)."""
        if not self.running or sys.platform != "linux":
            return self.running and self.frozen
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
        except (OSError, IndexError):
            return False

    def start(self) -> None:
        """Start it. Its output is appended to its log."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the drill alone, which then stops everything in order
                preexec_fn=dying_with_this_process(),
            )
        self.frozen = False
        self.starts += 1
        self.pids.append(self._process.pid)

    def freeze(self) -> None:
        """Stop it from running without ending it: requests to it hang, as they do to a region that is cut off."""
        self._signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)
        self.frozen = False

    def kill(self) -> None:
        """Kill it (kill -9), and wait until it is gone."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def terminate(self) -> None:
        """Send SIGTERM without waiting, so that several processes end at the same time."""
        if self.frozen:
            self.thaw()
        self._signal(signal.SIGTERM)

    def stop(self, timeout: float = 10.0) -> None:
        """Send SIGTERM, then SIGKILL after `timeout` seconds."""
        if not self.running or self._process is None:
            return
        self.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()

    def failure(self, what: str) -> ProcessFailed:
        """Return an error that says `what` went wrong, with the last lines of the log."""
        lines = self._log.read_text(errors="replace").splitlines()[-6:] if self._log.exists() else []
        return ProcessFailed(f"{self.name} {what}. Its log ends: {' | '.join(lines) or '(empty)'}")

    def memory_mb(self) -> float:
        """Return its peak resident memory so far in MB, as the kernel counts it (Linux; 0 elsewhere)."""
        try:
            text = Path(f"/proc/{self.pid}/status").read_text()
            return int(text.split("VmHWM:")[1].split()[0]) / 1024
        except (OSError, IndexError, ValueError):
            return 0.0

    def wait_running(self, seconds: float) -> None:
        """Raise ProcessFailed if it ends within `seconds`."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if not self.running:
                raise self.failure("ended")
            time.sleep(0.05)

    def _signal(self, number: int) -> None:
        if self.running and self._process is not None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return
