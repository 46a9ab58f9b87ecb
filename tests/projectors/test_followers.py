"""Further sinks of a projector: one that is down holds up nothing, and has everything when it is back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from projectors import Engine, MemorySink, Projection, counter
from projectors.engine import Failure, LanesWait
from projectors.followers import Follower
from projectors.sinks.port import Change
from replicator import Event, EventStore, HybridLogicalClock, MemoryStorage, NewEvent
from replicator.control import Backlog, MemoryControl, spans
from replicator.errors import RegionUnavailable

EAST = "us-east-1"


class Visits(Projection):
    name = "visits"
    stream_type = "user"
    n = counter(visited=lambda p: p.get("n", 1))


class Flaky(MemorySink):
    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.asked = 0

    def load(self, keys: Any) -> Any:
        self.asked += 1
        if self.down:
            raise RegionUnavailable("the server does not answer")
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
        backlog = Backlog(self.control, "us-east-1>views>postgresql://host/db")
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
