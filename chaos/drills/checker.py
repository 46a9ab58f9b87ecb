"""The checker: knows the clients' history, the final reads and the truth, and nothing of how Meridian works."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chaos.drills.history import EventKey, History
from chaos.world.reading import StoredEvent, StoredView
from replicator.domain.canonical import same_json

_GENESIS = bytes(32)
_EXAMPLES = 5


@dataclass(slots=True)
class Verdict:
    """How often each promise was broken, counted per region and event, with the first few examples."""

    lost: int = 0
    from_nowhere: int = 0
    duplicated: int = 0
    overwritten: int = 0
    gaps: int = 0
    forked: int = 0
    views: int = 0
    views_identical: bool = True
    truth_matches: bool = True
    examples: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        """Every promise kept."""
        broken = self.lost + self.from_nowhere + self.duplicated + self.overwritten + self.gaps + self.forked
        return broken == 0 and self.views > 0 and self.views_identical and self.truth_matches

    def note(self, text: str) -> None:
        if len(self.examples) < _EXAMPLES:
            self.examples.append(text)


def check_events(verdict: Verdict, region: str, history: History, events: Iterable[StoredEvent]) -> None:
    """Judge one region's events: each acknowledged one there once, as acknowledged, chained, without gaps.

    What is gone need not be there, and another event may have its place. Where the very event is found after all, it did
    survive, and was not brought back: lost.
    """
    found: dict[EventKey, tuple[bytes, bytes]] = {}
    operations: set[tuple[int, str]] = set()
    acknowledged = history.acknowledged
    for event in events:
        key = (event.key, event.sequence)
        found[key] = (event.prev, event.digest)
        if event.operation in operations:
            verdict.duplicated += 1
            verdict.note(f"{region}: {event.operation} is there twice, once as {key}")
        operations.add(event.operation)
        known = acknowledged.get(key)
        if known is None:
            verdict.from_nowhere += 1
            verdict.note(f"{region}: {key} was never acknowledged")
        if event.computed != event.digest or (known is not None and known.digest != event.digest):
            verdict.overwritten += 1
            verdict.note(f"{region}: {key} is not what was written")
        if any(gone.digest == event.digest for gone in history.gone.get(key, ())):
            verdict.lost += 1
            verdict.note(f"{region}: {key} was taken for gone, and is here: it was not brought back")
    for key in acknowledged.keys() - found.keys():
        verdict.lost += 1
        verdict.note(f"{region}: {key} is missing")
    for (lane, sequence), (prev, _) in found.items():
        before = found.get((lane, sequence - 1))
        if sequence == 1:
            broken = prev != _GENESIS
        elif before is None:
            verdict.gaps += 1
            verdict.note(f"{region}: {lane} has a gap before {sequence}")
            continue
        else:
            broken = prev != before[1]
        if broken:
            verdict.forked += 1
            verdict.note(f"{region}: the chain of {lane} breaks at {sequence}")


def check_places(verdict: Verdict, history: History) -> None:
    """No place in a lane may be acknowledged to two events, unless the first of them is gone."""
    verdict.overwritten += len(history.twice)
    for key in history.twice:
        verdict.note(f"{key} was acknowledged to two different events")


def check_quarantine(verdict: Verdict, region: str, records: int) -> None:
    """Nothing may be quarantined in a run in which nobody forged or damaged anything."""
    verdict.forked += records
    if records:
        verdict.note(f"{region}: {records} quarantined events")


def check_views(verdict: Verdict, history: History, views: Mapping[str, Mapping[str, StoredView]]) -> None:
    """Judge all regions' views: each holds every event of its stream, and all regions have the same bytes."""
    expected = expected_vectors(history)
    reference: Mapping[str, StoredView] | None = None
    for region, rows in views.items():
        verdict.views = max(verdict.views, len(rows))
        for key in expected.keys() | rows.keys():
            row = rows.get(key)
            if row is None or row.vector != expected.get(key):
                verdict.views_identical = False
                verdict.note(f"{region}: view {key} is at {row.vector if row else 'nothing'}, not {expected.get(key)}")
            elif reference is not None and reference.get(key) != row:
                verdict.views_identical = False
                verdict.note(f"{region}: view {key} differs from another region's")
        reference = reference or rows


def check_truth(
    verdict: Verdict, views: Mapping[str, Mapping[str, StoredView]], truth: Mapping[str, Mapping[str, Any]]
) -> None:
    """Judge every region's views against what pandas says."""
    for region, rows in views.items():
        values = {key.split("#")[1].partition("/")[2]: json.loads(row.value) for key, row in rows.items()}
        for tail in truth.keys() | values.keys():
            if not same_json(values.get(tail), truth.get(tail)):
                verdict.truth_matches = False
                verdict.note(f"{region}: {tail} is {values.get(tail)}, the data says {truth.get(tail)}")


def expected_vectors(history: History) -> dict[str, str]:
    """view key -> the version vector that it must end at, as canonical text."""
    lanes: dict[str, dict[str, int]] = {}
    for key, sequence in history.heads().items():
        region, kind, name = key.split("#")
        lanes.setdefault(f"{kind}@1#{kind}/{name}", {})[region] = sequence
    return {key: json.dumps(vector, sort_keys=True, separators=(",", ":")) for key, vector in lanes.items()}
