"""Every error Meridian raises on purpose. Each says what was wrong, with the value, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicator.domain.event import Event


def shown(value: object) -> str:
    """`repr` for messages, also of integers too long for Python to print."""
    try:
        return repr(value)
    except ValueError:
        return "an integer of thousands of digits"


class MeridianError(Exception):
    """Base of all errors raised by Meridian."""


class InvalidName(MeridianError, ValueError):
    """A region, stream or event name that cannot be used in a key."""


class InvalidEvent(MeridianError, ValueError):
    """An event that must not be constructed: its payload, size, numbers, depth or version are wrong."""


class DamagedEvent(InvalidEvent):
    """Stored content that does not match its own digest, or cannot be decoded at all."""


class ClockAhead(MeridianError):
    """A timestamp further ahead of this region's wall clock than the stated bound."""


class InvalidConfig(MeridianError):
    """A setting, table or endpoint that cannot work. Commands exit with code 2 on it."""


class LaneTaken(MeridianError):
    """Another event already holds one of the sequences that were to be written. Nothing was written."""

    def __init__(self, taken: Sequence[Event]) -> None:
        self.taken = tuple(event.id for event in taken)
        self.lanes = {event.lane for event in taken}
        super().__init__(f"another writer already appended at {', '.join(self.taken)}; nothing was written")


class AppendContention(MeridianError):
    """Other writers won the lane's head on every attempt. Nothing was written; the caller may try again."""


class OutcomeUnknown(MeridianError):
    """The write was sent and no answer came: it may or may not have happened, now or later.

    `events` are exactly what was sent. `EventStore.resolve(error.events)` settles it, at any later time.
    """

    def __init__(self, message: str, events: Sequence[Event]) -> None:
        super().__init__(message)
        self.events = tuple(events)


class RegionUnavailable(MeridianError):
    """A region does not answer, or throttles beyond the retry budget. Nothing is lost; try again later."""
