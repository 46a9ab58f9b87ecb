"""Wall clocks that can be set forward and back while a process runs, in that process alone.

    python -m chaos.faults.clocks FILE -- replicator run
    python -m chaos.faults.clocks FILE -- -c "from replicator.cli.app import main; main()" run

FILE holds the seconds by which the clock is wrong. `time.time` and `time.time_ns` return the wrong time; `time.monotonic`
and the timers of the system go on as they do when a machine's clock is set. Signatures and log lines keep the right time:
they use `datetime`. Processes that the program starts have the machine's own clock. While the clock is wrong, a program that
reads it leaves a mark in FILE.PID, at most ten a second: a clock that no program read does not count as a fault.
"""

from __future__ import annotations

import math
import os
import runpy
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path

from replicator.domain.errors import InvalidConfig

_LOOK_NS = 100_000_000
_MOST_SECONDS = 10 * 365 * 86_400
_true_ns, _true, _monotonic_ns = time.time_ns, time.time, time.monotonic_ns
_USAGE = "python -m chaos.faults.clocks FILE -- COMMAND, where COMMAND is -c CODE, -m MODULE or an installed command"


class Clock:
    """Wall clock of a region, kept in a file. It is right at first. Several processes may have one on the same file.
    `marks`: it leaves a mark when it is read while it is wrong."""

    def __init__(self, file: Path, *, marks: bool = False) -> None:
        self.file = file
        self.told_wrong = 0
        """Number of times that `wall` has returned a wrong time."""
        self._marks = marks
        self._offset = 0
        self._looked: int | None = None

    def set(self, seconds: float) -> None:
        """Set the clock `seconds` ahead of the machine's from now on (behind: negative; 0: right again).

        Programs that run by it notice within 0.1 s. Raises InvalidConfig.
        """
        check_offset(seconds)
        new = self.file.with_name(f".{self.file.name}.{os.getpid()}")
        new.write_text(f"{seconds!r}\n")
        new.replace(self.file)
        self._looked = None

    @property
    def offset_ns(self) -> int:
        """Nanoseconds that the clock is ahead, as the file said at most 0.1 s ago."""
        now = _monotonic_ns()
        if self._looked is None or now - self._looked >= _LOOK_NS:
            self._looked = now
            with suppress(OSError, ValueError, OverflowError):  # not there yet, or invalid: as it was
                self._offset = int(float(self.file.read_text()) * 1e9)
            if self._offset and self._marks:
                self._mark()
        return self._offset

    def wall(self) -> int:
        """Return milliseconds since the epoch by this clock, for a client's HybridLogicalClock."""
        offset = self.offset_ns
        self.told_wrong += offset != 0
        return (_true_ns() + offset) // 1_000_000

    def marks(self, pids: Iterable[int]) -> int:
        """Return the number of marks that these processes have left: the tenths of a second in which they read a wrong
        time."""
        files = [self._marked(pid) for pid in set(pids)]
        return sum(file.stat().st_size for file in files if file.exists())

    def _mark(self) -> None:
        with suppress(OSError), self._marked(os.getpid()).open("ab") as file:
            file.write(b".")

    def _marked(self, pid: int) -> Path:
        return self.file.with_name(f"{self.file.name}.{pid}")

    def launched(self, *command: str) -> list[str]:
        """Return the arguments that run a Python command by this clock: `-c CODE …`, `-m MODULE …` or an installed
        command."""
        return [sys.executable, "-m", "chaos.faults.clocks", str(self.file), "--", *command]


def check_offset(seconds: float) -> None:
    """Raise InvalidConfig where no clock can be so wrong."""
    if not math.isfinite(seconds) or abs(seconds) > _MOST_SECONDS:
        raise InvalidConfig(f"a clock offset of {seconds:g} s is out of range; give -{_MOST_SECONDS} to {_MOST_SECONDS}")


def tell_time_by(clock: Clock) -> None:
    """Make this process's `time.time` and `time.time_ns` return the time of `clock` from now on."""
    time.time_ns = lambda: _true_ns() + clock.offset_ns
    time.time = lambda: _true() + clock.offset_ns / 1e9


def run(command: Sequence[str]) -> None:
    """Run a Python command in this process, as Python itself would. Raises InvalidConfig when there is no such command."""
    first, *rest = command
    if first == "-c":
        sys.argv = ["-c", *rest[1:]]
        exec(compile(rest[0], "<string>", "exec"), {"__name__": "__main__"})
    elif first == "-m":
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(command)
        _installed(first)()


def _installed(name: str) -> Callable[[], object]:
    for point in entry_points(group="console_scripts", name=name):
        found: Callable[[], object] = point.load()
        return found
    raise InvalidConfig(f"{name!r} is not an installed Python command; usage: {_USAGE}")


def main(arguments: Sequence[str]) -> None:
    file, *rest = arguments or [""]
    if len(rest) < 2 or rest[0] != "--" or (rest[1] in ("-c", "-m") and len(rest) < 3):
        sys.exit(f"usage: {_USAGE}")
    tell_time_by(Clock(Path(file), marks=True))
    try:
        run(rest[1:])
    except InvalidConfig as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
