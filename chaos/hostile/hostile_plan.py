"""Plan of a run's inputs in order: the same for the same seed. Good ones are interleaved with hostile ones. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from chaos.hostile.hostile_calls import hostile_call
from chaos.hostile.kinds import API, DOORS, LAMBDA, STORE, STREAM, Hostile, mark
from chaos.hostile.requests import hostile_request
from chaos.hostile.stored import fork, hostile_item, hostile_record

_GOOD_EACH = 9
_FORK_EACH = 40
_WEIGHTS = {STORE: 30, STREAM: 30, LAMBDA: 25, API: 15}


@dataclass(frozen=True, slots=True)
class Good:
    """Good event, to be appended at this door of this region."""

    door: str
    region: str
    mark: str


def inputs(events: int, seed: int, regions: Sequence[str], ms: int) -> Iterator[Hostile | Good]:
    """Yield `events` hostile inputs, and behind every ninth of them a good one. `ms` is the time that stored events
    carry."""
    random = Random(seed)
    counts: Counter[str] = Counter()
    good = 0
    for number in range(events):
        door = random.choices(DOORS, [_WEIGHTS[each] for each in DOORS])[0]
        region, other = random.sample(list(regions), 2)
        which = counts[door]
        counts[door] += 1
        yield _hostile(random, number, door, region, other, ms, which)
        if number % _GOOD_EACH == 0:
            yield Good(DOORS[good % len(DOORS)], random.choice(regions), f"g{mark(good)[1:]}")
            good += 1


def _hostile(random: Random, number: int, door: str, region: str, other: str, ms: int, which: int) -> Hostile:
    if door == STORE:
        return hostile_call(random, number, region, which)
    if door == API:
        return hostile_request(random, number, region, which)
    if door == LAMBDA:
        return hostile_record(random, number, region, ms, which)
    if which % _FORK_EACH == _FORK_EACH - 1:
        return fork(number, region, other, ms)
    return hostile_item(random, number, region, other, ms, which)
