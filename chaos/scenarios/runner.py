"""Runner of scenarios: a world, sessions that write and read in it, the timeline, and the checker at the end."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from chaos.checker.convergence import converge
from chaos.checker.history import Final, Kept, Outcome
from chaos.checker.verdict import Verdict
from chaos.scenarios.action import Action
from chaos.scenarios.actions import MoveBack, make
from chaos.scenarios.evidence import events_by_region, writers
from chaos.scenarios.load import Workload
from chaos.scenarios.outage import Outage
from chaos.scenarios.places import NotRun, place
from chaos.scenarios.result import Done, Result
from chaos.scenarios.sampling import Sampler, series
from chaos.scenarios.scenario import ORDINALS, Scenario, Step
from chaos.scenarios.stage import Stage
from chaos.scenarios.watcher import Watcher
from chaos.world.network import PASS
from chaos.world.world import World, WorldOptions
from replicator.domain.errors import MeridianError

_HEARTBEAT_SECONDS = 2.0
"""Seconds between the heartbeats of a region's workers: a scenario takes half a minute."""
_SLOW_SECONDS = 10.0
"""Maximum seconds of a request at an endpoint that is not ours: LocalStack needs seconds under load."""
_STEADY_SECONDS = 60.0
_ANSWER_SECONDS = 30.0
"""Seconds after the last step within which every session must have a write acknowledged."""
_ASK_SECONDS = 30.0


class NotSteady(MeridianError):
    """Error: the steady state was not met before the first action, so nothing that follows would mean anything."""


def run_scenario(
    scenario: Scenario,
    seed: int,
    watch: Watcher,
    history_file: Path | None = None,
    endpoints: Mapping[str, str] | None = None,
) -> Result | NotRun:
    """Run a scenario and judge it, with some regions at `endpoints`. Stops everything that it starts and deletes the tables
    that it makes elsewhere, also after an error. Raises NotSteady, ProcessFailed, and InvalidConfig where an endpoint is
    silent."""
    with opened(scenario, seed, watch, history_file, endpoints) as run:
        return run if isinstance(run, NotRun) else run.go()


@contextmanager
def opened(
    scenario: Scenario,
    seed: int,
    watch: Watcher,
    history_file: Path | None = None,
    endpoints: Mapping[str, str] | None = None,
    terraform: bool = False,
    sampled: bool = True,
) -> Iterator[Run | NotRun]:
    """Open a run of the scenario in a world of its own, which exists until this is closed. `terraform`: a world in which
    what Terraform deployed does the work. `sampled`: arrivals are sampled while it runs, for a chart."""
    actions = [make_action(step) for step in scenario.method]
    places = place(scenario, seed, endpoints or {}, actions)
    if isinstance(places, NotRun):
        yield places
        return
    regions, kind = places.regions, scenario.load.workload
    with ExitStack() as stack:
        watch.phase("starting regions", len(regions))
        if terraform:
            world = stack.enter_context(_terraformed(sorted(regions), kind.projection, watch))
        else:
            options = WorldOptions(
                read_timeout=_SLOW_SECONDS if places.endpoints else kind.read_timeout,
                attempts=2,
                proxied=any(action.proxied for action in actions),
                faulty=any(action.faulty for action in actions),
                clocks=any(action.clocks for action in actions),
                endpoints=places.endpoints,
                prefix=f"chaos-{uuid4().hex[:8]}" if places.endpoints else "meridian",
                seed=seed,
                heartbeat=_HEARTBEAT_SECONDS,
            )
            world = stack.enter_context(World(sorted(regions), [kind.projection], options))
        lines = stack.enter_context(history_file.open("w")) if history_file is not None else None
        looked_at = {each: world.direct(each) for each in regions if sampled}
        sampler = Sampler(looked_at, time.monotonic, kind.type, kind.views)

        def told(line: Mapping[str, Any]) -> None:
            _write(lines, line)
            sampler.hear(line)

        sink = told if sampled or lines is not None else None
        stage = Stage(regions, world, watch, sink, scenario.kills, seed)
        stage.workload = kind(stage, scenario, seed)
        stage.outage = _outage(stage, actions)
        yield Run(scenario, seed, stage, places.endpoints, sampler, list(zip(scenario.method, actions, strict=True)))


def _terraformed(regions: Sequence[str], projection: str, watch: Watcher) -> World:
    from chaos.world.terraform import TerraformWorld

    return TerraformWorld(regions, [projection], read_timeout=3.0, attempts=2, step=watch.say)


def _outage(stage: Stage, actions: Iterable[Action]) -> Outage:
    """Return the measured outage: of the region whose clients the first runbook moves; where none does, of the first
    region."""
    moved = next((action.region for action in actions if action.moves), None)
    return Outage(stage, stage.name(moved or "first"), moved is not None)


def make_action(step: Step) -> Action:
    """Return the action of a step of a scenario that has been read."""
    return make(step.name, step.arguments)


def _write(lines: Any, line: Mapping[str, Any]) -> None:
    if lines is not None:
        lines.write(json.dumps(line, separators=(",", ":")) + "\n")


@dataclass(frozen=True, slots=True)
class _Active:
    """Step that lasts."""

    step: Step
    action: Action
    done: Done
    ends: float


class Run:
    """One run of a scenario."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        stage: Stage,
        endpoints: Mapping[str, str],
        sampler: Sampler,
        steps: Sequence[tuple[Step, Action]] = (),
    ) -> None:
        self.scenario = scenario
        self.stage = stage
        self.result = Result(scenario, seed, stage.regions, endpoints)
        self._sampler = sampler
        self._steps = steps
        self._began = 0
        self._over = 0
        """Indexes in the history's calls: the first since the timeline began (`_began`), and the first since the last step
        was over."""

    # -- the run ---------------------------------------------------------------------------------------------------

    def go(self, spoil: Callable[[Stage], None] = lambda stage: None) -> Result:
        """Run the scenario and judge it. `spoil` is called when everything has come to its end, before the final reads."""
        try:
            try:
                self._open()
                self._steady()
                self._timeline(self._steps)
                self._finish()
            finally:
                for session in self.stage.sessions:
                    session.stop(0.0)
                end = time.monotonic() + 0.5
                for session in self.stage.sessions:
                    session.stop(max(0.0, end - time.monotonic()))
            self._converge()
        finally:
            self._sampler.stop()
        self.result.writes = self.stage.world.event_writes()
        self.result.memory_mb = self.stage.world.memory_mb() + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.stage.world.stop_workers()
        spoil(self.stage)
        self._account()
        self.result.verdict = self.judge()
        for line in self.result.why:
            self.stage.watch.say(f"not kept: {line}")
        return self.result

    @property
    def _clients(self) -> Workload:
        assert isinstance(self.stage.workload, Workload)
        return self.stage.workload

    def _open(self) -> None:
        self._clients.start()
        self._sampler.start()

    def _steady(self) -> None:
        """Wait for the steady state that the scenario requires, before anything is done."""
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

    def _timeline(self, steps: Sequence[tuple[Step, Action]]) -> None:
        stage, workload = self.stage, self._clients
        total = max([self.scenario.seconds if workload.endless else 0, *(step.at + (step.lasts or 0) for step, _ in steps)])
        stage.watch.phase(workload.phase, (workload.progress() or (0, int(total)))[1])
        waiting = sorted(steps, key=lambda pair: pair[0].at)
        active: list[_Active] = []
        while waiting or active or stage.now < total:
            self._tell_progress()
            due = bool(waiting) and waiting[0][0].at <= stage.now and self._reached(waiting[0][0].when)
            blocked = bool(waiting) and any(each.action.holds & waiting[0][1].holds for each in active)
            past = [each for each in active if each.ends <= stage.now and self._reached(each.step.until)]
            over = min(past, key=lambda each: each.ends, default=None)
            if over is not None and (not due or blocked or over.ends <= waiting[0][0].at):
                active.remove(over)
                self._end(over.done, over.action)
            elif due and not blocked:
                step, action = waiting.pop(0)
                done = self._begin(step, action)
                if step.lasting:
                    active.append(_Active(step, action, done, done.began + (step.lasts or 0)))
            else:
                stage.until(lambda: False, 0.1)

    def _reached(self, condition: str | None) -> bool:
        return condition is None or self._clients.reached(condition)

    def _tell_progress(self) -> None:
        self.stage.watch.progress((self._clients.progress() or (int(self.stage.now), 0))[0])

    def _begin(self, step: Step, action: Action) -> Done:
        stage, outage = self.stage, self.stage.outage
        done = Done(step.name, step.arguments, stage.now)
        self.result.steps.append(done)
        stage.watch.say(f"{stage.now:5.1f} s  {step.name} {_words(step.arguments)}")
        begins = not outage.begun and (self._strikes(action) or self._moves(action))
        if begins:
            outage.begin()
        if begins and self._moves(action):
            self._outage_struck()
        if isinstance(action, MoveBack) and stage.name(action.region) == outage.figures.region and outage.lasts:
            outage.end(silent=False)
            self._clients.healed()
        action.start(stage)
        if begins and not self._moves(action):
            self._outage_struck()
        if isinstance(action, MoveBack) and stage.name(action.region) == outage.figures.region:
            outage.came_home()
        if not step.lasting:
            self._is_over(done)
        return done

    def _end(self, done: Done, action: Action) -> None:
        outage = self.stage.outage
        ends = outage.lasts and self._strikes(action)
        if ends:
            outage.end(action.silences(self._struck))
        action.stop(self.stage)
        self._is_over(done)
        self.stage.watch.say(f"{self.stage.now:5.1f} s  {done.name} ends{f': {done.said}' if done.said else ''}")
        if ends:
            self._clients.healed()
            if not outage.moves:
                outage.went_on()

    def _is_over(self, done: Done) -> None:
        done.ended = self.stage.now
        done.said, done.struck = self.stage.take_remarks()
        self._over = len(self.stage.history.calls)

    def _finish(self) -> None:
        """Heal everything and wait until every client is answered again; then clients stop writing and resolve unknown
        outcomes. Clients with a fixed amount to do end by themselves."""
        stage = self.stage
        if stage.world.network is not None:
            stage.world.network.set(PASS)
        if self._clients.endless:
            stage.until(lambda: not self._unanswered(), _ANSWER_SECONDS)
            self.result.unanswered = self._unanswered()
            self.result.load_seconds = stage.now
            for session in stage.sessions:
                session.finish()
            stage.until(lambda: all(session.done for session in stage.sessions), _ASK_SECONDS)
        else:
            self._wait(lambda: all(session.done for session in stage.sessions))
            self.result.load_seconds = stage.now
            self._wait(lambda: stage.kills_left == 0)
            self._clients.finish()
        self.result.unfinished = sorted(session.process for session in stage.sessions if not session.done)
        self.result.events = events_by_region(stage.history.calls[self._began :], stage.regions)
        called = {session.region for session in stage.sessions}
        self.result.silent = [region for region in stage.regions if region in called and not self.result.events[region]]

    def _unanswered(self) -> list[str]:
        """Return the sessions that had none of their writes since the end of the last step acknowledged."""
        answered = writers(self.stage.history.calls[self._over :])
        return sorted(session.process for session in self.stage.sessions if session.process not in answered)

    def _converge(self) -> None:
        """Wait until every lane's last event and every view's last vector are in every region."""
        stage, workload, started = self.stage, self._clients, time.monotonic()
        heads = stage.history.heads()
        doubtful = {e.lane for call in stage.history.calls if call.outcome is Outcome.UNKNOWN for e in call.events}
        for region, tables in stage.tables.items():
            for lane, last in tables.last([lane for lane in doubtful if lane.startswith(f"{region}#")]).items():
                heads[lane] = max(last, heads.get(lane, 0))
        vectors: dict[str, dict[str, int]] = {}
        for lane, last in heads.items():
            region, kind, name = lane.split("#")
            if kind == workload.type:
                vectors.setdefault(f"{workload.views}#{kind}/{name}", {})[region] = last
        wanted = {key: json.dumps(vector, sort_keys=True, separators=(",", ":")) for key, vector in vectors.items()}
        stage.watch.phase("converging", (len(heads) + len(wanted)) * len(stage.tables))

        def beat(done: int) -> None:
            stage.beat()
            stage.watch.progress(done)

        self.result.left = converge(stage.tables, heads, wanted, beat)
        if not self.result.left:
            self.result.converge_seconds = time.monotonic() - started
        else:
            stage.watch.say(f"gave up: {self.result.left} lanes and views have not arrived, and none arrives any more")

    def _account(self) -> None:
        """Record the counts of the clients' outcomes."""
        history, outage = self.stage.history, self.stage.outage
        self.result.calls = history.counts()
        self.result.doubted = history.doubted
        self.result.acknowledged = history.count()
        self.result.doubted_events, self.result.confirmed_events = history.doubted_events, history.confirmed_events
        self.result.gone, self.result.gone_lanes = history.gone_events, len(history.gone_from)
        self.result.copied = history.copied(max(2, getattr(self.scenario.load, "copies", 1)))
        self.result.kills = self.stage.kills
        self.result.series = series(history.calls, self._sampler.samples, self.stage.began)
        outage.measure_rto(self.stage.sessions)
        if self._measured:
            self.result.outage = outage.figures

    def judge(self) -> Verdict:
        """Read everything and judge it by the history."""
        stage, workload = self.stage, self._clients
        stage.watch.phase("checking", len(stage.tables) + 1)
        lanes = {e.lane for call in stage.history.calls if call.outcome is not Outcome.FAIL for e in call.events}
        finals: dict[str, Final] = {}
        shared: dict[tuple[str, str], Kept] = {}
        for number, (region, tables) in enumerate(stage.tables.items(), 1):
            finals[region] = tables.final(sorted(lanes), workload.views, shared)
            workload.read(region, finals[region])
            stage.watch.progress(number)
        self.result.views = max(len(final.views) for final in finals.values())
        verdict = workload.judge(stage.history, finals)
        stage.watch.progress(len(stage.tables) + 1)
        return verdict

    # -- the outage ------------------------------------------------------------------------------------------------

    @property
    def _struck(self) -> str:
        """Ordinal of the region whose outage is measured."""
        return ORDINALS[self.stage.regions.index(self.stage.outage.figures.region)]

    @property
    def _measured(self) -> bool:
        return self.stage.outage.moves or self._clients.measured

    def _strikes(self, action: Action) -> bool:
        return self._measured and action.strikes(self._struck)

    def _moves(self, action: Action) -> bool:
        return action.moves and action.region == self._struck

    def _outage_struck(self) -> None:
        self.stage.outage.struck()
        self._clients.struck()

    def _wait(self, condition: Callable[[], bool]) -> None:
        while not self.stage.until(condition, 0.5):
            self._tell_progress()


def _words(arguments: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} {json.dumps(value) if isinstance(value, (list, dict)) else value}" for key, value in arguments.items()
    )
