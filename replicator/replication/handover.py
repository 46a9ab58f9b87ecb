"""Handover of a writer's own events to peers, at once, along the copier's idempotent way. It never decides what a peer holds
in the end: the replicator copies from the table's stream all the same, and finds there what was handed over."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Lock

import structlog

from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import Event
from replicator.replication.copier import SAME_PEER_SECONDS, Copier

log = structlog.get_logger()

STRIPES = 64
"""Copiers for each peer, each with the lanes that hash to it: one copier works on one batch at a time."""
_REST_SECONDS = 5.0
"""Seconds for which a peer that failed comes behind the others."""
_AHEAD_SECONDS = 1.0
"""Age from which the identity of a peer's table is read again before it is needed."""
_LEAST_PATIENCE, _PATIENCE = 0.05, 3.0
"""Seconds, and usual response times, after which the next peer is tried as well."""
_WEIGHT = 0.2


class SharedIdentity:
    """Identity of a peer's table for all copiers to it, read every SAME_PEER_SECONDS."""

    def __init__(self, read: Callable[[], str], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._read, self._monotonic = read, monotonic
        self._lock = Lock()
        self._value, self._at, self._tried = "", -SAME_PEER_SECONDS, -SAME_PEER_SECONDS

    def __call__(self) -> str:
        """Return the identity. Raises RegionUnavailable."""
        return self._known(SAME_PEER_SECONDS)

    @property
    def ages(self) -> bool:
        """Whether it should be read again soon: once a second at most."""
        return self._monotonic() - max(self._at, self._tried) >= _AHEAD_SECONDS

    def refresh(self) -> None:
        """Read it again if it ages."""
        self._tried = self._monotonic()
        try:
            self._known(_AHEAD_SECONDS)
        except RegionUnavailable as error:
            log.debug("handover.identity_unknown", error=str(error))

    def _known(self, age: float) -> str:
        if self._monotonic() - self._at >= age:
            with self._lock:
                now = self._monotonic()
                if now - self._at >= age:
                    self._value, self._at = self._read(), now
        return self._value


@dataclass(slots=True, eq=False)
class _Task:
    events: Sequence[Event]
    held: bool | None = None


class _Stripe:
    """One copier with a queue: the events of all callers that wait are copied together."""

    def __init__(self, copier: Copier) -> None:
        self._copier = copier
        self._lock = Lock()
        self._waiting: deque[_Task] = deque()

    def copy(self, events: Sequence[Event]) -> bool:
        """Return whether the peer holds these events now."""
        task = _Task(events)
        self._waiting.append(task)
        with self._lock:
            if task.held is None:
                tasks = [self._waiting.popleft() for _ in range(len(self._waiting))]
                self._copy(tasks)
        return bool(task.held)

    def _copy(self, tasks: Sequence[_Task]) -> None:
        for task in tasks:
            task.held = False
        self._copier.look_again()
        left = self._copier.copy([event for task in tasks for event in task.events])
        behind = {event.lane for event in left} | set(self._copier.stopped)
        for task in tasks:
            task.held = behind.isdisjoint(event.lane for event in task.events)


class PeerHandover:
    """Handover to one peer, on threads of its own: one that hangs delays no other. Safe to share between threads."""

    def __init__(
        self,
        peer: str,
        copier: Callable[[], Copier],
        identity: SharedIdentity,
        pool: ThreadPoolExecutor,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.peer = peer
        self._stripes = [_Stripe(copier()) for _ in range(STRIPES)]
        self._identity, self._pool, self._monotonic = identity, pool, monotonic
        self._seconds = 0.0
        self._rests_until, self._failing = -math.inf, False

    def prepare(self) -> None:
        """Make sure of the peer's table before it is needed. Returns at once."""
        if self._identity.ages:
            self._pool.submit(self._identity.refresh)

    def start(self, events: Sequence[Event]) -> Future[bool]:
        """Begin to copy events. The result is whether the peer holds them and all before them."""
        return self._pool.submit(self._copy, events)

    @property
    def order(self) -> tuple[bool, float]:
        """Sort key: the nearest peer first, one that failed lately last."""
        return self._monotonic() < self._rests_until, self._seconds

    @property
    def patience(self) -> float:
        """Seconds after which another peer is tried as well: none before the first response."""
        return max(_LEAST_PATIENCE, _PATIENCE * self._seconds) if self._seconds else 0.0

    def late(self, seconds: float) -> None:
        """Record that a response takes longer than this."""
        self._seconds = max(self._seconds, seconds)

    def _copy(self, events: Sequence[Event]) -> bool:
        started = self._monotonic()
        try:
            # The lanes of one append go together: its first lane decides.
            held = self._stripes[hash(events[0].lane) % STRIPES].copy(events)
        except Exception as error:  # whatever fails at a peer, the events are stored here and copied later
            tell = log.debug if self._failing else log.warning  # once, until it works again
            tell("handover.failed", peer=self.peer, error=str(error) or type(error).__name__)
            self._failing, self._rests_until = True, self._monotonic() + _REST_SECONDS
            return False
        self._failing, took = False, self._monotonic() - started
        self._seconds = (1 - _WEIGHT) * self._seconds + _WEIGHT * took if self._seconds else took
        return held


class PeerHandovers:
    """Handover to the peers of a region, the nearest first. Safe to share between threads."""

    def __init__(self, peers: Sequence[PeerHandover], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._peers = tuple(peers)
        self._monotonic = monotonic

    def prepare(self) -> None:
        for peer in self._peers:
            peer.prepare()

    def hand_over(self, events: Sequence[Event], copies: int, within: float) -> Sequence[str]:
        until = self._monotonic() + within
        waiting = deque(sorted(self._peers, key=lambda peer: peer.order))
        running: dict[Future[bool], PeerHandover] = {}
        held: list[str] = []
        next_at = math.inf
        while len(held) < copies and (waiting or running):
            now = self._monotonic()
            if now >= until:
                break
            if waiting and (len(held) + len(running) < copies or now >= next_at):
                peer = waiting.popleft()
                running[peer.start(events)] = peer
                next_at = now + peer.patience
                continue
            done, _ = wait(running, min(until, next_at if waiting else until) - now, FIRST_COMPLETED)
            for task in done:
                peer = running.pop(task)
                held += [peer.peer] if task.result() else []
            if not done:
                for peer in running.values():
                    peer.late(peer.patience)
        for task in running:
            task.cancel()
        return held
