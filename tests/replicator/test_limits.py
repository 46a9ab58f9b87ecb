"""What fits by the docs fits with every setting: as many events as one append takes, fenced or not, with claims, decisions,
checkpoints and over HTTP; and an item is never larger than DynamoDB takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from starlette.testclient import TestClient

from projectors.api import Service, application
from replicator import Accept, IfEmpty, InvalidEvent, NewEvent, Operation, StreamId, When
from replicator.claims import Claim, HomedClaims, OptimisticClaims, Release
from replicator.claims.homes import HomeMover
from replicator.connect import connect_store
from replicator.control.control_storage import Guard
from replicator.domain.clock import ZERO
from replicator.domain.errors import InvalidOperation
from replicator.domain.event import GENESIS, MAX_ITEM_BYTES, Event, seal, size_of
from replicator.domain.names import LaneId
from replicator.domain.vector import EMPTY
from replicator.eventstore.appender import Write
from replicator.eventstore.event_items import to_item
from replicator.eventstore.reducer import Reducer
from replicator.eventstore.restream import Restream
from replicator.eventstore.storage import GUARDS, MAX_EVENTS, MAX_EVENTS_BYTES, MAX_TRANSACTION, MAX_TRANSACTION_BYTES
from replicator.runtime.settings import Settings
from tests.replicator.memories import EAST, Memories

NEW = NewEvent("noted", {"n": 1})
HOMER = StreamId("user", "homer")


class Place:
    """A region whose appends check the fence, or do not; with homes of claims."""

    def __init__(self, checked: bool) -> None:
        self.memories = Memories()
        self.checked = ["*"] if checked else []
        self.store = self.memories.store(EAST, self.checked)
        self.store.append("user/first", NEW)
        controls: Any = self.memories.controls
        tables: Any = self.memories.tables
        HomeMover(controls, tables, frozenset({"email"}), lambda _: None).move([EAST])

    def homed(self) -> HomedClaims:
        controls: Any = self.memories.controls
        return HomedClaims(EAST, controls.__getitem__, lambda region: self.memories.store(region, self.checked))

    def events(self) -> int:
        return sum(last for _, last in self.store.lanes())


def claims(count: int) -> list[Claim | Release]:
    return [Claim(f"email/{n}", "user/homer") for n in range(count)]


COUNT: Reducer[int] = Reducer(0, {})
WAYS: dict[str, Callable[[Place, int], Any]] = {
    "append": lambda place, n: place.store.append(HOMER, *[NEW] * n),
    "append_all": lambda place, n: place.store.append_all([Write(StreamId("user", str(k)), (NEW,)) for k in range(n)]),
    "save": lambda place, n: place.store.save(Operation(HOMER, [NEW] * n, IfEmpty())),
    "save to many": lambda place, n: place.store.save(*[Operation(f"user/{k}", NEW, IfEmpty()) for k in range(n)]),
    "a decision's events": lambda place, n: place.store.save(
        Operation(HOMER, [NEW] * (n // 2), When(COUNT, lambda _: Accept(*[NEW] * (n - n // 2))))
    ),
    "a guard of one's own": lambda place, n: place.store.save(Operation(HOMER, [NEW] * n), guards=[held(place)]),
    "homed claims": lambda place, n: place.homed().save(claims(n)),
    "homed claims and events": lambda place, n: place.homed().save(claims(40), Operation(HOMER, [NEW] * (n - 40))),
    "optimistic claims": lambda place, n: OptimisticClaims(place.store).save(claims(n)),
    "optimistic claims and events": lambda place, n: OptimisticClaims(place.store).save(
        claims(40), Operation(HOMER, [NEW] * (n - 40))
    ),
}


def held(place: Place) -> Guard:
    control: Any = place.memories.controls[EAST]
    control.put("mine", {"key": {"held": True}})
    return Guard("mine", "key", {"held": True})


@pytest.mark.parametrize("checked", [False, True], ids=["leased", "checked"])
@pytest.mark.parametrize("way", WAYS)
def test_the_number_of_events_that_is_documented_is_written_and_one_more_is_refused(way: str, checked: bool) -> None:
    place = Place(checked)
    before = place.events()
    WAYS[way](place, MAX_EVENTS)
    assert place.events() == before + MAX_EVENTS
    other = Place(checked)
    before = other.events()
    with pytest.raises(InvalidEvent, match=rf"{MAX_EVENTS + 1} events in one append; give 1 to {MAX_EVENTS}"):
        WAYS[way](other, MAX_EVENTS + 1)
    assert other.events() == before


@pytest.mark.parametrize("checked", [False, True], ids=["leased", "checked"])
def test_the_api_takes_what_its_document_says(checked: bool) -> None:
    place = Place(checked)
    client = TestClient(application(Service(place.store)))
    schemas = client.get("/openapi.json").json()
    body = schemas["paths"]["/streams/{type}/{id}/events"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    most = body["properties"]["events"]["maxItems"]
    assert most == MAX_EVENTS == schemas["components"]["schemas"]["Operation"]["properties"]["events"]["maxItems"]
    event = {"type": "noted", "payload": {}}
    for path, made in (
        ("/streams/user/homer/events", lambda n: {"events": [event] * n}),
        ("/transactions", lambda n: {"operations": [{"stream": f"s/{k}", "events": [event]} for k in range(n)]}),
        ("/transactions", lambda n: {"operations": [{"stream": "user/bart", "events": [event] * n}]}),
    ):
        before = place.events()
        assert client.post(path, json=made(most + 1)).status_code == 422
        assert place.events() == before
        assert client.post(path, json=made(most)).status_code == 201
        assert place.events() == before + most
    two = {"operations": [{"stream": f"user/{k}", "events": [event] * 50} for k in range(2)]}
    assert client.post("/transactions", json=two).status_code == 422


@pytest.mark.parametrize("checked", [False, True], ids=["leased", "checked"])
def test_a_restreaming_of_many_events_ends_under_any_fence(checked: bool) -> None:
    place = Place(checked)
    for _ in range(3):
        place.store.append(HOMER, *[NEW] * MAX_EVENTS)
    run = Restream(place.store, "split", [HOMER], lambda event, payload: [(f"part/{event.sequence % 7}", NEW)])
    progress = run.run()
    assert (progress.read, progress.appended) == (3 * MAX_EVENTS, 3 * MAX_EVENTS)


@pytest.mark.parametrize("checked", [False, True], ids=["leased", "checked"])
def test_as_many_bytes_as_one_append_takes_leave_room_for_guards(checked: bool) -> None:
    place = Place(checked)
    whole = [Write(StreamId("u", str(k)), (NewEvent("t", {"t": "x" * 400_000}),)) for k in range(10)]
    most = MAX_EVENTS_BYTES - sum(size_of(event) for event in place.store.append_all(whole))
    last = Write(StreamId("u", "last"), (NewEvent("t", {"t": "x" * (most - 500)}),))
    assert len(place.store.append_all([*whole, last])) == 11
    with pytest.raises(InvalidEvent, match=f"the limit is {MAX_EVENTS_BYTES:,} bytes together"):
        place.store.append_all([Write(StreamId("v", str(k)), (NewEvent("t", {"t": "x" * 400_000}),)) for k in range(11)])


def test_two_guards_of_one_s_own_are_refused() -> None:
    place = Place(checked=False)
    with pytest.raises(InvalidOperation, match="2 guards in one write; give at most 1"):
        place.store.save(Operation(HOMER, NEW), guards=[held(place), held(place)])


def test_guards_and_events_together_are_what_dynamodb_takes() -> None:
    assert MAX_EVENTS + GUARDS == MAX_TRANSACTION == 100
    assert MAX_EVENTS_BYTES < MAX_TRANSACTION_BYTES == 4 * 1024 * 1024


# -- items -------------------------------------------------------------------------------------------------------------


def bytes_of(event: Event) -> int:
    """The item's size as DynamoDB counts it, without its number, which takes 21 bytes at most."""
    item = {name: next(iter(value.values())) for name, value in to_item(event).items()}
    sizes = {name: len(v.encode() if isinstance(v, str) else v) for name, v in item.items() if name != "version"}
    return sum(len(name.encode()) for name in item) + sum(sizes.values())


@pytest.mark.parametrize("region", ["us-east-1", "ap-southeast-2", "us-gov-west-1", "me-south-1"])
@pytest.mark.parametrize("sequence", [1, 2])
def test_the_largest_event_that_is_accepted_is_no_larger_than_an_item_may_be(region: str, sequence: int) -> None:
    lane = LaneId(region, StreamId("user", "homer" * 40))

    def event(size: int) -> Event:
        return seal(
            lane, sequence, ZERO, NewEvent("moved", {"t": "x" * size}), EMPTY, GENESIS if sequence == 1 else b"p" * 32
        )

    room = MAX_ITEM_BYTES - size_of(event(0))
    largest = event(room)
    assert ("begins" in to_item(largest)) is (sequence == 1)
    assert size_of(largest) == MAX_ITEM_BYTES
    assert MAX_ITEM_BYTES - 21 <= bytes_of(largest) < MAX_ITEM_BYTES
    with pytest.raises(InvalidEvent, match="409,601 bytes"):
        event(room + 1)


@pytest.mark.emulator
@pytest.mark.parametrize("checked", [(), ("*",)], ids=["leased", "checked"])
def test_dynamodb_takes_it_all(emptied_settings: Settings, checked: tuple[str, ...]) -> None:
    store = connect_store(replace(emptied_settings, fence_checked=checked))
    assert len(store.append("user/homer", *[NEW] * MAX_EVENTS)) == MAX_EVENTS
    run = Restream(store, "split", [HOMER], lambda event, payload: [("part/1", NEW)])
    assert run.run().appended == MAX_EVENTS
