"""Name of a process, by which another one on the same machine can tell that it has ended."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

_PROC = Path("/proc")
_ENDED = "ended"


def process_name() -> str:
    """Return a name that no other process has: host, place, process id and its time of start, and a random part.

    The place is the boot of the machine and the namespace of process ids, in which an id means one process at a time. It is
    empty where the system does not report them: then whether the process has ended is unknown.
    """
    host = socket.gethostname().replace(" ", "-") or "unknown"
    return f"{host} {_place()} {os.getpid()}.{_start(os.getpid())} {secrets.token_hex(4)}"


def has_ended(name: str) -> bool:
    """Return whether the process of this name has ended for sure. False for one of another machine or container."""
    parts = name.split(" ")
    if len(parts) != 4 or not parts[1] or parts[1] != _place():
        return False
    pid, _, start = parts[2].partition(".")
    if not pid.isdecimal() or not start:
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _start(int(pid)) not in ("", start)


def _place() -> str:
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return ""


def _start(pid: int) -> str:
    """Return the time at which a process started, in ticks since boot: `ended` if it only waits to be noticed, empty if it
    cannot be seen."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return _ENDED if fields[0] in ("Z", "X") else fields[19]
