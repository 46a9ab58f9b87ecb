"""Reading a sharded stream: every shard, parents before children, resumed from checkpoints. DynamoDB Streams and Kinesis
differ in their requests only.

Records that a stream has trimmed cannot be read. The reader never passes over them in silence: the batch that follows
says `trimmed`, and whoever reads then compares lanes, which hold everything for good. A stream that another one takes the
place of ends in the same way: docs/decisions/0029.
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
"""Streams keep records for 24 hours at least. What is younger than this is certainly there still."""


@dataclass(slots=True)
class Shard:
    """Where a reader stands in one shard. Two parents: the shard is what they were merged into."""

    parents: tuple[str, ...] = ()
    position: str | None = None
    iterator: str | None = None
    finished: bool = False
    trimmed: bool = False
    since: float = -math.inf
    """By the reader's clock: when it was last read, or was not there yet. What it has not been read of is younger. Counts
    only while there is no position, by which a stream can tell what it has trimmed."""
    resumed: str | None = None
    """The record that the next page must begin with, where a stream does not say that it has trimmed it."""
    floor: float = -math.inf
    """By the service's clock, in seconds since the epoch: while it has no checkpoint, nothing older waits in it."""


@dataclass(slots=True)
class ShardReader(ABC):
    """Reads one stream for one reader.

    `poll` returns what is new; `commit` records that a batch has been dealt with. Batches of a shard must be committed
    in order. A reader that is killed starts again after its last commit, so records may come twice, never not at all.
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
    """Shards that have no checkpoint."""
    _owed: dict[str, float] = field(default_factory=dict)
    """Shards of which a batch said `trimmed` that has not been dealt with yet, and the service's time when it did."""
    _described: float = -math.inf
    """The service's time when the stream was described last."""
    _mark: float = -math.inf
    _marks_at: float = -math.inf
    _told: float = -math.inf
    """The service's own time of its last answer, in seconds since the epoch."""
    unread: dict[str, str] = field(default_factory=dict)
    """The open shards that the last poll did not read, and why: what they hold is not among what it returned."""
    date: str = ""
    """The service's own time of its last answer to the last poll, as HTTP has it (empty: it did not say)."""
    succession: Succession = field(default_factory=Succession)
    """Looks which stream is to be read now."""
    _quiet: bool = False
    """Whether the last poll found nothing."""

    trimmed_codes: ClassVar[tuple[str, ...]] = ("TrimmedDataAccessException", "ResourceNotFoundException")
    """The errors that mean: what was asked for is gone from the stream."""

    @abstractmethod
    def _describe(self) -> Mapping[str, tuple[str, ...]]:
        """Every shard of the stream with its parents."""

    @abstractmethod
    def _iterator(self, name: str, shard: Shard) -> str:
        """An iterator behind the shard's position, or from the oldest record when it has none."""

    @abstractmethod
    def _page(self, iterator: str) -> Mapping[str, Any]:
        """The answer of GetRecords."""

    @abstractmethod
    def _sequence_number(self, record: Mapping[str, Any]) -> str:
        """The record's place in its shard."""

    def poll(self) -> list[Batch]:
        """New records of every open shard, at most one batch a shard; `unread` says which shards it could not read.

        Raises RegionUnavailable when a shard failed and no other one gave anything, or where there is no stream now.
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
            except RegionUnavailable as error:  # this shard's turn comes again; what others gave is not lost for it
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
        """Record that `batch` has been dealt with."""
        if batch.stream not in ("", self.stream_arn):
            return  # of a stream that was left: shards of the one that is read now may have the same names
        if batch.position is not None or batch.closed:
            self.checkpoints.save(self.stream_arn, batch.shard, batch.position, batch.closed)
            self._unsaved.discard(batch.shard)
        compared = self._owed.pop(batch.shard, -math.inf) if batch.trimmed else -math.inf
        for name in self._unsaved & self._shards.keys():  # all lanes were compared, whatever shard their events are in
            self._shards[name].floor = max(self._shards[name].floor, compared)
        if batch.trimmed and self._vanished:  # their loss has been dealt with: the next start need not do it again
            for shard in self._vanished:
                self.checkpoints.save(self.stream_arn, shard, None, True)
            self._vanished = set()
        self._note_mark(self.monotonic())

    def _note_mark(self, now: float) -> None:
        """Once an hour, note how old what waits in shards without a checkpoint can be: those that are known, and those that
        will be. A reader that starts again has no other way to know. An empty page proves nothing: a stream may give one
        before records that come later."""
        if now < self._marks_at:
            return
        waiting = self._unsaved & self._shards.keys()  # also of what was read to its end, and is not dealt with yet
        mark = min([self._described, *(self._shards[name].floor for name in waiting)])
        if mark <= self._mark or not math.isfinite(mark):
            return
        try:
            self.checkpoints.mark(self.stream_arn, mark)
        except RegionUnavailable as error:  # what was read must not be lost for it, nor reading stop
            log.warning("stream.not_marked", error=str(error))
            self._marks_at = now + _MARK_AGAIN_SECONDS
        else:
            self._mark, self._marks_at = mark, now + _MARK_SECONDS

    def _look(self) -> None:
        """Look which stream to read, and for its shards."""
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
        """Go on with this stream, as with one that was never read: checkpoints of another do not count, and records may
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
            return  # the stream is being made
        self._described = self._told
        if not self._resumed:
            self._resume(found)
            return
        vanished = {name for name, shard in self._shards.items() if name not in found and not shard.finished}
        self._vanished |= vanished
        lost = bool(vanished) or _orphans(found, self._shards.keys())
        self._unsaved = (self._unsaved & found.keys()) | (found.keys() - self._shards.keys())
        self._shards = {name: self._shards.get(name, shard) for name, shard in found.items()}
        if lost:  # a shard aged out before it was read to its end
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
                shard.floor = max(shard.floor, _seconds(self.date))  # Kinesis says that this was all
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
            shard.iterator = None  # the next poll asks for one from the last position
            return None
        if code not in self.trimmed_codes or (code == "InvalidArgumentException" and shard.position is None):
            shard.iterator = None  # not that it is this one's fault
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
    """Whether a shard that was not known before has a parent that is known to nobody: that one aged out unread."""
    everything = known | found.keys()
    return any(not everything.issuperset(shard.parents) for name, shard in found.items() if name not in known)


def _date(answer: Mapping[str, Any]) -> str:
    return str(answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", ""))


def _seconds(date: str) -> float:
    """An HTTP date in seconds since the epoch; minus infinity where it is none."""
    try:
        return parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return -math.inf
