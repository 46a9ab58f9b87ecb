"""Positions of a publisher: the low watermark of each lane. A position is saved only after Kinesis acknowledged everything
up to it, so resuming from any saved one, however old, skips nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from replicator.control.control_storage import ControlStorage, Value
from replicator.domain.event import GENESIS, Event
from replicator.domain.names import LaneId

_KEPT = 100_000
_KEY = "published"


@dataclass(frozen=True, slots=True)
class Position:
    """`sequence`: the last processed internal event, `digest`: its digest, `published`: the last one that was published."""

    sequence: int = 0
    published: int = 0
    digest: bytes = GENESIS

    def after(self, event: Event, goes_out: bool) -> Position:
        return Position(event.sequence, event.sequence if goes_out else self.published, event.digest)

    @property
    def value(self) -> Value:
        return {"sequence": self.sequence, "published": self.published, "digest": self.digest.hex()}

    @classmethod
    def of(cls, value: Value) -> Position:
        return cls(value["sequence"], value["published"], bytes.fromhex(value["digest"]))


class Positions:
    """Positions of a publisher, in the control state. Each lane has a scope of its own: many lanes, no hot partition."""

    def __init__(self, control: ControlStorage, pool: ThreadPoolExecutor) -> None:
        self._control = control
        self._pool = pool
        self._known: OrderedDict[LaneId, Position] = OrderedDict()

    def get(self, lane: LaneId) -> Position:
        """Return the position of `lane`; the beginning when nothing of it has been published."""
        known = self._known.get(lane)
        if known is None:
            value = next((value for _, value in self._control.get_all(_scope(lane), 1)), None)
            known = Position() if value is None else Position.of(value)
        return known

    def save(self, positions: Mapping[LaneId, Position]) -> None:
        """Save the current positions of these lanes."""
        list(self._pool.map(self._put, positions.items()))
        for lane, position in positions.items():
            self._known[lane] = position
            self._known.move_to_end(lane)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def _put(self, item: tuple[LaneId, Position]) -> None:
        lane, position = item
        self._control.put(_scope(lane), {_KEY: position.value})


def _scope(lane: LaneId) -> str:
    return f"external#{lane.key}"
