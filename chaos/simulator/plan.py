"""Plan: the steps of a run, all drawn from its seed before any is done.

Every seed leaves some kinds of faults out, so that rare combinations of the others occur too: Groce, Zhang, Eide, Chen,
Regehr, "Swarm Testing", ISSTA 2012.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from chaos.simulator import steps
from chaos.simulator.environment import Options
from chaos.simulator.simulated_network import Mishap, Way
from chaos.simulator.simulated_sessions import Change
from chaos.simulator.steps import Step

KINDS = ("added", "added", "joined", "left", "named")
WAITS = (0.5, 0.5, 2.5, 2.5, 6.0, 12.0, 12.0, 60.0, 1_000.0, 5_000.0, 90_000.0)
SKEWS = (-262.0, -60.0, -1.0, 0.0, 0.0, 1.0, 60.0, 262.0)
DISORDERS = ("empty", "shuffled", "doubled")

_ALWAYS = {
    "append": 24.0, "replicate": 15.0, "drain": 18.0, "project": 9.0, "read": 4.0, "settle": 2.0, "wait": 3.0,
}  # fmt: skip
_FAULTS = {
    "move": 2.0, "land": 1.0, "crash": 2.0, "clock": 2.0, "break": 4.0, "cut": 1.0, "split": 1.0, "switch": 1.0,
    "adopt": 1.0, "back_up": 0.3, "lose": 0.15, "fail_over": 0.4, "fail_back": 0.5,
}  # fmt: skip
_LEFT_OUT = 0.3
"""Probability that a seed leaves a kind of fault out."""


def draw(seed: int, count: int, options: Options) -> list[Step]:
    """Draw the plan of a seed."""
    return Drawing(random.Random(f"plan {seed}"), options).steps(count)


class Drawing:
    """Generator of steps, which repairs what it has broken more often than it breaks something whole."""

    def __init__(self, chance: random.Random, options: Options) -> None:
        self._chance = chance
        self._options = options
        weights = dict(_ALWAYS)
        weights.update({name: weight for name, weight in _FAULTS.items() if chance.random() >= _LEFT_OUT})
        self._names, self._weights = list(weights), list(weights.values())
        self._mishaps = [each for each in Mishap if each is not Mishap.NONE and chance.random() >= _LEFT_OUT]
        self._ways = [each for each in Way if chance.random() >= _LEFT_OUT]
        self._waits = [each for each in WAITS if chance.random() >= _LEFT_OUT] or [0.5]
        self._killing = chance.choice((0.0, 0.02, 0.08))
        self._broken: list[tuple[int, int]] = []
        self._down: list[int] = []
        self._number = 0

    def steps(self, count: int) -> list[Step]:
        names: Sequence[str] = self._chance.choices(self._names, self._weights, k=count)
        return [self._step(name) for name in names]

    def _step(self, name: str) -> Step:
        draw: Callable[[], Step] = getattr(self, f"_{name}")
        return draw()

    def _region(self) -> int:
        return self._chance.randrange(self._options.regions)

    def _session(self) -> int:
        return self._chance.randrange(self._options.sessions)

    def _stream(self) -> int:
        """Return a stream's number, low ones more often."""
        return min(self._chance.randrange(self._options.streams), self._chance.randrange(self._options.streams))

    def _app(self) -> int:
        return self._chance.randrange(2)

    def _kill(self, often: float = 1.0) -> tuple[int, bool]:
        if self._chance.random() < self._killing * often:
            return self._chance.randint(1, 6), self._chance.random() < 0.5
        return 0, False

    def _disorder(self) -> str:
        return self._chance.choice(DISORDERS) if self._chance.random() < 0.08 else ""

    def _mishap(self) -> Mishap:
        if self._mishaps and self._chance.random() < 0.1:
            return self._chance.choice(self._mishaps)
        return Mishap.NONE

    def _append(self) -> Step:
        self._number += 1
        size = self._chance.choice((1, 1, 1, 2, 3))
        return steps.Append(self._session(), self._app(), tuple(self._change(n) for n in range(size)), self._mishap())

    def _change(self, number: int) -> Change:
        id, kind = f"{self._number}.{number}", self._chance.choice(KINDS)
        what = self._chance.randint(-3, 9) if kind == "added" else f"m{self._chance.randrange(4)}"
        return Change(id, self._stream(), kind, f"n{id}" if kind == "named" else what)

    def _settle(self) -> Step:
        return steps.Settle(self._session(), self._app(), self._chance.randrange(3), self._mishap())

    def _read(self) -> Step:
        return steps.Read(self._session(), self._app(), self._stream())

    def _move(self) -> Step:
        return steps.Move(self._session(), self._region())

    def _land(self) -> Step:
        return steps.Land(self._region())

    def _replicate(self) -> Step:
        return steps.Replicate(self._region(), self._disorder(), *self._kill())

    def _drain(self) -> Step:
        return steps.Drain(self._region(), self._region(), self._chance.randint(1, 3), *self._kill())

    def _project(self) -> Step:
        return steps.Project(self._region(), self._disorder(), *self._kill())

    def _adopt(self) -> Step:
        return steps.Adopt(self._region())

    def _crash(self) -> Step:
        return steps.Crash(self._region(), self._chance.randrange(4))

    def _clock(self) -> Step:
        return steps.SetClock(self._region(), self._app(), self._chance.choice(SKEWS))

    def _wait(self) -> Step:
        return steps.Wait(self._chance.choice(self._waits))

    def _break(self) -> Step:
        if self._broken and self._chance.random() < 0.55:
            return steps.Break(*self._broken.pop(self._chance.randrange(len(self._broken))), None)
        edge = self._region(), self._region()
        if not self._ways:
            return steps.Break(*edge, None)
        self._broken.append(edge)
        return steps.Break(*edge, self._chance.choice(self._ways))

    def _cut(self) -> Step:
        return steps.Cut(self._region(), self._chance.random() < 0.45)

    def _split(self) -> Step:
        return steps.Split(self._region(), self._chance.randrange(4), self._chance.choice((1, 2)))

    def _switch(self) -> Step:
        if self._down and self._chance.random() < 0.7:
            return steps.Switch(self._down.pop(), True)
        region = self._region()
        self._down.append(region)
        return steps.Switch(region, False)

    def _back_up(self) -> Step:
        return steps.BackUp(self._region())

    def _lose(self) -> Step:
        region = self._region()
        self._down.append(region)
        return steps.Lose(region, self._chance.random() < 0.5)

    def _fail_over(self) -> Step:
        return steps.FailOver(self._region(), self._region(), *self._killing_runs())

    def _fail_back(self) -> Step:
        return steps.FailBack(self._region(), *self._killing_runs())

    def _killing_runs(self) -> tuple[int, bool]:
        if self._killing and self._chance.random() < 0.25:
            return self._chance.randint(1, 40), self._chance.random() < 0.5
        return 0, False
