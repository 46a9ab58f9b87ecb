"""Summary keeper: brings a region's Merkle summary up to date with its events table.

Appends never write the summary, and nothing follows the table's stream for it: a shard bears two readers, the replicator
and the projector. The stored summary says where each lane ended, so two reads a lane show whether it still does. What
happened inside lanes, those readers have noted (`replicator/control/suspects.py`). docs/decisions/0038.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain

import structlog

from replicator.control.control_storage import ControlStorage, Value
from replicator.control.suspects import Notes, Suspects
from replicator.domain.errors import DamagedEvent, RegionUnavailable
from replicator.domain.event import Event
from replicator.domain.names import MAX_SEQUENCE, LaneId
from replicator.eventstore.storage import LaneStorage, Position
from replicator.ops.audit.lane_walk import head_of, walk
from replicator.ops.audit.merkle_summary import Entry, Range, Sum, by_range, range_of, short
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
_LEISURE, _LEISURE_SECONDS = 10, 60.0
"""Times the last refresh's duration, and the maximum of seconds, after which a keeper is rested."""


@dataclass(frozen=True, slots=True)
class KeeperOptions:
    """Options of a keeper: `wall` is in milliseconds since the epoch, `monotonic` in seconds, `parallel` is the number of
    reads in parallel, and `heads` that of heads, of which each is a request of its own."""

    wall: Callable[[], int] = wall_clock
    monotonic: Callable[[], float] = time.monotonic
    parallel: int = 8
    heads: int = 32


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
        self._parallel, self._heads = options.parallel, options.heads
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
        """Whether ten times as long has passed as the last refresh took, or a minute: who looks all the time reads no more
        often."""
        return self._monotonic() - self._ended >= min(_LEISURE * self._seconds, _LEISURE_SECONDS)

    def refresh(self, tell: Callable[[int], None] = lambda _: None, consistent: bool = True) -> None:
        """Bring the summary up to date with the table. `tell` is called with numbers of lanes that were read. Eventually
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
        notes = self._suspects.notes()  # first: what another process clears after this, it has stored before
        if table != self._table:
            self._forget()
            self._load(table)
        self.read_at = now
        lanes = [(lane, entry) for held in self._ranges.values() for lane, entry in held.lanes.items()]
        moved = self._moved(lanes, consistent, tell)
        new = [lane for lane in self._listed() if lane not in self.range(range_of(lane)).lanes]
        self._apply([*moved, *new], notes)
        whole = self._look_at_suspects(notes)
        self._store(table, whole)

    def _load(self, table: str) -> None:
        """Load what is stored of this table. A summary of another one, before a restore, says nothing of this one."""
        scopes = [_scope(number) for number in range(_SCOPES)]
        for stored in at_once(lambda scope: dict(self._control.get_all(scope)), scopes, self._parallel):
            self.ticks += 1
            for key, value in stored.items():
                with suppress(*_UNREADABLE):  # its lanes are read from the table
                    if value["table"] == table:
                        number, _, part = key.partition(".")
                        Range.parse({part: value["lanes"]})
                        self._stored.setdefault(int(number, 16), {})[part] = value["lanes"]
        self._ranges = {number: Range.parse(parts) for number, parts in self._stored.items()}
        self._sums = {number: held.sum for number, held in self._ranges.items() if held.lanes}
        self._table = table

    def _moved(self, lanes: Sequence[tuple[LaneId, Entry]], consistent: bool, tell: Callable[[int], None]) -> list[LaneId]:
        """Return those lanes that do not end where the summary has it: with another event there, or one behind it. Lanes
        have no gaps."""

        def ask(start: int) -> list[LaneId]:
            asked = lanes[start : start + _LANES_AT_ONCE]
            ends = [(lane, entry.sequence + more) for lane, entry in asked for more in (0, 1)]
            try:
                there = self._storage.get([end for end in ends if 1 <= end[1] <= MAX_SEQUENCE], consistent=consistent)
                moved = [lane for lane, entry in asked if not _ends_so(lane, entry, there)]
            except DamagedEvent:  # of any of them: each is read alone
                moved = [lane for lane, _ in asked]
            self.ticks += 1
            tell(start + len(asked))
            return moved

        return list(chain(*at_once(ask, range(0, len(lanes), _LANES_AT_ONCE), self._parallel)))

    def _listed(self) -> list[LaneId]:
        def listed(region: str) -> list[LaneId]:
            found = []
            for lane in self._storage.index(region):
                found.append(lane)
                self.ticks += 1
            return found

        return list(chain(*at_once(listed, self._regions, self._parallel)))

    def _apply(self, read: Sequence[LaneId], notes: Iterable[LaneId]) -> None:
        """Read these lanes' heads, and mark the suspect ones."""
        for lane, entry in zip(read, at_once(self._head, read, self._heads), strict=True):
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

    def _look_at_suspects(self, notes: Notes) -> Notes:
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
        head, wrong = walk(self._storage, lane, self._tick)
        return Entry.at(head), wrong

    def _tick(self) -> None:
        self.ticks += 1

    def _store(self, table: str, whole: Notes) -> None:
        """Clear the notes of lanes that are whole, and store the ranges that have changed, unless that was done recently.
        What is stored only saves reads: it may be that of a keeper that began earlier."""
        now = self._wall()
        recently = self._stored_at is not None and 0 <= now - self._stored_at < _STORE_MS
        try:
            if not recently:
                self._stored_at = now  # if it fails, there is no need to retry at every refresh
                at_once(lambda number: self._store_range(number, table), sorted(self._touched), self._parallel)
            self._suspects.clear(whole)
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
_UNREADABLE = KeyError, TypeError, ValueError, AttributeError
"""Errors of parsing a stored item that no keeper has written."""


def _ends_so(lane: LaneId, entry: Entry, there: Mapping[Position, Event]) -> bool:
    """Return whether a lane ends with this entry, by the events that are there."""
    last = there.get((lane, entry.sequence))
    if (lane, entry.sequence + 1) in there:
        return False
    return last is not None and short(last.digest) == entry.digest


def _scope(number: int) -> str:
    return f"{_SCOPE}#{number:x}"
