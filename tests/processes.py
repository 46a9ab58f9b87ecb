"""Processes that tests start: each ends with its test, whatever happens; and what tests ask the system about processes."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from chaos.child_processes import dying_with_this_process

HANGING_SECONDS = 300.0
"""After so long a wait is not slow any more but hangs. No test is right or wrong by it on a machine that is only busy."""
T = TypeVar("T")
_MARK = "MERIDIAN_TEST_STARTED"


def wait_until(happened: Callable[[], Any], what: str, pause: float = 0.02) -> None:
    """Wait for an event, however long it takes. Fails, naming it, when it never comes."""
    end = time.monotonic() + HANGING_SECONDS
    while not happened():
        assert time.monotonic() < end, f"{what}: not within {HANGING_SECONDS:.0f} s"
        time.sleep(pause)


class Started:
    """A program that a test has started, and whatever that has started in turn."""

    def __init__(self, process: subprocess.Popen[str], mark: str) -> None:
        self.process = process
        self.pid = process.pid
        self._mark = mark.encode()
        self._seen: set[int] = set()

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def family(self) -> set[int]:
        """Its own process and all that it has started and that are alive, also those that left its group or lost their
        parent. A process is known by its parent or by a variable in its environment. Linux only."""
        found = {pid for pid in {self.pid, *self._seen, *_marked(self._mark)} if alive(pid)}
        todo = list(found)
        while todo:
            new = {child for child in children(todo.pop()) if alive(child)} - found
            found |= new
            todo += new
        self._seen |= found
        return found

    def lines(self) -> Iterator[str]:
        """Its standard output, line by line, until it ends."""
        assert self.process.stdout is not None
        yield from self.process.stdout

    def wait_for(self, text: str, file: Path) -> None:
        """Wait until it has written this to its log."""
        wait_until(lambda: text in file.read_text() or not self.running, f"{text!r} in {file}")
        assert text in file.read_text(), f"it ended by itself, with {self.process.returncode}: {file.read_text()[-2000:]}"

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        """Its exit code, when it has ended. Fails when it hangs."""
        return self.process.wait(HANGING_SECONDS)

    def ended(self) -> tuple[int, str, str]:
        """Its exit code, and all the rest of its output, when it has ended."""
        out, err = self.process.communicate(timeout=HANGING_SECONDS)
        return self.process.returncode, out or "", err or ""

    def end(self) -> None:
        """kill -9 to all that is left of it."""
        while left := self.family() - ({self.pid} if not self.running else set()):
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if self.pid in left:
                self.process.wait()
            time.sleep(0.01)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


@contextmanager
def started(line: Sequence[str], env: Mapping[str, str] | None = None, **how: Any) -> Iterator[Started]:
    """Run a program in a session of its own while the block lasts. When the block ends, also by an error, so does all that
    the program has started; and when this process is killed, the program. `how` is given to Popen."""
    mark, prepare = uuid.uuid4().hex, dying_with_this_process()

    def prepared() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ignored where a shell has started the tests in the background
        prepare()

    environment = {**(os.environ if env is None else env), _MARK: mark}
    process = subprocess.Popen(line, env=environment, text=True, start_new_session=True, preexec_fn=prepared, **how)
    running = Started(process, f"{_MARK}={mark}")
    try:
        yield running
    finally:
        running.end()


@contextmanager
def thread(
    target: Callable[..., Any], *arguments: Any, stop: Callable[[], Any] = lambda: None
) -> Iterator[threading.Thread]:
    """Run this in a thread while the block lasts. Then `stop` is called, also after an error, and the thread has ended."""
    running = threading.Thread(target=target, args=arguments, daemon=True)
    running.start()
    try:
        yield running
    finally:
        stop()
        running.join(HANGING_SECONDS)
        assert not running.is_alive(), f"{target} does not end"


def comes_back(call: Callable[[], T]) -> T:
    """The result of a call that might hang: what was bounded is not, then, and the test fails instead of hanging too."""
    done: list[Callable[[], T]] = []

    def run() -> None:
        try:
            result = call()
        except BaseException as error:
            failure = error
            done.append(lambda: _raise(failure))
        else:
            done.append(lambda: result)

    running = threading.Thread(target=run, daemon=True)
    running.start()
    running.join(HANGING_SECONDS)
    assert done, f"it hangs: not back within {HANGING_SECONDS:.0f} s"
    return done[0]()


def _raise(error: BaseException) -> Any:
    raise error


def _marked(mark: bytes) -> set[int]:
    found = set()
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in environment.read_bytes().split(b"\0"):
                found.add(int(environment.parent.name))
    return found


def children(pid: int) -> set[int]:
    """The processes that this one, by whichever of its threads, has started and that are not gone. Linux only."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return {int(child) for task in tasks for child in (task / "children").read_text().split()}
    except OSError:
        return set()


def alive(pid: int) -> bool:
    """Whether it runs, or could go on: one that waits for its parent to take note of its end does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def still_alive(pids: Iterable[int], seconds: float = 60.0) -> list[int]:
    """Those that do not end. Who is told to end, or dies with its parent, needs a moment for it."""
    end, left = time.monotonic() + seconds, list(pids)
    while (left := [pid for pid in left if alive(pid)]) and time.monotonic() < end:
        time.sleep(0.05)
    return left
