"""Sessions: clients that do what careful ones do. An append without an answer is never made again; it is settled later.
What a session has seen goes with it from region to region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos import things
from chaos.checker.history import Call, Written
from chaos.simulator.axe import Killed
from chaos.simulator.network import Mishap
from replicator.appending import Write
from replicator.domain.event import Event, NewEvent, Observed
from replicator.domain.names import StreamId
from replicator.domain.token import ConsistencyToken
from replicator.errors import AppendContention, ClockAhead, NotHereYet, OutcomeUnknown, RegionUnavailable

if TYPE_CHECKING:
    from chaos.simulator.world import World

READ_SECONDS = 0.2
_MAKE: dict[str, tuple[str, Any]] = {
    "added": ("add", things.added), "joined": ("join", things.joined), "left": ("leave", things.left),
    "named": ("name", things.named),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Change:
    """One change that a session wants: `id` is like no other's, `what` the number, member or name."""

    id: str
    stream: int
    kind: str
    what: int | str

    def __str__(self) -> str:
        thing = stream_of(self.stream)
        if self.kind == "added":
            return f"{self.what:+} to {thing}"
        return f"{thing} is named {self.what}" if self.kind == "named" else f"{self.what} {self.kind} {thing}"


@dataclass(slots=True)
class Unsure:
    """An append without an answer."""

    call: Call
    region: str
    events: Sequence[Event]


def stream_of(number: int) -> StreamId:
    return StreamId(things.TYPE, f"{number}")


def written(events: Sequence[Event]) -> list[Written]:
    return [
        Written(event.lane.key, event.sequence, event.digest.hex(), str(event.hlc), event.payload["id"]) for event in events
    ]


@dataclass(slots=True)
class Session:
    """One client. `region` is where it is now, `home` where it belongs."""

    world: World
    name: str
    home: str
    region: str = ""
    observed: dict[StreamId, Observed] = field(default_factory=dict)
    unsure: list[Unsure] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.region = self.region or self.home

    def append(self, app: int, changes: Sequence[Change], mishap: Mishap) -> str:
        """Make these changes in one transaction. Returns what came of it."""
        by_stream: dict[StreamId, list[NewEvent]] = {}
        for change in changes:
            stream = stream_of(change.stream)
            by_stream.setdefault(stream, []).append(_MAKE[change.kind][1](change.id, change.what))
        value = [
            {"stream": str(stream), "type": new.type, **new.payload} for stream, news in by_stream.items() for new in news
        ]
        seen = {stream: self.observed.get(stream, Observed()) for stream in by_stream}
        context = {str(stream): dict(each.vector.items()) for stream, each in seen.items()}
        latest = max((str(each.hlc) for each in seen.values()), default="")
        world, there = self.world, self.world.regions[self.region]
        call = world.history.invoke(self.name, self.region, _MAKE[changes[0].kind][0], value, context, latest)
        writes = [Write(stream, tuple(news), seen[stream]) for stream, news in by_stream.items()]
        world.mishap, world.attempted = mishap, ()
        try:
            events = there.app(app).store.append_all(writes)
        except OutcomeUnknown as error:
            world.history.unknown(call, written(error.events), str(error))
            self.unsure.append(Unsure(call, self.region, error.events))
            return "unknown"
        except (RegionUnavailable, AppendContention, ClockAhead) as error:
            world.history.fail(call, str(error))
            return f"failed {type(error).__name__}"
        except Killed:
            there.apps[app % len(there.apps)] = None
            world.history.unknown(call, written(world.attempted), "the process was killed")
            return "killed"
        finally:
            world.mishap = Mishap.NONE
            world.axe.rest()
        world.history.ok(call, written(events))
        self.saw(events)
        places = ", ".join(f"{event.lane.key} {event.sequence}" for event in events)
        return f"ok: {places} ({events[-1].digest.hex()[:8]})"

    def saw(self, events: Sequence[Event]) -> None:
        """These events are written; what comes later comes after them."""
        for event in events:
            seen = self.observed.get(event.stream, Observed())
            vector = seen.vector.advance(event.region, event.sequence)
            self.observed[event.stream] = Observed(vector, max(seen.hlc, event.hlc))

    def settle(self, app: int, number: int, mishap: Mishap = Mishap.NONE) -> str:
        """Ask what became of an append."""
        if not self.unsure:
            return ""
        unsure = self.unsure[number % len(self.unsure)]
        there = self.world.regions[unsure.region]
        self.world.mishap = mishap
        try:
            done = there.app(app).store.resolve(unsure.events)
        except (OutcomeUnknown, RegionUnavailable) as error:
            return type(error).__name__
        except Killed:
            there.apps[app % len(there.apps)] = None
            return "killed"
        finally:
            self.world.mishap = Mishap.NONE
            self.world.axe.rest()
        self.unsure.remove(unsure)
        self.settled(unsure, done)
        return f"written {done}"

    def settled(self, unsure: Unsure, done: bool) -> None:
        self.world.history.settle(unsure.call, done)
        if done:
            self.saw(unsure.events)

    def read(self, app: int, stream: int) -> str:
        """Read a stream's value, with all that the session has seen of it."""
        name = stream_of(stream)
        seen = self.observed.get(name, Observed())
        context = {str(name): dict(seen.vector.items())}
        history = self.world.history
        call = history.invoke(self.name, self.region, "read", {"stream": str(name)}, context, str(seen.hlc))
        query = self.world.regions[self.region].app(app).query
        try:
            found = query.now(name, ConsistencyToken.seen(name, seen), READ_SECONDS)
        except (NotHereYet, RegionUnavailable) as error:
            history.fail(call, str(error))
            return type(error).__name__
        history.ok(call, (), dict(found.vector.items()), found.value)
        self.observed[name] = seen.join(Observed(found.vector, found.token.hlc))
        return f"read {found.vector}"
