"""Summary keeper: brings a region's Merkle summary up to date with its events table.

Appends never write the summary, and nothing follows the table's stream for it: a shard bears two readers, the replicator and
the projector. The stored summary says how far each lane was, so one read a lane shows whether it has gone on. What happened
inside lanes, the replicator has noted (`replicator/control/suspects.py`). docs/decisions/0038.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import structlog

from replicator.control.control_storage import ControlStorage, Value
from replicator.control.suspects import Suspects
from replicator.domain.errors import DamagedEvent, RegionUnavailable
from replicator.domain.names import LaneId
from replicator.eventstore.storage import LaneStorage
from replicator.ops.audit.lane_walk import head_of, walk
from replicator.ops.audit.merkle_summary import Entry, Range, Sum, by_range, range_of
from replicator.ops.audit.threads import at_once
from replicator.runtime.wall_clock import wall_clock

log = structlog.get_logger()

_SCOPE = "heads"
_SCOPES = 16
"""Number of partition keys that the ranges are stored under: reading a summary takes so many queries, or one a MB."""
_LANES_AT_ONCE = 500
"""Number of lanes that one read asks about."""
_STORE_MS = 60_000
"""Milliseconds between two stores of a process that refreshes continuously."""
_FORGET_MS = 3_600_000
"""Milliseconds after which a summary in memory is read anew: notes of suspect lanes stay for a day only."""
_LEISURE = 10
"""Times the last refresh's duration after which a keeper is rested."""


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """Options of a keeper: `wall` is in milliseconds since the epoch, `monotonic` in seconds, and `parallel` is the number
    of reads in parallel."""

    wall: Callable[[], int] = wall_clock
    monotonic: Callable[[], float] = time.monotonic
    parallel: int = 8


class Keeper:
    """Merkle summary of one region. `regions` are all that have lanes."""

    def __init__(
        self, region: str, regions: Sequence[str], storage: LaneStorage, control: ControlStorage, options: KeeperOptions
    ) -> None:
        self.region = region
        self.damage: dict[LaneId, str] = {}
        """Defects of lanes, as of the last refresh."""
        self.ticks = 0
        """Grows whenever something is read or stored: a caller that waits for a refresh sees that it makes progress."""
        self.read_at = 0
        """When the last refresh began, in milliseconds since the epoch (0: there was none)."""
        self._regions = tuple(regions)
        self._storage = storage
        self._control = control
        self._suspects = Suspects(control)
        self._wall = options.wall
        self._monotonic = options.monotonic
        self._parallel = options.parallel
        self._busy = threading.Lock()
        self._stored_at: int | None = None
        self._seconds = self._ended = 0.0
        self._forget()

    def _forget(self) -> None:
        """Restart from the stored summary."""
        self.damage = {}
        self.read_at = 0
        self._table: str | None = None
        self._ranges: dict[int, Range] = {}
        self._sums: dict[int, Sum] = {}
        self._stored: dict[int, dict[str, Value]] = {}
        self._touched: set[int] = set()

    @property
    def sums(self) -> Mapping[int, Sum]:
        """Summary of each range that has lanes, as of the last refresh."""
        return self._sums

    def range(self, number: int) -> Range:
        """Return the lanes of a range, as of the last refresh."""
        return self._ranges.setdefault(number, Range())

    @property
    def rested(self) -> bool:
        """Whether ten times as long has passed as the last refresh took: who looks all the time reads no more often."""
        return self._monotonic() - self._ended >= _LEISURE * self._seconds

    def refresh(self, tell: Callable[[int], None] = lambda _: None, consistent: bool = True) -> None:
        """Bring the summary up to date with the table. `tell` is called with the number of lanes read so far. Eventually
        consistent reads cost half, and may leave out what was written within the last second.

        Raises RegionUnavailable. After a crash or failure at any point, the next refresh reads again what was not stored.
        """
        with self._busy:
            began = self._monotonic()
            try:
                self._refresh(tell, consistent)
            except BaseException:
                self._forget()
                raise
            self._ended = self._monotonic()
            self._seconds = self._ended - began

    def _refresh(self, tell: Callable[[int], None], consistent: bool) -> None:
        now, table = self._wall(), self._storage.identity()
        if table != self._table or not 0 <= now - self.read_at <= _FORGET_MS:
            self._forget()
            self._load(table)
        self.read_at = now
        notes = self._suspects.notes()
        lanes = [lane for held in self._ranges.values() for lane in held.lanes]
        further = self._gone_on(lanes, consistent, tell)
        new = [lane for lane in self._listed() if lane not in self.range(range_of(lane)).lanes]
        tell(len(lanes) + len(new))
        self._apply(chain(further, new), notes)
        sound = self._look_at_suspects(notes)
        self._store(table, sound)

    def _load(self, table: str) -> None:
        """Load what is stored of this table. A summary of another one, before a restore, says nothing of this one."""
        scopes = [_scope(number) for number in range(_SCOPES)]
        for stored in at_once(lambda scope: dict(self._control.get_all(scope)), scopes, self._parallel):
            self.ticks += 1
            for key, value in stored.items():
                if value["table"] == table:
                    number, _, part = key.partition(".")
                    self._stored.setdefault(int(number, 16), {})[part] = value["lanes"]
        self._ranges = {number: Range.parse(parts) for number, parts in self._stored.items()}
        self._sums = {number: held.sum for number, held in self._ranges.items() if held.lanes}
        self._table = table

    def _gone_on(self, lanes: Sequence[LaneId], consistent: bool, tell: Callable[[int], None]) -> list[LaneId]:
        """Return those lanes that have an event behind the one that the summary has. Lanes have no gaps: a lane without that
        event ends where it did."""

        def ask(start: int) -> list[LaneId]:
            asked = lanes[start : start + _LANES_AT_ONCE]
            after = {lane: self.range(range_of(lane)).lanes[lane].sequence + 1 for lane in asked}
            try:
                found = [lane for lane, _ in self._storage.get(list(after.items()), consistent=consistent)]
            except DamagedEvent:  # of any of them: each is read alone
                found = list(asked)
            self.ticks += 1
            tell(start + len(asked))
            return found

        return list(chain(*at_once(ask, range(0, len(lanes), _LANES_AT_ONCE), self._parallel)))

    def _listed(self) -> list[LaneId]:
        def listed(region: str) -> list[LaneId]:
            found = []
            for lane in self._storage.index(region):
                found.append(lane)
                self.ticks += 1
            return found

        return list(chain(*at_once(listed, self._regions, self._parallel)))

    def _apply(self, lanes: Iterable[LaneId], notes: Iterable[LaneId]) -> None:
        """Read these lanes' heads, and mark the suspect ones."""
        read = list(lanes)
        for lane, entry in zip(read, at_once(self._head, read, self._parallel), strict=True):
            self._set(lane, entry)
        for lane in notes:
            self._set(lane, replace(self.range(range_of(lane)).lanes.get(lane, _NOTHING), suspect=True))
        self._sum(by_range({*read, *notes}))

    def _head(self, lane: LaneId) -> Entry:
        """Return a lane's head in the table: suspect, and where it was, if that event is damaged."""
        self.ticks += 1
        try:
            return Entry.at(head_of(self._storage, lane))
        except DamagedEvent:
            return replace(self.range(range_of(lane)).lanes.get(lane, _NOTHING), suspect=True)

    def _set(self, lane: LaneId, entry: Entry) -> None:
        held = self.range(range_of(lane)).lanes
        if entry.sequence or entry.suspect:
            held[lane] = entry
        else:
            held.pop(lane, None)

    def _sum(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._touched.add(number)
            if self.range(number).lanes:
                self._sums[number] = self._ranges[number].sum
            else:
                self._sums.pop(number, None)

    def _look_at_suspects(self, notes: Mapping[LaneId, Value]) -> dict[LaneId, Value]:
        """Read the suspect lanes from their first events. Intact ones take their current entry. Returns their notes."""
        lanes = [lane for held in self._ranges.values() for lane, entry in held.lanes.items() if entry.suspect]
        walked = dict(zip(lanes, at_once(self._walk, lanes, self._parallel), strict=True))
        self.damage = {lane: wrong for lane, (_, wrong) in walked.items() if wrong}
        for lane, (entry, wrong) in walked.items():
            if not wrong:
                self._set(lane, entry)
        self._sum(by_range(lanes))
        return {lane: note for lane, note in notes.items() if lane not in self.damage}

    def _walk(self, lane: LaneId) -> tuple[Entry, str]:
        head, wrong = walk(self._storage, lane)
        self.ticks += 1
        return Entry.at(head), wrong

    def _store(self, table: str, sound: Mapping[LaneId, Value]) -> None:
        """Store the ranges that have changed, unless that was done recently, then clear the notes of sound lanes. What is
        stored only saves reads: it may be that of a keeper that began earlier."""
        now = self._wall()
        if self._stored_at is not None and 0 <= now - self._stored_at < _STORE_MS:
            return
        self._stored_at = now  # if it fails, there is no need to retry at every refresh
        try:
            at_once(lambda number: self._store_range(number, table), sorted(self._touched), self._parallel)
            self._suspects.clear(sound, now)
        except RegionUnavailable as error:
            log.warning("ledger.not_stored", region=self.region, error=str(error))

    def _store_range(self, number: int, table: str) -> None:
        stored = self._stored.setdefault(number, {})
        changed = {key: part for key, part in self.range(number).parts(stored).items() if part != stored.get(key)}
        for key, part in changed.items():  # each is as large as a request may be
            self._control.put(_scope(number % _SCOPES), {f"{number:03x}.{key}": {"table": table, "lanes": part}})
            stored[key] = part
        self._touched.discard(number)
        self.ticks += 1


_NOTHING = Entry(0, "", 0)


def _scope(number: int) -> str:
    return f"{_SCOPE}#{number:x}"
