"""Stream reader: streams as one region knows them at one moment, including what consistency tokens name of them."""

from __future__ import annotations

from collections.abc import Sequence

from replicator.domain.event import Event, Head, Observed
from replicator.domain.names import StreamId
from replicator.domain.token import ConsistencyToken
from replicator.domain.vector import EMPTY, VersionVector
from replicator.eventstore.lane_reader import LaneReader
from replicator.eventstore.read_repair import Puller
from replicator.eventstore.stream_state import StreamState
from replicator.eventstore.tokens import Tokens


class StreamReader:
    """Reads consistent cuts of streams from a region's lanes. Safe to share between threads."""

    def __init__(self, lanes: LaneReader, tokens: Tokens, puller: Puller) -> None:
        self.lanes = lanes
        self.tokens = tokens
        self._puller = puller

    def state(
        self, stream: StreamId | str, at_least: ConsistencyToken | str | None = None, timeout: float = 2.0
    ) -> StreamState:
        """Return the stream as it is here now, with at least what the token names; missing events are fetched from other
        regions.

        Raises NotHereYet when that takes longer than `timeout` seconds.
        """
        name = StreamId.of(stream)
        return self.cut(name, self.pull(name, at_least, timeout), at_least)

    def pull(self, stream: StreamId, at_least: ConsistencyToken | str | None, timeout: float = 2.0) -> tuple[Event, ...]:
        """Return the events of the stream that the token names and this region lacks, from regions that have them. Raises
        NotHereYet."""
        wanted = EMPTY if at_least is None else self.tokens.read(at_least).vector(stream)
        if not wanted:
            return ()
        return self._puller.bring(stream, wanted, lambda: self._ends(stream), timeout)

    def _ends(self, stream: StreamId) -> dict[str, Head]:
        return {region: Head.of(self.lanes.latest(stream, region)) for region in self.lanes.regions}

    def cut(self, stream: StreamId, pulled: Sequence[Event] = (), seen: ConsistencyToken | str | None = None) -> StreamState:
        """Return the stream as it is here now, with `pulled` added; its next event sorts after all of it and after
        `seen`."""
        here = self._ends(stream)
        ends, following = dict(here), []
        for event in sorted(pulled, key=lambda event: event.sequence):
            # Events that have arrived here since are read here; a pulled event that does not follow this lane is ignored.
            end = ends[event.region]
            if event.sequence == end.sequence + 1 and event.prev == end.digest:
                ends[event.region] = Head.of(event)
                following.append(event)
        latest = max(end.hlc for end in ends.values())
        vector = VersionVector({region: end.sequence for region, end in ends.items()})
        known = Observed(vector, latest if seen is None else max(latest, self.tokens.read(seen).hlc))
        return StreamState(self.lanes, self.tokens, stream, known, here[self.lanes.region], following, latest)
