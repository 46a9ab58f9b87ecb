"""Read repair: a read that needs at least what a token names fetches missing events from a region that has them.

Fetched events serve this read alone and are not stored: only the replicator stores copies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

import structlog

from replicator.domain.errors import DamagedEvent
from replicator.domain.event import NO_EVENTS, Event, Head
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import VersionVector
from replicator.eventstore.storage import LaneStorage
from replicator.eventstore.store_errors import NotHereYet
from replicator.runtime.retries import arriving

log = structlog.get_logger()

Peer = Callable[[str], LaneStorage]
"""Function from a region's name to its storage. Calls to that storage should fail fast, without long retries."""

MAX_PULLED = 10_000
"""Maximum number of events of a lane that one read fetches from a peer; a larger gap waits for the replicator."""

_REST_SECONDS = 5.0
_FAIR_SECONDS = 1.0
"""Minimum wait in seconds after which a missing answer counts as the peer's failure."""
_LEAST_SECONDS = 0.05
_PULLS_PER_PEER = 4


class Puller:
    """Fetches the events that a region lacks of a stream. Safe to share between threads."""

    def __init__(self, peers: Sequence[str], peer: Peer | None) -> None:
        self._peers = {region: _Pulls(region, peer) for region in peers} if peer is not None else {}

    def bring(
        self, stream: StreamId, wanted: VersionVector, here: Callable[[], Mapping[str, Head]], timeout: float
    ) -> tuple[Event, ...]:
        """Return the events up to `wanted` that are not `here` (the heads of the lanes), from the regions that wrote them or
        from any other that has them.

        Asks and waits for at most `timeout` seconds, then raises NotHereYet with what is missing. Raises DamagedEvent when a
        peer's events do not follow the ones here: one of the two lanes is a fork.
        """
        started = time.monotonic()
        found: dict[str, list[Event]] = {}
        missing = wanted

        def once() -> bool:
            nonlocal missing
            ends = {region: _trim(found.get(region, []), head) for region, head in here().items()}
            missing = _beyond(wanted, ends)
            for region, last in missing.items():
                end = ends.get(region, NO_EVENTS)
                left = timeout - (time.monotonic() - started)
                found.setdefault(region, []).extend(self._pull(LaneId(region, stream), end, last, left))
                ends[region] = Head.of(found[region][-1]) if found[region] else end
            missing = _beyond(wanted, ends)
            return bool(missing)

        if arriving(timeout)(once):
            raise NotHereYet({stream: missing}, time.monotonic() - started)
        return tuple(event for events in found.values() for event in events)

    def _pull(self, lane: LaneId, end: Head, last: int, seconds: float) -> list[Event]:
        """Return the lane's events behind `end` up to `last` from any peer that has them, the home region first; fewer if no
        peer has all."""
        best: list[Event] = []
        stop = time.monotonic() + seconds
        for region in sorted(self._peers, key=lambda each: each != lane.region):
            left = stop - time.monotonic()
            if left < _LEAST_SECONDS:
                break
            events = self._peers[region].ask(lane, end.sequence + 1, last, left)
            if events and events[0].prev != end.digest:
                raise DamagedEvent(
                    f"event {events[0].id} of {region} does not follow the events here: one of the two lanes is a fork. "
                    "Compare them before anything is decided on this stream"
                )
            if len(events) > len(best):
                best = events
            if len(best) == last - end.sequence:
                break
        return best


class _Pulls:
    """One peer with threads of its own, so that a peer that hangs delays no other, and a pause after a failure."""

    def __init__(self, region: str, peer: Peer) -> None:
        self._region = region
        self._peer = peer
        self._pool: ThreadPoolExecutor | None = None
        self._rests_until = 0.0
        self._lock = Lock()

    def ask(self, lane: LaneId, first: int, last: int, seconds: float) -> list[Event]:
        """Return the peer's events from `first` on, without gaps; none when it does not answer, or failed recently."""
        if time.monotonic() < self._rests_until:
            return []
        future: Future[list[Event]] = self._workers().submit(self._read, lane, first, min(last, first + MAX_PULLED - 1))
        try:
            return future.result(seconds)
        except Exception as error:  # whatever fails at a peer, this read continues without it
            waiting = future.cancel()
            if not isinstance(error, TimeoutError) or (seconds >= _FAIR_SECONDS and not waiting):
                self._rests_until = time.monotonic() + _REST_SECONDS
            log.warning("pull.failed", peer=self._region, lane=lane.key, error=str(error) or type(error).__name__)
            return []

    def _read(self, lane: LaneId, first: int, last: int) -> list[Event]:
        events: list[Event] = []
        for event in self._peer(self._region).read(lane, first, last):
            if event.sequence != first + len(events) or (events and event.prev != events[-1].digest):
                break  # only events that follow without a gap are usable
            events.append(event)
        return events

    def _workers(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(_PULLS_PER_PEER, thread_name_prefix=f"pull-{self._region}")
            return self._pool


def _trim(found: list[Event], head: Head) -> Head:
    """Remove from `found` what has arrived here meanwhile. Returns the lane's head with what is left."""
    found[:] = [event for event in found if event.sequence > head.sequence]
    if found and (found[0].sequence != head.sequence + 1 or found[0].prev != head.digest):
        found.clear()
    return Head.of(found[-1]) if found else head


def _beyond(wanted: VersionVector, ends: Mapping[str, Head]) -> VersionVector:
    return wanted.beyond(VersionVector({region: end.sequence for region, end in ends.items()}))
