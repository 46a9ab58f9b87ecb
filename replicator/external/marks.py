"""Marks of a consumer: the low watermark of each lane, and the test whether an event is new or was handled before."""

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
    """Storage of a consumer's marks: for each lane, the sequence of the last handled event.

    To have the effect of each event exactly once, keep the marks where the effects are: let the handler store
    `event.sequence` for `event.lane` in its own transaction, let `get` read that, and let `save` do nothing.
    """

    def get(self, lane: LaneId) -> int:
        """Return the mark of `lane`, or 0."""

    def save(self, marks: Mapping[LaneId, int]) -> None:
        """Save these marks. They never go back for a consumer that reads and handles alone."""


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
"""Callback for an event with unseen external events between its lane's mark, given with it, and itself."""


def log_missed(event: ExternalEvent, mark: int) -> None:
    """Log missed events: the stream no longer held them when the consumer read it."""
    log.warning("consumer.missed", event_id=event.id, handled=mark, published_before=event.previous)


class Deduplicator:
    """Distinguishes new external events from handled ones, by region, stream and sequence. Usable alone, as in a function:

    for event in events:
        if marks.is_new(event):
            handle(event)
            marks.done(event)
    marks.save()

    Memory is bounded: the `keep` most recently used lanes are cached, others are read again. A handled but unsaved mark
    is never evicted; more than `keep` of those are saved automatically. After a crash before `save`, events come again.

    A function's next batch may go to another instance, so marks cached before the last `save` may be old: they prove that
    an event was handled, but a new one is checked again. `alone` means that no other consumer handles these lanes.
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
        """Return whether `event` is behind its lane's mark. Calls `missed` when external events before it were never
        seen."""
        mark = self._mark(event.lane)
        if event.sequence > mark and not self._alone and event.lane not in self._fresh:
            mark = self._ask(event.lane)
        if event.sequence <= mark:
            return False
        if event.previous > mark:
            self._missed(event, mark)
        return True

    def done(self, event: ExternalEvent) -> None:
        """Record that `event` has been handled."""
        self._known[event.lane] = self._unsaved[event.lane] = max(event.sequence, self._mark(event.lane))
        if len(self._unsaved) >= self._keep:
            self.save()

    def save(self) -> None:
        """Save the marks of all handled events."""
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
