"""Publishing: every declared event at least once and in lane order, whatever the bus, Kinesis and the machine do."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from replicator.control.memory_control import MemoryControl
from replicator.control.quarantine import Quarantine
from replicator.domain.errors import RegionUnavailable
from replicator.domain.event import Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.store import EventStore
from replicator.external import ControlMarks, Deduplicator, External, ExternalEvent, publish
from replicator.external.publisher import Publisher

from externals import Accounts, Crashed, FakeDestination  # isort: skip

REGIONS = ("eu-west-1", "us-east-1")
QUARANTINE = "us-east-1>external"


@dataclass
class Bench:
    """A region with lanes in its table. `publisher` makes a new one: a process that was started again."""

    external: type[External] = Accounts
    storage: MemoryStorage = field(default_factory=MemoryStorage)
    control: MemoryControl = field(default_factory=MemoryControl)
    destination: FakeDestination = field(default_factory=FakeDestination)

    def append(self, stream: str, *types: str, region: str = "us-east-1") -> tuple[Event, ...]:
        store = EventStore(self.storage, region, REGIONS)
        return store.append(f"user/{stream}", *[NewEvent(type, PAYLOADS[type]) for type in types])

    def publisher(self, **options: Any) -> Publisher:
        store = EventStore(self.storage, "us-east-1", REGIONS)
        return Publisher(self.external, store, self.control, self.destination, **{"attempts": 1, **options})

    def arrived(self) -> list[ExternalEvent]:
        return [ExternalEvent.parse(record.data) for record in self.destination.arrived]

    def quarantined(self) -> dict[str, str]:
        return {key: value["reason"] for key, value in Quarantine(self.control, QUARANTINE).records()}


PAYLOADS: dict[str, dict[str, Any]] = {
    "registered": {"plan": "plus", "name": "Homer"},
    "moved": {"to": {"city": "Springfield"}},
    "inner": {"secret": 1},
}


def transformed(external: type[External], events: Sequence[Event]) -> list[ExternalEvent]:
    """What is to come out of a lane, computed from the lane alone."""
    found: list[ExternalEvent] = []
    for event in events:
        made = external.transform(event, found[-1].sequence if found else 0)
        found += [made] if made else []
    return found


def deduplicated(events: Sequence[ExternalEvent]) -> tuple[dict[LaneId, list[ExternalEvent]], list[ExternalEvent]]:
    """By lane, what a consumer's handler is called with, and what it is told that it missed."""
    missed: list[ExternalEvent] = []
    marks = Deduplicator(ControlMarks(MemoryControl(), "c"), missed=lambda event, _: missed.append(event))
    handled: dict[LaneId, list[ExternalEvent]] = {}
    for event in events:
        if marks.is_new(event):
            handled.setdefault(event.lane, []).append(event)
            marks.done(event)
    return handled, missed


FATES = st.sampled_from(["taken", "taken", "taken", "refused", "arrived", "crash before", "crash after"])


@hypothesis(max_examples=300)
@given(st.data())
def test_any_delivery_and_any_failure_gives_every_declared_event_once_and_in_order_after_deduplication(data: Any) -> None:
    bench = Bench()
    types = st.lists(st.sampled_from(["registered", "moved", "inner"]), min_size=1, max_size=8)
    events: list[Event] = []
    for region, stream in (("us-east-1", "homer"), ("us-east-1", "marge"), ("eu-west-1", "homer")):
        events += bench.append(stream, *data.draw(types), region=region)
    bench.destination.plan = data.draw(st.lists(FATES, max_size=40))
    running = [bench.publisher(), bench.publisher()]  # two at once, each with its own memory
    batches = data.draw(st.lists(st.tuples(st.integers(0, 1), st.lists(st.sampled_from(events), max_size=8)), max_size=12))
    for which, batch in batches:
        try:
            running[which].publish(batch)
        except Crashed:
            running[which] = bench.publisher()
    left = {event.lane: event.sequence for event in events}  # what a mapping or a reader gives again until it is done
    bench.destination.plan = [fate for fate in bench.destination.plan if "crash" not in fate]
    while left:
        left = running[0].publish((), left)
    handled, missed = deduplicated(bench.arrived())
    for lane in {event.lane for event in events}:
        assert handled.get(lane, []) == transformed(Accounts, [event for event in events if event.lane == lane])
    assert missed == []
    assert bench.quarantined() == {}


def test_two_publishers_in_two_threads_skip_nothing() -> None:
    bench = Bench()
    events = [e for n in range(5) for e in bench.append(f"s{n}", *["registered", "inner", "moved"] * 20)]
    threads = [threading.Thread(target=bench.publisher().publish, args=(events,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    handled, missed = deduplicated(bench.arrived())
    for lane in {event.lane for event in events}:
        assert handled[lane] == transformed(Accounts, [event for event in events if event.lane == lane])
    assert missed == []


def test_killed_between_putting_and_saving_the_events_come_again_and_none_is_skipped() -> None:
    bench = Bench()
    events = bench.append("homer", "registered", "moved", "moved")
    bench.destination.plan = ["taken", "crash after"]
    with pytest.raises(Crashed):
        bench.publisher().publish(events)
    assert bench.publisher().publish(events[:1]) == {}  # the first record alone comes again
    assert bench.publisher().publish(events[2:]) == {}
    assert [event.sequence for event in bench.arrived()] == [1, 2, 1, 2, 3]


def test_a_gap_is_read_from_the_lane() -> None:
    bench = Bench()
    events = bench.append("homer", "registered", "moved", "inner", "moved")
    assert bench.publisher().publish(events[3:]) == {}
    assert bench.arrived() == transformed(Accounts, events)


def test_a_lane_longer_than_a_page_goes_out_whole() -> None:
    bench = Bench()
    events = [e for _ in range(5) for e in bench.append("homer", *["moved"] * 50)]
    assert bench.publisher().publish(events[-1:]) == {}
    assert bench.arrived() == transformed(Accounts, events)


def test_without_time_left_what_is_left_is_named_and_what_was_done_is_kept() -> None:
    bench = Bench()
    events = [e for _ in range(3) for e in bench.append("homer", *["moved"] * 50)]
    assert bench.publisher().publish((), {events[0].lane: 150}, fits=lambda: False) == {events[0].lane: 150}
    assert [event.sequence for event in bench.arrived()] == list(range(1, 101))
    assert bench.publisher().publish((), {events[0].lane: 150}) == {}
    assert [event.sequence for event in bench.arrived()] == list(range(1, 151))


def test_in_the_usual_case_the_table_is_not_read() -> None:
    bench = Bench()
    publisher = bench.publisher()
    publisher.publish(bench.append("homer", "registered"))
    more = bench.append("homer", "moved", "moved")
    bench.storage.read = None  # type: ignore[method-assign]
    assert publisher.publish([more[1], more[0], more[1]]) == {}
    assert [event.sequence for event in bench.arrived()] == [1, 2, 3]


def test_only_own_lanes_are_published_when_the_setting_says_so() -> None:
    bench = Bench()
    events = [*bench.append("homer", "moved"), *bench.append("homer", "moved", region="eu-west-1")]
    assert bench.publisher(lanes="own").publish(events) == {}
    assert [event.region for event in bench.arrived()] == ["us-east-1"]
    assert bench.publisher(lanes="own").everything() == {events[0].lane: 1}
    assert bench.publisher().publish(events) == {}
    assert [event.region for event in bench.arrived()] == ["us-east-1", "eu-west-1"]


def test_what_kinesis_does_not_take_is_named_and_comes_later() -> None:
    bench = Bench()
    events = [*bench.append("homer", "moved", "moved"), *bench.append("marge", "moved", "moved")]
    bench.destination.plan = ["refused", "taken", "taken"]
    publisher = bench.publisher()
    assert publisher.publish(events) == {events[0].lane: 2}
    assert [event.id for event in bench.arrived()] == [events[2].id, events[3].id]
    assert publisher.publish((), {events[0].lane: 2}) == {}
    assert bench.quarantined() == {}


class Broken(Accounts):
    """Cannot publish a move: what a mistake in a transformation looks like."""

    moved = publish("user/moved", to="com.example.account.moved", enrich={"city": lambda e: 1 / 0})


def test_poison_stops_its_own_lane_and_is_recorded_once_without_payload() -> None:
    bench = Bench(external=Broken)
    poisoned = bench.append("homer", "registered", "moved", "registered")
    others = bench.append("marge", "registered", "registered")
    publisher = bench.publisher()
    assert publisher.publish([*poisoned, *others]) == {}
    assert publisher.publish(bench.append("homer", "registered")) == {}
    assert {event.id for event in bench.arrived()} == {poisoned[0].id, others[0].id, others[1].id}
    ((key, reason),) = bench.quarantined().items()
    assert key == poisoned[1].id
    assert "ZeroDivisionError at test_publisher.py:" in reason
    assert "Springfield" not in reason


def test_what_was_released_and_is_still_wrong_comes_back_with_the_lanes_next_event() -> None:
    bench = Bench(external=Broken)
    publisher = bench.publisher()
    publisher.publish(bench.append("homer", "moved"))
    kept = Quarantine(bench.control, QUARANTINE)
    kept.release(dict(kept.records()))
    publisher.publish(bench.append("homer", "registered"))
    assert list(bench.quarantined()) == ["us-east-1#user#homer#0000000000000001"]


def test_a_mended_transformation_brings_a_stopped_lane_up_and_takes_it_out_of_quarantine() -> None:
    bench = Bench(external=Broken)
    events = bench.append("homer", "registered", "moved", "registered")
    bench.publisher().publish(events)
    bench.external = Accounts
    mended = bench.publisher()
    assert mended.stopped() == {events[0].lane: 2}
    assert mended.publish((), mended.stopped()) == {}
    assert mended.publish(events) == {}
    assert bench.arrived() == transformed(Accounts, events)
    assert bench.quarantined() == {}
    assert mended.stopped() == {}


class Large(Accounts):
    """Publishes more than Kinesis takes."""

    moved = publish("user/moved", to="com.example.account.moved", enrich={"city": lambda e: "é" * 600_000})


def test_an_external_event_that_is_too_large_is_poison() -> None:
    bench = Bench(external=Large)
    events = bench.append("homer", "moved", "registered")
    assert bench.publisher().publish(events) == {}
    assert bench.arrived() == []
    assert "Kinesis takes 1,048,576" in bench.quarantined()[events[0].id]


def test_a_schema_version_that_is_not_declared_is_poison_not_a_guess() -> None:
    bench = Bench()
    store = EventStore(bench.storage, "us-east-1", REGIONS)
    events = store.append("user/homer", NewEvent("moved", PAYLOADS["moved"], version=2))
    assert bench.publisher().publish(events) == {}
    assert bench.arrived() == []
    assert "schema version 2" in bench.quarantined()[events[0].id]


def test_a_lane_whose_past_has_changed_is_stopped_and_said_so() -> None:
    bench = Bench()
    events = bench.append("homer", "moved", "moved")
    bench.publisher().publish(events)
    forked = MemoryStorage()  # a table restored from a backup, and written anew
    other = EventStore(forked, "us-east-1", REGIONS)
    later = other.append("user/homer", *[NewEvent("moved", {"to": {"city": "Shelbyville"}})] * 3)
    bench.storage = forked
    assert bench.publisher().publish(later) == {}
    assert len(bench.arrived()) == 2
    assert "past has changed" in bench.quarantined()[later[2].id]


def test_a_lane_with_a_hole_is_stopped_and_said_so() -> None:
    bench = Bench()
    events = bench.append("homer", "moved", "moved", "moved")
    torn = MemoryStorage()
    torn.insert([events[0]])
    torn.insert([events[2]])
    bench.storage = torn
    assert bench.publisher().publish(events[2:]) == {}
    assert [event.sequence for event in bench.arrived()] == [1]
    assert list(bench.quarantined()) == [events[1].id]


def test_a_record_that_names_an_event_that_is_nowhere_ends() -> None:
    bench = Bench()
    events = bench.append("homer", "moved")
    assert bench.publisher().publish((), {events[0].lane: 10**15, LaneId("us-east-1", StreamId("user", "x")): 5}) == {}
    assert [event.sequence for event in bench.arrived()] == [1]


def test_a_forged_event_that_does_not_follow_is_passed_over_for_the_one_in_the_table() -> None:
    bench = Bench()
    true = bench.append("homer", "moved", "moved")
    publisher = bench.publisher()
    publisher.publish(true[:1])
    forged = seal(true[0].lane, 2, true[1].hlc, NewEvent("moved", {"to": {"city": "Shelbyville"}}), EMPTY, bytes(32))
    assert publisher.publish([forged]) == {}
    assert [json.loads(record.data)["data"]["city"] for record in bench.destination.arrived] == ["Springfield"] * 2


def test_an_event_with_a_key_too_long_for_quarantine_is_recorded_all_the_same() -> None:
    bench = Bench(external=Broken)
    (event,) = bench.append("h" * 1024, "moved")
    assert bench.publisher().publish([event]) == {}
    ((key, reason),) = bench.quarantined().items()
    assert len(key.encode()) <= 1024
    assert event.id in reason


class Unavailable(MemoryControl):
    def put(self, scope: str, values: dict[str, Any]) -> None:
        raise RegionUnavailable("us-east-1 does not answer")


def test_a_position_that_cannot_be_saved_is_an_outage_and_the_events_come_again() -> None:
    bench = Bench(control=Unavailable())
    events = bench.append("homer", "moved", "moved")
    with pytest.raises(RegionUnavailable):
        bench.publisher().publish(events)
    bench.control = MemoryControl()
    assert bench.publisher().publish(events) == {}
    assert [event.sequence for event in bench.arrived()] == [1, 2, 1, 2]
