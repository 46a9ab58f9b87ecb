"""How far a consumer has come in each lane, and what that makes of an event: new, or seen before."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import structlog

from replicator.control.control_storage import ControlStorage
from replicator.domain.names import LaneId
from replicator.external.external_event import ExternalEvent

log = structlog.get_logger()


class Marks(Protocol):
    """Where a consumer's marks are kept: for each lane, the sequence of the last event that was handled.

    To have the effect of each event exactly once, keep the marks where the effects are: let the handler store
    `event.sequence` for `event.lane` in its own transaction, let `get` read that, and let `save` do nothing.
    """

    def get(self, lane: LaneId) -> int:
        """The mark of `lane`, or 0."""

    def save(self, marks: Mapping[LaneId, int]) -> None:
        """Keep these marks. They never go back for one who reads and handles alone."""


class ControlMarks:
    """Marks in any ControlStorage, under the consumer's name."""

    def __init__(self, control: ControlStorage, consumer: str) -> None:
        self._control = control
        self._consumer = consumer
        self._pool = ThreadPoolExecutor(8, thread_name_prefix="marks")

    def get(self, lane: LaneId) -> int:
        return next((int(value["sequence"]) for _, value in self._control.get_all(self._scope(lane), 1)), 0)

    def save(self, marks: Mapping[LaneId, int]) -> None:
        list(self._pool.map(self._put, marks.items()))

    def _put(self, mark: tuple[LaneId, int]) -> None:
        lane, sequence = mark
        self._control.put(self._scope(lane), {"handled": {"sequence": sequence}})

    def _scope(self, lane: LaneId) -> str:
        return f"consumed#{self._consumer}#{lane.key}"


Missed = Callable[[ExternalEvent, int], None]
"""Told of an event whose lane has external events between the mark, given with it, and itself that were never seen."""


def log_missed(event: ExternalEvent, mark: int) -> None:
    """Log what was missed: the stream held it no longer when the consumer came."""
    log.warning("consumer.missed", event_id=event.id, handled=mark, published_before=event.previous)


class Deduplicator:
    """Tells new external events from those seen before, by region, stream and sequence. Usable alone, as in a function:

    for event in events:
        if marks.is_new(event):
            handle(event)
            marks.done(event)
    marks.save()

    Memory is bounded: the `keep` lanes used last are remembered, the others are asked for again. What was handled and not
    saved is never forgotten; more than `keep` of those are saved by themselves. Killed before `save`, events come again.

    A function's next batch may go to another copy of it, so what is remembered from before the last `save` may be old: it
    tells what was seen, and what looks new is asked for again. `alone` says that nobody else handles these lanes.
    """

    def __init__(self, marks: Marks, keep: int = 10_000, missed: Missed = log_missed, *, alone: bool = False) -> None:
        self._marks = marks
        self._keep = keep
        self._missed = missed
        self._alone = alone
        self._known: OrderedDict[LaneId, int] = OrderedDict()
        self._fresh: set[LaneId] = set()
        self._unsaved: dict[LaneId, int] = {}

    def is_new(self, event: ExternalEvent) -> bool:
        """Whether `event` is behind its lane's mark. Tells `missed` when others before it should have come."""
        mark = self._mark(event.lane)
        if event.sequence > mark and not self._alone and event.lane not in self._fresh:
            mark = self._ask(event.lane)
        if event.sequence <= mark:
            return False
        if event.previous > mark:
            self._missed(event, mark)
        return True

    def done(self, event: ExternalEvent) -> None:
        """`event` has been handled."""
        self._known[event.lane] = self._unsaved[event.lane] = max(event.sequence, self._mark(event.lane))
        if len(self._unsaved) >= self._keep:
            self.save()

    def save(self) -> None:
        """Keep the marks of all that was handled."""
        if self._unsaved:
            self._marks.save(self._unsaved)
            self._unsaved = {}
        self._fresh.clear()
        self._forget()

    def _mark(self, lane: LaneId) -> int:
        if lane not in self._known:
            return self._ask(lane)
        self._known.move_to_end(lane)
        return self._known[lane]

    def _ask(self, lane: LaneId) -> int:
        self._known[lane] = max(self._marks.get(lane), self._known.get(lane, 0))
        self._known.move_to_end(lane)
        self._fresh.add(lane)
        self._forget()
        return self._known[lane]

    def _forget(self) -> None:
        while len(self._known) > self._keep and next(iter(self._known)) not in self._unsaved:
            self._fresh.discard(self._known.popitem(last=False)[0])
