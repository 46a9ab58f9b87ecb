"""Link policy: how this region's events get to one peer.

Events are copied, or pointers to them are put on the backlog, a retry queue (hinted handoff): no accepted event is only in
memory. A driver hands over events and grants time for the backlog: a thread (replicator/replication/worker.py) or a
function's invocation (replicator/replication/invocation.py). This module holds what both share.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Sequence
from functools import partial
from itertools import islice

import structlog

from replicator.control.backlog import Backlog, Part, Rounds
from replicator.control.pointers import Spans, spans
from replicator.control.quarantine import sequences_of
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import Event
from replicator.domain.names import LaneId
from replicator.replication.copier import Copier
from replicator.replication.lane_catch_up import FEW
from replicator.replication.peer_tables import PeerTables
from replicator.runtime.metrics import Emit
from replicator.runtime.time_left import Fits
from replicator.runtime.wall_clock import wall_clock

REST_SECONDS = 20.0
"""Circuit breaker: seconds without requests to a peer that did not answer. Its events go to the backlog, and are retried
from there."""
LOOK_SECONDS = 30.0
"""Seconds between periodic checks for changes without an event: a replaced table, a repaired lane, pointers deferred by
others."""
PAUSE_SECONDS = 1.0
"""Seconds before waiting lanes are retried: those that the peer throttles, or that are ahead of their home."""
SLICE = 50
"""Maximum number of lanes caught up at once, where they have to be read: each page of a lane is held in memory."""
FEW_SLICE = 1000
"""The same of lanes of which a few events wait."""
_STEP_SECONDS = 2.0
_PART = 1000


class Link:
    """Copies events of one region to one peer. `wall` is in milliseconds since the epoch.

    Only one of `deliver`, `bring`, `step` and `look` uses the peer at a time. `defer` and `overtake` may be called at any
    time, from any thread.
    """

    def __init__(
        self,
        source: str,
        target: str,
        copier: Copier,
        backlog: Backlog,
        peers: PeerTables,
        emit: Emit,
        wall: Callable[[], int] = wall_clock,
    ) -> None:
        self.name = f"{source}>{target}"
        self.state = copier.state
        self.copier = copier
        self.failures = 0
        """Failed attempts since the peer last answered."""
        self._source, self._target = source, target
        self._peers = peers
        self._emit = emit
        self._wall, self._monotonic = wall, copier.monotonic
        self._rounds = Rounds(backlog, FEW_SLICE, copier.monotonic, PAUSE_SECONDS)
        self._log = structlog.get_logger().bind(region=source, link=self.name)
        self._down_at = self._slow_until = self._looked = -math.inf
        self._mended_to = ""
        self._busy = threading.Lock()

    # -- events ------------------------------------------------------------------------------------------------------

    @property
    def admits(self) -> bool:
        """Whether events may be delivered now. If not, defer them: the circuit breaker is open, or the link was
        overtaken."""
        return not self._broken and self._monotonic() >= self._slow_until

    @property
    def _broken(self) -> bool:
        return self._monotonic() - self._down_at < REST_SECONDS

    def deliver(self, events: Sequence[Event], since: int | None = None) -> list[Event]:
        """Copy these events, or put pointers to them on the backlog. Returns those for which neither succeeded.

        The lag is counted `since` the table took the first of them, in milliseconds since the epoch; by default since the
        oldest was made.
        """
        if not events:
            return []
        copied, known = self.state.copied, self.state.known
        since = _oldest(events) if since is None else since
        left = self._copy(events)
        lost = self._defer(left, since)
        lag = max(0, self._wall() - since)
        self._report(ReplicationLag=lag, EventsCopied=self.state.copied - copied, EventsKnown=self.state.known - known,
                     EventsDeferred=len(left))  # fmt: skip
        return lost

    def defer(self, events: Sequence[Event], since: int | None = None) -> list[Event]:
        """Put pointers to these events on the backlog. Returns the events when the backlog accepts nothing. `since` as in
        `deliver`."""
        if not events:
            return []
        since = _oldest(events) if since is None else since
        self._report(ReplicationLag=max(0, self._wall() - since), EventsDeferred=len(events))
        return self._defer(events, since)

    def _defer(self, events: Sequence[Event], since: int) -> list[Event]:
        if events:
            found = spans(events)
            try:
                self._rounds.defer(found, since)
            except RegionUnavailable as error:
                self._log.error("backlog.unavailable", error=str(error))
                return list(events)
            self.state.deferred += len(events)
            self._log.info("link.deferred", events=len(events), lanes=len(found))
        return []

    def defer_lanes(self, lanes: Spans) -> None:
        """Put whole lanes on the backlog, to be compared with the peer. Raises RegionUnavailable."""
        self._rounds.defer(lanes, self._wall())

    def overtake(self, events: Sequence[Event], since: int | None = None, seconds: float = REST_SECONDS) -> list[Event]:
        """Stop waiting for a slow link: defer these events, and any that arrive in the next `seconds` or until it has caught
        up. A delivery in progress may still end either way: copying twice adds nothing. Returns the events that could not be
        deferred."""
        self._log.warning("link.overtaken", events=len(events))
        self._slow_until = self._monotonic() + seconds
        return self.defer(events, since)

    def caught_up(self) -> None:
        """Record that the link is no longer slower than others."""
        self._slow_until = -math.inf

    def _copy(self, events: Sequence[Event]) -> Sequence[Event]:
        """Copy events; return those that were not copied."""
        if self._broken:
            return events
        left: list[Event] = []

        def copy() -> None:
            left.extend(self.copier.copy(events))
            self._meet()  # events reported as copied are in a known table

        return left if self._at_peer(copy) else events

    def _at_peer(self, work: Callable[[], None]) -> bool:
        """Run `work` alone at the peer. Returns False when it failed, or did not finish."""
        if not self._busy.acquire(blocking=False):  # an overtaken delivery still hangs there
            return False
        try:
            self.copier.look_again()  # a stopped lane may have been repaired
            work()
        except RegionUnavailable as error:
            self.down(str(error))
            return False
        except Exception as error:  # no table yet, no permission to write, a bug: this link alone is affected
            self._log.exception("link.failed")
            self.down(f"{type(error).__name__}: {error}")
            return False
        finally:
            self._busy.release()
        self._up()
        return True

    def down(self, why: str) -> None:
        """Record a failed attempt: open the circuit breaker for a while."""
        self.failures += 1
        self._down_at = self._monotonic()
        if self.state.up:
            self._log.warning("link.down", error=why)
        self.state.up = False

    def _up(self) -> None:
        if not self.state.up:
            self._log.info("link.up", after_failures=self.failures)
        self.state.up, self.failures, self._down_at = True, 0, -math.inf

    # -- the backlog -------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Process the next part of the backlog. Returns whether there may be more to do at once. Raises RegionUnavailable
        when the backlog does not answer."""
        until = self._monotonic() + _STEP_SECONDS
        return self._rounds.step(partial(self.bring, fits=lambda: self._monotonic() < until))

    def drain(self, fits: Fits) -> None:
        """Go once through the backlog while there is time (`fits`) and the peer accepts it. Raises RegionUnavailable as
        `step`."""
        failures = self.failures
        self._rounds.drain(partial(self.bring, fits=fits), lambda: self.failures <= failures and fits())

    def bring(self, part: Part, fits: Fits = lambda: True) -> Collection[LaneId]:
        """Copy these lanes while there is time (`fits`). Returns the lanes that could not be copied now and wait on the
        backlog.

        Raises RegionUnavailable when the backlog does not accept them: the part is still on it then.
        """
        copied, failed = self.state.copied, list[LaneId]()
        whole = sorted(part.lanes, key=lambda lane: lane.key)
        few = [lane for lane in whole if part.lanes[lane][1] - part.lanes[lane][0] < FEW]

        def catch_up_few(lanes: Sequence[LaneId]) -> None:
            left, others = self.copier.catch_up_few({lane: part.lanes[lane] for lane in lanes})
            self._meet()
            failed.extend(left)
            done.update(lane for lane in lanes if lane not in others)

        def catch_up(lanes: Sequence[LaneId]) -> None:
            left = self.copier.catch_up(lanes)
            self._meet()
            failed.extend(left)
            done.update(lanes)

        done, reached = set[LaneId](), True
        for work, names, size in ((catch_up_few, few, FEW_SLICE), (catch_up, whole, SLICE)):
            names = [lane for lane in names if lane not in done]
            for start in range(0, len(names), size):
                if not reached or (start and not fits()):  # the first always runs: a short limit must not stop all progress
                    break
                reached = self._at_peer(partial(work, names[start : start + size]))
        left = [lane for lane in whole if lane not in done]
        rest = left if reached else []
        failed += [] if reached else left
        self._rounds.backlog.done(part, failed, rest)
        age = max(0, self._wall() - part.since) if failed or rest else 0
        self._report(BacklogAge=age / 1000, ReplicationLag=age, EventsCopied=self.state.copied - copied)
        return [*failed, *rest]

    # -- periodic checks --------------------------------------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """Whether it is time to `look`."""
        return self._monotonic() - self._looked >= LOOK_SECONDS

    def look(self) -> None:
        """Run the periodic checks: notice a replaced table at the peer, release repaired lanes from quarantine, and check
        whether other processes have put lanes on the backlog."""
        if not self.due:
            return
        self._looked = self._monotonic()
        self._rounds.behind = True
        if self._busy.acquire(blocking=False):
            try:
                self.copier.know_peer()
                self._meet()
                if self._rounds.backlog.mine:
                    self._mend()
            except RegionUnavailable:
                pass  # nothing waits for it, so a peer that is down is no news here
            except Exception:
                self._log.exception("link.failed")
            finally:
                self._busy.release()

    def _meet(self) -> None:
        """Put all lanes on the backlog if the peer's table is not the one that this region has copied to. Record the table
        as known once all lanes are on the backlog."""
        if not (table := self.copier.identity) or not self._peers.replaced(self._target, table):
            return
        self.copier.know_peer(at_once=True)  # the known identity may be older than the one that another process has recorded
        table = self.copier.identity
        if not table or not self._peers.replaced(self._target, table) or not self._peers.claim(self._target, table):
            return
        lanes, count = self.copier.home.index(self._source), 0
        while part := list(islice(lanes, _PART)):
            self.defer_lanes(dict.fromkeys(part, (1, 1)))  # the pointer's range does not matter: its lane is compared whole
            count += len(part)
        self._peers.keep(self._target, table)
        self._log.warning("link.peer_replaced", lanes=count)

    def _mend(self) -> None:
        """Retry lanes in quarantine, some at a time, and release those that are complete at the peer."""
        listed, self._mended_to = self.copier.quarantine.some(self._mended_to, SLICE)
        chosen = [lane for lane in listed if lane.region == self._source]
        if not chosen:
            return
        self.copier.look_again()
        left = self.copier.catch_up(chosen)
        caught_up = [lane for lane in chosen if lane not in left and lane not in self.copier.stopped]
        agree = self.copier.pool.map(lambda lane: self.copier.agree(lane, sequences_of(listed[lane])), caught_up)
        whole = [lane for lane, equal in zip(caught_up, agree, strict=True) if equal]
        if released := {key: value for lane in whole for key, value in listed[lane].items()}:
            self.copier.quarantine.release(released)
            self._log.info("link.released", events=sorted(released))

    def _report(self, **values: float) -> None:
        self._emit({"region": self._source, "link": self.name}, values)


def _oldest(events: Sequence[Event]) -> int:
    return min(event.hlc.ms for event in events)
