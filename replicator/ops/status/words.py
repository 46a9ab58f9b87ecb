"""Number, duration and time formats for people."""

from __future__ import annotations

from collections.abc import Iterable

from replicator.domain.clock import time_of

UNKNOWN = "?"
_OLD_MS = 10_000


def number(value: int | None) -> str:
    """Format a number as `12,345`, or a question mark for an unknown one."""
    return UNKNOWN if value is None else f"{value:,}"


def numbered(value: int, noun: str) -> str:
    """Format a count with its noun: `1 event`, `2 events`."""
    return f"{value:,} {noun}{'' if value == 1 else 's'}"


def span(seconds: float | None) -> str:
    """Format a duration in its largest fitting unit, rounded down: `95 s`, `12 min`, `5 h`, `3 d`."""
    if seconds is None:
        return UNKNOWN
    for unit, length, least in (("d", 86400, 2), ("h", 3600, 2), ("min", 60, 2)):
        if seconds >= length * least:
            return f"{int(seconds // length)} {unit}"
    return f"{int(max(seconds, 0))} s"


def ago(then: int, now: int) -> str:
    """Format how long `then` is before `now` (both in milliseconds since the epoch); a dash if it never was."""
    return since((now - then) / 1000 if then else None)


def since(seconds: float | None) -> str:
    """Format how long ago something last was: `12 s ago`; a dash if it never was."""
    return "–" if seconds is None else f"{span(seconds)} ago"


def as_of(read: Iterable[int], now: int) -> str:
    """Say how old the oldest of these readings is, once it is some seconds old: `, lanes read 3 min ago`. All in
    milliseconds since the epoch."""
    oldest = min((each for each in read if each), default=now)
    return f", lanes read {ago(oldest, now)}" if now - oldest >= _OLD_MS else ""


def moment(at: int) -> str:
    """Format a time in UTC to the second, `2026-01-31 12:00:00Z`. `at` is in milliseconds since the epoch."""
    try:
        return time_of(at).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError):
        return UNKNOWN


def plain(text: str) -> str:
    """Return untrusted text on one line, without anything that a terminal or a browser would obey."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
