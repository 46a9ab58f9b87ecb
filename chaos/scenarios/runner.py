"""Running a scenario: a world, sessions that write and read in it, the timeline, and the checker at the end."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from chaos import things
from chaos.checker.check import check
from chaos.checker.history import Final, Outcome
from chaos.drills.convergence import converge
from chaos.drills.stage import Watcher
from chaos.scenarios.action import Action
from chaos.scenarios.actions import make
from chaos.scenarios.evidence import events_by_region, writers
from chaos.scenarios.places import NotRun, place
from chaos.scenarios.result import Done, Result
from chaos.scenarios.sampling import Sampler, series
from chaos.scenarios.scenario import Scenario, Step
from chaos.scenarios.stage import Stage
from chaos.workload.visitors import Doors, Visitor
from chaos.world.network import PASS
from chaos.world.world import World
from projectors.queries import Query
from projectors.sinks.dynamodb import DynamoSink
from replicator.claims import HomedClaims
from replicator.claims.homes import HomeMover
from replicator.control import DynamoControl
from replicator.domain.clock import HybridLogicalClock
from replicator.dynamodb import DynamoStorage
from replicator.errors import MeridianError
from replicator.store import EventStore
from replicator.wallclock import wall_clock

_SLOW_SECONDS = 10.0
"""How long a request may take at an endpoint that is not ours: LocalStack needs seconds under load."""
_STEADY_SECONDS = 60.0
_ANSWER_SECONDS = 30.0
"""So long after the last step every session must have a write acknowledged."""
_ASK_SECONDS = 30.0
_VIEWS = f"{things.Thing.name}@{things.Thing.version}"


class NotSteady(MeridianError):
    """The steady state was not met before anything was done: nothing that follows would mean anything."""


def run_scenario(
    scenario: Scenario,
    seed: int,
    watch: Watcher,
    history_file: Path | None = None,
    endpoints: Mapping[str, str] | None = None,
) -> Result | NotRun:
    """Run it and judge, with some regions at `endpoints`. Stops everything that it starts and deletes the tables that it
    makes elsewhere, also after an error. Raises NotSteady, ProcessFailed, and InvalidConfig where an endpoint is silent."""
    actions = [make_action(step) for step in scenario.method]
    places = place(scenario, seed, endpoints or {}, actions)
    if isinstance(places, NotRun):
        return places
    regions = places.regions
    with World(
        sorted(regions),
        [things.PROJECTION],
        read_timeout=_SLOW_SECONDS if places.endpoints else 3.0,
        attempts=2,
        proxied=any(action.proxied for action in actions),
        faulty=any(action.faulty for action in actions),
        clocks=any(action.clocks for action in actions),
        endpoints=places.endpoints,
        prefix=f"chaos-{uuid4().hex[:8]}" if places.endpoints else "meridian",
        seed=seed,
    ) as world:
        lines = history_file.open("w") if history_file is not None else None
        try:
            sampler = Sampler({each: world.direct(each) for each in regions}, time.monotonic, things.TYPE, _VIEWS)

            def told(line: Mapping[str, Any]) -> None:
                _write(lines, line)
                sampler.hear(line)

            stage = Stage(regions, world, watch, told, sampler)
            return Run(scenario, seed, stage, places.endpoints).go(list(zip(scenario.method, actions, strict=True)))
        finally:
            if lines is not None:
                lines.close()


def make_action(step: Step) -> Action:
    """The action of a step of a scenario that has been read."""
    return make(step.name, step.arguments)


def _write(lines: Any, line: Mapping[str, Any]) -> None:
    if lines is not None:
        lines.write(json.dumps(line, separators=(",", ":")) + "\n")


class Run:
    """One run of a scenario."""

    def __init__(self, scenario: Scenario, seed: int, stage: Stage, endpoints: Mapping[str, str]) -> None:
        self.scenario = scenario
        self.stage = stage
        self.result = Result(scenario, seed, stage.regions, endpoints)
        self._seed = seed
        self._began = 0
        self._over = 0
        """Of the history's calls the first since the timeline began, and since the last step was over."""

    # -- the run ---------------------------------------------------------------------------------------------------

    def go(self, steps: list[tuple[Step, Action]]) -> Result:
        try:
            try:
                self._open()
                self._steady()
                self._timeline(steps)
                self._finish()
            finally:
                for session in self.stage.sessions:
                    session.stop(0.0)
                end = time.monotonic() + 0.5
                for session in self.stage.sessions:
                    session.stop(max(0.0, end - time.monotonic()))
            self._converge()
        finally:
            self.stage.sampler.stop()
        self._judge()
        self.result.series = series(self.stage.history.calls, self.stage.sampler.samples, self.stage.began)
        for line in self.result.why:
            self.stage.watch.say(f"not kept: {line}")
        return self.result

    def _open(self) -> None:
        settings = {region: self.stage.world.settings(region) for region in self.stage.regions}
        controls = {region: DynamoControl(each) for region, each in settings.items()}
        if self.scenario.load.claims:
            storages = {region: DynamoStorage(each) for region, each in settings.items()}
            HomeMover(controls, storages, frozenset({things.SEAT})).move(sorted(self.stage.regions))
        for number in range(self.scenario.sessions):
            for region in self.stage.regions:
                process = f"{region}-{number}"
                chance = random.Random(f"{self._seed}/{process}")
                doors = self._doors(region)
                self.stage.sessions.append(Visitor(process, region, doors, self.stage.history, chance, self.scenario.load))
        for session in self.stage.sessions:
            session.start()
        self.stage.sampler.start()

    def _doors(self, home: str) -> Callable[[str], Doors]:
        """Every region as a client that runs in `home` reaches it."""
        own = self.stage.world.clocks.get(home)
        clock = HybridLogicalClock(own.wall if own is not None else wall_clock)
        stores = cache(lambda region: EventStore.connect(self.stage.world.settings(region), clock))
        controls = cache(lambda region: DynamoControl(self.stage.world.settings(region)))

        def opened(region: str) -> Doors:
            query = Query(things.Thing, stores(region), DynamoSink(self.stage.world.settings(region)))
            return Doors(stores(region), query, HomedClaims(region, controls, stores))

        return opened

    def _steady(self) -> None:
        """The steady state that the scenario supposes, met by everything before anything is done to it."""
        self.stage.watch.phase("steady state", 1)
        probes = {"acknowledged": self._acknowledged_everywhere, "arrives": self._arrives_everywhere}
        for name in self.scenario.probes:
            if not self.stage.until(probes[name], _STEADY_SECONDS):
                raise NotSteady(f"scenario {self.scenario.name}: probe {name} did not hold within {_STEADY_SECONDS:.0f} s")
        self.stage.begin()
        self._began = self._over = len(self.stage.history.calls)

    def _acknowledged_everywhere(self) -> bool:
        return {event.lane.partition("#")[0] for event in self.stage.history.acknowledged()} >= set(self.stage.regions)

    def _arrives_everywhere(self) -> bool:
        first: dict[str, tuple[str, int]] = {}
        for event in self.stage.history.acknowledged():
            first.setdefault(event.lane.partition("#")[0], (event.lane, event.sequence))
        places = list(first.values())
        return len(places) == len(self.stage.regions) and all(
            len(tables.digests(places)) == len(places) for tables in self.stage.tables.values()
        )

    def _timeline(self, steps: list[tuple[Step, Action]]) -> None:
        total = max([self.scenario.seconds, *(step.at + (step.lasts or 0) for step, _ in steps)])
        self.stage.watch.phase("timeline", int(total))
        waiting = sorted(steps, key=lambda pair: pair[0].at)
        active: list[tuple[float, Done, Action]] = []
        while waiting or active or self.stage.now < total:
            self.stage.watch.progress(int(self.stage.now))
            due = waiting[0][0].at if waiting else self.stage.now
            blocked = bool(waiting) and any(action.holds & waiting[0][1].holds for _, _, action in active)
            ends = min(active, key=lambda each: each[0], default=None)
            if ends is not None and ends[0] <= (self.stage.now if blocked else min(self.stage.now, due)):
                active.remove(ends)
                self._end(ends[1], ends[2])
            elif waiting and due <= self.stage.now and not blocked:
                step, action = waiting.pop(0)
                done = self._begin(step, action)
                if step.lasts is not None:
                    active.append((done.began + step.lasts, done, action))
            else:
                self.stage.until(lambda: False, 0.1)

    def _begin(self, step: Step, action: Action) -> Done:
        done = Done(step.name, step.arguments, self.stage.now)
        self.result.steps.append(done)
        self.stage.watch.say(f"{self.stage.now:5.1f} s  {step.name} {_words(step.arguments)}")
        action.start(self.stage)
        if step.lasts is None:
            self._is_over(done)
        return done

    def _end(self, done: Done, action: Action) -> None:
        action.stop(self.stage)
        self._is_over(done)
        self.stage.watch.say(f"{self.stage.now:5.1f} s  {done.name} ends{f': {done.said}' if done.said else ''}")

    def _is_over(self, done: Done) -> None:
        done.ended = self.stage.now
        done.said, done.struck = self.stage.take_remarks()
        self._over = len(self.stage.history.calls)

    def _finish(self) -> None:
        """Everything is healed; every client is answered again; then they write no more, and ask what became of what is
        unknown."""
        if self.stage.world.network is not None:
            self.stage.world.network.set(PASS)
        self.stage.until(lambda: not self._unanswered(), _ANSWER_SECONDS)
        self.result.unanswered = self._unanswered()
        self.result.load_seconds = self.stage.now
        for session in self.stage.sessions:
            session.finish()
        self.stage.until(lambda: all(session.done for session in self.stage.sessions), _ASK_SECONDS)
        self.result.unfinished = sorted(session.process for session in self.stage.sessions if not session.done)
        self.result.events = events_by_region(self.stage.history.calls[self._began :], self.stage.regions)
        called = {session.region for session in self.stage.sessions}
        self.result.silent = [region for region in self.stage.regions if region in called and not self.result.events[region]]

    def _unanswered(self) -> list[str]:
        """The sessions none of whose writes was acknowledged of those that were asked for after the last step was over."""
        answered = writers(self.stage.history.calls[self._over :])
        return sorted(session.process for session in self.stage.sessions if session.process not in answered)

    def _converge(self) -> None:
        started = time.monotonic()
        lanes = self._lanes()
        heads: dict[str, int] = {}
        for region, tables in self.stage.tables.items():
            heads |= tables.last([lane for lane in lanes if lane.startswith(f"{region}#")])
        vectors: dict[str, dict[str, int]] = {}
        for lane, last in heads.items():
            region, kind, name = lane.split("#")
            if kind == things.TYPE:
                vectors.setdefault(f"{_VIEWS}#{kind}/{name}", {})[region] = last
        wanted = {key: json.dumps(vector, sort_keys=True, separators=(",", ":")) for key, vector in vectors.items()}
        self.stage.watch.phase("converging", (len(heads) + len(wanted)) * len(self.stage.tables))

        def beat(done: int) -> None:
            self.stage.beat()
            self.stage.watch.progress(done)

        self.result.left = converge(self.stage.tables, heads, wanted, beat)
        if not self.result.left:
            self.result.converge_seconds = time.monotonic() - started

    def _lanes(self) -> list[str]:
        """Every lane that anybody may have written to."""
        calls = [call for call in self.stage.history.calls if call.outcome is not Outcome.FAIL]
        return sorted({event.lane for call in calls for event in call.events})

    def _judge(self) -> None:
        self.stage.world.stop_workers()
        self.stage.watch.phase("checking", len(self.stage.tables))
        finals: dict[str, Final] = {}
        for number, (region, tables) in enumerate(self.stage.tables.items(), 1):
            finals[region] = tables.final(self._lanes(), _VIEWS)
            if self.scenario.load.claims:
                finals[region].owners = self._owners(region)
            self.stage.watch.progress(number)
        self.result.verdict = check(self.stage.history, finals)
        self.result.calls = self.stage.history.counts()
        self.result.doubted = self.stage.history.doubted
        self.result.acknowledged = sum(1 for _ in self.stage.history.acknowledged())
        self.result.gone = len(self.stage.history.gone)

    def _owners(self, region: str) -> dict[str, str | None]:
        claims = self._doors(region)(region).claims
        seats = {call.value["stream"] for call in self.stage.history.calls if call.name in ("claim", "release")}
        owners = {seat: claims.owner(seat).owner for seat in sorted(seats)}
        return {seat: str(owner) if owner is not None else None for seat, owner in owners.items()}


def _words(arguments: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {json.dumps(value) if isinstance(value, (list, dict)) else value}" for key, value in arguments.items()
    )
