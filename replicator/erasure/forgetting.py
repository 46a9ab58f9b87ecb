"""Forgetting a subject: first the event, which makes it permanent, then the keys, in every region that answers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from replicator.domain.errors import MeridianError
from replicator.domain.event import Event, Observed
from replicator.domain.names import StreamId
from replicator.erasure.forgotten import check_subject, forgotten_event, forgotten_subject
from replicator.erasure.keys import KeyStorage
from replicator.eventstore.store import EventStore


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Progress of forgetting a subject. `events` record it in its streams: existing ones and those appended now.

    `destroyed` are the regions whose keys are gone; `pending` maps the others to the reason. Those destroy them when the
    event reaches their projector, or when `forget` is run again.
    """

    subject: str
    events: tuple[str, ...]
    destroyed: tuple[str, ...]
    pending: Mapping[str, str]

    @property
    def complete(self) -> bool:
        """Whether the keys are destroyed in every region."""
        return not self.pending


def forget(
    store: EventStore, keys: Mapping[str, KeyStorage], subject: str, streams: Iterable[StreamId | str] = ()
) -> Forgetting:
    """Forget `subject`: append `meridian.forgotten` to each of its streams (by default the one named like the subject),
    then destroy its keys in every region of `keys`. This cannot be undone.

    Name every stream whose views hold fields of the subject: they are folded again when they reach the event, others only
    when they are rebuilt. Running it again appends nothing twice and finishes what was pending. Raises InvalidName, and
    the errors of `EventStore.append`; then no key has been destroyed, and it must be run again.
    """
    check_subject(subject)
    names = [StreamId.of(name) for name in streams]
    events = [_say(store, subject, stream) for stream in dict.fromkeys(names or [StreamId.parse(subject)])]
    with ThreadPoolExecutor(len(keys), thread_name_prefix="forget") as pool:
        reasons = dict(zip(keys, pool.map(lambda storage: _destroy(storage, subject), keys.values()), strict=True))
    return Forgetting(
        subject,
        tuple(event.id for event in events),
        tuple(region for region, reason in reasons.items() if not reason),
        {region: reason for region, reason in reasons.items() if reason},
    )


def _say(store: EventStore, subject: str, stream: StreamId) -> Event:
    """Return the event that forgets the subject in this stream, appended if there is none yet."""
    seen = Observed()
    for event in store.read(stream):
        if forgotten_subject(event) == subject:
            return event
        seen = seen.join(Observed.of([event]))
    (said,) = store.append(stream, forgotten_event(subject), observed=seen)
    return said


def _destroy(storage: KeyStorage, subject: str) -> str:
    """Destroy the keys there. Returns the reason if that failed, empty otherwise."""
    try:
        storage.forget(subject)
    except MeridianError as error:
        return str(error)
    return ""
