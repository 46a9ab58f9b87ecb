"""Further sinks of a projector: one that is down holds up nothing, and has everything when it is back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import structlog

from projectors import Engine, MemorySink, Projection, counter, register
from projectors.failures import Failure, LanesWait
from projectors.followers import Follower
from projectors.settings import read_sinks, sink_id
from projectors.sinks.port import Change
from projectors.worker import Projector
from replicator import Event, EventStore, HybridLogicalClock, MemoryStorage, NewEvent, Observed
from replicator.backlog import TableBacklog
from replicator.control import MemoryControl, Quarantine
from replicator.domain.names import LaneId
from replicator.errors import InvalidConfig, RegionUnavailable
from replicator.pointers import spans
from replicator.streams import Batch

EAST, WEST = "us-east-1", "eu-west-1"


class Visits(Projection):
    name = "visits"
    stream_type = "user"
    n = counter(visited=lambda p: p.get("n", 1))


class Flaky(MemorySink):
    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.refuses = False
        self.asked = 0

    def load(self, keys: Any) -> Any:
        self.asked += 1
        if self.down:
            raise RegionUnavailable("the server does not answer")
        if self.refuses:
            raise InvalidConfig("the server refuses the connection: password authentication failed")
        return super().load(keys)

    def save(self, changes: Sequence[Change]) -> list[bool]:
        if self.down:
            raise RegionUnavailable("the server does not answer")
        return super().save(changes)


class Bench:
    def __init__(self) -> None:
        self.store = EventStore(MemoryStorage(), EAST, [EAST], HybridLogicalClock(lambda: 1_763_914_981_123))
        self.control, self.sink, self.now = MemoryControl(), Flaky(), 0.0
        self.failures: list[Failure] = []
        self.follower = self.started()

    def started(self) -> Follower:
        backlog = TableBacklog(self.control, "us-east-1>views>postgresql://host/db")
        engine = Engine([Visits], self.store, self.sink)
        return Follower("postgresql://host/db", engine, backlog, self.failures.extend, lambda: self.now)

    def visit(self, *names: str, **payload: Any) -> list[Event]:
        events = [e for name in names for e in self.store.append(f"user/{name}", NewEvent("visited", payload))]
        self.follower.fold(lambda engine: engine.apply(events), spans(events))
        return events

    def visits(self) -> dict[str, int]:
        return {view.key: view.value["n"] for view in self.sink.views("visits")}

    def waiting(self) -> list[str]:
        return [key for key, _ in self.control.get_all("backlog#us-east-1>views>postgresql://host/db")]


def test_a_follower_gets_what_the_first_sink_gets() -> None:
    bench = Bench()
    bench.visit("homer", "lisa", "homer")
    assert (bench.visits(), bench.waiting()) == ({"user/homer": 2, "user/lisa": 1}, [])


def test_while_it_is_down_lanes_wait_and_afterwards_it_has_everything() -> None:
    bench = Bench()
    bench.visit("homer")
    bench.sink.down = True
    bench.visit("homer", "lisa")
    assert bench.waiting() == ["us-east-1#user#homer", "us-east-1#user#lisa"]
    asked = bench.sink.asked
    bench.visit("homer", "bart")
    bench.follower.resume()
    assert bench.sink.asked == asked, "it is left alone for a while"
    bench.sink.down = False
    bench.now = 11
    bench.visit("lisa")
    bench.follower.resume()
    assert bench.visits() == {"user/bart": 1, "user/homer": 3, "user/lisa": 2}
    assert bench.waiting() == []


def test_a_new_process_brings_what_an_earlier_one_left() -> None:
    bench = Bench()
    bench.sink.down = True
    bench.visit("homer", "lisa")
    bench.sink.down = False
    bench.follower = bench.started()
    bench.follower.resume()
    assert (bench.visits(), bench.waiting()) == ({"user/homer": 1, "user/lisa": 1}, [])
    asked = bench.sink.asked
    bench.follower.resume()
    assert bench.sink.asked == asked


def test_down_again_while_it_catches_up_keeps_what_is_left() -> None:
    bench = Bench()
    bench.sink.down = True
    bench.visit("homer")
    bench.now = 11
    bench.follower.resume()
    assert bench.waiting() == ["us-east-1#user#homer"]
    bench.sink.down, bench.now = False, 22
    bench.follower.resume()
    assert (bench.visits(), bench.waiting()) == ({"user/homer": 1}, [])


def test_what_cannot_be_digested_is_reported_and_does_not_wait() -> None:
    bench = Bench()
    (event,) = bench.visit("homer", n="many")
    assert [each.event_id for each in bench.failures] == [event.id]
    assert bench.waiting() == []


def test_lanes_that_wait_for_keys_stay_until_they_can_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    apply, catch_up = Engine.apply, Engine.catch_up
    locked = [True]

    def waits(self: Engine, given: Any) -> Any:
        lanes = spans(list(given)) if not isinstance(given, dict) else {lane: (1, last) for lane, last in given.items()}
        if locked[0]:
            raise LanesWait(lanes, [], "no key")
        return catch_up(self, given) if isinstance(given, dict) else apply(self, given)

    monkeypatch.setattr(Engine, "apply", waits)
    monkeypatch.setattr(Engine, "catch_up", waits)
    bench.visit("homer")
    bench.follower.resume()
    assert bench.waiting() == ["us-east-1#user#homer"]
    locked[0] = False
    bench.now = 11
    bench.follower.resume()
    assert (bench.visits(), bench.waiting()) == ({"user/homer": 1}, [])


def test_a_sink_that_refuses_us_is_left_alone_until_somebody_has_mended_it() -> None:
    bench = Bench()
    bench.sink.refuses = True
    with structlog.testing.capture_logs() as lines:
        bench.visit("homer")
        bench.now = 11
        assert not bench.follower.resume()
    assert [(line["log_level"], line["event"]) for line in lines] == [("error", "follower.refuses")] * 2
    assert bench.waiting() == ["us-east-1#user#homer"]
    asked = bench.sink.asked
    bench.visit("lisa")
    assert bench.sink.asked == asked, "it is left alone for a while"
    bench.sink.refuses, bench.now = False, 22
    bench.follower.resume()
    assert (bench.visits(), bench.waiting()) == ({"user/homer": 1, "user/lisa": 1}, [])


def test_what_waits_is_brought_a_page_a_turn() -> None:
    bench = Bench()
    bench.sink.down = True
    bench.visit(*(f"u{n:03}" for n in range(250)))
    bench.sink.down, bench.now, asked = False, 11, bench.sink.asked
    left = []
    while bench.follower.resume():
        left.append(len(bench.waiting()))
    assert (left, bench.waiting(), bench.sink.asked - asked) == ([150, 50], [], 3)
    assert len(bench.visits()) == 250


def test_lanes_that_come_to_wait_behind_a_round_through_the_backlog_are_not_forgotten() -> None:
    bench = Bench()
    bench.sink.down = True
    bench.visit(*(f"u{n:03}" for n in range(150)))
    bench.sink.down, bench.now = False, 11
    assert bench.follower.resume()
    bench.sink.down = True
    bench.visit("u000")
    bench.sink.down, bench.now = False, 22
    assert bench.follower.resume(), "there is more: the round has passed by what came"
    assert bench.waiting() == ["us-east-1#user#u000"]
    assert not bench.follower.resume()
    assert (bench.visits()["user/u000"], bench.waiting()) == (2, [])


# -- what is kept for a sink -------------------------------------------------------------------------------------------

DATABASE = "postgresql://meridian:not-a-secret@host:5432/views"


@pytest.mark.parametrize(
    "address", ["dynamodb", "postgresql://host:5432/views", "redis://host:6379/0", "opensearch+https://host:9200"]
)
def test_a_sink_whose_address_is_shown_whole_is_known_by_it(address: str) -> None:
    assert sink_id(address) == address


def test_sinks_that_differ_in_what_is_not_shown_are_told_apart_and_a_password_tells_nothing() -> None:
    apart = [
        "postgresql://host:5432/views",
        DATABASE,
        "postgresql://other:not-a-secret@host:5432/views",
        DATABASE + "?options=-csearch_path%3Dshop",
        DATABASE + "?options=-csearch_path%3Dbilling",
    ]
    ids = [sink_id(each) for each in apart]
    assert len(set(ids)) == len(apart)
    assert all(each.startswith("postgresql://host:5432/views") and " " not in each for each in ids)
    assert "secret" not in str(ids)
    for same in (
        DATABASE.replace("not-a-secret", "an@other"),
        DATABASE.replace(":not-a-secret", ""),
        DATABASE + "?password=x",
        DATABASE.replace(":not-a-secret", "") + "?password=y",
    ):
        assert sink_id(same) == sink_id(DATABASE), same
    assert sink_id("redis://h:6379?db=1") != sink_id("redis://h:6379?db=2")


def test_one_sink_is_not_named_twice_whatever_the_password() -> None:
    other = DATABASE + "?options=-csearch_path%3Dshop"
    assert read_sinks(["dynamodb", DATABASE, other]) == ["dynamodb", DATABASE, other]
    with pytest.raises(InvalidConfig, match=r"named twice \(postgresql://host:5432/views\)") as raised:
        read_sinks([DATABASE, DATABASE.replace("not-a-secret", "another")])
    assert "secret" not in str(raised.value)


# -- the worker --------------------------------------------------------------------------------------------------------


class Mail(Projection):
    name = "mail"
    stream_type = "user"
    address = register(moved=lambda p: p["address"])


class Reader:
    """A stream without records; `trimmed` once."""

    def __init__(self) -> None:
        self.committed: list[Batch] = []

    def commit(self, batch: Batch) -> None:
        self.committed.append(batch)


class Worker:
    """A projector of one region that another one writes to; what it waits for is in `waiting`."""

    def __init__(self) -> None:
        storage, clock = MemoryStorage(), HybridLogicalClock(lambda: 1_763_914_981_123)
        self.east, self.west = (EventStore(storage, region, [EAST, WEST], clock) for region in (EAST, WEST))
        self.sink, self.control = Flaky(), MemoryControl()
        self.engine = Engine([Mail, Visits], self.east, self.sink)
        self.waiting = TableBacklog(self.control, "us-east-1>views")
        self.projector = Projector(
            EAST, Reader(), self.east, self.engine, Quarantine(self.control, "us-east-1>views"), 0.1, self.waiting  # type: ignore[arg-type]
        )  # fmt: skip

    def conflict(self) -> dict[LaneId, tuple[int, int]]:
        """Two events of which neither writer knew the other, behind one that both knew."""
        (first,) = self.east.append("user/homer", NewEvent("moved", {"address": "a"}))
        self.engine.apply([first])
        seen = Observed.of([first])
        for store, address in ((self.east, "b"), (self.west, "c")):
            store.append("user/homer", NewEvent("moved", {"address": address}), observed=seen)
        return {lane: (1, last) for lane, last in self.east.lanes()}


DISCARDED = [{"event": "projector.conflicts", "projection": "mail", "rule": "LwwRegister", "discarded": 1}]


def said(lines: Sequence[Any]) -> list[dict[str, Any]]:
    return [
        {key: line[key] for key in DISCARDED[0]} for line in lines if line["event"] == "projector.conflicts"
    ]  # fmt: skip


def test_conflicts_that_a_reconcile_meets_are_told_too() -> None:
    worker = Worker()
    worker.conflict()
    with structlog.testing.capture_logs() as lines:
        worker.projector._project([Batch("shard", (), None, trimmed=True)])
    assert said(lines) == DISCARDED


def test_conflicts_that_lanes_meet_which_had_waited_are_told_too_and_they_come_a_page_a_turn() -> None:
    worker = Worker()
    lanes = worker.conflict()
    worker.waiting.defer(lanes, 7)
    more = [worker.east.append(f"user/z{n:03}", NewEvent("visited", {}))[0] for n in range(150)]
    worker.waiting.defer(spans(more), 7)
    asked = worker.sink.asked
    with structlog.testing.capture_logs() as lines:
        assert worker.projector._resume()
    assert said(lines) == DISCARDED
    assert worker.sink.asked == asked + 1
    assert not worker.projector._resume()
    assert worker.waiting.page(1) == {}
    assert len(list(worker.sink.views("visits"))) == 151
