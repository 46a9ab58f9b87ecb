"""Change feed: the events of some streams since a token, page by page, for consumers that keep a copy downstream."""

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
"""Maximum bytes of payloads and metadata in a page."""


def size_of_texts(event: Event) -> int:
    """Return the bytes of an event's payload and metadata."""
    return len(event.payload_text.encode()) + len(event.metadata_text.encode())


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the feed. `token` is where the next page begins; `more` says whether that page has events already."""

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
    """Return up to `limit` events (at least 1) of `streams` that `after` does not cover, each stream in its own order.

    A page holds at most `max_bytes` bytes, but always one event if there is any. `size` returns the bytes of an event, by
    default those of its payload and metadata. It is called for each event in turn, including the first that no longer
    fits. `at_least` adds events that the region must hold before it answers; they are returned like any others.

    A consumer that follows the tokens receives every event exactly once, whatever order lanes arrive in: a token names
    what was returned, lane by lane. A stream that `after` does not name starts at its beginning. Raises NotHereYet when a
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
            # Lanes are merged by time and each is in order, so what was returned of a lane has no gaps.
            given = given.advance(event.region, event.sequence)
            token = token.join(ConsistencyToken.seen(stream, Observed(given, event.hlc)))
            events.append(event)
        more = more or bool(state.vector.beyond(given))
    return Page(tuple(events), token, more)
