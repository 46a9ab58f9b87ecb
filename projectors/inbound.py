"""A region's events into its views, as functions have it: stream batches, the views' own backlog, and poison.

An event that no projection can digest stops its own lane in that view and nothing else. It is recorded once in quarantine
and sent once to the dead letters, with its key and the error and never its payload.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import structlog

from projectors.engine import Engine
from projectors.failures import Failure, LanesWait, stranger
from projectors.projection import Projection
from projectors.settings import named_sinks, sink_id
from projectors.sinks.dynamodb import DynamoSink
from projectors.sinks.opening import DYNAMODB
from replicator import erasure
from replicator.batches import Answer, Fits, Message, item_failures, partial_batches, read_messages, stream_answer
from replicator.claims.settling import Settler
from replicator.control import DynamoControl, Quarantine
from replicator.domain.event import Event
from replicator.domain.names import DELIMITER, LaneId, parse_sequence_key, sequence_key
from replicator.dynamodb import DynamoStorage
from replicator.errors import DamagedEvent, RegionUnavailable
from replicator.metrics import Emit, emit
from replicator.pointers import Pointers, join, spans
from replicator.queues import VIEWS, Queue, QueueBacklog, dead_letters
from replicator.records import Refused, read_records
from replicator.refusals import Refusals
from replicator.settings import Settings
from replicator.store import EventStore
from replicator.wallclock import wall_clock

log = structlog.get_logger()

_SLICE = 50


@dataclass(slots=True)
class Inbound:
    """Projects one region's events. `link` is the name of the way from its events to its views."""

    region: str
    store: EventStore
    engine: Engine
    backlog: QueueBacklog
    letters: Queue
    quarantine: Quarantine
    refusals: Refusals
    emit: Emit
    partial: bool = True
    wall: Callable[[], int] = wall_clock
    settler: Settler | None = None

    @classmethod
    def connect(cls, settings: Settings, projections: Sequence[type[Projection]], report: Emit = emit) -> Inbound:
        """Wire the settings' region."""
        warn_of_sinks()
        control = DynamoControl(settings)
        store = EventStore(DynamoStorage(settings), settings.region, settings.regions)
        backlog = QueueBacklog.connect(settings, VIEWS)
        return cls(
            settings.region,
            store,
            Engine(projections, store, DynamoSink(settings), erasure.connect(settings)),
            backlog,
            dead_letters(settings),
            Quarantine(control, backlog.link),
            Refusals.connect(settings, control, report),
            report,
            partial=partial_batches(settings),
            settler=Settler.connect(settings, store),
        )

    def project(self, records: Sequence[Message]) -> Answer:
        """Fold a stream batch. Whole lanes go to the backlog where the views cannot be reached. Raises BatchFailed or
        RegionUnavailable when the batch is to come again."""
        events, refused = read_records(records)
        merged, met, projected = self.engine.merged, self.engine.conflicts, len(events)
        lost: list[Event] = []
        failures: list[Failure] = []
        strangers: Mapping[str, str] = {}
        try:
            failures = self.engine.apply(events)
        except LanesWait as error:
            log.warning("projector.lanes_wait", region=self.region, lanes=len(error.lanes), error=str(error))
            failures, lost = error.failures, self._defer(events, error.lanes)
            strangers = error.strangers
        except RegionUnavailable as error:
            log.warning("projector.defers", region=self.region, error=str(error))
            lost, projected = self._defer(events), 0
        if self.settler is not None:
            self.settler.settle(events)
        self._poison(
            [_poisoned(each) for each in refused]
            + [_undigested(each) for each in failures]
            + [_Poison(stranger(region), reason, {}) for region, reason in strangers.items()]
        )
        values = {
            "EventsProjected": projected,
            "ProjectionFailures": len(failures) + len(refused),
            "ConflictsMerged": self.engine.merged - merged,
        }
        if events:
            values["ProjectionLag"] = max(0, self.wall() - min(event.hlc.ms for event in events))
        self.emit({"region": self.region}, values)
        self._count_conflicts(met)
        self.refusals.report(now=bool(failures or refused))
        return stream_answer(records, lost, self.partial)

    def catch_up(self, messages: Sequence[Message], fits: Fits) -> Answer:
        """Bring the views of whole lanes up to what is here. The answer names the messages that are to be kept."""
        found, failed = read_messages(messages, {self.backlog.link: None})
        for parts in found.values():
            try:
                self._bring([each for _, each in parts], fits)
            except RegionUnavailable as error:
                log.error("backlog.unavailable", link=self.backlog.link, error=str(error))
                failed += [message_id for message_id, _ in parts]
        self.refusals.report(now=True)
        return item_failures(failed)

    def _bring(self, pointers: Sequence[Pointers], fits: Fits) -> None:
        lanes = join(each.lanes for each in pointers)
        since, tries = min(each.since for each in pointers), max(each.tries for each in pointers)
        replayed = {lane: each.cause for each in pointers if each.cause for lane in each.lanes}
        names = sorted(lanes, key=lambda lane: lane.key)
        done: set[LaneId] = set()
        failures: list[Failure] = []
        met = self.engine.conflicts
        down = waits = False
        for start in range(0, len(names), _SLICE):
            part = names[start : start + _SLICE]
            if down or (start and not fits()):  # the first slice always has its turn
                break
            try:
                if self.settler is not None:
                    self.settler.settle_all(lane.stream for lane in part)
                failures += self.engine.catch_up({lane: self._last(lane, lanes[lane][1]) for lane in part})
            except LanesWait as error:
                log.warning("projector.lanes_wait", region=self.region, lanes=len(error.lanes), error=str(error))
                failures += error.failures
                done.update(lane for lane in part if lane not in error.lanes)
                waits = True
            except RegionUnavailable as error:
                log.warning("projector.defers", region=self.region, error=str(error))
                down = True
            else:
                done.update(part)
        self._count_conflicts(met)
        self._poison([_undigested(each) for each in failures], replayed)
        self._release(done, failures)
        left = {lane: lanes[lane] for lane in names if lane not in done}
        tries += down or waits
        if first := {lane: span for lane, span in left.items() if lane not in replayed}:
            self.backlog.defer(first, since, tries)
        for lane in left.keys() & replayed.keys():
            self.backlog.defer({lane: left[lane]}, since, tries, replayed[lane])
        age = max(0, self.wall() - since) if left else 0
        self.emit({"region": self.region}, {"ProjectionFailures": len(failures), "ProjectionLag": age})

    def _count_conflicts(self, before: Counter[tuple[str, str]]) -> None:
        """Emit what conflict rules have discarded since then."""
        for (projection, rule), count in sorted((self.engine.conflicts - before).items()):
            self.emit({"region": self.region, "projection": projection, "rule": rule}, {"ConflictsDiscarded": count})

    def _last(self, lane: LaneId, named: int) -> int:
        """What came behind the pointer waits with it: bring the whole lane."""
        try:
            last = self.store.latest(lane.stream, lane.region)
        except DamagedEvent:
            return named  # whoever folds it says so, for this lane alone
        return max(named, last.sequence if last is not None else 0)

    def _defer(self, events: Sequence[Event], lanes: Mapping[LaneId, tuple[int, int]] | None = None) -> list[Event]:
        """Put the events' lanes, or only these, on the backlog. Returns all events when that cannot be done either."""
        try:
            self.backlog.defer(spans(events) if lanes is None else lanes, min(event.hlc.ms for event in events))
        except RegionUnavailable as error:
            log.error("backlog.unavailable", link=self.backlog.link, error=str(error))
            return list(events)
        return []

    def _poison(self, found: Sequence[_Poison], replayed: Collection[LaneId] = ()) -> None:
        """Record each once, and send each once to the dead letters (again if killed between the two). What was replayed
        from there and failed goes back there."""
        if not found:
            return
        known = dict(self.quarantine.records())
        for each in found:
            log.error("projector.quarantined", item=each.key, reason=each.reason)
            if each.key not in known or not each.lanes.keys().isdisjoint(replayed):
                if each.lanes:  # what is in no lane, or was changed behind our back, cannot be replayed
                    cause = {"event": each.key, "error": each.reason}
                    self.letters.send(str(Pointers(self.backlog.link, each.lanes, self.wall(), cause=cause)))
                self.quarantine.add(each.key, each.reason)
                known[each.key] = {}

    def _release(self, lanes: set[LaneId], failures: Sequence[Failure]) -> None:
        """What stood in quarantine for these lanes and did not fail again is dealt with."""
        again = {_key(each.projection, each.event_id) for each in failures}
        met = {stranger(lane.region) for lane in lanes}
        ends = tuple(f" {lane.key}" for lane in lanes)  # neither names nor keys hold a delimiter, so no other key ends so
        found = {
            key: value
            for key, value in self.quarantine.records()
            if key in met or (key not in again and key.rpartition(DELIMITER)[0].endswith(ends))
        }
        if found:
            self.quarantine.release(found)
            log.info("projector.released", region=self.region, events=sorted(found))


def warn_of_sinks(environment: Mapping[str, str] = os.environ) -> None:
    """Functions keep views in DynamoDB alone: say so where another sink is asked for."""
    others = [sink_id(each) for each in named_sinks(environment) if each != DYNAMODB]
    if others:
        log.warning(
            "projector.sinks_ignored",
            sinks=others,
            remedy="functions keep views in dynamodb alone; feed these with `projectors run --sink …`",
        )


@dataclass(frozen=True, slots=True)
class _Poison:
    key: str
    reason: str
    lanes: Mapping[LaneId, tuple[int, int]]


def _undigested(failure: Failure) -> _Poison:
    lane, _, digits = failure.event_id.rpartition(DELIMITER)
    sequence = parse_sequence_key(digits)
    return _Poison(_key(failure.projection, failure.event_id), failure.reason, {LaneId.from_key(lane): (sequence, sequence)})


def _poisoned(refused: Refused) -> _Poison:
    if refused.lane is None or not refused.sequence or refused.changed:
        return _Poison(refused.item, refused.reason, {})
    event_id = f"{refused.lane.key}{DELIMITER}{sequence_key(refused.sequence)}"
    return _Poison(_key("record", event_id), refused.reason, {refused.lane: (refused.sequence, refused.sequence)})


def _key(projection: str, event_id: str) -> str:
    return f"{projection} {event_id}"
