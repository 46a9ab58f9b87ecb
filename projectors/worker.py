"""`projectors run`: reads the own region's stream and folds every event, from whatever region, into views."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial

import structlog

from projectors.engine import Engine
from projectors.failures import Failure, LanesWait, stranger
from projectors.followers import Follower
from projectors.projection import Projection
from projectors.settings import sink_id
from projectors.sinks.opening import DYNAMODB, open_sink
from replicator import aws, erasure
from replicator.backlog import Part, TableBacklog
from replicator.claims.settling import Settler
from replicator.control import Checkpoints, DynamoControl, Quarantine
from replicator.domain.event import Event
from replicator.domain.names import LaneId, StreamId
from replicator.dynamodb import DynamoStorage
from replicator.errors import RegionUnavailable
from replicator.pointers import spans
from replicator.records import read_records
from replicator.retries import full_jitter
from replicator.settings import Settings
from replicator.store import EventStore
from replicator.streams import Batch, StreamReader
from replicator.wallclock import wall_clock

READER = "projector"
_WAITING_SECONDS = 10.0
_WAITING_PAGE = 100


class Projector:
    """The projector of one region."""

    def __init__(
        self,
        region: str,
        reader: StreamReader,
        store: EventStore,
        engine: Engine,
        quarantine: Quarantine,
        poll_interval: float,
        waiting: TableBacklog,
        settler: Settler | None = None,
        followers: Sequence[Follower] = (),
    ) -> None:
        self.region = region
        self._reader = reader
        self._store = store
        self._engine = engine
        self._quarantine = quarantine
        self._poll_interval = poll_interval
        self._waiting = waiting
        self._settler = settler
        self._followers = tuple(followers)
        self._pending: list[Batch] = []
        self._failures = 0
        self._look_again = 0.0
        self._looked_at: LaneId | None = None
        self._strangers: set[str] = set()
        self._met = False
        self._log = structlog.get_logger().bind(region=region)

    @classmethod
    def connect(
        cls, settings: Settings, projections: Sequence[type[Projection]], sinks: Sequence[str] = (DYNAMODB,)
    ) -> Projector:
        """Wire the projector of the settings' region. The first sink decides how far the stream is read."""
        control = DynamoControl(settings)
        if settings.personal_key:
            aws.require_table(settings, settings.region, settings.keys_table)
        reader = StreamReader.connect(settings, Checkpoints(control, READER))
        store = EventStore(DynamoStorage(settings), settings.region, settings.regions)
        personal = erasure.connect(settings)
        link = f"{settings.region}>views"
        quarantine = Quarantine(control, link)

        def follower(address: str) -> Follower:
            # What conflict rules discard is the same in every sink: the first one's count is enough.
            name, engine = sink_id(address), Engine(projections, store, open_sink(address, settings), personal, watch=False)
            return Follower(name, engine, TableBacklog(control, f"{link}>{name}"), partial(_report, quarantine))

        first, *others = sinks
        return cls(
            settings.region, reader, store, Engine(projections, store, open_sink(first, settings), personal), quarantine,
            settings.poll_interval, TableBacklog(control, link), Settler.connect(settings, store),
            [follower(each) for each in others],
        )  # fmt: skip

    def run(self, stop: threading.Event) -> None:
        """Project until `stop` is set. The region's outages are waited out; nothing else ends it."""
        self._log.info("projector.started")
        while not stop.is_set():
            if rest := self.turn():
                stop.wait(rest)
        self._log.info("projector.stopped")

    def turn(self) -> float:
        """Project what is new, and return how many seconds to rest before the next turn. For `run`, or for a scheduler in
        its place."""
        try:
            self._pending = self._pending or self._reader.poll()
            self._project(self._pending)
            more = self._resume()
        except RegionUnavailable as error:
            self._failures += 1
            self._log.warning("projector.waits", error=str(error))
            return full_jitter(self._failures)
        busy, self._pending, self._failures = bool(self._pending) or more, [], 0
        return 0.0 if busy else self._poll_interval

    def _project(self, batches: Sequence[Batch]) -> None:
        """Fold these batches, then checkpoint them: killed in between, they come again and are skipped by vector."""
        if any(batch.trimmed for batch in batches):
            lanes = dict(self._store.lanes())
            self._log.info("projector.reconciles", lanes=len(lanes))
            self._fold(lambda: self._engine.catch_up(lanes))
            for each in self._followers:
                each.fold(lambda engine: engine.catch_up(lanes), {lane: (1, last) for lane, last in lanes.items()})
            self._settle(lane.stream for lane in lanes)
        events = self._events(batches)
        self._fold(lambda: self._engine.apply(events))
        for each in self._followers:
            each.fold(lambda engine: engine.apply(events), spans(events))
        self._settle(event.stream for event in events)
        for batch in batches:
            self._reader.commit(batch)

    def _fold(self, fold: Callable[[], list[Failure]]) -> Collection[LaneId]:
        """Fold, and put what waits for a key of another region on the backlog: it holds up nothing else."""
        waits: dict[LaneId, tuple[int, int]] = {}
        before = self._engine.conflicts
        try:
            failures = fold()
        except LanesWait as error:
            failures, waits = error.failures, error.lanes
            self._waiting.defer(waits, wall_clock())
            self._log.warning("projector.lanes_wait", lanes=len(waits), error=str(error))
            self._list(error.strangers)
        for (projection, rule), count in sorted((self._engine.conflicts - before).items()):
            self._log.info("projector.conflicts", projection=projection, rule=rule, discarded=count)
        _report(self._quarantine, failures)
        return waits

    def _list(self, strangers: Mapping[str, str]) -> None:
        """A region that is not known is listed in quarantine once, however many events it has, until it is known."""
        for region in strangers.keys() - self._strangers:
            self._quarantine.add(stranger(region), strangers[region])
            self._log.error("projector.quarantined", item=stranger(region), reason=strangers[region])
            self._strangers.add(region)

    def _settle(self, streams: Iterable[StreamId]) -> None:
        if self._settler is not None:
            self._settler.settle_all(streams)

    def _resume(self) -> bool:
        """Now and then, look whether the keys that lanes wait for can be had, and what followers lack: a page a turn, the
        stream has its turn in between. Returns whether there may be more to do at once."""
        more = [each.resume() for each in self._followers]
        return self._look() or any(more)

    def _look(self) -> bool:
        if time.monotonic() < self._look_again:
            return False
        if not self._met:  # what an earlier process listed, and is known now
            known = {stranger(region) for region in self._store.regions}
            self._quarantine.release({key: value for key, value in self._quarantine.records() if key in known})
            self._met = True
        page = self._waiting.page(_WAITING_PAGE, self._looked_at)
        ends = {lane: value["to"] for lane, value in page.items()}
        waits = self._fold(lambda: self._engine.catch_up(ends))
        self._waiting.done(Part({}, 0, receipt=page), waits)
        more = len(page) == _WAITING_PAGE
        self._looked_at = max(page, key=lambda lane: lane.key) if more else None
        if not more:
            self._look_again = time.monotonic() + _WAITING_SECONDS
        return more

    def _events(self, batches: Sequence[Batch]) -> list[Event]:
        events, refused = read_records(record for batch in batches for record in batch.records)
        for each in refused:
            self._quarantine.add(each.item, each.reason)
            self._log.error("projector.quarantined", item=each.item, reason=each.reason)
        return events


def _report(quarantine: Quarantine, failures: Sequence[Failure]) -> None:
    for failure in failures:
        quarantine.add(f"{failure.projection} {failure.event_id}", failure.reason)
