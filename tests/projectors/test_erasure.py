"""Views of personal data: forgotten everywhere, the same bytes everywhere, and nothing else ever waits for it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from projectors import Engine, MemorySink, Projection, Sink, add, collection, counter, register, remove
from projectors.engine.failures import LanesWait
from projectors.model.projection import ProjectionFailed
from projectors.model.view import ViewKey
from projectors.reads.queries import Query
from projectors.sinks.dynamodb import DynamoSink
from replicator import (
    Accept,
    Event,
    EventStore,
    HybridLogicalClock,
    MemoryStorage,
    NewEvent,
    Observed,
    Operation,
    RegionUnavailable,
    When,
)
from replicator.domain.errors import InvalidConfig
from replicator.domain.event import seal
from replicator.domain.protected import Protected
from replicator.erasure import (
    FORGOTTEN,
    MARKER,
    KeyStorage,
    LocalWrapping,
    MemoryKeys,
    PersonalData,
    SubjectForgotten,
    SubjectKeys,
    forget,
)
from replicator.eventstore.history import AtSequence
from tests.cuttable import Cuttable
from tests.projectors.histories import CrashingSink

EAST, WEST = "us-east-1", "eu-west-1"
REGIONS = (EAST, WEST)
HOMER, BART = "user/homer", "user/bart"
SECRET, OTHER = "secret", "hidden"


class Account(Projection):
    name = "account"
    stream_type = "user"
    email = register(registered=lambda p: p["email"], moved=lambda p: p["email"])
    plan = register(registered=lambda p: p["plan"])
    city = register(registered=lambda p: p["address"]["city"])
    phone = register(registered=lambda p: p.get("phone", "none"))
    whole = register(moved=lambda p: p)
    dated = register(at=lambda p: p["on"], dated=lambda p: p["plan"])
    events = counter(registered=lambda p: 1, moved=lambda p: 1)
    letters = counter(registered=lambda p: len(p["email"]))
    places = collection(
        registered=lambda p: add(p["email"]), moved=lambda p: remove(p["email"]), left=lambda p: add(p["plan"])
    )


class Emails(Projection):
    name = "emails"
    stream_type = "user"
    all = collection(registered=lambda p: add(p["email"]), moved=lambda p: add(p["email"]))


ALL = (Account, Emails)


def secret_of(subject: str) -> str:
    return SECRET if subject == HOMER else OTHER


class Region:
    """A region in memory: its events, keys and views, and processes of it."""

    def __init__(self, name: str, file: Path, sink: Sink | None = None) -> None:
        self.name = name
        self.file = file
        self.storage, self.keys, self.sink = MemoryStorage(), MemoryKeys(), sink or MemorySink()
        self.seen_by_others = Cuttable(self.keys)
        self.store = EventStore(self.storage, name, REGIONS, HybridLogicalClock(lambda: 1_763_914_981_123))
        self.peers: dict[str, KeyStorage] = {}
        self.now = 0.0
        self.start()

    def knows(self, other: Region) -> None:
        self.peers[other.name] = other.seen_by_others
        self.start()

    def start(self, projections: Sequence[type[Projection]] = ALL) -> None:
        """A new process of this region: nothing is in its memory."""
        keys = {self.name: self.keys, **self.peers}
        self.personal = PersonalData(self.name, keys, LocalWrapping(self.file), lambda: self.now)
        self.engine = Engine(projections, self.store, self.sink, self.personal)

    def write(self, kind: str, payload: Any, fields: Sequence[str], subject: str = HOMER, to: str = HOMER) -> Event:
        new = NewEvent(kind, self.personal.protect(subject, payload, fields))
        (event,) = self.store.append(to, new, observed=Observed.of(self.store.read(to)))
        return event

    def register(self, n: int = 1, subject: str = HOMER, to: str = HOMER) -> Event:
        own = secret_of(subject)
        payload = {"email": f"{own}{n}", "plan": f"gold{n}", "phone": f"{own}p{n}", "address": {"city": f"{own}c{n}"}}
        return self.write("registered", payload, ["email", "phone", "address.city"], subject, to)

    def move(self, n: int = 1, subject: str = HOMER, to: str = HOMER) -> Event:
        return self.write("moved", {"email": f"{secret_of(subject)}{n}", "open": n}, ["email"], subject, to)

    def digests(self) -> dict[tuple[str, str], bytes]:
        return {(view.projection, view.key): view.digest for each in ALL for view in self.sink.views(each.name)}

    def texts(self) -> str:
        return "".join(view.state_text + view.value_text for each in ALL for view in self.sink.views(each.name))

    def value(self, stream: str = HOMER, projection: str = "account") -> dict[str, Any]:
        key = next(each for each in self.engine._projections if each.name == projection).key(stream)
        return self.sink.load([key])[key].value


def pair(file: Path) -> tuple[Region, Region]:
    east, west = Region(EAST, file), Region(WEST, file)
    east.knows(west)
    west.knows(east)
    return east, west


@pytest.fixture
def regions(tmp_path: Path) -> tuple[Region, Region]:
    return pair(tmp_path / "key")


def deliver(to: Region, *events: Event) -> None:
    to.storage.insert_each(events)
    assert to.engine.apply(events) == []


# -- what a projection sees ------------------------------------------------------------------------------------------


def test_views_hold_plain_values_until_the_subject_is_forgotten(regions: tuple[Region, Region]) -> None:
    east, _ = regions
    deliver(east, east.register(1))
    assert east.value() == {
        "email": f"{SECRET}1", "plan": "gold1", "city": f"{SECRET}c1", "phone": f"{SECRET}p1", "whole": None, "dated": None,
        "events": 1, "letters": 7, "places": [f"{SECRET}1"],
    }  # fmt: skip


def test_when_it_is_registers_are_assigned_none_and_other_fields_skip_what_they_cannot_know(
    regions: tuple[Region, Region],
) -> None:
    east, _ = regions
    events = [east.register(1), east.move(2), east.write("left", {"plan": "gone"}, [])]
    deliver(east, *events)
    assert SECRET in east.texts()
    forget(east.store, {EAST: east.keys}, HOMER)
    last = east.store.latest(HOMER)
    assert last is not None
    deliver(east, last)
    assert east.value() == {
        "email": None, "plan": "gold1", "city": None, "phone": "none", "whole": {"open": 2}, "dated": None,
        "events": 2, "letters": 0, "places": ["gone"],
    }  # fmt: skip
    assert SECRET not in east.texts()
    assert east.value(projection="emails") == {"all": []}


def test_a_forgotten_order_of_assignments_is_none(regions: tuple[Region, Region]) -> None:
    east, _ = regions
    deliver(east, east.write("dated", {"plan": "gold", "on": "2013"}, ["on"]))
    east.personal.forget(east.store, HOMER)
    deliver(east, *east.store.read(HOMER))
    assert east.value()["dated"] == "gold"
    assert "2013" not in east.texts()


def test_a_handler_that_fails_for_another_reason_fails_still(regions: tuple[Region, Region]) -> None:
    east, _ = regions
    event = east.write("registered", {"email": SECRET, "plan": "gold"}, ["email"])  # has no address
    failures = east.engine.apply([event])
    assert [(each.projection, each.event_id) for each in failures] == [("account", event.id)]
    assert "KeyError at test_erasure.py" in failures[0].reason
    assert SECRET not in failures[0].reason


def test_others_fields_in_the_same_stream_stay(regions: tuple[Region, Region]) -> None:
    east, west = regions
    events = [east.register(1), east.move(2, subject=BART, to=HOMER)]
    east.personal.forget(east.store, HOMER)
    last = east.store.latest(HOMER)
    assert last is not None
    for region in (east, west):
        deliver(region, *events, last)
        assert region.value(projection="emails") == {"all": [f"{OTHER}2"]}
    assert east.digests() == west.digests()


def test_one_view_can_forget_many(regions: tuple[Region, Region]) -> None:
    east, west = regions
    for n in range(8):
        east.move(n, subject=f"user/{n}", to=HOMER)
    for n in range(7):
        east.personal.forget(east.store, f"user/{n}", [HOMER])
    history = list(east.store.read(HOMER))
    deliver(east, *history)
    for event in reversed(history):
        west.storage.insert_each([event])
    deliver(west, *reversed(history))
    assert east.value(projection="emails") == {"all": [f"{OTHER}7"]}
    assert east.digests() == west.digests()


class Careless(Projection):
    """Its handler takes no account of what may be forgotten."""

    name = "emails"
    stream_type = "user"
    email = register(moved=lambda p: p.get("email").upper())


class Careful(Projection):
    name = "emails"
    stream_type = "user"
    version = 2
    email = register(moved=lambda p: p.get("email", "").upper())


@pytest.mark.parametrize("sink", ["memory", pytest.param("dynamodb", marks=pytest.mark.emulator)])
def test_where_a_handler_fails_without_the_field_the_view_stops_there_and_holds_it_no_more(
    sink: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    east = Region(EAST, tmp_path / "key", DynamoSink(request.getfixturevalue("settings")) if sink == "dynamodb" else None)
    east.start([Careless])
    event = east.move(1)
    deliver(east, event)
    assert SECRET.upper() in east.texts()
    east.personal.forget(east.store, HOMER)
    failures = east.engine.apply(list(east.store.read(HOMER)))
    assert [each.event_id for each in failures] == [event.id]
    assert SECRET.upper() not in east.texts()
    east.start([Careful])
    deliver(east, *east.store.read(HOMER))
    assert east.value(projection="emails") == {"email": ""}


# -- damage, and settings that are wrong -----------------------------------------------------------------------------


def tampered(event: Event, text: str) -> Event:
    """An event whose writer made it with another text in place of the one of its email."""
    payload = event.payload
    payload["email"][MARKER]["text"] = text
    return seal(event.lane, event.sequence, event.hlc, NewEvent(event.type, Protected(payload)), event.observed, event.prev)


@pytest.mark.parametrize("cut", [0, 10, 40])
def test_a_truncated_text_is_damage_that_names_event_and_field(regions: tuple[Region, Region], cut: int) -> None:
    east, west = regions
    event = east.move(1)
    bad = tampered(event, event.payload["email"][MARKER]["text"][:cut])
    west.storage.insert_each([bad])
    other = west.move(2, subject=BART, to=BART)
    failures = west.engine.apply([bad, other])
    assert {each.event_id for each in failures} == {bad.id}
    for each in failures:
        assert f"event {bad.id}: personal field email of subject {HOMER} does not decrypt" in each.reason
    assert west.value(BART)["email"] == f"{OTHER}2"
    assert west.sink.load([ViewKey("account", HOMER)]) == {}


def test_a_projector_without_the_key_setting_waits_at_personal_events_and_folds_no_ciphertext(
    regions: tuple[Region, Region],
) -> None:
    east, _ = regions
    event = east.move(1)
    plain = east.write("left", {"plan": "open"}, [], to=BART)
    bare = Engine(ALL, east.store, east.sink)
    failures = bare.apply([event, plain])
    assert {(each.projection, each.event_id) for each in failures} == {("account", event.id), ("emails", event.id)}
    assert "cannot read the personal data of event" in failures[0].reason
    assert "set MERIDIAN_PERSONAL_KEY" in failures[0].reason
    assert east.value(BART)["places"] == ["open"]
    deliver(east, event)
    assert east.value()["email"] == f"{SECRET}1"


def test_a_wrong_key_file_stops_the_projector_and_nothing_is_folded(regions: tuple[Region, Region], tmp_path: Path) -> None:
    east, _ = regions
    event = east.move(1)
    wrong = PersonalData(EAST, {EAST: east.keys}, LocalWrapping(tmp_path / "other"))
    with pytest.raises(InvalidConfig, match="was not wrapped by key file"):
        Engine(ALL, east.store, east.sink, wrong).apply([event])
    assert east.digests() == {}


# -- regions that are down -------------------------------------------------------------------------------------------


def test_what_needs_a_key_of_a_region_that_is_down_waits_and_all_else_goes_on(regions: tuple[Region, Region]) -> None:
    east, west = regions
    first, second, mine = east.move(1), east.move(2), west.move(3, subject=BART, to=BART)
    west.storage.insert_each([first, second])
    east.seen_by_others.down = True
    with pytest.raises(LanesWait, match="1 lanes wait: for keys: key us-east-1") as caught:
        west.engine.apply([first, second, mine])
    assert caught.value.lanes == {first.lane: (1, 2)}
    assert caught.value.failures == []
    assert west.value(BART)["email"] == f"{OTHER}3"
    assert west.sink.load([ViewKey("account", HOMER)]) == {}  # never "forgotten" because a peer is down
    east.seen_by_others.down, west.now = False, 30.0
    assert west.engine.catch_up({first.lane: 2}) == []
    assert west.value()["email"] == f"{SECRET}2"


def test_a_region_that_was_down_destroys_its_keys_when_the_event_arrives(regions: tuple[Region, Region]) -> None:
    east, west = regions
    event = east.register(1)
    deliver(west, event)
    west.seen_by_others.down = True
    answer = east.personal.forget(east.store, HOMER)
    assert (answer.destroyed, set(answer.pending)) == ((EAST,), {WEST})
    assert west.keys.get(HOMER).keys
    assert SECRET in west.texts()
    last = east.store.latest(HOMER)
    assert last is not None
    deliver(west, last)
    assert west.keys.get(HOMER) == SubjectKeys(forgotten=True)
    assert SECRET not in west.texts()


@pytest.mark.parametrize("by_lane", [True, False])
def test_keys_are_destroyed_where_no_projection_reads_the_stream(regions: tuple[Region, Region], by_lane: bool) -> None:
    east, west = regions
    event = east.move(1, to="order/17")
    west.personal.reveal(event.payload)
    west.seen_by_others.down = True
    east.personal.forget(east.store, HOMER, ["order/17"])
    history = list(east.store.read("order/17"))
    west.storage.insert_each(history)
    west.start()
    west.engine.catch_up({event.lane: 2}) if by_lane else west.engine.apply(history)
    assert west.keys.get(HOMER) == SubjectKeys(forgotten=True)


def test_a_view_forgets_as_soon_as_its_projector_learns_of_it_even_before_the_event(regions: tuple[Region, Region]) -> None:
    east, west = regions
    first, second = east.move(1), east.move(2)
    deliver(west, first)
    east.personal.forget(east.store, HOMER)  # the keys are gone in both regions; the event is still on its way
    west.start()
    deliver(west, second)
    assert SECRET not in west.texts()
    deliver(west, *east.store.read(HOMER))
    deliver(east, *east.store.read(HOMER))
    assert east.digests() == west.digests()


def test_a_personal_event_of_a_region_that_had_not_heard_ends_forgotten_everywhere(regions: tuple[Region, Region]) -> None:
    east, west = regions
    before = east.register(1)
    west.seen_by_others.down = True
    east.personal.forget(east.store, HOMER)
    said = east.store.latest(HOMER)
    assert said is not None
    concurrent = west.register(2)  # west has heard of nothing, and makes a key of its own
    assert concurrent.payload["email"][MARKER]["key"].startswith(f"{WEST}.")
    deliver(west, concurrent)
    assert SECRET in west.texts()
    deliver(east, before, said)
    deliver(east, concurrent)  # east cannot reach west, and need not: it knows that homer is forgotten
    deliver(west, said, before)
    assert east.digests() == west.digests()
    assert SECRET not in east.texts() + west.texts()
    assert west.keys.get(HOMER) == east.keys.get(HOMER) == SubjectKeys(forgotten=True)
    with pytest.raises(SubjectForgotten):
        west.register(3)


def test_another_process_with_the_key_still_in_memory_puts_nothing_back(regions: tuple[Region, Region]) -> None:
    east, west = regions
    first, second = west.move(1), west.move(2)
    east.storage.insert_each([first])
    slow = east.engine
    assert slow.apply([first]) == []  # has the key and the view in memory
    east.start()
    east.personal.forget(east.store, HOMER)
    last = east.store.latest(HOMER)
    assert last is not None
    deliver(east, last)
    east.storage.insert_each([second])
    assert slow.apply([second]) == []
    assert east.value()["events"] == 2
    assert SECRET not in east.texts()


def test_a_new_version_of_a_projection_is_folded_without_what_is_forgotten(regions: tuple[Region, Region]) -> None:
    class Renewed(Projection):
        name = "emails"
        stream_type = "user"
        version = 2
        all = collection(registered=lambda p: add(p["email"]), moved=lambda p: add(p["email"]))

    east, _ = regions
    event = east.move(1)
    east.personal.forget(east.store, HOMER)
    east.start([Renewed])
    deliver(east, event)
    deliver(east, *east.store.read(HOMER))
    assert east.value(projection="emails") == {"all": []}


# -- any order, any crash --------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(REGIONS),
        st.sampled_from(["register", "move", "move", "forget", "deliver", "deliver", "restart", "cut", "mend"]),
        st.sampled_from([HOMER, BART]),
        st.sampled_from([HOMER, BART]),
        st.integers(0, 3),
    ),
    min_size=3,
    max_size=25,
)


def brought(region: Region, events: Sequence[Event], restart: bool = True) -> None:
    """Deliver until it went through, as a projector does. What waits for a key comes again later."""
    while True:
        try:
            assert region.engine.apply(events) == []
            return
        except LanesWait:
            return
        except RegionUnavailable:
            if restart:
                region.start()


def step(regions: dict[str, Region], at: str, what: str, subject: str, stream: str, n: int) -> None:
    region, other = regions[at], regions[WEST if at == EAST else EAST]
    if what in ("register", "move"):
        try:
            event = (region.register if what == "register" else region.move)(n, subject, stream)
        except SubjectForgotten:
            return
        brought(region, [event])
    elif what == "forget":
        region.personal.forget(region.store, subject, [HOMER, BART])
    elif what == "deliver":
        lane = list(other.store.read_lane(stream))[: n + 1]
        region.storage.insert_each(lane)
        brought(region, lane[-1:])
    elif what == "restart":
        region.start()
    else:
        region.seen_by_others.down = what == "cut"


@trials(max_examples=150, deadline=None)
@given(STEPS, st.lists(st.sampled_from(["before", "after", "no", "no"]), max_size=12), st.data())
def test_whatever_the_order_and_the_crashes_views_end_the_same_and_hold_nothing_forgotten(
    steps: Sequence[Any], crashes: Sequence[str], data: st.DataObject
) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "key"
        east, west = Region(EAST, file, CrashingSink(crashes)), Region(WEST, file, CrashingSink(crashes[::2]))
        east.knows(west)
        west.knows(east)
        regions = {EAST: east, WEST: west}
        for each in steps:
            step(regions, *each)
        history = [event for region in (east, west) for s in (HOMER, BART) for event in region.store.read_lane(s)]
        for region in (east, west):
            region.seen_by_others.down, region.now = False, region.now + 30
            region.storage.insert_each(history)
        for region in (east, west):
            extra = data.draw(st.lists(st.sampled_from(history), max_size=4)) if history else []
            order = data.draw(st.permutations([*history, *extra]))
            cuts = sorted(data.draw(st.sets(st.integers(0, len(order)), max_size=4)) | {0, len(order)})
            for a, b in pairwise(cuts):
                brought(region, order[a:b])
        assert east.digests() == west.digests()
        fresh = Region(EAST, file)
        fresh.keys, fresh.peers = east.keys, {WEST: west.keys}
        fresh.storage.insert_each(history)
        fresh.start()
        deliver(fresh, *history)
        assert fresh.digests() == east.digests()
        gone = {event.payload["subject"] for event in history if event.type == FORGOTTEN}
        for region in (east, west):
            assert {s for s in (HOMER, BART) if region.keys.get(s).forgotten} == gone
            for view in (view for each in ALL for view in region.sink.views(each.name)):
                assert not any(subject in view.state.get("$forgotten", []) for subject in {HOMER, BART} - gone)
        for subject in gone:
            assert secret_of(subject) not in east.texts() + west.texts()


# -- queries: the same value as the projector's view, whatever was forgotten ---------------------------------------------


def query_of(region: Region, sink: Sink | None = None) -> Query:
    return Query(Account, region.store, sink, reveal=region.personal.reveal, keep_after=1)


def forget_in(east: Region, west: Region, subject: str = HOMER, by: Region | None = None) -> None:
    forget((by or east).store, {EAST: east.keys, WEST: west.keys}, subject, [HOMER])


def test_a_query_reveals_until_the_subject_is_forgotten_and_starts_anew_from_a_view_of_before(
    regions: tuple[Region, Region],
) -> None:
    east, west = regions
    east.register()
    query = query_of(east, east.sink)
    assert query.now(HOMER).value["email"] == "secret1"
    assert SECRET in east.texts()  # the query kept its view
    forget_in(east, west)
    value = query.now(HOMER).value
    assert (value["email"], value["plan"], value["letters"], value["places"]) == (None, "gold1", 0, [])
    assert SECRET not in east.texts()
    with pytest.raises(ProjectionFailed, match="personal data"):
        Query(Account, east.store).at(HOMER, AtSequence(1, EAST))  # without `reveal`


def test_a_query_forgets_one_subject_and_keeps_another_in_the_same_stream(regions: tuple[Region, Region]) -> None:
    east, west = regions
    east.register()
    east.move(2, subject=BART)
    query = query_of(east, east.sink)
    assert query.now(HOMER).value["places"] == ["secret1"]
    forget_in(east, west)
    value = query.now(HOMER).value
    assert (value["email"], value["places"], value["city"]) == ("hidden2", [], None)


def test_the_history_across_a_forgetting_has_nothing_personal_behind_it(regions: tuple[Region, Region]) -> None:
    east, west = regions
    east.register(1)
    east.move(2)
    process = Region(EAST, east.file)  # another process of the region: it has the key in memory
    process.store, process.personal = east.store, PersonalData(EAST, {EAST: east.keys}, LocalWrapping(east.file))
    assert query_of(process).now(HOMER).value["email"] == "secret2"
    forget_in(east, west)
    east.write("left", {"plan": "gone"}, [])
    history = list(query_of(process).history(HOMER))
    assert [each.value["email"] for each in history] == ["secret1", "secret2", None, None]
    assert [each.value["places"] for each in history] == [["secret1"], ["secret1"], [], ["gone"]]
    assert SECRET not in str([each.value for each in history[2:]])
    page = list(query_of(process, east.sink).history(HOMER, history[1].token))  # from where the key was still known
    assert [each.value for each in page] == [each.value for each in history[2:]]


def test_a_precondition_on_a_value_sees_nothing_forgotten(regions: tuple[Region, Region]) -> None:
    east, west = regions
    east.register()
    seen: list[Any] = []

    def test(value: dict[str, Any]) -> Accept:
        seen.append(value["email"])
        return Accept()

    operation = Operation(HOMER, NewEvent("left", {"plan": "p"}), When(query_of(east, east.sink), test))
    east.store.save(operation)
    forget_in(east, west)
    east.store.save(operation)
    assert seen == ["secret1", None]


WHAT = ["register", "move", "forget", "query", "copy"]


@trials(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(REGIONS), st.sampled_from(WHAT), st.sampled_from([HOMER, BART])), max_size=14))
def test_a_query_with_any_stored_view_is_the_projector_s_view_to_the_byte(steps: list[tuple[str, str, str]]) -> None:
    with TemporaryDirectory() as folder:
        east, west = pair(Path(folder) / "key")
        both, kept = {EAST: east, WEST: west}, MemorySink()
        for at, what, subject in steps:
            region, other = both[at], both[WEST if at == EAST else EAST]
            try:
                if what == "register":
                    region.register(1, subject)
                elif what == "move":
                    region.move(2, subject)
                elif what == "forget":
                    forget_in(east, west, subject, region)
                elif what == "query":
                    query_of(east, kept).now(HOMER)
                else:
                    other.storage.insert_each(list(region.store.read_lane(HOMER)))
            except SubjectForgotten:
                continue
        for home, there in ((east, west), (west, east)):  # keys are destroyed faster than events travel: until all are here
            there.storage.insert_each(list(home.store.read_lane(HOMER)))
        east.start()
        east.engine.catch_up(dict(east.storage.lanes()))
        query, state = query_of(east, kept), east.store.state(HOMER)
        for view in east.sink.views("account"):
            assert query._view(state, query._stored(HOMER)) == view
            *_, last = query.history(HOMER)
            assert last.value == view.value


@pytest.mark.parametrize("how", ["apply", "catch up"])
def test_keys_are_destroyed_though_an_event_before_the_forgetting_cannot_be_digested(
    regions: tuple[Region, Region], how: str
) -> None:
    class Choking(Projection):
        name, stream_type = "choking", "user"
        n = counter(choked=lambda p: 1 // 0)

    east, west = regions
    event = east.move(1)
    east.store.append(HOMER, NewEvent("choked", {}))
    deliver(west, event)
    east.personal.forget(east.store, HOMER)
    west.storage.insert_each(list(east.store.read(HOMER)))
    west.start([Choking])
    destroyed: list[str] = []
    west.personal.destroy = destroyed.append  # type: ignore[method-assign]
    if how == "apply":
        west.engine.apply(list(west.store.read(HOMER)))
    else:
        west.engine.catch_up(dict(west.store.lanes()))
    assert set(destroyed) == {HOMER}
