"""What the history says of whether clients were answered: a region that acknowledges nothing has kept no promise."""

from __future__ import annotations

from collections.abc import Iterable

from chaos.checker.history import Call, Outcome


def writers(calls: Iterable[Call]) -> set[str]:
    """The processes of which one of these calls was a write that was acknowledged."""
    return {call.process for call in calls if call.name == "write" and call.outcome is Outcome.OK and call.events}


def events_by_region(calls: Iterable[Call], regions: Iterable[str]) -> dict[str, int]:
    """How many events of these calls each region has acknowledged, none included."""
    found = dict.fromkeys(regions, 0)
    for call in calls:
        for event in call.events if call.outcome is Outcome.OK else ():
            found[event.lane.partition("#")[0]] += 1
    return found
