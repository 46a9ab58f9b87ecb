"""Versions of a projection: built beside the one that readers see, switched at once, and back again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from projectors import Engine, MemorySink, Projection, counter, register
from projectors.api.service import Service
from projectors.engine.failures import LanesWait
from projectors.engine.sink import Change
from projectors.reads.queries import Query
from projectors.versions.rebuild import Progress, Rebuild, describe
from projectors.versions.versions import Build, NotSwitched, Versions
from replicator import EventStore, HybridLogicalClock, MemoryStorage, NewEvent
from replicator.control.memory_control import MemoryControl
from replicator.domain.errors import DamagedEvent, InvalidConfig, RegionUnavailable
from replicator.domain.names import LaneId, StreamId
from tests.replicator.memories import Killed

EAST, WEST = REGIONS = ("us-east-1", "eu-west-1")


class Account(Projection):
    name = "account"
    stream_type = "user"
    logins = counter(logged_in=lambda p: 1)


class Account2(Account):
    version = 2
    logins = counter(logged_in=lambda p: 10)
    last = register(logged_in=lambda p: p.get("from"))


class Account3(Account):
    version = 3
    logins = counter(logged_in=lambda p: p["minutes"])


@pytest.fixture(autouse=True, scope="module")
def _small_slices() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("projectors.versions.rebuild._SLICE", 3)
        yield


class Bench:
    """Two regions' lanes in one table, and a live projector that feeds what it is told to."""

    def __init__(self, streams: int = 12) -> None:
        self.table, self.control, self.sink, self.now = MemoryStorage(), MemoryControl(), MemorySink(), 0.0
        self.stores = {
            region: EventStore(self.table, region, REGIONS, HybridLogicalClock(lambda: 1_763_914_981_123))
            for region in REGIONS
        }
        self.versions = Versions(self.control, clock=lambda: self.now)
        self.told: list[Progress] = []
        for n in range(streams):
            for region in REGIONS:
                self.log_in(n, region)
        self.stores[EAST].append("robot/bender", NewEvent("logged_in", {}))

    def log_in(self, n: int, region: str = EAST) -> Any:
        return self.stores[region].append(f"user/{n:03}", *[NewEvent("logged_in", {"from": region})] * 2)

    def live(self, *projections: type[Projection]) -> Engine:
        return Engine(projections, self.stores[EAST], self.sink)

    def rebuild(self, projection: type[Projection] = Account2, sink: Any = None) -> Rebuild:
        return Rebuild(projection, self.stores[EAST], sink or self.sink, self.versions, tell=self.told.append)

    def logins(self, projection: type[Projection]) -> list[int]:
        return [view.value["logins"] for view in self.sink.views(projection.name, projection.version)]


def test_a_version_is_built_whole_beside_the_one_that_readers_see() -> None:
    bench = Bench()
    bench.live(Account).catch_up(dict(bench.stores[EAST].lanes()))
    build, failures = bench.rebuild().run()
    assert (build.built, build.streams, build.events, failures) == (True, 12, 48, [])
    assert (bench.logins(Account), bench.logins(Account2)) == ([4] * 12, [40] * 12)
    assert [each.build.streams for each in bench.told] == [3, 6, 9, 12]
    assert bench.told[-1].remaining == 0
    assert bench.versions.all() == [("account", 2, build)]


class Fatal(MemorySink):
    """Kills whoever saves for the n-th time, before or after it is done."""

    def __init__(self, sink: MemorySink) -> None:
        self.sink, self.left, self.after = sink, 10**9, False

    def load(self, keys: Any) -> Any:
        return self.sink.load(keys)

    def save(self, changes: Any) -> list[bool]:
        self.left -= 1
        if self.left <= 0 and not self.after:
            raise Killed
        saved = self.sink.save(changes)
        if self.left <= 0:
            raise Killed
        return saved


@trials(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 6), st.booleans(), st.integers(0, 14)), max_size=10))
def test_killed_anywhere_and_run_again_it_ends_as_if_it_had_not_been(kills: list[tuple[int, bool, int]]) -> None:
    bench = Bench()
    fatal = Fatal(bench.sink)
    live = bench.live(Account, Account2)
    for left, after, stream in kills:
        fatal.left, fatal.after = left, after
        with suppress(Killed):
            bench.rebuild(sink=fatal).run()
        live.apply(bench.log_in(stream))  # the region goes on writing, and its projector folding, meanwhile
        bench.stores[WEST].append(f"user/{stream:03}", NewEvent("logged_in", {}))  # this one has not reached it
    fatal.left = 10**9
    build, _ = bench.rebuild(sink=fatal).run()
    whole = MemorySink()
    Engine([Account2], bench.stores[EAST], whole).catch_up(dict(bench.stores[EAST].lanes()))
    assert build.built
    assert list(bench.sink.views("account", 2)) == list(whole.views("account", 2))


def test_stopped_it_goes_on_behind_its_checkpoint() -> None:
    bench, stop = Bench(), threading.Event()

    def tell(progress: Progress) -> None:
        bench.told.append(progress)
        if progress.build.streams == 6:
            stop.set()

    work = bench.rebuild()
    work._tell = tell
    build, _ = work.run(stop)
    assert (build.built, build.after, len(bench.logins(Account2))) == (False, "user/005", 6)
    with pytest.raises(NotSwitched, match="not built"):
        bench.versions.switch("account", 2)
    build, _ = bench.rebuild().run()
    assert (build.built, build.streams, bench.logins(Account2)) == (True, 12, [40] * 12)


def test_built_again_it_starts_from_the_beginning() -> None:
    bench = Bench()
    bench.rebuild().run()
    bench.told.clear()
    bench.rebuild().run(again=True)
    assert [each.build.streams for each in bench.told] == [3, 6, 9, 12]


def test_what_cannot_be_digested_is_counted_and_keeps_readers_away() -> None:
    bench = Bench(4)
    build, failures = bench.rebuild(Account3).run()
    assert (build.built, build.failures, len(failures)) == (True, 8, 8)
    assert "user#000" in describe(failures, 1)[0]
    assert describe(failures, 1)[1] == "and 7 more"
    with pytest.raises(NotSwitched, match="could not process 8 events"):
        bench.versions.switch("account", 3)
    assert bench.versions.switch("account", 3, force=True) is None
    assert bench.versions.active("account") == 3


def test_a_store_that_does_not_answer_loses_no_progress() -> None:
    bench = Bench()

    class Down(Fatal):
        def save(self, changes: Any) -> list[bool]:
            self.left -= 1
            if self.left <= 0:
                raise RegionUnavailable("throttled")
            return self.sink.save(changes)

    down = Down(bench.sink)
    down.left = 3
    with pytest.raises(RegionUnavailable):
        bench.rebuild(sink=down).run()
    kept = bench.versions.build("account", 2)
    assert kept is not None
    assert (kept.streams, kept.built) == (6, False)
    assert bench.rebuild().run()[0].built


def test_lanes_that_wait_for_keys_keep_it_from_being_built(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(4)
    waits = {LaneId(WEST, StreamId("user", "001")): (1, 2)}

    def catch_up(self: Engine, lanes: Any) -> Any:
        if waits.keys() & lanes.keys():
            raise LanesWait(waits, [], "no key")
        return []

    monkeypatch.setattr(Engine, "catch_up", catch_up)
    with pytest.raises(LanesWait) as error:
        bench.rebuild().run()
    assert error.value.lanes == waits
    kept = bench.versions.build("account", 2)
    assert kept is not None
    assert not kept.built


def test_switching_is_one_write_and_goes_back_without_a_build() -> None:
    bench = Bench()
    for projection in (Account, Account2):
        bench.rebuild(projection).run()
    assert bench.versions.switch("account", 1) is None
    assert bench.versions.switch("account", 2) == 1
    assert (bench.versions.active("account"), bench.versions.previous("account")) == (2, 1)
    bench.versions.keep("account", 1, Build())
    assert bench.versions.switch("account", 1) == 2, "the way back is open"
    assert bench.versions.switch("account", 1) == 1
    assert list(bench.versions.known()) == [("account", 1, 2)]
    with pytest.raises(NotSwitched, match="not begun"):
        bench.versions.switch("account", 7)


def test_the_way_back_from_the_first_switch_is_to_what_nobody_had_to_build() -> None:
    bench = Bench(2)
    bench.rebuild().run()
    assert bench.versions.seen("account", [Account, Account2]) == 1
    bench.versions.switch("account", 2, was=1)
    assert bench.versions.switch("account", 1) == 2
    assert bench.versions.switch("account", 2) == 1
    for never in (3, 7):
        with pytest.raises(NotSwitched, match="not begun"):
            bench.versions.switch("account", never)


def test_of_two_who_switch_at_once_one_is_told() -> None:
    bench = Bench(1)
    other = Versions(bench.control)
    swap = bench.control.swap

    def slow(*arguments: Any) -> bool:
        bench.control.swap = swap  # type: ignore[method-assign]
        other.switch("account", 3, force=True)
        return swap(*arguments)

    bench.control.swap = slow  # type: ignore[method-assign,assignment]
    with pytest.raises(NotSwitched, match="changed concurrently"):
        bench.versions.switch("account", 2, force=True)
    assert other.active("account") == 3


def test_readers_use_the_active_class_and_the_lowest_before_any_switch() -> None:
    bench = Bench(1)
    both = [Account2, Account]
    assert bench.versions.chosen(both) == {"account": Account}
    bench.versions.switch("account", 2, force=True)
    assert bench.versions.chosen(both) == {"account": Account2}
    with pytest.raises(InvalidConfig, match="see version 2, but only version 1 is loaded"):
        bench.versions.chosen([Account])


def test_a_switch_reaches_other_processes_within_a_second() -> None:
    bench = Bench(1)
    reader = Versions(bench.control, clock=lambda: bench.now)
    assert reader.chosen([Account, Account2]) == {"account": Account}
    bench.versions.switch("account", 2, force=True)
    bench.now = 1.1
    assert reader.chosen([Account, Account2]) == {"account": Account2}


def test_readers_go_on_with_what_they_saw_while_control_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(1)
    bench.versions.switch("account", 2, force=True)
    assert bench.versions.active("account") == 2

    def down(*arguments: Any) -> Any:
        raise RegionUnavailable("throttled")

    monkeypatch.setattr(bench.control, "get_all", down)
    bench.now = 60
    assert bench.versions.active("account") == 2
    with pytest.raises(RegionUnavailable):
        Versions(bench.control).active("account")


def test_each_sink_has_its_own_versions() -> None:
    control = MemoryControl()
    here, there = Versions(control, "dynamodb"), Versions(control, "postgresql://host/db")
    here.keep("account", 2, Build(built=True))
    here.switch("account", 2)
    assert (here.active("account"), there.active("account")) == (2, None)
    assert (len(here.all()), len(there.all())) == (1, 0)


def test_what_readers_see_is_not_dropped() -> None:
    bench = Bench(3)
    bench.rebuild().run()
    bench.versions.switch("account", 2)
    with pytest.raises(NotSwitched, match="readers see version 2"):
        bench.versions.dropping("account", 2)
    bench.versions.switch("account", 1, force=True)
    bench.versions.dropping("account", 2)
    for refused in (bench.rebuild().run, lambda: bench.versions.switch("account", 2, force=True)):
        with pytest.raises(NotSwitched, match="is being dropped"):
            refused()
    bench.versions.dropping("account", 2)  # it was cut short, and is run again
    assert list(bench.sink.drop("account", 2))[-1] == 3
    bench.versions.dropped("account", 2)
    assert (bench.versions.all(), bench.logins(Account2)) == ([], [])
    with pytest.raises(NotSwitched, match="not begun"):
        bench.versions.switch("account", 2)
    assert bench.rebuild().run()[0].built


def test_where_nobody_ever_switched_a_drop_wants_to_be_forced() -> None:
    bench = Bench(1)
    with pytest.raises(NotSwitched, match="were never switched"):
        bench.versions.dropping("account", 1)
    bench.versions.dropping("account", 1, force=True)


def test_what_was_built_while_it_was_dropped_counts_for_nothing() -> None:
    bench = Bench(6)
    bench.versions.switch("account", 1, force=True)

    def drop(progress: Progress) -> None:
        if progress.build.streams == 3:
            bench.versions.dropping("account", 2)
            list(bench.sink.drop("account", 2))
            bench.versions.dropped("account", 2)

    work = bench.rebuild()
    work._tell = drop
    build, _ = work.run()
    assert len(bench.logins(Account2)) == 6, "the last pass takes nothing for granted"
    assert build.built
    with pytest.raises(NotSwitched, match="not built"):
        bench.versions.switch("account", 2)
    bench.rebuild().run()
    assert bench.versions.switch("account", 2) == 1


class Rows(Projection):
    name, stream_type = "rows", "user"
    rows = {"logged_in": lambda p: p["from"]}  # noqa: RUF012
    logins = counter(logged_in=lambda p: 1)


@pytest.mark.parametrize("projection", [Account2, Rows])
def test_built_again_damaged_and_wrong_views_are_made_anew(projection: type[Projection]) -> None:
    bench = Bench(5)
    bench.rebuild(projection).run()
    right = list(bench.sink.views(projection.name, projection.version))

    class Damaging(MemorySink):
        damaged: set[Any] = set()  # noqa: RUF012

        def load(self, keys: Any) -> Any:
            if held := self.damaged & set(keys):
                raise DamagedEvent(f"view {held} does not match its digest")
            return bench.sink.load(keys)

        def save(self, changes: Any) -> list[bool]:
            return bench.sink.save(changes)

        def discard(self, keys: Any) -> None:
            self.damaged -= set(keys)
            bench.sink.discard(keys)

    sink = Damaging()
    wrong, damaged, missing = ([view for view in right if bool(view.row) == bool(projection.rows)])[:3]
    bench.sink.save([Change(wrong.vector, replace(wrong, value_text='{"logins":7}'))])
    sink.damaged.add(damaged.id)
    bench.sink.discard([missing.id])

    build, failures = bench.rebuild(projection, sink).run(again=True)
    assert (build.built, failures) == (True, [])
    assert list(bench.sink.views(projection.name, projection.version)) == right


def test_readers_see_one_version_or_the_other_and_never_a_mix() -> None:
    """While a version is built, switched to and back, and the region writes on: every answer is wholly one version's."""
    bench = Bench(8)
    live = bench.live(Account, Account2)
    live.catch_up(dict(bench.stores[EAST].lanes()))
    versions = Versions(bench.control, clock=lambda: 0.0)
    versions._clock = iter(range(0, 10**9, 2)).__next__  # every look is a new one
    service = Service(bench.stores[EAST], [Account, Account2], bench.sink, versions=versions)
    seen: set[int | None] = set()
    wrong: list[Any] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            for n in range(8):
                answer = service.value(StreamId("user", f"{n:03}"), "account", None, None)
                value, events = answer.body["value"], sum(answer.body["vector"].values())
                seen.add(answer.version)
                if value["logins"] != events * {1: 1, 2: 10}[answer.version or 0] or ("last" in value) != (
                    answer.version == 2
                ):
                    wrong.append(answer)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for each in readers:
        each.start()
    bench.rebuild().run()
    turn = 0
    while turn < 40 or (seen != {1, 2} and turn < 10_000):
        bench.versions.switch("account", 2 - turn % 2, force=True)
        live.apply(bench.log_in(turn % 8))
        turn += 1
    done.set()
    for each in readers:
        each.join()
    assert not wrong
    assert seen == {1, 2}


def test_a_query_of_a_version_that_is_not_built_answers_from_the_events() -> None:
    bench = Bench(1)
    assert Query(Account2, bench.stores[EAST], bench.sink).now("user/000").value == {"logins": 40, "last": EAST}


def test_a_view_that_is_not_there_yet_starts_with_all_that_is_here() -> None:
    bench = Bench(2)
    (event, *_) = bench.log_in(0)
    assert bench.live(Account2).apply([event]) == []
    assert bench.logins(Account2) == [10 * 5]
