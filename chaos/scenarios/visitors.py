"""Visitors: sessions that change things, read them at their token, and claim seats."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache

from chaos.checker.calls import CLAIMS
from chaos.checker.check import check
from chaos.checker.history import Call, Final, History, Outcome
from chaos.checker.verdict import Verdict
from chaos.scenarios.load import Workload
from chaos.scenarios.scenario import Scenario
from chaos.scenarios.stage import Stage
from chaos.workload import model
from chaos.workload.sessions import Session
from projectors.reads.queries import Query
from projectors.sinks.dynamodb import DynamoSink
from replicator.aws.control_table import DynamoControl
from replicator.aws.event_table import DynamoStorage
from replicator.claims import Claim, HomedClaims, Release
from replicator.claims.homes import HomeMover
from replicator.connect import connect_store
from replicator.domain.clock import HybridLogicalClock
from replicator.domain.event import NewEvent
from replicator.domain.names import StreamId
from replicator.eventstore.store import EventStore
from replicator.runtime.wall_clock import wall_clock

_MEMBERS = 6
_ASK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Doors:
    """Access of one client to a region."""

    store: EventStore
    query: Query
    claims: HomedClaims


@dataclass(frozen=True, slots=True)
class Load:
    """Behaviour of each session. `pause` is seconds between its calls, `largest` the maximum number of changes in a
    transaction."""

    things: int = 60
    seats: int = 12
    pause: float = 0.05
    largest: int = 8
    reads: float = 0.2
    claims: float = 0.05

    @property
    def workload(self) -> type[Workload]:
        return Visits


class Visitor(Session):
    """Session that calls until `finish`, and then resolves unknown outcomes. `open_doors` is called once for each region."""

    def __init__(
        self,
        process: str,
        home: str,
        open_doors: Callable[[str], Doors],
        history: History,
        chance: random.Random,
        load: Load,
    ) -> None:
        super().__init__(process, home, history)
        self._open_doors = open_doors
        self._doors: dict[str, Doors] = {}
        self._random = chance
        self._load = load
        self._seats: set[str] = set()
        self._count = 0
        self._asked = 0.0

    def _more(self) -> bool:
        return not self._finishing or any(map(self.can_ask, self.doubts))

    def _turn(self) -> None:
        if self.doubts and time.monotonic() - self._asked >= _ASK_AGAIN_SECONDS:
            self._asked = time.monotonic()
            self._ask()
        if not self._finishing:
            self._act()
        self._rest(self._load.pause * self._random.uniform(0.5, 1.5))

    def _door(self, region: str) -> Doors:
        if region not in self._doors:
            self._doors[region] = self._open_doors(region)
        return self._doors[region]

    def _store(self, region: str) -> EventStore:
        return self._door(region).store

    def _act(self) -> None:
        what, here = self._random.random(), self._door(self.region)
        if what < self._load.reads:
            call = self.read(self._thing(), here.query)
        elif what < self._load.reads + self._load.claims:
            call = self._claim(here.claims)
        else:
            changes = [(self._thing(), self._change()) for _ in range(self._random.randint(1, self._load.largest))]
            call = self.write(changes, here.store.append_all)
        if call.outcome is Outcome.FAIL and call.why != "rejected":
            self._rest(self._random.uniform(0.1, 0.4))

    def _claim(self, claims: HomedClaims) -> Call:
        owner = f"user/{self.process}"
        release = bool(self._seats) and self._random.random() < 0.5
        seat = (
            self._random.choice(sorted(self._seats))
            if release
            else f"{model.SEAT}/{self._random.randrange(self._load.seats)}"
        )
        wanted = Release(seat, owner) if release else Claim(seat, owner)
        value = {"id": self._id(), "stream": seat, "owner": owner}
        call = self.save("release" if release else "claim", value, lambda: claims.save([wanted]))
        if call.outcome is Outcome.OK and not release:
            self._seats.add(seat)
        elif call.outcome is not Outcome.FAIL:
            self._seats.discard(seat)
        return call

    def take_stock(self, region: str, survived: Collection[str]) -> None:
        super().take_stock(region, survived)
        self._seats.clear()
        self._doors.pop(region, None)

    def _thing(self) -> StreamId:
        return StreamId(model.TYPE, f"{int(self._load.things * self._random.random() ** 2)}")

    def _change(self) -> NewEvent:
        chance, id = self._random.random(), self._id()
        if chance < 0.5:
            return model.added(id, self._random.randint(-5, 20))
        if chance < 0.85:
            make = model.joined if chance < 0.7 else model.left
            return make(id, f"m{self._random.randrange(_MEMBERS)}")
        return model.named(id, f"name-{id}")

    def _id(self) -> str:
        self._count += 1
        return f"{self.process}.{self._count}"


class Visits(Workload):
    """Visitors of a run, a number of them at home in each region."""

    projection = model.PROJECTION
    type = model.TYPE
    views = f"{model.Thing.name}@{model.Thing.version}"

    def __init__(self, stage: Stage, scenario: Scenario, seed: int) -> None:
        super().__init__(stage, scenario, seed)
        assert isinstance(scenario.load, Load)
        self._load = scenario.load

    def start(self) -> None:
        stage = self.stage
        settings = {region: stage.world.settings(region) for region in stage.regions}
        if self._load.claims:
            controls = {region: DynamoControl(each) for region, each in settings.items()}
            storages = {region: DynamoStorage(each) for region, each in settings.items()}
            HomeMover(controls, storages, frozenset({model.SEAT})).move(sorted(stage.regions))
        for number in range(self.scenario.sessions):
            for region in stage.regions:
                process = f"{region}-{number}"
                chance = random.Random(f"{self.seed}/{process}")
                stage.sessions.append(Visitor(process, region, self._doors(region), stage.history, chance, self._load))
        for session in stage.sessions:
            session.start()

    def judge(self, history: History, finals: Mapping[str, Final]) -> Verdict:
        return check(history, finals)

    def read(self, region: str, final: Final) -> None:
        """Read the owners of the seats, as a reader in the region sees them."""
        if self._load.claims:
            claims = self._doors(region)(region).claims
            seats = {call.value["stream"] for call in self.stage.history.calls if call.name in CLAIMS}
            owners = {seat: claims.owner(seat).owner for seat in sorted(seats)}
            final.owners = {seat: str(owner) if owner is not None else None for seat, owner in owners.items()}

    def _doors(self, home: str) -> Callable[[str], Doors]:
        """Return the access of a client that runs in `home` to every region."""
        world = self.stage.world
        own = world.clocks.get(home)
        clock = HybridLogicalClock(own.wall if own is not None else wall_clock)
        stores = cache(lambda region: connect_store(world.settings(region), clock))
        controls = cache(lambda region: DynamoControl(world.settings(region)))

        def opened(region: str) -> Doors:
            query = Query(model.Thing, stores(region), DynamoSink(world.settings(region)))
            return Doors(stores(region), query, HomedClaims(region, controls, stores))

        return opened
