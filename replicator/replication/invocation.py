"""Function driver of links: each invocation copies a stream batch or drains backlogs. Keeps no state between invocations
that must not be lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import structlog

from replicator.control.backlog import merged
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import Event
from replicator.fencing.adoption import Adopter
from replicator.replication.lambda_batches import Answer, Message, item_failures, read_messages, stream_answer
from replicator.replication.link import Link
from replicator.replication.refusals import Refusals
from replicator.replication.stream_records import read_records, written
from replicator.runtime.time_left import Fits

log = structlog.get_logger()

GAP_SECONDS = 2.0
"""Seconds for which events wait for those before them, which a concurrent invocation may be copying."""
_ADOPT_SECONDS = 20.0
_PATIENCE = 2.0 + GAP_SECONDS


@dataclass(slots=True)
class Outbound:
    """Copies this region's events to every peer."""

    region: str
    links: Mapping[str, Link]
    refusals: Refusals
    partial: bool = True
    adopter: Callable[[], Adopter] | None = None
    """Factory, called on first use."""
    monotonic: Callable[[], float] = time.monotonic
    _adopted: float = -math.inf
    _pool: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._pool = ThreadPoolExecutor(2 * max(len(self.links), 1) + 1, thread_name_prefix="link")

    def replicate(self, records: Sequence[Message]) -> Answer:
        """Copy a stream batch over all links in parallel. The answer names the first record that some link could neither
        copy nor defer. Raises BatchFailed or RegionUnavailable when the whole batch must be delivered again."""
        self._adopt()
        events, refused = read_records(records, self.region)
        self.refusals.refuse(refused)
        lost = self._deliver(events, written(records, events))
        self._look()
        self.refusals.report(now=bool(refused))
        return stream_answer(records, lost, self.partial)

    def _adopt(self) -> None:
        """Periodically, in the background: check whether this region was fenced while it could not be reached."""
        now = self.monotonic()
        if self.adopter is None or now - self._adopted < _ADOPT_SECONDS:
            return
        self._adopted = now
        adopter = self.adopter

        def quietly() -> None:
            try:
                adopter().adopt()
            except Exception as error:  # an unknown fence is no reason to fail a batch
                log.warning("fence.not_adopted", region=self.region, error=f"{type(error).__name__}: {error}")

        self._pool.submit(quietly)

    def _deliver(self, events: Sequence[Event], since: int) -> list[Event]:
        """Deliver over all links in parallel. Once the first is done, the others get three times that time, and two seconds
        at least: what a slower one has not copied by then goes to its backlog. Returns the events that some link could not
        even defer."""
        links = self.links.values()
        running = {self._pool.submit(each.deliver if each.admits else each.defer, events, since): each for each in links}
        began = time.monotonic()
        wait(running, return_when=FIRST_COMPLETED)
        done, slow = wait(running, timeout=max(_PATIENCE, 3 * (time.monotonic() - began)))
        lost = [event for each in done for event in each.result()]
        return lost + [event for each in slow for event in running[each].overtake(events, since)]

    def _look(self) -> None:
        """Run the periodic checks of every link. A slow one continues in the background."""
        looks: list[Future[None]] = [self._pool.submit(link.look) for link in self.links.values() if link.due]
        wait(looks, timeout=_PATIENCE)

    def catch_up(self, messages: Sequence[Message], fits: Fits) -> Answer:
        """Copy what messages of the backlogs point to. The answer names the messages to keep. Without messages (an
        invocation on a schedule), drain the backlogs themselves."""
        found, failed = read_messages(messages, self.links)
        for link, parts in found.items():
            try:
                self.links[link].bring(merged([pointers for _, pointers in parts]), fits)
            except RegionUnavailable as error:
                log.error("backlog.unavailable", link=link, error=str(error))
                failed += [message_id for message_id, _ in parts]
        self._look()
        if not messages:
            for each in self.links.values():
                each.drain(fits)
        self.refusals.report()
        return item_failures(failed)
