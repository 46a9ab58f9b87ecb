"""Feed of one sink of a projector: events are folded into it, or their lanes wait as pointers on the feed's backlog.

The first sink holds what the region's readers see. The others are secondary: their failures hold up no other sink, and they
are brought up to date when they are back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from projectors.engine.engine import Engine
from projectors.engine.failures import Failure, LanesWait
from replicator.control.backlog import Backlog, Part, Rounds
from replicator.control.pointers import Spans, spans
from replicator.domain.errors import InvalidConfig, RegionUnavailable
from replicator.domain.event import Event
from replicator.domain.names import LaneId
from replicator.runtime.time_left import Fits

log = structlog.get_logger()

PAUSE_SECONDS = 10.0
"""Seconds for which a secondary sink that does not answer is left alone, and so are lanes that wait for keys."""
SLICE = 50
"""Number of lanes that are brought up to date at once."""

Lanes = Callable[[], Spans]
Fold = Callable[[Engine], list[Failure]]


@dataclass(slots=True)
class Folded:
    """Outcome for some lanes: events that could not be digested, lanes that wait, and unknown regions. `down` says that the
    sink did not answer, `lost` that waiting lanes could not be recorded."""

    failures: list[Failure] = field(default_factory=list)
    waits: dict[LaneId, tuple[int, int]] = field(default_factory=dict)
    strangers: dict[str, str] = field(default_factory=dict)
    down: bool = False
    lost: bool = False

    def add(self, other: Folded) -> None:
        self.failures += other.failures
        self.waits |= other.waits
        self.strangers |= other.strangers
        self.down, self.lost = self.down or other.down, self.lost or other.lost


class Feed:
    """Feeds one sink by its engine, or by the one that `engine` makes on first use. `name` is what logs show of a secondary
    sink; the first one has none. A sink that does not answer is left alone for `pause` seconds."""

    def __init__(
        self,
        engine: Engine | Callable[[], Engine],
        backlog: Backlog,
        name: str = "",
        pause: float = PAUSE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.link = backlog.link
        self.backlog = backlog
        self.rounds = Rounds(backlog, SLICE, monotonic, PAUSE_SECONDS)
        self._engine = engine
        self._pause = pause
        self._monotonic = monotonic
        self._rests_until = 0.0
        self._was_behind = False
        self._tolerated = (RegionUnavailable, InvalidConfig) if name else (RegionUnavailable,)

    @property
    def engine(self) -> Engine:
        if not isinstance(self._engine, Engine):
            self._engine = self._engine()
        return self._engine

    @property
    def rests(self) -> bool:
        """Whether the sink is left alone for now."""
        return self._monotonic() < self._rests_until

    def apply(self, events: Sequence[Event]) -> Folded:
        """Fold these events. Lanes that cannot be folded now are put on the backlog."""
        return self._fold(
            lambda engine: engine.apply(events), lambda: spans(events), lambda: min((e.hlc.ms for e in events), default=0)
        )  # fmt: skip

    def catch_up(self, lanes: Mapping[LaneId, int], since: int) -> Folded:
        """Bring whole lanes up to their last sequences. As `apply`."""
        return self._fold(lambda engine: engine.catch_up(lanes), lambda: whole(lanes), lambda: since)

    def _fold(self, fold: Fold, lanes: Lanes, since: Callable[[], int]) -> Folded:
        found = Folded(waits=dict(lanes())) if self.rests else self.attempt(fold, lanes)
        if found.waits:
            try:
                self.rounds.defer(found.waits, since())
            except RegionUnavailable as error:
                log.error("backlog.unavailable", link=self.link, error=str(error))
                found.lost = True
        return found

    def bring(self, part: Part, catch_up: Callable[[Engine, Sequence[LaneId]], list[Failure]], fits: Fits) -> _Brought:
        """Bring the lanes of a part of the backlog up to date, while the time `fits`. The part must still be completed."""
        names = sorted(part.lanes, key=lambda lane: lane.key)
        brought = _Brought()
        for start in range(0, len(names), SLICE):
            if start and not fits():  # the first slice always has its turn
                brought.rest = names[start:]
                break
            some = names[start : start + SLICE]
            lanes = {name: part.lanes[name] for name in some}
            found = self.attempt(lambda engine, some=some: catch_up(engine, some), lambda lanes=lanes: lanes)  # type: ignore[misc]
            brought.found.add(found)
            brought.failed += found.waits
            if found.down:
                brought.failed += names[start + SLICE :]
                break
        return brought

    def attempt(self, fold: Fold, lanes: Lanes) -> Folded:
        """Fold these lanes, without recording those that wait."""
        try:
            return Folded(fold(self.engine))
        except LanesWait as error:
            log.warning("projector.lanes_wait", link=self.link, lanes=len(error.lanes), error=str(error))
            return Folded(error.failures, error.lanes, error.strangers)
        except self._tolerated as error:
            waits = dict(lanes())
            self._rest(error, len(waits))
            return Folded(waits=waits, down=True)

    def _rest(self, error: Exception, lanes: int) -> None:
        """Leave the sink alone for a while. An error that only a person can correct is logged as an error."""
        if isinstance(error, InvalidConfig):
            log.error("follower.refuses", sink=self.name, lanes=lanes, error=str(error))
        elif self.name:
            log.warning("follower.unavailable", sink=self.name, lanes=lanes, error=str(error))
        else:
            log.warning("projector.defers", link=self.link, lanes=lanes, error=str(error))
        self._rests_until = self._monotonic() + self._pause

    def step(self, bring: Callable[[Part], Collection[LaneId]]) -> bool:
        """Bring the next part of the backlog up to date. Returns whether there may be more to do at once."""

        def noted(part: Part) -> Collection[LaneId]:
            self._was_behind = True
            return bring(part)

        more = not self.rests and self.rounds.step(noted)
        if self._was_behind and not self.rounds.behind and not self.rounds.under_way:
            self._was_behind = False
            if self.name:
                log.info("follower.is_up_to_date", sink=self.name)
        return more


def whole(lanes: Mapping[LaneId, int]) -> dict[LaneId, tuple[int, int]]:
    """Return pointers to lanes up to their last sequences."""
    return {lane: (1, last) for lane, last in lanes.items()}


@dataclass(slots=True)
class _Brought:
    """Outcome for a part of the backlog: `failed` waits for another attempt, `rest` had no time."""

    found: Folded = field(default_factory=Folded)
    failed: list[LaneId] = field(default_factory=list)
    rest: list[LaneId] = field(default_factory=list)
