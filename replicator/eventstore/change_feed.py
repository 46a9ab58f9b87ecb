"""The change feed: what happened to some streams since a token, page by page, for whoever keeps a copy downstream."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.domain.errors import check_limit
from replicator.domain.event import Event, Observed
from replicator.domain.names import StreamId
from replicator.domain.token import ConsistencyToken

if TYPE_CHECKING:
    from replicator.eventstore.store import EventStore

MAX_PAGE_BYTES = 4_000_000
"""Of payloads and metadata in a page."""


def size_of_texts(event: Event) -> int:
    """Bytes of an event's payload and metadata."""
    return len(event.payload_text.encode()) + len(event.metadata_text.encode())


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the feed. `token` is where the next page begins; `more` says whether there is one already."""

    events: tuple[Event, ...]
    token: ConsistencyToken
    more: bool


def changes(
    store: EventStore,
    streams: Iterable[StreamId | str],
    after: ConsistencyToken | str | None = None,
    limit: int = 1000,
    timeout: float = 2.0,
    *,
    at_least: ConsistencyToken | str | None = None,
    max_bytes: int = MAX_PAGE_BYTES,
    size: Callable[[Event], int] = size_of_texts,
) -> Page:
    """Up to `limit` events (at least 1) of `streams` that `after` does not name, each stream in its own order.

    A page holds at most `max_bytes` bytes, but always one event where there is one. `size` says how many bytes an event
    takes: by default those of its payload and metadata. It is asked of each event in turn, also of the first that no longer
    fits. What `at_least` names of the streams is there to be given out, without being taken for given.

    Every event comes exactly once to whoever follows the tokens, whatever order lanes arrive in: a token names what was
    given out, lane by lane. A stream that `after` does not name is given from its beginning. Raises NotHereYet when a
    region has less than the tokens name and cannot get it within `timeout` seconds, InvalidOperation for a limit below 1.
    """
    check_limit(limit)
    token, wanted = store.join(after), store.join(after, at_least)
    end = time.monotonic() + timeout
    events: list[Event] = []
    used, more = 0, False
    for stream in dict.fromkeys(StreamId.of(s) for s in streams):
        given = token.vector(stream)
        state = store.state(stream, wanted, max(end - time.monotonic(), 0))
        for event in state.events(given) if not more else ():
            if len(events) == limit:
                break
            used += size(event)
            if events and used > max_bytes:
                break
            # Lanes are merged by time and each is in order, so what was given of a lane has no gaps.
            given = given.advance(event.region, event.sequence)
            token = token.join(ConsistencyToken.seen(stream, Observed(given, event.hlc)))
            events.append(event)
        more = more or bool(state.vector.beyond(given))
    return Page(tuple(events), token, more)
