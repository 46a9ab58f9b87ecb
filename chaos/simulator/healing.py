"""Healing after the plan: everything is whole again, and all that was left undone is done within a bounded number of
rounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from chaos.simulator.simulated_functions import bring_what_was_lost
from chaos.simulator.simulated_operator import Order
from chaos.simulator.simulated_processes import ReplicatorFunctions, projector_of, replicator_of
from replicator.control.backlog import VIEWS

if TYPE_CHECKING:
    from chaos.simulator.simulated_region import Region
    from chaos.simulator.simulated_world import World

ROUNDS = 12
"""Number of rounds that suffice; otherwise something never ends."""
ROUND_SECONDS = 11.0
"""Seconds of a round: longer than any worker waits before it looks again."""
_TURNS = 500


def heal(world: World) -> None:
    """Heal the world and run it without faults. Safety was checked under all faults; liveness is checked without."""
    world.healing = True
    world.network.ways.clear()
    world.axe.rest()
    for region in world.regions.values():
        region.up = True
    why: list[str] = []
    for number in range(ROUNDS):
        why = [*_repair(world, number), *_settle(world)]
        busy = _work(world)
        if number == 1:  # once after clients learned that it was not written
            landed = [region.land() for region in world.regions.values()]  # each of them, whatever the others return
            busy = any(landed) or busy
        why += [*_waiting(world), *(["workers were busy"] if busy else [])]
        world.wait(ROUND_SECONDS)
        if not why and number > 1:
            return
    world.broken("liveness", f"after {ROUNDS} rounds: {'; '.join(why)}")


def _repair(world: World, number: int) -> Iterator[str]:
    """Let regions learn their roles, and let the operator finish what it has begun or has to bring back. Yields what is
    left."""
    for region in world.regions.values():
        process = replicator_of(world, region)
        process.adopter.adopt()
        if isinstance(process, ReplicatorFunctions):
            bring_what_was_lost(world, region, process.home, [*process.peers, VIEWS])
    stopped = [told for order in world.operator.open() if not (told := world.operator.run(order)).endswith("done")]
    if number and stopped:  # two runbooks that block each other
        world.operator.abandon_all()
    yield from stopped
    for region in world.operator.behind():
        if not (told := world.operator.run(Order(region.name))).endswith("done"):
            yield told


def _settle(world: World) -> Iterator[str]:
    for session in world.sessions:
        for _ in range(len(session.doubts)):
            session.ask(0, 0)
        if session.doubts:
            yield f"{session.process} cannot settle {len(session.doubts)} appends"


def _work(world: World) -> bool:
    """Give every worker turns until none has anything to do. Returns whether any had."""
    any_busy = False
    for _ in range(_TURNS):
        busy = False
        for region in world.regions.values():
            busy = _turn(world, region) or busy
        any_busy = any_busy or busy
        if not busy:
            break
    return any_busy


def _turn(world: World, region: Region) -> bool:
    process = replicator_of(world, region)
    busy = process.worker.turn() == 0.0
    for link in process.links.values():
        busy = link.turn() == 0.0 or busy
    return projector_of(world, region).worker.turn() == 0.0 or busy


def _waiting(world: World) -> Iterator[str]:
    for region in world.regions.values():
        waiting = [f"{scope} {key}" for scope, key in region.control.under("backlog#")]
        waiting += [f"{queue.name} {text}" for queue in region.queues.values() for _, text in queue.messages.values()]
        if waiting:
            yield f"{region.name}: {len(waiting)} pointers wait, the first: {waiting[0]}"
