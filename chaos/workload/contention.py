"""Contention: many writers on few streams in two regions, with every kind of precondition and both rules of uniqueness.

Every writer is a store of its own, as another process would be. Between them: decisions on the state (read, decide, write),
writes at a token, transfers over two streams, claims under the home-region rule and under the optimistic one. For a part of
the run the regions are cut off from each other, so that both rules are tried where it hurts.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from chaos.checker.asked import OPTIMISTIC
from chaos.checker.check import check
from chaos.checker.contention import CONTENTION, HOMED, NICKNAME, TALLY, Decisions
from chaos.checker.convergence import converge
from chaos.checker.history import Call, Final, History, Kept
from chaos.checker.history import Outcome as Ended
from chaos.checker.verdict import Verdict
from chaos.workload.sessions import Session
from chaos.world.reading import Tables
from chaos.world.world import World
from projectors import Projection, counter
from replicator.claims import Claim, HomedClaims, OptimisticClaims, Release
from replicator.claims.homes import HomeMover
from replicator.control import DynamoControl
from replicator.domain.event import NewEvent
from replicator.domain.names import StreamId
from replicator.dynamodb import DynamoStorage
from replicator.errors import InvalidConfig
from replicator.operation import Accept, AtToken, Operation, Result, When
from replicator.operation import Verdict as Decision
from replicator.reducer import Reducer
from replicator.store import EventStore

REGIONS = ("us-east-1", "eu-west-1")
KINDS = {"decide": 40, "at token": 20, "transfer": 10, "homed claim": 15, "optimistic claim": 15}
_RELEASES = 0.4
_NICKNAMES = 8  # times as many as streams: some are still free when the regions are cut off from each other
_CONVERGE_SECONDS = 120.0

TOTAL: Reducer[int] = Reducer(0, {"added": lambda total, payload: total + payload["n"]})


class Tally(Projection):
    """What each stream adds up to: the projectors' account of the same events."""

    name, stream_type = "tally", TALLY
    total = counter(added=lambda p: p["n"])


_VIEWS = f"{Tally.name}@{Tally.version}"


@dataclass(frozen=True, slots=True)
class Contention:
    """What to run. Half of the streams have a home region where all decisions on them are made; half have none."""

    operations: int = 10_000
    writers: int = 8
    streams: int = 100
    seed: int = 1

    def __post_init__(self) -> None:
        if self.operations < self.writers or self.writers < 2 or self.streams < 4:
            raise InvalidConfig("contention needs at least 2 writers, 4 streams, and an operation for each writer")


@dataclass(slots=True)
class Outcome:
    """What came of it. `counts` is operations by kind and result; `concurrent` as the checker has it."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    verdict: Verdict = field(default_factory=lambda: Verdict(CONTENTION))
    concurrent: int = 0
    seconds: float = 0.0
    settled: int = 0

    @property
    def kept(self) -> bool:
        return not self.verdict.broken

    @property
    def operations(self) -> int:
        return sum(self.counts.values())

    @property
    def figures(self) -> dict[str, int]:
        """How often promises were broken, and what else was counted."""
        found = self.verdict.findings
        return {
            "lost": found["lost"].broken,
            "acknowledged_twice": found["acknowledged_twice"].broken,
            "from_nowhere": found["from_nowhere"].broken,
            "different": found["regions_identical"].broken,
            "lost_updates": found["lost_updates"].broken,
            "owned_twice": found["claims"].broken + found["not_at_home"].broken,
            "not_one_owner": found["not_one_owner"].broken,
            "not_told": found["not_told"].broken,
            "decisions": found["lost_updates"].looked,
            "concurrent": self.concurrent,
            "claims": found["not_at_home"].looked + found["not_one_owner"].looked + found["not_told"].looked,
            "conflicts": found["not_told"].looked,
        }

    def lines(self) -> list[str]:
        """What was promised, and what was found."""
        found = self.figures
        known = {"lost", "acknowledged_twice", "from_nowhere", "regions_identical", "lost_updates", "claims", "not_at_home",
                 "not_one_owner", "not_told"}  # fmt: skip
        return [
            f"took              {self.seconds:.1f} s, {self.operations / max(self.seconds, 0.001):,.0f} operations a second",
            f"lost updates      {found['lost_updates']} of {found['decisions']:,} decisions; {found['concurrent']:,} were "
            "concurrent with one in the other region, and all of them count",
            f"owned twice       {found['owned_twice']} under the home-region rule",
            f"not one owner     {found['not_one_owner']} under the optimistic rule, after {found['conflicts']} conflicts; "
            f"{found['not_told']} losers not told exactly once",
            f"events            {found['lost']} lost, {found['acknowledged_twice']} acknowledged twice, "
            f"{found['from_nowhere']} from nowhere, {found['different']} different",
            *(f"broken            {CONTENTION[name]}" for name in self.verdict.broken if name not in known),
            *(f"broken: {example}" for example in self.verdict.examples),
        ]

    def as_json(self) -> dict[str, Any]:
        counts = {f"{kind}: {result}": count for (kind, result), count in sorted(self.counts.items())}
        return {
            "kept": self.kept,
            "seconds": round(self.seconds, 2),
            "settled": self.settled,
            "operations": counts,
            **self.figures,
            "examples": self.verdict.examples,
        }


class _Writer(Session):
    """One client process's worth of stores, in its home region but for what has its home elsewhere."""

    def __init__(self, number: int, run: _Run) -> None:
        super().__init__(f"w{number}", REGIONS[number % len(REGIONS)], run.history)
        self.counts: Counter[tuple[str, str]] = Counter()
        self._run_of = run
        self._random = random.Random(f"{run.plan.seed}/{number}")
        self._stores = cache(run.new_store)
        self._count = 0
        controls = cache(lambda region: DynamoControl(run.world.settings(region)))
        self._homed = HomedClaims(self.home, controls, self._stores)
        self._owned: set[StreamId] = set()
        self._optimistic = OptimisticClaims(self._stores(self.home))

    def _more(self) -> bool:
        return self._run_of.take()

    def _store(self, region: str) -> EventStore:
        return self._stores(region)

    def _turn(self) -> None:
        kind = self._random.choices(list(KINDS), list(KINDS.values()))[0]
        call = self._operate(kind)
        if call.outcome is Ended.UNKNOWN:
            (doubt,) = self.doubts
            written = self.settle(doubt, self._stores(doubt.region).resolve)
            self.counts[kind, "saved" if written else "not written"] += 1
        else:
            self.counts[kind, "saved" if call.outcome is Ended.OK else call.why.partition(":")[0]] += 1

    def _operate(self, kind: str) -> Call:
        if kind == "homed claim":
            return self._claim_or_release()
        self.region = self.home
        if kind == "optimistic claim":
            nickname = self._run_of.pick(self._random, NICKNAME)
            return self._claim(OPTIMISTIC, nickname, lambda owner: self._optimistic.save([Claim(nickname, owner)]))
        stream = self._run_of.pick(self._random, TALLY)
        home = self._run_of.home_of(stream)
        self.region = home or self.home
        store, id = self._stores(self.region), self._id()
        if kind == "at token":

            def at_token() -> Result:
                seen = store.state(stream)
                return store.save(Operation(stream, _added(id, TOTAL.value_of(seen)), AtToken(seen.token())))

            return self.save(kind, [_asked(id, stream)], at_token)
        wanted = {id: stream}
        if kind == "transfer":
            wanted[self._id()] = self._run_of.pick(self._random, TALLY, home=home, but=stream)
        operations = [Operation(each, (), When(TOTAL, _one_more(id))) for id, each in wanted.items()]
        return self.save(kind, [_asked(id, each) for id, each in wanted.items()], lambda: store.save(*operations))

    def _claim_or_release(self) -> Call:
        """Under the home-region rule: claim an address, or give up one that is this writer's."""
        if self._owned and self._random.random() < _RELEASES:
            owned = self._random.choice(sorted(self._owned))
            self._owned.discard(owned)
            return self._claim("release", owned, lambda owner: self._homed.save([Release(owned, owner)]))
        email = self._run_of.pick(self._random, HOMED)
        call = self._claim("claim", email, lambda owner: self._homed.save([Claim(email, owner)]))
        if call.outcome is Ended.OK:
            self._owned.add(email)
        return call

    def _claim(self, name: str, stream: StreamId, do: Callable[[str], Result]) -> Call:
        owner = f"user/{self.process}"
        return self.save(name, {"id": self._id(), "stream": str(stream), "owner": owner}, lambda: do(owner))

    def _id(self) -> str:
        self._count += 1
        return f"{self.process}.{self._count}"


def _one_more(id: str) -> Callable[[int], Decision]:
    return lambda total: Accept(_added(id, total))


def _added(id: str, total: int) -> NewEvent:
    return NewEvent("added", {"id": id, "n": 1, "total": total + 1})


def _asked(id: str, stream: StreamId) -> dict[str, Any]:
    """A decision as the history has it: what the total is, is decided later."""
    return {"id": id, "stream": str(stream), "type": "added", "n": 1}


class _Run:
    """What the writers share."""

    def __init__(self, world: World, plan: Contention) -> None:
        self.world = world
        self.plan = plan
        self.history = History(time.monotonic)
        self.tables = {region: Tables(world.settings(region)) for region in REGIONS}
        self.done = 0
        self._lock = threading.Lock()
        names = {TALLY: plan.streams, HOMED: plan.streams, NICKNAME: plan.streams * _NICKNAMES}
        self._streams = {kind: [StreamId(kind, f"{kind}-{n}") for n in range(count)] for kind, count in names.items()}

    def take(self) -> bool:
        with self._lock:
            self.done += 1
            return self.done <= self.plan.operations

    def new_store(self, region: str) -> EventStore:
        return EventStore.connect(self.world.settings(region))

    def home_of(self, stream: StreamId) -> str | None:
        """Where decisions on a stream are made: the even ones have a home, the odd ones are written anywhere."""
        number = int(stream.id.rpartition("-")[2])
        return REGIONS[number // 2 % len(REGIONS)] if number % 2 == 0 else None

    def pick(self, chance: random.Random, kind: str, home: str | None = None, but: StreamId | None = None) -> StreamId:
        fitting = self._streams[kind] if but is None else [
            each for each in self._streams[kind] if each != but and self.home_of(each) == home
        ]  # fmt: skip
        return chance.choice(fitting)

    @property
    def streams(self) -> list[StreamId]:
        return [stream for streams in self._streams.values() for stream in streams]


def run_contention(plan: Contention, progress: Callable[[str, int, int], None] = lambda *_: None) -> Outcome:
    """Run it in a world of two regions and check what came of it. Stops everything it starts, also after an error."""
    with World(REGIONS, ["chaos.workload.contention:Tally"], read_timeout=30.0) as world:
        controls = {region: DynamoControl(world.settings(region)) for region in REGIONS}
        storages = {region: DynamoStorage(world.settings(region)) for region in REGIONS}
        homes = HomeMover(controls, storages, frozenset({HOMED})).move(REGIONS)
        run = _Run(world, plan)
        started = time.monotonic()
        writers = _write(run, progress)
        outcome = Outcome(seconds=time.monotonic() - started)
        for writer in writers:
            outcome.counts += writer.counts
        outcome.settled = _settle(run, progress)
        progress("checking", 0, 1)
        decisions = Decisions(lambda stream: homes.home_of(StreamId.parse(stream)), lambda s: run.home_of(StreamId.parse(s)))
        outcome.verdict = check(run.history, _read(run), TALLY, decisions, CONTENTION)
        outcome.concurrent = decisions.concurrent
        return outcome


def _write(run: _Run, progress: Callable[[str, int, int], None]) -> list[_Writer]:
    """Let the writers work; from a fifth to three fifths of it nothing is copied between the regions."""
    writers = [_Writer(number, run) for number in range(run.plan.writers)]
    for writer in writers:
        writer.start()
    replicators = [region.replicator for region in run.world.regions.values()]
    cut = False
    while not all(writer.done for writer in writers):
        share = run.done / run.plan.operations
        if cut != (0.2 <= share < 0.6):
            cut = not cut
            for replicator in replicators:
                replicator.freeze() if cut else replicator.thaw()
        progress("writing" + (", regions cut off" if cut else ""), min(run.done, run.plan.operations), run.plan.operations)
        time.sleep(0.1)
    for replicator in replicators if cut else ():
        replicator.thaw()
    if failed := next((writer for writer in writers if writer.error is not None), None):
        raise failed.error or RuntimeError(failed.process)
    return writers


def _settle(run: _Run, progress: Callable[[str, int, int], None]) -> int:
    """Each region tells its own losers, once the claims have arrived, until nobody is left to tell."""
    settlers = {region: OptimisticClaims(run.new_store(region)) for region in REGIONS}
    names = [stream for stream in run.streams if stream.type == NICKNAME]
    told, end = 0, time.monotonic() + _CONVERGE_SECONDS
    while True:
        _converge(run, progress)
        new = sum(len(settlers[region].settle(name)) for name in names for region in REGIONS)
        told += new
        progress("settling", told, told)
        if not new or time.monotonic() > end:
            return told


def _converge(run: _Run, progress: Callable[[str, int, int], None]) -> None:
    """Wait until both regions have the same lanes."""
    stores = [run.new_store(region) for region in REGIONS]
    end = time.monotonic() + _CONVERGE_SECONDS
    while True:
        left, right = ({stream: store.cut(stream).vector for stream in run.streams} for store in stores)
        behind = sum(left[stream] != right[stream] for stream in run.streams)
        progress("converging", len(run.streams) - behind, len(run.streams))
        if not behind or time.monotonic() > end:
            return
        time.sleep(0.2)


def _read(run: _Run) -> dict[str, Final]:
    """What the regions hold, once every view is there; and who owns each claim, as a reader in each region is told."""
    heads: dict[str, dict[str, int]] = {}
    for lane, last in run.history.heads().items():
        region, kind, name = lane.split("#")
        if kind == TALLY:
            heads.setdefault(f"{_VIEWS}#{kind}/{name}", {})[region] = last
    vectors = {key: json.dumps(vector, sort_keys=True, separators=(",", ":")) for key, vector in heads.items()}
    converge(run.tables, run.history.heads(), vectors, lambda _: None)
    lanes = {event.lane for event in run.history.acknowledged()}
    finals: dict[str, Final] = {}
    shared: dict[tuple[str, str], Kept] = {}
    stores = cache(run.new_store)
    controls = cache(lambda region: DynamoControl(run.world.settings(region)))
    for region, tables in run.tables.items():
        finals[region] = tables.final(sorted(lanes), _VIEWS, shared)
        optimistic, homed = OptimisticClaims(stores(region)), HomedClaims(region, controls, stores)
        owned = {str(name): optimistic.owner(name).owner for name in run.streams if name.type == NICKNAME}
        owned |= {str(name): homed.owner(name).owner for name in run.streams if name.type == HOMED}
        finals[region].owners = {name: str(owner) if owner else None for name, owner in owned.items()}
    return finals
