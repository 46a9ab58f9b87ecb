"""The checker sees each broken promise, and nothing else, in reads that are otherwise right."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.drills.checker import (
    Verdict,
    check_events,
    check_places,
    check_quarantine,
    check_truth,
    check_views,
    expected_vectors,
)  # fmt: skip
from chaos.drills.flights import Report
from chaos.drills.history import History
from chaos.world.reading import StoredEvent, StoredView
from replicator import EventStore, MemoryStorage, NewEvent, StreamId
from replicator.domain.names import LaneId

STREAM = StreamId("aircraft", "N1")


def _world(storage: MemoryStorage | None = None) -> tuple[History, list[StoredEvent]]:
    """Five acknowledged reports, and what a region that has them all reads."""
    history, storage = History(), storage or MemoryStorage()
    store = EventStore(storage, "us-east-1", ["us-east-1"])
    reports = [Report(row, "EWR", STREAM, NewEvent("departed", {"row": row, "flight": f"UA{row}"})) for row in range(5)]
    events = store.append(STREAM, *(report.event for report in reports))
    history.ok(reports, events)
    reads = [
        StoredEvent(e.lane.key, e.sequence, r.operation, e.prev, e.digest, e.digest)
        for r, e in zip(reports, events, strict=True)
    ]
    return history, reads


def _judge(history: History, reads: list[StoredEvent]) -> dict[str, int]:
    verdict = Verdict()
    check_events(verdict, "eu-west-1", history, reads)
    names = ("lost", "from_nowhere", "duplicated", "overwritten", "gaps", "forked")
    return {name: getattr(verdict, name) for name in names if getattr(verdict, name)}


def test_faithful_copies_break_nothing_in_any_order() -> None:
    history, reads = _world()
    assert _judge(history, reads) == {}
    assert _judge(history, reads[::-1]) == {}


def _lost_tail(survivors: int) -> tuple[History, list[StoredEvent]]:
    """The region lost its data; its first `survivors` events had reached a peer. What it wrote afterwards is there."""
    died, restored = MemoryStorage(), MemoryStorage()
    history, reads = _world(died)
    assert history.lose("us-east-1", {read.digest for read in reads[:survivors]}) == 5 - survivors
    restored.insert(list(died.read(LaneId("us-east-1", STREAM), 1, survivors)))
    reports = [Report(row, "EWR", STREAM, NewEvent("departed", {"row": row, "flight": f"UA{row}"})) for row in range(5, 8)]
    events = EventStore(restored, "us-east-1", ["us-east-1"]).append(STREAM, *(report.event for report in reports))
    history.ok(reports, events)
    again = [
        StoredEvent(e.lane.key, e.sequence, r.operation, e.prev, e.digest, e.digest)
        for r, e in zip(reports, events, strict=True)
    ]
    return history, [*reads[:survivors], *again]


def test_what_is_gone_is_not_lost_and_what_has_its_place_overwrites_nothing() -> None:
    history, reads = _lost_tail(3)
    assert _judge(history, reads) == {}
    assert history.gone_events == 2
    assert history.gone_reports() == {(3, "departed"), (4, "departed")}
    assert history.heads() == {"us-east-1#aircraft#N1": 6}
    assert (history.count(), history.count_of("us-east-1")) == (8, 6)
    verdict = Verdict()
    check_places(verdict, history)
    assert verdict.overwritten == 0


def test_what_survived_anywhere_and_is_not_here_is_lost() -> None:
    history, reads = _lost_tail(3)
    assert _judge(history, reads[:2]) == {"lost": 4}
    history.lose("us-east-1", {read.digest for read in reads})
    assert _judge(history, reads[:2]) == {"lost": 4}


def test_what_was_taken_for_gone_and_is_there_after_all_was_not_brought_back() -> None:
    history, reads = _world()
    history.lose("us-east-1", {read.digest for read in reads[:4]})
    assert _judge(history, reads[:4]) == {}
    assert _judge(history, reads) == {"lost": 1, "from_nowhere": 1}
    history, after = _lost_tail(4)
    assert _judge(history, [*after[:4], reads[4], *after[5:]]).get("overwritten") == 1


def test_a_place_that_was_acknowledged_twice_is_overwritten_unless_the_first_is_gone() -> None:
    history, _ = _world()
    report = Report(9, "EWR", STREAM, NewEvent("departed", {"row": 9, "flight": "UA9"}))
    event = EventStore(MemoryStorage(), "us-east-1", ["us-east-1"]).append(STREAM, report.event)
    history.ok([report], event)  # sequence 1, which another event has
    verdict = Verdict(views=1)
    check_places(verdict, history)
    assert verdict.overwritten == 1
    assert not verdict.kept


def test_only_lanes_of_the_region_that_lost_its_data_have_anything_gone() -> None:
    history, _ = _world()
    assert history.lose("eu-west-1", ()) == 0
    assert history.lose("us-east-1", ()) == 5
    assert (history.heads(), history.count(), list(history.writes())) == ({}, 5, [])


def test_a_missing_last_event_is_lost_and_a_missing_middle_one_also_a_gap() -> None:
    history, reads = _world()
    assert _judge(history, reads[:-1]) == {"lost": 1}
    assert _judge(history, reads[:2] + reads[3:]) == {"lost": 1, "gaps": 1}


def test_the_same_report_under_another_id_is_a_duplicate_that_nobody_acknowledged() -> None:
    history, reads = _world()
    again = replace(reads[-1], sequence=6, prev=reads[-1].digest)
    assert _judge(history, [*reads, again]) == {"duplicated": 1, "from_nowhere": 1}


def test_an_event_that_nobody_appended_comes_from_nowhere() -> None:
    history, reads = _world()
    invented = replace(reads[-1], sequence=6, prev=reads[-1].digest, operation=(99, "departed"))
    assert _judge(history, [*reads, invented]) == {"from_nowhere": 1}


def test_altered_content_is_overwritten_even_when_its_digest_was_left_alone() -> None:
    history, reads = _world()
    assert _judge(history, [*reads[:-1], replace(reads[-1], computed=b"x" * 32)]) == {"overwritten": 1}


def test_another_event_with_a_fitting_digest_is_overwritten_and_breaks_the_chain() -> None:
    history, reads = _world()
    other = replace(reads[1], digest=b"x" * 32, computed=b"x" * 32)
    assert _judge(history, [reads[0], other, *reads[2:]]) == {"overwritten": 1, "forked": 1}


def test_a_first_event_that_claims_a_past_is_a_fork() -> None:
    history, reads = _world()
    assert _judge(history, [replace(reads[0], prev=b"x" * 32), *reads[1:]]) == {"forked": 1}


def test_quarantined_records_count_as_forks() -> None:
    verdict = Verdict(views=1)
    check_quarantine(verdict, "us-east-1", 0)
    assert verdict.kept
    check_quarantine(verdict, "us-east-1", 2)
    assert verdict.forked == 2
    assert not verdict.kept


RIGHT = StoredView('{"us-east-1":5}', "{}", '{"flights":5}', b"d")
KEY = "aircraft@1#aircraft/N1"


@pytest.mark.parametrize(
    ("other", "identical"),
    [
        ({KEY: RIGHT}, True),
        ({}, False),
        ({KEY: replace(RIGHT, vector='{"us-east-1":4}')}, False),
        ({KEY: replace(RIGHT, value='{"flights":6}')}, False),
        ({KEY: replace(RIGHT, state='{"x":1}')}, False),
        ({KEY: replace(RIGHT, digest=b"e")}, False),
        ({KEY: RIGHT, "aircraft@1#aircraft/N2": RIGHT}, False),
    ],
)
def test_views_are_identical_only_when_every_byte_is(other: dict[str, StoredView], identical: bool) -> None:
    history, _ = _world()
    assert expected_vectors(history) == {KEY: '{"us-east-1":5}'}
    verdict = Verdict()
    check_views(verdict, history, {"us-east-1": {KEY: RIGHT}, "eu-west-1": other})
    assert verdict.views_identical is identical


def test_truth_is_compared_both_ways() -> None:
    for truth, matches in (({"N1": {"flights": 5}}, True), ({"N1": {"flights": 4}}, False), ({}, False),
                           ({"N1": {"flights": 5}, "N2": {"flights": 1}}, False)):  # fmt: skip
        verdict = Verdict()
        check_truth(verdict, {"us-east-1": {KEY: RIGHT}}, truth)
        assert verdict.truth_matches is matches
