"""Sessions of the simulated world: clients, each of whose calls is a step of the plan."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from chaos.checker.history import Outcome
from chaos.simulator.crash_points import Killed
from chaos.simulator.simulated_network import Mishap
from chaos.simulator.simulated_processes import App, app_name, app_of
from chaos.simulator.simulated_region import Regions
from chaos.workload import model
from chaos.workload.client import UNSETTLED, Client, written
from replicator.domain.names import StreamId

READ_SECONDS = 0.2
_MAKE: dict[str, Any] = {"added": model.added, "joined": model.joined, "left": model.left, "named": model.named}


@dataclass(frozen=True, slots=True)
class Change:
    """Change that a session makes: `id` is unique, `what` is the number, member or name."""

    id: str
    stream: int
    kind: str
    what: int | str

    def __str__(self) -> str:
        thing = stream_of(self.stream)
        if self.kind == "added":
            return f"{self.what:+} to {thing}"
        return f"{thing} is named {self.what}" if self.kind == "named" else f"{self.what} {self.kind} {thing}"


def stream_of(number: int) -> StreamId:
    return StreamId(model.TYPE, f"{number}")


class Session(Client):
    """Client that a plan's steps drive."""

    def __init__(self, world: Regions, name: str, home: str) -> None:
        super().__init__(name, home, world.history)
        self.world = world

    def append(self, app: int, changes: Sequence[Change], mishap: Mishap) -> str:
        """Make these changes in one transaction. Returns the outcome."""
        world = self.world
        news = [(stream_of(change.stream), _MAKE[change.kind](change.id, change.what)) for change in changes]
        world.attempted = ()
        try:
            with self._process(self.region, app, mishap) as process:
                call = self.write(news, process.store.append_all)
        except Killed:
            self.history.unknown(self.history.calls[-1], written(world.attempted), "the process was killed")
            return "killed"
        if call.outcome is Outcome.OK:
            places = ", ".join(f"{event.lane} {event.sequence}" for event in call.events)
            return f"ok: {places} ({call.events[-1].digest[:8]})"
        return "unknown" if call.outcome is Outcome.UNKNOWN else f"failed {call.why.partition(':')[0]}"

    def ask(self, app: int, number: int, mishap: Mishap = Mishap.NONE) -> str:
        """Resolve the outcome of an append."""
        if not self.doubts:
            return ""
        doubt = self.doubts[number % len(self.doubts)]
        try:
            with self._process(doubt.region, app, mishap) as process:
                return f"written {self.settle(doubt, process.store.resolve)}"
        except UNSETTLED as error:
            return type(error).__name__
        except Killed:
            return "killed"

    def look(self, app: int, stream: int) -> str:
        """Read a stream's value, with all that the session has seen of it."""
        call = self.read(stream_of(stream), app_of(self.world, self.world.regions[self.region], app).query, READ_SECONDS)
        return f"read {self.seen[stream_of(stream)].vector}" if call.outcome is Outcome.OK else call.why.partition(":")[0]

    def move(self, region: str, survived: Collection[str] | None = None) -> None:
        """Call that region from now on. What survived a disaster was settled when it struck."""
        self.region = region

    @contextmanager
    def _process(self, region: str, app: int, mishap: Mishap) -> Iterator[App]:
        """Yield a process of a region for a request; the mishap happens to its next write."""
        there = self.world.regions[region]
        self.world.mishap = mishap
        try:
            yield app_of(self.world, there, app)
        except Killed:
            there.kill(app_name(app))
            raise
        finally:
            self.world.mishap = Mishap.NONE
            self.world.axe.rest()
