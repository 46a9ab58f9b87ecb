"""Conflicts: the same list in every region, each with both events; and the count of an engine that met them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from projectors import Engine, MemorySink, Projection, add, collection, counter, register, remove
from projectors.crdt import LwwRegister, Made
from projectors.engine.conflicts import Recent, between, conflicts
from projectors.engine.folding import Pass
from replicator import Event, EventStore, HybridLogicalClock, MemoryStorage, NewEvent, Observed
from replicator.domain.vector import EMPTY, VersionVector

EAST, WEST, SOUTH = REGIONS = ("us-east-1", "eu-west-1", "sa-east-1")
HOMER = "user/homer"


class Account(Projection):
    name = "account"
    stream_type = "user"
    email = register(moved=lambda p: p["email"])
    logins = counter(logged_in=lambda p: 1)
    groups = collection(joined=lambda p: add(p["group"]), left=lambda p: remove(p["group"]))


class Rooms(Projection):
    name = "rooms"
    stream_type = "user"
    rows = {"moved": lambda p: p["room"]}  # noqa: RUF012
    last = register(moved=lambda p: p["email"])


class World:
    """Three regions; each sees the others' events when it is told to."""

    def __init__(self) -> None:
        self.now = 1_763_914_981_000
        self.storages = {region: MemoryStorage() for region in REGIONS}
        self.stores = {
            region: EventStore(storage, region, REGIONS, HybridLogicalClock(lambda: self.now))
            for region, storage in self.storages.items()
        }
        self.events: list[Event] = []

    def write(self, region: str, kind: str, stream: str = HOMER, **payload: Any) -> Event:
        self.now += 1
        store = self.stores[region]
        (event,) = store.append(stream, NewEvent(kind, payload), observed=Observed.of(store.read(stream)))
        self.events.append(event)
        return event

    def sync(self) -> None:
        for storage in self.storages.values():
            storage.insert_each(self.events)


def shown(found: Any) -> list[tuple[str, str, str, str]]:
    return [(each.field, each.rule, each.discarded.id, each.kept.id) for each in found]


def test_who_lost_a_last_writer_wins_race_is_listed_with_the_winner() -> None:
    world = World()
    lost = world.write(EAST, "moved", email="a@x")
    won = world.write(WEST, "moved", email="b@x")
    assert shown(conflicts(Account, world.events)) == [("email", "LwwRegister", lost.id, won.id)]


def test_whoever_had_seen_the_other_conflicts_with_nobody() -> None:
    world = World()
    world.write(EAST, "moved", email="a@x")
    world.sync()
    world.write(WEST, "moved", email="b@x")
    world.write(WEST, "moved", email="c@x")
    assert conflicts(Account, world.events) == []


def test_of_three_at_once_each_loser_is_listed_once_with_the_last_winner() -> None:
    world = World()
    first, second, third = (world.write(region, "moved", email=f"{region}@x") for region in REGIONS)
    assert shown(conflicts(Account, world.events)) == [
        ("email", "LwwRegister", first.id, third.id),
        ("email", "LwwRegister", second.id, third.id),
    ]


def test_a_remove_that_an_add_outlives_is_listed_and_what_says_the_same_is_not() -> None:
    world = World()
    world.write(EAST, "joined", group="jazz")
    world.sync()
    removed = world.write(EAST, "left", group="jazz")
    added = world.write(WEST, "joined", group="jazz")
    world.write(SOUTH, "joined", group="bowling")
    world.write(SOUTH, "moved", email="same@x")
    world.write(WEST, "moved", email="same@x")
    world.write(EAST, "logged_in")
    assert shown(conflicts(Account, world.events)) == [("groups", "OrSet", removed.id, added.id)]


def test_events_in_different_rows_do_not_conflict() -> None:
    world = World()
    lost = world.write(EAST, "moved", email="a", room="1")
    world.write(WEST, "moved", email="b", room="2")
    won = world.write(SOUTH, "moved", email="c", room="1")
    assert shown(conflicts(Rooms, world.events)) == [("last", "LwwRegister", lost.id, won.id)]


WRITES = st.lists(
    st.tuples(st.sampled_from(REGIONS), st.sampled_from(["moved", "joined", "left", "sync"]), st.integers(0, 2)),
    max_size=12,
)


def written(plan: list[tuple[str, str, int]]) -> World:
    world = World()
    for region, kind, what in plan:
        if kind == "sync":
            world.storages[region].insert_each(world.events)
        else:
            world.write(region, kind, email=f"{what}@x", group=f"g{what}")
    return world


@trials(max_examples=100)
@given(WRITES, st.data())
def test_the_list_is_the_same_whatever_order_the_events_are_read_in(plan: Any, data: Any) -> None:
    world = written(plan)
    assert conflicts(Account, data.draw(st.permutations(world.events))) == conflicts(Account, world.events)


@trials(max_examples=100)
@given(WRITES)
def test_an_event_is_listed_exactly_when_a_concurrent_one_beats_it(plan: Any) -> None:
    events = written(plan).events
    expected = {
        (conflict.field, conflict.discarded.id)
        for left in events for right in events if left.order < right.order
        for conflict in between(Account, left, right)
    }  # fmt: skip
    found = conflicts(Account, events)
    assert {(each.field, each.discarded.id) for each in found} == expected
    assert len(found) == len(expected)


@trials(max_examples=100)
@given(WRITES, st.data())
def test_an_engine_meets_conflicts_exactly_where_there_are_some(plan: Any, data: Any) -> None:
    """As long as it remembers them: a few of each lane."""
    world = written(plan)
    if any(event.sequence > 4 for event in world.events):
        return
    storage, waiting = MemoryStorage(), list(world.events)
    engine = Engine([Account], EventStore(storage, EAST, REGIONS, HybridLogicalClock(lambda: world.now)), MemorySink())
    for region in data.draw(st.permutations([event.region for event in world.events])):
        event = next(each for each in waiting if each.region == region)  # lanes arrive in order, each at its own time
        waiting.remove(event)
        storage.insert_each([event])
        for _ in range(2):
            engine.apply([event])
    listed = conflicts(Account, world.events)
    for rule in ("LwwRegister", "OrSet"):
        assert bool(engine.conflicts[("account", rule)]) == any(each.rule == rule for each in listed)


def arriving(world: World, *projections: type[Projection]) -> Engine:
    """An engine to which the world's events come one by one."""
    storage = MemoryStorage()
    store = EventStore(storage, EAST, REGIONS, HybridLogicalClock(lambda: world.now))
    engine = Engine(projections, store, MemorySink())
    for event in world.events:
        storage.insert_each([event])
        engine.apply([event])
    return engine


def test_an_engine_counts_a_conflict_once_and_not_at_all_when_history_is_folded_again() -> None:
    world = World()
    world.write(EAST, "moved", email="a@x")
    world.write(WEST, "moved", email="b@x")
    engine = arriving(world, Account)
    for _ in range(3):
        engine.apply(world.events)
    assert engine.conflicts == {("account", "LwwRegister"): 1}
    again = Engine([Account], world.stores[EAST], MemorySink(), watch=False)
    again.apply(world.events)
    assert not again.conflicts


class Account2(Account):
    version = 2


@pytest.mark.parametrize("order", [(Account, Account2), (Account2, Account)])
def test_versions_side_by_side_count_once_and_the_list_says_whose_is_whose(order: tuple[type[Projection], ...]) -> None:
    world = World()
    for n in range(7):
        world.write(EAST, "moved", email=f"a{n}@x")
        world.write(WEST, "moved", email=f"b{n}@x")
    assert arriving(world, *order).conflicts == arriving(world, Account).conflicts == {("account", "LwwRegister"): 13}
    versions = [each.version for projection in order for each in conflicts(projection, world.events)]
    assert sorted(versions) == [1] * 13 + [2] * 13


def passed(events: list[Event]) -> Pass:
    made = Pass(Account, EMPTY)
    made.folded.extend(events)
    return made


def test_an_old_history_counts_only_where_something_at_hand_takes_part() -> None:
    world = World()
    for n in range(3):
        world.write(EAST, "moved", email=f"a{n}@x")
        world.write(WEST, "moved", email=f"b{n}@x")
    recent = Recent()
    recent.fold(passed(world.events), EMPTY, {})
    assert not recent.met
    new = world.write(SOUTH, "moved", email="c@x")
    recent.fold(passed([*world.events]), VersionVector({EAST: 3, WEST: 3}))
    assert recent.met == {("account", "LwwRegister"): 1}
    at_once = Recent()
    at_once.fold(passed(world.events), EMPTY, {SOUTH: [new.sequence]})
    assert at_once.met == recent.met
    untold = Recent()
    untold.fold(passed(world.events), EMPTY)
    assert not untold.met


def test_without_concurrency_each_event_is_looked_at_once_and_no_two_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    for n in range(200):
        world.write(EAST, "moved", email=f"{n}@x")
    looked, compared = count_work(monkeypatch)
    assert conflicts(Account, world.events) == []
    assert (len(looked), len(compared)) == (200, 0)


def test_concurrent_events_are_evaluated_once_and_compared_only_where_they_feed_one_field(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    for n in range(20):
        world.write(EAST, "moved", email=f"{n}@x")
        world.write(WEST, "joined", group=f"{n}")
    looked, compared = count_work(monkeypatch)
    assert conflicts(Account, world.events) == []
    assert (len(looked), len(compared)) == (40, 0)
    world.write(WEST, "moved", email="last@x")
    assert len(conflicts(Account, world.events)) == 20
    assert (len(looked), len(compared)) == (81, 20)


def count_work(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[Any]]:
    looked: list[Any] = []
    compared: list[Any] = []
    made_of, discarded = Account.made_of, LwwRegister.discarded

    def count_made(event: Event, *more: Any) -> dict[str, Any]:
        looked.append(event)
        return made_of(event, *more)

    def count_discarded(self: LwwRegister, left: Made, right: Made) -> Made | None:
        compared.append((left, right))
        return discarded(self, left, right)

    monkeypatch.setattr(Account, "made_of", count_made)
    monkeypatch.setattr(LwwRegister, "discarded", count_discarded)
    return looked, compared


class Loose(Projection):
    """Fails at some events, and does to a set what a set refuses at others."""

    name = "loose"
    stream_type = "user"
    email = register(moved=lambda p: p["email"] if p["email"] != "secret" else {}[p["email"]])
    groups = collection(joined=lambda p: p["group"], left=lambda p: remove(p["group"]))


def test_events_that_cannot_be_digested_are_left_out_and_named_without_their_payload() -> None:
    world = World()
    lost = world.write(EAST, "moved", email="a@x")
    won = world.write(WEST, "moved", email="b@x")
    wrong = [world.write(SOUTH, "moved", email="secret"), world.write(SOUTH, "joined", group="secret")]
    world.write(WEST, "left", group="secret")
    left_out: list[tuple[str, str]] = []
    found = conflicts(Loose, world.events, skip=lambda event, why: left_out.append((event.id, why)))
    assert shown(found) == [("email", "LwwRegister", lost.id, won.id)]
    assert [event_id for event_id, _ in left_out] == [event.id for event in wrong]
    assert "KeyError at test_conflicts.py" in left_out[0][1]
    assert "InvalidOperation at orset.py" in left_out[1][1]
    assert "secret" not in str(left_out)
    assert shown(conflicts(Loose, world.events)) == shown(found)
    assert arriving(world, Loose).conflicts == {("loose", "LwwRegister"): 1}
