"""Stream state: a stream as one region knows it at one moment, the input of preconditions and values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from replicator.domain.clock import ZERO, Hlc
from replicator.domain.event import Event, Head, Observed
from replicator.domain.names import StreamId
from replicator.domain.token import ConsistencyToken
from replicator.domain.vector import EMPTY, VersionVector
from replicator.eventstore.lane_reader import LaneReader
from replicator.eventstore.tokens import Tokens


class StreamState:
    """A stream cut at `vector`. A later read of its events returns the same ones: lanes only grow.

    `observed` is what a writer that decides on it has seen; `head` is the head of the region's own lane. `pulled` are
    events fetched from the regions that wrote them, as they had not arrived here. `latest` is the time of
    the latest event, Hlc(0, 0) where there is none.
    """

    def __init__(
        self, lanes: LaneReader, tokens: Tokens, stream: StreamId, seen: Observed, head: Head, pulled: Sequence[Event],
        latest: Hlc,
    ) -> None:  # fmt: skip
        self.stream = stream
        self.observed = seen
        self.head = head
        self.pulled = tuple(pulled)
        self.latest = latest
        self._lanes, self._tokens = lanes, tokens

    @property
    def vector(self) -> VersionVector:
        """High watermark of each lane."""
        return self.observed.vector

    def events(self, after: VersionVector = EMPTY, upto: VersionVector | None = None) -> Iterator[Event]:
        """Read the stream's events up to `vector` (or `upto`, within it) that `after` does not cover, in stream order, which
        is HLC order."""
        return self._lanes.merged(self.stream, after, self.vector if upto is None else upto, self.pulled)

    def cut(self, upto: VersionVector) -> StreamState:
        """Return the same stream, cut at `upto`."""
        vector = VersionVector({region: min(last, self.vector.get(region)) for region, last in upto.items()})
        if vector == self.vector:
            return self
        ends = (
            self._lanes.merged(self.stream, vector.capped(region, last - 1), vector, self.pulled)
            for region, last in vector.items()
        )
        latest = max((event.hlc for events in ends for event in events), default=ZERO)
        return StreamState(self._lanes, self._tokens, self.stream, Observed(vector, latest), self.head, self.pulled, latest)

    def token(self, given: ConsistencyToken | str | None = None) -> ConsistencyToken:
        """Return a token of this state, or `given` decoded."""
        return ConsistencyToken.seen(self.stream, self.observed) if given is None else self._tokens.read(given)
