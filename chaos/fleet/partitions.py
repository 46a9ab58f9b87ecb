"""Partitions of a table, and the items of ongoing transactions.

A partition takes 1,000 write and 3,000 read units a second, and keeps what is left of up to 300 seconds for bursts; a new
on-demand table has four. A partition key belongs to one partition. A write conflicts with an ongoing transaction on its
item, and so does a condition check. Source: AWS, "Partitions and data distribution in DynamoDB", "DynamoDB burst and
adaptive capacity", "DynamoDB on-demand capacity mode" and "Transaction conflict handling in DynamoDB" (developer guide).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from zlib import crc32

WRITE_UNITS, READ_UNITS = 1000.0, 3000.0
BURST_SECONDS = 300.0
Key = tuple[str, str]
"""Partition key and sort key."""


class _Bucket:
    """Units that may be taken now: so many a second, and those of some seconds at most."""

    def __init__(self, rate: float, seconds: float) -> None:
        self._rate, self._most = rate, rate * (1 + seconds)
        self._left, self._at = rate, 0.0

    def take(self, units: float, now: float) -> bool:
        self._left = min(self._most, self._left + self._rate * (now - self._at))
        self._at = now
        taken = units <= self._left
        self._left -= units if taken else 0.0
        return taken


class Partitions:
    """Limits of a table with `count` partitions, which begins without a burst. `now` is in seconds."""

    def __init__(self, now: Callable[[], float], count: int = 4, burst: float = BURST_SECONDS) -> None:
        self._now = now
        self._writes = [_Bucket(WRITE_UNITS, burst) for _ in range(count)]
        self._reads = [_Bucket(READ_UNITS, burst) for _ in range(count)]
        self._ongoing: set[Key] = set()
        self.throttled = self.conflicts = 0

    def write(self, key: Key, units: float) -> bool:
        """Take the units of a write. Returns False when it is throttled."""
        return self._take(self._writes, key, units)

    def read(self, key: Key, units: float) -> bool:
        """As `write`, of a read."""
        return self._take(self._reads, key, units)

    def conflict(self, key: Key) -> bool:
        """Return whether a transaction on this item is ongoing."""
        found = key in self._ongoing
        self.conflicts += found
        return found

    def begin(self, keys: Iterable[Key]) -> None:
        """Begin a transaction on these items."""
        self._ongoing.update(keys)

    def end(self, keys: Iterable[Key]) -> None:
        """End it."""
        self._ongoing.difference_update(keys)

    def _take(self, buckets: list[_Bucket], key: Key, units: float) -> bool:
        taken = buckets[crc32(key[0].encode()) % len(buckets)].take(units, self._now())
        self.throttled += not taken
        return taken
