"""Errors of event store reads and writes: nothing was written, or the outcome is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

from replicator.control.control_storage import Guard
from replicator.domain.errors import MeridianError, RegionUnavailable
from replicator.domain.event import Event
from replicator.domain.names import StreamId
from replicator.domain.vector import VersionVector


class NotHereYet(MeridianError):
    """Events that a read's token names did not arrive within its time. Nothing is wrong; retry, or read without the token.

    `missing` maps each stream to the vector entries that were not reached.
    """

    def __init__(self, missing: Mapping[StreamId, VersionVector], waited: float) -> None:
        self.missing = dict(missing)
        self.waited = waited
        named = "; ".join(f"{stream} up to {vector}" for stream, vector in self.missing.items())
        super().__init__(f"not here within {waited:.2f} s: {named}. Read again later, or without the token for what is here")


class LaneTaken(MeridianError):
    """Another event already holds one of the sequences to be written. Nothing was written."""

    def __init__(self, taken: Sequence[Event]) -> None:
        self.taken = tuple(event.id for event in taken)
        self.lanes = {event.lane for event in taken}
        super().__init__(f"another writer already appended at {', '.join(self.taken)}; nothing was written")


class RegionBehind(MeridianError):
    """This region lacks events of its own lane that others have: a write now would be a fork. Nothing was written."""


class GuardFailed(MeridianError):
    """Condition check failed: a condition of the write no longer holds. Nothing was written."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        self.guards = tuple(guards)
        super().__init__(f"{'; '.join(str(guard) for guard in guards)}: no longer true; nothing was written")


class GuardBusy(RegionUnavailable):
    """Other transactions use an item that this write's guards check, or it is throttled. Nothing was written; try again, if
    possible with other guards."""

    def __init__(self, guards: Sequence[Guard], why: str) -> None:
        super().__init__(f"{'; '.join(str(guard) for guard in guards)}: {why}; nothing was written, try again")


class AppendContention(MeridianError):
    """Other writers won the lane's head on every attempt. Nothing was written; the caller may try again."""


class Sent(tuple[Event, ...]):
    """Events as sent in one write, with its guards: sent again without them they could be stored too late."""

    guards: tuple[Guard, ...]

    def __new__(cls, events: Iterable[Event], guards: Iterable[Guard] = ()) -> Self:
        sent = super().__new__(cls, events)
        sent.guards = tuple(guards)
        return sent


class OutcomeUnknown(MeridianError):
    """The write was sent and no answer came: it may or may not have happened, now or later.

    `events` are exactly what was sent, with the conditions of the write: keep them unchanged.
    `EventStore.resolve(error.events)` settles it, at any later time.
    """

    def __init__(self, message: str, events: Sequence[Event], guards: Sequence[Guard] = ()) -> None:
        super().__init__(message)
        self.events = Sent(events, guards)
