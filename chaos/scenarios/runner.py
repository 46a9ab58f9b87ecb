"""Running a scenario: a world, sessions that write and read in it, the timeline, and the checker at the end."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from chaos import things
from chaos.checker.check import check
from chaos.checker.history import Final, History, Outcome
from chaos.checker.verdict import Verdict
from chaos.drills.convergence import converge
from chaos.scenarios.actions import ACTIONS, Action
from chaos.scenarios.operator import Operator
from chaos.scenarios.scenario import ORDINALS, Scenario, Step
from chaos.scenarios.session import Doors, Session
from chaos.world.backup import Backup
from chaos.world.network import PASS, Network
from chaos.world.processes import Process
from chaos.world.reading import Tables
from chaos.world.region import RegionProcesses
from chaos.world.world import World
from projectors.queries import Query
from projectors.sinks.dynamodb import DynamoSink
from replicator.claims import HomedClaims
from replicator.claims.homes import HomeMover
from replicator.control import DynamoControl
from replicator.domain.clock import HybridLogicalClock
from replicator.dynamodb import DynamoStorage
from replicator.errors import InvalidConfig, MeridianError
from replicator.store import EventStore, wall_clock

REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2", "sa-east-1", "us-west-2", "eu-central-1")
_STEADY_SECONDS = 30.0
_ASK_SECONDS = 30.0
_VIEWS = f"{things.Thing.name}@{things.Thing.version}"


class Watcher(Protocol):
    """Is told how the run goes."""

    def phase(self, name: str, total: int) -> None: ...

    def progress(self, done: int) -> None: ...

    def say(self, text: str) -> None: ...


class NotSteady(MeridianError):
    """The steady state was not met before anything was done: nothing that follows would mean anything."""


@dataclass(slots=True)
class Done:
    """A step of the timeline as it went. Seconds of the timeline."""

    name: str
    arguments: Mapping[str, Any]
    began: float
    ended: float | None = None
    said: str = ""


@dataclass(slots=True)
class Result:
    """What came of it."""

    scenario: Scenario
    seed: int
    regions: tuple[str, ...]
    """In the order of their names in the scenario: first, second …"""
    steps: list[Done] = field(default_factory=list)
    calls: Mapping[str, int] = field(default_factory=dict)
    doubted: int = 0
    """Calls whose outcome was unknown at first."""
    acknowledged: int = 0
    gone: int = 0
    load_seconds: float = 0.0
    converge_seconds: float | None = None
    left: int = 0
    """Lanes and views that had not arrived when waiting for them was given up."""
    verdict: Verdict = field(default_factory=Verdict)

    @property
    def unexpected(self) -> list[str]:
        """Promises that nothing was looked at for, though the scenario does not say so."""
        return [name for name in self.verdict.untested if name not in self.scenario.untested]

    @property
    def kept(self) -> bool:
        """Every promise was looked at, and kept, and everything arrived in time."""
        in_time = self.converge_seconds is not None and self.converge_seconds <= self.scenario.converge_within
        return in_time and not self.verdict.broken and not self.unexpected and self.acknowledged > 0

    def as_json(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario.name,
            "title": self.scenario.title,
            "seed": self.seed,
            "regions": list(self.regions),
            "kept": self.kept,
            "broken": self.verdict.broken,
            "not_looked_at": self.unexpected,
            "promises": self.verdict.as_json(),
            "calls": dict(self.calls),
            "unknown_at_first": self.doubted,
            "acknowledged_events": self.acknowledged,
            "gone_events": self.gone,
            "load_seconds": round(self.load_seconds, 2),
            "converge_seconds": None if self.converge_seconds is None else round(self.converge_seconds, 2),
            "timeline": [
                {"action": each.name, "arguments": dict(each.arguments), "from": round(each.began, 2),
                 "until": None if each.ended is None else round(each.ended, 2), "said": each.said}
                for each in self.steps
            ],
        }  # fmt: skip


def run_scenario(scenario: Scenario, seed: int, watch: Watcher, history_file: Path | None = None) -> Result:
    """Run it and judge. Stops everything that it starts, also after an error. Raises NotSteady, or ProcessFailed."""
    regions = list(REGIONS[: scenario.regions])
    random.Random(f"{seed}/regions").shuffle(regions)
    actions = [make_action(step) for step in scenario.method]
    proxied = any(action.proxied for action in actions)
    with World(sorted(regions), [things.PROJECTION], read_timeout=3.0, attempts=2, proxied=proxied) as world:
        lines = history_file.open("w") if history_file is not None else None
        try:
            run = Run(scenario, seed, tuple(regions), world, watch, lambda line: _write(lines, line))
            return run.go(list(zip(scenario.method, actions, strict=True)))
        finally:
            if lines is not None:
                lines.close()


def make_action(step: Step) -> Action:
    """The action of a step of a scenario that has been read."""
    return ACTIONS[step.name](**{key.replace("-", "_").replace("from", "leave"): v for key, v in step.arguments.items()})


def _write(lines: Any, line: Mapping[str, Any]) -> None:
    if lines is not None:
        lines.write(json.dumps(line, separators=(",", ":")) + "\n")


class Run:
    """One run. Actions ask it for what they act on."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        regions: tuple[str, ...],
        world: World,
        watch: Watcher,
        sink: Callable[[dict[str, Any]], None],
    ) -> None:
        self.scenario = scenario
        self.world = world
        self.watch = watch
        self.result = Result(scenario, seed, regions)
        self.history = History(time.monotonic, sink)
        self.tables = {region: Tables(world.settings(region)) for region in regions}
        self._regions = regions
        self._seed = seed
        self._killed: set[str] = set()
        self._backups: dict[str, Backup] = {}
        self._survived: set[str] = set()
        self._began = 0.0
        self.sessions: list[Session] = []
        self.operator = Operator(self)

    # -- what actions ask for --------------------------------------------------------------------------------------

    def name(self, ordinal: str) -> str:
        """The region that the seed has chosen for `first`, `second` …"""
        return self._regions[ORDINALS.index(ordinal)]

    def region(self, ordinal: str) -> RegionProcesses:
        return self.world.regions[self.name(ordinal)]

    def worker(self, ordinal: str, which: str) -> Process:
        region = self.region(ordinal)
        return region.replicator if which == "replicator" else region.projector

    def kill_worker(self, ordinal: str, which: str) -> None:
        process = self.worker(ordinal, which)
        self._killed.add(process.name)
        process.kill()

    @property
    def network(self) -> Network:
        if self.world.network is None:
            raise InvalidConfig("this world has no links that can be cut")
        return self.world.network

    def keep_backup(self, ordinal: str, backup: Backup) -> None:
        name = self.name(ordinal)
        self._backups[name] = backup
        table = self.world.settings(name).events_table
        self._survived |= {bytes(item["digest"]["B"]).hex() for item in backup.items(table)}

    def backup(self, ordinal: str) -> Backup:
        try:
            return self._backups[self.name(ordinal)]
        except KeyError:
            raise InvalidConfig(f"there is no backup of the {ordinal} region; let a step `backup` come first") from None

    def die(self, ordinal: str) -> None:
        """Kill a region, and take note of what of its events its peers hold."""
        name = self.name(ordinal)
        self.region(ordinal).kill()
        self._survive(name, [region for region in self._regions if region != name])

    def survivors(self, name: str, doubtful: Collection[tuple[str, int]]) -> Collection[str] | None:
        """A region that had lost its data was brought up again: tell the history what is gone, and return the digests of
        what has survived. None where it lost nothing."""
        if name not in self.operator.lost:
            return None
        self._survive(name, self._regions, doubtful)
        gone = self.history.lose(name, self._survived)
        self.watch.say(f"{len(gone):,} acknowledged events of {name} survived nowhere")
        return frozenset(self._survived)

    def _survive(self, name: str, at: Collection[str], doubtful: Collection[tuple[str, int]] = ()) -> None:
        own = {(e.lane, e.sequence) for e in self.history.acknowledged() if e.lane.startswith(f"{name}#")}
        for region in at:
            self._survived |= {digest.hex() for digest in self.tables[region].digests(own | set(doubtful)).values()}

    # -- the run ---------------------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Seconds of the timeline."""
        return time.monotonic() - self._began

    def go(self, steps: list[tuple[Step, Action]]) -> Result:
        self._open()
        try:
            self._steady()
            self._timeline(steps)
            self._finish()
        finally:
            for session in self.sessions:
                session.stop(0.5)
        self._converge()
        self._judge()
        return self.result

    def _open(self) -> None:
        settings = {region: self.world.settings(region) for region in self._regions}
        controls = {region: DynamoControl(each) for region, each in settings.items()}
        if self.scenario.load.claims:
            storages = {region: DynamoStorage(each) for region, each in settings.items()}
            HomeMover(controls, storages, frozenset({things.SEAT})).move(sorted(self._regions))
        for number in range(self.scenario.sessions):
            for region in self._regions:
                process = f"{region}-{number}"
                chance = random.Random(f"{self._seed}/{process}")
                doors = self._doors(process)
                self.sessions.append(Session(process, region, doors, self.history, chance, self.scenario.load))
        for session in self.sessions:
            session.start()

    def _doors(self, process: str) -> Callable[[str], Doors]:
        clock = HybridLogicalClock(wall_clock)
        stores = cache(lambda region: EventStore.connect(self.world.settings(region), clock))
        controls = cache(lambda region: DynamoControl(self.world.settings(region)))

        def opened(region: str) -> Doors:
            query = Query(things.Thing, stores(region), DynamoSink(self.world.settings(region)))
            return Doors(stores(region), query, HomedClaims(region, controls, stores))

        return opened

    def beat(self) -> None:
        """Nobody fails unseen, and workers that were killed are started again."""
        for session in self.sessions:
            if session.error is not None:
                raise session.error
        for region in self.world.regions.values():
            for process in region.workers if not region.down else ():
                if not process.running:
                    if process.name not in self._killed:
                        raise process.failure("ended by itself")
                    process.start()

    def until(self, condition: Callable[[], bool], seconds: float = float("inf")) -> bool:
        """Wait for `condition`, for so long. Returns whether it came about."""
        end = time.monotonic() + seconds
        while not condition():
            self.beat()
            if time.monotonic() > end:
                return False
            time.sleep(0.05)
        return True

    def _steady(self) -> None:
        """The steady state that the scenario supposes, met by everything before anything is done to it."""
        self.watch.phase("steady state", 1)
        probes = {"acknowledged": self._acknowledged_everywhere, "arrives": self._arrives_everywhere}
        for name in self.scenario.probes:
            if not self.until(probes[name], _STEADY_SECONDS):
                raise NotSteady(f"scenario {self.scenario.name}: probe {name} did not hold within {_STEADY_SECONDS:.0f} s")
        self._began = time.monotonic()

    def _acknowledged_everywhere(self) -> bool:
        return {event.lane.partition("#")[0] for event in self.history.acknowledged()} >= set(self._regions)

    def _arrives_everywhere(self) -> bool:
        first: dict[str, tuple[str, int]] = {}
        for event in self.history.acknowledged():
            first.setdefault(event.lane.partition("#")[0], (event.lane, event.sequence))
        places = list(first.values())
        return len(places) == len(self._regions) and all(
            len(tables.digests(places)) == len(places) for tables in self.tables.values()
        )

    def _timeline(self, steps: list[tuple[Step, Action]]) -> None:
        total = max([self.scenario.seconds, *(step.at + (step.lasts or 0) for step, _ in steps)])
        self.watch.phase("timeline", int(total))
        waiting = sorted(steps, key=lambda pair: pair[0].at)
        active: list[tuple[float, Done, Action]] = []
        while waiting or active or self.now < total:
            self.watch.progress(int(self.now))
            ends = min(active, key=lambda each: each[0], default=None)
            if ends is not None and ends[0] <= min(self.now, waiting[0][0].at if waiting else self.now):
                active.remove(ends)
                self._end(ends[1], ends[2])
            elif waiting and waiting[0][0].at <= self.now:
                step, action = waiting.pop(0)
                done = self._begin(step, action)
                if step.lasts is not None:
                    active.append((done.began + step.lasts, done, action))
            else:
                self.until(lambda: False, 0.1)

    def _begin(self, step: Step, action: Action) -> Done:
        done = Done(step.name, step.arguments, self.now)
        self.result.steps.append(done)
        self.watch.say(f"{self.now:5.1f} s  {step.name} {_words(step.arguments)}")
        action.start(self)
        done.said = self.operator.take_said()
        if step.lasts is None:
            done.ended = self.now
        return done

    def _end(self, done: Done, action: Action) -> None:
        action.stop(self)
        done.ended = self.now
        self.watch.say(f"{self.now:5.1f} s  {done.name} ends")

    def _finish(self) -> None:
        """Everything is healed; clients write no more, and ask what became of what is unknown."""
        if self.world.network is not None:
            self.world.network.set(PASS)
        self.result.load_seconds = self.now
        for session in self.sessions:
            session.finish()
        self.until(lambda: all(session.done for session in self.sessions), _ASK_SECONDS)

    def _converge(self) -> None:
        started = time.monotonic()
        lanes = self._lanes()
        heads: dict[str, int] = {}
        for region, tables in self.tables.items():
            heads |= tables.last([lane for lane in lanes if lane.startswith(f"{region}#")])
        vectors: dict[str, dict[str, int]] = {}
        for lane, last in heads.items():
            region, kind, name = lane.split("#")
            if kind == things.TYPE:
                vectors.setdefault(f"{_VIEWS}#{kind}/{name}", {})[region] = last
        wanted = {key: json.dumps(vector, sort_keys=True, separators=(",", ":")) for key, vector in vectors.items()}
        self.watch.phase("converging", (len(heads) + len(wanted)) * len(self.tables))

        def beat(done: int) -> None:
            self.beat()
            self.watch.progress(done)

        self.result.left = converge(self.tables, heads, wanted, beat)
        if not self.result.left:
            self.result.converge_seconds = time.monotonic() - started

    def _lanes(self) -> list[str]:
        """Every lane that anybody may have written to."""
        calls = [call for call in self.history.calls if call.outcome is not Outcome.FAIL]
        return sorted({event.lane for call in calls for event in call.events})

    def _judge(self) -> None:
        self.world.stop_workers()
        self.watch.phase("checking", len(self.tables))
        finals: dict[str, Final] = {}
        for number, (region, tables) in enumerate(self.tables.items(), 1):
            finals[region] = tables.final(self._lanes(), _VIEWS)
            if self.scenario.load.claims:
                finals[region].owners = self._owners(region)
            self.watch.progress(number)
        self.result.verdict = check(self.history, finals)
        self.result.calls = self.history.counts()
        self.result.doubted = self.history.doubted
        self.result.acknowledged = sum(1 for _ in self.history.acknowledged())
        self.result.gone = len(self.history.gone)

    def _owners(self, region: str) -> dict[str, str | None]:
        claims = self._doors(f"{region}-judge")(region).claims
        seats = {call.value["stream"] for call in self.history.calls if call.name in ("claim", "release")}
        owners = {seat: claims.owner(seat).owner for seat in sorted(seats)}
        return {seat: str(owner) if owner is not None else None for seat, owner in owners.items()}


def _words(arguments: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in arguments.items())
