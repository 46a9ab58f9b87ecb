"""The benchmarks as a command: what they declare, how they judge, what they write. No figure is asserted."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import folding
from benchmarks.bench import Bench
from benchmarks.counting import item_bytes, written
from benchmarks.growth.drawing import Curve, Panel, Plot
from benchmarks.measure import Goal, Of, Pair, Row, Task, at_least, at_most
from benchmarks.working import MadeUp
from replicator.domain.errors import InvalidConfig, RegionUnavailable
from tests.processes import HANGING_SECONDS, started, still_alive
from tests.regions import CLEAN

ROOT = Path(__file__).parents[1]
GOALS: dict[str, dict[str, list[str]]] = {
    "paging": {"read a page of the stream, 1,000 records": []},
    "copying": {
        "copy": ["CPU <= 0.45x", "rate >= 1.3x", "rate >= 12x"],
        "copy, a peer 20 ms away": ["CPU <= 0.45x", "rate >= 1.3x", "rate >= 12x"],
    },
    "appending": {
        "append one event, head known": ["CPU <= 1x", "count <= 1x"],
        "append 98 events in one transaction": ["CPU <= 0.6x"],
    },
    "reading": {"read a lane of 10,000": ["CPU <= 0.5x"]},
    "folding": {
        "fold LWW + counter + set, events at hand": ["rate >= 6x"],
        "fold LWW + counter + set, from stored items": [],
    },
    "projecting": {
        "project into DynamoDB, 10 events a row": ["rate >= 6x"],
        "project into PostgreSQL, 10 events a row": ["rate >= 6x"],
    },
    "verifying": {"verify two equal regions of 20,000 events": ["count <= 0.2x"]},
    "capacity": {
        "write capacity of a copied 1 KB event": ["count <= 1.02x"],
    },
    "memory": {"memory of the worker, 300,000 events": ["count <= 1.1x"]},
    "starting": {"cold start of the replicator, two peers": ["CPU <= 1.3x"]},
}
ENVIRONMENT = {**CLEAN, "COLUMNS": "250"}


@pytest.fixture(autouse=True)
def _logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command sets this process's logging up, for good, unless it is told how: here other tests come after it."""
    monkeypatch.setenv("MERIDIAN_LOG", "critical")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


def test_every_row_and_its_goals_are_declared() -> None:
    declared: dict[str, dict[str, list[str]]] = {}
    for name, module in command.FAMILIES.items():
        for task in module.TASKS:
            declared.setdefault(name, {}).setdefault(task.work, []).extend(str(goal) for goal in task.goals)
    assert declared == GOALS


@pytest.mark.emulator
def test_rows_that_are_chosen_are_measured_and_written_as_json(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    line = [sys.executable, "-m", "benchmarks", "--only", "projecting", "--rounds", "1", "--json", str(file)]
    done = subprocess.run(line, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=HANGING_SECONDS)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert set(found) == {"machine", "rounds", "seconds", "rows"}
    assert found["rounds"] == 1
    assert [row["work"] for row in found["rows"]] == list(GOALS["projecting"])
    for row in found["rows"]:
        assert row["file"] == "projecting"
        for pair in (row["cpu"], row["rate"]):
            assert pair["ratio"] == pytest.approx(pair["ours"] / pair["theirs"])
        assert row["count"] is None
        assert [goal["met"] for goal in row["goals"]] == [row["rate"]["ratio"] >= 6]
        assert row["work"].split(",")[0] in done.stdout


@pytest.mark.emulator
@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_ctrl_c_leaves_nothing_running() -> None:
    line = [sys.executable, "-m", "benchmarks", "--only", "appending"]
    with started(line, ENVIRONMENT, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as running:
        assert running.process.stderr is not None
        assert any("append one" in said for said in running.process.stderr), "it ended by itself"
        seen = running.family()
        assert len(seen) > 1
        running.send(signal.SIGINT)
        assert running.ended()[0] == 130
        assert not still_alive(seen)


def fake(monkeypatch: pytest.MonkeyPatch, *rows: Row) -> None:
    family = SimpleNamespace(TASKS=tuple(row.task for row in rows), rows=lambda bench: iter(rows))
    monkeypatch.setattr(command, "FAMILIES", {"fake": family})


SLOW = Row(Task("walk", "ride", (at_least(Of.RATE, 2.0),)), rate=Pair(1.0, 4.0))
QUICK = Row(Task("fly", "ride", (at_most(Of.CPU, 1.0),)), cpu=Pair(1.0, 4.0), note="with the wind")


def test_a_goal_that_is_missed_is_reported_and_fails_only_when_strict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake(monkeypatch, QUICK, SLOW)
    file, page = tmp_path / "figures.json", tmp_path / "table.md"
    lenient = CliRunner().invoke(command.app, ["--json", str(file), "--markdown", str(page)])
    assert lenient.exit_code == 0
    assert "fly: with the wind" in lenient.stdout
    assert [(row["work"], row["met"]) for row in json.loads(file.read_text())["rows"]] == [("fly", True), ("walk", False)]
    assert [line.split(" | ")[-1] for line in page.read_text().splitlines()[2:]] == ["yes |", "no |"]
    assert CliRunner().invoke(command.app, ["--strict"]).exit_code == 1
    fake(monkeypatch, QUICK)
    assert CliRunner().invoke(command.app, ["--strict"]).exit_code == 0


def test_a_row_that_cannot_be_measured_is_said_to_have_failed_and_takes_no_other_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(bench: object) -> Iterator[Row]:
        yield QUICK
        raise RegionUnavailable("it is gone")

    families = {
        "broken": SimpleNamespace(TASKS=(QUICK.task, SLOW.task), rows=broken),
        "whole": SimpleNamespace(TASKS=(QUICK.task,), rows=lambda bench: iter([QUICK])),
    }
    monkeypatch.setattr(command, "FAMILIES", families)
    file = tmp_path / "figures.json"
    result = CliRunner().invoke(command.app, ["--json", str(file)])
    found = [(row["file"], row["met"], row["failed"]) for row in json.loads(file.read_text())["rows"]]
    why = "RegionUnavailable: it is gone"
    assert found == [("broken", True, ""), ("broken", False, why), ("whole", True, "")]
    assert result.exit_code == 1
    assert f"walk failed: {why}" in result.stdout


def test_what_was_not_measured_is_no_goal_met() -> None:
    assert not Row(Task("walk", "ride", (at_most(Of.COUNT, 1.0),)), cpu=Pair(1.0, 1.0)).met


@pytest.mark.parametrize(
    ("goal", "text", "good", "bad"),
    [
        (at_most(Of.CPU, 0.45), "CPU <= 0.45x", 0.45, 0.46),
        (at_least(Of.RATE, 12), "rate >= 12x", 12.0, 11.9),
        (at_most(Of.COUNT, 0.02), "count <= 2%", 0.02, 0.03),
    ],
)
def test_a_goal_reads_as_it_judges(goal: Goal, text: str, good: float, bad: float) -> None:
    assert (str(goal), goal.met(good), goal.met(bad)) == (text, True, False)


@pytest.mark.parametrize("arguments", [["--only", "nothing"], ["--rounds", "0"], ["--json", "/nowhere/at/all.json"]])
def test_wrong_input_is_refused_before_anything_runs(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    fake(monkeypatch)
    assert isinstance(CliRunner().invoke(command.app, arguments).exception, InvalidConfig)


def test_a_missing_baseline_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "find_spec", lambda name: None)
    result = CliRunner().invoke(command.app, ["--only", "folding"])
    assert isinstance(result.exception, InvalidConfig)
    assert "pip install 'eventsourcing>=9.5,<9.6'" in str(result.exception)


def test_both_folds_end_with_the_same_state() -> None:
    pytest.importorskip("eventsourcing")
    assert [row.task for row in folding.rows(Bench(rounds=1))] == list(folding.TASKS)


def test_write_units_are_counted_as_dynamodb_does() -> None:
    def body(given: object) -> bytes:
        return json.dumps(given).encode()

    item = {"pk": {"S": "p"}, "digest": {"B": "AAAA"}, "version": {"N": "12"}}
    assert item_bytes(item) == 2 + 1 + 6 + 3 + 7 + 3
    large = {**item, "payload": {"S": "x" * 1024}}
    put = {"TableName": "t", "Item": large}
    insert = {"Statement": "INSERT INTO \"t\" VALUE {'pk': ?, 'payload': ?}", "Parameters": [item["pk"], {"S": "x" * 2048}]}
    assert written("PutItem", body(put)) == Counter(t=2)
    assert written("BatchWriteItem", body({"RequestItems": {"t": [{"PutRequest": {"Item": item}}] * 3}})) == Counter(t=3)
    assert written("TransactWriteItems", body({"TransactItems": [{"Put": put}]})) == Counter(t=4)
    assert written("BatchExecuteStatement", body({"Statements": [insert, insert]})) == Counter(t=6)
    assert written("ExecuteTransaction", body({"TransactStatements": [insert]})) == Counter(t=6)
    assert written("Query", body({"TableName": "t"})) == Counter()


def test_a_made_up_stream_knows_how_far_it_was_dealt_with() -> None:
    pages = iter([[{"n": 1}, {"n": 2}], [], [{"n": 3}]])
    reader = MadeUp(lambda: next(pages))
    (first,), nothing, (last,) = reader.poll(), reader.poll(), reader.poll()
    reader.commit(first)
    assert (reader.done, nothing, len(last.records)) == (2, [], 1)
    reader.commit(last)
    assert reader.done == 3


def test_a_plot_is_one_whole_file_and_says_its_figures() -> None:
    panel = Panel(
        "CPU <us>", [Curve("known", [(1, 20.0), (1000, 90.0)]), Curve("new", [(1, 300.0), (10, 400.0)])], steep=True
    )
    drawn = ElementTree.fromstring(Plot("size", "Size & cost", "bytes", (1, 10, 100, 1000), (panel,)).svg())
    assert "known, CPU <us>: from 20 to 90" in drawn.attrib["aria-label"]
    assert len(drawn.findall("{http://www.w3.org/2000/svg}circle")) == 4
