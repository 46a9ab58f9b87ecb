"""The drill's heartbeat: waits, while workers are killed now and then, started again, and nobody fails unseen."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

from chaos.drills.desk import Desk
from chaos.drills.result import Fault
from chaos.world.processes import Process
from chaos.world.world import World


class Supervisor:
    """Keeps a world's workers alive. `kills` is how many of them it is to `kill -9` on the way; `clock` is in seconds."""

    def __init__(
        self,
        world: World,
        desks: Sequence[Desk],
        kills: int,
        chance: random.Random,
        faults: list[Fault],
        clock: Callable[[], float],
        beat: Callable[[], None],
    ) -> None:
        self._world = world
        self._desks = desks
        self._random = chance
        self._faults = faults
        self._clock = clock
        self._beat = beat
        self._next_kill = 0.0
        self._killed: set[str] = set()
        self.kills_left = kills

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition`. Raises what a desk raised, and ProcessFailed for a worker that ended by itself."""
        while True:
            for desk in self._desks:
                if desk.error is not None:
                    raise desk.error
            self._kill_one()
            self.keep_workers()
            self._beat()
            if condition():
                return
            time.sleep(0.05)

    def _kill_one(self) -> None:
        if not self.kills_left or self._clock() < self._next_kill:
            return
        alive = [p for region in self._world.regions.values() for p in region.workers if p.running and not p.frozen]
        if alive:
            target: Process = self._random.choice(alive)
            self._killed.add(target.name)
            target.kill()
            self._faults.append(Fault("kill -9", target.name, self._clock(), self._clock()))
            self.kills_left -= 1
        self._next_kill = self._clock() + self._random.uniform(0.2, 1.6)

    def keep_workers(self) -> None:
        """Start again what was killed. What ended by itself is an error."""
        self._world.keep_workers(self._killed)
