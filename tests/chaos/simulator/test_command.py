"""`chaos simulate`, as it is typed."""

from __future__ import annotations

import json
import multiprocessing
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaos.cli.simulate import _tell
from chaos.simulator import replay as replaying
from chaos.simulator.mutants import MUTANTS
from chaos.simulator.run_steps import Outcome
from chaos.simulator.seeds import Campaign
from tests.commands import command
from tests.processes import children, started, still_alive, wait_until


def test_seeds_that_keep_every_promise_are_summed_up(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    answer = command("chaos", "simulate", "--seeds", "4", "--steps", "150", "--seed", "2", "--json", str(file))
    assert answer.returncode == 0, answer.stderr
    told = json.loads(file.read_text())
    assert (told["seeds"], told["steps"], told["broken"]) == (4, 600, [])
    for row in ("seeds", "simulated time", "calls", "CPU", "promises"):
        assert row in answer.stdout
    assert f"{told['events']:,}, copied {told['copies']:,} times" in answer.stdout


def test_a_broken_promise_is_told_in_few_steps_and_the_command_it_names_tells_the_same(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    answer = command("chaos", "simulate", "--steps", "400", "--jobs", "1", "--plant", "deaf-clock", "--json", str(file))
    assert answer.returncode == 1
    told = json.loads(file.read_text())["replay"]
    assert told["promise"] in ("lane_order", "causal_order")
    assert f"seed {told['seed']} broke:" in answer.stdout
    for each in told["steps"]:
        assert each["step"] in answer.stdout
    assert answer.stdout.endswith(f"again: {told['again']}\n")
    again = command(*told["again"].split(), PYTHONHASHSEED="7")
    assert again.returncode == 1
    begin = f"seed {told['seed']} broke:"
    assert again.stdout[again.stdout.index(begin) :] == answer.stdout[answer.stdout.index(begin) :]


def test_a_promise_that_nothing_was_looked_at_for_is_named_and_not_called_kept(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    answer = command("chaos", "simulate", "--seeds", "1", "--steps", "1", "--jobs", "1", "--json", str(file))
    assert answer.returncode == 1
    told = json.loads(file.read_text())
    assert told["broken"] == []
    assert told["not_looked_at"] == ["read_your_writes", "monotonic_reads", "reads_explained"]
    assert told["not_simulated"] == ["claims"]
    assert (told["looked"]["lost"] > 0, told["looked"]["reads_explained"], "claims" in told["looked"]) == (True, 0, False)
    assert "read_your_writes, monotonic_reads, reads_explained" in answer.stdout
    assert "kept" not in answer.stdout


def test_a_plan_that_cannot_be_shrunk_is_told_and_hides_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(replaying, "replay", fails_to_shrink)
    worst = Outcome(7, 100, {"lost": 2}, ["lost: it is not there"], "")
    told = _tell(Campaign(seeds=1, steps=100), worst)
    assert told["seed"] == 7
    assert "no shrinking today" in told["not_shrunk"]
    shown = capsys.readouterr().out
    assert "lost, 2 times" in shown
    assert "it is not there" in shown
    assert "its plan is not shrunk: " in shown
    assert not multiprocessing.active_children()


def fails_to_shrink(*_: object) -> object:
    raise ValueError("no shrinking today")


def test_the_planted_bugs_are_listed() -> None:
    answer = command("chaos", "simulate", "--plant", "list")
    assert answer.returncode == 0
    for mutant in MUTANTS.values():
        assert f"│ {mutant.name} " in answer.stdout
        assert mutant.does in answer.stdout


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--seeds", "0"), "--seeds 0: give 1 to"),
        (("--steps", "0"), "--steps 0: give 1 to 100,000"),
        (("--seed", "-1"), "--seed -1: give 0 to"),
        (("--regions", "10"), "--regions 10: give 2 to 9"),
        (("--streams", "0"), "--streams 0: give 1 to 1,000,000"),
        (("--jobs", "0"), "--jobs 0: give 1 to 64"),
        (("--plant", "worms"), "--plant 'worms' is unknown; choose one that `chaos simulate --plant list` names"),
        (("--grow", "--plant", "deaf-clock"), "--plant deaf-clock has no effect; leave one out"),
        (("--json", "/no/such/out.json"), "--json /no/such/out.json: there is no directory /no/such"),
        (("--json", "/"), "--json / is a directory; name a file in it"),
    ],
)
def test_a_bad_option_is_named_with_the_remedy(options: tuple[str, ...], named: str) -> None:
    answer = command("chaos", "simulate", *options)
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: ")
    assert named in answer.stderr
    assert answer.stdout == ""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody knows a process's children")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_nothing_is_left_running_when_it_is_interrupted(number: signal.Signals, code: int) -> None:
    main = [sys.executable, "-c", "from chaos.cli.app import main; main()", "simulate", "--seeds", "100000"]
    with started(main, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_until(lambda: len(children(process.pid)) == 3, "two workers, and one that keeps their semaphores")
        seen = process.family()
        process.send(number)
        assert process.ended()[0] == code
        assert not still_alive(seen)
