"""Leases: several workers of one reader share the shards of its stream, and the work that is done once a region.

The rules are those of Amazon's Kinesis Client Library. A worker writes a heartbeat. Who does not see it change for the time
of a lease, by its own monotonic clock, takes over what that worker held: clocks of two machines are never compared. A lease
and its checkpoint are one record, and each write has the record as it was read as its condition: a worker that lost a lease
cannot move the checkpoint any more. A child's lease is free once its parents' checkpoints are closed. Nothing is stolen from
a worker that lives: one that holds too much finishes what it has read of a shard, and releases it. docs/decisions/0036.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from zlib import crc32

import structlog

from replicator.control.checkpoints import WHOLE, scope_of
from replicator.control.control_storage import ControlStorage, Value
from replicator.domain.errors import RegionUnavailable

log = structlog.get_logger()

WORKER, CHORE, COMPARED = "@worker ", "@chore ", "@compared"
"""Keys beside those of shards, or how they begin: a heartbeat, work that is done once a region, the comparison of lanes."""
_ABSENT_SECONDS = 60.0
"""A shard is gone from its stream if a description this much later than its record does not show it. Another worker may know
a new shard first."""
_END_SECONDS = 2.0
_STALE_SECONDS = 30.0
"""A worker whose description of the stream is older gets no more shards: it cannot know the new ones."""
_SAME_LOSS_SECONDS = 300.0
"""Records that were lost before a worker came to a shard were lost before a comparison that began so shortly before."""


@dataclass(slots=True)
class Held:
    """A lease held by this worker: its record, and a number that no other lease of this worker had before."""

    value: Value
    term: int


@dataclass(slots=True)
class _Worker:
    """Another worker: its last heartbeat, the last time it divided the shards, and when each was first seen."""

    beat: int
    look: int
    beat_at: float
    look_at: float


@dataclass(slots=True)
class Leases:
    """Leases of the worker `owner` in the stream that `reader` reads. A lease lasts `seconds` behind its owner's heartbeat.
    `gone` says of an owner that it has ended for sure; others are waited for."""

    control: ControlStorage
    reader: str
    owner: str
    seconds: float = 10.0
    monotonic: Callable[[], float] = time.monotonic
    gone: Callable[[str], bool] = lambda owner: False
    shards: dict[str, Held] = field(default_factory=dict)
    """Leases of shards that this worker holds, unless it has lapsed: see `valid`."""
    leaving: set[str] = field(default_factory=set)
    """Shards to release once what was read of them is committed."""
    records: dict[str, Value] = field(default_factory=dict)
    """All records of the reader at the last look: checkpoints, leases, heartbeats."""
    vanished: set[str] = field(default_factory=set)
    """Shards with a checkpoint that is not closed, and that are gone from the stream."""
    _chores: set[str] = field(default_factory=set)
    _doing: set[str] = field(default_factory=set)
    _workers: dict[str, _Worker] = field(default_factory=dict)
    _absent: dict[str, float] = field(default_factory=dict)
    _terms: int = 0
    _beats: int = 0
    _looks: int = 0
    _beaten: float = -math.inf
    _lapses: int = 0
    _verified: int = -1
    _looked: float = -math.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)

    # -- asked by the reader and by whoever does a chore ---------------------------------------------------------------

    @property
    def valid(self) -> bool:
        """Whether what this worker holds cannot have been taken by others yet."""
        return self._verified == self._lapses and self.monotonic() - self._beaten < self.seconds

    @property
    def due(self) -> bool:
        """Whether it is time to look again: three times in the duration of a lease."""
        return self.monotonic() - self._looked >= self.seconds / 3

    def soon(self) -> None:
        """Let the next look be due at once."""
        self._looked = -math.inf

    def chore(self, name: str) -> Callable[[], bool]:
        """Add work that only one worker at a time does. Returns a function that says whether this one does it now."""
        self._chores.add(name)
        return lambda: name in self._doing and self.valid

    # -- what is written -----------------------------------------------------------------------------------------------

    @contextmanager
    def session(self) -> Iterator[None]:
        """Keep the leases by a thread of its own while the block lasts, however long the work in it takes, and release all
        of them at its end."""
        end = threading.Event()
        thread = threading.Thread(target=self._keep, args=(end,), name=f"leases-{self.reader}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            end.set()
            thread.join(_END_SECONDS)
            self.close()

    def _keep(self, end: threading.Event) -> None:
        while not end.wait(self.seconds / 10):
            if self.monotonic() - self._beaten < self.seconds / 3:
                continue
            try:
                self.beat()
            except RegionUnavailable as error:
                log.warning("leases.no_heartbeat", reader=self.reader, error=str(error))
            except Exception:  # unforeseen: ending the thread would end the leases
                log.exception("leases.no_heartbeat")

    def beat(self) -> None:
        """Write a heartbeat. Raises RegionUnavailable."""
        with self._lock:
            began = self.monotonic()
            self._beats += 1  # also when there is no answer: others may have seen it, and the next one must differ
            self.control.put(scope_of(self.reader), {WORKER + self.owner: self._heartbeat(self._beats)})
            if self.monotonic() - self._beaten >= self.seconds:  # others may have taken what it held
                self._lapses += 1
            self._beaten = began

    def _heartbeat(self, beats: int) -> Value:
        return {"beat": beats, "look": self._looks}

    def look(
        self, stream: str, parents: Mapping[str, Collection[str]], described: float, floors: Mapping[str, float]
    ) -> None:
        """Read the leases, take free ones and decide which to release, so that all workers hold about as many.

        `parents` are the stream's shards with their parents, as it was `described` at that time by the monotonic clock.
        `floors` are low watermarks for shards that have no record yet. Raises RegionUnavailable.
        """
        if self.monotonic() - described < _STALE_SECONDS:
            self._looks += 1
        self.beat()
        lapses, began = self._lapses, self.monotonic()
        records = dict(self.control.get_all(scope_of(self.reader)))
        self.records = records
        alive, active = self._watch(records, began)
        self._find_absent(records, stream, parents, described)
        self._check(records, stream)
        self._verified = lapses
        self._looked = began
        closed = {name for name, value in records.items() if value.get("stream") == stream and value["closed"]}
        ready = [
            name
            for name in {**parents, **dict.fromkeys(self.vanished)}
            if name not in closed and all(p in closed or p not in parents for p in parents.get(name, ()))
        ]
        take, leave, spare = self._divide(ready, records, alive, active)
        for name in take:
            self._take(name, stream, records.get(name), floors.get(name, -math.inf))
        for name in leave:
            self._set_free(name, records)
        held = sorted(self.shards.keys() & set(ready), key=lambda name: (name not in self.leaving, name))
        self.leaving = set(held[:spare])
        self._share_chores(records, alive, active)

    def save(self, shard: str, position: str | None, closed: bool) -> bool:
        """Write the checkpoint of a shard. Returns False when this worker does not hold its lease any more. Raises
        RegionUnavailable."""
        held = self.shards.get(shard)
        if held is None:
            return False
        after = {"stream": held.value["stream"], "position": position, "closed": closed}
        if not closed:
            after["owner"] = self.owner
        if not self._replace(shard, held, after):
            return False
        if closed:
            self._drop(shard)
            self.soon()  # its children are free
        return True

    def release(self, shard: str) -> None:
        """Give up a lease. Raises RegionUnavailable."""
        held = self.shards.get(shard)
        if held is not None:
            self._replace(shard, held, _free(held.value))
            self._drop(shard)

    def release_all(self) -> None:
        """Give up the leases of all shards, as far as the region answers; others are free when this worker has ended."""
        try:
            for shard in list(self.shards):
                self.release(shard)
        except RegionUnavailable as error:
            log.warning("leases.not_released", reader=self.reader, shards=len(self.shards), error=str(error))
        self.shards, self.leaving = {}, set()

    def close(self) -> None:
        """Give up everything: others go on at once."""
        self.release_all()
        scope, records = scope_of(self.reader), {WORKER + self.owner: self._heartbeat(self._beats)}
        try:
            for name in self._doing:
                self.control.swap(scope, CHORE + name, {"owner": self.owner}, {})
            self.control.delete(scope, records)
        except RegionUnavailable as error:
            log.warning("leases.not_released", reader=self.reader, error=str(error))
        self._doing = set()

    # -- comparisons of all lanes --------------------------------------------------------------------------------------

    def compare(self, stream: str, now: float, fresh: bool, claim: bool = True) -> bool | None:
        """Ask whether to compare all lanes, as a shard has lost records: True when this worker is to do it, and with `claim`
        must; None while another one does it, False when it was done. `now` is the service's time, in seconds since the
        epoch; `fresh` says that nothing was read of the shard since its lease was taken. Raises RegionUnavailable."""
        found = self.records.get(COMPARED, {})
        known = found if found.get("of") == stream else {}
        if known.get("done"):
            if fresh and 0 <= now - known.get("at", -math.inf) < _SAME_LOSS_SECONDS:
                return False
        elif known.get("owner") == self.owner:
            return True
        elif known and self._lives(known["owner"]):
            return None
        if not claim:
            return True
        at = {"at": int(now)} if math.isfinite(now) else {}
        mine = {"of": stream, "owner": self.owner, "done": False, **at}
        if not self.control.swap(scope_of(self.reader), COMPARED, found or None, mine):
            self.soon()
            return None
        self.records[COMPARED] = mine
        return True

    def compared(self, stream: str) -> None:
        """Record that the comparison is done. Raises RegionUnavailable."""
        found = self.records.get(COMPARED, {})
        if (found.get("of"), found.get("owner"), found.get("done")) == (stream, self.owner, False):
            self.control.swap(scope_of(self.reader), COMPARED, found, {**found, "done": True})
            self.records[COMPARED] = {**found, "done": True}

    def floor(self, stream: str, shard: str) -> float:
        """Return the low watermark of a shard without a position: minus infinity if nothing is known of it."""
        value, compared, whole = (self.records.get(key, {}) for key in (shard, COMPARED, WHOLE))
        of_shard = value.get("floor", -math.inf) if value.get("stream") == stream else -math.inf
        if value.get("stream") != stream and whole.get("stream") == stream:
            of_shard = whole.get("mark", -math.inf)
        of_lanes = compared.get("at", -math.inf) if compared.get("of") == stream and compared.get("done") else -math.inf
        return float(max(of_shard, of_lanes))

    # -- inside --------------------------------------------------------------------------------------------------------

    def _watch(self, records: Mapping[str, Value], began: float) -> tuple[set[str], set[str]]:
        """Return the workers that live, and those of them that look after their shards now: only these can take more. A
        worker that is busy with one batch for long keeps what it has."""
        now = self.monotonic()  # after the read: what it shows may be as young as that
        found = {key.removeprefix(WORKER): value for key, value in records.items() if key.startswith(WORKER)}
        for name, value in found.items():
            seen = self._workers.setdefault(name, _Worker(value["beat"], value["look"], now, now))
            if seen.beat != value["beat"]:
                seen.beat, seen.beat_at = value["beat"], now
            if seen.look != value["look"]:
                seen.look, seen.look_at = value["look"], now
        self._workers = {name: seen for name, seen in self._workers.items() if name in found}
        alive = {name for name, seen in self._workers.items() if began - seen.beat_at < self.seconds and not self.gone(name)}
        owners = {value.get("owner") for value in records.values() if not value.get("done")}
        if dead := {WORKER + name: found[name] for name in found.keys() - alive - owners}:
            self.control.delete(scope_of(self.reader), dead)
        active = {name for name in alive if began - self._workers[name].look_at < self.seconds}
        return alive | {self.owner}, active | {self.owner}

    def _lives(self, owner: str) -> bool:
        seen = self._workers.get(owner)
        return seen is not None and self.monotonic() - seen.beat_at < self.seconds and not self.gone(owner)

    def _find_absent(
        self, records: Mapping[str, Value], stream: str, parents: Mapping[str, Collection[str]], described: float
    ) -> None:
        """Find shards that are gone from the stream: the closed ones are forgotten, the others have lost records."""
        now = self.monotonic()
        absent = {name for name, value in records.items() if value.get("stream") == stream and name not in parents}
        absent.discard(WHOLE)
        self._absent = {name: self._absent.get(name, now) for name in absent}
        gone = {name for name, since in self._absent.items() if described - since >= _ABSENT_SECONDS}
        self.vanished = {name for name in gone if not records[name]["closed"]}
        needed = {parent for shard in parents.values() for parent in shard}  # else their children seem to be orphans
        if old := {name: records[name] for name in gone - needed - self.vanished}:
            self.control.delete(scope_of(self.reader), old)

    def _check(self, records: Mapping[str, Value], stream: str) -> None:
        """Drop what others have taken, and find what is this worker's though it does not know: a write without an answer."""
        for name, held in list(self.shards.items()):
            value = records.get(name, {})
            if value.get("owner") == self.owner and value.get("stream") == held.value["stream"]:
                held.value = value
            else:
                log.warning("lease.lost", reader=self.reader, shard=name, owner=value.get("owner"))
                self._drop(name)
        for name, value in records.items():
            if value.get("owner") != self.owner or name in self.shards or "stream" not in value:
                continue
            if value["stream"] == stream:
                self._hold(name, value)
            else:
                self.control.swap(scope_of(self.reader), name, value, _free(value))

    def _divide(
        self, ready: Collection[str], records: Mapping[str, Value], alive: Collection[str], active: Collection[str]
    ) -> tuple[list[str], list[str], int]:
        """Return the free leases that are for this worker, those that are for others, and the number of those that it holds
        and others are to have."""
        shards = {name: value for name, value in records.items() if "stream" in value}  # also those that others know first
        owners = {name: str(owner) for name, value in shards.items() if (owner := value.get("owner")) in alive}
        owners |= dict.fromkeys(self.shards, self.owner)
        free = [name for name in ready if name not in owners]
        count, spare = shares(self.owner, _count(owners, active), active, len(free))
        order = sorted(free, key=lambda name: crc32(f"{self.owner}{name}".encode()))  # each worker tries another one first
        return order[:count], order[count:], spare

    def _set_free(self, key: str, records: Mapping[str, Value]) -> None:
        """Free what a dead worker held, for another one that may have begun just now and would wait for it."""
        if "owner" in (value := records.get(key, {})):
            self.control.swap(scope_of(self.reader), key, value, _free(value))

    def _take(self, name: str, stream: str, before: Value | None, floor: float) -> None:
        known = before if before is not None and before.get("stream") == stream else {}
        after = {"stream": stream, "position": known.get("position"), "closed": False, "owner": self.owner}
        if after["position"] is None and math.isfinite(floor := max(floor, self.floor(stream, name))):
            after["floor"] = int(floor)
        if self.control.swap(scope_of(self.reader), name, before, after):
            self._hold(name, after)

    def _share_chores(self, records: Mapping[str, Value], alive: Collection[str], active: Collection[str]) -> None:
        holders = {name: records.get(CHORE + name, {}).get("owner") for name in self._chores}
        owners = {name: str(owner) for name, owner in holders.items() if owner in alive}
        doing = {name for name, owner in owners.items() if owner == self.owner}
        free = [name for name in sorted(self._chores) if name not in owners]
        count, spare = shares(self.owner, _count(owners, active), active, len(free))
        scope = scope_of(self.reader)
        for name in free[:count]:
            if self.control.swap(scope, CHORE + name, records.get(CHORE + name), {"owner": self.owner}):
                doing.add(name)
        for name in free[count:]:
            self._set_free(CHORE + name, records)
        for name in sorted(doing)[:spare]:  # a part that it is at may still end: done by two is harmless
            doing.discard(name)
            self.control.swap(scope, CHORE + name, {"owner": self.owner}, {})
        self._doing = doing

    def _replace(self, shard: str, held: Held, after: Value) -> bool:
        """Replace the record of a lease that is held. Returns False when it is not held any more."""
        scope = scope_of(self.reader)
        if not self.control.swap(scope, shard, held.value, after):
            found = next((value for name, value in self.control.get_all(scope) if name == shard), {})
            mine = (found.get("owner"), found.get("stream")) == (self.owner, held.value["stream"])
            if not mine or not self.control.swap(scope, shard, found, after):  # mine: a write before had no answer
                log.warning("lease.lost", reader=self.reader, shard=shard, owner=found.get("owner"))
                self._drop(shard)
                return False
        held.value = after
        return True

    def _hold(self, name: str, value: Value) -> None:
        self._terms += 1
        self.shards[name] = Held(value, self._terms)
        log.info("lease.taken", reader=self.reader, shard=name)

    def _drop(self, name: str) -> None:
        self.shards.pop(name, None)
        self.leaving.discard(name)


def shares(owner: str, held: Mapping[str, int], workers: Collection[str], free: int) -> tuple[int, int]:
    """Return how many of the `free` leases are for `owner`, and how many of those that it holds are for others. All workers
    that see the same come to the same division: the free ones go to who has the fewest, and then no two workers' counts
    differ by more than one."""
    counts = {worker: held.get(worker, 0) for worker in workers}
    take = spare = 0
    for _ in range(free):
        least = min(counts, key=lambda worker: (counts[worker], worker))
        counts[least] += 1
        take += least == owner
    while True:
        least = min(counts, key=lambda worker: (counts[worker], worker))
        most = max(counts, key=lambda worker: (counts[worker], worker))
        if counts[most] - counts[least] < 2:
            return take, max(0, spare - take)
        counts[most] -= 1
        counts[least] += 1
        spare += most == owner


def _count(owners: Mapping[str, str], workers: Collection[str]) -> Counter[str]:
    return Counter(owner for owner in owners.values() if owner in workers)


def _free(value: Value) -> Value:
    return {key: each for key, each in value.items() if key != "owner"}
