"""Operator: runs the replicator's runbooks while the world goes on, and steers the clients as they require."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol

from chaos.scenarios.stage import Stage
from replicator.domain.errors import MeridianError, RegionUnavailable
from replicator.ops.runbooks import Failback, Failover, Switchover
from replicator.ops.system import System

_LONGEST_SECONDS = 900.0
_HOME_SECONDS = 120.0
_ATTEMPTS = 4


class Mover(Protocol):
    """Client that belongs to a region and can be moved to another."""

    home: str
    region: str

    def move(self, region: str, survived: Collection[str] | None = None) -> None:
        """Call that region from now on. `survived` are the digests of the events of that region's lanes that survived, where
        it had lost its data."""


class ClientSteering:
    """Client steering of the world: moves the clients that follow, and lets the world act before they move.

    `leaving` is called with the region and the one that takes over, `returning` with the region, before any client moves.
    `returning` gives the digests of what survived of the region's lanes, or None where it lost nothing.
    """

    def __init__(
        self,
        clients: Iterable[Mover],
        leaving: Callable[[str, str], None] = lambda region, to: None,
        returning: Callable[[str], Collection[str] | None] = lambda region: None,
    ) -> None:
        self._clients = tuple(clients)
        self._leaving = leaving
        self._returning = returning

    def plan(self, region: str, to: str | None) -> str:
        return f"{len(self._home(region))} clients of {region} will call {to or region}"

    def away(self, region: str, to: str) -> str:
        self._leaving(region, to)
        moving = [client for client in self._clients if client.region == region]
        for client in moving:
            client.move(to)
        return f"{len(moving)} clients of {region} call {to} from now on"

    def back(self, region: str) -> str:
        survived = self._returning(region)
        for client in self._home(region):
            client.move(region, survived)
        return f"{len(self._home(region))} clients call {region} again"

    def _home(self, region: str) -> list[Mover]:
        return [client for client in self._clients if client.home == region]


class Running:
    """Runbook that runs in a thread of its own."""

    def __init__(self, book: Any, tell: Callable[[str], None]) -> None:
        self._book = book
        self._tell = tell
        self._summary: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="operator", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def summary(self) -> Any:
        """Return the result of the runbook, once it is done. Raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._summary

    def _run(self) -> None:
        try:
            self._summary = self._book.run(self._tell)
        except BaseException as error:
            self._error = error


class Operator:
    """Runner of runbooks, one at a time."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def failover(self, region: str, to: str, inside: bool = False) -> None:
        """Start a failover. `inside`: the operator sits in the region that takes over, and reaches the others over the
        links."""
        name = self._stage.name(region)
        if self._stage.region(region).down:
            self._stage.lost.add(name)
        self._act(lambda system, steering: Failover(
            system, name, self._stage.name(to), steering=steering, lost=name in self._stage.lost
        ), to, inside)  # fmt: skip

    def switchover(self, region: str, to: str) -> None:
        name = self._stage.name(region)
        self._act(lambda system, steering: Switchover(system, name, self._stage.name(to), steering=steering), to)

    def failback(self, region: str) -> None:
        name = self._stage.name(region)
        self._act(lambda system, steering: Failback(system, name, steering=steering), region)
        self._stage.lost.discard(name)
        clients = [each for each in self._stage.sessions if each.home == name and each not in self._stage.staying]
        self._stage.until(lambda: all(each.done or each.region == name for each in clients), _HOME_SECONDS)

    def _act(self, book: Any, seen_from: str, inside: bool = False) -> None:
        stage, region = self._stage, self._stage.name(seen_from)
        system = System.connect(stage.world.inside(region) if inside else stage.world.settings(region))
        clients = [session for session in stage.sessions if session not in stage.staying]
        steering = ClientSteering(clients, stage.leaving, stage.returning)
        for attempt in range(1, _ATTEMPTS + 1):
            running = Running(book(system, steering), stage.watch.say)
            if not stage.until(lambda running=running: running.done, _LONGEST_SECONDS):  # type: ignore[misc]
                raise MeridianError(f"a runbook did not end within {_LONGEST_SECONDS:.0f} s")
            try:
                summary = running.summary()
                break
            except RegionUnavailable as error:  # it may only be slow: "run this again", as operators do
                if attempt == _ATTEMPTS:
                    raise
                stage.watch.say(f"{error}; retrying")
        stage.outage.told(summary.rpo_events)
        stage.remark(f"RPO {summary.rpo_events} events" if summary.rpo_events is not None else "RPO unknown")
