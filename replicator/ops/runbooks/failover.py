"""Failover: a region is dead, dying or cut off, and its writers move elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from replicator.domain.clock import time_of
from replicator.domain.errors import InvalidConfig, RegionUnavailable
from replicator.fencing.roles import FENCED
from replicator.ops.audit.anti_entropy import Mender
from replicator.ops.runbooks import steps as parts
from replicator.ops.runbooks.runbook import Going, Runbook, Step
from replicator.ops.runbooks.runs import Found
from replicator.ops.runbooks.summary import Summary
from replicator.ops.steering.port import Steering
from replicator.ops.system import System


class Failover(Runbook):
    """Fence `source`, steer its writers to `target`, and level the surviving events of its lanes between the others.

    `source` need not answer: the others then record that it is fenced, and it learns of it when it comes back. `lost` means
    that it is gone with all its data, or switched off and will come back only after `replicator bootstrap`: only then do the
    claims homed there get another owner region at once. Until it learns of its fence it may continue to write. That is
    harmless: its lanes are its own.
    """

    kind: ClassVar[str] = "failover"

    def __init__(
        self, system: System, source: str, target: str, *, steering: Steering, lost: bool = False, wait: float = 60.0
    ) -> None:
        super().__init__(system, {"from": source, "to": target})
        self.source, self.target = source, target
        self.steering = steering
        self.lost = lost
        self.wait = wait

    def coordinator(self) -> str:
        return self.target

    def check(self) -> None:
        self.system.at(self.source)
        self.system.at(self.target)
        if self.source == self.target:
            raise InvalidConfig(f"{self.source} cannot take over from itself; name another region")
        if self.target not in self.system.answering():
            raise RegionUnavailable(f"{self.target} does not answer, so it cannot take over; name another region")
        parts.insist_on_writable(self.system, self.target, {self.source} if self.lost else ())

    def steps(self) -> list[Step]:
        return [
            Step("fence", f"{self.source} takes no more appends; if it does not answer, the others record it", self._fence),
            Step("activate", f"{self.target} takes appends", self._activate),
            Step("steer", self.steering.plan(self.source, self.target), self._steer),
            Step("level", f"every surviving region gets all surviving events of {self.source}'s lanes", self._level),
            Step("note", f"record where {self.source}'s lanes end in {self.target}: later events are the RPO", self._note),
            Step("homes", f"claims that are homed in {self.source} get another home, if that is safe", self._homes),
        ]

    def _fence(self, going: Going) -> Found:
        up = self.system.answering([self.source])
        empty = self.source in up and parts.rebuilt(up[self.source])
        found = parts.set_role(self.system, self.source, FENCED, going.run, self.target)
        return {**found, "lost": self.lost, "rebuilt": empty}

    def _activate(self, going: Going) -> Found:
        return parts.activate(self.system, self.target, going.run, {self.source} if self.lost else ())

    def redo(self, found: Mapping[str, Found]) -> set[str]:
        return {"fence", "homes"} if self.lost and not found.get("fence", {}).get("lost", True) else set()

    def _steer(self, going: Going) -> Found:
        parts.insist_on_role(self.system, self.source, going.run)
        return {"done": self.steering.away(self.source, self.target)}

    def _level(self, going: Going) -> Found:
        self.system.sleep(parts.QUIET_SECONDS)  # the index may show lanes that were begun last a moment later
        up = {region: place for region, place in self.system.answering().items() if region != self.source}
        mended = Mender(up, self.system.sleep, self.system.monotonic).mend(of=self.source)
        return {"copied": mended.copied, "refused": mended.refused, "left": mended.left}

    def _note(self, going: Going) -> Found:
        target = self.system.at(self.target)
        ends = parts.note_ends(target, self.source, going.control, going.run)
        source = self.system.answering([self.source]).get(self.source)
        if source is None or going.found["fence"]["rebuilt"] or parts.rebuilt(source):
            return ends
        rpo = parts.beyond(source, self.source, parts.noted_ends(going.control, going.run))
        parts.note_rpo(going.control, going.run, rpo)
        return {**ends, "rpo": len(rpo)}

    def _homes(self, going: Going) -> Found:
        fenced, homes = going.found["fence"], parts.newest_homes(self.system)
        if homes is not None and not fenced["reached"] and not fenced["lost"]:
            return {"homes": None, "moved": self.source not in (*homes.regions, *homes.to)}
        lost = [] if fenced["reached"] else [self.source]
        return parts.leave_homes(self.system, going, self.source, self.target, lost, self.wait)

    def summary(self, going: Going) -> Summary:
        found, notes = going.found, []
        noted = found["note"]
        at = time_of(noted["newest"]).isoformat(timespec="milliseconds")
        newest = f", the newest from {at}" if noted["newest"] else ""
        rpo = None
        if "rpo" in noted:
            rpo = parts.noted_rpo(going.control, going.run)
        else:
            why = "came back without its data" if found["fence"]["rebuilt"] else "did not answer"
            notes.append(
                f"{self.source} {why}: the events that it acknowledged and did not send are not known yet. {self.target} "
                f"has {noted['events']:,} events in {noted['lanes']:,} of its lanes{newest}. Fail-back reports the rest"
            )
        if not found["fence"]["reached"]:
            notes.append(f"{self.source} does not know that it is fenced; it learns of it from its peers when it is back")
        if found["homes"].get("moved") is False:
            notes.append(
                f"claims that are homed in {self.source} can be neither made nor released until it is back; if it is lost "
                "for good, move them: replicator homes --set … --lost " + self.source
            )
        notes.append(found["steer"]["done"])
        return Summary(going.run, self.kind, 0.0, rpo=rpo, notes=notes)
