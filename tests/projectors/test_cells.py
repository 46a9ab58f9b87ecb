"""Cross-stream projections: rows that many streams feed, the same whatever order events come in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from projectors import Engine, MemorySink, Projection, collection, counter, register
from projectors.crdt import Add, Remove
from projectors.engine.sink import Change
from projectors.model.projection import ProjectionFailed
from projectors.model.view import ViewKey
from projectors.reads.rows import read_row
from replicator import Event, MemoryStorage, NewEvent, Observed
from replicator.domain.errors import InvalidConfig, RegionUnavailable
from replicator.erasure import LocalWrapping, MemoryKeys, PersonalData
from tests.projectors.histories import REGIONS, deliveries, digests, histories, store_of
from tests.projectors.histories import engine_over as over

USERS = ("user/bart", "user/homer", "user/lisa")
GROUPS = ("bowling", "jazz/club")


class Members(Projection):
    name = "members"
    stream_type = "user"
    rows = {"joined": lambda p: p["group"], "left": lambda p: p["group"], "merged": lambda p: p["groups"]}  # noqa: RUF012
    users = collection(joined=lambda p: Add(p["name"]), left=lambda p: Remove(p["name"]), merged=lambda p: Add(p["name"]))
    joins = counter(joined=lambda p: 1, merged=lambda p: 1)
    latest = register(joined=lambda p: p["name"])


class Visits(Projection):
    """A plain projection beside it: one event feeds both."""

    name = "visits"
    stream_type = "user"
    seen = counter(joined=lambda p: 1, left=lambda p: 1, merged=lambda p: 1, noise=lambda p: 1)


ALL = (Members, Visits)


def payload(user: str, group: str) -> dict[str, Any]:
    return {"group": group, "groups": list(GROUPS), "name": user.partition("/")[2]}


HISTORIES = histories(
    USERS,
    ["joined", "joined", "left", "noise", "merged"],
    {user: st.sampled_from([payload(user, group) for group in GROUPS]) for user in USERS},
)


def engine_over(events: Sequence[Event], sink: MemorySink, projections: Sequence[type[Projection]] = ALL) -> Engine:
    return over(events, sink, projections)


def in_one_go(history: Sequence[Event]) -> MemorySink:
    sink = MemorySink()
    assert engine_over(history, sink).apply(history) == []
    return sink


@trials(max_examples=120)
@given(HISTORIES, st.data())
def test_any_order_duplication_and_batching_gives_the_same_cells_and_rows(history: list[Event], data: Any) -> None:
    expected, sink = in_one_go(history), MemorySink()
    engine = engine_over(history, sink)
    for batch in deliveries(data, history):
        assert engine.apply(batch) == []
        if data.draw(st.booleans()):
            engine = engine_over(history, sink)  # another process
    assert digests(sink, ALL) == digests(expected, ALL)
    assert [read_row(Members, sink, row) for row in GROUPS] == [read_row(Members, expected, row) for row in GROUPS]


@trials(max_examples=60)
@given(HISTORIES, st.data())
def test_rows_are_right_while_lanes_are_still_arriving(history: list[Event], data: Any) -> None:
    lanes = {e.lane: iter([x for x in history if x.lane == e.lane]) for e in history}
    order = [next(lanes[lane]) for lane in data.draw(st.permutations([e.lane for e in history]))]
    storage, sink = MemoryStorage(), MemorySink()
    engine = Engine(ALL, store_of(storage), sink)
    for upto, event in enumerate(order, 1):
        storage.insert_each([event])
        engine.apply([event, data.draw(st.sampled_from(order[:upto]))])
    assert digests(sink, ALL) == digests(in_one_go(history), ALL)


@trials(max_examples=60)
@given(HISTORIES)
def test_rows_agree_with_the_plain_history(history: list[Event]) -> None:
    sink = in_one_go(history)
    for row in GROUPS:
        mine = [e for e in history if e.type != "noise" and (e.type == "merged" or e.payload["group"] == row)]
        gone = {
            e.id for e in mine for r in mine
            if r.type == "left" and r.stream == e.stream
            and r.observed.advance(r.region, r.sequence).covers(e.region, e.sequence)
        }  # fmt: skip
        read = read_row(Members, sink, row)
        joins = [e for e in mine if e.type != "left"]
        latest = max(
            (e for e in mine if e.type == "joined"), key=lambda e: (e.hlc, e.region, e.sequence, str(e.stream)), default=None
        )
        assert read.value["joins"] == len(joins)
        assert read.value["users"] == sorted({e.payload["name"] for e in joins if e.id not in gone})
        assert read.value["latest"] == (latest.payload["name"] if latest else None)
        assert read.streams == len({e.stream for e in mine})


class Counting(MemorySink):
    def __init__(self) -> None:
        super().__init__()
        self.writes: Counter[ViewKey] = Counter()

    def save(self, changes: Sequence[Change]) -> list[bool]:
        self.writes.update(change.view.id for change in changes)
        return super().save(changes)


def test_however_many_events_a_batch_has_each_cell_and_view_is_written_once() -> None:
    store, sink = store_of(MemoryStorage()), Counting()
    events = [
        e for n in range(50) for u in USERS for e in store.append(u, NewEvent("joined", {"group": GROUPS[n % 2], "name": u}))
    ]
    engine_over(events, sink).apply(events)
    assert set(sink.writes.values()) == {1}
    assert len(sink.writes) == len(USERS) * (len(GROUPS) + 2)
    assert read_row(Members, sink, "bowling").value["joins"] == 75


def test_two_projectors_of_the_same_streams_count_everything_once() -> None:
    store, shared = store_of(MemoryStorage()), MemorySink()
    events = [
        e for n in range(20) for e in store.append(USERS[n % 3], NewEvent("joined", {"group": "bowling", "name": "x"}))
    ]

    class Racing(MemorySink):
        """Between what it reads and what it writes, another projector folds one event more."""

        def __init__(self) -> None:
            self.rival = engine_over(events, shared)
            self.left = list(events)

        def __getattr__(self, name: str) -> Any:
            return getattr(shared, name)

        def load(self, keys: Any) -> Any:
            return shared.load(keys)

        def save(self, changes: Sequence[Change]) -> list[bool]:
            if self.left:
                self.rival.apply([self.left.pop()])
            return shared.save(changes)

    engine_over(events, Racing()).apply(events)
    assert digests(shared, ALL) == digests(in_one_go(events), ALL)
    assert read_row(Members, shared, "bowling").value["joins"] == 20


def test_an_event_that_fails_in_one_row_counts_in_none_and_stops_its_lane_only() -> None:
    class Picky(Projection):
        name = "picky"
        stream_type = "user"
        rows = {"joined": lambda p: [p["group"], "all"]}  # noqa: RUF012
        by = counter(joined=lambda p: p["by"])

    store, sink = store_of(MemoryStorage()), MemorySink()
    good = store.append("user/homer", NewEvent("joined", {"group": "jazz", "by": 1}))
    bad = store.append("user/homer", NewEvent("joined", {"group": "jazz", "by": "much"}))
    late = store.append("user/homer", NewEvent("joined", {"group": "jazz", "by": 5}))
    other = store.append("user/bart", NewEvent("joined", {"group": "jazz", "by": 2}))
    nameless = store.append("user/lisa", NewEvent("joined", {"by": 7}))
    failures = engine_over([*good, *bad, *late, *other, *nameless], sink, [Picky]).apply([*late, *other, *nameless])
    assert sorted(each.event_id for each in failures) == sorted([bad[0].id, nameless[0].id])
    assert [read_row(Picky, sink, row).value["by"] for row in ("jazz", "all")] == [3, 3]


def test_a_row_that_nothing_feeds_is_its_fields_first_values() -> None:
    read = read_row(Members, MemorySink(), "nobody's")
    assert (read.value, read.streams) == ({"joins": 0, "latest": None, "users": []}, 0)
    with pytest.raises(InvalidConfig, match="no rows"):
        read_row(Visits, MemorySink(), "x")


def test_personal_fields_never_reach_a_row(tmp_path: Any) -> None:
    class Named(Projection):
        name = "named"
        stream_type = "user"
        rows = {"joined": lambda p: p["group"]}  # noqa: RUF012
        names = collection(joined=lambda p: Add(p["name"]))
        joins = counter(joined=lambda p: 1)

    file = tmp_path / "key"
    file.write_bytes(bytes(range(32)))
    file.chmod(0o600)
    personal = PersonalData("us-east-1", {"us-east-1": MemoryKeys()}, LocalWrapping(str(file)))
    store, sink = store_of(storage := MemoryStorage()), MemorySink()
    protected = personal.protect("user/homer", {"group": "jazz", "name": "Homer J."}, ["name"])
    events = store.append("user/homer", NewEvent("joined", protected))
    assert Engine([Named], store_of(storage), sink, personal).apply(events) == []
    assert read_row(Named, sink, "jazz").value == {"joins": 1, "names": []}

    class ByName(Named):
        name = "by-name"
        rows = {"joined": lambda p: p["name"]}  # noqa: RUF012

    assert Engine([ByName], store_of(storage), sink, personal).apply(events) == []
    assert [view.row for view in sink.views("by-name")] == [""], "it counts in no row, as if it had been forgotten"


@pytest.mark.parametrize("row", ["", "a#b", " x", "x" * 513, 7, ["ok", ""]])
def test_a_row_that_cannot_be_named_is_refused_with_its_event(row: Any) -> None:
    class Odd(Projection):
        name = "odd"
        stream_type = "user"
        rows = {"joined": lambda p: row}  # noqa: RUF012
        n = counter(joined=lambda p: 1)

    (event,) = store_of(MemoryStorage()).append("user/homer", NewEvent("joined", {}))
    with pytest.raises(ProjectionFailed, match=event.id):
        Odd.rows_of(event)


def test_a_field_that_counts_in_no_row_is_refused_when_it_is_declared() -> None:
    with pytest.raises(InvalidConfig, match="no row for event types left"):
        type(
            "Lost",
            (Projection,),
            {
                "name": "lost",
                "stream_type": "user",
                "rows": {"joined": lambda p: "r"},
                "n": counter(joined=lambda p: 1, left=lambda p: -1),
            },
        )


def test_one_projection_may_read_several_types_of_streams() -> None:
    class Both(Projection):
        name = "both"
        stream_type = ("user", "robot")
        rows = {"joined": lambda p: p["group"]}  # noqa: RUF012
        n = counter(joined=lambda p: 1)

    store, sink = store_of(MemoryStorage()), MemorySink()
    new = NewEvent("joined", {"group": "jazz"})
    events = [event for stream in ("user/homer", "robot/bender", "plane/N1") for event in store.append(stream, new)]
    engine_over(events, sink, [Both]).apply(events)
    assert read_row(Both, sink, "jazz").value == {"n": 2}


def test_a_damaged_cell_stops_its_own_stream_alone() -> None:
    store, sink = store_of(MemoryStorage()), MemorySink()
    events = [e for u in USERS for e in store.append(u, NewEvent("joined", {"group": "jazz", "name": u}))]
    engine_over(events, sink, [Members]).apply(events)
    more = [e for u in USERS for e in store.append(u, NewEvent("joined", {"group": "jazz", "name": u}))]

    class Damaged(MemorySink):
        def load(self, keys: Any) -> Any:
            from replicator.domain.errors import DamagedEvent

            if ViewKey("members", "user/homer", 1, "jazz") in keys:
                raise DamagedEvent("cell jazz does not match its digest")
            return sink.load(keys)

        def save(self, changes: Sequence[Change]) -> list[bool]:
            return sink.save(changes)

    failures = engine_over([*events, *more], Damaged(), [Members]).apply(more)
    assert [each.event_id for each in failures] == [more[1].id]
    assert read_row(Members, sink, "jazz").value["joins"] == 5


def test_a_store_that_does_not_answer_leaves_no_half_counted_event() -> None:
    store, sink = store_of(storage := MemoryStorage()), MemorySink()
    events = [e for u in USERS for e in store.append(u, NewEvent("merged", {"groups": list(GROUPS), "name": u}))]

    class Down(MemorySink):
        def load(self, keys: Any) -> Any:
            return sink.load(keys)

        def save(self, changes: Sequence[Change]) -> list[bool]:
            sink.save(changes[: len(changes) // 2])
            raise RegionUnavailable("half of it was taken")

    with pytest.raises(RegionUnavailable):
        Engine(ALL, store_of(storage), Down()).apply(events)
    Engine(ALL, store_of(storage), sink).apply(events)
    assert digests(sink, ALL) == digests(in_one_go(events), ALL)


def test_a_sink_that_lost_everything_under_a_running_projector_counts_what_was_there_before() -> None:
    """FLUSHALL, or an emptied table: the position that the process remembers is not what the sink holds."""
    store, sink = store_of(storage := MemoryStorage()), MemorySink()
    new = NewEvent("joined", {"group": "bowling", "name": "x"})
    engine = Engine([Members], store_of(storage), sink)
    engine.apply([event for _ in range(3) for event in store.append("user/homer", new)])
    list(sink.drop("members", 1))
    engine.apply([event for _ in range(2) for event in store.append("user/homer", new)])
    assert read_row(Members, sink, "bowling").value["joins"] == 5
    whole = in_one_go(list(store.read("user/homer")))
    assert list(sink.views("members")) == list(whole.views("members"))


def test_a_sink_that_loses_everything_while_cells_are_read_is_noticed() -> None:
    store, shared = store_of(storage := MemoryStorage()), MemorySink()
    new = NewEvent("joined", {"group": "bowling", "name": "x"})
    Engine([Members], store_of(storage), shared).apply(
        [event for _ in range(3) for event in store.append("user/homer", new)]
    )

    class Flushed(MemorySink):
        """Emptied between the read of the position and that of the cells."""

        loads = 0

        def load(self, keys: Any) -> Any:
            self.loads += 1
            if self.loads == 2:
                list(shared.drop("members", 1))
            return shared.load(keys)

        def save(self, changes: Sequence[Change]) -> list[bool]:
            return shared.save(changes)

    Engine([Members], store_of(storage), Flushed()).apply(
        [event for _ in range(2) for event in store.append("user/homer", new)]
    )
    assert read_row(Members, shared, "bowling").value["joins"] == 5


def test_a_stream_whose_name_is_too_long_for_a_cell_stands_still_alone() -> None:
    store, sink = store_of(MemoryStorage()), MemorySink()
    new = NewEvent("joined", {"group": "bowling", "name": "x"})
    events = [event for name in ("é" * 510, "homer") for event in store.append(f"user/{name}", new)]
    (failure,) = engine_over(events, sink, [Members]).apply(events)
    assert "more than 1,024 bytes" in failure.reason
    assert read_row(Members, sink, "bowling").value["joins"] == 1


def test_what_is_kept_for_late_lanes_goes_when_they_have_come_though_nothing_of_theirs_feeds_the_cell() -> None:
    """A remove has observed events that count in other rows. Its context must not stay for good."""
    storages = {region: MemoryStorage() for region in REGIONS}
    stores = {region: store_of(storage, region) for region, storage in storages.items()}
    events: list[Event] = []

    def write(region: str, kind: str, group: str) -> None:
        storages[region].insert_each(events)
        store = stores[region]
        new = NewEvent(kind, {"group": group, "name": "homer"})
        events.extend(store.append("user/homer", new, observed=Observed.of(store.read("user/homer"))))

    for _ in range(20):
        write("us-east-1", "joined", "bowling")
        write("eu-west-1", "joined", "jazz/club")
        write("us-east-1", "left", "bowling")
    east = [event for event in events if event.region == "us-east-1"]
    here, sink = MemoryStorage(), MemorySink()
    engine = Engine([Members], store_of(here), sink)
    here.insert_each(east)
    engine.apply(east)  # the other lane is late
    cell = sink.load([key := ViewKey("members", "user/homer", 1, "bowling")])[key]
    assert cell.state["users"]["removed"] != {}
    here.insert_each(events)
    engine.apply([event for event in events if event.region == "eu-west-1"])
    cell = sink.load([key])[key]
    assert cell.state["users"] == {"adds": {}, "removed": {}}
    whole = MemorySink()
    Engine([Members], store_of(here), whole).apply(events)
    assert list(sink.views("members")) == list(whole.views("members"))
