"""Disasters: a region loses its data, and the history learns what survived."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.domain.names import LaneId

if TYPE_CHECKING:
    from chaos.simulator.simulated_region import Region
    from chaos.simulator.simulated_world import World


ANEW_SECONDS = 12.0
"""Minimum seconds in which a region is emptied or restored: a link looks every 5 s whether its peer is still the same one, a
fence every 10 s. As docs/drills.md has it."""


def strike(world: World, region: Region, restored: bool) -> str:
    """Stop the region with the loss of its data; when it is up again it is empty, or as its last backup was. Does nothing
    while another region has lost its own: an event that is nowhere then could not be brought back."""
    if not all(each.whole for each in world.regions.values()):
        return ""
    world.disasters += 1
    region.up = region.whole = False
    held = digests(region)
    world.wait(ANEW_SECONDS)
    region.anew(region.backup if restored else None)
    lost = account(world, region, held)
    return f"{lost} acknowledged events are gone"


def digests(region: Region) -> set[str]:
    """Return the digests of all events that a region holds."""
    return {event.digest.hex() for events in region.table.lanes_held.values() for event in events.values()}


def account(world: World, region: Region, held: set[str]) -> int:
    """Record in the history what survived, in any table, of what the region `held`; settle unknown calls by that; and let
    sessions forget that they saw what is gone. Returns how many events are gone."""
    survived = set().union(*map(digests, world.regions.values()))
    was = held | survived
    for session in world.sessions:
        for doubt in [each for each in session.doubts if each.region == region.name]:
            session.settled(doubt, doubt.events if any(event.digest.hex() in was for event in doubt.events) else ())
    lost = len(world.history.lose(region.name, survived))
    world.history.gone |= held - survived  # also what was never acknowledged: it may have been read
    for session in world.sessions:
        for stream, seen in session.seen.items():
            lane = LaneId(region.name, stream)
            last = max(each.table.end(lane).sequence for each in world.regions.values())
            session.seen[stream] = type(seen)(seen.vector.capped(region.name, last), seen.hlc)
    return lost
