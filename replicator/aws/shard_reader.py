"""Shard reader: reads every shard of a stream, parents before children, resumed from checkpoints. DynamoDB Streams and
Kinesis differ in their requests only.

Trimmed records cannot be read. The reader never skips them silently: the next batch has `trimmed` set, and its consumer then
compares lanes, which hold all events permanently. A stream that is replaced by another one ends in the same way:
docs/decisions/0029.

With leases, several workers share the shards, and each reads those that it holds: docs/decisions/0036. Without, a reader
reads all of them alone.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, ClassVar

import structlog

from replicator.aws import clients
from replicator.aws.succession import Source, Succession
from replicator.control.checkpoints import Checkpoints
from replicator.control.leases import Held, Leases
from replicator.domain.errors import RegionRefuses, RegionUnavailable
from replicator.replication.batch_reader import AGAIN, FAILED, WAITING, Batch
from replicator.runtime.settings import Settings

log = structlog.get_logger()

_LOOK_FOR_SHARDS_SECONDS = 10.0
_SHARE_AGAIN_SECONDS = 1.0
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
    leases: Leases | None = None
    """Leases of the shards, if other workers read the same stream for the same reader."""
    _quiet: bool = False
    """Whether the last poll found nothing."""
    _share_again: float = -math.inf

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
        try:
            if self._looked is None or now - self._looked >= _LOOK_FOR_SHARDS_SECONDS:
                self._look()
                self._looked = self._saw = now
        finally:  # what is done once a region goes on without the stream
            if self.leases is not None:
                self._share(self.leases, now)
        batches: list[Batch] = []
        failure: RegionUnavailable | None = None
        for name, shard in list(self._shards.items()):
            if shard.finished or not self._holds(name, shard):
                continue
            if not self._parents_finished(shard):
                self.unread[name] = WAITING
                continue
            try:
                batch = self._read(name, shard)
            except RegionUnavailable as error:  # this shard is read again later; batches of others must not be lost
                failure = error
                self.unread[name] = FAILED
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
        if self.leases is not None:
            self._commit_leased(self.leases, batch)
            return
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

    def session(self) -> AbstractContextManager[None]:
        """Return a context in which this process reads: at its end, the leases that it holds are free."""
        return nullcontext() if self.leases is None else self.leases.session()

    # -- with leases -------------------------------------------------------------------------------------------------------

    def _holds(self, name: str, shard: Shard) -> bool:
        """Return whether to read this shard now."""
        if self.leases is None:
            return True
        held = self.leases.shards.get(name)
        return held is not None and held.term == shard.term and name not in self.leases.leaving and self.leases.valid

    def _parents_finished(self, shard: Shard) -> bool:
        return all(self._shards[parent].finished for parent in shard.parents if parent in self._shards)

    def _share(self, leases: Leases, now: float) -> None:
        """Take and give up leases, if it is time. A shard begins where its checkpoint is, whatever was read of it before."""
        if not (leases.due or not leases.valid) or (now < self._share_again and leases.valid):
            return
        self._share_again = now + _SHARE_AGAIN_SECONDS
        parents = {name: shard.parents for name, shard in self._shards.items() if not shard.vanished}
        described = self._saw if self._shards else -math.inf  # no shards are known yet, which says of none that it is gone
        try:
            leases.look(self.stream_arn, parents, described, {name: shard.floor for name, shard in self._shards.items()})
        except RegionUnavailable as error:
            if not leases.valid:
                raise
            log.warning("leases.not_looked_at", error=str(error))
        else:
            self._share_again = -math.inf
        for name in leases.leaving & self._shards.keys():
            self._leave(leases, name)
        self._shards |= {name: Shard(vanished=True) for name in leases.vanished - self._shards.keys()}
        for name, shard in list(self._shards.items()):
            held, record = leases.shards.get(name), leases.records.get(name, {})
            if held is None:
                closed = record.get("stream") == self.stream_arn and record["closed"]
                kept = Shard(shard.parents, since=shard.since, finished=closed, vanished=shard.vanished, floor=shard.floor)
                self._shards[name] = kept
            elif held.term != shard.term:
                self._begin(leases, name, held)
        self._unsaved = self._shards.keys() - {
            name for name, v in leases.records.items() if v.get("stream") == self.stream_arn
        }
        self._unsaved -= leases.shards.keys()

    def _begin(self, leases: Leases, name: str, held: Held) -> None:
        """Begin to read a shard whose lease was taken."""
        before, floor = self._shards[name], leases.floor(self.stream_arn, name)
        shard = Shard(before.parents, held.value["position"], since=before.since, term=held.term, vanished=before.vanished)
        if shard.position is None:
            shard.floor = max(before.floor, floor)
            if math.isfinite(floor) and math.isfinite(self._told):
                shard.since = max(shard.since, self.monotonic() - max(0.0, self._told - floor))
            known = leases.records.keys() | self._shards.keys()
            shard.trimmed = not known.issuperset(shard.parents)  # a parent expired before anybody knew it
        self._shards[name] = shard

    def _leave(self, leases: Leases, name: str) -> None:
        """Release a shard that another worker is to have, once all that was read of it is committed."""
        shard = self._shards[name]
        if shard.idle:
            try:
                leases.release(name)
            except RegionUnavailable as error:
                log.warning("lease.not_released", shard=name, error=str(error))
            else:
                log.info("lease.released", shard=name)

    def _commit_leased(self, leases: Leases, batch: Batch) -> None:
        held, shard = leases.shards.get(batch.shard), self._shards.get(batch.shard)
        if held is None or shard is None or not held.term == shard.term == batch.term:
            log.info("lease.not_held", shard=batch.shard, position=batch.position)  # who holds it reads these records again
        elif batch.position is None and not batch.closed:
            shard.idle |= shard.handed == (None, False)
        elif leases.save(batch.shard, batch.position, batch.closed):
            shard.idle = (batch.position, batch.closed) == shard.handed
            if batch.shard in leases.leaving:
                self._leave(leases, batch.shard)
        if batch.trimmed:
            self._owed.pop(batch.shard, None)
            leases.compared(self.stream_arn)
            for name in self._shards:
                self._shards[name].floor = max(self._shards[name].floor, leases.floor(self.stream_arn, name))
        self._note_mark(self.monotonic())

    # -- what is read ------------------------------------------------------------------------------------------------------

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
        if self.leases is not None:
            self.leases.release_all()
            self.leases.soon()
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
        if self.leases is not None:
            self._meet(found)
            return
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

    def _meet(self, found: dict[str, Shard]) -> None:
        """Note the shards that the stream has now. Their leases say where to begin."""
        if not self._resumed:
            self._mark = self.checkpoints.marked(self.stream_arn)
            saved = self.checkpoints.load(self.stream_arn)  # after the mark, which is one of shards without a record
            known = math.isfinite(self._told) and math.isfinite(self._mark)
            away = max(0.0, self._told - self._mark) if known else math.inf
            for name in found.keys() - saved.keys():
                found[name].since, found[name].floor = self.monotonic() - away, self._mark
            self._resumed = True
        self._unsaved |= found.keys() - self._shards.keys()
        before = {name: shard for name, shard in self._shards.items() if shard.vanished == (name not in found)}
        gone = {name: shard for name, shard in before.items() if shard.vanished and not shard.finished}
        self._shards = {name: before.get(name, shard) for name, shard in found.items()} | gone

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
        if shard.iterator is None:
            old = began - shard.since >= _SURE_SECONDS or self._told - shard.floor >= _SURE_SECONDS
            shard.trimmed |= shard.vanished or (shard.position is None and old)
        if shard.trimmed and not self._compares(name, shard, claim=shard.vanished):
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
        self.date = _date(page)
        records: list[Any] = page.get("Records", [])
        if records and shard.resumed is not None:
            if self._sequence_number(records[0]) == shard.resumed:
                records = records[1:]
            else:
                log.warning("stream.trimmed", shard=name, after=shard.resumed)
                shard.trimmed = True
            shard.resumed = None
        if shard.trimmed and not self._compares(name, shard):
            shard.iterator = None  # the same page, later
            return None
        shard.pages += 1
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
        return Batch(name, tuple(records), shard.position, shard.finished, trimmed, self.stream_arn, shard.term)

    def _compares(self, name: str, shard: Shard, claim: bool = True) -> bool:
        """Return whether a shard that has lost records goes on now, and settle whether its batch asks for a comparison of
        all lanes. Another worker may be at one, which is waited for. Claim a comparison only with the batch at hand."""
        if self.leases is None:
            return True
        answer = self.leases.compare(self.stream_arn, self._told, fresh=not shard.pages, claim=claim)
        if answer is None:
            self.unread[name] = WAITING
        elif not answer:
            shard.trimmed = False
        return answer is not None

    def _ended(self, name: str, shard: Shard) -> Batch:
        """Return the last batch of a shard that is gone."""
        shard.finished, self._looked = True, None
        trimmed, shard.trimmed = shard.trimmed, False
        self._owed[name] = -math.inf
        return Batch(name, (), None, closed=True, trimmed=trimmed, stream=self.stream_arn, term=shard.term)

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
        if code != clients.NO_SUCH_TABLE or not self._compares(name, shard):
            return None
        return self._ended(name, shard)

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
