"""Further sinks of a projector. The first sink decides how far the stream is read; a follower that does not answer holds up
nothing: its lanes wait as pointers in the control state, and it is brought up to them when it is back."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import structlog

from projectors.engine import Engine
from projectors.failures import Failure, LanesWait
from replicator.backlog import Part, TableBacklog
from replicator.domain.names import LaneId
from replicator.errors import InvalidConfig, RegionUnavailable
from replicator.wallclock import wall_clock

log = structlog.get_logger()

_PAUSE_SECONDS = 10.0
_PAGE = 100


class Follower:
    """One further sink, by the name that logs may show."""

    def __init__(
        self,
        name: str,
        engine: Engine,
        backlog: TableBacklog,
        report: Callable[[list[Failure]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._engine = engine
        self._backlog = backlog
        self._report = report
        self._clock = clock
        self._rests_until = 0.0
        self._behind = True  # what an earlier process left
        self._look_again = 0.0
        self._after: LaneId | None = None  # how far this round through the backlog has come
        self._waits = False  # some lanes stay, for keys
        self._again = False  # lanes were deferred since this round began

    def fold(self, fold: Callable[[Engine], list[Failure]], lanes: Mapping[LaneId, tuple[int, int]]) -> None:
        """Fold these lanes' events, or note that they wait. Raises RegionUnavailable only where that cannot be noted."""
        if self._clock() < self._rests_until:
            self._defer(lanes)
            return
        try:
            self._report(fold(self._engine))
        except LanesWait as error:
            self._report(error.failures)
            self._defer(error.lanes)
        except (RegionUnavailable, InvalidConfig) as error:
            self._rest(error, len(lanes))
            self._defer(lanes)

    def resume(self) -> bool:
        """Bring a page of what waits up to date, where the sink answers again. To be called now and then; returns whether
        there may be more to do at once."""
        if not self._behind or self._clock() < max(self._rests_until, self._look_again):
            return False
        if self._after is None:
            self._again = False
        page = self._backlog.page(_PAGE, self._after)
        left: Mapping[LaneId, tuple[int, int]] = {}
        try:
            self._report(self._engine.catch_up({lane: value["to"] for lane, value in page.items()}))
        except LanesWait as error:
            self._report(error.failures)
            left = error.lanes
        except (RegionUnavailable, InvalidConfig) as error:
            self._rest(error, len(page))
            return False
        self._waits = self._waits or bool(left)
        self._backlog.done(Part({}, 0, receipt=page), left)
        if len(page) < _PAGE:
            return self._end_round()
        self._after = max(page, key=lambda lane: lane.key)
        return True

    def _end_round(self) -> bool:
        waits, again = self._waits, self._again
        self._after, self._waits = None, False
        if waits:
            self._look_again = self._clock() + _PAUSE_SECONDS
        elif not again:
            self._behind = False
            log.info("follower.is_up_to_date", sink=self.name)
        return again and not waits

    def _rest(self, error: RegionUnavailable | InvalidConfig, lanes: int) -> None:
        """Leave the sink alone for a while. What only a person can mend is an error."""
        if isinstance(error, InvalidConfig):
            log.error("follower.refuses", sink=self.name, lanes=lanes, error=str(error))
        else:
            log.warning("follower.unavailable", sink=self.name, lanes=lanes, error=str(error))
        self._rests_until = self._clock() + _PAUSE_SECONDS

    def _defer(self, lanes: Mapping[LaneId, tuple[int, int]]) -> None:
        if lanes:
            self._behind = self._again = True
            self._backlog.defer(dict(lanes), wall_clock())
