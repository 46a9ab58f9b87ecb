"""Evidence from the history that clients were answered: a region that acknowledges nothing has kept no promise."""

from __future__ import annotations

from collections.abc import Iterable

from chaos.checker.history import Call, Outcome


def writers(calls: Iterable[Call]) -> set[str]:
    """Return the processes that had a write among these calls acknowledged."""
    return {call.process for call in calls if call.name == "write" and call.outcome is Outcome.OK and call.events}


def events_by_region(calls: Iterable[Call], regions: Iterable[str]) -> dict[str, int]:
    """Return the number of events that each region acknowledged in these calls, 0 included."""
    found = dict.fromkeys(regions, 0)
    for call in calls:
        for event in call.events if call.outcome is Outcome.OK else ():
            found[event.lane.partition("#")[0]] += 1
    return found
