"""Publisher: sends a region's internal events, in lane order and at least once, as external ones.

After a crash at any point nothing is skipped: a lane's position is saved only once everything up to it was
acknowledged. Records sent after the saved position are sent again. Two concurrent publishers send duplicates and skip
nothing either: each resumes from a saved position, and sends all that follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import structlog

from replicator.control.control_storage import ControlStorage
from replicator.control.quarantine import Quarantine
from replicator.domain.event import Event
from replicator.domain.names import LaneId
from replicator.eventstore.store import EventStore
from replicator.external.external_quarantine import LINK, Poison
from replicator.external.lane_runs import Run, prepare
from replicator.external.positions import Positions
from replicator.external.transformation import External
from replicator.external.waves import Destination, send
from replicator.replication.stream_records import Refused

log = structlog.get_logger()

_LANES = 500  # the maximum number of records in one request


class Publisher:
    """Publisher of one region. `lanes` is "all" that arrive there, or only its "own"."""

    def __init__(
        self,
        external: type[External],
        store: EventStore,
        control: ControlStorage,
        destination: Destination,
        *,
        lanes: str = "all",
        attempts: int = 3,
    ) -> None:
        self.region = store.region
        self.own = store.region if lanes == "own" else None
        self.published = 0
        self._external = external
        self._store = store
        self._destination = destination
        self._attempts = attempts
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="publisher")
        self._positions = Positions(control, self._pool)
        self._poison = Poison(Quarantine(control, f"{store.region}>{LINK}"))

    def publish(
        self, events: Sequence[Event], targets: Mapping[LaneId, int] | None = None, fits: Callable[[], bool] = lambda: True
    ) -> dict[LaneId, int]:
        """Publish lanes up to these events and `targets`: any order, any duplicates; missing events are read from the lane.

        Returns the unfinished lanes with their targets, because Kinesis did not accept everything or `fits` reported no time
        for more. A lane that stops before poison counts as done. Raises RegionUnavailable.
        """
        wanted = dict(targets or {})
        delivered: dict[LaneId, dict[int, Event]] = {}
        for event in events:
            wanted[event.lane] = max(wanted.get(event.lane, 0), event.sequence)
            delivered.setdefault(event.lane, {})[event.sequence] = event
        names = [lane for lane in wanted if self.own in (None, lane.region)]
        left: dict[LaneId, int] = {}
        for start in range(0, len(names), _LANES):
            part = {lane: wanted[lane] for lane in names[start : start + _LANES]}
            left |= self._bring(part, delivered, fits) if not start or fits() else part
        return left

    def everything(self) -> dict[LaneId, int]:
        """Return every lane stored here with its last sequence: the targets when the bus may have lost records."""
        return {lane: last for lane, last in self._store.lanes() if self.own in (None, lane.region)}

    def stopped(self) -> dict[LaneId, int]:
        """Return the lanes that stopped before poison, to be retried when the transformation may have been repaired."""
        return self._poison.lanes()

    def refuse(self, refused: Iterable[Refused]) -> None:
        """Record items of the bus that are not new events."""
        for each in refused:
            self._poison.refuse(each)

    def _bring(
        self, wanted: dict[LaneId, int], delivered: Mapping[LaneId, Mapping[int, Event]], fits: Callable[[], bool]
    ) -> dict[LaneId, int]:
        """Publish lanes page by page up to their targets. Returns those that are not finished."""
        left: dict[LaneId, int] = {}
        while wanted:
            pages = self._pool.map(self._prepare, wanted, wanted.values(), repeat(delivered))
            runs = dict(zip(wanted, pages, strict=True))
            sent = send(self._destination, {lane: run.outgoing for lane, run in runs.items()}, self._attempts)
            self._advance(runs, sent)
            going: dict[LaneId, int] = {}
            for lane, run in runs.items():
                if not run.done(sent[lane]):
                    left[lane] = wanted[lane]
                elif not run.poison and not run.ended and self._positions.get(lane).sequence < wanted[lane]:
                    going[lane] = wanted[lane]
            if going and not fits():
                return left | going
            wanted = going
        return left

    def _prepare(self, lane: LaneId, last: int, delivered: Mapping[LaneId, Mapping[int, Event]]) -> Run:
        at = self._positions.get(lane)
        if at.sequence >= last:
            return Run(ended=True)
        return prepare(self._external, lane, at, delivered.get(lane, {}), self._read)

    def _read(self, lane: LaneId, first: int, limit: int) -> Iterable[Event]:
        return self._store.read_lane(lane.stream, lane.region, first, limit=limit)

    def _advance(self, runs: Mapping[LaneId, Run], sent: Mapping[LaneId, int]) -> None:
        """Save the positions that the lanes reached, and record where they cannot proceed."""
        reached = {lane: at for lane, run in runs.items() if (at := run.reached(sent[lane])) is not None}
        self._positions.save(reached)
        self.published += sum(sent.values())
        for lane, at in reached.items():
            self._poison.passed(lane, at.sequence)
        for lane, run in runs.items():
            if run.poison and run.done(sent[lane]):
                self._poison.stop(lane, self._positions.get(lane).sequence + 1, run.poison)
