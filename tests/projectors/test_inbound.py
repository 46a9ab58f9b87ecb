"""A region's events into its views: nothing counted twice or left out, poison stands alone, no payload leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from projectors import Engine, MemorySink, Projection, add, collection, counter, register
from projectors.inbound import Inbound, warn_of_sinks
from projectors.sinks.port import Change
from projectors.view import View, ViewKey
from replicator import Event, EventStore, HybridLogicalClock, MemoryStorage, NewEvent, RegionUnavailable
from replicator.batches import BatchFailed, item_failures
from replicator.control import MemoryControl, Quarantine
from replicator.domain.clock import Hlc
from replicator.domain.event import seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.errors import DamagedEvent
from replicator.items import to_item
from replicator.pointers import Pointers, join
from replicator.queues import QueueBacklog
from replicator.refusals import Refusals

EAST, WEST = "us-east-1", "eu-west-1"
VIEWS = f"{EAST}>views"
ALL_IS_WELL: dict[str, list[dict[str, str]]] = {"batchItemFailures": []}
SECRET = "4929 1234 horse"
SQS_LIMIT = 262_144


class Member(Projection):
    """Does not know that a member may have no name, and says what it has seen."""

    name, stream_type = "member", "member"
    called = register(joined=lambda p: p["name"])
    visits = counter(visited=lambda p: 1)
    paid = counter(paid=lambda p: int(p["sum"]))


class Mended(Projection):
    name, stream_type, version = "member", "member", 2
    called = register(joined=lambda p: p.get("name", "nobody"))
    visits = counter(visited=lambda p: 1)
    paid = counter(paid=lambda p: 0)


class Visits(Projection):
    name, stream_type = "visits", "member"
    visits = counter(visited=lambda p: 1)


def lane(stream: str, region: str = EAST) -> LaneId:
    return LaneId(region, StreamId("member", stream))


class Table(MemoryStorage):
    """Says which lanes it was asked for, and can hold damaged events."""

    def __init__(self) -> None:
        super().__init__()
        self.damaged: set[LaneId] = set()

    def read(self, lane: LaneId, *args: Any, **options: Any) -> Iterator[Event]:
        for event in super().read(lane, *args, **options):
            if lane in self.damaged:
                raise DamagedEvent(f"event {event.id} does not match its digest")
            yield event


class Sink(MemorySink):
    """`error` at every call, `faults` one a save; views that are damaged."""

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.faults: Iterator[str] = iter(())
        self.damaged: set[ViewKey] = set()
        self.saves = 0

    def load(self, keys: Collection[ViewKey]) -> Mapping[ViewKey, View]:
        if self.error is not None:
            raise self.error
        if found := self.damaged & set(keys):
            raise DamagedEvent(f"view {found} does not match its digest; rebuild it from the events")
        return super().load(keys)

    def save(self, changes: Sequence[Change]) -> list[bool]:
        self.saves += 1
        fault = next(self.faults, "fine")
        if self.error is not None or fault == "before":
            raise self.error or RegionUnavailable("crashed before the save")
        saved = super().save(changes)
        if fault == "after":
            raise RegionUnavailable("crashed after the save, nobody was told")
        return saved


class Control(MemoryControl):
    error: Exception | None = None

    def put(self, scope: str, values: dict[str, dict[str, Any]]) -> None:
        if self.error is not None:
            raise self.error
        super().put(scope, values)


class Queue:
    """What was sent; `error` is raised by a send, `faults` by one each."""

    name = "a queue"

    def __init__(self) -> None:
        self.sent: list[tuple[str, int]] = []
        self.error: Exception | None = None
        self.faults: Iterator[bool] = iter(())

    def send(self, text: str, delay: int = 0) -> None:
        if self.error is not None or next(self.faults, False):
            raise self.error or RegionUnavailable("now and then")
        self.sent.append((text, delay))

    def found(self) -> list[Pointers]:
        return [Pointers.parse(text) for text, _ in self.sent]

    def take(self) -> list[dict[str, str]]:
        taken, self.sent = self.sent, []
        return [{"messageId": f"m{n}", "body": text} for n, (text, _) in enumerate(taken)]


@dataclass
class Bench:
    """A region with its views; `west` writes events whose copies arrive here."""

    projections: Sequence[type[Projection]] = (Member, Visits)
    partial: bool = True
    now: int = 1_800_000_000_000
    table: Table = field(default_factory=Table)
    sink: Sink = field(default_factory=Sink)
    control: Control = field(default_factory=Control)
    backlog: Queue = field(default_factory=Queue)
    letters: Queue = field(default_factory=Queue)
    told: list[tuple[dict[str, str], dict[str, float]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        clock = HybridLogicalClock(lambda: 1_799_999_990_000)
        self.east = EventStore(self.table, EAST, [WEST], clock)
        self.west = EventStore(MemoryStorage(), WEST, [EAST], clock)
        self.quarantine = Quarantine(self.control, VIEWS)
        self.inbound = self.restarted()

    def restarted(self, *projections: type[Projection]) -> Inbound:
        """The function in another process, perhaps with other code."""
        if projections:
            self.projections = projections

        def emit(dimensions: Mapping[str, str], values: Mapping[str, float]) -> None:
            self.told.append((dict(dimensions), dict(values)))

        store = EventStore(self.table, EAST, [WEST])
        refusals = Refusals(EAST, self.control, [EAST, VIEWS], emit, lambda: self.now)
        self.inbound = Inbound(
            EAST, store, Engine(self.projections, store, self.sink), QueueBacklog(VIEWS, self.backlog),  # type: ignore[arg-type]
            self.letters, self.quarantine, refusals, emit, self.partial, lambda: self.now,  # type: ignore[arg-type]
        )  # fmt: skip
        return self.inbound

    def append(self, stream: str, *kinds: str, at: str = EAST, **payload: Any) -> list[Event]:
        """Events of these types, here or copied from the other region."""
        news = [NewEvent(kind, {"secret": SECRET, **payload}) for kind in kinds]
        events = (self.east if at == EAST else self.west).append(f"member/{stream}", *news)
        if at == WEST:
            self.table.insert_each(events)
        return list(events)

    def view(self, stream: str, projection: str = "member") -> dict[str, Any] | None:
        key = next(each for each in self.projections if each.name == projection).key(f"member/{stream}")
        view = MemorySink.load(self.sink, [key]).get(key)
        return view.value if view else None

    def digests(self) -> dict[ViewKey, bytes]:
        return {view.id: view.digest for p in self.projections for view in self.sink.views(p.name, p.version)}

    def refused(self) -> list[str]:
        return [key for key, _ in self.quarantine.records()]

    def metric(self, name: str) -> list[float]:
        return [values[name] for _, values in self.told if name in values]

    def said(self) -> str:
        """Everything that leaves the region's tables."""
        return json.dumps([self.told, self.backlog.sent, self.letters.sent, self.quarantine.records()])


def record(event: Event, name: str = "INSERT", number: int = 1, **changed: Any) -> dict[str, Any]:
    item = to_item(event)
    keys = {"pk": item["pk"], "sk": item["sk"]}
    return {"eventName": name, "dynamodb": {"Keys": keys, "NewImage": item, "SequenceNumber": f"{number}00", **changed}}


def batch(*events: Event) -> list[dict[str, Any]]:
    return [record(event, number=number) for number, event in enumerate(events, 1)]


def message(number: int, since: int = 5000, tries: int = 0, link: str = VIEWS, **spans: tuple[int, int]) -> dict[str, str]:
    pointers = Pointers(link, {lane(stream): span for stream, span in spans.items()}, since, tries)
    return {"messageId": f"m{number}", "body": str(pointers)}


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[str]]:
    """The lines that go to the log, as Lambda has them."""
    before = structlog.get_config()
    lines: list[str] = []

    def keep(_: Any, __: str, line: Any) -> str:
        lines.append(line)
        return ""

    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer(), keep],
        logger_factory=structlog.ReturnLoggerFactory(),
    )
    yield lines
    structlog.configure(**before)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- folding -----------------------------------------------------------------------------------------------------------


def test_own_events_and_copies_are_folded_once_however_often_they_come(bench: Bench) -> None:
    events = [*bench.append("homer", "joined", "visited", name="Homer"), *bench.append("homer", "visited", at=WEST)]
    other = bench.append("marge", "visited", at=WEST)
    for inbound in (bench.inbound, bench.inbound, bench.restarted()):
        assert inbound.project(batch(*events, *other, events[1])) == ALL_IS_WELL
    assert bench.view("homer") == {"called": "Homer", "visits": 2, "paid": 0}
    assert bench.view("marge", "visits") == {"visits": 1}
    assert (bench.backlog.sent, bench.letters.sent, bench.refused()) == ([], [], [])
    dimensions, values = bench.told[0]
    assert dimensions == {"region": EAST}
    assert values.pop("ConflictsMerged") > 0, "neither had seen the other"
    assert values == {"EventsProjected": 5, "ProjectionFailures": 0, "ProjectionLag": 10_000}
    assert not [each for each in bench.told if "ConflictsDiscarded" in each[1]], "no rule has discarded anything"
    assert bench.inbound.project([]) == ALL_IS_WELL


RULE = {"region": EAST, "projection": "member", "rule": "LwwRegister"}


def discarded(bench: Bench) -> list[tuple[dict[str, str], dict[str, float]]]:
    return [each for each in bench.told if "ConflictsDiscarded" in each[1]]


def test_what_a_conflict_rule_discards_is_counted_by_projection_and_rule(bench: Bench) -> None:
    events: list[Event] = []
    for at, name in ((EAST, "Homer"), (WEST, "Max")):
        events += bench.append("homer", "joined", at=at, name=name)
        bench.inbound.project(batch(*events))
    assert discarded(bench) == [(RULE, {"ConflictsDiscarded": 1})]
    bench.inbound.project(batch(*events))
    assert len(discarded(bench)) == 1, "the same events again are none again"


def test_what_a_conflict_rule_discards_is_counted_where_lanes_are_caught_up_with_too(bench: Bench) -> None:
    bench.inbound.project(batch(*bench.append("homer", "joined", name="Homer")))
    bench.append("homer", "joined", at=WEST, name="Max")
    pointers = Pointers(VIEWS, {lane("homer", WEST): (1, 1)}, 5000)
    assert bench.inbound.catch_up([{"messageId": "m1", "body": str(pointers)}], lambda: True) == ALL_IS_WELL
    assert discarded(bench) == [(RULE, {"ConflictsDiscarded": 1})]


def test_functions_say_that_they_feed_no_other_sink(logged: list[str]) -> None:
    for fine in ({}, {"MERIDIAN_SINKS": "dynamodb"}):
        warn_of_sinks(fine)
    assert logged == []
    warn_of_sinks({"MERIDIAN_SINKS": "dynamodb postgresql://me:not-a-secret@host/views"})
    (line,) = logged
    assert "projector.sinks_ignored" in line
    assert "postgresql://host/views" in line
    assert "secret" not in line


def test_an_event_behind_a_gap_brings_what_is_before_it(bench: Bench) -> None:
    events = bench.append("homer", *["visited"] * 4)
    assert bench.inbound.project(batch(events[3])) == ALL_IS_WELL
    assert bench.view("homer") == {"called": None, "visits": 4, "paid": 0}


def test_an_event_at_a_gap_that_the_table_has_too_waits_for_what_is_missing(bench: Bench) -> None:
    events = bench.west.append("member/homer", *[NewEvent("visited", {})] * 3)
    bench.table.insert_each([events[0], events[2]])
    assert bench.inbound.project(batch(events[0], events[2])) == ALL_IS_WELL
    assert bench.view("homer", "visits") == {"visits": 1}
    bench.table.insert_each([events[1]])
    assert bench.inbound.project(batch(events[1])) == ALL_IS_WELL
    assert bench.inbound.project(batch(events[2])) == ALL_IS_WELL
    assert bench.view("homer", "visits") == {"visits": 3}


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("MODIFY", {}),
        ("REMOVE", {"NewImage": None}),
        ("REMOVE", {"NewImage": None, "userIdentity": {"type": "Service", "principalId": "dynamodb.amazonaws.com"}}),
    ],
    ids=["modified", "removed", "expired"],
)
@pytest.mark.parametrize("at", [EAST, WEST])
def test_a_change_of_an_event_changes_no_view_and_is_recorded_once(
    bench: Bench, name: str, changed: dict[str, Any], at: str
) -> None:
    events = bench.append("homer", *["visited"] * 3, at=at)
    bench.inbound.project(batch(*events[:2]))
    before = bench.digests()
    for _ in range(3):
        assert bench.inbound.project([record(events[1], name, **changed)]) == ALL_IS_WELL
    assert bench.digests() == before
    assert bench.inbound.project([record(events[0], name, **changed), record(events[2])]) == ALL_IS_WELL
    assert bench.view("homer", "visits") == {"visits": 3}
    assert len(bench.refused()) == 2
    assert len(bench.letters.sent) <= 2
    assert "horse" not in bench.said()


# -- the sink is down --------------------------------------------------------------------------------------------------


def test_what_the_views_cannot_take_waits_on_their_backlog(bench: Bench) -> None:
    homer, marge = bench.append("homer", *["visited"] * 3), bench.append("marge", "visited", at=WEST)
    bench.sink.error = RegionUnavailable("down")
    assert bench.inbound.project(batch(*homer, *marge)) == ALL_IS_WELL
    (found,) = bench.backlog.found()
    assert found == Pointers(VIEWS, {lane("homer"): (1, 3), lane("marge", WEST): (1, 1)}, homer[0].hlc.ms, 0)
    assert (bench.letters.sent, bench.refused()) == ([], [])
    assert bench.metric("ProjectionFailures") == [0]
    assert "horse" not in bench.said()

    bench.sink.error = None
    bench.append("homer", "visited")
    assert bench.inbound.catch_up(bench.backlog.take(), lambda: True) == ALL_IS_WELL
    assert bench.view("homer", "visits") == {"visits": 4}, "what came behind the pointer waits with it"
    assert bench.view("marge", "visits") == {"visits": 1}
    assert bench.backlog.sent == []


def test_what_waits_is_not_counted_as_projected(bench: Bench) -> None:
    bench.sink.error = RegionUnavailable("down")
    bench.inbound.project(batch(*bench.append("homer", *["visited"] * 3)))
    assert bench.metric("EventsProjected") == [0]


@pytest.mark.parametrize("partial", [True, False])
@pytest.mark.parametrize("first", ["an event", "a change"])
def test_while_the_backlog_is_down_too_the_batch_comes_again(partial: bool, first: str) -> None:
    bench = Bench(partial=partial)
    removed, *events = bench.append("homer", *["visited"] * 3)
    bench.sink.error = bench.backlog.error = RegionUnavailable("down")
    records = batch(*events) if first == "an event" else [record(removed, "REMOVE", 7), *batch(*events)]
    if partial and first != "an event":
        assert bench.inbound.project(records) == item_failures(["100"])
    else:
        with pytest.raises(BatchFailed) as raised:
            bench.inbound.project(records)
        assert "horse" not in str(raised.value)
    bench.sink.error = bench.backlog.error = None
    assert bench.inbound.project(batch(*events)) == ALL_IS_WELL
    assert bench.view("homer", "visits") == {"visits": 3}


@pytest.mark.parametrize("code", ["ResourceNotFoundException", "AccessDeniedException"])
def test_a_sink_that_fails_as_nobody_foresaw_is_no_success(bench: Bench, code: str) -> None:
    events = bench.append("homer", "visited")
    bench.sink.error = ClientError({"Error": {"Code": code, "Message": "no"}}, "BatchGetItem")
    try:
        answer = bench.inbound.project(batch(*events))
    except ClientError:
        pass
    else:
        assert answer != ALL_IS_WELL or bench.backlog.found()


@pytest.mark.parametrize("way", ["stream", "backlog"])
def test_a_damaged_view_stands_alone(bench: Bench, way: str) -> None:
    homer, marge = bench.append("homer", "visited"), bench.append("marge", "visited")
    bench.sink.damaged = {ViewKey("visits", "member/homer")}
    if way == "stream":
        assert bench.inbound.project(batch(*homer, *marge)) == ALL_IS_WELL
    else:
        assert bench.inbound.catch_up([message(1, homer=(1, 1), marge=(1, 1))], lambda: True) == ALL_IS_WELL
    assert bench.view("marge", "visits") == {"visits": 1}
    assert bench.view("homer", "member") == {"called": None, "visits": 1, "paid": 0}


# -- poison ------------------------------------------------------------------------------------------------------------


def poisoned(bench: Bench) -> tuple[Event, list[Event]]:
    """A poison event in the middle of things, and all of them in order."""
    before = bench.append("homer", "visited")
    (poison,) = bench.append("homer", "joined", nickname=SECRET)
    after = bench.append("homer", "visited", "visited")
    others = [*bench.append("homer", "visited", at=WEST), *bench.append("homer2", "joined", "visited", name="Two")]
    return poison, [*before, poison, *after, *others]


def test_a_poison_event_is_one_letter_and_one_record_however_often_it_comes(bench: Bench) -> None:
    poison, events = poisoned(bench)
    for cut in (2, 3, len(events), len(events)):
        assert bench.inbound.project(batch(*events[:cut])) == ALL_IS_WELL
        bench.restarted()
    bench.inbound.project(batch(poison))
    bench.inbound.project(batch(*bench.append("homer", "visited")))
    bench.inbound.catch_up([message(1, homer=(2, 2)), message(2, homer=(1, 9))], lambda: True)
    (letter,) = bench.letters.found()
    assert (letter.link, dict(letter.lanes)) == (VIEWS, {poison.lane: (2, 2)})
    assert poison.id in letter.cause["event"]
    assert re.search(r"KeyError at test_inbound\.py:\d+", letter.cause["error"])
    assert [poison.id in key for key in bench.refused()] == [True]
    assert bench.view("homer2") == {"called": "Two", "visits": 1, "paid": 0}, "another lane, whose name begins alike"
    assert bench.view("homer") == {"called": None, "visits": 2, "paid": 0}, "what is before it, and the view's other lane"
    assert bench.view("homer", "visits") == {"visits": 5}, "another projection"
    assert bench.metric("Quarantined")[-1] == 1
    assert all(count > 0 for count in bench.metric("ProjectionFailures"))
    assert bench.backlog.sent == []


@pytest.mark.parametrize("what", ["letters", "control"])
def test_a_poison_event_that_cannot_be_recorded_comes_again(bench: Bench, what: str) -> None:
    _, events = poisoned(bench)
    failing: Any = getattr(bench, what)
    failing.error = RegionUnavailable("down")
    with pytest.raises(RegionUnavailable):
        bench.inbound.project(batch(*events))
    assert bench.inbound.catch_up([message(1, homer=(1, 4))], lambda: True) == item_failures(["m1"])
    failing.error = None
    assert bench.inbound.project(batch(*events)) == ALL_IS_WELL
    assert len(bench.refused()) == 1
    assert bench.letters.sent if what == "control" else len(bench.letters.sent) == 1
    assert bench.view("homer", "visits") == {"visits": 4}


def test_replay_after_the_fix_folds_what_is_behind_too_and_empties_quarantine(bench: Bench) -> None:
    _, events = poisoned(bench)
    (other,) = bench.append("homer3", "joined")
    bench.inbound.project(batch(*events, other))
    assert len(bench.letters.sent) == 2
    bench.restarted(Mended, Visits)
    replayed = [m for m in bench.letters.take() if "homer3" not in m["body"]]
    assert bench.inbound.catch_up(replayed, lambda: True) == ALL_IS_WELL
    assert bench.view("homer") == {"called": "nobody", "visits": 4, "paid": 0}
    assert [other.id in key for key in bench.refused()] == [True], "what was not replayed stays"
    assert bench.metric("Quarantined")[-1] == 1
    bench.inbound.catch_up([message(1, homer3=(1, 1))], lambda: True)
    assert (bench.refused(), bench.letters.sent, bench.backlog.sent) == ([], [], [])
    assert bench.metric("Quarantined")[-1] == 0
    fresh = Bench((Mended, Visits), table=bench.table)
    fresh.inbound.project(batch(*events, other))
    for stream in ("homer", "homer3"):  # views that nothing was wrong with are folded anew with their next event
        assert bench.digests()[Mended.key(f"member/{stream}")] == fresh.digests()[Mended.key(f"member/{stream}")]


@pytest.mark.parametrize(
    "stream",
    ["homer", "homer simpson", "homer/simpson", 'ho"mer', "数 é"],
)  # fmt: skip
@pytest.mark.parametrize(
    "name",
    [
        "member",
        "member view",
    ],
)
def test_quarantine_is_emptied_whatever_things_are_called(name: str, stream: str) -> None:
    broken = type("Broken", (Projection,), {"name": name, "stream_type": "member", "n": counter(joined=lambda p: p["n"])})
    mended = type(
        "Mended", (Projection,), {"name": name, "stream_type": "member", "version": 2, "n": counter(joined=lambda p: 1)}
    )
    bench = Bench((broken,))
    bench.inbound.project(batch(*bench.append(stream, "joined")))
    assert len(bench.refused()) == len(bench.letters.sent) == 1
    bench.restarted(mended)
    assert bench.inbound.catch_up(bench.letters.take(), lambda: True) == ALL_IS_WELL
    assert bench.refused() == []


@pytest.mark.parametrize("image", [None, {}, {"payload": {"S": SECRET}}], ids=["null", "empty", "alone"])
def test_a_record_that_is_no_event_is_one_letter_and_stops_no_other(bench: Bench, image: Any) -> None:
    bad, behind = bench.append("homer", "visited", "visited")
    good = bench.append("marge", "visited")
    for _ in range(3):
        assert bench.inbound.project([record(bad, NewImage=image), *batch(*good)]) == ALL_IS_WELL
        bench.restarted()
    (letter,) = bench.letters.found()
    assert dict(letter.lanes) == {bad.lane: (1, 1)}
    assert len(bench.refused()) == 1
    assert bench.view("marge", "visits") == {"visits": 1}
    assert bench.inbound.project(batch(behind)) == ALL_IS_WELL, "the table has it, so the view is whole"
    assert bench.view("homer", "visits") == {"visits": 2}
    assert "horse" not in bench.said()


def test_quarantine_is_emptied_of_a_record_whose_event_was_folded_from_the_table(bench: Bench) -> None:
    bench.inbound.project([record(bench.append("homer", "visited")[0], NewImage=None)])
    assert bench.inbound.catch_up(bench.letters.take(), lambda: True) == ALL_IS_WELL
    assert bench.view("homer", "visits") == {"visits": 1}
    assert bench.refused() == []


def test_a_key_that_is_none_is_recorded_and_sent_without_lanes_or_not_at_all(bench: Bench) -> None:
    (event,) = bench.append("homer", "visited")
    forged = record(event)
    forged["dynamodb"]["Keys"]["pk"] = forged["dynamodb"]["NewImage"]["pk"] = {"S": "US-EAST-1#member#homer"}
    for _ in range(3):
        assert bench.inbound.project([forged, {}, {"eventName": "INSERT"}]) == ALL_IS_WELL
    assert len(bench.refused()) == 2
    assert len(bench.letters.sent) <= 2
    assert all(not p.lanes for p in bench.letters.found())


# -- what leaves -------------------------------------------------------------------------------------------------------


def raises(error: Exception) -> Any:
    def handler(payload: dict[str, Any]) -> Any:
        raise error

    return handler


def nested(payload: dict[str, Any], levels: int = 40) -> dict[str, Any]:
    return {payload["secret"]: nested(payload, levels - 1)} if levels else {}


LOOSE: dict[str, Any] = {
    "an error that quotes it": counter(x=raises(ValueError(f"cannot read {SECRET}"))),
    "a key error of it": counter(x=lambda p: {}[p["secret"]]),
    "an error in an error": counter(x=lambda p: raises(RuntimeError(SECRET))(raises)),
    "an assertion": counter(x=lambda p: raises(AssertionError(p))(p)),
    "an error group": counter(x=raises(ExceptionGroup(SECRET, [ValueError(SECRET)]))),
    "a wrong value for a counter": counter(x=lambda p: p["secret"]),
    "a wrong value for a set": collection(x=lambda p: p["secret"]),
    "a wrong value for a register": register(x=lambda p: {p["secret"]}),
    "a deep value for a register": register(x=nested),
    "a wrong order": register(lambda p: [p["secret"]], x=lambda p: 1),
}
VIEW_FAILS: dict[str, Any] = {
    "an order beyond 2^53": register(lambda p: int("4929123412341234") * 10**6, x=lambda p: 1),
    "an order that is no text": register(lambda p: p["secret"] + "\ud800", x=lambda p: 1),
    "an element that is no text": collection(x=lambda p: add(p["secret"] + "\ud800")),
}


@pytest.mark.parametrize(
    "loose",
    [
        *(pytest.param(made, id=name) for name, made in LOOSE.items()),
        *(pytest.param(made, id=name) for name, made in VIEW_FAILS.items()),
    ],
)
def test_no_payload_is_in_a_letter_a_record_a_metric_or_a_log_line(loose: Any, logged: list[str]) -> None:
    bench = Bench((type("Loose", (Projection,), {"name": "loose", "stream_type": "member", "n": loose}),))
    events = bench.append("homer", "x")
    assert bench.inbound.project(batch(*events)) == ALL_IS_WELL
    bench.inbound.catch_up([message(1, homer=(1, 1)), {"messageId": "m2", "body": "no pointers"}], lambda: True)
    bench.sink.error = RegionUnavailable("down")
    bench.restarted().project(batch(*events))
    assert len(bench.letters.sent) == len(bench.refused()) == 1
    assert {json.loads(line)["event"] for line in logged} >= {"projector.quarantined", "projector.defers"}
    for text in (bench.said(), "\n".join(logged)):
        assert not re.search(r"horse|4929", text)


def test_an_error_that_cannot_be_shown_is_poison_like_any_other(bench: Bench) -> None:
    unshown = counter(x=raises(type("Unshown", (Exception,), {"__str__": lambda self: str(1 / 0)})()))
    bench.restarted(type("Loose", (Projection,), {"name": "loose", "stream_type": "member", "n": unshown}), Visits)
    assert bench.inbound.project(batch(*bench.append("homer", "visited", "x", "visited"))) == ALL_IS_WELL
    assert bench.view("homer", "visits") == {"visits": 2}
    assert len(bench.letters.sent) == len(bench.refused()) == 1


@pytest.mark.parametrize("case", ["too large", "beyond 2^53"])
def test_a_view_that_no_event_fits_into_any_more_is_one_letter_and_one_record(case: str) -> None:
    large = register(lambda p: 10**17, x=lambda p: 1) if case == "beyond 2^53" else register(x=lambda p: p["text"])
    bench = Bench((type("Large", (Projection,), {"name": "large", "stream_type": "member", "n": large}),))
    (poison,) = bench.append("homer", "x", text="x" * 250_000)  # stored as state and as value
    bench.inbound.project(batch(poison))
    for _ in range(3):
        bench.inbound.project(batch(*bench.append("homer", "other")))
    assert [poison.id in key for key in bench.refused()] == [True]
    assert len(bench.letters.sent) == 1


def test_a_letter_is_small_enough_for_the_queue(bench: Bench) -> None:
    loose = register(lambda p: p["text"] + "\ud800", x=lambda p: 1)
    bench.restarted(type("Loose", (Projection,), {"name": "loose", "stream_type": "member", "n": loose}))
    bench.inbound.project(batch(*bench.append("homer", "x", text="x" * 300_000)))
    ((text, _),) = bench.letters.sent
    assert len(text.encode()) < SQS_LIMIT


# -- the backlog -------------------------------------------------------------------------------------------------------


def test_messages_of_one_lane_are_one_piece_of_work(bench: Bench) -> None:
    bench.append("homer", *["visited"] * 9)
    bench.append("marge", "visited")
    messages = [message(n, homer=(n, n), marge=(1, 1)) for n in range(1, 9)]
    assert bench.inbound.catch_up(messages, lambda: True) == ALL_IS_WELL
    assert (bench.view("homer", "visits"), bench.view("marge", "visits")) == ({"visits": 9}, {"visits": 1})
    assert bench.sink.saves == 1


def test_pointers_to_what_is_not_here_yet_are_done(bench: Bench) -> None:
    bench.append("homer", "visited")
    assert bench.inbound.catch_up([message(1, homer=(1, 7), nobody=(1, 1)), message(2)], lambda: True) == ALL_IS_WELL
    assert bench.view("homer", "visits") == {"visits": 1}
    assert (bench.view("nobody"), bench.backlog.sent) == (None, [])


def test_a_message_of_another_link_or_of_none_is_kept_and_the_others_are_worked_on(bench: Bench) -> None:
    for name in ("homer", "marge"):
        bench.append(name, "visited")
    messages = [
        message(1, homer=(1, 1)),
        message(2, link=f"{EAST}>{WEST}", homer=(1, 1)),
        message(3, link=f"{WEST}>views", homer=(1, 1)),
        {"messageId": "m4", "body": "{"},
        message(5, marge=(1, 1)),
    ]
    assert bench.inbound.catch_up(messages, lambda: True) == item_failures(["m2", "m3", "m4"])
    assert bench.view("homer", "visits") == bench.view("marge", "visits") == {"visits": 1}


def test_what_fails_again_waits_on_with_the_time_since_when(bench: Bench) -> None:
    bench.append("homer", *["visited"] * 3)
    bench.sink.error = RegionUnavailable("down")
    messages = [message(1, 4000, 2, homer=(2, 3)), message(2, 3000, 0, homer=(1, 1), marge=(1, 1))]
    assert bench.inbound.catch_up(messages, lambda: True) == ALL_IS_WELL
    assert all(1 <= delay <= 8 for _, delay in bench.backlog.sent)
    (found,) = bench.backlog.found()
    assert found == Pointers(VIEWS, {lane("homer"): (1, 3), lane("marge"): (1, 1)}, 3000, 3)
    assert bench.metric("ProjectionLag")[-1] == bench.now - 3000
    bench.backlog.error = RegionUnavailable("down")
    assert bench.inbound.catch_up(messages, lambda: True) == item_failures(["m1", "m2"])


@pytest.mark.parametrize(
    "tries",
    [
        0,
        3,
    ],
)
def test_what_there_is_no_time_for_waits_on_as_it_was(bench: Bench, tries: int) -> None:
    names = [f"m{n:03}" for n in range(140)]
    for name in names:
        bench.append(name, "visited")
    waiting = [message(1, 4000, tries, **dict.fromkeys(names, (1, 1)))]
    assert bench.inbound.catch_up(waiting, lambda: len(list(bench.sink.views("visits"))) < 60) == ALL_IS_WELL
    done = {view.key for view in bench.sink.views("visits")}
    assert 60 <= len(done) < 140
    left = bench.backlog.found()
    assert {(p.since, p.tries) for p in left} == {(4000, tries)}
    assert {str(each.stream) for p in left for each in p.lanes} == {f"member/{name}" for name in names} - done
    for _ in range(140):
        bench.inbound.catch_up(bench.backlog.take(), lambda: False)
    assert len(list(bench.sink.views("visits"))) == 140


@pytest.mark.parametrize("how", ["damaged", "forged"])
def test_a_lane_with_a_damaged_end_leaves_the_others_alone(bench: Bench, how: str) -> None:
    bench.append("homer", "visited")
    bad = lane("bart", WEST)
    forged = seal(bad, 1, Hlc(1, 0), NewEvent("visited", {"secret": SECRET}), EMPTY, b"x" * 32)
    bench.table.insert_each([forged])
    bench.table.damaged = {bad} if how == "damaged" else set()
    body = str(Pointers(VIEWS, {bad: (1, 1), lane("homer"): (1, 1)}, 5000))
    assert bench.inbound.catch_up([{"messageId": "m1", "body": body}], lambda: True) == ALL_IS_WELL
    assert bench.view("homer", "visits") == {"visits": 1}
    assert {key.partition(" ")[2].rpartition("#")[0] for key in bench.refused()} == {bad.key}
    assert "horse" not in bench.said()


def test_a_poison_lane_in_a_message_leaves_the_others_alone(bench: Bench) -> None:
    names = [f"m{n:03}" for n in range(120)]
    for name in names:
        bench.append(name, "joined", **({} if name in ("m010", "m060") else {"name": name}))
    assert bench.inbound.catch_up([message(1, **dict.fromkeys(names, (1, 1)))], lambda: True) == ALL_IS_WELL
    assert len(list(bench.sink.views("member"))) == 118
    assert len(bench.letters.sent) == len(bench.refused()) == 2
    assert bench.backlog.sent == []


def test_poison_that_fails_again_after_a_replay_is_a_letter_again(bench: Bench) -> None:
    poison, events = poisoned(bench)
    bench.inbound.project(batch(*events))
    for _ in range(2):
        assert bench.inbound.catch_up(bench.letters.take(), lambda: True) == ALL_IS_WELL
        assert [dict(letter.lanes) for letter in bench.letters.found()] == [
            {poison.lane: (poison.sequence, poison.sequence)}
        ]
        assert len(bench.refused()) == 1


# -- all of it together ------------------------------------------------------------------------------------------------


@trials(max_examples=80, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(["homer", "marge"]),
                st.sampled_from(["visited", "visited", "joined"]),
                st.sampled_from([EAST, WEST]),
            ),
            max_size=5,
        ),
        min_size=1,
        max_size=5,
    ),
    st.lists(st.sampled_from(["fine", "before", "after"]), max_size=12),
    st.lists(st.booleans(), max_size=8),
    st.booleans(),
)  # fmt: skip
def test_lambda_hands_a_batch_over_until_it_is_taken_and_then_views_are_whole(
    plan: Any, faults: list[str], queue_faults: list[bool], partial: bool
) -> None:
    bench = Bench(partial=partial)
    bench.sink.faults, bench.backlog.faults, bench.letters.faults = iter(faults), iter(queue_faults), iter(queue_faults)
    history: list[Event] = []
    for number, appends in enumerate(plan):
        events = [event for stream, kind, at in appends for event in bench.append(stream, kind, at=at)]
        history += events
        records = batch(*events)
        for attempt in range(100):
            if attempt % 2:
                bench.restarted()
            try:
                failures = bench.inbound.project(records)["batchItemFailures"]
            except (BatchFailed, RegionUnavailable):
                continue
            if not failures:
                break
            numbers = [each["dynamodb"]["SequenceNumber"] for each in records]
            records = records[numbers.index(failures[0]["itemIdentifier"]) :]
        else:
            raise AssertionError(f"batch {number} is never taken")
    bench.sink.faults, bench.backlog.faults, bench.letters.faults = iter(()), iter(()), iter(())
    while bench.backlog.sent:
        assert bench.inbound.catch_up(bench.backlog.take(), lambda: True) == ALL_IS_WELL
    whole = Bench(table=bench.table)
    whole.inbound.project(batch(*history))
    assert bench.digests() == whole.digests()
    assert bench.refused() == whole.refused()
    assert {dict(p.cause)["event"] for p in bench.letters.found()} == set(bench.refused())

    bench.restarted(Mended, Visits)
    bench.inbound.catch_up(bench.letters.take(), lambda: True)
    mended = Bench((Mended, Visits), table=bench.table)
    mended.inbound.project(batch(*history))
    stuck = {lane_ for p in whole.letters.found() for lane_ in p.lanes}
    assert {k: v for k, v in bench.digests().items() if any(str(each.stream) == k.key for each in stuck)} == {
        k: v for k, v in mended.digests().items() if any(str(each.stream) == k.key for each in stuck)
    }
    assert (bench.refused(), bench.letters.sent) == ([], [])
    assert "horse" not in bench.said()
    assert join(p.lanes for p in bench.backlog.found()) == {}


def test_events_of_a_region_that_is_unknown_wait_and_are_folded_once_it_is_known() -> None:
    bench = Bench()
    new = "eu-central-1"
    elsewhere = EventStore(MemoryStorage(), new, [EAST, WEST], HybridLogicalClock(lambda: 1_799_999_990_000))
    events = [elsewhere.append("member/homer", NewEvent("joined", {"name": name}))[0] for name in ("h", "homer")]
    bench.table.insert_each(events)
    bench.inbound.project(batch(*events))
    bench.inbound.project(batch(*events))
    assert bench.view("homer") is None
    assert bench.refused() == [f"region {new}"]
    assert bench.letters.sent == []
    knowing = bench.restarted()
    knowing.store = knowing.engine._store = EventStore(bench.table, EAST, [WEST, new])
    assert knowing.catch_up(bench.backlog.take(), lambda: True) == {"batchItemFailures": []}
    view = bench.view("homer")
    assert view is not None
    assert view["called"] == "homer"
    assert bench.refused() == []
