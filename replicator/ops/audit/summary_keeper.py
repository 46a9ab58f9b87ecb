"""Summary keeper: maintains a region's Merkle summary by following the changes of its events table, with a checkpoint.

Appends never write the summary: it costs something only when it is brought up to date, in proportion to the changes since.
Changes that the table's stream no longer holds (24 hours) are read from the table: one event per lane.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

import structlog

from replicator.control.control_storage import ControlStorage, Value
from replicator.domain.errors import DamagedEvent, RegionUnavailable
from replicator.domain.names import LaneId
from replicator.eventstore.storage import LaneStorage
from replicator.ops.audit.lane_walk import head_of, walk
from replicator.ops.audit.merkle_summary import RANGES, SUMS, Entry, Range, Sum, by_range, range_of
from replicator.ops.audit.threads import at_once
from replicator.replication.batch_reader import WAITING, Batch
from replicator.replication.stream_records import read_records
from replicator.runtime.wall_clock import wall_clock

log = structlog.get_logger()

READER = "ledger"
SCOPE = "ledger"
_LOCK = "lock"
_LOCK_MS = 60_000
_QUIET_POLLS = 3
"""Number of consecutive quiet polls after which a stream counts as read to its end: every shard returned nothing, or only
records newer than the start of reading. DynamoDB returns empty pages, too."""
_FEW = 100
"""Number of records below which the next poll is not urgent."""
_PATIENCE = 8
"""Maximum number of consecutive polls that may leave a failing shard unread, with nothing else to read."""
_WAITS = 200
"""The same maximum for a shard that waits for its parent, whose pages may be empty."""
_MARGIN_SECONDS = 1
"""The service's own time and that of a record are both in whole seconds."""
_STORE_MS = 60_000
"""Milliseconds between two stores of a process that refreshes continuously: the next process reads the rest from the
stream."""


class Changes(Protocol):
    """Changes of an events table: a ShardReader of its stream."""

    @property
    def unread(self) -> Mapping[str, str]:
        """Shards that the last poll could not read, with the reasons."""

    @property
    def date(self) -> str:
        """Service's own time in the last poll, as an HTTP date; empty if none was given."""

    def poll(self) -> list[Batch]:
        """Return the new batches, at most one per shard."""

    def commit(self, batch: Batch) -> None:
        """Record that a batch has been processed."""


@dataclass(slots=True)
class _Seen:
    """Changes read so far: each lane's first sequence and last entry, lanes touched by something other than an append, and
    whether the stream may have lost records."""

    lanes: dict[LaneId, tuple[int, Entry]] = field(default_factory=dict)
    suspects: set[LaneId] = field(default_factory=set)
    trimmed: bool = False
    count: int = 0

    def add(self, batch: Batch) -> None:
        self.count += len(batch.records)
        self.trimmed = self.trimmed or batch.trimmed
        events, refused = read_records(batch.records)
        for event in events:
            first, entry = self.lanes.get(event.lane, (event.sequence, Entry.of(event)))
            self.lanes[event.lane] = min(first, event.sequence), entry.join(Entry.of(event))
        self.suspects |= {each.lane for each in refused if each.lane is not None}


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """Options of a keeper: `nonce` identifies it among others, `wall` is in milliseconds since the epoch, `sleep` takes
    seconds, and `parallel` is the number of lanes read in parallel."""

    nonce: str
    wall: Callable[[], int] = wall_clock
    sleep: Callable[[float], None] = time.sleep
    parallel: int = 8


class Keeper:
    """Merkle summary of one region. `regions` are all that have lanes; `connect` opens the changes on first use."""

    def __init__(
        self,
        region: str,
        regions: Sequence[str],
        storage: LaneStorage,
        control: ControlStorage,
        connect: Callable[[], Changes],
        options: KeeperOptions,
    ) -> None:
        self.region = region
        self.damage: dict[LaneId, str] = {}
        """Defects of suspect lanes, as of the last refresh."""
        self.ticks = 0
        """Grows whenever something is read or stored: a caller that waits for a refresh sees that it makes progress."""
        self._regions = tuple(regions)
        self._storage = storage
        self._control = control
        self._connect = connect
        self._wall = options.wall
        self._nonce = options.nonce
        self._sleep = options.sleep
        self._stored_at: int | None = None
        self._parallel = options.parallel
        self._busy = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        """Restart from the stored summary: changes that were read and not stored are read again."""
        self.damage = {}
        self._changes: Changes | None = None
        self._sums: dict[int, Sum] | None = None
        self._stored_sums: dict[str, Value] = {}
        self._ranges: dict[int, Range] = {}
        self._stored: dict[int, dict[str, Value]] = {}
        self._touched: set[int] = set()
        self._batches: dict[tuple[str, str], Batch] = {}
        self._stale = False  # whether another keeper has stored what this one lacks

    @property
    def sums(self) -> Mapping[int, Sum]:
        """Summary of each range that has lanes, as of the last refresh."""
        return self._sums or {}

    def range(self, number: int) -> Range:
        """Return the lanes of a range, as of the last refresh."""
        if number not in self._ranges:
            # A range without a sum counts as empty and is not read: entries that storing it finds there are merged then.
            self._stored[number] = dict(self._control.get_all(_scope(number))) if number in self.sums else {}
            self._ranges[number] = Range.parse(self._stored[number])
            self.ticks += 1
        return self._ranges[number]

    def load(self, numbers: Iterable[int]) -> None:
        """Load these ranges into memory."""
        at_once(self.range, [number for number in numbers if number not in self._ranges], self._parallel)

    def refresh(self, tell: Callable[[int], None] = lambda _: None) -> None:
        """Bring the summary up to date with the table. `tell` is called with the number of changes read so far.

        Raises RegionUnavailable. After a crash or failure at any point, the next refresh reads again what was not stored.
        """
        with self._busy:
            try:
                self._refresh(tell)
            except BaseException:
                self._forget()
                raise

    def _refresh(self, tell: Callable[[int], None]) -> None:
        if self._stale:
            self._forget()
        if self._sums is None:
            self._stored_sums = {key: value for key, value in self._control.get_all(SCOPE) if key != _LOCK}
            self._sums = {int(n): Sum.parse(each) for value in self._stored_sums.values() for n, each in value.items()}
        if self._changes is None:
            self._changes = self._connect()
        seen = self._read(self._changes, tell)
        now = {lane: entry for lane, (_, entry) in seen.lanes.items()}
        if seen.trimmed:
            found = self._from_table({lane for lane, (first, _) in seen.lanes.items() if first == 1})
            now.update({lane: entry.join(now.get(lane, entry)) for lane, entry in found.items()})
        self._apply(now, seen.suspects, replace=seen.trimmed)
        self._look_at_suspects()
        self._store()

    def _read(self, changes: Changes, tell: Callable[[int], None]) -> _Seen:
        """Read all changes that existed when this began; later ones are not waited for. Raises RegionUnavailable when a
        shard cannot be read."""
        seen, started = _Seen(), self._wall() / 1000
        dated = False
        quiet = barren = 0
        while quiet < _QUIET_POLLS:
            failure: RegionUnavailable | None = None
            polled: list[Batch] = []
            try:
                polled = changes.poll()
            except RegionUnavailable as error:  # a shard serves two readers, and this is a third one
                failure = error
            if changes.date and not dated:  # this machine's clock may be wrong; the records have the service's times
                started, dated = parsedate_to_datetime(changes.date).timestamp(), True
            for batch in polled:
                seen.add(batch)
                self._keep(batch)
            if any(batch.closed or _is_before(batch, started) for batch in polled):
                quiet = barren = 0
            elif failure is not None or changes.unread:
                quiet, barren = 0, barren + 1
                self._have_patience(barren, changes, failure)
            else:
                quiet, barren = quiet + 1, 0
            if polled:
                self.ticks += 1
                tell(seen.count)
            if sum(len(batch.records) for batch in polled) < _FEW:
                self._sleep(0.05)
        return seen

    def _keep(self, batch: Batch) -> None:
        """Remember how far a shard was read, for the checkpoint once all of it is stored."""
        shard = batch.stream, batch.shard
        before = self._batches.get(shard, batch)
        position, trimmed = batch.position or before.position, batch.trimmed or before.trimmed
        self._batches[shard] = Batch(batch.shard, (), position, batch.closed, trimmed, batch.stream)

    def _have_patience(self, barren: int, changes: Changes, failure: RegionUnavailable | None) -> None:
        waits = failure is None and all(why == WAITING for why in changes.unread.values())
        if barren < (_WAITS if waits else _PATIENCE):
            self._sleep(0.05 if waits else 0.25 * barren)
            return
        shards = ", ".join(f"{shard} {why}" for shard, why in sorted(changes.unread.items())[:3])
        raise RegionUnavailable(
            f"the stream of {self.region}'s events table cannot be read to its end ({failure or shards}); try again later"
        )

    def _from_table(self, known: set[LaneId]) -> dict[LaneId, Entry]:
        """Read the last event of every lane that the index or the summary has and that is not `known`."""
        listed: set[LaneId] = set()
        for region in self._regions:
            for lane in self._storage.index(region):
                listed.add(lane)
                self.ticks += 1
        self.load(self.sums)
        kept = {lane for number in self.sums for lane in self.range(number).lanes}
        return dict(self._heads(sorted((listed | kept) - known, key=lambda lane: lane.key)))

    def _heads(self, lanes: Sequence[LaneId]) -> Iterable[tuple[LaneId, Entry]]:
        return zip(lanes, at_once(self._head, lanes, self._parallel), strict=True)

    def _head(self, lane: LaneId) -> Entry:
        """Return a lane's head in the table."""
        self.ticks += 1
        try:
            return Entry.at(head_of(self._storage, lane))
        except DamagedEvent:
            return Entry(0, "", 0, suspect=True)

    def _apply(self, now: Mapping[LaneId, Entry], suspects: set[LaneId], replace: bool) -> None:
        """Apply the lanes' current entries, on top of the earlier ones or in their place."""
        touched = by_range({*now, *suspects})
        self.load(touched)
        for number, lanes in touched.items():
            held = self.range(number).lanes
            for lane in lanes:
                before = held.get(lane, Entry(0, "", 0))
                entry = now.get(lane, before) if replace else now.get(lane, before).join(before)
                held[lane] = Entry(entry.sequence, entry.digest, entry.ms, entry.suspect or lane in suspects)
                if not held[lane].sequence and not held[lane].suspect:
                    del held[lane]
            self._sum(number)
        self._touched |= touched.keys()

    def _sum(self, number: int) -> None:
        assert self._sums is not None
        if self._ranges[number].lanes:
            self._sums[number] = self._ranges[number].sum
        else:
            self._sums.pop(number, None)

    def _look_at_suspects(self) -> None:
        """Read the lanes that something other than an append has touched. Intact ones take their current entry."""
        numbers = [number for number, each in self.sums.items() if each.suspects]
        self.load(numbers)
        lanes = [lane for number in numbers for lane, entry in self.range(number).lanes.items() if entry.suspect]
        self.damage = {}
        at_once(self._look_at, lanes, self._parallel)
        for number in numbers:
            self._sum(number)
        self._touched |= set(numbers)

    def _look_at(self, lane: LaneId) -> None:
        head, wrong = walk(self._storage, lane)
        self.ticks += 1
        held = self.range(range_of(lane)).lanes
        if wrong:
            self.damage[lane] = wrong
        elif head.sequence:
            held[lane] = Entry.at(head)
        else:
            del held[lane]

    def _store(self) -> None:
        """Store the changes, unless another keeper holds the lock or they were stored recently. If storing fails, this
        keeper still has them in memory; the checkpoint is then not stored either."""
        now = self._wall()
        recently = self._stored_at is not None and 0 <= now - self._stored_at < _STORE_MS
        if recently or not (self._touched or self._batches):
            return
        try:
            lock = self._take_lock()
            if lock is not None:
                try:
                    self._store_all()
                finally:
                    self._control.delete(SCOPE, {_LOCK: lock})
                self._stored_at = now
        except RegionUnavailable as error:
            log.warning("ledger.not_stored", region=self.region, error=str(error))
            self._stored_at = now  # no need to retry at every refresh

    def _store_all(self) -> None:
        """Store ranges, then their sums, then the checkpoint."""
        assert self._changes is not None
        stored = at_once(self._store_range, sorted(self._touched), self._parallel)
        if all(stored) and self._store_sums(self._touched):
            for batch in self._batches.values():
                self._changes.commit(batch)
            self._touched, self._batches = set(), {}
        else:
            self._stale = True

    def _take_lock(self) -> Value | None:
        """Return the lock, or None while another keeper has it. Everything is compared and set in any case: the lock only
        saves work, so one with an impossibly late expiry (from a wrong clock) is ignored."""
        now = self._wall()
        held = next((value for key, value in self._control.get_all(SCOPE) if key == _LOCK), None)
        if held is not None and now < held["until"] <= now + _LOCK_MS and held["by"] != self._nonce:
            return None
        lock = {"by": self._nonce, "until": now + _LOCK_MS}
        return lock if self._control.swap(SCOPE, _LOCK, held, lock) else None

    def _store_range(self, number: int) -> bool:
        """Store a range. Entries stored meanwhile by another keeper, or by one killed before it stored the sums, are merged
        first."""
        if self._swap_range(number):
            return True
        self._merge(number)
        return self._swap_range(number)

    def _swap_range(self, number: int) -> bool:
        stored = self._stored[number]
        for key, after in self._ranges[number].parts(stored).items():
            before = stored.get(key)
            if before != after:
                if not self._control.swap(_scope(number), key, before, after):
                    return False
                stored[key] = after
                self.ticks += 1
        return True

    def _merge(self, number: int) -> None:
        """Merge a range's stored entries into the ones in memory. Where they differ about a lane, the table decides."""
        self._stored[number] = dict(self._control.get_all(_scope(number)))
        held = self.range(number).lanes
        for lane, theirs in Range.parse(self._stored[number]).lanes.items():
            ours = held.get(lane)
            if ours != theirs:
                held[lane] = self._head(lane)
                if theirs.suspect or held[lane].suspect or (ours is not None and ours.suspect):
                    held[lane] = replace(held[lane], suspect=True)
                    self._look_at(lane)
                elif not held[lane].sequence:
                    del held[lane]
        self._sum(number)

    def _store_sums(self, touched: set[int]) -> bool:
        for rest in sorted({number % SUMS for number in touched}):
            key = _sum_key(rest)
            after = {f"{number}": self.sums[number].value for number in range(rest, RANGES, SUMS) if number in self.sums}
            before = self._stored_sums.get(key)
            if before != after:
                if not self._control.swap(SCOPE, key, before, after):
                    return False
                self._stored_sums[key] = after
        return True


def _is_before(batch: Batch, started: float) -> bool:
    """Return whether a batch is from before the reading began, as far as known. A shard is in order."""
    if not batch.records:
        return False
    created: Any = batch.records[-1].get("dynamodb", {}).get("ApproximateCreationDateTime")
    if created is None:
        return True
    at = created.timestamp() if isinstance(created, datetime) else float(created)
    return int(at) <= int(started) + _MARGIN_SECONDS


def _scope(number: int) -> str:
    return f"{SCOPE}#{number:03x}"


def _sum_key(number: int) -> str:
    return f"s{number % SUMS:x}"
