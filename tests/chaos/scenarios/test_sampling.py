"""How far regions are behind, as sampled: what is waited for, what has arrived, and what is drawn of it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from chaos.checker.history import History, Written
from chaos.scenarios.sampling import Sample, Sampler, Waiting, series
from replicator.runtime.settings import Settings

EAST, WEST = "us-east-1", "eu-west-1"


def ok(at: float, lane: str, sequence: int, digest: str = "d") -> dict[str, Any]:
    return {"is": "ok", "at": at, "events": [{"lane": lane, "sequence": sequence, "digest": digest}]}


def test_what_has_not_arrived_is_behind_since_it_was_acknowledged() -> None:
    waiting = Waiting(WEST, [EAST, WEST], "thing")
    waiting.hear(ok(1.0, f"{EAST}#thing#1", 1))
    waiting.hear(ok(2.0, f"{EAST}#thing#1", 2))
    waiting.hear(ok(2.5, f"{WEST}#thing#1", 1))
    waiting.hear(ok(2.5, f"{EAST}#seat#1", 1))  # has no view
    events, viewed = waiting.wanted()
    assert [(each.source, each.sequence) for each in events] == [(EAST, 1), (EAST, 2)]
    assert [(each.source, each.sequence) for each in viewed] == [(EAST, 1), (EAST, 2), (WEST, 1)]
    assert waiting.found(4.0, events[:1], viewed[1:]) == Sample(4.0, {EAST: 2.0}, {EAST: 3.0, WEST: 0.0}, True)
    assert waiting.found(5.0, (), (), answered=False) == Sample(5.0, {EAST: 3.0}, {EAST: 4.0, WEST: 0.0}, False)
    assert waiting.found(6.0, events, viewed) == Sample(6.0, {EAST: 0.0}, {EAST: 0.0, WEST: 0.0}, True)


def test_what_is_gone_is_waited_for_no_more() -> None:
    waiting = Waiting(WEST, [EAST, WEST], "thing")
    waiting.hear(ok(1.0, f"{EAST}#thing#1", 1, "aa"))
    waiting.hear(ok(1.0, f"{EAST}#thing#2", 1, "bb"))
    waiting.wanted()
    waiting.hear(ok(1.0, f"{EAST}#thing#3", 1, "cc"))
    waiting.hear({"is": "lost", "at": 2.0, "region": EAST, "gone": ["aa", "cc"]})
    assert [each.digest for each in waiting.wanted()[0]] == ["bb"]


def test_a_sample_is_bounded_and_keeps_the_oldest() -> None:
    waiting = Waiting(WEST, [EAST, WEST], "thing")
    for look in range(200):
        for number in range(50):
            waiting.hear(ok(float(look), f"{EAST}#thing#{number}", look + 1))
        events, _ = waiting.wanted()
    assert len(events) == 300
    assert events[0].at == 0.0


def test_what_is_drawn_counts_calls_by_the_second_they_ended_in() -> None:
    time = 100.0
    history = History(lambda: time)
    one = history.invoke("p", EAST, "write", [], {})
    two = history.invoke("p", EAST, "write", [], {})
    three = history.invoke("p", WEST, "read", {}, {})
    history.ok(one, [Written(f"{EAST}#thing#1", n, "d", "h", "i") for n in (1, 2)])
    time = 98.9
    history.fail(two, "no")
    history.invoke("p", WEST, "read", {}, {})  # never ends
    time = 101.5
    history.ok(three)
    drawn = series(history.calls, {EAST: [Sample(100.5, {WEST: 0.123}, {EAST: 0.0, WEST: 1.0}, True)], WEST: []}, 99.5)
    assert drawn["calls"][EAST] == {"events": {"0": 2}, "ok": {"0": 1}, "fail": {"-1": 1}, "unknown": {}}
    assert drawn["calls"][WEST]["ok"] == {"2": 1}
    assert drawn["lag"] == {
        EAST: {"at": [1.0], "answered": [True], "events": {WEST: [0.12]}, "views": {EAST: [0.0], WEST: [1.0]}},
        WEST: {"at": [], "answered": [], "events": {}, "views": {}},
    }


def test_a_sampler_that_cannot_start_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: threading.Thread) -> None:
        raise RuntimeError("no threads are left")

    sampler = Sampler({EAST: Settings(EAST)}, lambda: 0.0, "thing", "thing@1")
    monkeypatch.setattr(threading.Thread, "start", failing)
    with pytest.raises(RuntimeError, match="no threads are left"):
        sampler.start()
    sampler.stop()
    assert sampler.samples == {EAST: []}
