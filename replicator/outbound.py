"""All links of a region as functions have them: stream batches out, backlogs drained. Holds nothing between invocations
that could not be lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import cache, partial

import structlog

from replicator.batches import Answer, Fits, Message, item_failures, partial_batches, read_messages, stream_answer
from replicator.control import ControlStorage, DynamoControl, Quarantine
from replicator.copier import Copier
from replicator.courier import Courier
from replicator.domain.event import Event
from replicator.dynamodb import DynamoStorage
from replicator.errors import RegionUnavailable
from replicator.fencing.adopting import Adopter
from replicator.linkstate import LinkState
from replicator.metrics import Emit, emit
from replicator.queues import EXTERNAL, VIEWS, QueueBacklog
from replicator.records import read_records
from replicator.settings import Settings
from replicator.wallclock import wall_clock

log = structlog.get_logger()

_TELL_MS = 30_000
_ADOPT_SECONDS = 20.0
_PATIENCE = 2.0


@dataclass(slots=True)
class Refusals:
    """How many events this region has in quarantine, as a metric: an alarm stands until it says 0 again."""

    region: str
    control: ControlStorage
    scopes: Sequence[str]
    emit: Emit
    wall: Callable[[], int] = wall_clock
    _told: int | None = None

    def report(self, now: bool = False) -> None:
        """Count and tell, at most every half minute unless `now`: the alarm needs no more."""
        at = self.wall()
        if not now and self._told is not None and at - self._told < _TELL_MS:
            return
        try:
            count = sum(len(Quarantine(self.control, scope).records()) for scope in self.scopes)
        except Exception as error:  # a metric is no reason to fail a batch that has been dealt with
            log.warning("quarantine.not_counted", error=f"{type(error).__name__}: {error}")
            return
        self.emit({"region": self.region}, {"Quarantined": count})
        self._told = at

    @classmethod
    def connect(cls, settings: Settings, control: ControlStorage, report: Emit) -> Refusals:
        """Of everything that the settings' region keeps in quarantine: its own, each link's, its views' and, where
        external events are published, theirs."""
        own = settings.region
        targets = [*settings.peers, VIEWS, *([EXTERNAL] if settings.external else [])]
        scopes = [own, *(f"{own}>{target}" for target in targets)]
        return cls(own, control, scopes, report)


@dataclass(slots=True)
class Outbound:
    """Copies this region's events to every peer."""

    region: str
    couriers: Mapping[str, Courier]
    quarantine: Quarantine
    refusals: Refusals
    emit: Emit
    partial: bool = True
    adopter: Callable[[], Adopter] | None = None
    """Makes it, when it is needed first."""
    monotonic: Callable[[], float] = time.monotonic
    _adopted: float = -math.inf
    _pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(2 * max(len(self.couriers), 1) + 1, thread_name_prefix="courier")

    @classmethod
    def connect(cls, settings: Settings, report: Emit = emit) -> Outbound:
        """Wire the settings' region with all its peers. No peer need be up."""
        home, control = DynamoStorage(settings), DynamoControl(settings)
        pool = ThreadPoolExecutor(8, thread_name_prefix="copier")
        couriers = {}
        for peer in settings.peers:
            link = f"{settings.region}>{peer}"
            bound = log.bind(region=settings.region, link=link)
            copier = Copier(home, DynamoStorage(settings, peer), Quarantine(control, link), pool, LinkState(), bound)
            backlog = QueueBacklog.connect(settings, peer)
            couriers[link] = Courier(link, settings.region, copier, backlog, report, wall_clock)
        refusals = Refusals.connect(settings, control, report)
        own = Quarantine(control, settings.region)
        adopter = cache(partial(Adopter.connect, settings, home))
        return cls(settings.region, couriers, own, refusals, report, partial_batches(settings), adopter)

    def replicate(self, records: Sequence[Message]) -> Answer:
        """Copy a stream batch over every link at once. The answer names the first record that some link could neither
        copy nor defer. Raises BatchFailed when the whole batch is to come again, RegionUnavailable likewise."""
        self._adopt()
        events, refused = read_records(records, self.region)
        for each in refused:
            self.quarantine.add(each.item, each.reason)
            log.error("replicator.quarantined", item=each.item, reason=each.reason)
        lost = self._deliver(events)
        if refused:
            changed = sum(each.changed for each in refused)
            self.emit({"region": self.region}, {"EventsRefused": len(refused), "EventsChanged": changed})
        self.refusals.report(now=bool(refused))
        return stream_answer(records, lost, self.partial)

    def _adopt(self) -> None:
        """Now and then, beside the work: learn whether this region was fenced while it could not be reached."""
        now = self.monotonic()
        if self.adopter is None or now - self._adopted < _ADOPT_SECONDS:
            return
        self._adopted = now
        adopter = self.adopter

        def quietly() -> None:
            try:
                adopter().adopt()
            except Exception as error:  # a fence that is not known yet is no reason to fail a batch
                log.warning("fence.not_adopted", region=self.region, error=f"{type(error).__name__}: {error}")

        self._pool.submit(quietly)

    def _deliver(self, events: Sequence[Event]) -> list[Event]:
        """Every link at once. When the first is done the others have as long again three times, and two seconds at least:
        what a slower one has not copied by then waits on its backlog. Returns what some link could not even defer."""
        running = {self._pool.submit(courier.deliver, events): courier for courier in self.couriers.values()}
        began = time.monotonic()
        wait(running, return_when=FIRST_COMPLETED)
        done, slow = wait(running, timeout=max(_PATIENCE, 3 * (time.monotonic() - began)))
        lost = [event for each in done for event in each.result()]
        return lost + [event for each in slow for event in running[each].overtake(events)]

    def catch_up(self, messages: Sequence[Message], fits: Fits) -> Answer:
        """Bring over what messages of the backlogs point to. The answer names the messages that are to be kept."""
        found, failed = read_messages(messages, self.couriers)
        for link, parts in found.items():
            try:
                self.couriers[link].catch_up([(p.lanes, p.since, p.tries) for _, p in parts], fits)
            except RegionUnavailable as error:
                log.error("backlog.unavailable", link=link, error=str(error))
                failed += [message_id for message_id, _ in parts]
        self.refusals.report()
        return item_failures(failed)
