"""Verdict: for each promise how often it was checked, how often it was broken, and the first few examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PROMISES: dict[str, str] = {
    "lost": "all that was asked for and acknowledged is in every region",
    "from_nowhere": "every event in any region was written by somebody, and not by a call that failed",
    "duplicated": "no change is there twice",
    "changed": "every event is what was asked for and acknowledged, and fits its digest",
    "acknowledged_twice": "no place in a lane was acknowledged to two events, and no event to two calls",
    "torn": "a transaction is there as a whole, or not at all",
    "gaps": "no lane has a gap",
    "forked": "every event is chained to the one before it",
    "lane_order": "what was written after something else had been acknowledged comes after it in its lane",
    "causal_order": "what was written by somebody who had seen an event of its stream has a later time, and says so",
    "read_your_writes": "a read with a session's token sees what the session wrote",
    "monotonic_reads": "a read with a session's token sees what the session has seen",
    "reads_explained": "every value that was read is the value of the events in its version vector, all of which there are",
    "counters": "a counter is what was acknowledged and any of what is unknown, and exactly what its events come to",
    "sets": "a member is there when it was added and nobody who had seen that removed it",
    "registers": "a register holds a value that nobody overwrote who had seen it",
    "claims": "no claim had two owners, nobody was told to have one without it, and all regions agree on who has it",
    "regions_identical": "every region has the same events",
    "views_complete": "every view holds every event of its stream",
    "views_identical": "every region has the same views, to the byte",
    "quarantined": "nothing was refused, as nobody forged or damaged anything",
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
