"""Termination of a command: by SIGINT, by SIGTERM, or because the reader of its output is gone.

The exit code is 128 plus the signal's number: 130, 143 or 141. This module imports nothing heavy: an entry point calls
`loading` before everything else.
"""

from __future__ import annotations

import io
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TextIO

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_GRACE_SECONDS = 8.0
"""Seconds that a command has to unwind after a signal. Then the process is ended, wherever it hangs."""

_AGAIN = 0

_told = 0
"""Number of the signal that ends this command; 0: none yet."""
_unread = False
"""Whether the reader of standard output or error is gone."""
_swallowed = False
"""Whether KeyboardInterrupt was raised where the interpreter drops exceptions, such as in a finalizer: it must be raised
again."""
_stop: threading.Event | None = None
_closing = threading.RLock()


def loading() -> None:
    """Let a signal end the process at once: nothing is started yet, or nothing is left. A shell starts background commands
    with SIGINT ignored; they also end by it."""
    for number in SIGNALS:
        signal.signal(number, lambda number, _: os._exit(128 + _reason(number)))


def running() -> None:
    """Let the first signal raise KeyboardInterrupt in the main thread, or set the event of `stop_on_signals`. Later signals
    have no effect: nothing interrupts the clean-up."""
    sys.stdout, sys.stderr = _guarded(sys.stdout), _guarded(sys.stderr)
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), name="ending", daemon=True).start()
    sys.unraisablehook = partial(_dropped, writer)
    for number in SIGNALS:
        signal.signal(number, lambda number, _: told(number))


def told(number: int) -> None:
    """Handle a signal, in the main thread. Raises KeyboardInterrupt for the first one, unless an event is set instead."""
    global _told, _swallowed
    if _told and not _swallowed:
        return
    _told, _swallowed = _reason(number), False
    if _stop is None:
        raise KeyboardInterrupt
    _stop.set()


def stop_on_signals() -> threading.Event:
    """Return the event that a signal sets from now on, in place of KeyboardInterrupt: for workers with an orderly stop."""
    global _stop
    _stop = threading.Event()
    return _stop


def ended(code: int) -> int:
    """Flush the output. Returns the exit code: `code`, unless a signal ended the command."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(KeyboardInterrupt):
                stream.flush()
    loading()
    return 128 + _told if _told else code


@contextmanager
def undisturbed() -> Iterator[None]:
    """Hold signals back until the end of the block, which must not be left unfinished. Handlers belong to the main thread;
    in another thread only the forced end waits."""
    held: list[int] = []
    before: dict[int, Any] = {}
    with _closing:
        if threading.current_thread() is threading.main_thread():
            before = {number: signal.signal(number, lambda number, _: held.append(number)) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
    if held:
        signal.raise_signal(held[0])


def _reason(number: int) -> int:
    return _told or (signal.SIGPIPE if _unread else number)


def _watch(reader: int) -> None:
    """Force the end when a command hangs after a signal. The interpreter writes a signal's number to the pipe at once, even
    while the main thread runs no Python code, for instance in a DNS query."""
    number, end = 0, None
    while select.select([reader], [], [], end and max(0.0, end - time.monotonic()))[0]:
        read = os.read(reader, 1)[0]
        if read == _AGAIN:
            time.sleep(0.01)  # until the finalizer is done
            _interrupt()
        elif read in SIGNALS and end is None:
            number, end = read, time.monotonic() + _GRACE_SECONDS
    with _closing:
        os._exit(128 + _reason(number))


def _dropped(writer: int, what: sys.UnraisableHookArgs) -> None:
    """Have the interrupt raised again that the interpreter drops. Everything else is reported as usual."""
    global _swallowed
    if _told and issubclass(what.exc_type, KeyboardInterrupt):
        _swallowed = True
        os.write(writer, bytes([_AGAIN]))
    else:
        sys.__unraisablehook__(what)


def _interrupt() -> None:
    """Run the handler in the main thread, and interrupt a blocking call there."""
    if (main := threading.main_thread().ident) is not None:
        signal.pthread_kill(main, signal.SIGTERM)


class _Output(io.FileIO):
    """Standard output or error. When its reader is gone the command ends as by SIGPIPE, whichever thread writes. The signal
    itself stays ignored: every broken network connection sends it, too."""

    def write(self, data: Any, /) -> int:
        global _unread
        try:
            return super().write(data)
        except BrokenPipeError:
            _unread = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())  # for all later output, also at exit
        _interrupt()
        return len(data)


def _guarded(stream: TextIO) -> TextIO:
    """Return the same stream over an `_Output`."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream  # None if it is closed
    stream.flush()
    try:
        raw = _Output(stream.fileno(), "w", closefd=False)
    except OSError:
        return stream  # not a stream of the operating system
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        stream.encoding,
        stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )
