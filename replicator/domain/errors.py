"""The base of every error that Meridian raises on purpose, and those that any part may raise. Each says what was wrong, with
the value, and what to do about it."""

from __future__ import annotations

from pathlib import PurePath
from traceback import extract_tb


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


class ClockAhead(MeridianError):
    """A timestamp further ahead of this region's wall clock than the stated bound."""


class InvalidConfig(MeridianError):
    """A setting, table or endpoint that cannot work. Commands exit with code 2 on it."""


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
