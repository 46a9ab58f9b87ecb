"""Shard reader: reads every shard of a stream, parents before children, resumed from checkpoints. DynamoDB Streams and
Kinesis differ in their requests only.

Trimmed records cannot be read. The reader never skips them silently: the next batch has `trimmed` set, and its consumer then
compares lanes, which hold all events permanently. A stream that is replaced by another one ends in the same way:
docs/decisions/0029.

With leases, several workers share the shards, and each reads those that it holds (`shards_shared.py`). Without, a reader
reads all of them (`shards_alone.py`).
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

import structlog

from replicator.aws import clients
from replicator.aws.shards import Custody, Shard, Shards
from replicator.aws.shards_alone import ShardsAlone
from replicator.aws.shards_shared import ShardsShared
from replicator.aws.succession import Source, Succession
from replicator.control.checkpoints import Checkpoints
from replicator.control.leases import Leases
from replicator.domain.errors import RegionRefuses, RegionUnavailable
from replicator.replication.batch_reader import Batch
from replicator.runtime.settings import Settings

log = structlog.get_logger()

_LOOK_FOR_SHARDS_SECONDS = 10.0
_SURE_SECONDS = 23 * 3600.0
"""Streams keep records for at least 24 hours. Records younger than this many seconds are certainly still there."""


@dataclass(slots=True)
class ShardReader(ABC):
    """Reads one stream for one reader.

    `poll` returns new records; `commit` records that a batch has been processed. Batches of a shard must be committed
    in order. After a crash a reader resumes behind its last commit: records arrive at least once.
    """

    client: Any
    stream_arn: str
    checkpoints: Checkpoints
    settings: Settings
    monotonic: Callable[[], float] = time.monotonic
    succession: Succession = field(default_factory=Succession)
    """Finds the stream to read now."""
    leases: Leases | None = None
    """Leases of the shards, if other workers read the same stream for the same reader."""
    _shards: Shards = field(init=False)
    _custody: Custody = field(init=False)
    _looked: float | None = None
    _quiet: bool = False
    """Whether the last poll found nothing."""

    trimmed_codes: ClassVar[tuple[str, ...]] = ("TrimmedDataAccessException", "ResourceNotFoundException")
    """Error codes that mean: the requested records are gone from the stream."""

    def __post_init__(self) -> None:
        self._shards = Shards(self.stream_arn, self.checkpoints, self.monotonic)
        leases = self.leases
        self._custody = ShardsAlone(self._shards) if leases is None else ShardsShared(self._shards, leases)

    @abstractmethod
    def _describe(self) -> Mapping[str, tuple[str, ...]]:
        """Return every shard of the stream with its parents."""

    @abstractmethod
    def _iterator(self, name: str, shard: Shard) -> str:
        """Return an iterator behind the shard's position, or from the oldest record when it has none."""

    @abstractmethod
    def _page(self, iterator: str) -> Mapping[str, Any]:
        """Return the response of GetRecords."""

    @abstractmethod
    def _sequence_number(self, record: Mapping[str, Any]) -> str:
        """Return the record's position in its shard."""

    def poll(self) -> list[Batch]:
        """Return new records of every open shard, at most one batch per shard.

        Raises RegionUnavailable when a shard failed and no other one returned anything, or when there is no stream now.
        """
        now = self.monotonic()
        self._shards.note_mark()
        try:
            if self._looked is None or now - self._looked >= _LOOK_FOR_SHARDS_SECONDS:
                self._look()
                self._looked = self._shards.saw = now
        finally:  # what is done once a region goes on without the stream
            self._custody.share()
        batches: list[Batch] = []
        failure: RegionUnavailable | None = None
        for name, shard in list(self._shards.known.items()):
            if shard.finished or not self._custody.holds(name, shard) or not self._shards.parents_finished(shard):
                continue
            try:
                batch = self._read(name, shard)
            except RegionUnavailable as error:  # this shard is read again later; batches of others must not be lost
                failure = error
                continue
            if batch is not None:
                shard.idle, shard.handed = False, (batch.position, batch.closed)
                batches.append(batch)
        self._quiet = not batches and (failure is None or isinstance(failure, RegionRefuses))
        failure = failure or self.succession.missing
        if failure is not None and not batches:
            raise failure
        return batches

    def commit(self, batch: Batch) -> None:
        """Record that `batch` has been processed."""
        if batch.stream not in ("", self.stream_arn):
            return  # of a previous stream: shards of the current one may have the same names
        self._custody.commit(batch)
        self._shards.note_mark()

    def session(self) -> AbstractContextManager[None]:
        """Return a context in which this process reads: at its end, the leases that it holds are free."""
        return self._custody.session()

    def _look(self) -> None:
        """Find the stream to read, and its shards."""
        if source := self.succession.due(self.stream_arn, self._shards.ended, self._quiet):
            self._follow(source)
        try:
            self._look_for_shards()
        except RegionRefuses as error:
            source = self.succession.next
            if error.code != clients.NO_SUCH_TABLE or source is None:
                raise self.succession.missing or error from error
            self._follow(source)
            self._look_for_shards()

    def _follow(self, source: Source) -> None:
        """Switch to this stream, as to one that was never read: checkpoints of another one do not count, and records may
        have been lost between the two."""
        new = source.table != self.succession.table
        self._custody.leave()
        log.warning("stream.replaced", stream=source.stream, before=self.stream_arn, new_table=new)
        self.stream_arn = source.stream
        self.succession.table, self.succession.next = source.table, None
        self._shards.follow(source.stream)

    def _look_for_shards(self) -> None:
        shards = self._shards
        born = shards.described
        found = {name: Shard(parents, since=shards.saw, floor=born) for name, parents in self._describe().items()}
        if not found and not shards.resumed:
            return  # the stream is being created
        shards.described = shards.told
        self._custody.meet(found)

    def _read(self, name: str, shard: Shard) -> Batch | None:
        began = self.monotonic()
        if shard.iterator is None:
            old = began - shard.since >= _SURE_SECONDS or self._shards.told - shard.floor >= _SURE_SECONDS
            shard.trimmed |= shard.vanished or (shard.position is None and old)
        if shard.trimmed and not self._compares(shard, claim=shard.vanished):
            return None
        if shard.vanished:
            return self._ended(name, shard)
        try:
            if shard.iterator is None:
                shard.iterator = self._iterator(name, shard)
            iterator = shard.iterator
            page = self._call(lambda: self._page(iterator))
        except RegionRefuses as error:
            return self._failed(name, shard, error)
        shard.since = began
        records: list[Any] = page.get("Records", [])
        if records and shard.resumed is not None:
            if self._sequence_number(records[0]) == shard.resumed:
                records = records[1:]
            else:
                log.warning("stream.trimmed", shard=name, after=shard.resumed)
                shard.trimmed = True
            shard.resumed = None
        if shard.trimmed and not self._compares(shard):
            shard.iterator = None  # the same page, later
            return None
        shard.pages += 1
        shard.iterator = page.get("NextShardIterator")
        shard.finished = shard.iterator is None
        if shard.finished:
            self._looked = None  # its children can be read now
        if not records and not shard.finished and not shard.trimmed:
            if page.get("MillisBehindLatest") == 0 and shard.position is None and name not in self._shards.owed:
                shard.floor = max(shard.floor, self._shards.told)  # Kinesis reports that this was all
            return None
        if records:
            shard.position = self._sequence_number(records[-1])
        trimmed, shard.trimmed = shard.trimmed, False
        if trimmed:
            self._shards.owed[name] = self._shards.told
        return Batch(name, tuple(records), shard.position, shard.finished, trimmed, self.stream_arn, shard.term)

    def _compares(self, shard: Shard, claim: bool = True) -> bool:
        """Return whether a shard that has lost records goes on now, and settle whether its batch asks for a comparison of
        all lanes. Another worker may be at one, which is waited for. Claim a comparison only with the batch at hand."""
        answer = self._custody.compares(shard, claim)
        if answer is False:
            shard.trimmed = False
        return answer is not None

    def _ended(self, name: str, shard: Shard) -> Batch:
        """Return the last batch of a shard that is gone."""
        shard.finished, self._looked = True, None
        trimmed, shard.trimmed = shard.trimmed, False
        self._shards.owed[name] = -math.inf
        return Batch(name, (), None, closed=True, trimmed=trimmed, stream=self.stream_arn, term=shard.term)

    def _failed(self, name: str, shard: Shard, error: RegionRefuses) -> Batch | None:
        code = error.code
        if code == "ExpiredIteratorException":
            shard.iterator = None  # the next poll requests one from the last position
            return None
        if code not in self.trimmed_codes or (code == "InvalidArgumentException" and shard.position is None):
            shard.iterator = None  # the iterator need not be the cause
            raise error
        log.warning("stream.trimmed", shard=name, code=code)
        shard.position, shard.iterator, shard.resumed, shard.trimmed = None, None, None, True
        if code != clients.NO_SUCH_TABLE or not self._compares(shard):
            return None
        return self._ended(name, shard)

    def _call(self, operation: Callable[[], Any]) -> Any:
        answer = clients.call(self.settings, self.settings.region, operation)
        self._shards.told = _time_of(answer)
        return answer


def _time_of(answer: Mapping[str, Any]) -> float:
    """Return the service's own time of an answer, in seconds since the epoch; minus infinity if it has none."""
    try:
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return -math.inf
