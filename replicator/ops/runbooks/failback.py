"""Fail-back: a region is back, whole or empty, and gets its writers back."""

from __future__ import annotations

from typing import Any, ClassVar

from replicator.control.control_storage import ControlStorage
from replicator.fencing.roles import FENCED, REBUILDING
from replicator.ops.runbooks import steps as parts
from replicator.ops.runbooks.recovery import Recovery
from replicator.ops.runbooks.runbook import Going, Step
from replicator.ops.runbooks.runs import Found, Header, headers, steps_of
from replicator.ops.runbooks.summary import Summary
from replicator.ops.steering.port import Steering
from replicator.ops.system import System


class Failback(Recovery):
    """Fence `region`, copy both ways until every lane's head and digest agree, prove it, unfence it, move its writers back.

    A region that came back empty or from a backup is brought up from its peers on the way, its own lanes included. The
    `options` are those of Recovery.
    """

    kind: ClassVar[str] = "failback"

    def __init__(self, system: System, region: str, *, steering: Steering, **options: Any) -> None:
        super().__init__(system, region, **options)
        self.steering = steering

    def steps(self) -> list[Step]:
        region = self.region
        return [
            Step("fence", f"{region} takes no appends while it is brought up", self._fence),
            Step("measure", f"events that {region} acknowledged and had not sent when it failed: the RPO", self._measure),
            Step("control", f"{region} receives the homes of claims and the roles", self._control),
            Step("copy", "copy both ways until every lane's head and digest agree", self._copy),
            Step("prove", f"{region} and the others are compared", self._prove),
            Step("unfence", f"{region} takes appends again", self._unfence),
            Step("steer", self.steering.plan(region, None), self._steer),
            Step("homes", f"claims that were homed in {region} return to it", self._homes),
        ]

    def _fence(self, going: Going) -> Found:
        empty = parts.rebuilt(self.system.at(self.region))
        return {**self._shut(going, REBUILDING if empty else FENCED), "rebuilt": empty}

    def _measure(self, going: Going) -> Found:
        left = self._left()
        if not left or going.found["fence"]["rebuilt"]:
            return {"known": False}
        control, header = left[-1]
        rpo = parts.beyond(self.system.at(self.region), self.region, parts.noted_ends(control, header.run))
        parts.note_rpo(going.control, going.run, rpo)
        return {"failover": header.run, "known": True}

    def _homes(self, going: Going) -> Found:
        noted = [steps_of(control, header.run).get("homes", {}).get("found", {}) for control, header in self._left()]
        before = next((found["homes"] for found in noted if found.get("homes")), None)
        if before is None:
            return {"homes": None}
        to = [home for home in before if home not in self.without]
        parts.move_homes(self.system, to, self.without, self.wait, going.tell)
        return {"homes": to}

    def _steer(self, going: Going) -> Found:
        return {"done": self.steering.back(self.region)}

    def _left(self) -> list[tuple[ControlStorage, Header]]:
        """Return the failovers and switchovers from this region since it last came back, in order, with the control state
        that holds them."""
        ended = [
            (place.control, header)
            for place in self.system.answering().values()
            for header in headers(place.control)
            if header.end == "done" and self.region in (header.args.get("from"), header.args.get("region"))
        ]
        left: list[tuple[ControlStorage, Header]] = []
        for control, header in sorted(ended, key=lambda each: each[1].begun):
            if header.kind == self.kind:
                left = []
            elif "from" in header.args:
                left.append((control, header))
        return left

    def summary(self, going: Going) -> Summary:
        found, notes = going.found, []
        rpo = parts.noted_rpo(going.control, going.run) if found["measure"]["known"] else None
        if found["fence"]["rebuilt"]:
            notes.append(
                f"{self.region} came back without its data: events that it had acknowledged and no other region had "
                "received were lost. Only their writers know which"
            )
        notes += [*self._notes(going), found["steer"]["done"]]
        return Summary(going.run, self.kind, 0.0, rpo=rpo, notes=notes)
