"""Switchover: writers leave a healthy region as planned, and nothing is missing where they go."""

from __future__ import annotations

from typing import ClassVar

from replicator.audit.comparison import compare
from replicator.errors import InvalidConfig, RegionUnavailable
from replicator.fencing.roles import ACTIVE, DRAINING, FENCED, REBUILDING, read_role
from replicator.runbooks import bringing, parts
from replicator.runbooks.runbook import Going, Runbook, Step, Stopped
from replicator.runbooks.runs import Found
from replicator.runbooks.summary import Summary
from replicator.steering.port import Steering
from replicator.system import Place, System


class Switchover(Runbook):
    """Drain `source`, wait until `target` has all of its lanes, steer the writers over, and prove that nothing is missing.

    What was acknowledged in `source` before its writers went is in `target` when they arrive: RPO 0.
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
        role = read_role(self.system.at(self.target).control)
        if role is not None and role.name == REBUILDING:
            raise Stopped(f"{self.target} is being rebuilt and lacks events; name another region, or let that end first")

    def steps(self) -> list[Step]:
        source, target = self.source, self.target
        return [
            Step("drain", f"{source} takes no more appends", self._drain),
            Step("activate", f"{target} takes appends", self._activate),
            Step("copy", f"until {target} has every event of {source}'s lanes", self._copy),
            Step("homes", f"claims that are homed in {source} get another home", self._homes),
            Step("steer", self.steering.plan(source, target), self._steer),
            Step("prove", f"nothing that {source} acknowledged is missing in {target}", self._prove),
            Step("fence", f"{source} stays fenced until it is failed back", self._fence),
        ]

    def _drain(self, going: Going) -> Found:
        found = parts.set_role(self.system, self.source, DRAINING, f"switchover {going.run}", self.target)
        if not found["reached"]:
            raise RegionUnavailable(f"{self.source} does not answer any more; run again, or use `replicator failover`")
        self.system.sleep(self.system.lease)  # what is not checked in its own transaction notices within that time
        return found

    def _activate(self, going: Going) -> Found:
        role = read_role(self.system.at(self.target).control)
        if role is None or role.active:
            return {"role": ACTIVE}
        return parts.set_role(self.system, self.target, ACTIVE, f"switchover {going.run}")

    def _copy(self, going: Going) -> Found:
        places = self._both()
        # Live replication is mostly ahead of us, and then there is nothing left to copy.
        found = bringing.bring_up(self.system, places, going.tell, of=self.source)
        ends = parts.note_ends(self.system.at(self.target), self.source, going.control, going.run)
        return {**found, **ends}

    def _homes(self, going: Going) -> Found:
        return parts.leave_homes(self.system, going, self.source, self.target, (), self.wait)

    def _steer(self, going: Going) -> Found:
        return {"done": self.steering.away(self.source, self.target)}

    def _prove(self, going: Going) -> Found:
        rpo = parts.beyond(self.system.at(self.source), self.source, parts.noted_ends(going.control, going.run))
        parts.note_rpo(going.control, going.run, rpo)  # appends that were under way when the fence was closed
        own = lambda finding: finding.lane.region == self.source  # noqa: E731
        comparison = compare(self._both(), self.system.sleep, self.wait, tell=going.tell, only=own)
        parts.insist(comparison, {self.source}, "run this again")
        return {"lanes": comparison.lanes, "events": comparison.events, "late": len(rpo)}

    def _fence(self, going: Going) -> Found:
        return parts.set_role(self.system, self.source, FENCED, f"switchover {going.run}", self.target)

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
