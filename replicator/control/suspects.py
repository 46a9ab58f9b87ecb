"""Suspects: lanes in which something other than an append has happened, as the readers of the stream noted it. A comparison
of regions reads such a lane from its first event: docs/decisions/0038."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from replicator.control.control_storage import ControlStorage, Value, fitting
from replicator.domain.errors import InvalidName
from replicator.domain.names import LaneId

_SCOPE = "suspects"
_KEEP_MS = 24 * 3600 * 1000
"""Milliseconds for which a note stays, whatever a comparison finds: others that hold an earlier summary must see it, too."""


class Suspects:
    """Notes of one region. One note per lane."""

    def __init__(self, control: ControlStorage) -> None:
        self._control = control

    def add(self, lanes: Iterable[LaneId], at: int) -> None:
        """Note these lanes. `at` is in milliseconds since the epoch. Raises RegionUnavailable."""
        notes = {fitting(lane.key): {"lane": lane.key, "at": at} for lane in lanes}
        if notes:
            self._control.put(_SCOPE, notes)

    def notes(self) -> dict[LaneId, Value]:
        """Return the suspect lanes with their notes, which `clear` takes."""
        found: dict[LaneId, Value] = {}
        for _, note in self._control.get_all(_SCOPE):
            try:
                found[LaneId.from_key(note["lane"])] = note
            except InvalidName:
                continue
        return found

    def clear(self, notes: Mapping[LaneId, Value], now: int) -> None:
        """Remove the notes of lanes that are intact, unless they are recent or were renewed meanwhile."""
        old = {fitting(lane.key): note for lane, note in notes.items() if now - note["at"] > _KEEP_MS}
        if old:
            self._control.delete(_SCOPE, old)
