"""Heartbeat: an event that each region appends once a minute to a lane of its own. It travels like any other event, so its
age at a peer tells whether the link works, even when nothing else is written: docs/decisions/0040."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from replicator.control.control_storage import ControlStorage
from replicator.domain.errors import DamagedEvent, MeridianError
from replicator.domain.event import NewEvent
from replicator.domain.names import LaneId, StreamId
from replicator.eventstore.storage import LaneStorage
from replicator.fencing.fence import RegionFenced
from replicator.fencing.roles import DRAINING, FENCED, REBUILDING, Role, known_role, read_role
from replicator.runtime.metrics import Emit
from replicator.runtime.wall_clock import wall_clock

STREAM_TYPE = "meridian.heartbeat"
EVENT_TYPE = "meridian.heartbeat"
EVERY_SECONDS = 60.0
OVERDUE = 3
"""Number of heartbeats after which the next one is overdue."""
HEARD_SCOPE = "heartbeat"
"""Scope of the control state that says since when this region knows a peer of which no heartbeat has arrived."""
_HOUR_MS = 3_600_000
GRACE_MS = _HOUR_MS
"""Time that a peer has for its first heartbeat, since this region knows of it: regions are deployed one by one."""
_EXCUSED_MS = {FENCED: math.inf, DRAINING: _HOUR_MS, REBUILDING: 6 * _HOUR_MS}
"""Time from the beginning of a role for which a region owes no heartbeat. A runbook ends the last two; one that was killed
must not leave the region in them for days."""
_SLACK_MS = 60_000
"""Time by which a heartbeat must be newer than the record that its region is fenced to prove that record wrong."""

log = structlog.get_logger()


def heartbeat_lane(region: str) -> LaneId:
    """Return the lane of a region's heartbeats."""
    return LaneId(region, StreamId(STREAM_TYPE, region))


@dataclass(frozen=True, slots=True)
class Beat:
    """Newest heartbeat of a region in one table: `at` is when it was written, in milliseconds since the epoch, `every` the
    seconds from one to the next."""

    at: float
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


def owed_from(role: Role | None) -> float:
    """Return the time from which a region with this role owes heartbeats, in milliseconds since the epoch; infinity while it
    is fenced."""
    return 0 if role is None else role.since + _EXCUSED_MS.get(role.name, 0)


@dataclass(slots=True)
class Heartbeat:
    """Appends a region's heartbeats, and reports the age of its peers'. `append` appends to a stream of the region, `ask`
    returns a peer's latest role as other regions have it (None: no answer), `every` is in seconds, `wall` in milliseconds
    since the epoch, and `mine` says whether it is this process that beats now."""

    region: str
    peers: Sequence[str]
    append: Callable[[StreamId, NewEvent], object]
    storage: LaneStorage
    control: ControlStorage
    emit: Emit
    every: float = EVERY_SECONDS
    wall: Callable[[], int] = wall_clock
    mine: Callable[[], bool] = lambda: True
    ask: Callable[[str], Role | None] = lambda peer: None

    def beat(self) -> None:
        """Append one heartbeat, unless the region is fenced, and emit `HeartbeatAge` of each peer's. `Heartbeats` is emitted
        only if all of this succeeded: its absence is the alarm. Raises MeridianError and DamagedEvent."""
        owed = self._append()
        now, failure = self.wall(), None
        for peer in self.peers:
            try:
                age = self._age(peer, now)
            except (MeridianError, DamagedEvent) as error:  # the other peers are measured all the same
                failure = error
            else:
                self.emit({"region": self.region, "link": f"{peer}>{self.region}"}, {"HeartbeatAge": age})
        if failure is not None:
            raise failure
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
            if owed_from(error.role if held is None or held.active else held) < self.wall():
                raise  # the runbook that was to end this did not
            return False
        return True

    def _age(self, peer: str, now: int) -> float:
        """Return the seconds since the peer's newest heartbeat that arrived here, or since it began to owe one. 0 while it
        owes none."""
        role, newest = known_role(self.control, peer), newest_beat(self.storage, peer)
        last = newest.at if newest is not None else self._known_since(peer, now) + GRACE_MS
        # This region may have missed that the peer is fenced, or active again. A newer heartbeat shows the latter.
        outdated = role is not None and not role.active and newest is not None and newest.at > role.since + _SLACK_MS
        beat = Beat(last if outdated else max(last, owed_from(role)), self.every)
        if beat.overdue(now) and (told := self.ask(peer)) is not None:
            latest = max((each for each in (role, told) if each is not None), key=lambda each: each.epoch)
            beat = Beat(max(last, owed_from(latest)))
        return beat.age(now)

    def _known_since(self, peer: str, now: int) -> int:
        """Return since when this region knows the peer, of which no heartbeat has arrived; from now on, if it is new."""
        self.control.swap(HEARD_SCOPE, peer, None, {"since": now})
        held = self.control.get(HEARD_SCOPE, peer)
        return int(held["since"]) if held is not None else now

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
