"""Errors: the base of every error that Meridian raises on purpose, and those that any part may raise. Each message gives the
wrong value and the remedy."""

from __future__ import annotations

from pathlib import PurePath
from traceback import extract_tb


def shown(value: object) -> str:
    """Return `repr` for messages, cut to 200 characters; works for integers too long for Python to print."""
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
    """Return an error's type and source line, without its text: that may quote the payload, and have any size."""
    # A missing field: the line is the one that reads it.
    frames = [frame for frame in extract_tb(error.__traceback__) if frame.name != "__missing__"]
    if not frames:  # never raised: created by Meridian, so its text is safe
        return f"{type(error).__name__}: {error}"
    return f"{type(error).__name__} at {PurePath(frames[-1].filename).name}:{frames[-1].lineno}"


class MeridianError(Exception):
    """Base of all errors raised by Meridian."""


class InvalidName(MeridianError, ValueError):
    """Region, stream or event name that cannot be used in a key."""


class InvalidEvent(MeridianError, ValueError):
    """Event that must not be constructed: its payload, size, numbers, depth or version are wrong."""


class DamagedEvent(InvalidEvent):
    """Stored content that does not match its own digest, or cannot be decoded at all."""


class InvalidToken(MeridianError, ValueError):
    """Text that is not a consistency token of this system: another version, another system, forged or damaged."""


class InvalidOperation(MeridianError, ValueError):
    """Write that cannot be executed as given: its precondition, its streams or their number are wrong."""


class ClockAhead(MeridianError):
    """Timestamp further ahead of this region's wall clock than the configured bound."""


class InvalidConfig(MeridianError):
    """Setting, table or endpoint that cannot work. Commands exit with code 2 on it."""


class RegionUnavailable(MeridianError):
    """The region does not answer, or throttles beyond the retry budget. Nothing is lost; try again later."""


class RegionRefuses(RegionUnavailable):
    """The region answered with an error that a retry does not fix: the table does not exist, the credentials lack the
    permission, or its engine does not support the request. Nothing was written.

    The text gives the remedy; `code` is the engine's error code and `operation` the request. Workers wait for it as for
    an outage, until the table is recreated or the policy corrected.
    """

    def __init__(self, message: str, code: str = "", operation: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.operation = operation
