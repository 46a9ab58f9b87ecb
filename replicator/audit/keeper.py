"""Keeps a region's ledger: follows what is done to its events table, and remembers how far.

Nothing is written while events are: a ledger costs something only when it is brought up to date, and then as much as has
changed since. What the table's stream says no more (24 hours) is read from the table: one event a lane.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from replicator.audit.ledger import RANGES, SUMS, Entry, Range, Sum, by_range, range_of
from replicator.audit.walking import head_of, walk
from replicator.control import ControlStorage, Value
from replicator.domain.names import LaneId
from replicator.errors import DamagedEvent, RegionUnavailable
from replicator.records import read_records
from replicator.shards import Batch
from replicator.storage import LaneStorage

READER = "ledger"
SCOPE = "ledger"
_LOCK = "lock"
_LOCK_MS = 60_000
_QUIET_POLLS = 3
"""A stream is read to its end when it gives (almost) nothing so many times in a row: DynamoDB gives empty pages, too."""
_FEW = 100
_PATIENCE = 8
_STORE_MS = 60_000
"""A process that looks all the time stores what it sees once a minute: the next one reads the rest from the stream."""


class Changes(Protocol):
    """What was done to an events table: a ShardReader of its stream."""

    def poll(self) -> list[Batch]:
        """What is new, at most one batch a shard."""

    def commit(self, batch: Batch) -> None:
        """Remember that a batch has been dealt with."""


class Keeper:
    """The ledger of one region. `regions` are all that have lanes; `connect` opens the changes when they are first needed;
    `wall` is in milliseconds since the epoch, `nonce` tells this keeper from others."""

    def __init__(
        self,
        region: str,
        regions: Sequence[str],
        storage: LaneStorage,
        control: ControlStorage,
        connect: Callable[[], Changes],
        wall: Callable[[], int],
        nonce: str,
        sleep: Callable[[float], None] = time.sleep,
        parallel: int = 8,
    ) -> None:
        self.region = region
        self.damage: dict[LaneId, str] = {}
        """What is wrong with lanes that are suspect, as of the last refresh."""
        self._regions = tuple(regions)
        self._storage = storage
        self._control = control
        self._connect = connect
        self._wall = wall
        self._nonce = nonce
        self._sleep = sleep
        self._stored_at: int | None = None
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix=f"ledger-{region}")
        self._changes: Changes | None = None
        self._sums: dict[int, Sum] | None = None
        self._stored_sums: dict[str, Value] = {}
        self._ranges: dict[int, Range] = {}
        self._stored: dict[int, Value | None] = {}
        self._touched: set[int] = set()
        self._batches: dict[str, Batch] = {}
        self._stale = False
        self._doubtful = False  # whether ranges of which the sums know nothing may be stored all the same

    @property
    def sums(self) -> Mapping[int, Sum]:
        """Each range that has lanes, as of the last refresh."""
        return self._sums or {}

    def range(self, number: int) -> Range:
        """The lanes of a range, as of the last refresh."""
        if number not in self._ranges:
            value: Value | None = None
            if number in self.sums or self._doubtful:  # else there is nothing to read
                value = next((value for _, value in self._control.get_all(_scope(number))), None)
            self._stored[number] = value
            self._ranges[number] = Range.parse(value or {})
        return self._ranges[number]

    def load(self, numbers: Iterable[int]) -> None:
        """Have these ranges at hand."""
        list(self._pool.map(self.range, [number for number in numbers if number not in self._ranges]))

    def refresh(self, tell: Callable[[int], None] = lambda _: None) -> None:
        """Bring the ledger up to date with the table. `tell` is called with how many changes have been read so far.

        Raises RegionUnavailable. Killed at any point, the next refresh reads again what this one had not yet stored.
        """
        self._load_sums()
        if self._changes is None:
            self._changes = self._connect()
        seen, suspects, trimmed = self._read(self._changes, tell)
        now = {lane: entry for lane, (_, entry) in seen.items()}
        if trimmed:
            found = self._from_table({lane for lane, (first, _) in seen.items() if first == 1})
            now.update({lane: entry.join(now.get(lane, entry)) for lane, entry in found.items()})
        self._apply(now, suspects, replace=trimmed)
        self._look_at_suspects()
        self._store()

    def _load_sums(self) -> None:
        if self._stale:  # another keeper stored what this one does not have
            self._changes, self._sums, self._stale, self._doubtful = None, None, False, True
            self._ranges, self._stored, self._touched, self._batches = {}, {}, set(), {}
        if self._sums is not None:
            return
        self._stored_sums = {key: value for key, value in self._control.get_all(SCOPE) if key != _LOCK}
        self._sums = {int(n): Sum.parse(each) for value in self._stored_sums.values() for n, each in value.items()}

    def _read(
        self, changes: Changes, tell: Callable[[int], None]
    ) -> tuple[dict[LaneId, tuple[int, Entry]], set[LaneId], bool]:
        """Everything that is new: each lane's first sequence and last entry, lanes that something else than an append has
        touched, and whether the stream may have lost records."""
        batches = self._batches
        seen: dict[LaneId, tuple[int, Entry]] = {}
        suspects: set[LaneId] = set()
        trimmed, quiet, count = False, 0, 0
        failures = 0
        while quiet < _QUIET_POLLS:
            try:
                polled = changes.poll()
            except RegionUnavailable:  # two readers are enough for a shard, and this is a third one: they come first
                failures += 1
                if failures == _PATIENCE:
                    raise
                self._sleep(0.25 * failures)
                continue
            failures = 0
            few = 0
            for batch in polled:
                before = batches.get(batch.shard)
                trimmed = trimmed or batch.trimmed
                batches[batch.shard] = Batch(
                    batch.shard, (), batch.position or (before.position if before else None), batch.closed, trimmed
                )
                events, refused = read_records(batch.records)
                few += len(batch.records)
                for event in events:
                    first, entry = seen.get(event.lane, (event.sequence, Entry.of(event)))
                    seen[event.lane] = min(first, event.sequence), entry.join(Entry.of(event))
                suspects |= {each.lane for each in refused if each.lane is not None}
            count += few
            if few:
                tell(count)
            quiet = quiet + 1 if few < _FEW else 0
            if quiet:
                self._sleep(0.05)
        return seen, suspects, trimmed

    def _from_table(self, known: set[LaneId]) -> dict[LaneId, Entry]:
        """Every lane that the index lists, or that the ledger has, and that is not `known`, by its last event."""
        listed = {lane for region in self._regions for lane in self._storage.index(region)}
        self.load(self.sums)
        kept = {lane for number in self.sums for lane in self.range(number).lanes}
        return dict(self._heads(sorted((listed | kept) - known, key=lambda lane: lane.key)))

    def _heads(self, lanes: Sequence[LaneId]) -> Iterable[tuple[LaneId, Entry]]:
        def head(lane: LaneId) -> Entry:
            try:
                return Entry.at(head_of(self._storage, lane))
            except DamagedEvent:
                return Entry(0, "", 0, suspect=True)

        return zip(lanes, self._pool.map(head, lanes), strict=True)

    def _apply(self, now: Mapping[LaneId, Entry], suspects: set[LaneId], replace: bool) -> None:
        """Put in what the lanes are now, on top of what they were or in its place."""
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
        """Read the lanes that something else than an append has touched. Sound ones are what they are now."""
        numbers = [number for number, each in self.sums.items() if each.suspects]
        self.load(numbers)
        lanes = [lane for number in numbers for lane, entry in self.range(number).lanes.items() if entry.suspect]
        self.damage = {}
        for lane, (head, wrong) in zip(lanes, self._pool.map(lambda lane: walk(self._storage, lane), lanes), strict=True):
            held = self.range(range_of(lane)).lanes
            if wrong:
                self.damage[lane] = wrong
            elif head.sequence:
                held[lane] = Entry.at(head)
            else:
                del held[lane]
        for number in numbers:
            self._sum(number)
        self._touched |= set(numbers)

    def _store(self) -> None:
        """Ranges, then their sums, then how far the changes were read. One keeper at a time stores; what another one cannot
        store it has all the same."""
        assert self._changes is not None
        now = self._wall()
        if (not self._touched and not self._batches) or (self._stored_at is not None and now - self._stored_at < _STORE_MS):
            return
        lock = self._take_lock()
        if lock is None:
            return
        try:
            stored = list(self._pool.map(self._store_range, sorted(self._touched)))
            if all(stored) and self._store_sums(self._touched):
                for batch in self._batches.values():
                    self._changes.commit(batch)
                self._touched, self._batches, self._stored_at = set(), {}, now
            else:
                self._stale = True
        finally:
            self._control.delete(SCOPE, {_LOCK: lock})

    def _take_lock(self) -> Value | None:
        now = self._wall()
        held = next((value for key, value in self._control.get_all(SCOPE) if key == _LOCK), None)
        if held is not None and held["until"] > now and held["by"] != self._nonce:
            return None
        lock = {"by": self._nonce, "until": now + _LOCK_MS}
        return lock if self._control.swap(SCOPE, _LOCK, held, lock) else None

    def _store_range(self, number: int) -> bool:
        before, after = self._stored.get(number), self._ranges[number].value
        if before == after:
            return True
        if not self._control.swap(_scope(number), "lanes", before, after):
            return False
        self._stored[number] = after
        return True

    def _store_sums(self, touched: set[int]) -> bool:
        for key in sorted({_sum_key(number) for number in touched}):
            numbers = [number for number in range(RANGES) if _sum_key(number) == key]
            after = {f"{number}": self.sums[number].value for number in numbers if number in self.sums}
            before = self._stored_sums.get(key)
            if before != after:
                if not self._control.swap(SCOPE, key, before, after):
                    return False
                self._stored_sums[key] = after
        return True


def _scope(number: int) -> str:
    return f"{SCOPE}#{number:03x}"


def _sum_key(number: int) -> str:
    return f"s{number % SUMS:x}"
