"""The event store driven against a plain model by hypothesis: two regions, any operations, any copying, in any order.

The model knows nothing of clocks, digests or storage: lanes are lists of numbers, and what a region knows is how much of
each lane has arrived there.
"""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from replicator import (
    Accept,
    AtToken,
    ConsistencyToken,
    EventStore,
    IfEmpty,
    LaneId,
    NewEvent,
    Operation,
    Reject,
    Rejected,
    Saved,
    StreamId,
    VersionVector,
    When,
)
from replicator.connect import connect_store
from replicator.eventstore.change_feed import changes
from replicator.eventstore.reducer import Reducer
from replicator.runtime.settings import Settings
from tests.processes import HANGING_SECONDS
from tests.regions import EAST, WEST, stores_in_memory

REGIONS = (EAST, WEST)
COUNT: Reducer[int] = Reducer(0, {"added": lambda count, _: count + 1})
regions = st.sampled_from(REGIONS)
names = st.sampled_from(["homer", "marge"])


class StoreMachine(RuleBasedStateMachine):
    """`lanes[home, name]` are the numbers appended there; `arrived[at, home, name]` how many of them `at` has."""

    connect: ClassVar[Any] = None
    tokens: Bundle[tuple[str, ConsistencyToken]] = Bundle("tokens")

    @initialize()
    def begin(self) -> None:
        self.stores: dict[str, EventStore] = type(self).connect()
        self.run = uuid.uuid4().hex[:8]  # streams of their own, so that a table can be used again
        self.lanes: dict[tuple[str, str], list[int]] = {(h, n): [] for h in REGIONS for n in ("homer", "marge")}
        self.arrived = {(at, h, n): 0 for at in REGIONS for h, n in self.lanes}
        self.number = 0
        self.followed = {(at, n): (None, []) for at in REGIONS for n in ("homer", "marge")}

    def stream(self, name: str) -> StreamId:
        return StreamId("user", f"{name}-{self.run}")

    def known(self, at: str, name: str) -> dict[str, int]:
        return {home: n for home in REGIONS if (n := self.arrived[at, home, name])}

    def new(self) -> NewEvent:
        self.number += 1
        return NewEvent("added", {"n": self.number})

    def saved(self, at: str, name: str, result: Any, numbers: list[int]) -> tuple[str, ConsistencyToken]:
        assert isinstance(result, Saved), result
        self.lanes[at, name] += numbers
        self.arrived[at, at, name] = len(self.lanes[at, name])
        assert result.token.vector(self.stream(name)).get(at) == len(self.lanes[at, name])
        return name, result.token

    @rule(target=tokens, at=regions, name=names, count=st.integers(1, 3))
    def append(self, at: str, name: str, count: int) -> tuple[str, ConsistencyToken]:
        events = [self.new() for _ in range(count)]
        result = self.stores[at].save(Operation(self.stream(name), events))
        return self.saved(at, name, result, [event.payload["n"] for event in events])

    @rule(target=tokens, at=regions, name=names)
    def first_only(self, at: str, name: str) -> Any:
        event = self.new()
        result = self.stores[at].save(Operation(self.stream(name), event, IfEmpty()))
        if not self.known(at, name):
            return self.saved(at, name, result, [event.payload["n"]])
        return self.refused(at, name, result)

    @rule(target=tokens, at=regions, name=names, limit=st.integers(0, 6))
    def at_most(self, at: str, name: str, limit: int) -> Any:
        event = self.new()
        test = When(COUNT, lambda count: Accept(event) if count < limit else Reject(f"{count} are enough"))
        result = self.stores[at].save(Operation(self.stream(name), (), test))
        if sum(self.known(at, name).values()) < limit:
            return self.saved(at, name, result, [event.payload["n"]])
        return self.refused(at, name, result)

    @rule(target=tokens, at=regions, given=tokens)
    def if_unmoved(self, at: str, given: tuple[str, ConsistencyToken]) -> Any:
        name, token = given
        event, stream = self.new(), self.stream(name)
        result = self.stores[at].save(Operation(stream, event, AtToken(token)), timeout=HANGING_SECONDS)
        if VersionVector(self.known(at, name)) <= token.vector(stream):  # what it lacks of the token is pulled
            return self.saved(at, name, result, [event.payload["n"]])
        assert isinstance(result, Rejected)
        return name, result.token

    @rule(at=regions, count=st.integers(0, 6))
    def both_or_none(self, at: str, count: int) -> None:
        event, other = self.new(), self.new()
        test = When(COUNT, lambda known: Accept(other) if known <= count else Reject("too many"))
        result = self.stores[at].save(
            Operation(self.stream("homer"), event, IfEmpty()), Operation(self.stream("marge"), (), test)
        )
        if not self.known(at, "homer") and sum(self.known(at, "marge").values()) <= count:
            self.saved(at, "homer", result, [event.payload["n"]])
            self.saved(at, "marge", result, [other.payload["n"]])
        else:
            assert isinstance(result, Rejected)

    @rule(to=regions, name=names, upto=st.integers(1, 8))
    def copy(self, to: str, name: str, upto: int) -> None:
        """A part of the other region's lane arrives, a gap-free prefix as the replicator makes it."""
        home = WEST if to == EAST else EAST
        lane, have = LaneId(home, self.stream(name)), self.arrived[to, home, name]
        for event in list(self.stores[home].read_lane(lane.stream, home, have + 1, upto)):
            self.stores[to]._lanes._storage.insert([event])
            self.arrived[to, home, name] = event.sequence

    @rule(at=regions, given=tokens)
    def read_at_least(self, at: str, given: tuple[str, ConsistencyToken]) -> None:
        name, token = given
        state = self.stores[at].state(self.stream(name), token, HANGING_SECONDS)
        assert state.vector == token.vector(self.stream(name)).join(VersionVector(self.known(at, name)))
        expected = sorted(n for home, last in state.vector.items() for n in self.lanes[home, name][:last])
        assert sorted(event.payload["n"] for event in state.events()) == expected

    @rule(at=regions, name=names, limit=st.integers(1, 4))
    def follow(self, at: str, name: str, limit: int) -> None:
        """A page more of the change feed: everything comes once, whatever arrives between the pages."""
        token, got = self.followed[at, name]
        page = changes(self.stores[at], [self.stream(name)], token, limit)
        got = [*got, *((event.region, event.payload["n"]) for event in page.events)]
        self.followed[at, name] = (page.token, got)
        for home in REGIONS:
            numbers = [n for region, n in got if region == home]
            assert numbers == self.lanes[home, name][: len(numbers)]
        assert page.more == (len(got) < sum(self.known(at, name).values()))

    def refused(self, at: str, name: str, result: Any) -> tuple[str, ConsistencyToken]:
        assert isinstance(result, Rejected), result
        assert result.token.vector(self.stream(name)) == VersionVector(self.known(at, name))
        return name, result.token

    @invariant()
    def every_region_reads_what_the_model_says(self) -> None:
        for at, store in self.stores.items() if hasattr(self, "stores") else ():
            for name in ("homer", "marge"):
                events = list(store.read(self.stream(name)))
                assert [event.order for event in events] == sorted(event.order for event in events)
                for home in REGIONS:
                    lane = [event.payload["n"] for event in events if event.region == home]
                    assert lane == self.lanes[home, name][: self.arrived[at, home, name]]


def drive(connect: Any, examples: int, steps: int, **more: Any) -> None:
    machine = type("Machine", (StoreMachine,), {"connect": staticmethod(connect)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            **more,
        ),
    )


def test_the_store_in_memory_behaves_as_the_model() -> None:
    drive(stores_in_memory, examples=60, steps=30)


@pytest.mark.emulator
def test_the_store_on_the_emulator_behaves_as_the_model(emptied_settings: Settings) -> None:
    stores = {region: connect_store(emptied_settings.at(region)) for region in REGIONS}
    drive(lambda: stores, examples=8, steps=20)


@pytest.mark.soak
def test_the_store_in_memory_behaves_as_the_model_for_long() -> None:
    drive(stores_in_memory, examples=1000, steps=60)


@pytest.mark.parametrize("precondition", [IfEmpty, AtToken, When])
def test_the_machine_finds_a_store_that_forgets_a_precondition(monkeypatch: pytest.MonkeyPatch, precondition: type) -> None:
    monkeypatch.setattr(precondition, "judge", lambda self, state: Accept())
    with pytest.raises(AssertionError):
        drive(stores_in_memory, examples=200, steps=20, phases=[Phase.generate], derandomize=True)
