"""Contention: many writers on few streams in two regions, with every kind of precondition and both rules of uniqueness.

Every writer has a store of its own, like another process. They make decisions on the state (read, decide, write), writes at
a token, transfers over two streams, claims under the home-region rule and claims under the optimistic one. For a part of the
run the regions are cut off from each other, so that both rules are tested where they matter.
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from chaos.checker.calls import OPTIMISTIC
from chaos.checker.check import check
from chaos.checker.contended import CONTENTION, HOMED, NICKNAME, TALLY, Decisions
from chaos.checker.history import Call, Final, History
from chaos.checker.history import Outcome as Ended
from chaos.checker.verdict import Verdict
from chaos.scenarios.load import Workload
from chaos.scenarios.runner import Run, opened
from chaos.scenarios.scenario import Scenario, Step
from chaos.scenarios.stage import Stage
from chaos.scenarios.watcher import Watcher
from chaos.workload.sessions import Session
from projectors import Projection, counter
from replicator.aws.control_table import DynamoControl
from replicator.aws.event_table import DynamoStorage
from replicator.claims import Claim, HomedClaims, OptimisticClaims, Release
from replicator.claims.homes import HomeMover, Homes
from replicator.connect import connect_store
from replicator.domain.errors import InvalidConfig
from replicator.domain.event import NewEvent
from replicator.domain.names import StreamId
from replicator.eventstore.operations import Accept, AtToken, Operation, Result, When
from replicator.eventstore.operations import Verdict as Decision
from replicator.eventstore.reducer import Reducer
from replicator.eventstore.store import EventStore

REGIONS = ("us-east-1", "eu-west-1")
KINDS = {"decide": 40, "at token": 20, "transfer": 10, "homed claim": 15, "optimistic claim": 15}
_RELEASES = 0.4
_NICKNAMES = 8  # times as many as streams: some are still free when the regions are cut off from each other
_CONVERGE_SECONDS = 120.0

TOTAL: Reducer[int] = Reducer(0, {"added": lambda total, payload: total + payload["n"]})


class Tally(Projection):
    """Projection of the total of each stream: the projectors' result for the same events."""

    name, stream_type = "tally", TALLY
    total = counter(added=lambda p: p["n"])


@dataclass(frozen=True, slots=True)
class Contention:
    """Parameters of a run. Half of the streams have a home region where all decisions on them are made; half have none."""

    operations: int = 10_000
    writers: int = 8
    streams: int = 100
    seed: int = 1

    @property
    def workload(self) -> type[Workload]:
        return Contending

    def __post_init__(self) -> None:
        if self.operations < self.writers or self.writers < 2 or self.streams < 4:
            raise InvalidConfig("contention needs at least 2 writers, 4 streams, and an operation for each writer")


@dataclass(slots=True)
class Outcome:
    """Result of a run. `counts` is the number of operations by kind and result; `concurrent` is the checker's count."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    verdict: Verdict = field(default_factory=lambda: Verdict(CONTENTION))
    concurrent: int = 0
    seconds: float = 0.0
    settled: int = 0
    cut: bool = True
    """Whether the regions were cut off from each other for a while."""

    @property
    def kept(self) -> bool:
        return self.cut and not self.verdict.broken

    @property
    def operations(self) -> int:
        return sum(self.counts.values())

    @property
    def figures(self) -> dict[str, int]:
        """How often promises were broken, and the other counts."""
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
        """Return the promises and the findings, a line each."""
        found = self.figures
        known = {"lost", "acknowledged_twice", "from_nowhere", "regions_identical", "lost_updates", "claims", "not_at_home",
                 "not_one_owner", "not_told"}  # fmt: skip
        return [
            f"took              {self.seconds:.1f} s, {self.operations / max(self.seconds, 0.001):,.0f} operations a second",
            f"lost updates      {found['lost_updates']} of {found['decisions']:,} decisions; {found['concurrent']:,} were "
            "concurrent with one in the other region, and all of them count",
            f"owned twice       {found['owned_twice']} under the home-region rule",
            f"not one owner     {found['not_one_owner']} under the optimistic rule, after {found['conflicts']} conflicts; "
            f"{found['not_told']} losers not notified exactly once",
            f"events            {found['lost']} lost, {found['acknowledged_twice']} acknowledged twice, "
            f"{found['from_nowhere']} from nowhere, {found['different']} not the same in both regions",
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
    """Client with stores of its own, in its home region except for streams that have their home elsewhere."""

    def __init__(self, number: int, all: Contending) -> None:
        super().__init__(f"w{number}", REGIONS[number % len(REGIONS)], all.stage.history)
        self.counts: Counter[tuple[str, str]] = Counter()
        self._all = all
        self._random = random.Random(f"{all.plan.seed}/{number}")
        self._stores = cache(all.store)
        self._count = 0
        self._homed = HomedClaims(self.home, cache(all.control), self._stores)
        self._owned: set[StreamId] = set()
        self._optimistic = OptimisticClaims(self._stores(self.home))

    def _more(self) -> bool:
        return self._all.take()

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
            nickname = self._all.pick(self._random, NICKNAME)
            return self._claim(OPTIMISTIC, nickname, lambda owner: self._optimistic.save([Claim(nickname, owner)]))
        stream = self._all.pick(self._random, TALLY)
        home = self._all.home_of(stream)
        self.region = home or self.home
        store, id = self._stores(self.region), self._id()
        if kind == "at token":

            def at_token() -> Result:
                seen = store.state(stream)
                return store.save(Operation(stream, _added(id, TOTAL.value_of(seen)), AtToken(seen.token())))

            return self.save(kind, [_asked(id, stream)], at_token)
        wanted = {id: stream}
        if kind == "transfer":
            wanted[self._id()] = self._all.pick(self._random, TALLY, home=home, but=stream)
        operations = [Operation(each, (), When(TOTAL, _one_more(id))) for id, each in wanted.items()]
        return self.save(kind, [_asked(id, each) for id, each in wanted.items()], lambda: store.save(*operations))

    def _claim_or_release(self) -> Call:
        """Claim an address under the home-region rule, or release one that is this writer's."""
        if self._owned and self._random.random() < _RELEASES:
            owned = self._random.choice(sorted(self._owned))
            self._owned.discard(owned)
            return self._claim("release", owned, lambda owner: self._homed.save([Release(owned, owner)]))
        email = self._all.pick(self._random, HOMED)
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
    """Return a decision as the history records it, without the total, which is decided later."""
    return {"id": id, "stream": str(stream), "type": "added", "n": 1}


class Contending(Workload):
    """Writers of a run, half of them in each region, and the state that they share."""

    projection = "chaos.scenarios.contention:Tally"
    type = TALLY
    views = f"{Tally.name}@{Tally.version}"
    endless = False
    phase = "writing"
    read_timeout = 30.0

    def __init__(self, stage: Stage, scenario: Scenario, seed: int) -> None:
        super().__init__(stage, scenario, seed)
        assert isinstance(scenario.load, Contention)
        self.plan = scenario.load
        self.writers: list[_Writer] = []
        self.settled = self.concurrent = self._taken = 0
        self._lock = threading.Lock()
        names = {TALLY: self.plan.streams, HOMED: self.plan.streams, NICKNAME: self.plan.streams * _NICKNAMES}
        self._streams = {kind: [StreamId(kind, f"{kind}-{n}") for n in range(count)] for kind, count in names.items()}
        self._homes: Homes

    def start(self) -> None:
        storages = {region: DynamoStorage(self.stage.world.settings(region)) for region in REGIONS}
        controls = {region: self.control(region) for region in REGIONS}
        self._homes = HomeMover(controls, storages, frozenset({HOMED})).move(REGIONS)
        self.writers = [_Writer(number, self) for number in range(self.plan.writers)]
        self.stage.sessions += self.writers
        for writer in self.writers:
            writer.start()

    def progress(self) -> tuple[int, int]:
        return min(self._taken, self.plan.operations), self.plan.operations

    def reached(self, condition: str) -> bool:
        """Return whether the cut begins or ends: from a fifth to three fifths of the operations nothing is copied between
        the regions."""
        return self._taken >= {"cut": 0.2, "joined": 0.6}[condition] * self.plan.operations

    def finish(self) -> None:
        """Have each region report lost claims to its own losers, once the claims have arrived, until none is left to
        report."""
        settlers = {region: OptimisticClaims(self.store(region)) for region in REGIONS}
        new = 1
        while new:
            if not self.stage.until(self._the_same, _CONVERGE_SECONDS):
                return
            new = sum(len(settlers[region].settle(name)) for name in self._streams[NICKNAME] for region in REGIONS)
            self.settled += new

    def _the_same(self) -> bool:
        """Return whether both regions have the same lanes."""
        left, right = (self.store(region) for region in REGIONS)
        streams = [stream for streams in self._streams.values() for stream in streams]
        return all(left.cut(stream).vector == right.cut(stream).vector for stream in streams)

    def read(self, region: str, final: Final) -> None:
        """Read the owner of each claim, as a reader in the region sees it."""
        optimistic = OptimisticClaims(self.store(region))
        homed = HomedClaims(region, self.control, self.store)
        owned = {str(name): optimistic.owner(name).owner for name in self._streams[NICKNAME]}
        owned |= {str(name): homed.owner(name).owner for name in self._streams[HOMED]}
        final.owners = {name: str(owner) if owner else None for name, owner in owned.items()}

    def judge(self, history: History, finals: Mapping[str, Final]) -> Verdict:
        decisions = Decisions(
            lambda stream: self._homes.home_of(StreamId.parse(stream)), lambda stream: self.home_of(StreamId.parse(stream))
        )
        verdict = check(history, finals, TALLY, decisions, CONTENTION)
        self.concurrent = decisions.concurrent
        return verdict

    # -- shared by the writers --------------------------------------------------------------------------------------

    def take(self) -> bool:
        """Return whether there is another operation to do."""
        with self._lock:
            self._taken += 1
            return self._taken <= self.plan.operations

    def store(self, region: str) -> EventStore:
        """Return a new store, like that of another process."""
        return connect_store(self.stage.world.settings(region))

    def control(self, region: str) -> DynamoControl:
        return DynamoControl(self.stage.world.settings(region))

    def home_of(self, stream: StreamId) -> str | None:
        """Return the region where decisions on a stream are made: the even ones have a home, the odd ones are written
        anywhere."""
        number = int(stream.id.rpartition("-")[2])
        return REGIONS[number // 2 % len(REGIONS)] if number % 2 == 0 else None

    def pick(self, chance: random.Random, kind: str, home: str | None = None, but: StreamId | None = None) -> StreamId:
        fitting = self._streams[kind] if but is None else [
            each for each in self._streams[kind] if each != but and self.home_of(each) == home
        ]  # fmt: skip
        return chance.choice(fitting)


def run_contention(plan: Contention, watch: Watcher) -> Outcome:
    """Run contention in a world of two regions and return the checked result. Stops everything it starts, also after an
    error."""
    cut = [Step("freeze-worker", {"region": each}, 0.0, when="cut", until="joined") for each in ("first", "second")]
    scenario = Scenario("contention", "Contention", "", (), 2, 0, 0.0, plan, (), tuple(cut), _CONVERGE_SECONDS)
    with opened(scenario, plan.seed, watch, sampled=False) as run:
        assert isinstance(run, Run)
        result, load = run.go(), run.stage.workload
        assert isinstance(load, Contending)
        counts = sum((writer.counts for writer in load.writers), Counter[tuple[str, str]]())
        return Outcome(counts, result.verdict, load.concurrent, result.load_seconds, load.settled, not result.unstruck)
