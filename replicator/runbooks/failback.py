"""Fail-back: a region is back, whole or empty, and takes its writers again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from replicator.control import ControlStorage
from replicator.fencing.roles import FENCED, REBUILDING
from replicator.runbooks import bringing, parts
from replicator.runbooks.bringing import check_answering
from replicator.runbooks.runbook import Going, Runbook, Step
from replicator.runbooks.runs import Found, Header, headers, steps_of
from replicator.runbooks.summary import Summary
from replicator.steering.port import Steering
from replicator.system import Place, System


class Failback(Runbook):
    """Fence `region`, copy both ways until every lane's head and digest agree, prove it, unfence it, move its writers back.

    A region that came back empty or from a backup is brought up from its peers on the way, its own lanes included; for that
    every other region must answer, or be `without`, since one that does not may be the one that has the latest events.
    `capacity` limits what is written to each region, in write units a second (0: no limit).
    """

    kind: ClassVar[str] = "failback"

    def __init__(
        self,
        system: System,
        region: str,
        *,
        steering: Steering,
        capacity: float = 0.0,
        without: tuple[str, ...] = (),
        wait: float = 60.0,
        force: bool = False,
    ) -> None:
        super().__init__(system, {"region": region})
        self.region = region
        self.steering = steering
        self.capacity = capacity
        self.without = without
        self.force = force
        self.wait = wait

    def coordinator(self) -> str:
        return bringing.coordinator(self.system, self.region)

    def check(self) -> None:
        check_answering(self.system, self.region, self.without)
        bringing.insist_on_reason(self.system, self.region, self.force)

    def stale(self, found: Mapping[str, Found]) -> bool:
        return bringing.replaced(self.system, self.region, found)

    def steps(self) -> list[Step]:
        region = self.region
        return [
            Step("fence", f"{region} takes no appends while it is brought up", self._fence),
            Step("measure", f"what {region} acknowledged and had not sent when it failed: the RPO", self._measure),
            Step("control", f"{region} is told of homes and roles", self._control),
            Step("copy", "both ways, until every lane's head and digest agree", self._copy),
            Step("prove", f"{region} and the others are compared", self._prove),
            Step("unfence", f"{region} takes appends again", self._unfence),
            Step("steer", self.steering.plan(region, None), self._steer),
            Step("homes", f"claims that were homed in {region} are again", self._homes),
        ]

    def _fence(self, going: Going) -> Found:
        why, place = going.run, self.system.at(self.region)
        empty, tables = parts.rebuilt(place), place.tables()
        found = parts.set_role(self.system, self.region, REBUILDING if empty else FENCED, why)
        self.system.sleep(self.system.lease)  # what is not checked in its own transaction notices within that time
        return {**found, "rebuilt": empty, "tables": tables}

    def _measure(self, going: Going) -> Found:
        left = self._left()
        if not left or going.found["fence"]["rebuilt"]:
            return {"known": False}
        control, header = left[-1]
        rpo = parts.beyond(self.system.at(self.region), self.region, parts.noted_ends(control, header.run))
        parts.note_rpo(going.control, going.run, rpo)
        return {"failover": header.run, "known": True}

    def _control(self, going: Going) -> Found:
        return bringing.hand_over_control(self.system, self.region)

    def _copy(self, going: Going) -> Found:
        return bringing.bring_up(self.system, self._places(), going.tell, self.capacity)

    def _prove(self, going: Going) -> Found:
        again, places = f"run `replicator failback {self.region}` again", self._places()
        comparison = bringing.prove(self.system, places, self.region, self.wait, going.tell, again, self.capacity)
        return {"lanes": comparison.lanes, "events": comparison.events}

    def _unfence(self, going: Going) -> Found:
        return bringing.unfence(self.system, self.region, going.run, going.found["fence"]["tables"])

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

    def _places(self) -> dict[str, Place]:
        check_answering(self.system, self.region, self.without)
        return self.system.answering()

    def _left(self) -> list[tuple[ControlStorage, Header]]:
        """The failovers and switchovers from this region since it last came back, in order, with where they are recorded."""
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
                f"{self.region} came back without its data: what it had acknowledged and no other region had got is "
                "lost. Which events those are, only their writers know"
            )
        copied = ", ".join(f"{link} {count:,}" for link, count in found["copy"]["copied"].items() if count)
        notes.append(f"copied: {copied or 'nothing, all was there'}")
        proved = found["prove"]
        notes.append(f"proved: {proved['events']:,} events in {proved['lanes']:,} lanes have the same heads and digests")
        notes.append(found["steer"]["done"])
        return Summary(going.run, self.kind, 0.0, rpo=rpo, notes=notes)
