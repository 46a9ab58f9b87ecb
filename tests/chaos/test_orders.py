"""Views in any order: the proof at a size that fits, and that it can fail."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from chaos.workload.any_order import ORDERS, Outcome, delivered, run_orders, written
from chaos.workload.flights import Aircraft, Departures, select
from chaos.world.three_sinks import three_sinks
from projectors import MemorySink, Sink
from projectors.engine.sink import Change
from projectors.model.view import View, ViewKey
from replicator import Event
from replicator.domain.names import LaneId


def nothing(what: str, done: int, total: int) -> None:
    assert done >= 0
    assert what


def run(events: int, sinks: dict[str, tuple[Sink, str]]) -> Outcome:
    return run_orders(events, 3, sinks, nothing)


def test_deliveries_differ_in_order_hold_everything_and_repeat_a_tenth() -> None:
    history = written(select(3_000, 3), 3)
    lines = {order: list(chain.from_iterable(delivered(history, order, 3))) for order in ORDERS}
    assert len({tuple(event.id for event in line) for line in lines.values()}) == 3
    for line in lines.values():
        assert {event.id for event in line} == {event.id for event in history}
        assert len(history) * 1.09 < len(line) <= len(history) * 1.1
        assert prefixes(line), "a lane's events come in their order; what comes twice is there already"
    concurrent = [e for e in history if any(not e.observed.covers(o.region, o.sequence) for o in history[:200])]
    assert concurrent, "some had not seen what was there"
    assert [event for event in history if event.observed], "and some had"


def prefixes(line: list[Event]) -> bool:
    lanes: Counter[LaneId] = Counter()
    for event in line:
        if event.sequence > lanes[event.lane] + 1:
            return False
        lanes[event.lane] = max(lanes[event.lane], event.sequence)
    return True


def test_three_orders_end_in_the_same_views_and_in_what_pandas_says() -> None:
    sinks: dict[str, tuple[Sink, str]] = {order: (MemorySink(), order) for order in ORDERS}
    outcome = run(3_000, sinks)
    assert outcome.kept, (outcome.wrong[:3], outcome.verdicts)
    assert len(outcome.verdicts) == 4
    assert all(verdict.effort.views > 300 for verdict in outcome.verdicts)
    several = sum(outcome.interleavings.values())
    assert several > 20
    assert outcome.interleavings[1] < several / 10, "nearly every stream of several lanes is folded in different ways"
    assert outcome.interleavings[3] > several / 4
    alike = run(3_000, {name: (MemorySink(), ORDERS[0]) for name in ("one", "two")})
    assert alike.interleavings.keys() == {1}


def test_a_sink_is_given_only_what_was_delivered_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not been delivered cannot be pulled: each batch is folded for itself."""
    apply, folded = Aircraft.apply, list[tuple[str, int]]()

    def note(states: Any, event: Event, *more: Any) -> Any:
        folded.append((event.lane.key, event.sequence))
        return apply(states, event, *more)

    monkeypatch.setattr(Aircraft, "apply", note)
    monkeypatch.setattr(Aircraft, "apply_run", lambda *_: None)  # one by one, then
    history, line = written(select(3_000, 3), 3), 0
    run(3_000, {"one": (MemorySink(), "shuffled")})
    assert len(folded) == len(history), "each event once"
    for batch in delivered(history, "shuffled", 3):
        new = {(event.lane.key, event.sequence) for event in batch} - set(folded[:line])
        assert set(folded[line : line + len(new)]) == new
        line += len(new)


class Liar(MemorySink):
    """Counts one too many in one view, each time."""

    def __init__(self, projection: str) -> None:
        super().__init__()
        self.projection = projection
        self.about: ViewKey | None = None

    def save(self, changes: Sequence[Change]) -> list[bool]:
        return super().save([self._altered(change) for change in changes])

    def _altered(self, change: Change) -> Change:
        view: View = change.view
        if view.projection != self.projection or (self.projection == Departures.name and not view.row):
            return change
        self.about = self.about or view.id
        if view.id != self.about:
            return change
        state = re.sub(r"\[(\d+),0,", lambda found: f"[{int(found[1]) + 1},0,", view.state_text, count=1)
        value = re.sub(r'"flights":(\d+)', lambda found: f'"flights":{int(found[1]) + 1}', view.value_text, count=1)
        return replace(change, view=replace(view, state_text=state, value_text=value))


@pytest.mark.parametrize("projection", [Aircraft.name, Departures.name])
def test_one_wrong_view_is_noticed_by_the_comparison_and_by_pandas(projection: str) -> None:
    outcome = run(1_000, {"right": (MemorySink(), ORDERS[0]), "wrong": (Liar(projection), ORDERS[0])})
    assert not outcome.kept
    assert [len(verdict.differing) > 0 for verdict in outcome.verdicts] == [
        projection == Aircraft.name,
        projection != Aircraft.name,
    ]
    assert any(line.startswith("wrong, as written") for line in outcome.wrong)
    assert not any(line.startswith("right") for line in outcome.wrong)


@pytest.mark.soak
def test_the_same_events_in_three_orders_into_three_stores() -> None:
    """`make views` runs it with 300,000 events."""
    with three_sinks(ORDERS) as sinks:
        outcome = run(60_000, sinks)
    assert outcome.kept, (outcome.wrong[:3], [verdict.differing[:3] for verdict in outcome.verdicts])
    assert outcome.events >= 60_000
