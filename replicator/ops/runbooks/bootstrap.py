"""Bootstrap: brings up a new, emptied or restored region from its peers before it may write."""

from __future__ import annotations

from typing import ClassVar

from replicator.fencing.roles import REBUILDING
from replicator.ops.runbooks.recovery import Recovery
from replicator.ops.runbooks.runbook import Going, Step
from replicator.ops.runbooks.runs import Found
from replicator.ops.runbooks.summary import Summary


class Bootstrap(Recovery):
    """Bring every lane to `region` from its peers, its own included, prove it, and let it accept appends.

    Live replication continues meanwhile.
    """

    kind: ClassVar[str] = "bootstrap"

    def steps(self) -> list[Step]:
        region = self.region
        return [
            Step("fence", f"{region} takes no appends while it is brought up", self._fence),
            Step("control", f"{region} receives the homes of claims and the roles", self._control),
            Step(
                "copy", f"every lane that {region} lacks, its own included, from the region that has most of it", self._copy
            ),
            Step("prove", f"{region} and the others are compared", self._prove),
            Step("unfence", f"{region} takes appends", self._unfence),
        ]

    def _fence(self, going: Going) -> Found:
        return self._shut(going, REBUILDING)

    def summary(self, going: Going) -> Summary:
        return Summary(going.run, self.kind, 0.0, notes=self._notes(going))
