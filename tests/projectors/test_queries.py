"""Values asked of the events: now, in the past, one after the other; from a stored view, in O(new events)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projectors import Engine, MemorySink, Projection, add, collection, counter, register, remove
from projectors.dynamodb import DynamoSink
from projectors.projection import ProjectionFailed
from projectors.queries import Query
from projectors.sink import ViewKey
from projectors.view import View
from replicator import (
    Accept,
    AtToken,
    ConsistencyToken,
    DamagedEvent,
    Event,
    EventStore,
    HybridLogicalClock,
    InvalidConfig,
    MemoryStorage,
    NewEvent,
    NotHereYet,
    Operation,
    Reject,
    Rejected,
    Saved,
    StreamId,
    VersionVector,
    When,
)
from replicator.history import AtSequence
from replicator.schemas import Schemas
from replicator.settings import Settings

EAST, WEST = "us-east-1", "eu-west-1"
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
    return held, {
        region: EventStore(held[region], region, REGIONS, HybridLogicalClock(lambda: next(now)), peer=held.__getitem__)
        for region in REGIONS
    }


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
    assert Query(Account, east)._view(east.state(HOMER)) == view


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


def test_a_view_made_by_other_code_is_folded_anew_and_replaced() -> None:
    _, stores = two()
    east, sink = stores[EAST], MemorySink()
    save(east, *[LOGIN] * 5)
    assert Query(Account, east, sink, keep_after=1).now(HOMER).value["logins"] == 5
    newer = Query(Account2, east, sink, keep_after=1)
    assert newer.now(HOMER).value["logins"] == 10
    (view,) = sink.views("account")
    assert (view.version, view.value["logins"]) == (2, 10)
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


@pytest.mark.emulator
def test_on_dynamodb_a_query_keeps_and_uses_its_view(emptied_settings: Settings) -> None:
    store, sink = EventStore.connect(emptied_settings), DynamoSink(emptied_settings)
    save(store, *[LOGIN] * 60)
    query = Query(Account, store, sink, keep_after=50)
    assert query.now(HOMER).value["logins"] == 60
    assert sink.load([("account", str(HOMER))])[("account", str(HOMER))].vector == VersionVector({EAST: 60})
    save(store, LOGIN)
    snapshot = query.now(HOMER)
    assert (snapshot.value["logins"], snapshot.vector) == (61, VersionVector({EAST: 61}))
