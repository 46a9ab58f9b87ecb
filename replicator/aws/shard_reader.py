"""Shard reader: reads every shard of a stream, parents before children, resumed from checkpoints. DynamoDB Streams and
Kinesis differ in their requests only.

Trimmed records cannot be read. The reader never skips them silently: the next batch has `trimmed` set, and its consumer then
compares lanes, which hold all events permanently. A stream that is replaced by another one ends in the same way:
docs/decisions/0029.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

import structlog

from replicator.aws import clients
from replicator.aws.succession import Source, Succession
from replicator.control.checkpoints import Checkpoints
from replicator.domain.errors import RegionRefuses, RegionUnavailable
from replicator.replication.batch_reader import AGAIN, FAILED, WAITING, Batch
from replicator.runtime.settings import Settings

log = structlog.get_logger()

_LOOK_FOR_SHARDS_SECONDS = 10.0
_MARK_SECONDS = 3600.0
_MARK_AGAIN_SECONDS = 60.0
_SURE_SECONDS = 23 * 3600.0
"""Streams keep records for at least 24 hours. Records younger than this many seconds are certainly still there."""


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
    floor: float = -math.inf
    """Low watermark, in seconds since the epoch by the service's clock: while the shard has no checkpoint, no waiting record
    is older."""


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
    _shards: dict[str, Shard] = field(default_factory=dict)
    _looked: float | None = None
    _saw: float = -math.inf
    _resumed: bool = False
    _vanished: set[str] = field(default_factory=set)
    _unsaved: set[str] = field(default_factory=set)
    """Shards without a checkpoint."""
    _owed: dict[str, float] = field(default_factory=dict)
    """Shards with a `trimmed` batch that has not been processed yet, and the service's time of that batch."""
    _described: float = -math.inf
    """Service's time of the last description of the stream."""
    _mark: float = -math.inf
    _marks_at: float = -math.inf
    _told: float = -math.inf
    """Service's own time of its last response, in seconds since the epoch."""
    unread: dict[str, str] = field(default_factory=dict)
    """Open shards that the last poll did not read, and the reasons: the poll returned none of their records."""
    date: str = ""
    """Service's own time of its last response to the last poll, as an HTTP date (empty: none was given)."""
    succession: Succession = field(default_factory=Succession)
    """Finds the stream to read now."""
    _quiet: bool = False
    """Whether the last poll found nothing."""

    trimmed_codes: ClassVar[tuple[str, ...]] = ("TrimmedDataAccessException", "ResourceNotFoundException")
    """Error codes that mean: the requested records are gone from the stream."""

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
        """Return new records of every open shard, at most one batch per shard; `unread` names the shards that were not read.

        Raises RegionUnavailable when a shard failed and no other one returned anything, or when there is no stream now.
        """
        now = self.monotonic()
        self._note_mark(now)
        self.unread, self.date = {}, ""
        if self._looked is None or now - self._looked >= _LOOK_FOR_SHARDS_SECONDS:
            self._look()
            self._looked = self._saw = now
        batches: list[Batch] = []
        failure: RegionUnavailable | None = None
        for name, shard in list(self._shards.items()):
            parents = [self._shards[parent] for parent in shard.parents if parent in self._shards]
            if shard.finished:
                continue
            if not all(parent.finished for parent in parents):
                self.unread[name] = WAITING
                continue
            try:
                batch = self._read(name, shard)
            except RegionUnavailable as error:  # this shard is read again later; batches of others must not be lost
                failure = error
                self.unread[name] = FAILED
                continue
            if batch is not None:
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
        if batch.position is not None or batch.closed:
            self.checkpoints.save(self.stream_arn, batch.shard, batch.position, batch.closed)
            self._unsaved.discard(batch.shard)
        compared = self._owed.pop(batch.shard, -math.inf) if batch.trimmed else -math.inf
        for name in self._unsaved & self._shards.keys():  # all lanes were compared, whatever shard their events are in
            self._shards[name].floor = max(self._shards[name].floor, compared)
        if batch.trimmed and self._vanished:  # their loss has been handled: the next start need not repeat it
            for shard in self._vanished:
                self.checkpoints.save(self.stream_arn, shard, None, True)
            self._vanished = set()
        self._note_mark(self.monotonic())

    def _note_mark(self, now: float) -> None:
        """Once an hour, record the low watermark of known and future shards without a checkpoint. A reader that starts again
        has no other way to know the age of waiting records. An empty page proves nothing: a stream may return one before
        later records."""
        if now < self._marks_at:
            return
        waiting = self._unsaved & self._shards.keys()  # including shards read to their end but not processed yet
        mark = min([self._described, *(self._shards[name].floor for name in waiting)])
        if mark <= self._mark or not math.isfinite(mark):
            return
        try:
            self.checkpoints.mark(self.stream_arn, mark)
        except RegionUnavailable as error:  # records that were read must not be lost, nor reading stop
            log.warning("stream.not_marked", error=str(error))
            self._marks_at = now + _MARK_AGAIN_SECONDS
        else:
            self._mark, self._marks_at = mark, now + _MARK_SECONDS

    def _look(self) -> None:
        """Find the stream to read, and its shards."""
        ended = all(shard.finished for shard in self._shards.values())
        if source := self.succession.due(self.stream_arn, ended, self._quiet):
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
        log.warning("stream.replaced", stream=source.stream, before=self.stream_arn, new_table=new)
        self.stream_arn = source.stream
        self.succession.table, self.succession.next = source.table, None
        self._shards, self._unsaved, self._vanished, self._owed = {}, set(), set(), {}
        self._resumed, self._described, self._mark, self._marks_at = False, -math.inf, -math.inf, -math.inf

    def _look_for_shards(self) -> None:
        born = self._described
        found = {name: Shard(parents, since=self._saw, floor=born) for name, parents in self._describe().items()}
        if not found and not self._resumed:
            return  # the stream is being created
        self._described = self._told
        if not self._resumed:
            self._resume(found)
            return
        vanished = {name for name, shard in self._shards.items() if name not in found and not shard.finished}
        self._vanished |= vanished
        lost = bool(vanished) or _orphans(found, self._shards.keys())
        self._unsaved = (self._unsaved & found.keys()) | (found.keys() - self._shards.keys())
        self._shards = {name: self._shards.get(name, shard) for name, shard in found.items()}
        if lost:  # a shard expired before it was read to its end
            for shard in self._shards.values():
                shard.trimmed = not shard.finished

    def _resume(self, found: dict[str, Shard]) -> None:
        saved = self.checkpoints.load(self.stream_arn)
        self._unsaved = found.keys() - saved.keys()
        self._mark = self.checkpoints.marked(self.stream_arn) if self._unsaved else -math.inf
        known = math.isfinite(self._told) and math.isfinite(self._mark)
        away = max(0.0, self._told - self._mark) if known else math.inf
        for name, shard in found.items():
            state = saved.get(name)
            if state:
                shard.position, shard.finished = state["position"], bool(state["closed"])
            else:
                shard.since, shard.floor = self.monotonic() - away, self._mark
        self._vanished = {name for name, state in saved.items() if not state["closed"] and name not in found}
        if self._vanished or _orphans(found, saved.keys()):
            for shard in found.values():
                shard.trimmed = True
        self._resumed = True
        self._shards = found

    def _read(self, name: str, shard: Shard) -> Batch | None:
        began = self.monotonic()
        try:
            if shard.iterator is None:
                old = began - shard.since >= _SURE_SECONDS or self._told - shard.floor >= _SURE_SECONDS
                shard.trimmed |= shard.position is None and old
                shard.iterator = self._iterator(name, shard)
            iterator = shard.iterator
            page = self._call(lambda: self._page(iterator))
        except RegionRefuses as error:
            return self._failed(name, shard, error)
        shard.since = began
        self.date = _date(page)
        records: list[Any] = page.get("Records", [])
        if records and shard.resumed is not None:
            if self._sequence_number(records[0]) == shard.resumed:
                records = records[1:]
            else:
                log.warning("stream.trimmed", shard=name, after=shard.resumed)
                shard.trimmed = True
            shard.resumed = None
        shard.iterator = page.get("NextShardIterator")
        shard.finished = shard.iterator is None
        if shard.finished:
            self._looked = None  # its children can be read now
        if not records and not shard.finished and not shard.trimmed:
            if page.get("MillisBehindLatest") == 0 and shard.position is None and name not in self._owed:
                shard.floor = max(shard.floor, _seconds(self.date))  # Kinesis reports that this was all
            return None
        if records:
            shard.position = self._sequence_number(records[-1])
        trimmed, shard.trimmed = shard.trimmed, False
        if trimmed:
            self._owed[name] = _seconds(self.date)
        return Batch(name, tuple(records), shard.position, shard.finished, trimmed, self.stream_arn)

    def _failed(self, name: str, shard: Shard, error: RegionRefuses) -> Batch | None:
        code = error.code
        self.unread[name] = AGAIN
        if code == "ExpiredIteratorException":
            shard.iterator = None  # the next poll requests one from the last position
            return None
        if code not in self.trimmed_codes or (code == "InvalidArgumentException" and shard.position is None):
            shard.iterator = None  # the iterator need not be the cause
            raise error
        log.warning("stream.trimmed", shard=name, code=code)
        shard.position, shard.iterator, shard.resumed, shard.trimmed = None, None, None, True
        if code != clients.NO_SUCH_TABLE:
            return None
        shard.finished, self._looked = True, None
        self._owed[name] = -math.inf
        return Batch(name, (), None, closed=True, trimmed=True, stream=self.stream_arn)

    def _call(self, operation: Callable[[], Any]) -> Any:
        answer = clients.call(self.settings, self.settings.region, operation)
        self._told = _seconds(_date(answer))
        return answer


def _orphans(found: Mapping[str, Shard], known: Any) -> bool:
    """Return whether a new shard has an unknown parent: that parent expired unread."""
    everything = known | found.keys()
    return any(not everything.issuperset(shard.parents) for name, shard in found.items() if name not in known)


def _date(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", ""))


def _seconds(date: str) -> float:
    """Convert an HTTP date to seconds since the epoch; minus infinity for any other text."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return -math.inf
