"""Forgotten subjects: forgetting is itself an event, so that every region learns of it, including one that is down now."""

from __future__ import annotations

from replicator.domain.errors import InvalidName, MeridianError, RegionUnavailable
from replicator.domain.event import Event, NewEvent
from replicator.domain.names import MAX_ID_BYTES, MAX_TYPE_BYTES, check_segment

FORGOTTEN = "meridian.forgotten"
"""Type of the event that forgets a subject. Its payload is `{"subject": …}`; it holds no personal data."""

_MAX_SUBJECT_BYTES = MAX_TYPE_BYTES + 1 + MAX_ID_BYTES


class SubjectForgotten(MeridianError):
    """The subject of personal data has been forgotten permanently: nothing can be protected or revealed for it."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"{subject} has been forgotten; keep new personal data under another subject")
        self.subject = subject


class KeyUnavailable(RegionUnavailable):
    """A key is not in this region, and a region that may have it does not answer. Callers wait for it and never give it
    up."""


def check_subject(subject: str) -> str:
    """Return `subject` if it can name a data subject: any text that can be part of a key. Raises InvalidName.

    It stays readable in events and logs permanently, so it must not reveal the person: `user/7`, not an address.
    """
    return check_segment("subject", subject, _MAX_SUBJECT_BYTES)


def forgotten_event(subject: str) -> NewEvent:
    """Return the event to append to the subject's streams. Raises InvalidName."""
    return NewEvent(FORGOTTEN, {"subject": check_subject(subject)})


def forgotten_subject(event: Event) -> str | None:
    """Return the subject that the event forgets; None for every other event, and for one of this type without a valid
    subject."""
    if event.type != FORGOTTEN:
        return None
    try:
        return check_subject(event.payload.get("subject", ""))
    except InvalidName:
        return None
