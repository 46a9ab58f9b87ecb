"""Seeds of the simulator: each is the same run every time, keeps every promise, and finds what is planted."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from chaos.simulator.running import run_seed
from chaos.simulator.world import Options
from replicator import copier, worker

SEEDS = range(1, 9)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_keeps_every_promise(seed: int) -> None:
    outcome = run_seed(seed, 500, Options())
    assert (dict(outcome.broken), list(outcome.examples)) == ({}, [])
    assert outcome.events > 50
    assert outcome.copies > 50


def test_a_seed_is_the_same_run_in_another_process_whatever_its_hashes() -> None:
    imports = "from chaos.simulator.running import run_seed; from chaos.simulator.world import Options"
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


def found_within(seeds: range) -> bool:
    return any(run_seed(seed, 1000, Options()).broken for seed in seeds)


def test_a_replicator_that_drops_an_event_now_and_then_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = worker.read_records

    def some(records: object, region: str | None = None) -> object:
        events, refused = whole(records, region)  # type: ignore[arg-type]
        return [event for event in events if event.digest[0] > 40], refused

    monkeypatch.setattr(worker, "read_records", some)
    assert found_within(range(1, 13))


def test_a_peer_whose_heads_are_remembered_after_it_was_emptied_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copier.Copier, "_know_peer", lambda self: None)
    assert found_within(range(1, 41))
