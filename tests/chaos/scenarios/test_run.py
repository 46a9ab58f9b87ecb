"""How a run goes, without a world: who is waited for, in which order steps begin and end, what is stopped after an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos.checker.history import History, Written
from chaos.checker.verdict import Verdict
from chaos.scenarios import runner
from chaos.scenarios.action import Action
from chaos.scenarios.load import Workload
from chaos.scenarios.outage import Outage
from chaos.scenarios.runner import Run
from chaos.scenarios.scenario import Scenario, Step
from chaos.scenarios.scenario_file import find_scenario

EAST, WEST = "us-east-1", "eu-west-1"


class Client:
    """A session that does nothing by itself. `hangs`: it never ends."""

    def __init__(self, home: str, hangs: bool = False) -> None:
        self.process, self.home, self.region = f"{home}-0", home, home
        self.hangs, self.done, self.stopped = hangs, False, False

    def finish(self) -> None:
        self.done = not self.hangs

    def stop(self, timeout: float) -> None:
        self.stopped = True


class Idle(Workload):
    """A load of clients that are there already, and do nothing by themselves."""

    def start(self) -> None:
        pass

    def judge(self, history: History, finals: Any) -> Verdict:
        return Verdict()


class Stage:
    """Time passes when somebody waits, a tenth of a second each time, and what `meanwhile` says happens."""

    def __init__(self, clients: list[Client], meanwhile: Callable[[], None] = lambda: None) -> None:
        self.regions = (EAST, WEST)
        self.now = self.began = 0.0
        self.history = History(lambda: self.now)
        self.sessions = clients
        self.world = SimpleNamespace(network=None)
        self.watch = SimpleNamespace(phase=lambda *_: None, progress=lambda *_: None, say=lambda _: None)
        self.workload = Idle(cast(Any, self), find_scenario("partition"), 1)
        self.outage = Outage(cast(Any, self), EAST, moves=True)
        self.lost: set[str] = set()
        self._meanwhile = meanwhile

    def until(self, condition: Callable[[], bool], seconds: float = float("inf")) -> bool:
        end = self.now + seconds
        while not condition():
            self.now += 0.1
            self._meanwhile()
            if self.now > end:
                return False
        return True

    def take_remarks(self) -> tuple[str, bool]:
        return "", True

    def writes(self, client: Client) -> None:
        call = self.history.invoke(client.process, client.region, "write", [], {})
        self.history.ok(call, [Written(f"{client.region}#thing#1", 1, "d", "h", "i")])


class Noted(Action):
    """Notes when it begins and ends, and may take long to begin."""

    def __init__(self, name: str, notes: list[tuple[str, str, float]], holds: str = "", takes: float = 0.0) -> None:
        super().__init__("first")
        self._name, self._notes, self._holds, self._takes = name, notes, holds, takes

    @property
    def holds(self) -> frozenset[str]:
        return frozenset(filter(None, [self._holds]))

    def start(self, stage: Any) -> None:
        self._notes.append((self._name, "begins", round(stage.now, 1)))
        stage.now += self._takes

    def stop(self, stage: Any) -> None:
        self._notes.append((self._name, "ends", round(stage.now, 1)))


def made(stage: Stage, scenario: Scenario | None = None) -> Run:
    return Run(scenario or find_scenario("partition"), 1, cast(Any, stage), {}, cast(Any, getattr(stage, "sampler", None)))


def test_who_is_not_answered_after_the_last_step_and_who_does_not_end_is_named() -> None:
    good, hanging = Client(EAST), Client(WEST, hangs=True)
    stage = Stage([good, hanging])
    stage._meanwhile = lambda: stage.writes(good)
    run = made(stage)
    run._finish()
    assert run.result.unanswered == [hanging.process]
    assert run.result.unfinished == [hanging.process]
    assert run.result.silent == [WEST]
    assert run.result.events[EAST] > 0
    assert not run.result.kept
    assert sum(WEST in why for why in run.result.why) == 3


def test_an_answer_before_the_last_step_was_over_is_none_and_one_after_it_is_waited_for() -> None:
    one, two = Client(EAST), Client(WEST)
    stage = Stage([one, two])
    run = made(stage, replace(find_scenario("partition"), seconds=0.1))
    stage.writes(one)
    stage.writes(two)
    run._timeline([(Step("hole", {}, 0.0, 1.0), Noted("hole", []))])
    assert run._unanswered() == sorted([one.process, two.process])
    over = stage.now

    def later() -> None:
        if stage.now > over + 5:
            stage.writes(one)
            stage.writes(two)

    stage._meanwhile = later
    run._finish()
    assert (run.result.unanswered, run.result.unfinished, run.result.silent) == ([], [], [])
    assert stage.now - over < runner._ANSWER_SECONDS


def test_a_region_whose_clients_call_elsewhere_need_not_acknowledge_anything() -> None:
    moved, other = Client(EAST), Client(WEST)
    moved.region = WEST
    stage = Stage([moved, other])

    def both() -> None:
        stage.writes(moved)
        stage.writes(other)

    stage._meanwhile = both
    run = made(stage)
    run._finish()
    assert (run.result.unanswered, run.result.silent, run.result.events[EAST]) == ([], [], 0)


def test_what_holds_the_same_begins_when_the_other_has_ended_however_late_that_is() -> None:
    notes: list[tuple[str, str, float]] = []
    steps: list[tuple[Step, Action]] = [
        (Step("failover", {}, 1.0), Noted("runbook", notes, takes=6.0)),
        (Step("freeze", {}, 2.0, 3.0), Noted("first", notes, "a region")),
        (Step("freeze", {}, 6.0, 1.0), Noted("second", notes, "a region")),
        (Step("hole", {}, 6.5, 1.0), Noted("other", notes)),
    ]
    stage = Stage([])
    made(stage, replace(find_scenario("partition"), seconds=1.0))._timeline(steps)
    assert [(name, what) for name, what, _ in notes] == [
        ("runbook", "begins"), ("first", "begins"), ("first", "ends"), ("second", "begins"), ("other", "begins"),
        ("second", "ends"), ("other", "ends"),
    ]  # fmt: skip
    at = {(name, what): when for name, what, when in notes}
    assert at["first", "ends"] - at["first", "begins"] >= 3.0
    assert at["second", "begins"] >= at["first", "ends"]


def test_a_step_that_waits_begins_after_those_before_it_and_lasts_until_what_it_waits_for() -> None:
    notes: list[tuple[str, str, float]] = []
    steps: list[tuple[Step, Action]] = [
        (Step("freeze", {}, 0.0, 1.0, when="loaded", until="enough"), Noted("freeze", notes)),
        (Step("failover", {}, 0.0, when="noticed"), Noted("failover", notes, takes=3.0)),
        (Step("failback", {}, 0.0, when="over"), Noted("failback", notes)),
    ]
    stage = Stage([])
    since = {"noticed": 0.0, "loaded": 2.0, "enough": 8.0}  # noticed at once, which nothing is before there is anything
    stage.workload.reached = (  # type: ignore[method-assign]
        lambda condition: ("freeze", "ends") in [note[:2] for note in notes] if condition == "over"
        else stage.now >= since[condition]
    )  # fmt: skip
    made(stage, replace(find_scenario("partition"), seconds=1.0))._timeline(steps)
    assert [note[:2] for note in notes] == [
        ("freeze", "begins"), ("failover", "begins"), ("freeze", "ends"), ("failback", "begins"),
    ]  # fmt: skip
    assert [at for _, _, at in notes] == pytest.approx([2.0, 2.0, 8.0, 8.0], abs=0.3)


def test_clients_are_stopped_also_where_opening_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(EAST)
    stage = Stage([client])
    looked: list[str] = []
    stage.sampler = SimpleNamespace(stop=lambda: looked.append("stopped"))  # type: ignore[attr-defined]

    def failing(self: Run) -> None:
        raise RuntimeError("no threads are left")

    monkeypatch.setattr(Run, "_open", failing)
    with pytest.raises(RuntimeError, match="no threads are left"):
        made(stage).go()
    assert client.stopped
    assert looked == ["stopped"]
