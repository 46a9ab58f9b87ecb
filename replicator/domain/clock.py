"""Hybrid logical clock: Kulkarni, Demirbas, Madappa, Avva, Leone, "Logical Physical Clocks", OPODIS 2014, figure 5.

A timestamp is wall time in milliseconds plus a counter. It never runs backwards, and it is always later than every
timestamp seen before it, so an event that was written after seeing another one also sorts after it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from replicator.domain.errors import ClockAhead, InvalidEvent, shown

MAX_MILLISECONDS = 10**13 - 1  # the year 2286: thirteen digits, so that text order is time order
MAX_COUNTER = 65_535
# Jepsen bumps clocks by up to +-262 s; two regions bumped apart differ by 524 s and must still follow each other.
DEFAULT_MAX_AHEAD_MS = 600_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def time_of(ms: int) -> datetime:
    """Convert milliseconds since the epoch to a UTC time; exact, where a float of seconds is sometimes a millisecond off.
    Raises OverflowError after the year 9999."""
    return _EPOCH + ms * _MILLISECOND


def milliseconds_of(time: datetime) -> int:
    """Convert a time with a zone to whole milliseconds since the epoch, rounded down; exact. Inverts `time_of`."""
    return (time - _EPOCH) // _MILLISECOND


@dataclass(frozen=True, slots=True, order=True)
class Hlc:
    """Timestamp: `ms` since the Unix epoch and a `counter` for events within the same millisecond."""

    ms: int
    counter: int

    def __post_init__(self) -> None:
        if type(self.ms) is not int or not 0 <= self.ms <= MAX_MILLISECONDS:
            raise InvalidEvent(f"HLC time {shown(self.ms)} is not in whole milliseconds from 0 to {MAX_MILLISECONDS}")
        if type(self.counter) is not int or not 0 <= self.counter <= MAX_COUNTER:
            raise InvalidEvent(f"HLC counter {shown(self.counter)} is not a whole number from 0 to {MAX_COUNTER}")

    def __str__(self) -> str:
        return f"{self.ms:013d}-{self.counter:05d}"

    @classmethod
    def parse(cls, text: str) -> Hlc:
        """Invert `str`: thirteen digits, a hyphen, five digits."""
        if isinstance(text, str) and len(text) == 19 and text[13] == "-" and text.isascii():
            ms, counter = text[:13], text[14:]
            if ms.isdigit() and counter.isdigit():
                return cls(int(ms), int(counter))
        raise InvalidEvent(f"HLC {shown(text)} is not of the form '1763914981123-00042'")

    def next(self) -> Hlc:
        """Return the smallest timestamp after this one. A full counter carries into the next millisecond."""
        return Hlc(self.ms, self.counter + 1) if self.counter < MAX_COUNTER else Hlc(self.ms + 1, 0)


ZERO = Hlc(0, 0)


class HybridLogicalClock:
    """Clock of one process. `wall` returns milliseconds since the epoch; it is the only source of time.

    The clock refuses timestamps more than `max_ahead_ms` ahead of `wall`: one machine with a wrong clock must
    not push every region into the future. Safe to share between threads.
    """

    def __init__(self, wall: Callable[[], int], max_ahead_ms: int = DEFAULT_MAX_AHEAD_MS) -> None:
        self._wall = wall
        self._max_ahead_ms = max_ahead_ms
        self._last = ZERO
        self._lock = threading.Lock()

    @property
    def last(self) -> Hlc:
        """Latest timestamp issued or observed."""
        return self._last

    def tick(self, after: Hlc = ZERO) -> Hlc:
        """Issue a new timestamp, later than `after` and than every one issued or observed. Raises ClockAhead."""
        with self._lock:
            now = self._wall()
            floor = max(self._last, after)
            issued = Hlc(now, 0) if now > floor.ms else floor.next()
            self._check(issued, now)
            self._last = issued
            return issued

    def observe(self, seen: Hlc) -> None:
        """Record a timestamp from elsewhere, so that later ones sort after it. Raises ClockAhead."""
        with self._lock:
            if seen > self._last:
                self._check(seen, self._wall())
                self._last = seen

    def _check(self, stamp: Hlc, now: int) -> None:
        ahead = stamp.ms - now
        if ahead > self._max_ahead_ms:
            raise ClockAhead(
                f"timestamp {stamp} is {ahead / 1000:.0f} s ahead of this machine's clock; the bound is "
                f"{self._max_ahead_ms / 1000:.0f} s. Correct the clock (NTP) of the region that wrote it or of this one"
            )
