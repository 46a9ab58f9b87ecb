"""Steps that make no sense together, or each by itself, are refused when a scenario is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.scenarios.scenario import Scenario
from chaos.scenarios.scenario_file import load_scenario
from replicator.domain.errors import InvalidConfig

TOP = "title: A title\ndescription: What happens\nmethod:\n"


def read(tmp_path: Path, *steps: str, more: str = "") -> Scenario:
    file = tmp_path / "mine.yaml"
    file.write_text(TOP + "".join(f"  - {{{step}}}\n" for step in steps) + more)
    return load_scenario(file)


FREEZE = "name: freeze, arguments: {region: first}"
CLOCK = "name: clock, arguments: {region: first, seconds: 5}"
STALL = "name: freeze-worker, arguments: {region: first, worker: projector}"
KILL = "name: kill, arguments: {region: first}"
SEEDED = "name: fail, arguments: {rules: [{operation: PutItem, meridian: {seed: 1}}]}"


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        (FREEZE, FREEZE, "the emulator of the first region, the projector of the first region"),
        (CLOCK, CLOCK.replace("5", "-5"), "the clock of the first region"),
        (STALL, STALL, "the projector of the first region"),
        (STALL, FREEZE, "the projector of the first region"),
        (KILL, FREEZE, "the emulator of the first region"),
        (SEEDED, SEEDED, "rule "),
    ],
)
def test_two_that_would_undo_each_other_are_refused_and_both_named(tmp_path: Path, one: str, other: str, what: str) -> None:
    first, second = f"{one}, at: 2, for: 5", f"{other}, at: 6, for: 5"
    for steps in ((first, second), (second, first)):
        with pytest.raises(InvalidConfig) as raised:
            read(tmp_path, *steps)
        assert "method[0] (" in str(raised.value)
        assert "method[1] (" in str(raised.value)
        assert what in str(raised.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (f"{FREEZE}, at: 2, for: 4", f"{FREEZE}, at: 6, for: 4"),
        (f"{FREEZE}, at: 2, for: 5", f"{FREEZE.replace('first', 'second')}, at: 3, for: 5"),
        (f"{STALL}, at: 2, for: 5", f"{STALL.replace('projector', 'replicator')}, at: 3, for: 5"),
        ("name: hole, at: 2, for: 5", "name: hole, at: 3, for: 5"),
        (f"{SEEDED}, at: 2, for: 5", f"{SEEDED.replace('seed: 1', 'seed: 2')}, at: 3, for: 5"),
        (f"{STALL}, at: 2, for: 5", "name: kill-worker, arguments: {region: first, worker: projector}, at: 3"),
    ],
)
def test_two_that_do_not_undo_each_other_are_read(tmp_path: Path, one: str, other: str) -> None:
    assert len(read(tmp_path, one, other).method) == 2


def test_what_is_restored_was_backed_up_earlier(tmp_path: Path) -> None:
    restore = "name: restore, arguments: {region: first}, at: 5, for: 2"
    backup = "name: backup, arguments: {region: first}"
    assert len(read(tmp_path, restore, f"{backup}, at: 4").method) == 2
    for others in ([], [f"{backup}, at: 6"], [f"{backup.replace('first', 'second')}, at: 1"]):
        with pytest.raises(
            InvalidConfig, match=r"\(restore at 5 s\) has nothing to restore from; add an earlier step `backup` of fir"
        ):
            read(tmp_path, restore, *others)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("name: hole, arguments: {from: first, to: first}, for: 1", "no link is from first to first"),
        ("name: hole, arguments: {from: first, both-ways: 1}, for: 1", "both-ways is 1; give true or false"),
        ("name: slow, arguments: {latency: true}, for: 1", "latency is True; give a number"),
        ("name: slow, arguments: {latency: 0.0009}, for: 1", "latency is 0.0009, which has no noticeable effect"),
        ("name: slow, arguments: {latency: 1, jitter: 0.0001}, for: 1", "jitter is 0.0001, which has no noticeable effect"),
        ("name: slow, arguments: {loss: 0.0001}, for: 1", "loss is 0.0001, which has no noticeable effect; give 0.001"),
        ("name: slow, arguments: {loss: [1]}, for: 1", "loss is [1]; give a number"),
        ("name: slow, arguments: {bandwidth: 0.5}, for: 1", "bandwidth is 0.5, which has no noticeable effect"),
        (
            "name: slow, arguments: {bandwidth: 2000000000}, for: 1",
            "bandwidth is 2000000000, which has no noticeable effect",
        ),
        (
            "name: clock, arguments: {region: first, seconds: 0.0005}, for: 1",
            "seconds is 0.0005, which has no noticeable effect",
        ),
        ("name: clock, arguments: {region: first, seconds: -0.0005}, for: 1", "seconds is -0.0005, which has no noticeable"),
        ("name: clock, arguments: {region: first, seconds: true}, for: 1", "seconds is True; give a number other than 0"),
        ("name: fail, arguments: {rules: [{probability: 0}]}, for: 1", "probability is 0.0, which has no noticeable effect"),
        ("name: failover, arguments: {region: first, to: first}", "cannot go from it to itself"),
        ("name: switchover, arguments: {region: second, to: second}", "cannot go from it to itself"),
    ],
)
def test_what_nothing_would_notice_is_refused(tmp_path: Path, step: str, says: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        read(tmp_path, step)
    assert says in str(raised.value)
    assert "method[0]" in str(raised.value)


def test_so_many_may_be_gone_as_the_file_says(tmp_path: Path) -> None:
    step = f"{KILL}, at: 1, for: 2"
    assert read(tmp_path, step).gone == 0
    assert read(tmp_path, step, more="expect: {gone: 7}\n").gone == 7
    for wrong in ("-1", "1.5", "true", "many"):
        with pytest.raises(InvalidConfig, match=r"expect\.gone is"):
            read(tmp_path, step, more=f"expect: {{gone: {wrong}}}\n")


@pytest.mark.parametrize("deep", ["[" * 5_000, "[" * 5_000 + "]" * 5_000, "{a: " * 5_000 + "1" + "}" * 5_000])
def test_a_file_that_is_nested_too_deeply_is_one_clear_error(tmp_path: Path, deep: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"title: {deep}\n")
    with pytest.raises(InvalidConfig, match=r"mine\.yaml is nested too deeply"):
        load_scenario(file)
