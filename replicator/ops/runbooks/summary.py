"""Summary of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Summary:
    """Result of a run. `rpo` names, by lane key, the first and last acknowledged event that the region that took over did
    not have at that time; None while that is unknown. `seconds` is the whole run, `rto_seconds` the time from its beginning
    to the steering of writers (None: no steering). `steps` are (name, began, ended) in milliseconds since the epoch."""

    run: str
    kind: str
    seconds: float
    rto_seconds: float | None = None
    rpo: Mapping[str, tuple[int, int]] | None = None
    steps: tuple[tuple[str, int, int], ...] = ()
    notes: list[str] = field(default_factory=list)

    @property
    def rpo_events(self) -> int | None:
        """Number of events in `rpo`."""
        return None if self.rpo is None else sum(last - first + 1 for first, last in self.rpo.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "run": self.run,
            "kind": self.kind,
            "seconds": round(self.seconds, 3),
            "rto_seconds": None if self.rto_seconds is None else round(self.rto_seconds, 3),
            "rpo_events": self.rpo_events,
            "rpo": None if self.rpo is None else {lane: list(span) for lane, span in sorted(self.rpo.items())},
            "steps": [{"step": name, "began": began, "ended": ended} for name, began, ended in self.steps],
            "notes": self.notes,
        }
