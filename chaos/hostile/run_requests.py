"""Run of hostile inputs: two regions, hostile inputs and good ones through every door, rest, and the judgement."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chaos.checker.final_reads import Tables
from chaos.child_processes import Process
from chaos.hostile.doors import Doors, Said, doors_of
from chaos.hostile.hostile_plan import Good, inputs
from chaos.hostile.kinds import DOORS, Became, Hostile
from chaos.hostile.verdicts import Found, Region, regions_wrong, tally
from chaos.workload.model import PROJECTION
from chaos.world.world import World, WorldOptions
from replicator.runtime.wall_clock import wall_clock

REGIONS = ("us-east-1", "eu-west-1")
_REST_SECONDS = 240.0
_QUIET_SECONDS = 3.0
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a run. `wrong` are the failures of regions and processes, `good` is how many good events were acknowledged,
    `seconds` how long sending took and `rest_seconds` how long until nothing moved any more."""

    events: int
    seed: int
    became: Sequence[Became]
    wrong: Sequence[str]
    good: int
    seconds: float
    rest_seconds: float

    @property
    def kept(self) -> bool:
        return not self.wrong and all(each.right for each in self.became) and len(self.became) == self.events

    @property
    def tally(self) -> dict[tuple[str, str], Counter[str]]:
        return tally(self.became)

    def as_json(self) -> dict[str, Any]:
        """Return the result for a file: figures by door and kind, and examples of failures."""
        return {
            "events": self.events,
            "seed": self.seed,
            "kept": self.kept,
            "good": self.good,
            "seconds": round(self.seconds, 1),
            "rest_seconds": round(self.rest_seconds, 1),
            "kinds": [{"door": door, "kind": kind, **counts} for (door, kind), counts in self.tally.items()],
            "wrong": list(self.wrong)[:100],
            "examples": self.examples(100),
        }

    def examples(self, most: int) -> list[str]:
        """Return inputs without the expected outcome, a line each, one of each kind first."""
        bad = [each for each in self.became if not each.right]
        first = list({(each.hostile.kind.door, each.hostile.kind.name): each for each in reversed(bad)}.values())
        lines = [
            f"{each.hostile.kind.door}, {each.hostile.kind.name}, {each.hostile.mark}: {each.how} "
            f"(expected {' or '.join(sorted(each.hostile.kind.expected))}; {each.hostile.kind.promise}): {each.said[:400]}"
            for each in first
        ]
        return lines[:most]


def run_hostile(events: int, seed: int, tell: Tell) -> Outcome:
    """Run `events` hostile inputs of this seed. Everything that is started is stopped, also on failure."""
    tell("starting", 0, 1)
    with (
        World(REGIONS, [PROJECTION], options=WorldOptions(services="dynamodb,dynamodbstreams,sqs", seed=seed)) as world,
        doors_of(world) as doors,
    ):
        watched = _processes(world, doors)
        before = {process.name: process.pid for process in watched}
        began = time.monotonic()
        said = _send(doors, events, seed, tell)
        seconds, began = time.monotonic() - began, time.monotonic()
        wrong: list[str] = []
        for region in REGIONS:  # everything still works
            for door in DOORS:
                doors.add(Good(door, region, f"last{door}"))
        said += list(doors.flush())
        regions = _rest(world, doors, said, tell, wrong)
        rest = time.monotonic() - began
        wrong += [f"{p.name} ended or was replaced" for p in watched if not p.running or p.pid != before[p.name]]
        wrong += doors.failed_batches[:5] + regions_wrong(regions, doors.good)
        found = Found(regions)
        became = [found.became(*each) for each in said]
        return Outcome(events, seed, became, wrong, len(doors.good), seconds, rest)


def _processes(world: World, doors: Doors) -> list[Process]:
    workers = [process for region in world.regions.values() for process in region.processes]
    return [*workers, *doors.apis.values()]


def _send(doors: Doors, events: int, seed: int, tell: Tell) -> list[Said]:
    said: list[Said] = []
    for each in inputs(events, seed, REGIONS, wall_clock()):
        if isinstance(each, Hostile):
            said += doors.send(each)
            if each.number % 20 == 0:
                tell("hostile inputs", each.number, events)
        else:
            doors.add(each)
    tell("hostile inputs", events, events)
    return said


def _rest(world: World, doors: Doors, said: Sequence[Said], tell: Tell, wrong: list[str]) -> list[Region]:
    """Wait until every good event is everywhere and workers neither write tables nor log: nothing is retried for ever."""
    tables = [Tables(world.direct(region)) for region in REGIONS]
    end = time.monotonic() + _REST_SECONDS
    lanes = dict(doors.good.keys())
    state: Any = None
    quiet = 0.0
    looked = time.monotonic()
    while time.monotonic() < end:
        now = tuple(len(each.present(lanes)) for each in tables), tuple(each.items() for each in tables), _logged(world)
        moved = now != state
        quiet = 0.0 if moved else quiet + time.monotonic() - looked
        looked, state = time.monotonic(), now
        tell("coming to rest", min(now[0]), len(lanes))
        if quiet >= _QUIET_SECONDS and min(now[0]) == len(lanes):
            break
        time.sleep(0.5)
    else:
        wrong.append(
            f"no rest within {_REST_SECONDS:.0f} s: {min(state[0])} of {len(lanes)} good events everywhere, {state}"
        )
    return [Region(each.region, list(each.event_items([])), each.views(), each.refused()) for each in tables]


def _logged(world: World) -> int:
    return sum(file.stat().st_size for file in world.logs.glob("*-replicator.log")) + sum(
        file.stat().st_size for file in world.logs.glob("*-projector.log")
    )
