"""Visitors: sessions that change things, read them at their token, and claim seats."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from chaos import things
from chaos.checker.history import Call, History, Outcome
from chaos.workload.sessions import Session
from projectors.queries import Query
from replicator.claims import Claim, HomedClaims, Release
from replicator.domain.event import NewEvent
from replicator.domain.names import StreamId
from replicator.store import EventStore

_MEMBERS = 6
_ASK_AGAIN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Doors:
    """A region as one client reaches it."""

    store: EventStore
    query: Query
    claims: HomedClaims


@dataclass(frozen=True, slots=True)
class Load:
    """What each session does. `pause` is seconds between its calls, `largest` the most changes of one transaction."""

    things: int = 60
    seats: int = 12
    pause: float = 0.05
    largest: int = 8
    reads: float = 0.2
    claims: float = 0.05


class Visitor(Session):
    """Calls until it is told to finish, and then asks what became of what is unknown. `open_doors` is asked once for each
    region."""

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
            else f"{things.SEAT}/{self._random.randrange(self._load.seats)}"
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
        return StreamId(things.TYPE, f"{int(self._load.things * self._random.random() ** 2)}")

    def _change(self) -> NewEvent:
        chance, id = self._random.random(), self._id()
        if chance < 0.5:
            return things.added(id, self._random.randint(-5, 20))
        if chance < 0.85:
            make = things.joined if chance < 0.7 else things.left
            return make(id, f"m{self._random.randrange(_MEMBERS)}")
        return things.named(id, f"name-{id}")

    def _id(self) -> str:
        self._count += 1
        return f"{self.process}.{self._count}"
