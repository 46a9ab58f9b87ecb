"""Port that reads a sharded stream: batches of consecutive records, committed once processed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one shard. `position` is the last one's sequence number; `closed` marks the end of the shard;
    `trimmed` means that records before this batch may have been lost from the stream. `stream` is the stream that they were
    read from (empty: the reader's). `term` is the number of the lease under which they were read (0: without one)."""

    shard: str
    records: tuple[dict[str, Any], ...]
    position: str | None
    closed: bool = False
    trimmed: bool = False
    stream: str = ""
    term: int = 0


class BatchReader(Protocol):
    """Reads one stream for one reader. After a crash it resumes behind its last commit: records arrive at least once."""

    def session(self) -> AbstractContextManager[None]:
        """Return a context in which this process reads. At its end, what it held is free for others."""

    def poll(self) -> list[Batch]:
        """Return the new batches. Raises RegionUnavailable."""

    def commit(self, batch: Batch) -> None:
        """Checkpoint a processed batch, unless another process reads its shard now. Batches of one shard are committed in
        order. Raises RegionUnavailable."""
