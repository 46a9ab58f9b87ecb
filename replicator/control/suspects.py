"""Suspects: lanes in which something other than an append has happened, as the readers of the stream noted it. A comparison
of regions reads such a lane from its first event: docs/decisions/0038."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress

from replicator.control.control_storage import ControlStorage, Value, fitting
from replicator.domain.errors import InvalidName
from replicator.domain.names import LaneId

_SCOPE = "suspects"

Notes = Mapping[LaneId, tuple[str, Value]]
"""Suspect lanes, with the key and the value of each note."""


class Suspects:
    """Notes of one region. One note per lane."""

    def __init__(self, control: ControlStorage) -> None:
        self._control = control

    def add(self, lanes: Iterable[LaneId], at: int) -> None:
        """Note these lanes. `at` is in milliseconds since the epoch. Raises RegionUnavailable."""
        notes = {fitting(lane.key): {"lane": lane.key, "at": at} for lane in lanes}
        if notes:
            self._control.put(_SCOPE, notes)

    def notes(self) -> Notes:
        """Return the suspect lanes with their notes, which `clear` takes. What is no note is left out."""
        found: dict[LaneId, tuple[str, Value]] = {}
        for key, note in self._control.get_all(_SCOPE):
            with suppress(InvalidName, KeyError, TypeError):
                found[LaneId.from_key(note["lane"])] = key, note
        return found

    def clear(self, notes: Notes) -> None:
        """Remove the notes of lanes that are whole, unless they were renewed meanwhile."""
        if notes:
            self._control.delete(_SCOPE, dict(notes.values()))
