"""One contract for every backend: what is promised of LaneStorage holds in memory and on DynamoDB alike."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from replicator.aws import clients
from replicator.aws.control_table import DynamoControl
from replicator.aws.event_table import DynamoStorage
from replicator.aws.tables import create_tables
from replicator.control.control_storage import ControlStorage, Guard
from replicator.domain.clock import Hlc
from replicator.domain.errors import DamagedEvent, RegionUnavailable
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId, sequence_key
from replicator.domain.vector import EMPTY, VersionVector
from replicator.eventstore.event_items import to_item
from replicator.eventstore.memory_storage import MemoryStorage
from replicator.eventstore.storage import Insert, LaneStorage, Position
from replicator.eventstore.store_errors import GuardFailed, LaneTaken, OutcomeUnknown
from replicator.runtime.retries import Transient
from replicator.runtime.settings import Settings

HOMER = LaneId("us-east-1", StreamId("user", "homer"))
MARGE = LaneId("us-east-1", StreamId("user", "marge"))
ENGINES = ["ministack", "dynamodb-local", "localstack"]
KINDS = [
    "memory",
    *(pytest.param(engine, marks=pytest.mark.emulator) for engine in ENGINES),
]


def chain(lane: LaneId, count: int, payload: str = "", by: str = "a writer") -> list[Event]:
    """A lane's first `count` events; `by` makes another history of the same positions."""
    events: list[Event] = []
    for sequence in range(1, count + 1):
        new = NewEvent("renamed", {"n": sequence, "text": payload}, metadata={"by": by})
        prev = events[-1].digest if events else GENESIS
        events.append(seal(lane, sequence, Hlc(1_763_914_981_000 + sequence, 7), new, EMPTY, prev))
    return events


def write(storage: LaneStorage, events: list[Event]) -> None:
    for start in range(0, len(events), 100):
        storage.insert(events[start : start + 100])


def everything(storage: LaneStorage) -> dict[LaneId, list[Event]]:
    return {lane: list(storage.read(lane)) for lane, _ in storage.lanes()}


class Engine:
    """One table of an engine, for the whole contract: making it takes longer than most tests here."""

    def __init__(self, settings: Settings) -> None:
        self.table = replace(settings, prefix="contract", attempts=2, read_timeout=30)
        create_tables(self.table)
        self.raw: Any = clients.dynamodb(self.table, self.table.region)  # beneath the storage
        self.storage = DynamoStorage(self.table)

    def empty(self) -> Engine:
        for lane, last in self.storage.lanes():
            keys = [{"pk": {"S": lane.key}, "sk": {"S": sequence_key(n)}} for n in range(1, last + 1)]
            for start in range(0, last, 25):
                deletes: Any = [{"DeleteRequest": {"Key": key}} for key in keys[start : start + 25]]
                self.raw.batch_write_item(RequestItems={self.table.events_table: deletes})
        return self


@pytest.fixture(scope="module")
def engines(request: pytest.FixtureRequest) -> Callable[[str], Engine]:
    """Each engine, started when it is needed."""

    @cache
    def engine(name: str) -> Engine:
        if name == "ministack":
            return Engine(request.getfixturevalue("emulated").settings("us-east-1"))
        fixture = {"dynamodb-local": "local_engine", "localstack": "localstack_engine"}[name]
        return Engine(Settings("us-east-1", endpoints={"us-east-1": request.getfixturevalue(fixture)}))

    return engine


@pytest.fixture(params=KINDS)
def storage(request: pytest.FixtureRequest, engines: Callable[[str], Engine]) -> LaneStorage:
    return MemoryStorage() if request.param == "memory" else engines(request.param).empty().storage


@pytest.fixture
def control(storage: LaneStorage) -> ControlStorage:
    """The control state that the storage's guards speak of."""
    return storage.control if isinstance(storage, MemoryStorage) else DynamoControl(storage._settings)  # type: ignore[attr-defined]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, engines: Callable[[str], Engine]) -> Engine:
    """An engine with an empty table."""
    return engines(request.param).empty()


@pytest.fixture
def table(engine: Engine) -> Settings:
    return engine.table


@pytest.fixture
def raw(engine: Engine) -> Any:
    return engine.raw


@pytest.fixture
def dynamo(engine: Engine) -> DynamoStorage:
    return engine.storage


def test_insert_takes_a_hundred_events_over_several_lanes(storage: LaneStorage) -> None:
    lanes = [LaneId("us-east-1", StreamId("user", f"u{n}")) for n in range(4)]
    wanted = {lane: chain(lane, 25) for lane in lanes}
    storage.insert([event for events in wanted.values() for event in events])
    assert everything(storage) == wanted


@pytest.mark.parametrize("count", [1, 3])
def test_a_guarded_insert_happens_while_its_guard_holds(storage: LaneStorage, control: ControlStorage, count: int) -> None:
    fence = Guard("fences", f"holds {count} {type(storage).__name__}", {"epoch": 1, "open": True})
    control.put(fence.scope, {fence.key: dict(fence.value)})
    assert storage.insert(chain(HOMER, count), [fence])
    assert everything(storage) == {HOMER: chain(HOMER, count)}
    assert not storage.insert(chain(HOMER, count), [fence])


@pytest.mark.parametrize("value", [None, {"epoch": 2, "open": True}, {"epoch": 1, "open": False}])
@pytest.mark.parametrize("count", [1, 3])
def test_a_guard_that_does_not_hold_refuses_the_whole_insert(
    storage: LaneStorage, control: ControlStorage, count: int, value: dict[str, Any] | None
) -> None:
    fence = Guard("fences", f"fails {count} {value}", {"epoch": 1, "open": True})
    if value is not None:
        control.put(fence.scope, {fence.key: value})
    with pytest.raises(GuardFailed, match="epoch"):
        storage.insert(chain(HOMER, count), [fence])
    assert everything(storage) == {}


def test_events_that_are_there_already_need_no_guard_any_more(storage: LaneStorage, control: ControlStorage) -> None:
    fence = Guard("fences", "closed since", {"open": True})
    control.put(fence.scope, {fence.key: {"open": True}})
    storage.insert(chain(HOMER, 2), [fence])
    control.put(fence.scope, {fence.key: {"open": False}})
    assert not storage.insert(chain(HOMER, 2), [fence])  # an answer was lost, and it is sent again


def test_a_taken_position_counts_before_a_guard(storage: LaneStorage) -> None:
    storage.insert(chain(HOMER, 1))
    with pytest.raises(LaneTaken):
        storage.insert(chain(HOMER, 2, by="another writer"), [Guard("fences", "absent", {})])


def test_insert_refuses_more_than_a_hundred_and_writes_nothing(storage: LaneStorage) -> None:
    with pytest.raises(ValueError, match="101"):
        storage.insert(chain(HOMER, 101))
    with pytest.raises(ValueError, match="100 events and 1 guards"):
        storage.insert(chain(HOMER, 100), [Guard("fences", "one", {})])
    assert everything(storage) == {}


def test_inserting_nothing_does_nothing(storage: LaneStorage) -> None:
    storage.insert([])
    assert storage.insert_each([]) == []
    assert storage.get([]) == {}
    assert everything(storage) == {}


@pytest.mark.parametrize("count", [1, 5])
def test_inserting_the_same_events_again_is_a_no_op(storage: LaneStorage, count: int) -> None:
    events = chain(HOMER, count)
    storage.insert(events)
    storage.insert(events)
    assert everything(storage) == {HOMER: events}


@pytest.mark.parametrize("count", [1, 3])
def test_a_taken_position_is_named_and_nothing_is_written(storage: LaneStorage, count: int) -> None:
    held = chain(HOMER, 2)
    storage.insert(held)
    refused = chain(HOMER, count, by="another writer")
    with pytest.raises(LaneTaken) as raised:
        storage.insert([*refused, *chain(MARGE, count - 1)])
    assert raised.value.taken == tuple(event.id for event in refused[:2])
    assert all(event.id in str(raised.value) for event in refused[:2])
    assert everything(storage) == {HOMER: held}


def test_an_insert_that_is_only_partly_there_already_is_refused_whole(storage: LaneStorage) -> None:
    events = chain(HOMER, 3)
    storage.insert(events[:2])
    with pytest.raises(LaneTaken) as raised:
        storage.insert(events)
    assert raised.value.taken == (events[0].id, events[1].id)
    assert everything(storage) == {HOMER: events[:2]}


def test_insert_each_says_what_became_of_each_and_never_replaces(storage: LaneStorage) -> None:
    held = chain(HOMER, 2)
    storage.insert(held)
    others = chain(HOMER, 3, by="another writer")
    marge = chain(MARGE, 130)  # more than one request's worth
    outcomes = storage.insert_each([others[0], held[1], *marge, others[2]])
    assert outcomes == [Insert.TAKEN, Insert.TAKEN, *[Insert.ADDED] * 130, Insert.ADDED]
    assert everything(storage) == {HOMER: [*held, others[2]], MARGE: marge}
    assert storage.insert_each(marge) == [Insert.TAKEN] * 130


def test_get_returns_what_is_there_and_leaves_the_rest_out(storage: LaneStorage) -> None:
    homer, marge = chain(HOMER, 120), chain(MARGE, 3)
    write(storage, homer)
    write(storage, marge)
    positions: list[Position] = [(HOMER, n) for n in range(1, 140)] + [(MARGE, 2), (MARGE, 4)]
    assert storage.get(positions) == {(e.lane, e.sequence): e for e in [*homer, marge[1]]}


def test_read_honours_first_last_limit_and_reverse(storage: LaneStorage) -> None:
    events = chain(HOMER, 12)
    write(storage, events)
    write(storage, chain(MARGE, 2))

    def read(*args: int | None, limit: int | None = None, reverse: bool = False) -> list[int]:
        return [e.sequence for e in storage.read(HOMER, *args, limit=limit, reverse=reverse)]  # type: ignore[arg-type]

    assert read() == list(range(1, 13))
    assert read(4) == list(range(4, 13))
    assert read(4, 9) == list(range(4, 10))
    assert read(1, 3) == [1, 2, 3]
    assert read(5, 5) == [5]
    assert read(5, 4) == read(13) == read(1, 0) == []
    assert read(11, 99) == [11, 12]
    assert read(4, 9, limit=3) == [4, 5, 6]
    assert read(4, 9, reverse=True) == [9, 8, 7, 6, 5, 4]
    assert read(reverse=True, limit=1) == [12]
    assert list(storage.read(LaneId("us-east-1", StreamId("user", "nobody")))) == []


def test_a_lane_longer_than_a_page_is_read_whole_in_both_directions(storage: LaneStorage) -> None:
    events = chain(HOMER, 36, payload="x" * 60_000)  # 2 MB; DynamoDB's page is 1 MB
    for start in range(0, 36, 12):
        storage.insert(events[start : start + 12])
    assert list(storage.read(HOMER)) == events
    assert list(storage.read(HOMER, 2, 35, reverse=True)) == events[34:0:-1]
    assert list(storage.read(HOMER, limit=30)) == events[:30]
    assert storage.get([(HOMER, e.sequence) for e in events]) == {(HOMER, e.sequence): e for e in events}


@pytest.mark.emulator
def test_pages_are_fetched_as_the_events_are_taken(dynamo: DynamoStorage) -> None:
    events = chain(HOMER, 36, payload="x" * 60_000)
    for start in range(0, 36, 12):
        dynamo.insert(events[start : start + 12])
    lane: Iterator[Event] = dynamo.read(HOMER)
    assert next(lane) == events[0]
    later = seal(HOMER, 37, Hlc(1_763_914_982_000, 0), NewEvent("late", {}), EMPTY, events[-1].digest)
    dynamo.insert([later])  # after the first page was fetched, before the last one
    assert [*lane] == [*events[1:], later]


def test_lanes_names_every_lane_with_its_last_sequence(storage: LaneStorage) -> None:
    lanes = {LaneId(region, StreamId("user", f"u{n}")): n for region in ("us-east-1", "eu-west-1") for n in range(1, 8)}
    for lane, last in lanes.items():
        write(storage, chain(lane, last))
    assert dict(storage.lanes()) == lanes
    assert len(list(storage.lanes())) == len(lanes)


def test_the_index_lists_a_region_s_lanes_from_any_of_them_on(storage: LaneStorage) -> None:
    lanes = [LaneId("us-east-1", StreamId("user", f"u{n}")) for n in range(60)]
    storage.insert_each([event for lane in lanes for event in chain(lane, 1)])
    storage.insert_each(chain(LaneId("eu-west-1", StreamId("user", "u1")), 1))
    storage.insert_each(chain(lanes[0], 2)[1:])
    listed = list(storage.index("us-east-1"))
    assert sorted(listed) == sorted(lanes)
    for after in (0, 7, 30, 58, 59):
        assert list(storage.index("us-east-1", listed[after])) == listed[after + 1 :]
    assert list(storage.index("sa-east-1")) == list(storage.index("sa-east-1", lanes[3])) == []


@pytest.mark.parametrize("copied", [False, True], ids=["insert", "insert_each"])
def test_what_was_stored_reads_back_byte_for_byte(storage: LaneStorage, copied: bool) -> None:
    observed = VersionVector({"us-east-1": 3, "eu-west-1": 9_999_999_999_999_999})
    texts = ["", 'Zoë 数据 🦄 \u0000\u001f\u2028 \\ " é', "ä" * 204_000]  # the last is close to 400 KB of UTF-8
    for number, text in enumerate(texts):
        lane = LaneId("us-east-1", StreamId("úser ✓", f"{number}/🦄"))
        new = NewEvent("umbenannt ß", {"🦄": text, "n": [1, -0.0, 1e300, None, True, 2**53 - 1]}, 65_535, {"wer": "Zoë"})
        event = seal(lane, 1, Hlc(9_999_999_999_999, 65_535), new, observed, GENESIS)
        storage.insert_each([event]) if copied else storage.insert([event])
        for back in (*storage.read(lane), *storage.get([(lane, 1)]).values()):
            assert back == event
            assert (back.payload_text.encode(), back.digest) == (event.payload_text.encode(), event.digest)


# -- what only a real table can hold, or a real network do -----------------------------------------------------------


@pytest.mark.emulator
@pytest.mark.parametrize(
    "damage",
    [
        {"payload": {"S": '{"n":2}'}},
        {"payload": {"N": "2"}},
        {"digest": {"S": "not bytes"}},
        {"version": {"N": "1.5"}},
        {"hlc": {"S": "yesterday"}},
        {"observed": {"S": "[]"}},
        {"prev": None},
    ],
    ids=lambda damage: ",".join(damage),
)
def test_a_damaged_item_is_reported_as_such_however_it_is_read(
    dynamo: DynamoStorage, table: Settings, raw: Any, damage: dict[str, dict[str, str] | None]
) -> None:
    events = chain(HOMER, 3)
    dynamo.insert(events)
    item = {name: value for name, value in {**to_item(events[1]), **damage}.items() if value is not None}
    raw.put_item(TableName=table.events_table, Item=item)
    with pytest.raises(DamagedEvent):
        list(dynamo.read(HOMER))
    with pytest.raises(DamagedEvent):
        dynamo.get([(HOMER, 2)])
    assert list(dynamo.read(HOMER, 3)) == events[2:]


class _AnswerLost(DynamoStorage):
    """The first write lands but its answer is lost; the region does not answer reads either."""

    lost = False

    def _put(self, events: object, guards: object = ()) -> None:
        super()._put(events, guards)  # type: ignore[arg-type]
        if not self.lost:
            self.lost = True
            raise Transient("ReadTimeoutError", sent=True)

    def get(self, positions: object, *, consistent: bool = True) -> dict[Position, Event]:
        raise RegionUnavailable("no answer")


class _NoAnswer(DynamoStorage):
    """No write is answered."""

    def _put(self, events: object, guards: object = ()) -> None:
        raise Transient("ReadTimeoutError", sent=True)


@pytest.mark.emulator
def test_a_write_that_landed_is_never_reported_as_not_written(table: Settings, dynamo: DynamoStorage) -> None:
    storage = _AnswerLost(table)
    with pytest.raises(OutcomeUnknown) as raised:
        storage.insert(chain(HOMER, 1))
    assert raised.value.events == tuple(chain(HOMER, 1))
    assert list(dynamo.read(HOMER)) == chain(HOMER, 1)


@pytest.mark.emulator
@pytest.mark.parametrize("silent", [_AnswerLost, _NoAnswer])
def test_what_was_sent_without_an_answer_carries_its_guards(table: Settings, silent: type[DynamoStorage]) -> None:
    """Whoever settles it later must not write it where the guards hold no more."""
    fence = Guard("fences", f"sent {silent.__name__}", {"open": True})
    DynamoControl(table).put(fence.scope, {fence.key: {"open": True}})
    with pytest.raises(OutcomeUnknown) as raised:
        silent(replace(table, attempts=2)).insert(chain(HOMER, 1), [fence])
    assert raised.value.events.guards == (fence,)
