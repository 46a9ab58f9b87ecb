"""Every planted bug is found, and for the reason that it is planted for."""

from __future__ import annotations

import pytest

from chaos.checker.verdict import PROMISES
from chaos.simulator.environment import Options
from chaos.simulator.judgement import SEEN
from chaos.simulator.mutants import MUTANTS, planted
from chaos.simulator.run_steps import run_seed
from replicator.domain.errors import InvalidConfig


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_bug_is_found(name: str) -> None:
    mutant = MUTANTS[name]
    assert mutant.breaks <= PROMISES.keys() | SEEN.keys()
    broken: set[str] = set()
    with planted(name):
        for seed in mutant.seeds:
            broken = set(run_seed(seed, 1000, Options()).broken)
            if broken:
                break
    assert broken & mutant.breaks, f"{name} broke {sorted(broken)} in seeds {mutant.seeds}, not {sorted(mutant.breaks)}"


@pytest.mark.parametrize("seed", sorted({mutant.seeds[0] for mutant in MUTANTS.values()}))
def test_what_finds_a_planted_bug_finds_nothing_without_it(seed: int) -> None:
    outcome = run_seed(seed, 1000, Options())
    assert (dict(outcome.broken), list(outcome.examples)) == ({}, [])


def test_what_was_planted_is_gone_afterwards() -> None:
    before = run_seed(2, 300, Options()).trace
    for name in MUTANTS:
        with planted(name):
            pass
    assert run_seed(2, 300, Options()).trace == before


def test_an_unknown_bug_is_refused_before_anything_is_changed() -> None:
    with pytest.raises(InvalidConfig, match="'worms' is unknown"):
        planted("worms")
