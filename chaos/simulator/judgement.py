"""Judgement of a healed world: the checker's verdict on the clients' history and the final reads, and the breaches seen on
the way."""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from chaos.checker.check import check
from chaos.checker.history import Final, Kept, KeptView
from replicator.domain.event import Event, digest_of

if TYPE_CHECKING:
    from chaos.simulator.simulated_region import Region
    from chaos.simulator.simulated_world import World


SEEN: dict[str, str] = {
    "gap": "no event is written behind a gap",
    "fork": "no event is written behind one that it does not follow",
    "loop": "copies are not copied again: only a region itself copies its lanes to its peers",
    "copies": "each event is copied once to each peer",
    "liveness": "pending work is done soon after all faults have ended",
    "unforeseen": "no error occurs that the core does not expect",
}
"""Promises that are judged as things happen, or when all is whole again, beside the checker's."""


NOT_SIMULATED = ("claims",)
"""Promises of the checker that no seed checks: sessions here claim nothing."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """Broken promises, with how often each was broken, and examples; and how often each promise was checked."""

    broken: dict[str, int]
    examples: list[str]
    looked: dict[str, int]


def judge(world: World) -> Judgement:
    """Judge a world that is whole again."""
    kept: dict[int, Kept] = {}
    views: dict[str, KeptView] = {}
    finals = {region.name: _final(region, kept, views) for region in world.regions.values()}
    verdict = check(world.history, finals)
    broken, examples = dict(verdict.broken), list(verdict.examples)
    homes = world.events * (len(world.regions) - 1)
    counted = not world.disasters and not world.breaches.get("liveness")
    if counted and world.copies != homes:
        world.broken("copies", f"{world.events} events were copied {world.copies} times, not {homes}")
    add_seen(world, broken, examples)
    puts = world.events + world.copies
    seen = {
        "gap": puts,
        "fork": puts,
        "loop": world.copies,
        "copies": homes if counted else 0,
        "liveness": 1,
        "unforeseen": 1,
    }
    looked = {name: finding.looked for name, finding in verdict.findings.items()} | seen
    return Judgement(broken, examples, looked)


def add_seen(world: World, broken: dict[str, int], examples: list[str]) -> None:
    """Add the breaches seen on the way."""
    for promise, found in world.breaches.items():
        broken[promise] = broken.get(promise, 0) + len(found)
        examples += [f"{promise}: {example}" for example in found[:3]]


def digest(world: World) -> str:
    """Return one digest of everything that the regions hold."""
    made = sha256()
    for region in world.regions.values():
        for lane, events in sorted(region.table.lanes_held.items(), key=lambda each: each[0].key):
            made.update(lane.key.encode())
            for sequence in sorted(events):
                made.update(events[sequence].digest)
        for view in region.sink.views("thing"):
            made.update(view.digest)
    return made.hexdigest()


def _final(region: Region, kept: dict[int, Kept], views: dict[str, KeptView]) -> Final:
    final = Final(quarantined=[f"{scope} {key}" for scope, key in region.control.under("quarantine#")])
    for events in region.table.lanes_held.values():
        for event in events.values():
            found = kept.get(id(event))
            if found is None:  # regions share events, which are immutable
                found = kept[id(event)] = _kept(event)
            final.events.append(found)
    for view in region.sink.views("thing"):
        body = "\n".join((str(view.vector), view.state_text, view.value_text))
        if body not in views:
            views[body] = KeptView(dict(view.vector.items()), view.value, body)
        final.views[view.key] = views[body]
    return final


def _kept(event: Event) -> Kept:
    return Kept(
        event.lane.key, event.sequence, str(event.hlc), event.type, json.loads(event.payload_text),
        dict(event.observed.items()), event.prev.hex(), event.digest.hex(), digest_of(event).hex(),
    )  # fmt: skip
