"""Context of every row: the number of rounds, the callback for progress, and regions to work in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.measure import ROUNDS, Pair, Row, Steps, Task, compare
from chaos.world.world import World, WorldOptions
from replicator.runtime.settings import Settings

EAST, WEST = "us-east-1", "eu-west-1"


@dataclass(frozen=True, slots=True)
class Bench:
    """Run of the benchmarks."""

    rounds: int = ROUNDS
    steps: Steps = lambda *_: None

    @contextmanager
    def regions(self, *names: str) -> Iterator[Settings]:
        """Start emulators with empty tables, stopped when the block ends: no row works on another's data. Yields the
        settings of the first, with the others as its peers."""
        self.steps("starting regions", 0, 1)
        with World(names, options=WorldOptions(workers=False, read_timeout=60.0)) as world:
            self.steps("starting regions", 1, 1)
            yield world.settings(names[0])

    def compare(
        self,
        task: Task,
        ours: Callable[[], object],
        theirs: Callable[[], object],
        events: int,
        *,
        theirs_events: int | None = None,
        children: bool = False,
        count: Pair | None = None,
        note: str = "",
    ) -> Row:
        """Compare as measure.compare, with this run's rounds."""
        return compare(
            task,
            ours,
            theirs,
            events,
            theirs_events=theirs_events,
            rounds=self.rounds,
            steps=self.steps,
            children=children,
            count=count,
            note=note,
        )
