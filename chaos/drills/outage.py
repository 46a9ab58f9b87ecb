"""An outage from its first second to the writers' return, as one kind has it, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from chaos.drills.operator import Runbook, Running, WriterSteering
from chaos.drills.result import Fault
from chaos.drills.stage import Stage
from replicator import NewEvent
from replicator.errors import RegionUnavailable
from replicator.runbooks import Failback, Failover, Switchover
from replicator.system import System

_UNTIL_MOVED = 10.0
"""What waits before the first gate is to last for so many seconds: an outage is to find every writer at work."""

_ON_ITS_WAY = 1.0
"""What is acknowledged so soon after the links were cut may have been copied just before."""


class Outage:
    """`run` strikes the stage's victim and returns when everything is as before. Fills the stage's result in."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.kind = stage.kind
        self.fault = Fault(self.kind.name, stage.victim, 0.0)
        wanted = stage.result.config.outage
        self._cut = 0.0
        self._at_least = self.kind.outage if wanted is None else wanted
        self._steering = WriterSteering(stage.followers, self._leaving, self._returning)

    @property
    def seconds(self) -> float:
        """Since it began."""
        return self.stage.now - self.fault.at

    def run(self) -> None:
        """Strike, move the writers away (or let them go on), heal, bring them home."""
        stage = self.stage
        self.kind.wait(stage)
        self.fault.at = stage.now
        stage.result.faults.append(self.fault)
        stage.watch.say(f"{self.kind.name} of {stage.victim}")
        self.kind.strike(stage)
        self._cut = stage.history.clock()
        stage.slow_down(_UNTIL_MOVED)
        if self.kind.loses:
            stage.losses.died(stage.begun + self.fault.at)
            stage.result.old_events, stage.result.old_missing = stage.losses.old, stage.losses.old_missing
        if self.kind.moves:
            self._move_away()
        else:
            self._go_on()
        stage.until(lambda: stage.history.count() >= stage.heal_at or self._others_done())
        stage.until(lambda: self.seconds >= self._at_least)
        if self.kind.silent:
            self._measure_rpo()
        self._look()
        self._heal()

    def _others_done(self) -> bool:
        """Only desks that need the struck region are left: waiting longer would wait for ever."""
        return all(desk.at_gate or desk.home == self.stage.victim for desk in self.stage.desks)

    # -- away ------------------------------------------------------------------------------------------------------

    def _move_away(self) -> None:
        """The operator notices, and moves the writers. What they find there to do waited behind the gate until now."""
        stage = self.stage
        stage.until(lambda: self.kind.noticed(stage, self.seconds))
        moving = [desk for desk in stage.followers if not desk.done]
        summary = self._run(self._away())
        stage.result.told_rpo = summary.rpo_events
        stage.until(lambda: any(desk.moved_at for desk in moving) or all(desk.done for desk in moving))
        moved = [desk.moved_at for desk in moving if desk.moved_at]
        stage.result.rto_seconds = min(moved) - stage.begun - self.fault.at if moved else None

    def _away(self) -> Runbook:
        stage = self.stage
        system = System.connect(self.kind.seen_from(stage))
        if self.kind.planned:
            return Switchover(system, stage.victim, stage.refuge, steering=self._steering)
        return Failover(system, stage.victim, stage.refuge, steering=self._steering, lost=self.kind.loses)

    def _go_on(self) -> None:
        """Nobody moves: the writers of the struck region go on in it."""
        before = self.stage.own_events
        self._open_gates()
        self.stage.until(lambda: self.stage.own_events > before)
        self.stage.result.rto_seconds = self.seconds

    def _leaving(self, _: str) -> None:
        """The writers are about to move."""
        self._measure_rpo()
        self._open_gates()

    def _open_gates(self) -> None:
        stage = self.stage
        for desk in stage.desks:
            desk.open_gates(1)
        stage.slow_down(self._at_least)

    def _measure_rpo(self) -> None:
        """What was acknowledged in the victim and is not in the refuge."""
        missing = self.stage.losses.missing(self.stage.refuge)
        self.stage.result.rpo_events, self.stage.result.rpo_lanes = len(missing), len({lane for lane, _ in missing})

    def _look(self) -> None:
        """Whether this is the outage that it was to be, while it lasts."""
        history, result, victim = self.stage.history, self.stage.result, self.stage.victim
        third = history.clock() - self.seconds / 3
        written = {region: len(history.of(region, since=third)) for region in self.stage.tables}
        result.late_events = (written.pop(victim), sum(written.values()))
        if self.kind.cuts:
            cut = history.of(victim, since=self._cut + _ON_ITS_WAY)
            others = [tables for region, tables in self.stage.tables.items() if region != victim]
            result.cut_events = len(cut)
            result.cut_arrived = len({key for tables in others for key in tables.digests(cut)})

    # -- and back --------------------------------------------------------------------------------------------------

    def _heal(self) -> None:
        stage, began = self.stage, time.monotonic()
        self.fault.until = stage.now
        heads = stage.history.heads()
        stage.slow_down(0.0)
        self.kind.heal(stage)
        for desk in stage.desks:
            if desk not in stage.followers or not self.kind.moves:
                desk.open_gates(2)
        if self.kind.loses:
            self._try_too_early()
        if self.kind.moves:
            system = System.connect(self.kind.seen_from(stage))
            summary = self._run(Failback(system, stage.victim, steering=self._steering))
            if summary.rpo_events is not None:  # a region that did not answer could not say it before
                stage.result.told_rpo = summary.rpo_events
            stage.until(lambda: all(desk.done or desk.region == stage.victim for desk in stage.followers))
        else:
            stage.until(lambda: all(len(tables.present(heads)) == len(heads) for tables in stage.tables.values()))
        stage.result.failback_seconds = time.monotonic() - began

    def _try_too_early(self) -> None:
        """An application that was there before the region lost its data must not be able to write before it is up again."""
        stage = self.stage
        try:
            stage.stores[stage.victim].append("probe/1", NewEvent("probed", {"flight": "none", "row": -1}))
            stage.watch.say(f"{stage.victim} took an append before it was brought up again")  # which comes from nowhere
        except RegionUnavailable as error:
            stage.watch.say(f"refused, as it must be: {error}")

    def _returning(self, _: str) -> Collection[bytes] | None:
        """The writers are about to come home. Where the region lost its data: what of it survived anywhere."""
        stage = self.stage
        for desk in stage.followers:
            desk.open_gates(2)
        if not self.kind.loses:
            return None
        doubtful = [(e.lane.key, e.sequence) for desk in stage.followers for e in desk.unsure(stage.victim)]
        survived = stage.losses.settle(doubtful)
        stage.watch.say(f"{stage.history.gone_events:,} acknowledged events of {stage.victim} survived nowhere")
        return survived

    def _run(self, book: Runbook) -> Any:
        """Run a runbook as the operator does, while the world goes on. Returns its summary."""
        running = Running(book, self.stage.watch.say)
        self.stage.until(lambda: running.done)
        return running.summary()
