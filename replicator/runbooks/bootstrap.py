"""Bootstrap: a new, emptied or restored region is brought up from its peers before it may write."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from replicator.fencing.roles import REBUILDING
from replicator.runbooks import bringing, parts
from replicator.runbooks.bringing import check_answering
from replicator.runbooks.runbook import Going, Runbook, Step
from replicator.runbooks.runs import Found
from replicator.runbooks.summary import Summary
from replicator.system import Place, System


class Bootstrap(Runbook):
    """Bring every lane to `region` from its peers, its own included, prove it, and let it take appends.

    Live replication goes on meanwhile. `capacity` and `without` as for Failback.
    """

    kind: ClassVar[str] = "bootstrap"

    def __init__(
        self,
        system: System,
        region: str,
        *,
        capacity: float = 0.0,
        without: tuple[str, ...] = (),
        wait: float = 60.0,
        force: bool = False,
    ) -> None:
        super().__init__(system, {"region": region})
        self.region = region
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
            Step("control", f"{region} is told of homes and roles", self._control),
            Step("copy", f"every lane that {region} lacks, its own included, from whoever has most of it", self._copy),
            Step("prove", f"{region} and the others are compared", self._prove),
            Step("unfence", f"{region} takes appends", self._unfence),
        ]

    def _fence(self, going: Going) -> Found:
        tables = self.system.at(self.region).tables()
        found = parts.set_role(self.system, self.region, REBUILDING, going.run)
        self.system.sleep(self.system.lease)
        return {**found, "tables": tables}

    def _control(self, going: Going) -> Found:
        return bringing.hand_over_control(self.system, self.region)

    def _copy(self, going: Going) -> Found:
        return bringing.bring_up(self.system, self._places(), going.tell, self.capacity)

    def _prove(self, going: Going) -> Found:
        again = f"run `replicator bootstrap {self.region}` again"
        comparison = bringing.prove(self.system, self._places(), self.region, self.wait, going.tell, again, self.capacity)
        return {"lanes": comparison.lanes, "events": comparison.events}

    def _unfence(self, going: Going) -> Found:
        return bringing.unfence(self.system, self.region, going.run, going.found["fence"]["tables"])

    def _places(self) -> dict[str, Place]:
        check_answering(self.system, self.region, self.without)
        return self.system.answering()

    def summary(self, going: Going) -> Summary:
        copied = {link: count for link, count in going.found["copy"]["copied"].items() if count}
        proved = going.found["prove"]
        notes = [
            f"copied: {', '.join(f'{link} {count:,}' for link, count in copied.items()) or 'nothing, all was there'}",
            f"proved: {proved['events']:,} events in {proved['lanes']:,} lanes have the same heads and digests",
        ]
        return Summary(going.run, self.kind, 0.0, notes=notes)
