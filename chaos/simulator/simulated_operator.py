"""Operator: runs the real runbooks over the simulated regions, and may be killed in the middle of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from chaos.scenarios.runbook_runner import ClientSteering, Mover
from chaos.simulator.reach import Reached, ReachedControl
from chaos.simulator.simulated_region import Region, Regions
from replicator.domain.errors import MeridianError
from replicator.fencing.roles import read_role
from replicator.ops.audit.summary_keeper import Keeper, KeeperOptions
from replicator.ops.runbooks import Failback, Failover
from replicator.ops.runbooks.runbook import Runbook
from replicator.ops.runbooks.runs import headers, note_header
from replicator.ops.system import Place, System

LEASE = 2.0


@dataclass(frozen=True, slots=True)
class Order:
    """Runbook to run: a failover from `region` to `to`, or (`to` is empty) a fail-back of `region`."""

    region: str
    to: str = ""
    lost: bool = False

    def __str__(self) -> str:
        return f"failover {self.region} {self.to}" if self.to else f"failback {self.region}"


@dataclass
class Operator:
    """Runner of runbooks."""

    world: Regions
    clients: Sequence[Mover]

    def run(self, order: Order) -> str:
        """Run an order, or resume it. Returns its name and "done", or why it stopped."""
        system = self._system(order.to or order.region)
        try:
            if order.to or not self.forgotten(self.world.regions[order.region]):
                self._book(order, system).run()
        except MeridianError as error:
            return f"{order}: {type(error).__name__}: {error}"
        if not order.to:
            self.world.regions[order.region].whole = True
        return f"{order}: done"

    def open(self) -> list[Order]:
        """Return the orders that were begun and have not ended, by the records of the regions."""
        found = []
        for region in self.world.regions.values():
            for header in headers(ReachedControl(self.world, region.name, region)) if region.up else ():
                if not header.end:
                    named = header.args.get("from", header.args.get("region", ""))
                    found.append(Order(named, header.args.get("to", ""), not self.world.regions[named].whole))
        return found

    def abandon_all(self) -> None:
        """Give up every open run, as the message of a run that is blocked by another says."""
        for region in self.world.regions.values():
            control = ReachedControl(self.world, region.name, region)
            for header in headers(control):
                if not header.end:
                    ended = int(self.world.now * 1000)
                    note_header(control, header, replace(header, ended=ended, end="abandoned"))

    def behind(self) -> list[Region]:
        """Return the regions that take no appends, or have lost their data and were not brought up."""
        return [region for region in self.world.regions.values() if not region.whole or not self._active(region)]

    def forgotten(self, region: Region) -> bool:
        """Return whether a region has lost its data and takes appends all the same: peers that hold nothing of it take it
        for a new one. There is nothing to bring up, and links give it again what others wrote, as its table is another
        one."""
        return region.up and not region.whole and self._active(region)

    @staticmethod
    def _active(region: Region) -> bool:
        role = read_role(region.control)
        return role is not None and role.active and role.is_of({"events": region.table.identity()})

    def _book(self, order: Order, system: System) -> Runbook:
        steering = ClientSteering(self.clients)
        if order.to:
            return Failover(system, order.region, order.to, steering=steering, lost=order.lost, wait=1.0)
        return Failback(system, order.region, steering=steering, wait=1.0)

    def _system(self, at: str) -> System:
        """Return the regions as a new process in one of them reaches them."""
        world = self.world
        places = {region.name: self._place(at, region) for region in world.regions.values()}
        return System(places, LEASE, lambda: int(world.now * 1000), lambda: world.now, world.wait)

    def _place(self, at: str, there: Region) -> Place:
        world, name = self.world, there.name
        control, table = ReachedControl(world, at, there), Reached(world, at, there)

        wall: Callable[[], int] = lambda: int(world.now * 1000)  # noqa: E731
        regions = tuple(world.regions)
        keeper = Keeper(name, regions, table, control, KeeperOptions(wall, lambda: world.now, 1, 1))
        return Place(name, table, control, keeper, control.identity)
