"""The drill: real flights into every region, one region struck in the middle, its writers moved away and back by the
replicator's runbooks, and then every promise checked. What strikes it is one of chaos/drills/kinds.py.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence

from chaos.drills import sabotage
from chaos.drills.checker import Verdict, expected_vectors
from chaos.drills.convergence import converge
from chaos.drills.flights import PROJECTION, Selection, data_file, select
from chaos.drills.judging import judge
from chaos.drills.kinds import KINDS
from chaos.drills.outage import Outage
from chaos.drills.result import REGIONS, DrillConfig, DrillResult
from chaos.drills.stage import Stage, Watcher
from chaos.world.world import World
from replicator.errors import MeridianError

__all__ = ["Drill", "Watcher", "make_world", "run_drill"]


def run_drill(config: DrillConfig, watch: Watcher) -> DrillResult:
    """Run a drill on a world of its own and judge it. Everything it starts has stopped when it returns or raises."""
    started = time.monotonic()
    data_file()
    watch.phase("reading flights", 1)
    selection = select(config.events, config.seed)
    watch.phase("starting regions", config.regions)
    with make_world(config, watch) as world:
        drill = Drill(config, world, selection, watch)
        try:
            drill.load()
            drill.converge()
        finally:
            drill.stage.stop_desks()
        drill.check()
        drill.result.total_seconds = time.monotonic() - started
        return drill.result


def make_world(config: DrillConfig, watch: Watcher) -> World:
    """The world that a drill of this kind needs."""
    regions: Sequence[str] = REGIONS[: config.regions]
    if config.terraform:
        from chaos.world.terraform import TerraformWorld

        return TerraformWorld(regions, [PROJECTION], read_timeout=3.0, attempts=2, step=watch.say)
    return World(regions, [PROJECTION], read_timeout=3.0, attempts=2, proxied=KINDS[config.kind].proxied)


class Drill:
    """One run in one world: `load`, `converge`, `check`, in this order."""

    def __init__(self, config: DrillConfig, world: World, selection: Selection, watch: Watcher) -> None:
        self.stage = Stage(config, world, selection, watch)
        self.world = world
        self.result = self.stage.result
        self.tables = self.stage.tables
        self._watch = watch

    def load(self) -> None:
        """Let every desk report everything, with the outage, the failover and the fail-back on the way."""
        stage = self.stage
        self._watch.phase("appending", stage.total)
        stage.start_desks()
        Outage(stage).run()
        stage.until(lambda: all(desk.done for desk in stage.desks))
        self.result.load_seconds = stage.now
        stage.until(lambda: stage.supervisor.kills_left == 0)
        history, result = stage.history, self.result
        result.acknowledged = history.count()
        result.unknown, result.unknown_written = history.unknown, history.resolved_written
        result.gone_events, result.gone_lanes = history.gone_events, len({lane for lane, _ in history.gone})
        if result.acknowledged != stage.total:
            raise MeridianError(f"{stage.total} reports were to be made, {result.acknowledged} were acknowledged")

    def converge(self) -> None:
        """Wait until every lane's last event and every view's last vector are in every region."""
        started = time.monotonic()
        heads, vectors = self.stage.history.heads(), expected_vectors(self.stage.history)
        self._watch.phase("converging", (len(heads) + len(vectors)) * len(self.tables))

        def beat(done: int) -> None:
            self.stage.supervisor.keep_workers()
            self._watch.progress(done)

        if left := converge(self.tables, heads, vectors, beat):
            self._watch.say(f"gave up: {left} lanes and views have not arrived and nothing moves")
        else:
            self.result.converge_seconds = time.monotonic() - started

    def check(self) -> None:
        """Stop the workers, break a promise if asked to, and judge."""
        breaks = self.result.config.breaks
        self.result.memory_mb = self.world.memory_mb() + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self.world.stop_workers()
        if breaks is not None:
            self._watch.say(f"breaking a promise on purpose: {breaks}")
            sabotage.break_promise(breaks, list(self.tables.values()), self.world.settings(self.stage.victim))
        self.result.verdict = self.judge()

    def judge(self) -> Verdict:
        """Read everything and hold it against the history and the data set."""
        self._watch.phase("checking", len(self.tables) + 2)
        return judge(self.tables, self.stage.history, self.stage.selection, self._watch.progress)
