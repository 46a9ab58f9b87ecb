"""Values asked of the events: now, in the past, one after the other; from a stored view, in O(new events)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projectors import Engine, MemorySink, Projection, add, collection, counter, register, remove
from projectors.model.projection import ProjectionFailed
from projectors.model.view import View, ViewKey
from projectors.reads.queries import Query
from projectors.sinks.dynamodb import DynamoSink
from replicator import (
    Accept,
    AtToken,
    ConsistencyToken,
    DamagedEvent,
    Event,
    EventStore,
    InvalidConfig,
    MemoryStorage,
    NewEvent,
    NotHereYet,
    Operation,
    RegionUnavailable,
    Reject,
    Rejected,
    Saved,
    StreamId,
    VersionVector,
    When,
)
from replicator.connect import connect_store
from replicator.eventstore.history import AtSequence
from replicator.eventstore.upcasting import Schemas
from replicator.runtime.settings import Settings
from tests.regions import EAST, WEST, copy, stores_over

REGIONS = (EAST, WEST)
HOMER = StreamId("user", "homer")
START = 1_763_914_981_000


class Account(Projection):
    name, stream_type = "account", "user"
    email = register(email_set=lambda p: p["value"])
    logins = counter(logged_in=lambda p: 1)
    groups = collection(joined=lambda p: add(p["group"]), left=lambda p: remove(p["group"]))


class Account2(Account):
    """The same view by later code: logins count double."""

    version: ClassVar[int] = 2
    email = register(email_set=lambda p: p["value"])
    logins = counter(logged_in=lambda p: 2)


class Counted(MemoryStorage):
    """Counts the events that are read from it."""

    given = 0

    def read(self, *args: Any, **options: Any) -> Iterator[Event]:
        for event in super().read(*args, **options):
            self.given += 1
            yield event


def two() -> tuple[dict[str, Counted], dict[str, EventStore]]:
    held = {region: Counted() for region in REGIONS}
    now = iter(range(START, START + 10_000_000, 1000))
    return held, stores_over(held, lambda: next(now))


def save(store: EventStore, *events: NewEvent, after: Any = None) -> Saved:
    result = store.save(Operation(HOMER, events, AtToken(after) if after else None))
    assert isinstance(result, Saved)
    return result


def email(value: str) -> NewEvent:
    return NewEvent("email_set", {"value": value})


LOGIN = NewEvent("logged_in", {})


def test_now_is_what_the_projector_s_view_will_be_to_the_byte() -> None:
    _, stores = two()
    east = stores[EAST]
    save(east, email("h@x"), LOGIN, NewEvent("joined", {"group": "bowling"}))
    sink = MemorySink()
    Engine([Account], east, sink).apply(east.read(HOMER))
    (view,) = sink.views("account")
    snapshot = Query(Account, east).now(HOMER)
    assert snapshot.value == view.value == {"email": "h@x", "groups": ["bowling"], "logins": 1}
    assert snapshot.vector == view.vector == VersionVector({EAST: 3})
    assert snapshot.token.vector(HOMER) == view.vector
    query = Query(Account, east)
    assert query._view(east.state(HOMER), query._stored(HOMER)) == view


def test_a_stream_without_events_has_the_initial_value_and_no_time() -> None:
    _, stores = two()
    snapshot = Query(Account, stores[EAST]).now("user/nobody")
    assert snapshot.value == {"email": None, "groups": [], "logins": 0}
    assert (snapshot.at, snapshot.vector) == (None, VersionVector())


def test_a_long_stream_costs_as_many_reads_as_it_has_new_events() -> None:
    held, stores = two()
    east = stores[EAST]
    for _ in range(30):
        save(east, *[LOGIN] * 10)
    query = Query(Account, east, MemorySink(), keep_after=50)
    assert query.now(HOMER).value["logins"] == 300
    save(east, *[LOGIN] * 7)
    held[EAST].given = 0
    assert query.now(HOMER).value["logins"] == 307
    assert held[EAST].given <= 7 + len(REGIONS)  # the new ones, and a look at each lane's head
    held[EAST].given = 0
    assert Query(Account, east).now(HOMER).value["logins"] == 307
    assert held[EAST].given > 307  # without a stored view, all of it


def test_the_views_of_two_versions_stand_side_by_side() -> None:
    _, stores = two()
    east, sink = stores[EAST], MemorySink()
    save(east, *[LOGIN] * 5)
    assert Query(Account, east, sink, keep_after=1).now(HOMER).value["logins"] == 5
    newer = Query(Account2, east, sink, keep_after=1)
    assert newer.now(HOMER).value["logins"] == 10
    assert [view.value["logins"] for version in (1, 2) for view in sink.views("account", version)] == [5, 10]
    save(east, LOGIN)
    assert newer.now(HOMER).value["logins"] == 12


def test_a_damaged_view_is_passed_over() -> None:
    class Damaged(MemorySink):
        def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
            raise DamagedEvent("a view's row")

    _, stores = two()
    save(stores[EAST], LOGIN)
    assert Query(Account, stores[EAST], Damaged()).now(HOMER).value["logins"] == 1


def test_what_was_pulled_is_in_the_value_but_not_in_a_kept_view() -> None:
    _, stores = two()
    sink = MemorySink()
    token = save(stores[EAST], *[LOGIN] * 5).token
    query = Query(Account, stores[WEST], sink, keep_after=1)
    assert query.now(HOMER).value["logins"] == 0
    assert query.now(HOMER, token).value["logins"] == 5
    assert list(sink.views("account")) == []
    with pytest.raises(NotHereYet):
        query.now(HOMER, ConsistencyToken({HOMER: VersionVector({EAST: 9})}), timeout=0.05)


def test_the_past_at_a_sequence_a_token_and_a_time() -> None:
    _, stores = two()
    query = Query(Account, stores[EAST], MemorySink(), keep_after=1)
    tokens = [save(stores[EAST], email(f"{n}@x")).token for n in range(5)]
    assert query.now(HOMER).value["email"] == "4@x"
    for n in range(5):
        assert query.at(HOMER, AtSequence(n + 1, EAST)).value["email"] == f"{n}@x"
        assert query.at(HOMER, stores[EAST].tokens.encode(tokens[n])).value["email"] == f"{n}@x"
        at = datetime.fromtimestamp(tokens[n].hlc.ms / 1000, UTC)
        assert query.at(HOMER, at).value["email"] == f"{n}@x"
        assert query.at(HOMER, at).at == at
    assert query.at(HOMER, AtSequence(0, EAST)).value["email"] is None
    before = datetime.fromtimestamp(START / 1000 - 60, UTC)
    assert query.at(HOMER, before).value["email"] is None


def test_the_history_is_the_value_after_each_event_of_all_lanes() -> None:
    held, stores = two()
    first = save(stores[EAST], email("a@x"))
    save(stores[WEST], email("b@x"), after=first.token)
    save(stores[EAST], LOGIN)
    for lane, _ in list(held[WEST].lanes()):
        held[EAST].insert_each(list(held[WEST].read(lane)))
    query = Query(Account, stores[EAST])
    history = list(query.history(HOMER))
    assert [(s.value["email"], s.value["logins"]) for s in history] == [("a@x", 0), ("b@x", 0), ("b@x", 1)]
    assert [s.event.region for s in history if s.event] == [EAST, WEST, EAST]
    assert [s.at for s in history] == sorted(s.at for s in history if s.at)
    assert [s.value for s in query.history(HOMER, first.token)] == [s.value for s in history[1:]]
    for each in history:
        assert query.at(HOMER, each.token).value == each.value


whats = st.sampled_from(["email", "login", "join", "leave", "copy"])


@given(st.lists(st.tuples(st.sampled_from(REGIONS), whats), max_size=25))
def test_now_with_a_stored_view_equals_now_without_whatever_arrives_in_between(steps: list[tuple[str, str]]) -> None:
    held, stores = two()
    kept = Query(Account, stores[EAST], MemorySink(), keep_after=1)
    new = {"email": email("x"), "login": LOGIN}
    new |= {"join": NewEvent("joined", {"group": "g"}), "leave": NewEvent("left", {"group": "g"})}
    for region, what in steps:
        if what == "copy":
            other = WEST if region == EAST else EAST
            for lane, _ in list(held[region].lanes()):
                if lane.region == region:
                    held[other].insert_each(list(held[region].read(lane)))
        else:
            save(stores[region], new[what])
        plain = Query(Account, stores[EAST])
        assert kept.now(HOMER) == plain.now(HOMER)
    *_, last = [None, *Query(Account, stores[EAST]).history(HOMER)]
    assert last is None or last.value == kept.now(HOMER).value


def test_a_query_is_the_value_of_a_precondition() -> None:
    _, stores = two()
    east = stores[EAST]
    save(east, NewEvent("joined", {"group": "bowling"}))
    account = Query(Account, east)

    def at_most_one_group(value: dict[str, Any]) -> Accept | Reject:
        return Reject("one group is enough") if value["groups"] else Accept()

    refused = east.save(Operation(HOMER, NewEvent("joined", {"group": "mafia"}), When(account, at_most_one_group)))
    assert isinstance(refused, Rejected)
    assert refused.reasons == ("one group is enough",)


def test_an_event_that_cannot_be_digested_is_an_error_that_names_it() -> None:
    _, stores = two()
    save(stores[EAST], NewEvent("email_set", {}))
    with pytest.raises(ProjectionFailed, match=r"us-east-1#user#homer#0000000000000001"):
        Query(Account, stores[EAST]).now(HOMER)


def test_projections_read_old_events_through_their_upcasters() -> None:
    declared = Schemas()
    declared.type("email_set", 2)
    declared.upcaster("email_set", 1)(lambda payload: {"value": payload["mail"]})

    class Upcast(Projection):
        name, stream_type = "upcast", "user"
        schemas = declared
        email = register(email_set=lambda p: p["value"])

    _, stores = two()
    save(stores[EAST], NewEvent("email_set", {"mail": "old@x"}))
    assert Query(Upcast, stores[EAST]).now(HOMER).value == {"email": "old@x"}
    save(stores[EAST], NewEvent("email_set", {"value": "new@x"}, version=2))
    assert Query(Upcast, stores[EAST]).now(HOMER).value == {"email": "new@x"}
    save(stores[EAST], NewEvent("email_set", {"value": "newer@x"}, version=3))
    with pytest.raises(ProjectionFailed, match="version 3; this code knows up to 2"):
        Query(Upcast, stores[EAST]).now(HOMER)


def test_a_projection_whose_upcasters_have_a_gap_cannot_be_declared() -> None:
    gapped = Schemas()
    gapped.type("email_set", 3)
    gapped.upcaster("email_set", 1)(dict)
    with pytest.raises(InvalidConfig, match="no upcaster from version 2 to 3"):
        type("Gapped", (Projection,), {"name": "g", "stream_type": "user", "schemas": gapped, "f": counter(a=lambda p: 1)})


# -- stored views ----------------------------------------------------------------------------------------------------


def view_in(sink: MemorySink) -> View:
    (view,) = sink.views("account")
    return view


def test_a_view_that_a_projector_moves_during_a_read_is_used_all_the_same() -> None:
    held, stores = two()
    east, sink = stores[EAST], MemorySink()
    engine = Engine([Account], east, sink)
    for _ in range(10):
        engine.apply(save(east, *[LOGIN] * 10).events)

    class Moved(EventStore):
        """Once the stream has been looked at, an event comes and the projector folds it."""

        def cut(self, *args: Any, **options: Any) -> Any:
            state = super().cut(*args, **options)
            engine.apply(save(east, LOGIN).events)
            return state

    query = Query(Account, Moved(held[EAST], EAST, REGIONS), sink)
    held[EAST].given = 0
    assert query.now(HOMER).value["logins"] == 100
    assert held[EAST].given < 20


def test_a_read_of_the_past_never_replaces_a_newer_view() -> None:
    _, stores = two()
    sink = MemorySink()
    for _ in range(5):
        save(stores[EAST], LOGIN)
    query = Query(Account, stores[EAST], sink, keep_after=1)
    query.now(HOMER)
    assert query.at(HOMER, AtSequence(2, EAST)).value["logins"] == 2
    assert view_in(sink).vector == VersionVector({EAST: 5})


def test_what_later_code_has_stored_is_never_replaced() -> None:
    _, stores = two()
    sink = MemorySink()
    save(stores[EAST], *[LOGIN] * 5)
    Query(Account2, stores[EAST], sink, keep_after=1).now(HOMER)
    save(stores[EAST], LOGIN)
    assert Query(Account, stores[EAST], sink, keep_after=1).now(HOMER).value["logins"] == 6
    (later,) = sink.views("account", 2)
    assert (later.value["logins"], later.vector) == (10, VersionVector({EAST: 5}))


def test_a_view_too_large_for_any_sink_is_read_and_not_kept() -> None:
    _, stores = two()
    sink = MemorySink()
    for n in range(3):
        save(stores[EAST], NewEvent("joined", {"group": str(n) + "x" * 100_000}))
    assert len(Query(Account, stores[EAST], sink, keep_after=1).now(HOMER).value["groups"]) == 3
    assert list(sink.views("account")) == []


@pytest.mark.parametrize("broken", ["load", "save"])
def test_a_sink_that_does_not_answer_fails_no_read(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*args: Any) -> Any:
        raise RegionUnavailable("the views are throttled")

    _, stores = two()
    sink = MemorySink()
    save(stores[EAST], *[LOGIN] * 5)
    monkeypatch.setattr(sink, broken, down)
    query = Query(Account, stores[EAST], sink, keep_after=1)
    assert query.now(HOMER).value["logins"] == 5
    assert query.at(HOMER, AtSequence(2, EAST)).value["logins"] == 2
    assert [each.value["logins"] for each in query.history(HOMER)] == [1, 2, 3, 4, 5]


def test_a_page_of_history_starts_from_a_view_that_is_not_beyond_it() -> None:
    held, stores = two()
    east, sink = stores[EAST], MemorySink()
    for _ in range(20):
        token = save(east, *[LOGIN] * 10).token
    Engine([Account], east, sink).apply(east.read(HOMER))
    save(east, *[LOGIN] * 3)
    held[EAST].given = 0
    history = list(Query(Account, east, sink).history(HOMER, token))
    assert [each.value["logins"] for each in history] == [201, 202, 203]
    assert held[EAST].given < 15
    beyond = Query(Account, east, sink).history(HOMER, ConsistencyToken({HOMER: VersionVector({EAST: 50})}))
    assert next(beyond).value["logins"] == 51


def test_a_sum_that_cannot_be_written_down_is_the_projection_s_failure() -> None:
    class Sums(Projection):
        name, stream_type = "sums", "user"
        total = counter(added=lambda p: p["n"])

    held, stores = two()
    for region in REGIONS:
        save(stores[region], NewEvent("added", {"n": 2**53 - 1}))
    copy(held)
    with pytest.raises(ProjectionFailed, match="cannot serialize its view"):
        Query(Sums, stores[EAST]).now(HOMER)


# -- moments and what has not arrived ----------------------------------------------------------------------------------


def test_a_sequence_has_all_that_its_writer_had_observed_though_it_has_not_arrived() -> None:
    south = "ap-southeast-2"
    regions = (*REGIONS, south)
    held = {region: MemoryStorage() for region in regions}
    stores = stores_over(held)
    save(stores[WEST], LOGIN, after=save(stores[EAST], email("e@x")).token)
    for lane, _ in list(held[WEST].lanes()):
        held[south].insert_each(list(held[WEST].read(lane)))
    snapshot = Query(Account, stores[south]).at(HOMER, AtSequence(1, WEST))
    assert (snapshot.value["email"], snapshot.vector) == ("e@x", VersionVector({EAST: 1, WEST: 1}))
    alone = EventStore(held[south], south, regions)  # no way to pull
    with pytest.raises(NotHereYet):
        Query(Account, alone).at(HOMER, AtSequence(1, WEST), timeout=0.05)


def test_the_past_and_the_history_have_at_least_what_a_token_names() -> None:
    _, stores = two()
    save(stores[WEST], LOGIN)
    token = save(stores[EAST], email("e@x")).token
    query, far = Query(Account, stores[WEST]), datetime.fromtimestamp(START / 1000 + 9999, UTC)
    assert query.at(HOMER, far).value["email"] is None
    assert query.at(HOMER, far, token).value["email"] == "e@x"
    assert query.at(HOMER, AtSequence(1, EAST), token).value["email"] == "e@x"
    before = datetime.fromtimestamp((token.hlc.ms - 1) / 1000, UTC)
    assert query.at(HOMER, before, token).vector == VersionVector({WEST: 1})
    assert len(list(query.history(HOMER))) == 1
    assert [each.value["email"] for each in query.history(HOMER, at_least=token)] == [None, "e@x"]
    lacking = ConsistencyToken({HOMER: VersionVector({EAST: 9})})
    for read in (lambda: query.at(HOMER, far, lacking, 0.05), lambda: next(query.history(HOMER, None, lacking, 0.05))):
        with pytest.raises(NotHereYet):
            read()


@pytest.mark.emulator
def test_on_dynamodb_a_query_keeps_and_uses_its_view(emptied_settings: Settings) -> None:
    store, sink = connect_store(emptied_settings), DynamoSink(emptied_settings)
    save(store, *[LOGIN] * 60)
    query = Query(Account, store, sink, keep_after=50)
    assert query.now(HOMER).value["logins"] == 60
    assert sink.load([ViewKey("account", str(HOMER))])[ViewKey("account", str(HOMER))].vector == VersionVector({EAST: 60})
    save(store, LOGIN)
    snapshot = query.now(HOMER)
    assert (snapshot.value["logins"], snapshot.vector) == (61, VersionVector({EAST: 61}))
