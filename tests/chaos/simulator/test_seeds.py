"""Seeds of the simulator: each is the same run every time, and keeps every promise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from chaos.simulator.environment import Options
from chaos.simulator.run_steps import run_seed

SEEDS = range(1, 9)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_keeps_every_promise(seed: int) -> None:
    outcome = run_seed(seed, 500, Options())
    assert (dict(outcome.broken), list(outcome.examples)) == ({}, [])
    assert outcome.events > 50
    assert outcome.copies > 50


def test_a_seed_is_the_same_run_in_another_process_whatever_its_hashes() -> None:
    imports = "from chaos.simulator.run_steps import run_seed; from chaos.simulator.environment import Options"
    code = f"{imports}; print(run_seed(5, 400, Options()).trace)"
    traces = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert traces == {run_seed(5, 400, Options()).trace}
