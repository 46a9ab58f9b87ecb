"""The port by which a sharded stream is read: batches of consecutive records, committed once dealt with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

FAILED, AGAIN, WAITING = "does not answer", "is to be asked again", "waits for its parent"
"""Why a poll did not read a shard: it failed or was throttled, its iterator is no longer good, or its parents come first."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one shard. `position` is the last one's sequence number; `closed` means it was the
    shard's end; `trimmed` means that records before this batch may have been lost from the stream. `stream` is the one that
    they were read from (empty: the reader's)."""

    shard: str
    records: tuple[dict[str, Any], ...]
    position: str | None
    closed: bool = False
    trimmed: bool = False
    stream: str = ""


class BatchReader(Protocol):
    """Reads one stream for one reader. A reader that is killed starts again after its last commit, so records may come
    twice, never not at all."""

    def poll(self) -> list[Batch]:
        """What is new. Raises RegionUnavailable."""

    def commit(self, batch: Batch) -> None:
        """Note that a batch has been dealt with. Those of one shard are committed in order. Raises RegionUnavailable."""
