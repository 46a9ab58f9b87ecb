"""The policy of projectors: every behaviour holds whoever drives it and wherever its backlogs are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from projectors import Projection, add, collection, counter, register
from projectors.engine.failures import LanesWait
from projectors.model.view import ViewKey
from replicator import Event, EventStore, HybridLogicalClock, MemoryStorage, NewEvent, RegionUnavailable
from replicator.aws.sqs import MAX_DELAY
from replicator.control.backlog import Part
from replicator.control.suspects import Suspects
from replicator.domain.clock import Hlc
from replicator.domain.errors import InvalidConfig
from replicator.domain.event import GENESIS, seal
from replicator.domain.vector import EMPTY
from replicator.erasure import KeyStorage, LocalWrapping, MemoryKeys, PersonalData, SubjectKeys
from tests.projectors.benches import (
    EAST,
    SECOND,
    SECRET,
    VIEWS,
    WAYS,
    WEST,
    Bench,
    Member,
    Mended,
    Visits,
    batch,
    lane,
    record,
)  # fmt: skip

NEW = "eu-central-1"
TO_SECOND = f"{VIEWS}>{SECOND}"


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[str]]:
    """The lines that go to the log, as Lambda has them."""
    before = structlog.get_config()
    lines: list[str] = []

    def keep(_: Any, __: str, line: Any) -> str:
        lines.append(line)
        return ""

    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer(), keep],
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    yield lines
    structlog.configure(**before)


def said(lines: Sequence[str]) -> list[str]:
    return [json.loads(line)["event"] for line in lines]


@pytest.fixture(params=WAYS, ids=[f"{driver}, {kind}" for driver, kind in WAYS])
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(*request.param)


@pytest.fixture(params=WAYS, ids=[f"{driver}, {kind}" for driver, kind in WAYS])
def pair(request: pytest.FixtureRequest) -> Bench:
    """With a secondary sink."""
    return Bench(*request.param, sinks=2)


# -- folding -----------------------------------------------------------------------------------------------------------


def test_own_events_and_copies_are_folded_once_however_often_they_come(bench: Bench) -> None:
    events = [*bench.append("homer", "joined", "visited", name="Homer"), *bench.append("homer", "visited", at=WEST)]
    other = bench.append("marge", "visited", at=WEST)
    for restarted in (False, False, True):
        if restarted:
            bench.restart()
        assert bench.project(batch(*events, *other, events[1]))
    assert bench.view("homer") == {"called": "Homer", "visits": 2, "paid": 0}
    assert bench.view("marge", "visits") == {"visits": 1}
    assert (bench.waiting(), bench.letter(), bench.refused()) == ({}, [], [])
    dimensions, values = next(each for each in bench.told if "EventsProjected" in each[1])
    assert dimensions == {"region": EAST}
    assert values.pop("ConflictsMerged") > 0, "neither had seen the other"
    assert values == {"EventsProjected": 5, "ProjectionFailures": 0, "ProjectionLag": 10_000}
    assert bench.metric("ConflictsDiscarded") == [], "no rule has discarded anything"


def test_an_event_behind_a_gap_brings_what_is_before_it(bench: Bench) -> None:
    assert bench.project(batch(bench.append("homer", *["visited"] * 4)[3]))
    assert bench.view("homer") == {"called": None, "visits": 4, "paid": 0}


def test_an_event_at_a_gap_that_the_table_has_too_waits_for_what_is_missing(bench: Bench) -> None:
    events = bench.west.append("member/homer", *[NewEvent("visited", {})] * 3)
    bench.table.insert_each([events[0], events[2]])
    assert bench.project(batch(events[0], events[2]))
    assert bench.view("homer", "visits") == {"visits": 1}
    bench.table.insert_each([events[1]])
    assert bench.project(batch(events[1]))
    assert bench.project(batch(events[2]))
    assert bench.view("homer", "visits") == {"visits": 3}


# -- conflicts ---------------------------------------------------------------------------------------------------------

RULE = {"region": EAST, "projection": "member", "rule": "LwwRegister"}


def discarded(bench: Bench, lines: Sequence[str]) -> list[tuple[dict[str, str], dict[str, float]]]:
    """As metrics; the log says the same."""
    found = [each for each in bench.told if "ConflictsDiscarded" in each[1]]
    assert said(lines).count("projector.conflicts") == len(found)
    return found


def test_what_a_conflict_rule_discards_is_counted_by_projection_and_rule(bench: Bench, logged: list[str]) -> None:
    events: list[Event] = []
    for at, name in ((EAST, "Homer"), (WEST, "Max")):
        events += bench.append("homer", "joined", at=at, name=name)
        bench.project(batch(*events))
    assert discarded(bench, logged) == [(RULE, {"ConflictsDiscarded": 1})]
    bench.project(batch(*events))
    assert len(discarded(bench, logged)) == 1, "the same events again are none again"


@pytest.mark.parametrize("way", ["backlog", "reconcile"])
def test_conflicts_that_lanes_meet_which_are_caught_up_with_are_counted_too(
    bench: Bench, logged: list[str], way: str
) -> None:
    bench.project(batch(*bench.append("homer", "joined", name="Homer")))
    bench.append("homer", "joined", at=WEST, name="Max")
    if way == "reconcile":
        bench.projector.reconcile()
    else:
        bench.backlog().defer({lane("homer", WEST): (1, 1)}, 5000)
        bench.idle()
    assert discarded(bench, logged) == [(RULE, {"ConflictsDiscarded": 1})]


# -- a sink that does not answer ---------------------------------------------------------------------------------------


def test_what_the_views_cannot_take_waits_on_their_backlog(bench: Bench) -> None:
    homer = bench.append("homer", *["visited"] * 3)
    oldest = seal(lane("marge", WEST), 1, Hlc(7, 0), NewEvent("visited", {"secret": SECRET}), EMPTY, GENESIS)
    bench.table.insert_each([oldest])
    bench.sink.error = RegionUnavailable("down")
    assert bench.project(batch(*homer, oldest))
    assert bench.waiting() == {lane("homer"): (1, 3), lane("marge", WEST): (1, 1)}
    assert (part := bench.backlog().take(99)) is not None
    assert (part.since, part.tries) == (7, 0)
    assert (bench.letter(), bench.refused()) == ([], [])
    assert (bench.metric("EventsProjected"), bench.metric("ProjectionFailures")[0]) == ([0], 0)
    assert "horse" not in bench.said()

    bench.sink.error = None
    bench.append("homer", "visited")
    bench.idle()
    assert bench.view("homer", "visits") == {"visits": 4}, "what came behind the pointer waits with it"
    assert bench.view("marge", "visits") == {"visits": 1}
    assert bench.waiting() == {}


def test_another_process_brings_what_an_earlier_one_left(bench: Bench) -> None:
    bench.sink.error = RegionUnavailable("down")
    bench.project(batch(*(e for n in range(130) for e in bench.append(f"m{n:03}", "visited"))))
    bench.sink.error = None
    bench.restart()
    bench.idle()
    assert len(list(bench.sink.views("visits"))) == 130
    assert bench.waiting() == {}


def test_a_backlog_that_cannot_be_read_does_not_hold_up_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench("worker", "table")

    def take(limit: int) -> None:
        raise RegionUnavailable("not to be read")

    monkeypatch.setattr(bench.projector.feeds[0].backlog, "take", take)
    for count in (1, 2):
        assert bench.project(batch(*bench.append("homer", "visited")))
        bench.worker.turn()
        assert len(bench.reader.committed) == sum(bench.metric("EventsProjected")) == count, "once, and each"


def test_while_the_backlog_is_down_too_the_batch_comes_again(bench: Bench) -> None:
    events = bench.append("homer", *["visited"] * 3)
    bench.sink.error = RegionUnavailable("down")
    bench.break_backlog(RegionUnavailable("down"))
    assert not bench.project(batch(*events))
    bench.sink.error = None
    bench.break_backlog(None)
    bench.at += 10
    assert bench.project(batch(*events))
    assert bench.view("homer", "visits") == {"visits": 3}


@pytest.mark.parametrize("way", ["stream", "backlog"])
def test_a_damaged_view_stands_alone(bench: Bench, way: str) -> None:
    homer, marge = bench.append("homer", "visited"), bench.append("marge", "visited")
    bench.sink.damaged = {ViewKey("visits", "member/homer")}
    if way == "stream":
        assert bench.project(batch(*homer, *marge))
    else:
        bench.backlog().defer({lane("homer"): (1, 1), lane("marge"): (1, 1)}, 5000)
        bench.idle()
    assert bench.view("marge", "visits") == {"visits": 1}
    assert bench.view("homer", "member") == {"called": None, "visits": 1, "paid": 0}


def test_messages_of_many_lanes_are_one_piece_of_work(bench: Bench) -> None:
    bench.append("homer", *["visited"] * 9)
    bench.append("marge", "visited")
    for n in range(1, 9):
        bench.backlog().defer({lane("homer"): (n, n), lane("marge"): (1, 1)}, 5000)
    bench.idle()
    assert (bench.view("homer", "visits"), bench.view("marge", "visits")) == ({"visits": 9}, {"visits": 1})
    assert bench.sink.saves == 1


def test_pointers_to_what_is_not_here_yet_are_done(bench: Bench) -> None:
    bench.append("homer", "visited")
    bench.backlog().defer({lane("homer"): (1, 7), lane("nobody"): (1, 1)}, 5000)
    bench.idle()
    assert bench.view("homer", "visits") == {"visits": 1}
    assert (bench.view("nobody"), bench.waiting()) == (None, {})


def taken(bench: Bench, tries: int = 0) -> Part:
    names = [f"m{n:03}" for n in range(140)]
    for name in names:
        bench.append(name, "visited")
    backlog = bench.projector.feeds[0].backlog
    backlog.defer({lane(name): (1, 1) for name in names}, 4000, tries)
    part = backlog.take(1000)
    assert part is not None
    return part


@pytest.mark.parametrize("tries", [0, 3])
def test_what_there_is_no_time_for_waits_on_as_it_was(bench: Bench, tries: int) -> None:
    part, feed = taken(bench, tries), bench.projector.feeds[0]
    bench.projector.bring(feed, part, lambda: len(list(bench.sink.views("visits"))) < 60)
    done = {view.key for view in bench.sink.views("visits")}
    assert 60 <= len(done) < 140
    assert {str(each.stream) for each in bench.waiting()} == {str(each.stream) for each in part.lanes} - done
    assert bench.metric("ProjectionLag")[-1] == bench.now - 4000
    if bench.kind == "queue":
        assert {(p.since, p.tries) for p in bench.queue.found()} == {(4000, tries)}
    for _ in range(8):
        if (part := feed.backlog.take(1000)) is not None:  # type: ignore[assignment]
            bench.projector.bring(feed, part, lambda: False)
    assert len(list(bench.sink.views("visits"))) == 140


def test_what_fails_again_waits_on_with_the_time_since_when(bench: Bench) -> None:
    part = taken(bench, 2)
    bench.sink.error = RegionUnavailable("down")
    bench.projector.bring(bench.projector.feeds[0], part)
    assert bench.waiting() == part.lanes
    assert bench.metric("ProjectionLag")[-1] == bench.now - 4000
    if bench.kind == "queue":
        assert {(p.since, p.tries) for p in bench.queue.found()} == {(4000, 3)}
        assert all(1 <= delay <= MAX_DELAY for delay in bench.queue.delays())


@pytest.mark.parametrize("how", ["damaged", "forged"])
def test_a_lane_with_a_damaged_end_leaves_the_others_alone(bench: Bench, how: str) -> None:
    bench.append("homer", "visited")
    bad = lane("bart", WEST)
    bench.table.insert_each([seal(bad, 1, Hlc(1, 0), NewEvent("visited", {"secret": SECRET}), EMPTY, b"x" * 32)])
    bench.table.damaged = {bad: 1} if how == "damaged" else {}
    bench.backlog().defer({bad: (1, 1), lane("homer"): (1, 1)}, 5000)
    bench.idle()
    assert bench.view("homer", "visits") == {"visits": 1}
    assert {key.partition(" ")[2].rpartition("#")[0] for key in bench.refused()} == {bad.key}
    assert "horse" not in bench.said()


# -- quarantine --------------------------------------------------------------------------------------------------------


def poisoned(bench: Bench) -> tuple[Event, list[Event]]:
    """A poison event in the middle of things, and all of them in order."""
    before = bench.append("homer", "visited")
    (poison,) = bench.append("homer", "joined", nickname=SECRET)
    after = bench.append("homer", "visited", "visited")
    others = [*bench.append("homer", "visited", at=WEST), *bench.append("homer2", "joined", "visited", name="Two")]
    return poison, [*before, poison, *after, *others]


def test_a_poison_event_stops_its_own_lane_in_one_view_and_is_one_record_however_often_it_comes(bench: Bench) -> None:
    poison, events = poisoned(bench)
    for cut in (2, 3, len(events), len(events)):
        assert bench.project(batch(*events[:cut]))
        bench.restart()
    bench.project(batch(poison))
    bench.project(batch(*bench.append("homer", "visited")))
    bench.backlog().defer({lane("homer"): (1, 9)}, 5000)
    bench.idle()
    assert bench.refused() == [f"member {poison.id}"]
    assert bench.view("homer2") == {"called": "Two", "visits": 1, "paid": 0}, "another lane, whose name begins alike"
    assert bench.view("homer") == {"called": None, "visits": 2, "paid": 0}, "what is before it, and the view's other lane"
    assert bench.view("homer", "visits") == {"visits": 5}, "another projection"
    assert bench.metric("Quarantined")[-1] == 1
    assert bench.waiting() == {}
    assert len(bench.letter()) == (1 if bench.driver == "function" else 0)


@pytest.mark.parametrize("restarted", [True, False])
def test_quarantine_is_left_by_itself_once_the_code_is_mended(bench: Bench, restarted: bool) -> None:
    _, events = poisoned(bench)
    bench.project(batch(*events))
    for _ in range(2):
        bench.idle()
        assert len(bench.refused()) == 1, "what is still wrong stays"
    if restarted:
        bench.restart(Mended, Visits)
    else:
        bench.projector.feeds[0].engine._projections = (Mended, Visits)
        bench.projections = (Mended, Visits)
    bench.idle()
    assert bench.refused() == [], "without another event of the lane"
    assert bench.view("homer") == {"called": "nobody", "visits": 4, "paid": 0}
    assert bench.metric("Quarantined")[-1] == 0


def test_lanes_in_quarantine_have_their_turn_however_many_they_are(bench: Bench) -> None:
    names = [f"m{n:03}" for n in range(120)]
    bench.project(batch(*(event for name in names for event in bench.append(name, "joined"))))
    assert len(bench.refused()) == 120
    bench.restart(Mended, Visits)
    for _ in range(3):
        bench.idle()
    assert bench.refused() == []


@pytest.mark.parametrize("stream", ["homer", "homer simpson", "homer/simpson", 'ho"mer', "数 é"])
@pytest.mark.parametrize("name", ["member", "member view", "record"])
def test_quarantine_is_left_whatever_things_are_called(bench: Bench, name: str, stream: str) -> None:
    broken = type("Broken", (Projection,), {"name": name, "stream_type": "member", "n": counter(joined=lambda p: p["n"])})
    mended = type("Mended", (Projection,), {"name": name, "stream_type": "member", "n": counter(joined=lambda p: 1)})
    bench.restart(broken)
    bench.project(batch(*bench.append(stream, "joined")))
    assert len(bench.refused()) == 1
    bench.restart(mended)
    bench.idle()
    assert bench.refused() == []


def test_a_version_that_fails_is_recorded_apart_from_one_that_does_not(bench: Bench) -> None:
    second = type("Second", (Mended,), {"version": 2})
    third = type("Third", (Member,), {"version": 3})
    bench.restart(Member, second, third, Visits)
    _, events = poisoned(bench)
    bench.project(batch(*events))
    assert sorted(key.partition(" ")[0] for key in bench.refused()) == ["member", "member@3"]
    bench.restart(second, third, Visits)
    bench.idle()
    assert [key.partition(" ")[0] for key in bench.refused()] == ["member@3"]


def test_what_newer_code_refused_stays_in_quarantine_while_older_code_runs_too(bench: Bench) -> None:
    bench.restart(Mended, type("Second", (Member,), {"version": 2}), Visits)
    bench.project(batch(*bench.append("homer", "joined")))
    for projections in ((Mended, Visits), (Visits,)):
        bench.restart(*projections)
        bench.idle()
        assert [key.partition(" ")[0] for key in bench.refused()] == ["member@2"]
    bench.restart(Mended, type("Second", (Mended,), {"version": 2}), Visits)
    bench.idle()
    assert bench.refused() == []


def test_a_damaged_end_of_a_lane_stays_in_quarantine_until_it_is_whole(bench: Bench) -> None:
    (good,) = bench.append("homer", "visited")
    (bad,) = bench.append("homer", "visited")
    bench.table.damaged = {lane("homer"): bad.sequence}
    bench.project(batch(good))
    bench.backlog().defer({lane("homer"): (1, 2)}, 5000)
    for _ in range(3):
        bench.idle()
        assert {key.partition(" ")[2] for key in bench.refused()} == {bad.id}
    bench.table.damaged = {}
    bench.idle()
    assert bench.refused() == []
    assert bench.view("homer", "visits") == {"visits": 2}


def test_a_damaged_view_stays_in_quarantine_though_a_process_remembers_it_whole(bench: Bench) -> None:
    bench.project(batch(*bench.append("homer", "visited")))
    earlier = bench.projector, bench.inbound, bench.worker
    bench.restart()
    bench.sink.damaged = {Visits.key("member/homer")}
    bench.backlog().defer({lane("homer"): (1, 1)}, 5000)
    bench.drain()
    assert len(bench.refused()) == 1
    bench.projector, bench.inbound, bench.worker = earlier
    bench.idle()
    assert len(bench.refused()) == 1
    bench.sink.damaged = set()
    bench.idle()
    assert bench.refused() == []


def test_an_event_that_no_projection_digests_is_counted_once(bench: Bench) -> None:
    others = [type(f"P{n}", (Member,), {"name": f"p{n}"}) for n in range(3)]
    bench.restart(Member, *others)
    _, events = poisoned(bench)
    bench.project(batch(*events))
    assert bench.metric("ProjectionFailures")[-1] == 1
    assert len(bench.refused()) == 4, "listed for each projection that refuses it"
    bench.idle(31)
    assert bench.metric("Quarantined")[-1] == 1


@pytest.mark.parametrize("what", ["letters", "control"])
def test_a_poison_event_that_cannot_be_recorded_comes_again(bench: Bench, what: str) -> None:
    _, events = poisoned(bench)
    failing: Any = bench.letters if what == "letters" and bench.driver == "function" else bench.control
    failing.error = RegionUnavailable("down")
    assert not bench.project(batch(*events))
    failing.error = None
    assert bench.project(batch(*events))
    assert len(bench.refused()) == 1
    assert bench.view("homer", "visits") == {"visits": 4}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("MODIFY", {}),
        ("REMOVE", {"NewImage": None}),
        ("REMOVE", {"NewImage": None, "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"}}),
    ],
    ids=["modified", "removed", "expired"],
)
@pytest.mark.parametrize("at", [EAST, WEST])
def test_a_change_of_an_event_changes_no_view_and_is_recorded_once(
    bench: Bench, name: str, changed: dict[str, Any], at: str
) -> None:
    events = bench.append("homer", *["visited"] * 3, at=at)
    bench.project(batch(*events[:2]))
    before = bench.digests()
    for _ in range(3):
        assert bench.project([record(events[1], name, **changed)])
    assert bench.digests() == before
    assert bench.project([record(events[0], name, **changed), record(events[2])])
    assert bench.view("homer", "visits") == {"visits": 3}
    bench.idle()
    assert len(bench.refused()) == 2, "a person has to look at them"
    assert list(Suspects(bench.control).notes()) == [events[0].lane], "a comparison of regions looks at it"
    assert len(bench.letter()) <= 2
    assert "horse" not in bench.said()


@pytest.mark.parametrize("image", [None, {}, {"payload": {"S": SECRET}}], ids=["null", "empty", "alone"])
def test_a_record_that_is_no_event_is_recorded_once_and_stops_no_other(bench: Bench, image: Any) -> None:
    bad, behind = bench.append("homer", "visited", "visited")
    good = bench.append("marge", "visited")
    for _ in range(3):
        assert bench.project([record(bad, NewImage=image), *batch(*good)])
    assert bench.refused() == [f"record {bad.id}"]
    assert bench.view("marge", "visits") == {"visits": 1}
    assert bench.project(batch(behind)), "the table has it, so the view is whole"
    assert bench.view("homer", "visits") == {"visits": 2}
    assert "horse" not in bench.said()


def test_a_key_that_is_none_is_recorded(bench: Bench) -> None:
    (event,) = bench.append("homer", "visited")
    forged = record(event)
    forged["dynamodb"]["Keys"]["pk"] = forged["dynamodb"]["NewImage"]["pk"] = {"S": "US-EAST-1#member#homer"}
    for _ in range(3):
        assert bench.project([forged, {}, {"eventName": "INSERT"}])
    assert len(bench.refused()) == 2
    assert all(not p.lanes for p in bench.letter())


# -- what leaves -------------------------------------------------------------------------------------------------------


def raises(error: Exception) -> Any:
    def handler(payload: dict[str, Any]) -> Any:
        raise error

    return handler


def nested(payload: dict[str, Any], levels: int = 40) -> dict[str, Any]:
    return {payload["secret"]: nested(payload, levels - 1)} if levels else {}


LOOSE: dict[str, Any] = {
    "an error that quotes it": counter(x=raises(ValueError(f"cannot read {SECRET}"))),
    "a key error of it": counter(x=lambda p: {}[p["secret"]]),
    "an error in an error": counter(x=lambda p: raises(RuntimeError(SECRET))(raises)),
    "an assertion": counter(x=lambda p: raises(AssertionError(p))(p)),
    "an error group": counter(x=raises(ExceptionGroup(SECRET, [ValueError(SECRET)]))),
    "an error that cannot be shown": counter(x=raises(type("E", (Exception,), {"__str__": lambda self: str(1 / 0)})())),
    "a wrong value for a counter": counter(x=lambda p: p["secret"]),
    "a wrong value for a set": collection(x=lambda p: p["secret"]),
    "a wrong value for a register": register(x=lambda p: {p["secret"]}),
    "a deep value for a register": register(x=nested),
    "a wrong order": register(lambda p: [p["secret"]], x=lambda p: 1),
    "an order beyond 2^53": register(lambda p: int("4929123412341234") * 10**6, x=lambda p: 1),
    "an order that is no text": register(lambda p: p["secret"] + "\ud800", x=lambda p: 1),
    "an element that is no text": collection(x=lambda p: add(p["secret"] + "\ud800")),
}


@pytest.mark.parametrize("loose", [pytest.param(made, id=name) for name, made in LOOSE.items()])
def test_no_payload_is_in_a_letter_a_record_a_metric_or_a_log_line(bench: Bench, loose: Any, logged: list[str]) -> None:
    bench.restart(type("Loose", (Projection,), {"name": "loose", "stream_type": "member", "n": loose}), Visits)
    events = bench.append("homer", "visited", "x", "visited")
    assert bench.project(batch(*events))
    assert bench.view("homer", "visits") == {"visits": 2}, "poison like any other"
    bench.backlog().defer({lane("homer"): (1, 1)}, 5000)
    bench.idle()
    bench.sink.error = RegionUnavailable("down")
    bench.restart()
    bench.project(batch(*events))
    assert len(bench.refused()) == 1
    assert set(said(logged)) >= {"projector.quarantined", "projector.defers"}
    for text in (bench.said(), "\n".join(logged)):
        assert not re.search(r"horse|4929", text)


@pytest.mark.parametrize("case", ["too large", "beyond 2^53"])
def test_a_view_that_no_event_fits_into_any_more_is_one_record(bench: Bench, case: str) -> None:
    large = register(lambda p: 10**17, x=lambda p: 1) if case == "beyond 2^53" else register(x=lambda p: p["text"])
    bench.restart(type("Large", (Projection,), {"name": "large", "stream_type": "member", "n": large}))
    (poison,) = bench.append("homer", "x", text="x" * 250_000)  # stored as state and as value
    bench.project(batch(poison))
    for _ in range(3):
        bench.project(batch(*bench.append("homer", "other")))
    assert [poison.id in key for key in bench.refused()] == [True]


# -- regions that are not known ----------------------------------------------------------------------------------------


def foreign(bench: Bench) -> list[Event]:
    """Two events that a new region has copied here."""
    clock = HybridLogicalClock(lambda: 1_799_999_990_000)
    elsewhere = EventStore(MemoryStorage(), NEW, [EAST, WEST, NEW], clock)
    events = [elsewhere.append("member/homer", NewEvent("joined", {"name": name}))[0] for name in ("h", "homer")]
    bench.table.insert_each(events)
    return events


def test_events_of_an_unknown_region_wait_as_lanes_and_their_region_is_listed_once(bench: Bench) -> None:
    own, events = bench.append("bart", "joined", name="b"), foreign(bench)
    for event in events:
        assert bench.project(batch(event))
    assert bench.project(batch(*own))
    assert bench.view("bart") == {"called": "b", "visits": 0, "paid": 0}
    assert list(bench.waiting()) == [events[0].lane]
    assert bench.refused() == [f"region {NEW}"]
    ((_, found),) = bench.quarantine.records()
    assert found["reason"].startswith(
        "eu-central-1 is not a known region of this system (eu-west-1, us-east-1); add it to the peers"
    )
    assert bench.letter() == []


def test_a_process_that_knows_the_region_folds_what_waited_and_lists_it_no_more(bench: Bench) -> None:
    bench.project(batch(*foreign(bench)))
    assert bench.view("homer") is None
    bench.regions = (EAST, WEST, NEW)
    bench.restart()
    bench.idle()
    assert bench.view("homer") == {"called": "homer", "visits": 0, "paid": 0}
    assert (bench.waiting(), bench.refused()) == ({}, [])


def test_comparing_all_lanes_folds_nothing_of_an_unknown_region_either(bench: Bench) -> None:
    bench.append("bart", "joined", name="b")
    events = foreign(bench)
    bench.projector.reconcile()
    assert bench.view("bart") == {"called": "b", "visits": 0, "paid": 0}
    assert bench.waiting() == {events[0].lane: (1, 2)}


def test_an_engine_says_what_to_do_about_them(bench: Bench) -> None:
    own, events = bench.append("bart", "joined", name="b"), foreign(bench)
    with pytest.raises(LanesWait, match="otherwise its events in the table are forged") as caught:
        bench.projector.feeds[0].engine.apply([*events, *own])
    assert (caught.value.lanes, list(caught.value.strangers)) == ({events[0].lane: (1, 2)}, [NEW])
    assert bench.view("bart") == {"called": "b", "visits": 0, "paid": 0}


# -- keys of a region that is down -------------------------------------------------------------------------------------


class Peer(MemoryKeys):
    """West's keys as East sees them."""

    down = False

    def get(self, subject: str) -> SubjectKeys:
        if self.down:
            raise RegionUnavailable("eu-west-1 does not answer")
        return super().get(subject)


class Protected(Projection):
    name, stream_type = "member", "member"
    called = register(joined=lambda p: p["name"])
    visits = counter(visited=lambda p: 1)


def locked(bench: Bench, file: Path) -> tuple[Event, Event, Peer]:
    """An event that needs a key of West, which is down, and one that does not."""
    peer = Peer()
    there = PersonalData(WEST, {WEST: peer}, LocalWrapping(file))
    (event,) = bench.west.append(
        "member/homer", NewEvent("joined", there.protect("member/homer", {"name": "Homer"}, ["name"]))
    )
    bench.table.insert_each([event])
    keys: dict[str, KeyStorage] = {EAST: MemoryKeys(), WEST: peer}
    bench.personal = PersonalData(EAST, keys, LocalWrapping(file), lambda: bench.at)
    bench.restart(Protected)
    peer.down = True
    return event, bench.append("bart", "joined", name="Bart")[0], peer


def test_lanes_wait_for_keys_of_a_region_that_is_down_and_nothing_else_does(bench: Bench, tmp_path: Path) -> None:
    event, own, peer = locked(bench, tmp_path / "key")
    assert bench.project(batch(event, own))
    assert (bench.view("homer"), bench.view("bart")) == (None, {"called": "Bart", "visits": 0})
    for _ in range(2):  # still down: it comes back, and never as a dead letter
        assert bench.waiting() == {event.lane: (1, 1)}
        bench.idle()
    assert (bench.letter(), bench.refused()) == ([], [])
    peer.down = False
    bench.restart()  # another process: nothing comes from the stream any more
    bench.idle()
    assert bench.view("homer") == {"called": "Homer", "visits": 0}
    assert bench.waiting() == {}


def test_where_no_pointer_can_be_left_the_batch_comes_again(bench: Bench, tmp_path: Path) -> None:
    event, own, peer = locked(bench, tmp_path / "key")
    bench.break_backlog(RegionUnavailable("down"))
    assert not bench.project(batch(event, own))
    bench.break_backlog(None)
    peer.down = False
    bench.at += 30
    assert bench.project(batch(event, own))
    assert bench.view("homer") == {"called": "Homer", "visits": 0}


# -- secondary sinks ---------------------------------------------------------------------------------------------------


def visit(bench: Bench, *names: str) -> None:
    assert bench.project(batch(*(event for name in names for event in bench.append(name, "visited"))))


def visits(bench: Bench) -> dict[str, int]:
    return {view.key.removeprefix("member/"): view.value["visits"] for view in bench.second.views("visits")}


def test_a_secondary_sink_gets_what_the_first_one_gets(pair: Bench) -> None:
    visit(pair, "homer", "lisa", "homer")
    assert visits(pair) == {"homer": 2, "lisa": 1}
    assert pair.digests() == pair.digests(pair.second)
    assert (pair.waiting(), pair.waiting(TO_SECOND)) == ({}, {})


def test_while_it_is_down_lanes_wait_and_afterwards_it_has_everything(pair: Bench, logged: list[str]) -> None:
    visit(pair, "homer")
    pair.second.error = RegionUnavailable("the server does not answer")
    visit(pair, "homer", "lisa")
    assert pair.waiting(TO_SECOND) == {lane("homer"): (2, 2), lane("lisa"): (1, 1)}
    asked = pair.second.asked
    visit(pair, "homer", "bart")
    assert pair.second.asked == asked, "it is left alone for a while"
    assert pair.view("homer", "visits") == {"visits": 3}, "the first sink is not concerned"
    pair.idle()
    assert pair.waiting(TO_SECOND).keys() == {lane("homer"), lane("lisa"), lane("bart")}, "down still"
    pair.second.error = None
    pair.idle()
    visit(pair, "lisa")
    pair.idle()
    assert visits(pair) == {"bart": 1, "homer": 3, "lisa": 2}
    assert pair.waiting(TO_SECOND) == {}
    assert "follower.unavailable" in said(logged)


def test_a_new_process_brings_what_an_earlier_one_left_of_it(pair: Bench) -> None:
    pair.second.error = RegionUnavailable("the server does not answer")
    visit(pair, *(f"u{n:03}" for n in range(130)))
    pair.second.error = None
    pair.restart()
    pair.idle()
    assert (len(visits(pair)), pair.waiting(TO_SECOND)) == (130, {})


def test_what_waits_is_brought_a_part_a_turn_and_the_stream_has_its_turn_in_between() -> None:
    pair = Bench("worker", "table", sinks=2)
    pair.second.error = RegionUnavailable("the server does not answer")
    visit(pair, *(f"u{n:03}" for n in range(120)))
    pair.second.error = None
    pair.restart()
    pair.worker.turn()
    assert len(pair.waiting(TO_SECOND)) == 70
    visit(pair, "homer")
    assert len(pair.waiting(TO_SECOND)) == 20
    assert len(visits(pair)) == 101, "the new one at once"


def test_a_sink_that_refuses_us_is_left_alone_until_somebody_has_mended_it(pair: Bench) -> None:
    visit(pair, "homer")
    pair.second.error = InvalidConfig("the server refuses the connection: password authentication failed")
    with structlog.testing.capture_logs() as lines:
        visit(pair, "homer")
        asked, of_loading = pair.second.asked, len(lines)
        visit(pair, "lisa")
        assert pair.second.asked == asked, "it is left alone for a while"
        pair.restart()
        pair.idle()
    for some in (lines[:of_loading], lines[of_loading:]):  # while it is open, and when it is to be opened
        assert {line["log_level"] for line in some if line["event"] == "follower.refuses"} == {"error"}
    assert pair.waiting(TO_SECOND).keys() == {lane("homer"), lane("lisa")}
    assert pair.view("homer", "visits") == {"visits": 2}
    pair.second.error = None
    pair.idle()
    assert (visits(pair), pair.waiting(TO_SECOND)) == ({"homer": 2, "lisa": 1}, {})


def test_what_no_sink_can_digest_is_counted_once_and_does_not_wait(pair: Bench) -> None:
    _, events = poisoned(pair)
    pair.project(batch(*events))
    assert pair.metric("ProjectionFailures")[-1] == 1
    assert len(pair.refused()) == 1
    assert (pair.waiting(), pair.waiting(TO_SECOND)) == ({}, {})


def test_what_one_sink_cannot_fold_stays_in_quarantine_though_the_other_one_can(pair: Bench) -> None:
    (event,) = pair.append("homer", "visited")
    pair.second.damaged = {ViewKey("visits", "member/homer")}
    pair.project(batch(event))
    for _ in range(2):
        pair.idle()
        assert pair.refused() == [f"visits {event.id}"]
    pair.second.damaged = set()
    pair.idle()
    assert pair.refused() == []
    assert visits(pair) == {"homer": 1}


def test_a_pointer_to_the_views_is_one_to_every_sink(pair: Bench) -> None:
    pair.append("homer", "visited")
    pair.backlog().defer({lane("homer"): (1, 1)}, 5000)  # a batch that was given up, or all lanes that are compared
    pair.idle()
    assert visits(pair) == {"homer": 1}
    pair.append("lisa", "visited")
    pair.projector.reconcile()
    assert visits(pair) == {"homer": 1, "lisa": 1}


def test_while_what_a_secondary_sink_lacks_cannot_be_noted_the_batch_comes_again(pair: Bench) -> None:
    events = pair.append("homer", "visited")
    pair.second.error = RegionUnavailable("the server does not answer")
    pair.break_backlog(RegionUnavailable("down"))
    assert not pair.project(batch(*events))
    pair.break_backlog(None)
    assert pair.project(batch(*events))
    assert list(pair.waiting(TO_SECOND)) == [lane("homer")]


def test_lanes_that_wait_for_keys_wait_for_every_sink(pair: Bench, tmp_path: Path) -> None:
    event, own, peer = locked(pair, tmp_path / "key")
    pair.project(batch(event, own))
    assert pair.waiting() == pair.waiting(TO_SECOND) == {event.lane: (1, 1)}
    peer.down = False
    pair.idle()
    assert (pair.waiting(), pair.waiting(TO_SECOND)) == ({}, {})
    assert pair.view("homer", sink=pair.second) == pair.view("homer") == {"called": "Homer", "visits": 0}


# -- all of it together ------------------------------------------------------------------------------------------------


@trials(max_examples=120, deadline=None)
@given(
    st.sampled_from(WAYS),
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(["homer", "marge"]),
                st.sampled_from(["visited", "visited", "joined"]),
                st.sampled_from([EAST, WEST]),
            ),
            max_size=5,
        ),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.sampled_from(["fine", "before", "after"]), max_size=12),
    st.lists(st.booleans(), max_size=8),
    st.booleans(),
)  # fmt: skip
def test_a_batch_comes_until_it_is_taken_and_then_the_views_of_every_sink_are_whole(
    way: tuple[str, str], plan: Any, faults: list[str], refusals: list[bool], partial: bool
) -> None:
    bench = Bench(*way, sinks=2, partial=partial)
    bench.sink.faults, bench.second.faults = iter(faults), iter(faults[::-1])
    bench.queue.errors = bench.letters.errors = bench.control.errors = iter(refusals)
    history: list[Event] = []
    for number, appends in enumerate(plan):
        events = [event for stream, kind, at in appends for event in bench.append(stream, kind, at=at)]
        history += events
        for attempt in range(100):
            if attempt % 2:
                bench.restart()
            bench.at += 5
            if bench.project(batch(*events)):
                break
        else:
            raise AssertionError(f"batch {number} is never taken")
    bench.sink.faults = bench.second.faults = iter(())
    bench.queue.errors = bench.letters.errors = bench.control.errors = iter(())
    for _ in range(4):
        bench.idle()
    whole = Bench(table=bench.table)
    whole.project(batch(*history))
    assert bench.digests() == bench.digests(bench.second) == whole.digests()
    assert bench.refused() == whole.refused()
    assert (bench.waiting(), bench.waiting(TO_SECOND)) == ({}, {})

    bench.restart(Mended, Visits)
    for _ in range(2):
        bench.idle()
    mended = Bench(projections=(Mended, Visits), table=bench.table)
    mended.project(batch(*history))
    assert bench.digests() == bench.digests(bench.second) == mended.digests()
    assert bench.refused() == []
    assert "horse" not in bench.said()
