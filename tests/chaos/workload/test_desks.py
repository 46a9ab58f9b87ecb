"""A desk settles what it never got an answer to, wherever it was sent, and reports nothing twice and drops nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import pytest

from chaos.checker.history import History
from chaos.scenarios.desks import Desk
from chaos.workload.flights import Report
from replicator import EventStore, MemoryStorage, NewEvent, RegionUnavailable, StreamId
from replicator.control.control_storage import Guard
from replicator.domain.event import Event
from replicator.eventstore.store_errors import OutcomeUnknown
from tests.processes import wait_until

HOME, AWAY = "us-east-1", "eu-west-1"


class _Moody(MemoryStorage):
    """A storage that can fall silent: what it is given then is written in part, or not, and nobody is told."""

    def __init__(self) -> None:
        super().__init__()
        self.mood = "well"
        self.sent: list[Event] = []

    def insert(self, events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        if self.mood == "down":
            raise RegionUnavailable("down; nothing was written")
        if self.mood == "silent":
            self.mood = "down"
            self.sent += events
            raise OutcomeUnknown("no answer", events)
        return super().insert(events, guards)


def _report(row: int, kind: str = "departed") -> Report:
    return Report(row, "EWR", StreamId("aircraft", f"N{row % 7}"), NewEvent(kind, {"id": f"{row}/{kind}", "row": row}))


def _desk(reports: Sequence[Report]) -> tuple[Desk, History, dict[str, _Moody]]:
    storages = {HOME: _Moody(), AWAY: _Moody()}
    stores = {region: EventStore(storage, region, [HOME, AWAY]) for region, storage in storages.items()}
    history = History(time.monotonic)
    desk = Desk("EWR", HOME, stores, reports, history, "1")
    desk.open_gates(2)
    return desk, history, storages


def _until(condition: Callable[[], bool]) -> None:
    wait_until(condition, "the desk is so far", pause=0.01)


def _finish(desk: Desk) -> None:
    _until(lambda: desk.done)
    assert desk.error is None


def _moved(history: History) -> bool:
    return any(event.region == AWAY for event in history.acknowledged())


def _written(storages: dict[str, _Moody]) -> list[str]:
    events = [e for storage in storages.values() for lane, _ in storage.lanes() for e in storage.read(lane)]
    return sorted(str(event.payload["id"]) for event in events)


def test_an_append_without_an_answer_is_settled_when_the_region_is_back_and_not_repeated_elsewhere() -> None:
    reports = [_report(row) for row in range(300)]
    desk, history, storages = _desk(reports)
    storages[HOME].mood = "silent"
    desk.start()
    _until(lambda: bool(desk.doubts))
    desk.move(AWAY)
    _until(lambda: _moved(history))
    assert not {event.digest.hex() for event in storages[HOME].sent} & {e.digest for e in history.acknowledged()}
    storages[HOME].mood = "well"
    desk.move(HOME)
    _finish(desk)
    assert _written(storages) == sorted(report.id for report in reports)
    assert (history.count(), history.doubted_events, history.gone_events) == (300, len(storages[HOME].sent), 0)


def test_of_an_append_that_died_with_its_region_what_survived_is_kept_and_the_rest_reported_again() -> None:
    reports = [_report(row) for row in range(300)]
    desk, history, storages = _desk(reports)
    storages[HOME].mood = "silent"
    desk.start()
    _until(lambda: bool(desk.doubts))
    sent = desk.doubts[0].events
    assert desk.doubtful(HOME) == [(event.lane.key, event.sequence) for event in sent]
    lanes = {event.lane for event in sent}
    assert len(lanes) > 1
    # Copies travel lane by lane: one lane of the transaction had reached a peer, the others had not.
    survivors = [event for event in sent if event.lane == min(lanes)]
    desk.move(AWAY)
    _until(lambda: _moved(history))
    storages[HOME].mood = "well"
    storages[HOME].insert(survivors)
    history.lose(HOME, {event.digest.hex() for event in survivors})
    desk.move(HOME, {event.digest.hex() for event in survivors})
    _finish(desk)
    assert _written(storages) == sorted(report.id for report in reports)
    assert history.confirmed_events == len(survivors)
    (call,) = (call for call in history.calls if call.denied and call.events)
    assert {event.digest for event in call.events} == {event.digest.hex() for event in survivors}
    assert len(call.events) + len(call.denied) == len(sent)


def test_what_an_away_region_did_not_answer_is_settled_there() -> None:
    reports = [_report(row) for row in range(200)]
    desk, _, storages = _desk(reports)
    storages[HOME].mood = "down"
    storages[AWAY].mood = "silent"
    desk.start()
    desk.move(AWAY)
    _until(lambda: bool(desk.doubts))
    storages[HOME].mood = storages[AWAY].mood = "well"
    desk.move(HOME)
    _finish(desk)
    assert _written(storages) == sorted(report.id for report in reports)
    assert {lane.region for lane, _ in storages[HOME].lanes()} <= {HOME}
    assert {lane.region for lane, _ in storages[AWAY].lanes()} <= {AWAY}


def test_a_desk_forgets_that_it_saw_what_is_gone() -> None:
    reports = [_report(row) for row in range(70)]
    desk, history, storages = _desk(reports)
    desk._gates_open = 0  # the last two fifths wait
    desk.start()
    _until(lambda: desk.at_gate)
    history.lose(HOME, ())
    storages[HOME].__init__()  # type: ignore[misc]
    desk._stores[HOME]._appender._heads.clear()  # type: ignore[attr-defined]
    desk.move(HOME, ())
    desk.open_gates(2)
    _finish(desk)
    events = [event for lane, _ in storages[HOME].lanes() for event in storages[HOME].read(lane)]
    assert history.gone_events + len(events) == 70
    for event in events:
        assert event.observed.get(HOME) < event.sequence


@pytest.mark.parametrize("count", [5, pytest.param(60, marks=pytest.mark.soak), 400])
def test_a_desk_that_is_slowed_down_writes_to_the_end_however_much_it_has(count: int) -> None:
    desk, history, _ = _desk([_report(row) for row in range(count)])
    rests: list[float] = []
    wait_for = desk._changed.wait_for

    def rest(until: Callable[[], bool], timeout: float) -> bool:
        rests.append(timeout)
        return wait_for(until, timeout)

    desk._changed.wait_for = rest  # type: ignore[method-assign, assignment]
    desk.slow_down(3.0)
    desk.start()
    began = time.monotonic()
    _finish(desk)
    assert sum(rests) == pytest.approx(3.0)
    assert history.events_of(HOME, since=began + 2.0)


def test_a_desk_that_rests_goes_on_when_it_need_not_be_slow_any_more() -> None:
    desk, history, _ = _desk([_report(row) for row in range(5)])
    desk.slow_down(1000.0)
    desk.start()
    _until(lambda: history.count() == 1)
    desk.slow_down(0.0)
    _finish(desk)


def test_a_desk_of_thousands_of_reports_appends_no_more_at_once_than_fit() -> None:
    reports = [_report(row) for row in range(12_000)]
    desk, history, storages = _desk(reports)
    desk.start()
    _finish(desk)
    assert history.count() == 12_000
    assert len(_written(storages)) == 12_000
