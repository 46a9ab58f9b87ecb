"""A system in memory: regions whose tables can be damaged, noticed or not, and that are killed at any step."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from replicator.control.control_storage import Guard, Value
from replicator.control.memory_control import MemoryControl
from replicator.control.suspects import Suspects
from replicator.domain.clock import HybridLogicalClock
from replicator.domain.errors import DamagedEvent, RegionUnavailable
from replicator.domain.event import Event, NewEvent, digest_of
from replicator.domain.names import LaneId, sequence_key
from replicator.eventstore.appender import AppendPolicy
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.storage import Insert
from replicator.eventstore.store import EventStore
from replicator.fencing.check_in import CheckIn, ask
from replicator.fencing.fence import Fence
from replicator.ops.audit.summary_keeper import Keeper, KeeperOptions
from replicator.ops.system import Place, System

EAST, WEST, SOUTH = "us-east-1", "eu-west-1", "ap-southeast-2"
REGIONS = (EAST, WEST, SOUTH)
BEGUN_MS = 1_763_914_981_000


class Killed(BaseException):
    """The process that did this is no more."""


@dataclass
class Axe:
    """Kills at the `at`-th change of any region's tables: before it takes effect, or, with `after`, when it has."""

    at: int | None = None
    after: bool = False
    count: int = 0

    def swing(self, change: Callable[[], Any]) -> Any:
        self.count += 1
        if self.at == self.count and not self.after:
            raise Killed
        done = change()
        if self.at == self.count:
            raise Killed
        return done


class Table(MemoryStorage):
    """An events table without any protection from whoever alters it."""

    def __init__(self, control: MemoryControl, axe: Axe) -> None:
        super().__init__(control)
        self.down = False
        self.axe = axe
        self.reads = 0

    def _up(self) -> None:
        if self.down:
            raise RegionUnavailable("down")

    def insert(self, events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        self._up()

        insert = super().insert
        return bool(self.axe.swing(lambda: insert(events, guards)))

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        self._up()
        insert_each = super().insert_each
        return list(self.axe.swing(lambda: insert_each(events)))

    def read(self, *args: Any, **named: Any) -> Any:
        self._up()
        self.reads += 1
        return map(_checked, super().read(*args, **named))

    def get(self, positions: Any, *, consistent: bool = True) -> Any:
        self._up()
        self.reads += len(positions)
        return {position: _checked(event) for position, event in super().get(positions).items()}

    def index(self, region: str, after: LaneId | None = None) -> Any:
        self._up()
        return super().index(region, after)

    def take_out(self, lane: LaneId, sequence: int, noticed: bool = True) -> None:
        """Remove an event, which nobody may."""
        self._lanes[lane].pop(sequence)
        self._notice(lane, noticed)

    def alter(self, event: Event, noticed: bool = True) -> None:
        """Put an event in the place of another, which nobody may."""
        self._lanes[event.lane][event.sequence] = event
        self._notice(event.lane, noticed)

    def _notice(self, lane: LaneId, noticed: bool) -> None:
        """What a reader of the stream does, as it sees the change."""
        if noticed:
            Suspects(self.control).add([lane], BEGUN_MS)


def _checked(event: Event) -> Event:
    """The event, read as from a real table: bytes that do not fit their digest are no event."""
    if digest_of(event) != event.digest:
        raise DamagedEvent(f"event {event.id} does not match its digest")
    return event


class Control(MemoryControl):
    """Control state that can be down, and in which a process can be killed."""

    def __init__(self, axe: Axe) -> None:
        super().__init__()
        self.axe = axe
        self.down = False

    def put(self, scope: str, values: dict[str, Value]) -> None:
        self._up()
        put = super().put
        self.axe.swing(lambda: put(scope, values))

    def swap(self, scope: str, key: str, before: Value | None, after: Value) -> bool:
        self._up()
        swap = super().swap
        return bool(self.axe.swing(lambda: swap(scope, key, before, after)))

    def swap_each(self, changes: Mapping[tuple[str, str], tuple[Value | None, Value]]) -> None:
        """A process may be killed between any two requests, of 25 statements each."""
        self._up()
        each, swap = list(changes.items()), super().swap
        for start in range(0, len(each), 25):
            some = each[start : start + 25]
            self.axe.swing(lambda some=some: [swap(*place, *change) for place, change in some])  # type: ignore[misc]

    def get(self, scope: str, key: str) -> Value | None:
        self._up()
        return super().get(scope, key)

    def get_scopes(self, scopes: Any) -> Any:
        self._up()
        return super().get_scopes(scopes)

    def get_all(self, scope: str, limit: int | None = None, after: str = "") -> Any:
        self._up()
        return super().get_all(scope, limit, after)

    def _up(self) -> None:
        if self.down:
            raise RegionUnavailable("down")


@dataclass
class Memories:
    """The regions, and everything that acts on them, at a time that only `sleep` moves."""

    regions: Sequence[str] = REGIONS
    axe: Axe = field(default_factory=Axe)
    now: float = BEGUN_MS / 1000

    def __post_init__(self) -> None:
        self.controls = {region: Control(self.axe) for region in self.regions}
        self.tables = {region: Table(self.controls[region], self.axe) for region in self.regions}
        self._nonces = itertools.count()

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wall(self) -> int:
        return int(self.now * 1000)

    def system(self) -> System:
        """As a new process sees it."""
        places = {region: self._place(region) for region in self.regions}
        return System(places, 2.0, self.wall, lambda: self.now, self.sleep)

    def _place(self, region: str) -> Place:
        table, control = self.tables[region], self.controls[region]
        keeper = Keeper(region, self.regions, table, control, KeeperOptions(self.wall))
        return Place(region, table, control, keeper, lambda: control._up())

    def store(self, region: str, checked: Sequence[str] = ()) -> EventStore:
        """The event store of a new process in a region."""
        table, control = self.tables[region], self.controls[region]
        others = [other for other in self.regions if other != region]

        def ask_all(lanes: bool) -> Any:
            heard = {}
            for other in others:
                if not self.controls[other].down:
                    heard[other] = ask(self.controls[other], self.tables[other], region, lanes)
            return heard, tuple(other for other in others if other not in heard)

        fence = Fence(
            region, control, CheckIn(lambda: {"events": table.identity(), "control": control.identity()}, ask_all),
            checked, 2.0, wall=self.wall, monotonic=lambda: self.now,
        )  # fmt: skip
        store = EventStore(table, region, self.regions, HybridLogicalClock(self.wall), appends=AppendPolicy(fence=fence))
        store._appender._nonce = lambda: f"{next(self._nonces)}"  # so that a second run writes the same bytes
        return store

    def copy(self, source: str, target: str, last: int | None = None) -> None:
        """What the replicator does, up to a sequence."""
        for lane, _ in list(self.tables[source].lanes()):
            if lane.region == source:
                self.tables[target].insert_each(list(self.tables[source].read(lane, 1, last)))

    def copy_all(self, among: Sequence[str] = ()) -> None:
        for source, target in itertools.permutations(among or self.regions, 2):
            self.copy(source, target)

    def empty(self, region: str) -> None:
        """The region loses all it holds and comes back with new tables."""
        self.controls[region] = Control(self.axe)
        self.tables[region] = Table(self.controls[region], self.axe)

    def restore(self, region: str, held: dict[LaneId, list[Event]], control: dict[str, dict[str, str]]) -> None:
        """The region comes back with tables as they once were."""
        self.empty(region)
        for lane, events in held.items():
            self.tables[region]._lanes[lane] = {event.sequence: event for event in events}
        self.controls[region]._scopes = {scope: dict(values) for scope, values in control.items()}

    def backup(self, region: str) -> tuple[dict[LaneId, list[Event]], dict[str, dict[str, str]]]:
        table, control = self.tables[region], self.controls[region]
        return (
            {lane: [*events.values()] for lane, events in table._lanes.items()},
            {scope: dict(values) for scope, values in control._scopes.items()},
        )

    def down(self, region: str, down: bool = True) -> None:
        self.tables[region].down = self.controls[region].down = down

    def holdings(self) -> dict[str, dict[str, bytes]]:
        """Every region's events, by id, as digests."""
        return {
            region: {e.id: e.digest for events in table._lanes.values() for e in events.values()}
            for region, table in self.tables.items()
        }


def altered(event: Event) -> Event:
    """An event that looks like `event` and says something else: its digest does not fit."""
    other = object.__new__(Event)
    for name in event.__slots__:
        object.__setattr__(other, name, getattr(event, name))
    object.__setattr__(other, "payload_text", event.payload_text.replace('"n":', '"m":'))
    return other


def load(memories: Memories, streams: int = 5, events: int = 4) -> None:
    """Every region writes to every stream."""
    for region in memories.regions:
        store = memories.store(region)
        for number in range(streams):
            for n in range(events):
                store.append(f"user/{number}", NewEvent("set", {"n": n}))
                memories.now += 0.001


__all__ = ["EAST", "REGIONS", "SOUTH", "WEST", "Axe", "Killed", "Memories", "altered", "load", "replace", "sequence_key"]
