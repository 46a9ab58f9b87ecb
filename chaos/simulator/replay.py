"""Replay of a seed that broke a promise, in the fewest steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chaos.simulator.environment import Options
from chaos.simulator.mutants import planted
from chaos.simulator.plan import draw
from chaos.simulator.run_steps import Outcome, options_of, run_plan
from chaos.simulator.shrinking import shrink
from chaos.simulator.steps import Step

MOST = 2_000
"""Maximum number of plans that are tried."""

_CAUSES = ("loop", "gap", "fork", "unforeseen")
_EFFECTS = ("torn", "regions_identical", "counters", "views_complete", "views_identical", "liveness", "copies")


@dataclass(frozen=True, slots=True)
class Replay:
    """Fewest steps that break `promise`. `steps` are pairs: a step in words, and its result."""

    promise: str
    steps: Sequence[tuple[str, str]]
    outcome: Outcome
    tried: int


def telling(broken: Sequence[str]) -> str:
    """Return the most informative of these promises: one broken during the run before one found at the end, and among those
    rather a cause than a usual consequence of another."""
    ranks = (*_CAUSES, *(name for name in broken if name not in _EFFECTS), *_EFFECTS)
    return next(each for each in ranks if each in broken)


def replay(outcome: Outcome, steps: int, options: Options, plant: str | None = None) -> Replay:
    """Shrink a seed's plan of `steps` steps to those that still break the most telling promise of `outcome`. The same every
    time."""
    own, promise, tried = options_of(outcome.seed, options), telling(list(outcome.broken)), 0

    def fails(plan: Sequence[Step]) -> bool:
        nonlocal tried
        tried += 1
        return promise in run_plan(outcome.seed, plan, own).broken

    told: list[tuple[str, str]] = []
    with planted(plant):
        left = shrink(draw(outcome.seed, steps, own), fails, MOST)
        last = run_plan(outcome.seed, left, own, lambda step, result: told.append((str(step), result)))
    return Replay(promise, told, last, tried)
