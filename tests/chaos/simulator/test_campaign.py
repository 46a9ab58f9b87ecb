"""A campaign: seeds in processes, whatever becomes of these; and a broken seed told in the fewest steps."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from chaos.checker.verdict import PROMISES
from chaos.simulator import run_steps
from chaos.simulator import seeds as campaigns
from chaos.simulator.crash_points import Killed
from chaos.simulator.environment import Options
from chaos.simulator.judgement import SEEN
from chaos.simulator.mutants import planted
from chaos.simulator.replay import replay, telling
from chaos.simulator.run_steps import Outcome, run_seed
from chaos.simulator.seeds import DIED, Campaign, Tally, run_batch, run_campaign, watched
from replicator.domain.errors import InvalidConfig


def test_a_campaign_adds_up_to_what_its_seeds_are_one_by_one() -> None:
    told: list[int] = []
    tally = run_campaign(Campaign(seeds=9, steps=120, first=4), lambda done, broken: told.append(done))
    alone = [run_seed(seed, 120, Options()) for seed in range(4, 13)]
    assert tally.kept
    assert (tally.seeds, tally.steps) == (9, 9 * 120)
    assert tally.events == sum(each.events for each in alone) > 0
    assert tally.copies == sum(each.copies for each in alone)
    assert tally.simulated == pytest.approx(sum(each.simulated for each in alone))
    assert dict(tally.calls)["ok"] == sum(each.calls["ok"] for each in alone)
    assert told[-1] == 9
    assert not multiprocessing.active_children()


def test_with_a_planted_bug_it_ends_when_that_is_found() -> None:
    tally = run_campaign(Campaign(seeds=5_000, steps=400, plant="deaf-clock", jobs=1))
    assert tally.broken[0].broken.keys() & {"lane_order", "causal_order"}
    assert tally.seeds < 100


MARKS = "MERIDIAN_TEST_MARKS"


def deadly(campaign: Campaign, seeds: range) -> object:
    """As `run_batch`, by a process that seed 2 kills whenever it is run, and seed 3 once."""
    for seed in seeds:
        mark = Path(os.environ[MARKS]) / f"{seed}"
        if seed == 2 or (seed == 3 and not mark.exists()):
            mark.touch()
            os._exit(9)
    return run_batch(campaign, seeds)


def test_a_process_that_dies_takes_no_other_seed_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARKS, str(tmp_path))
    monkeypatch.setattr(campaigns, "run_batch", deadly)
    tally = run_campaign(Campaign(seeds=4, steps=50, jobs=1))
    assert tally.seeds == 4
    assert [(each.seed, dict(each.broken)) for each in tally.broken] == [(2, {DIED: 1})]
    assert tally.notes == [f"a process died while it ran seed {seed}; it was run again" for seed in (2, 3)]
    assert not multiprocessing.active_children()


def failing(campaign: Campaign, seeds: range) -> object:
    """As `run_batch`, which fails itself for seed 2."""
    if 2 in seeds:
        raise RuntimeError("seed 2 cannot be run")
    return run_batch(campaign, seeds)


def test_a_task_that_fails_ends_no_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(campaigns, "run_batch", failing)
    tally = run_campaign(Campaign(seeds=4, steps=50, jobs=1))
    assert tally.seeds == 4
    assert [(each.seed, dict(each.broken)) for each in tally.broken] == [(2, {"unforeseen": 1})]
    assert "seed 2 cannot be run" in tally.broken[0].examples[0]
    assert tally.notes == ["a process failed with RuntimeError: seed 2 cannot be run while it ran seed 2; it was run again"]


def test_a_seed_that_fails_or_never_ends_is_broken_and_the_next_one_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(seed: int, steps: int, options: Options) -> Outcome:
        if seed == 1:
            raise SystemExit("out of the middle of it")
        while seed == 2:
            with suppress(Exception):
                time.sleep(0.01)
        return Outcome(seed, steps, {}, [], "")

    monkeypatch.setattr(campaigns, "run_seed", run)
    monkeypatch.setattr(Campaign, "patience", 1.0)
    found = run_batch(Campaign(seeds=3, steps=5), range(1, 4)).outcomes
    assert [dict(each.broken) for each in found] == [{"unforeseen": 1}, {"hung": 1}, {}]
    assert "out of the middle of it" in found[0].examples[0]
    assert "not finished after 1 s" in found[1].examples[0]


def test_what_ends_in_time_is_left_alone_afterwards() -> None:
    with watched(0.05):
        pass
    time.sleep(0.1)
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


@pytest.mark.parametrize("error", [RuntimeError("a judge at a loss"), Killed()])
def test_a_judge_that_fails_is_that_seeds_unforeseen(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def judge(world: object) -> object:
        raise error

    monkeypatch.setattr(run_steps, "judge", judge)
    outcome = run_seed(1, 50, Options())
    assert dict(outcome.broken) == {"unforeseen": 1}
    assert str(error) in outcome.examples[0]
    assert outcome.steps == 50


def test_a_campaign_names_what_it_did_not_look_at() -> None:
    tally = Tally()
    tally.add(Outcome(1, 5, {}, [], "", looked=dict.fromkeys([*PROMISES, *SEEN], 1) | {"torn": 0, "claims": 0}))
    assert (tally.untested, tally.kept) == (["torn"], False)
    tally.add(Outcome(2, 5, {}, [], "", looked={"torn": 3}))
    assert (tally.untested, tally.kept, tally.as_json()["looked"]["torn"]) == ([], True, 3)


def test_an_interrupted_campaign_leaves_no_process() -> None:
    def interrupt(done: int, broken: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_campaign(Campaign(seeds=1_000, steps=200), interrupt)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"seeds": 0}, "--seeds 0: give 1 to"),
        ({"steps": -1}, "--steps -1: give 1 to"),
        ({"first": -2}, "--seed -2: give 0 to"),
        ({"jobs": 65}, "--jobs 65: give 1 to 64"),
        ({"plant": "worms"}, "--plant 'worms' is unknown"),
    ],
)
def test_what_cannot_be_run_is_named_with_what_can(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidConfig, match=named):
        Campaign(**wrong)  # type: ignore[arg-type]


def test_a_broken_seed_is_told_in_the_fewest_steps_the_same_every_time() -> None:
    with planted("deaf-clock"):
        outcome = run_seed(1, 1000, Options())
    told = [replay(outcome, 1000, Options(), "deaf-clock") for _ in range(2)]
    assert told[0] == told[1]
    shrunk = told[0]
    assert shrunk.promise in outcome.broken
    assert shrunk.promise in shrunk.outcome.broken
    assert 1 < len(shrunk.steps) < 10
    assert any("appends by process" in step and result.startswith("ok: ") for step, result in shrunk.steps)


def test_of_broken_promises_the_cause_is_told_rather_than_what_follows() -> None:
    assert telling(["lost", "views_identical", "gap"]) == "gap"
    assert telling(["views_identical", "regions_identical", "lost"]) == "lost"
    assert telling(["views_identical", "views_complete"]) == "views_complete"
    assert telling(["copies"]) == "copies"
