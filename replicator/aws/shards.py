"""Shards of a stream, as one reader knows them: how far each was read, and how old the records can be that wait there."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from replicator.control.checkpoints import Checkpoints
from replicator.domain.errors import RegionUnavailable
from replicator.replication.batch_reader import Batch

log = structlog.get_logger()

_MARK_SECONDS = 3600.0
_MARK_AGAIN_SECONDS = 60.0


@dataclass(slots=True)
class Shard:
    """State of a reader in one shard. A shard with two parents is the result of a merge."""

    parents: tuple[str, ...] = ()
    position: str | None = None
    iterator: str | None = None
    finished: bool = False
    trimmed: bool = False
    since: float = -math.inf
    """Time of the last read by the reader's clock, or of its last absence: unread records are younger. Counts only while
    there is no position, from which a stream can tell what it has trimmed."""
    resumed: str | None = None
    """Record that the next page must begin with, for a stream that does not report that it was trimmed."""
    term: int = 0
    """Number of the lease under which it is read."""
    vanished: bool = False
    """Whether it is gone from the stream and was not read to its end."""
    pages: int = 0
    """Number of pages read under this lease."""
    idle: bool = True
    """Whether all that was read has been committed."""
    handed: tuple[str | None, bool] = (None, False)
    """Position of the last batch, and whether it closed the shard. Its own position is lost where records were trimmed."""
    floor: float = -math.inf
    """Low watermark, in seconds since the epoch by the service's clock: while the shard has no checkpoint, no waiting record
    is older."""


@dataclass(slots=True)
class Shards:
    """All shards of the stream `stream` that the reader knows of."""

    stream: str
    checkpoints: Checkpoints
    monotonic: Callable[[], float]
    known: dict[str, Shard] = field(default_factory=dict)
    unsaved: set[str] = field(default_factory=set)
    """Shards without a checkpoint."""
    owed: dict[str, float] = field(default_factory=dict)
    """Shards with a `trimmed` batch that has not been processed yet, and the service's time of that batch."""
    saw: float = -math.inf
    """Time of the last description of the stream, by the reader's clock."""
    described: float = -math.inf
    """The same by the service's clock, in seconds since the epoch."""
    told: float = -math.inf
    """Service's own time of its last response, in seconds since the epoch."""
    resumed: bool = False
    """Whether the checkpoints were loaded."""
    mark: float = -math.inf
    """Low watermark that is recorded."""
    _mark_at: float = -math.inf

    def follow(self, stream: str) -> None:
        """Begin with another stream, of which nothing is known."""
        self.stream, self.resumed = stream, False
        self.known, self.unsaved, self.owed = {}, set(), {}
        self.described = self.mark = self._mark_at = -math.inf

    def load_mark(self) -> None:
        """Load the recorded low watermark."""
        self.mark = self.checkpoints.marked(self.stream)

    def age(self, shard: Shard) -> None:
        """Set the age of a shard that has no checkpoint, by the recorded low watermark."""
        known = math.isfinite(self.told) and math.isfinite(self.mark)
        away = max(0.0, self.told - self.mark) if known else math.inf
        shard.since, shard.floor = self.monotonic() - away, self.mark

    def note_mark(self) -> None:
        """Once an hour, record the low watermark of known and future shards without a checkpoint. A reader that starts again
        has no other way to know the age of waiting records. An empty page proves nothing: a stream may return one before
        later records."""
        now = self.monotonic()
        if now < self._mark_at:
            return
        waiting = self.unsaved & self.known.keys()  # including shards read to their end but not processed yet
        mark = min([self.described, *(self.known[name].floor for name in waiting)])
        if mark <= self.mark or not math.isfinite(mark):
            return
        try:
            self.checkpoints.mark(self.stream, mark)
        except RegionUnavailable as error:  # records that were read must not be lost, nor reading stop
            log.warning("stream.not_marked", error=str(error))
            self._mark_at = now + _MARK_AGAIN_SECONDS
        else:
            self.mark, self._mark_at = mark, now + _MARK_SECONDS

    def parents_finished(self, shard: Shard) -> bool:
        return all(self.known[parent].finished for parent in shard.parents if parent in self.known)

    @property
    def ended(self) -> bool:
        """Whether every shard was read to its end."""
        return all(shard.finished for shard in self.known.values())


class Custody(Protocol):
    """Division of shards among workers, and the record of what was read: `ShardsAlone` or `ShardsShared`."""

    def meet(self, found: dict[str, Shard]) -> None:
        """Note the shards that the stream has now, as it was described."""

    def share(self) -> None:
        """Take shards and give them up, if it is time. Raises RegionUnavailable."""

    def holds(self, name: str, shard: Shard) -> bool:
        """Return whether to read this shard now."""

    def compares(self, shard: Shard, claim: bool = True) -> bool | None:
        """Return whether the batch of a shard that has lost records asks for a comparison of all lanes; None while another
        worker is at one, which is waited for. Claim a comparison only with the batch at hand."""

    def commit(self, batch: Batch) -> None:
        """Record that `batch` has been processed."""

    def leave(self) -> None:
        """Give up all shards: another stream is read from now on."""

    def session(self) -> AbstractContextManager[None]:
        """Return a context in which this process reads: at its end, what it holds is free."""


def orphans(found: Mapping[str, Shard], known: Collection[str]) -> bool:
    """Return whether a new shard has an unknown parent: that parent expired unread."""
    everything = {*known, *found}
    return any(not everything.issuperset(shard.parents) for name, shard in found.items() if name not in known)
