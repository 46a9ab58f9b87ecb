"""Many scenarios: each once or for a time, kept as soon as it is over, resumed, and never called kept when it failed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.child_processes import ProcessFailed
from chaos.scenarios.campaign import Campaign, Run, read_found
from chaos.scenarios.places import NotRun
from chaos.scenarios.result import Result
from chaos.scenarios.scenario import Scenario
from chaos.scenarios.scenario_file import find_scenario
from replicator.domain.errors import InvalidConfig
from tests.commands import command

ONE, TWO = find_scenario("partition"), find_scenario("resets")


IN_TIME = [("resets", 3), ("partition", 3), ("partition", 4), ("resets", 4), ("resets", 5)]
"""What is run in 45 seconds from seed 3 on."""


class Runs:
    """Counts what is run, each ten seconds long, and lets it come to what `comes` says."""

    def __init__(self, comes: Callable[[Scenario, int], Result | NotRun] = lambda s, n: NotRun(s, n, "no")) -> None:
        self.now = 0.0
        self.ran: list[tuple[str, int]] = []
        self._comes = comes

    def __call__(self, scenario: Scenario, seed: int) -> Result | NotRun:
        self.now += 10.0
        self.ran.append((scenario.name, seed))
        return self._comes(scenario, seed)


def kept(scenario: Scenario, seed: int) -> Result:
    result = Result(scenario, seed, ("us-east-1", "eu-west-1"), acknowledged=5, converge_seconds=1.0)
    for name in result.verdict.findings:
        result.verdict.look(name)
    return result


def campaign(runs: Runs, seconds: float = 0.0, file: Path | None = None) -> Campaign:
    return Campaign([ONE, TWO], 3, seconds, file, clock=lambda: runs.now)


def finish(campaign: Campaign, run: Run) -> None:
    for _ in campaign.run(run):
        pass


def test_without_a_time_every_scenario_is_run_once() -> None:
    runs = Runs(kept)
    done = campaign(runs)
    finish(done, runs)
    assert runs.ran == [("partition", 3), ("resets", 3)]
    assert done.kept
    assert done.summary() == "2 of 2 kept, 0 not, 0 not run; 10 events acknowledged in 0.3 min"


def test_with_a_time_further_seeds_are_run_until_it_is_over() -> None:
    runs = Runs(kept)
    finish(campaign(runs, seconds=45.0), runs)
    assert runs.ran == IN_TIME


def test_every_seed_has_an_order_of_its_own_so_that_a_short_time_is_not_always_that_of_the_same() -> None:
    first = set()
    for seed in range(8):
        runs = Runs(kept)
        finish(Campaign([ONE, TWO], seed, 5.0, clock=lambda runs=runs: runs.now), runs)  # type: ignore[misc]
        first.add(runs.ran[0][0])
    assert first == {"partition", "resets"}


def test_where_nothing_can_be_run_no_time_is_spent_on_it_and_nothing_is_kept() -> None:
    runs = Runs()
    done = campaign(runs, seconds=1_000.0)
    finish(done, runs)
    assert len(runs.ran) == 2
    assert not done.kept


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ProcessFailed("the replicator ended by itself"), "the replicator ended by itself"),
        (KeyError("us-east-1"), r"KeyError at test_campaign.py:\d+: 'us-east-1'"),
    ],
)
def test_a_scenario_that_fails_to_run_is_broken_and_the_next_one_is_run(error: Exception, says: str) -> None:
    def comes(scenario: Scenario, seed: int) -> Result:
        if scenario is ONE:
            raise error
        return kept(scenario, seed)

    runs = Runs(comes)
    done = campaign(runs)
    finish(done, runs)
    by_name = {each["scenario"]: each for each in done.found}
    assert (by_name["partition"]["kept"], by_name["resets"]["kept"]) == (False, True)
    assert re.fullmatch(says, by_name["partition"]["error"])
    assert not done.kept


def test_a_setting_that_is_wrong_ends_it() -> None:
    def comes(scenario: Scenario, seed: int) -> Result:
        raise InvalidConfig("nothing answers there")

    with pytest.raises(InvalidConfig):
        finish(campaign(Runs(comes)), Runs(comes))


def test_what_was_interrupted_goes_on_where_it_was(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    runs = Runs(kept)
    first = campaign(runs, seconds=45.0, file=file)
    for number, _ in enumerate(first.run(runs), 1):
        if number == 3:
            break  # Ctrl-C
    assert len(json.loads(file.read_text())) == 3
    second = campaign(runs, seconds=45.0, file=file)
    assert second.resume() == 3
    finish(second, runs)
    assert runs.ran == IN_TIME
    assert len(json.loads(file.read_text())) == 5


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"scenario": "x"}]', "\ud800"])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "out.json"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InvalidConfig, match=r"out\.json .*name a file that `chaos run --json` wrote"):
        read_found(file)


def test_another_file_of_the_same_name_and_another_endpoint_are_run_all_the_same(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    runs = Runs(kept)
    finish(Campaign([ONE], 3, 0.0, file, ["a/partition.yaml"], clock=lambda: runs.now), runs)
    for given, endpoints in (("b/partition.yaml", []), ("a/partition.yaml", ["http://h:1"])):
        again = Campaign([ONE], 3, 0.0, file, [given], endpoints, clock=lambda: runs.now)
        again.resume()
        finish(again, runs)
    assert len(runs.ran) == 3
    same = Campaign([ONE], 3, 0.0, file, ["a/partition.yaml"], clock=lambda: runs.now)
    same.resume()
    finish(same, runs)
    assert len(runs.ran) == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"series": {}}, {"promises": []}, {"timeline": [{}]}, {"endpoints": [1]}, {"description": 5}, {"calls": 7},
        {"converge_seconds": "x"}, {"regions": None},
    ],
)  # fmt: skip
def test_results_of_another_shape_are_refused_by_one_error(tmp_path: Path, changed: dict[str, object]) -> None:
    whole = json.loads(json.dumps(kept(ONE, 1).as_json()))
    file, page = tmp_path / "out.json", tmp_path / "page.html"
    file.write_text(json.dumps([whole | changed]))
    done = command("chaos", "report", str(file), "--html", str(page))
    assert (done.returncode != 0, page.exists()) == (True, False)
    assert "does not hold what this version's `chaos run --json` writes" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["run", "nosuch"], "there is no scenario 'nosuch'"),
        (["run", "freeze", "--resume"], "--resume needs the file of the earlier runs; name it with --json FILE"),
        (["run", "freeze", "--endpoint", "4566"], "--endpoint '4566' is not of the form"),
        (["run", "freeze", "--html", "/no/such/page.html"], "there is no directory /no/such"),
        (["run", "freeze", "--json", "/tmp"], "--json /tmp is a directory; name a file in it"),
        (["report", "/no/such.json", "--html", "page.html"], "/no/such.json cannot be read"),
    ],
)
def test_what_the_command_cannot_do_is_refused_before_anything_runs(line: list[str], says: str) -> None:
    done = command("chaos", *line)
    assert done.returncode != 0
    assert says in " ".join(done.stderr.split())
