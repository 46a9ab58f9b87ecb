"""Run of the simulator: a seed's plan done in a new world, healed and judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256

from chaos.simulator.crash_points import Killed
from chaos.simulator.environment import BEGIN, STEP_SECONDS, Options
from chaos.simulator.healing import heal
from chaos.simulator.judgement import Judgement, add_seen, digest, judge
from chaos.simulator.plan import draw
from chaos.simulator.simulated_time import simulated
from chaos.simulator.simulated_world import World
from chaos.simulator.steps import Step
from chaos.workload.model import TYPE
from replicator.domain.errors import place


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a run. `broken` are promises with how often they were broken; `trace` is the same for the same seed and
    commit; `copies` are events that were copied to a peer; `simulated` are seconds of the world's own time."""

    seed: int
    steps: int
    broken: Mapping[str, int]
    examples: Sequence[str]
    trace: str
    events: int = 0
    copies: int = 0
    calls: Mapping[str, int] = field(default_factory=dict)
    disasters: int = 0
    looked: Mapping[str, int] = field(default_factory=dict)
    """Number of checks of each promise."""
    simulated: float = 0.0

    @property
    def kept(self) -> bool:
        return not self.broken


def options_of(seed: int, options: Options) -> Options:
    """Return the seed's own options: every other one checks the fence in the appends' own transactions; in every fourth
    projectors count conflicts, which changes nothing that is judged; in every third regions have functions, not workers."""
    return replace(options, checked=(TYPE,) if seed % 2 else (), watched=seed % 4 == 0, functions=seed % 3 == 2)


def run_seed(seed: int, count: int, options: Options) -> Outcome:
    """Draw a seed's plan and run it."""
    own = options_of(seed, options)
    return run_plan(seed, draw(seed, count, own), own)


def run_plan(seed: int, plan: Sequence[Step], options: Options, tell: Callable[[Step, str], None] | None = None) -> Outcome:
    """Run these steps in a new world. `tell` receives the result of each."""
    world = World(options)
    trace = sha256()

    def attempt(do: Callable[[], str | None]) -> str:
        try:
            return do() or ""
        except (Exception, Killed) as error:  # anything that the core did not foresee
            world.broken("unforeseen", f"{place(error)}: {error}")
            return f"{type(error).__name__}, unforeseen"

    with simulated(world):
        attempt(world.begin)
        for number, step in enumerate(plan):
            world.wait(STEP_SECONDS)
            result = attempt(partial(step.do, world))
            trace.update(f"{number} {type(step).__name__} {result}".encode())
            if tell is not None:
                tell(step, result)
        attempt(partial(heal, world))
        judgement = _judge(world, attempt)
        attempt(lambda: trace.update(digest(world).encode()))
    return Outcome(
        seed, len(plan), judgement.broken, judgement.examples, trace.hexdigest(), world.events, world.copies,
        world.history.counts(), world.disasters, judgement.looked, world.now - BEGIN,
    )  # fmt: skip


def _judge(world: World, attempt: Callable[[Callable[[], str | None]], str]) -> Judgement:
    """Return the judgement; where judging itself fails, the breaches seen until then."""
    judged: list[Judgement] = []
    attempt(lambda: judged.append(judge(world)))
    if judged:
        return judged[0]
    seen = Judgement({}, [], {})
    add_seen(world, seen.broken, seen.examples)
    return seen
