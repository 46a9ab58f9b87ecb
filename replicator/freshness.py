"""Reads that see at least what a token names: what has not arrived here is fetched from a region that has it.

What is fetched is used for this read alone and not stored: storing copies is the replicator's work, and its right.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

import structlog

from replicator.domain.event import Event
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import VersionVector
from replicator.errors import NotHereYet
from replicator.retries import arriving
from replicator.storage import LaneStorage

log = structlog.get_logger()

Peer = Callable[[str], LaneStorage]
"""The storage of another region, by name. Its calls should fail fast rather than be patient."""

_REST_SECONDS = 5.0
_PULLS = 8


class Puller:
    """Fetches what a region lacks of a stream. Safe to share between threads."""

    def __init__(self, peers: Sequence[str], peer: Peer | None) -> None:
        self._peers = tuple(peers) if peer is not None else ()
        self._peer = peer
        self._pool: ThreadPoolExecutor | None = None
        self._resting: dict[str, float] = {}
        self._lock = Lock()

    def bring(
        self, stream: StreamId, wanted: VersionVector, here: Callable[[], VersionVector], timeout: float
    ) -> tuple[Event, ...]:
        """The events up to `wanted` that are not `here`, from the regions that wrote them or from any that has them.

        Asks and waits for at most `timeout` seconds, then raises NotHereYet naming what is missing.
        """
        started = time.monotonic()
        found: dict[str, list[Event]] = {}
        missing = wanted

        def once() -> bool:
            nonlocal missing
            seen = here()
            for region in list(found):
                found[region] = [event for event in found[region] if not seen.covers(region, event.sequence)]
            missing = wanted.beyond(_with(seen, found))
            for region, last in missing.items():
                lane, first = LaneId(region, stream), _with(seen, found).get(region) + 1
                left = timeout - (time.monotonic() - started)
                found.setdefault(region, []).extend(self._pull(lane, first, last, left))
            missing = wanted.beyond(_with(seen, found))
            return bool(missing)

        if arriving(timeout)(once):
            raise NotHereYet({stream: missing}, time.monotonic() - started)
        return tuple(event for events in found.values() for event in events)

    def _pull(self, lane: LaneId, first: int, last: int, seconds: float) -> list[Event]:
        """Events `first` to `last` of a lane from whichever peer has them, its home first; fewer when none has them all."""
        best: list[Event] = []
        end = time.monotonic() + seconds
        for region in sorted(self._peers, key=lambda each: each != lane.region):
            if time.monotonic() >= end or (self._rests(region) and region != lane.region):
                continue
            events = self._ask(region, lane, first, last, end - time.monotonic())
            if len(events) > len(best):
                best = events
            if len(best) == last - first + 1:
                break
        return best

    def _ask(self, region: str, lane: LaneId, first: int, last: int, seconds: float) -> list[Event]:
        if self._rests(region):
            return []
        future: Future[list[Event]] = self._workers().submit(self._read, region, lane, first, last)
        try:
            return future.result(max(seconds, 0.001))
        except Exception as error:  # whatever is wrong with a peer, this read goes on without it
            future.cancel()
            self._resting[region] = time.monotonic() + _REST_SECONDS
            log.warning("pull.failed", peer=region, lane=lane.key, error=str(error) or type(error).__name__)
            return []

    def _read(self, region: str, lane: LaneId, first: int, last: int) -> list[Event]:
        assert self._peer is not None
        events: list[Event] = []
        for event in self._peer(region).read(lane, first, last):
            if event.sequence != first + len(events) or (events and event.prev != events[-1].digest):
                break  # only what follows without a gap can be used
            events.append(event)
        return events

    def _rests(self, region: str) -> bool:
        return time.monotonic() < self._resting.get(region, 0.0)

    def _workers(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_PULLS, thread_name_prefix="pull")
            return self._pool


def _with(seen: VersionVector, found: dict[str, list[Event]]) -> VersionVector:
    for region, events in found.items():
        if events and events[0].sequence == seen.get(region) + 1:
            seen = seen.advance(region, events[-1].sequence)
    return seen
