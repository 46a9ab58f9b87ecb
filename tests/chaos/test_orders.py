"""Views in any order: the proof at a size that fits, and that it can fail."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

import pytest

from chaos.flights import Aircraft, Departures, select
from chaos.orders import ORDERS, Outcome, delivered, run_orders, written
from chaos.sinks import three_sinks
from projectors import MemorySink, Sink
from projectors.sinks.port import Change
from projectors.view import View


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
        assert len(line) == int(len(history) * 1.1)
    concurrent = [e for e in history if any(not e.observed.covers(o.region, o.sequence) for o in history[:200])]
    assert concurrent, "some had not seen what was there"
    assert [event for event in history if event.observed], "and some had"


def test_three_orders_end_in_the_same_views_and_in_what_pandas_says() -> None:
    sinks: dict[str, tuple[Sink, str]] = {order: (MemorySink(), order) for order in ORDERS}
    outcome = run(3_000, sinks)
    assert outcome.kept, (outcome.wrong[:3], outcome.verdicts)
    assert len(outcome.verdicts) == 4
    assert all(verdict.effort.views > 300 for verdict in outcome.verdicts)


class Liar(MemorySink):
    """Stores one view otherwise than it was told to."""

    def __init__(self, projection: str) -> None:
        super().__init__()
        self.projection, self.done = projection, False

    def save(self, changes: list[Change]) -> list[bool]:  # type: ignore[override]
        return super().save([self._altered(change) for change in changes])

    def _altered(self, change: Change) -> Change:
        view: View = change.view
        if self.done or view.projection != self.projection or (self.projection == Departures.name and not view.row):
            return change
        self.done = True
        wrong = view.state_text.replace("[1,0,", "[2,0,", 1)
        return replace(change, view=replace(view, state_text=wrong, value_text=view.value_text.replace(":1", ":2", 1)))


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
