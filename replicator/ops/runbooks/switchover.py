"""Switchover: writers leave a healthy region as planned, and the new region has every event."""

from __future__ import annotations

from typing import ClassVar

from replicator.domain.errors import InvalidConfig, RegionUnavailable
from replicator.fencing.roles import DRAINING, FENCED
from replicator.ops.runbooks import bring_up
from replicator.ops.runbooks import steps as parts
from replicator.ops.runbooks.runbook import Going, Runbook, Step, Stopped
from replicator.ops.runbooks.runs import Found
from replicator.ops.runbooks.summary import Summary
from replicator.ops.steering.port import Steering
from replicator.ops.system import Place, System

_QUIET_TRIES = 5
_READ_BEFORE = 20_000
"""Maximum number of lanes whose heads are read from the tables before writers are steered, and not only after."""


class Switchover(Runbook):
    """Drain `source`, wait until `target` has all of its lanes, steer the writers over, and prove that nothing is missing.

    Events acknowledged in `source` before its writers left are in `target` when they arrive: RPO 0.
    """

    kind: ClassVar[str] = "switchover"

    def __init__(self, system: System, source: str, target: str, *, steering: Steering, wait: float = 60.0) -> None:
        super().__init__(system, {"from": source, "to": target})
        self.source, self.target = source, target
        self.steering = steering
        self.wait = wait

    def coordinator(self) -> str:
        return self.target

    def check(self) -> None:
        up = self.system.answering()
        for region in (self.source, self.target):
            self.system.at(region)
            if region not in up:
                raise RegionUnavailable(f"{region} does not answer, so nothing can be planned; use `replicator failover`")
        if self.source == self.target:
            raise InvalidConfig(f"{self.source} cannot take over from itself; name another region")
        for region in (self.source, self.target):
            parts.insist_on_writable(self.system, region)

    def steps(self) -> list[Step]:
        source, target = self.source, self.target
        return [
            Step("drain", f"{source} takes no more appends", self._drain),
            Step("activate", f"{target} takes appends", self._activate),
            Step("copy", f"wait until {target} has every event of {source}'s lanes", self._copy),
            Step("homes", f"claims that are homed in {source} get another home", self._homes),
            Step("steer", self.steering.plan(source, target), self._steer),
            Step("prove", f"nothing that {source} acknowledged is missing in {target}", self._prove),
            Step("fence", f"{source} stays fenced until it is failed back", self._fence),
        ]

    def _drain(self, going: Going) -> Found:
        found = parts.set_role(self.system, self.source, DRAINING, going.run, self.target)
        if not found["reached"]:
            raise RegionUnavailable(f"{self.source} no longer answers; run again, or use `replicator failover`")
        self.system.sleep(self.system.lease)  # writes without a condition check notice within that time
        return found

    def _activate(self, going: Going) -> Found:
        return parts.activate(self.system, self.target, going.run)

    def _copy(self, going: Going) -> Found:
        places = self._both()
        source, target = places[self.source], places[self.target]
        # Live replication is usually ahead, so there is nothing left to copy.
        found = bring_up.bring_up(self.system, places, going.tell, of=self.source)
        for _ in range(_QUIET_TRIES):
            self.system.sleep(parts.QUIET_SECONDS)  # the index may show lanes that were begun last a moment later
            again = bring_up.bring_up(self.system, places, going.tell, of=self.source)
            if not sum(again["copied"].values()):
                break
        lanes = parts.lanes_of(source, self.source)
        behind = parts.behind(source, target, lanes) if len(lanes) <= _READ_BEFORE else []
        if behind:
            raise Stopped(
                f"{len(behind)} lanes of {self.source} are incomplete in {self.target}, {behind[0]} among them; run again"
            )
        return {**found, **parts.note_ends(target, self.source, going.control, going.run)}

    def _homes(self, going: Going) -> Found:
        return parts.leave_homes(self.system, going, self.source, self.target, (), self.wait)

    def _steer(self, going: Going) -> Found:
        parts.insist_on_role(self.system, self.source, going.run)
        return {"done": self.steering.away(self.source, self.target)}

    def _prove(self, going: Going) -> Found:
        """Prove by the heads of all lanes in the tables themselves, whatever their summaries say."""
        places = self._both()
        source, target = places[self.source], places[self.target]
        ends = parts.noted_ends(going.control, going.run)
        lanes = parts.lanes_of(source, self.source)
        late = parts.later(source, lanes, ends)  # appends in progress when the fence was closed
        parts.note_rpo(going.control, going.run, late)
        for _ in range(_QUIET_TRIES):
            behind = parts.behind(source, target, lanes)
            if not behind:
                break
            going.tell(f"{len(behind):,} lanes got events after the fence was closed; they are copied")
            self.system.sleep(parts.QUIET_SECONDS)
            bring_up.bring_up(self.system, places, going.tell, of=self.source)
        if behind:
            raise Stopped(
                f"{len(behind)} lanes of {self.source} are incomplete in {self.target}, {behind[0]} among them; run again"
            )
        going.tell(f"proved: all {len(lanes):,} lanes of {self.source} end with the same digest in {self.target}")
        return {"lanes": len(lanes), "late": len(late)}

    def _fence(self, going: Going) -> Found:
        return parts.set_role(self.system, self.source, FENCED, going.run, self.target)

    def _both(self) -> dict[str, Place]:
        return {region: self.system.at(region) for region in (self.source, self.target)}

    def summary(self, going: Going) -> Summary:
        found, copied = going.found, going.found["copy"]
        notes = [
            f"{self.target} has all {copied['events']:,} events in {copied['lanes']:,} lanes of {self.source}: "
            "the same heads and digests",
            found["steer"]["done"],
            f"{self.source} is fenced; `replicator failback {self.source}` brings its writers back",
        ]
        return Summary(going.run, self.kind, 0.0, rpo=parts.noted_rpo(going.control, going.run), notes=notes)
