"""Verdict: for each promise how often it was checked, how often it was broken, and the first few examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PROMISES: dict[str, str] = {
    "lost": "every acknowledged change is in every region",
    "copies": "an acknowledged change survives if a region that its acknowledgement named kept its data",
    "from_nowhere": "every event in any region was written by a call, and not by one that failed",
    "duplicated": "no change is stored twice",
    "changed": "every event is as it was requested and acknowledged, and matches its digest",
    "acknowledged_twice": "no place in a lane was acknowledged for two events, and no event to two calls",
    "torn": "every transaction is stored as a whole or not at all",
    "gaps": "no lane has a gap",
    "forked": "every event is chained to the one before it",
    "lane_order": "an event that was requested after the acknowledgement of another comes after it in its lane",
    "causal_order": "an event whose writer had seen another of its stream has a later time, and declares it as observed",
    "read_your_writes": "a read with a session's token sees what the session wrote",
    "monotonic_reads": "a read with a session's token sees what the session has seen",
    "reads_explained": "every value that was read is the value of the events in its version vector, and all of them exist",
    "counters": "a counter is the sum of its events: of all acknowledged changes and any part of the unknown ones",
    "sets": "a member is in a set if it was added and no writer that had seen that removed it",
    "registers": "a register holds a value that no writer that had seen it overwrote",
    "claims": "no claim had two owners, no client was granted one that it did not own, and all regions agree on the owner",
    "regions_identical": "every region has the same events",
    "views_complete": "every view holds every event of its stream",
    "views_identical": "every region has the same views, to the byte",
    "quarantined": "nothing was refused, as no event was forged or damaged",
}
"""Promises by name, in the words of a report, to clients that write to things, read and claim."""

_EXAMPLES = 5


@dataclass(slots=True)
class Finding:
    """Result for one promise. `looked` is how many things were checked, `broken` how many of them broke the promise."""

    looked: int = 0
    broken: int = 0
    examples: list[str] = field(default_factory=list)


class Verdict:
    """Findings of a run. A promise for which nothing was checked is untested, and is not reported as kept."""

    def __init__(self, promises: Mapping[str, str] = PROMISES) -> None:
        self.promises = promises
        self.findings = {name: Finding() for name in promises}

    def look(self, promise: str, count: int = 1) -> None:
        """Count `count` more checked things."""
        self.findings[promise].looked += count

    def breach(self, promise: str, example: str) -> None:
        """Record that the promise is broken, with an example."""
        finding = self.findings[promise]
        finding.broken += 1
        if len(finding.examples) < _EXAMPLES:
            finding.examples.append(example)

    @property
    def broken(self) -> dict[str, int]:
        """Broken promises, with how often each was broken."""
        return {name: finding.broken for name, finding in self.findings.items() if finding.broken}

    @property
    def untested(self) -> list[str]:
        """Promises for which there was nothing to check."""
        return [name for name, finding in self.findings.items() if not finding.looked and not finding.broken]

    @property
    def examples(self) -> list[str]:
        return [f"{name}: {example}" for name, finding in self.findings.items() for example in finding.examples]

    def as_json(self) -> dict[str, Any]:
        return {
            name: {"promise": self.promises[name], "looked": f.looked, "broken": f.broken, "examples": f.examples}
            for name, f in self.findings.items()
        }
