"""Every error Meridian raises on purpose. Each says what was wrong, with the value, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from traceback import extract_tb
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from replicator.domain.event import Event
    from replicator.domain.names import StreamId
    from replicator.domain.vector import VersionVector
    from replicator.storage import Guard


def shown(value: object) -> str:
    """`repr` for messages, cut to 200 characters, also of integers too long for Python to print."""
    try:
        text = repr(value)
    except ValueError:
        return "an integer of thousands of digits"
    except RecursionError:
        return f"a {type(value).__name__} nested too deep to show"
    return text if len(text) <= 200 else f"{text[:200]}…"


def check_limit(limit: int | None) -> None:
    """Raise InvalidOperation unless `limit` is None or a whole number from 1."""
    if limit is not None and (type(limit) is not int or limit < 1):
        raise InvalidOperation(f"limit is {shown(limit)}; give a whole number from 1, or leave it out")


def place(error: BaseException) -> str:
    """An error's type and the line it came from, without its text: that may quote the payload, and have any size."""
    # A field that is not there: the line is the one that asks for it.
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.name != "__missing__"]
    if not frames:  # never raised: made here, so its text is ours
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__} at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}"


class MeridianError(Exception):
    """Base of all errors raised by Meridian."""


class InvalidName(MeridianError, ValueError):
    """A region, stream or event name that cannot be used in a key."""


class InvalidEvent(MeridianError, ValueError):
    """An event that must not be constructed: its payload, size, numbers, depth or version are wrong."""


class DamagedEvent(InvalidEvent):
    """Stored content that does not match its own digest, or cannot be decoded at all."""


class InvalidToken(MeridianError, ValueError):
    """A text that is no consistency token of this system: another version, another system, forged or damaged."""


class InvalidOperation(MeridianError, ValueError):
    """A write that cannot be carried out as it is put: its precondition, its streams or their number are wrong."""


class NotHereYet(MeridianError):
    """A read's token names events that could not be had within its time. Nothing is wrong; try again, or without it.

    `missing` maps each stream to the vector entries that could not be reached.
    """

    def __init__(self, missing: Mapping[StreamId, VersionVector], waited: float) -> None:
        self.missing = dict(missing)
        self.waited = waited
        named = "; ".join(f"{stream} up to {vector}" for stream, vector in self.missing.items())
        super().__init__(f"not here within {waited:.2f} s: {named}. Read again later, or without the token for what is here")


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


class RegionBehind(MeridianError):
    """This region lacks events of its own lane that others have: what it wrote now would be a fork. Nothing was written."""


class GuardFailed(MeridianError):
    """What a write was to depend on is no longer so. Nothing was written."""

    def __init__(self, guards: Sequence[Guard]) -> None:
        self.guards = tuple(guards)
        super().__init__(f"{'; '.join(str(guard) for guard in guards)}: no longer so; nothing was written")


class AppendContention(MeridianError):
    """Other writers won the lane's head on every attempt. Nothing was written; the caller may try again."""


class Sent(tuple["Event", ...]):
    """Events as they were sent in one write, with its guards: sent again without them they could land too late."""

    guards: tuple[Guard, ...]

    def __new__(cls, events: Iterable[Event], guards: Iterable[Guard] = ()) -> Self:
        sent = super().__new__(cls, events)
        sent.guards = tuple(guards)
        return sent


class OutcomeUnknown(MeridianError):
    """The write was sent and no answer came: it may or may not have happened, now or later.

    `events` are exactly what was sent, and carry what the write depended on: keep them as they are.
    `EventStore.resolve(error.events)` settles it, at any later time.
    """

    def __init__(self, message: str, events: Sequence[Event], guards: Sequence[Guard] = ()) -> None:
        super().__init__(message)
        self.events = Sent(events, guards)


class RegionUnavailable(MeridianError):
    """A region does not answer, or throttles beyond the retry budget. Nothing is lost; try again later."""


class RegionRefuses(RegionUnavailable):
    """A region answered by an error that trying again does not mend: there is no such table, the credentials may not do
    this, or its engine does not take such a request. Nothing was written.

    The text says what to do; `code` is the engine's error code and `operation` the request. Workers wait for it as for
    an outage: a table is made anew, a policy is corrected.
    """

    def __init__(self, message: str, code: str = "", operation: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.operation = operation
