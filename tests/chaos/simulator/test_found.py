"""What seeds have found, shrunk to the fewest steps: each must stay mended."""

from __future__ import annotations

import pytest

from chaos.simulator.environment import Options
from chaos.simulator.run_steps import run_plan
from chaos.simulator.simulated_sessions import Change
from chaos.simulator.steps import Adopt, Append, Crash, Drain, FailBack, Lose, Project, Replicate, Split, Step, Switch, Wait

ADDED = Append(0, 0, (Change("1.0", 0, "added", 1),))
DAY = 90_000.0

FOUND: dict[str, list[Step]] = {
    "the projector's next shard was trimmed while it was down": [
        Split(0, 0, 1), Project(0), ADDED, Crash(0, 3), Wait(DAY),
    ],
    "the replicator's next shard was trimmed while it was down": [
        Split(0, 0, 1), Replicate(0), ADDED, Crash(0, 2), Wait(DAY),
    ],
    "a region that only receives loses its data, and is repaired": [
        ADDED, Replicate(0), Drain(0, 1, 2), Lose(1, False), Switch(1, True), Adopt(1), FailBack(1),
    ],
}  # fmt: skip


@pytest.mark.parametrize("plan", FOUND.values(), ids=FOUND)
def test_what_was_found_is_found_no_more(plan: list[Step]) -> None:
    outcome = run_plan(0, plan, Options())
    assert (dict(outcome.broken), list(outcome.examples)) == ({}, [])
