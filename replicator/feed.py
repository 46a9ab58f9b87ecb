"""The change feed: what happened to some streams since a token, page by page, for whoever keeps a copy downstream."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from replicator.domain.event import Event, Observed
from replicator.domain.names import StreamId
from replicator.domain.token import ConsistencyToken
from replicator.domain.vector import VersionVector

if TYPE_CHECKING:
    from replicator.store import EventStore


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
) -> Page:
    """Up to `limit` events of `streams` that `after` does not name, each stream in its own order.

    Every event comes exactly once to whoever follows the tokens, whatever order lanes arrive in: a token names what was
    given out, lane by lane. A stream that `after` does not name is given from its beginning. Raises NotHereYet when a
    region has less than `after` names and cannot get it within `timeout` seconds.
    """
    token = ConsistencyToken() if after is None else store.token(after)
    events: list[Event] = []
    more = False
    for stream in dict.fromkeys(s if isinstance(s, StreamId) else StreamId.parse(s) for s in streams):
        given = token.vector(stream)
        state = store.state(stream, token, timeout)
        for event in islice(state.events(given), limit - len(events)):
            # Lanes are merged by time and each is in order, so what was given of a lane has no gaps.
            given = given.advance(event.region, event.sequence)
            token = token.join(ConsistencyToken.seen(stream, Observed(given, event.hlc)))
            events.append(event)
        more = more or not _reached(given, state.vector)
    return Page(tuple(events), token, more)


def _reached(given: VersionVector, end: VersionVector) -> bool:
    return not end.beyond(given)
