"""Flights as a load: a desk for each airport reports them from its home region or, during its outage, from another.

The number of reports is fixed, and each report is made once. So that there is load in every phase of an outage, some reports
wait until the clients have moved and some until they come home, and each desk sets its pace by what it has left. An
acknowledged report that is gone with its region is not reported again (docs/drills.md says why).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from chaos.checker.check import check
from chaos.checker.history import Final, History, Outcome
from chaos.checker.verdict import PROMISES as ALL
from chaos.checker.verdict import Verdict
from chaos.scenarios.load import Workload
from chaos.scenarios.outage import OLD_SECONDS
from chaos.scenarios.scenario import Scenario
from chaos.scenarios.stage import Stage
from chaos.workload.client import Doubt
from chaos.workload.flights import PROJECTION, TYPE, Aircraft, Report, desks, select
from chaos.workload.sessions import Session
from chaos.workload.truth import Truth
from replicator import NewEvent
from replicator.aws import clients
from replicator.domain.errors import MeridianError, RegionUnavailable
from replicator.domain.event import Event
from replicator.domain.names import StreamId
from replicator.eventstore.storage import MAX_EVENTS
from replicator.eventstore.store import EventStore

CONDITIONS = ("grown", "aged", "loaded", "noticed", "finishing", "healed")
"""Conditions that a step of a scenario with this load can wait for (see Flights.reached)."""
BACKUP_AGE = 1_000
"""Age of a backup when the region dies, in events of the region's own lanes (fewer in a small drill)."""
ALARM_SECONDS = 2.0
"""Seconds until an operator knows by an alarm of an outage in which the region still answers."""
COPIES_SECONDS = 10.0
GATES = (0.4, 0.15)
"""Shares of a desk's reports that wait until clients have moved, and until they come home."""
_GROWING = OLD_SECONDS + 2.0
_UNTIL_GATE = 8.0
"""Minimum seconds until desks reach their gate, all together."""
_UNTIL_MOVED = 10.0
"""Seconds for which the reports before the first gate should last: an outage should find every desk at work."""
_ENOUGH = 0.4
"""Share of its own desks' reports after which the region is struck."""
_LONGEST_REST = 0.5
"""Maximum seconds between writes of a slowed desk, which writes a little often, not much now and then. Single reports may
take longer."""
_NOT_ASKED = ("read_your_writes", "monotonic_reads", "reads_explained", "counters", "sets", "registers", "claims")
"""Promises that do not apply: desks read nothing and claim nothing, and their views are judged by the data set."""
PROMISES = {name: promise for name, promise in ALL.items() if name not in _NOT_ASKED} | {
    "truth": "every view equals what pandas computes from the data set"
}


@dataclass(frozen=True, slots=True)
class FlightLoad:
    """Load of flights. `flights` is the minimum number of events (None: the whole data set). `outage` is the minimum seconds
    of the outage. `stay`: half of the struck region's desks do not follow, and go on there. `copies` is the number of
    regions that each append waits for, COPIES_SECONDS at most."""

    flights: int | None = 10_000
    outage: float = 0.0
    stay: bool = False
    copies: int = 1

    @property
    def workload(self) -> type[Workload]:
        return Flights


class Desk(Session):
    """Client that reports one airport's flights. `pause` is the minimum number of seconds for each report."""

    def __init__(
        self,
        airport: str,
        home: str,
        stores: Mapping[str, EventStore],
        reports: Sequence[Report],
        history: History,
        seed: str,
        pause: float = 0.0,
    ) -> None:
        super().__init__(f"{home}-{airport}", home, history)
        self._stores = stores
        self._reports = {report.id: report for report in reports}
        self._todo = deque(reports)
        self._random = random.Random(seed)
        self._pause = self._shortest_pause = pause
        self._held: list[Report] = []
        self._gates_open = 0
        self.copies = 1

    @property
    def before_gate(self) -> int:
        """Number of reports before the next gate opens."""
        return max(0, len(self._todo) - self._behind_gate)

    @property
    def at_gate(self) -> bool:
        """Whether it has nothing to report before the next gate opens."""
        return self.done or not self.before_gate

    def slow_down(self, seconds: float) -> None:
        """Make the reports before the next gate last for at least `seconds` from now on."""
        with self._changed:
            left = self.before_gate
            self._pause = max(self._shortest_pause, seconds / left if left else 0.0)
            self._changed.notify_all()

    def open_gates(self, count: int) -> None:
        """Open the first `count` gates. The reports behind them (GATES) are kept for the outage and the fail-back, however
        fast the desk is."""
        self._gates_open = max(self._gates_open, count)

    @property
    def _behind_gate(self) -> int:
        return int(len(self._reports) * GATES[self._gates_open]) if self._gates_open < len(GATES) else 0

    def _store(self, region: str) -> EventStore:
        return self._stores[region]

    def _more(self) -> bool:
        return bool(self._todo or self.doubts or self._held)

    def _turn(self) -> None:
        if any(map(self.can_ask, self.doubts)):
            if not self._ask():
                self._rest(1.0)
        elif self._todo and not self.before_gate:
            self._rest(0.02)
        elif self._todo:
            batch = self._next_batch()
            self._append(batch)
            pause = self._pause
            self._rest(pause * len(batch), until=lambda: self._pause != pause)
        elif self.doubts:
            self._rest(1.0)  # nothing can be done in the desk's region: it will be moved elsewhere
        else:
            self._todo.extend(self._held)
            self._held = []

    def _next_batch(self) -> list[Report]:
        """Return some reports for one transaction. An arrival waits while it is unknown whether its departure was
        written."""
        size = min(self._random.randint(20, 100), MAX_EVENTS, max(1, self.before_gate))
        if (pause := self._pause) * size > _LONGEST_REST:
            size = max(1, int(_LONGEST_REST / pause))
        unknown = {event.payload["row"] for doubt in self.doubts for event in doubt.events}
        batch: list[Report] = []
        for _ in range(size):
            report = self._todo.popleft()
            (self._held if report.row in unknown else batch).append(report)
        return batch

    def _append(self, batch: list[Report]) -> None:
        if not batch:
            return
        append = partial(self._stores[self.region].append_all, copies=self.copies, within=COPIES_SECONDS)
        call = self.write([(report.stream, report.event) for report in batch], append)
        if call.outcome is Outcome.FAIL:
            self._todo.extendleft(reversed(batch))
        if call.outcome is not Outcome.OK:
            self._rest(1.0)

    def settled(self, doubt: Doubt, there: Collection[Event]) -> None:
        """Put the reports that are not written back, to be reported again."""
        super().settled(doubt, there)
        again = [self._reports[event.payload["id"]] for event in doubt.events if event not in there]
        self._todo.extendleft(reversed(again))


class Flights(Workload):
    """Desks of a run, whose first region is struck."""

    projection = PROJECTION
    type = TYPE
    views = f"{Aircraft.name}@{Aircraft.version}"
    endless = False
    measured = True
    phase = "appending"

    def __init__(self, stage: Stage, scenario: Scenario, seed: int) -> None:
        super().__init__(stage, scenario, seed)
        load = scenario.load
        assert isinstance(load, FlightLoad)
        stage.watch.phase("reading flights", 1)
        self.selection = select(load.flights, seed)
        self.load = load
        self._total = len(self.selection.reports)
        chance = random.Random(f"{seed}/flights")
        self._strike_at = int(self._total * chance.uniform(0.25, 0.40))
        self._heal_at = int(self._total * chance.uniform(0.60, 0.70))
        self.struck_region, self.desks = stage.regions[0], list[Desk]()
        self._own_reports = 0
        self._stores = {region: stage.world.store(region) for region in stage.regions}
        loses = any(step.name in ("kill", "restore") for step in scenario.method)
        self._grown = self._grow() if loses else iter([True])
        self._slowed = False
        self._backup_at = 0

    def progress(self) -> tuple[int, int]:
        return self.stage.history.count(), self._total

    def finish(self) -> None:
        if (told := self.stage.history.count()) != self._total:
            raise MeridianError(f"{self._total} reports were planned, {told} were acknowledged")

    def start(self) -> None:
        regions = sorted(self.stage.regions)
        homes = desks(regions, self.selection.reports)
        self._own_reports = sum(map(len, homes[self.struck_region].values()))
        named = [
            (region, name, reports)
            for region, airports in homes.items()
            for airport, there in airports.items()
            for name, reports in self._shared(region, airport, there).items()
        ]
        pause = self.stage.kills_left / max(self._total, 1) * len(named)  # the load is spread over the kills
        for region, name, reports in named:
            seed = f"{self.seed}/{region}/{name}"
            self.desks.append(Desk(name, region, self._stores, reports, self.stage.history, seed, pause))
            self.desks[-1].copies = self.load.copies
        own = [desk for desk in self.desks if desk.home == self.struck_region]
        self.stage.staying += own[1::2] if self.load.stay else []
        self.stage.sessions += self.desks
        for desk in self.desks:
            desk.start()

    def _shared(self, region: str, airport: str, reports: list[Report]) -> dict[str, list[Report]]:
        """Return the reports by desk. Where some desks follow and some stay, each desk of the struck region becomes two,
        which share out the aircraft."""
        if not self.load.stay or region != self.struck_region:
            return {airport: reports}
        halves: tuple[list[Report], list[Report]] = ([], [])
        for report in reports:
            halves[sum(report.stream.id.encode()) // len(self.stage.regions) % 2].append(report)
        return {f"{airport}-{number}": half for number, half in enumerate(halves, 1)}

    def judge(self, history: History, finals: Mapping[str, Final]) -> Verdict:
        return check(history, finals, TYPE, Truth(self.selection), PROMISES)

    # -- conditions of steps ---------------------------------------------------------------------------------------

    def reached(self, condition: str) -> bool:
        """Return whether a condition is met. grown: some of the region's own events are older than OLD_SECONDS, and a fifth
        of all are there. aged: the backup is old enough. loaded: some load has gone by, but not all that the region's desks
        have. noticed: the operator knows of the outage. finishing: the load has gone on for long enough during the outage.
        healed: it is over."""
        return bool(getattr(self, f"_is_{condition}")())

    @property
    def _own_events(self) -> int:
        return self.stage.history.count(self.struck_region)

    @property
    def _own_at_gate(self) -> bool:
        return all(desk.at_gate for desk in self.desks if desk.home == self.struck_region)

    def _grow(self) -> Iterator[bool]:
        """Wait until some of the region's events are old enough that they may not be gone. Keeps the rest of the load for
        later."""
        self._slow_down(4 * _GROWING)
        while not self._own_events:
            yield False
        written = self.stage.now
        while self.stage.now <= written + _GROWING:
            yield False
        self._slow_down(0.0)
        yield True

    def _has_grown(self) -> bool:
        return next(self._grown, True)

    def _is_grown(self) -> bool:
        if not self._has_grown() or self._own_events < 0.2 * self._own_reports:
            return False
        self._backup_at = self._own_events
        return True

    def _is_aged(self) -> bool:
        age = min(BACKUP_AGE, int(0.35 * self._own_reports))
        return self._own_events >= self._backup_at + age or self._own_at_gate

    def _is_loaded(self) -> bool:
        if not self._has_grown():
            return False
        if not self._slowed:
            self._slowed = True
            self._slow_down(_UNTIL_GATE)
        return self.stage.history.count() >= self._strike_at or self._own_events >= _ENOUGH * self._own_reports

    def _is_noticed(self) -> bool:
        return self.stage.outage.seconds >= ALARM_SECONDS or not self._answers()

    def _answers(self) -> bool:
        """Return whether the region answers one of two health checks in a row within a second."""
        region = self.struck_region
        settings = replace(self.stage.world.settings(region), peers=(), connect_timeout=1.0, read_timeout=1.0, attempts=2)
        client = clients.dynamodb(settings, region)
        try:
            clients.call(settings, region, lambda: client.list_tables(Limit=1))
        except RegionUnavailable:
            return False
        return True

    def _is_finishing(self) -> bool:
        """Return whether the outage may end. Where only desks are left that need the struck region, waiting would never
        end."""
        outage = self.stage.outage
        others_done = all(desk.at_gate or desk.home == self.struck_region for desk in self.desks)
        return (
            (outage.left or not outage.moves)
            and outage.seconds >= self.load.outage
            and (self.stage.history.count() >= self._heal_at or others_done)
        )

    def _is_healed(self) -> bool:
        return self.stage.outage.over

    # -- course of the load ----------------------------------------------------------------------------------------

    def struck(self) -> None:
        self._slow_down(_UNTIL_MOVED)
        if not self.stage.outage.moves:
            self.leaving()

    def leaving(self) -> None:
        self._open_gates(1, self.desks)
        self._slow_down(self.load.outage)

    def healed(self) -> None:
        self._slow_down(0.0)
        away = [desk for desk in self.desks if desk.home == self.struck_region and desk not in self.stage.staying]
        self._open_gates(2, [desk for desk in self.desks if desk not in away or not self.stage.outage.moves])
        if self.stage.lost:
            self._try_too_early()

    def returning(self) -> None:
        self._open_gates(2, self.desks)

    def _try_too_early(self) -> None:
        """Check that an application that ran before its region lost its data cannot write before the region is up again."""
        try:
            self._stores[self.struck_region].append(StreamId("probe", "1"), NewEvent("probed", {"id": "probe"}))
            self.stage.watch.say(f"{self.struck_region} accepted an append before it was brought up again")  # from nowhere
        except RegionUnavailable as error:
            self.stage.watch.say(f"refused, as it must be: {error}")

    def _open_gates(self, count: int, these: Sequence[Desk]) -> None:
        for desk in these:
            desk.open_gates(count)

    def _slow_down(self, seconds: float) -> None:
        """Make each desk's reports before its next gate last for at least `seconds`."""
        for desk in self.desks:
            desk.slow_down(seconds)
