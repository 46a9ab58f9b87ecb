"""That a subject is forgotten is itself an event, so that every region hears of it for good, also one that is down now."""

from __future__ import annotations

from replicator.domain.errors import InvalidName, MeridianError, RegionUnavailable
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import MAX_ID_BYTES, MAX_TYPE_BYTES, check_segment

FORGOTTEN = "meridian.forgotten"
"""The type of the event that says so. Its payload is `{"subject": …}`; it holds no personal data."""

_MAX_SUBJECT_BYTES = MAX_TYPE_BYTES + 1 + MAX_ID_BYTES


class SubjectForgotten(MeridianError):
    """The subject of personal data has been forgotten, for good: nothing can be protected or revealed for it."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"{subject} has been forgotten; keep new personal data under another subject")
        self.subject = subject


class KeyUnavailable(RegionUnavailable):
    """A key is not in this region, and one that may have it does not answer. It is waited for, never given up."""


def check_subject(subject: str) -> str:
    """Return `subject` when it can name whose data it is: any text that can be part of a key. Raises InvalidName.

    It stays readable in events and logs for good, so it must say nothing about the person: `user/7`, not an address.
    """
    return check_segment("subject", subject, _MAX_SUBJECT_BYTES)


def forgotten_event(subject: str) -> NewEvent:
    """The event to append to the subject's streams. Raises InvalidName."""
    return NewEvent(FORGOTTEN, {"subject": check_subject(subject)})


def forgotten_subject(event: Event) -> str | None:
    """Whom the event forgets; None for every other event, and for one of this type that names nobody."""
    if event.type != FORGOTTEN:
        return None
    try:
        return check_subject(event.payload.get("subject", ""))
    except InvalidName:
        return None
