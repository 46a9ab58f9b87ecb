"""Contention: many writers on few streams in two regions, with every kind of precondition and both rules of uniqueness.

Every writer is a store of its own, as another process would be. Between them: decisions on the state (read, decide, write),
writes at a token, transfers over two streams, claims under the home-region rule and under the optimistic one. For a part of
the run the regions are cut off from each other, so that both rules are tried where it hurts.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

from chaos.contention_check import Findings, Note, check
from chaos.world.world import World
from projectors import Projection, counter
from replicator.claims import Claim, HomedClaims, OptimisticClaims, Release
from replicator.claims.homes import HomeMover, Homes
from replicator.control import DynamoControl
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import StreamId
from replicator.dynamodb import DynamoStorage
from replicator.errors import AppendContention, InvalidConfig, OutcomeUnknown, RegionUnavailable
from replicator.operation import Accept, AtToken, GaveUp, Operation, Rejected, Result, Saved, Verdict, When
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

    name, stream_type = "tally", "tally"
    total = counter(added=lambda p: p["n"])


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
    """What came of it. `counts` is operations by kind and result."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    findings: Findings = field(default_factory=Findings)
    seconds: float = 0.0
    settled: int = 0

    @property
    def kept(self) -> bool:
        return not self.findings.broken

    @property
    def operations(self) -> int:
        return sum(self.counts.values())

    def lines(self) -> list[str]:
        """What was promised, and what was found."""
        found = self.findings
        return [
            f"took              {self.seconds:.1f} s, {self.operations / max(self.seconds, 0.001):,.0f} operations a second",
            f"lost updates      {found.lost_updates} of {found.decisions:,} decisions; {found.concurrent:,} were concurrent "
            "with one in the other region, and all of them count",
            f"owned twice       {found.owned_twice} under the home-region rule",
            f"not one owner     {found.not_one_owner} under the optimistic rule, after {found.conflicts} conflicts; "
            f"{found.not_told} losers not told exactly once",
            f"events            {found.lost} lost, {found.acknowledged_twice} acknowledged twice, {found.from_nowhere} from "
            f"nowhere, {found.different} streams different",
            *(f"broken: {example}" for example in found.examples),
        ]

    def as_json(self) -> dict[str, Any]:
        counts = {f"{kind}: {result}": count for (kind, result), count in sorted(self.counts.items())}
        findings = {each.name: getattr(self.findings, each.name) for each in fields(self.findings)}
        return {
            "kept": self.kept,
            "seconds": round(self.seconds, 2),
            "settled": self.settled,
            "operations": counts,
            **findings,
        }


class _Writer(threading.Thread):
    """One client process's worth of stores, in its home region but for what has its home elsewhere."""

    def __init__(self, number: int, run: _Run) -> None:
        super().__init__(name=f"writer-{number}", daemon=True)
        self.error: BaseException | None = None
        self.notes: list[Note] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self._number = number
        self._run = run
        self._region = REGIONS[number % len(REGIONS)]
        self._random = random.Random(f"{run.plan.seed}/{number}")
        self._stores = cache(run.new_store)
        self._store = self._stores(self._region)
        controls = cache(lambda region: DynamoControl(run.world.settings(region)))
        self._homed = HomedClaims(self._region, controls, self._stores)
        self._owned: set[StreamId] = set()
        self._optimistic = OptimisticClaims(self._store)

    def run(self) -> None:
        try:
            while self._run.take():
                self._act()
        except BaseException as error:
            self.error = error

    def _act(self) -> None:
        kind = self._random.choices(list(KINDS), list(KINDS.values()))[0]
        try:
            result = self._operate(kind)
        except OutcomeUnknown as error:
            landed = self._stores(error.events[0].region).resolve(error.events)
            self._note(kind, "saved" if landed else "not written", error.events if landed else ())
            return
        except (RegionUnavailable, AppendContention) as error:
            self.counts[kind, type(error).__name__] += 1
            return
        names = {Saved: "saved", Rejected: "rejected", GaveUp: "gave up"}
        self._note(kind, names[type(result)], result.events if isinstance(result, Saved) else ())

    def _note(self, kind: str, result: str, events: tuple[Event, ...]) -> None:
        self.counts[kind, result] += 1
        self.notes += [Note(event, kind) for event in events]

    def _operate(self, kind: str) -> Result:
        if kind == "homed claim":
            return self._claim_or_release()
        if kind == "optimistic claim":
            return self._optimistic.save([Claim(self._run.pick(self._random, "nickname"), f"user/w{self._number}")])
        stream = self._run.pick(self._random, "tally")
        store = self._stores(self._run.home_of(stream) or self._region)
        if kind == "decide":
            return store.save(Operation(stream, (), When(TOTAL, _one_more)))
        if kind == "at token":
            seen = store.state(stream)
            return store.save(Operation(stream, _added(TOTAL.value_of(seen)), AtToken(seen.token())))
        other = self._run.pick(self._random, "tally", home=self._run.home_of(stream), but=stream)
        return store.save(Operation(stream, (), When(TOTAL, _one_more)), Operation(other, (), When(TOTAL, _one_more)))

    def _claim_or_release(self) -> Result:
        """Under the home-region rule: claim an address, or give up one that is this writer's."""
        owner = f"user/w{self._number}"
        if self._owned and self._random.random() < _RELEASES:
            email = self._random.choice(sorted(self._owned))
            self._owned.discard(email)
            return self._homed.save([Release(email, owner)])
        email = self._run.pick(self._random, "email")
        result = self._homed.save([Claim(email, owner)])
        if isinstance(result, Saved):
            self._owned.add(email)
        return result


def _one_more(total: int) -> Verdict:
    return Accept(_added(total))


def _added(total: int) -> NewEvent:
    return NewEvent("added", {"n": 1, "total": total + 1})


class _Run:
    """What the writers share."""

    def __init__(self, world: World, plan: Contention) -> None:
        self.world = world
        self.plan = plan
        self.done = 0
        self._lock = threading.Lock()
        names = {"tally": plan.streams, "email": plan.streams, "nickname": plan.streams * _NICKNAMES}
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
    with World(REGIONS, ["chaos.contention:Tally"], read_timeout=30.0) as world:
        controls = {region: DynamoControl(world.settings(region)) for region in REGIONS}
        storages = {region: DynamoStorage(world.settings(region)) for region in REGIONS}
        homes = HomeMover(controls, storages, frozenset({"email"})).move(REGIONS)
        run = _Run(world, plan)
        started = time.monotonic()
        writers = _write(run, progress)
        outcome = Outcome(seconds=time.monotonic() - started)
        for writer in writers:
            outcome.counts += writer.counts
        outcome.settled = _settle(run, progress)
        notes = [note for writer in writers for note in writer.notes]
        outcome.findings = _check(run, notes, homes, progress)
        return outcome


def _write(run: _Run, progress: Callable[[str, int, int], None]) -> list[_Writer]:
    """Let the writers work; from a fifth to three fifths of it nothing is copied between the regions."""
    writers = [_Writer(number, run) for number in range(run.plan.writers)]
    for writer in writers:
        writer.start()
    replicators = [region.replicator for region in run.world.regions.values()]
    cut = False
    while any(writer.is_alive() for writer in writers):
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
        raise failed.error or RuntimeError(failed.name)
    return writers


def _settle(run: _Run, progress: Callable[[str, int, int], None]) -> int:
    """Each region tells its own losers, once the claims have arrived, until nobody is left to tell."""
    settlers = {region: OptimisticClaims(run.new_store(region)) for region in REGIONS}
    names = [stream for stream in run.streams if stream.type == "nickname"]
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


def _check(run: _Run, notes: list[Note], homes: Homes, progress: Callable[[str, int, int], None]) -> Findings:
    progress("checking", 0, 1)
    stores = {region: run.new_store(region) for region in REGIONS}
    streams = [*run.streams, *(StreamId("user", f"w{number}") for number in range(run.plan.writers))]
    histories = {region: {stream: list(store.read(stream)) for stream in streams} for region, store in stores.items()}
    return check(notes, histories, homes.home_of, run.home_of, _said(run, stores))


def _said(run: _Run, stores: Mapping[str, EventStore]) -> dict[str, dict[StreamId, str | None]]:
    """Who owns each optimistic claim, as a reader in each region is told."""
    names = [stream for stream in run.streams if stream.type == "nickname"]
    readers = {region: OptimisticClaims(store) for region, store in stores.items()}
    owners = {region: {name: reader.owner(name).owner for name in names} for region, reader in readers.items()}
    return {region: {name: str(o) if o else None for name, o in owned.items()} for region, owned in owners.items()}
