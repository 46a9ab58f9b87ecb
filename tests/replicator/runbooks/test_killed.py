"""Every runbook is killed between any two changes that it makes, and run again: it ends as an undisturbed run does.
Changes are those of any region's events and control tables, the record of the run among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from replicator.claims.homes import HomeMover, Homes
from replicator.domain.event import NewEvent
from replicator.fencing.roles import FENCE, known_roles, read_role
from replicator.ops.audit.comparison import compare
from replicator.ops.runbooks import Bootstrap, Failback, Failover, Runbook, Summary, Switchover
from replicator.ops.runbooks.runs import headers
from tests.replicator.memories import EAST, REGIONS, SOUTH, WEST, Axe, Killed, Memories, load


class Steered:
    """Writers that are told where to go. A runbook that was killed may tell them twice."""

    def __init__(self) -> None:
        self.at: dict[str, str] = {}

    def plan(self, region: str, to: str | None) -> str:
        return f"writers of {region} go to {to or region}"

    def away(self, region: str, to: str) -> str:
        self.at[region] = to
        return f"writers of {region} go to {to}"

    def back(self, region: str) -> str:
        self.at.pop(region, None)
        return f"writers of {region} are back"


def world() -> tuple[Memories, Steered]:
    """Three regions with events everywhere, homes of claims, and some events of EAST that only SOUTH or nobody else has."""
    memories, steered = Memories(), Steered()
    load(memories, streams=2, events=2)
    memories.copy_all()
    controls: Any = memories.controls
    HomeMover(controls, memories.tables, frozenset({"email"})).move([EAST, WEST])
    store = memories.store(EAST)
    store.append("user/0", NewEvent("set", {"n": 10}))
    memories.copy(EAST, SOUTH)
    store.append("user/0", NewEvent("set", {"n": 11}))
    return memories, steered


Scenario = tuple[Callable[[Memories, Steered], None], Callable[[Memories, Steered], Runbook]]


def frozen(memories: Memories, steered: Steered) -> None:
    memories.down(EAST)


def thawed(memories: Memories, steered: Steered) -> None:
    memories.down(EAST)
    Failover(memories.system(), EAST, WEST, steering=steered).run()
    memories.store(WEST).append("user/0", NewEvent("set", {"n": 20}))
    memories.down(EAST, False)


def emptied(memories: Memories, steered: Steered) -> None:
    thawed(memories, steered)
    memories.empty(EAST)


SCENARIOS: dict[str, Scenario] = {
    "failover of a region that is gone": (frozen, lambda m, s: Failover(m.system(), EAST, WEST, steering=s, lost=True)),
    "failover of a region that is silent": (frozen, lambda m, s: Failover(m.system(), EAST, WEST, steering=s)),
    "failover of a region that answers": (lambda m, s: None, lambda m, s: Failover(m.system(), EAST, WEST, steering=s)),
    "failback of a region that has its data": (thawed, lambda m, s: Failback(m.system(), EAST, steering=s)),
    "failback of a region that was emptied": (emptied, lambda m, s: Failback(m.system(), EAST, steering=s)),
    "switchover": (lambda m, s: None, lambda m, s: Switchover(m.system(), EAST, WEST, steering=s)),
    "bootstrap": (emptied, lambda m, s: Bootstrap(m.system(), EAST)),
}


def end(memories: Memories, steered: Steered, summary: Summary) -> dict[str, Any]:
    """What a run leaves behind, but for times."""
    memories.down(EAST, False)
    return {
        "events": memories.holdings(),
        "roles": {r: (role.epoch, role.name) if (role := read_role(memories.controls[r])) else None for r in REGIONS},
        "known": {r: {o: (role.epoch, role.name) for o, role in known_roles(memories.controls[r]).items()} for r in REGIONS},
        "stripes": {r: memories.controls[r].get_scopes(FENCE.scopes) for r in REGIONS},
        "homes": {r: Homes.read(memories.controls[r]) for r in REGIONS},
        "runs": sorted((h.kind, h.end) for r in REGIONS for h in headers(memories.controls[r])),
        "steered": dict(steered.at),
        "rpo": summary.rpo,
        "notes": [note for note in summary.notes if not note.startswith("copied: ")],  # by the last process alone
    }


def run(scenario: Scenario, axe: Axe) -> tuple[dict[str, Any], int, bool]:
    """What the scenario ends with, how many changes its runbook made, and whether it was killed."""
    memories, steered = world()
    before, runbook = scenario
    before(memories, steered)
    memories.axe.at, memories.axe.after, memories.axe.count = axe.at, axe.after, 0
    killed = False
    try:
        summary = runbook(memories, steered).run()
    except Killed:
        killed = True
        memories.axe.at = None
        summary = runbook(memories, steered).run()
    return end(memories, steered, summary), memories.axe.count, killed


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_any_change_and_run_again_it_ends_as_if_nothing_had_happened(name: str) -> None:
    undisturbed, changes, _ = run(SCENARIOS[name], Axe())
    assert changes > 20
    for at in range(1, changes + 1):  # before it takes effect, which is after the one before it did
        ended, _, killed = run(SCENARIOS[name], Axe(at))
        assert killed
        assert ended == undisturbed, f"killed at change {at}"
    ended, _, killed = run(SCENARIOS[name], Axe(changes, after=True))
    assert killed
    assert ended == undisturbed


@pytest.mark.parametrize("name", ["failback of a region that was emptied", "switchover"])
def test_after_it_the_regions_that_were_to_agree_agree(name: str) -> None:
    memories, steered = world()
    before, runbook = SCENARIOS[name]
    before(memories, steered)
    runbook(memories, steered).run()
    system = memories.system()
    places = system.places if name != "switchover" else {region: system.places[region] for region in (EAST, WEST)}
    assert compare(places, system.sleep).equal
