"""Heartbeat: an event that each region appends once a minute to a lane of its own. It travels like any other event, so its
age at a peer tells whether the link works, even when nothing else is written: docs/decisions/0040."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from replicator.control.control_storage import ControlStorage
from replicator.domain.errors import DamagedEvent, MeridianError
from replicator.domain.event import NewEvent
from replicator.domain.names import LaneId, StreamId
from replicator.eventstore.storage import LaneStorage
from replicator.fencing.fence import RegionFenced
from replicator.fencing.roles import REBUILDING, known_role, read_role
from replicator.runtime.metrics import Emit
from replicator.runtime.wall_clock import wall_clock

STREAM_TYPE = "meridian.heartbeat"
EVENT_TYPE = "meridian.heartbeat"
EVERY_SECONDS = 60.0
OVERDUE = 3
"""Number of heartbeats after which the next one is overdue."""
_GRACE_MS = 3_600_000
"""Time that a peer has for its first heartbeat, from this region's own first one: regions are deployed one by one."""

log = structlog.get_logger()


def heartbeat_lane(region: str) -> LaneId:
    """Return the lane of a region's heartbeats."""
    return LaneId(region, StreamId(STREAM_TYPE, region))


@dataclass(frozen=True, slots=True)
class Beat:
    """Newest heartbeat of a region in one table: `at` is when it was written, in milliseconds since the epoch, `every` the
    seconds from one to the next."""

    at: int
    every: float = EVERY_SECONDS

    def age(self, now: int) -> float:
        """Return its age in seconds at `now` (ms since the epoch)."""
        return max(0, now - self.at) / 1000

    def overdue(self, now: int) -> bool:
        """Return whether the next one should be there by now."""
        return self.age(now) > OVERDUE * self.every


def newest_beat(storage: LaneStorage, region: str) -> Beat | None:
    """Return the newest heartbeat of `region` in this table, by one read; None if there is none. Raises RegionUnavailable
    and DamagedEvent."""
    for event in storage.read(heartbeat_lane(region), limit=1, reverse=True):
        every = event.payload.get("every") if isinstance(event.payload, dict) else None
        return Beat(event.hlc.ms, float(every)) if isinstance(every, int | float) and every > 0 else Beat(event.hlc.ms)
    return None


@dataclass(slots=True)
class Heartbeat:
    """Appends a region's heartbeats, and reports the age of its peers'. `append` appends to a stream of the region, `every`
    is in seconds, `wall` in milliseconds since the epoch, and `mine` says whether it is this process that beats now."""

    region: str
    peers: Sequence[str]
    append: Callable[[StreamId, NewEvent], object]
    storage: LaneStorage
    control: ControlStorage
    emit: Emit
    every: float = EVERY_SECONDS
    wall: Callable[[], int] = wall_clock
    mine: Callable[[], bool] = lambda: True
    _first: int | None = field(default=None, init=False)

    def beat(self) -> None:
        """Append one heartbeat, unless the region is fenced, and emit `HeartbeatAge` of each peer's. `Heartbeats` is emitted
        only if all of this succeeded: its absence is the alarm. Raises MeridianError."""
        owed = self._append()
        now = self.wall()
        for peer in self.peers:
            self.emit({"region": self.region, "link": f"{peer}>{self.region}"}, {"HeartbeatAge": self._age(peer, now)})
        self.emit({"region": self.region}, {"Heartbeats": 1})
        if not owed:
            log.info("heartbeat.not_owed", region=self.region)

    def _append(self) -> bool:
        lane = heartbeat_lane(self.region)
        every = int(self.every) if self.every == int(self.every) else self.every
        try:
            self.append(lane.stream, NewEvent(EVENT_TYPE, {"every": every}))
        except RegionFenced as error:
            held = read_role(self.control)
            if error.role.name == REBUILDING and (held is None or held.name != REBUILDING):
                raise  # it was emptied or restored, and no runbook brings it up yet
            return False
        return True

    def _age(self, peer: str, now: int) -> float:
        """Return the seconds since the peer's newest heartbeat that arrived here, or since it began to owe one: when this
        region began, or the peer was unfenced. 0 while it is fenced."""
        role = known_role(self.control, peer)
        if role is not None and not role.active:
            return 0.0
        newest = newest_beat(self.storage, peer)
        since = [role.since if role is not None else 0]
        since += [newest.at] if newest is not None else [self._begun(now) + _GRACE_MS]
        return Beat(max(since)).age(now)

    def _begun(self, now: int) -> int:
        """Return the time of this region's own first heartbeat; `now` if there is none."""
        if self._first is None:
            position = heartbeat_lane(self.region), 1
            found = self.storage.get([position]).get(position)
            self._first = found.hlc.ms if found is not None else None
        return now if self._first is None else self._first

    def run(self, stop: threading.Event) -> None:
        """Beat every `every` seconds until `stop` is set. One that fails is logged, and the next one is tried on time."""
        while not stop.is_set():
            if self.mine():
                self._try()
            stop.wait(self.every if self.mine() else min(self.every, 1.0))

    def _try(self) -> None:
        try:
            self.beat()
        except (MeridianError, DamagedEvent) as error:
            log.warning("heartbeat.missed", region=self.region, error=str(error))
        except Exception:  # unforeseen: ending the thread would end this silently
            log.exception("heartbeat.missed", region=self.region)
