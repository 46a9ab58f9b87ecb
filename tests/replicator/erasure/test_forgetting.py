"""Forgetting: it is an event, it reaches every region, it can be run again, and no chain is broken by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replicator import EventStore, HybridLogicalClock, MemoryStorage, NewEvent
from replicator.domain.canonical import encode_json
from replicator.domain.errors import InvalidName, RegionUnavailable
from replicator.erasure import (
    FORGOTTEN,
    KeyStorage,
    LocalWrapping,
    MemoryKeys,
    PersonalData,
    SubjectForgotten,
    SubjectKeys,
    forget,
    forgotten_subject,
)
from tests.cuttable import Cuttable

EAST, WEST = "us-east-1", "eu-west-1"
HOMER = "user/homer"
SECRET = "4929 1234 horse"


@pytest.fixture
def keys() -> dict[str, KeyStorage]:
    return {EAST: MemoryKeys(), WEST: MemoryKeys()}


@pytest.fixture
def store() -> EventStore:
    return EventStore(MemoryStorage(), EAST, [EAST, WEST], HybridLogicalClock(lambda: 1_763_914_981_123))


@pytest.fixture
def personal(keys: dict[str, KeyStorage], tmp_path: Path) -> PersonalData:
    return PersonalData(EAST, keys, LocalWrapping(tmp_path / "key"))


def register(store: EventStore, personal: PersonalData, stream: str = HOMER) -> None:
    payload = {"email": SECRET, "plan": "gold"}
    store.append(stream, NewEvent("registered", personal.protect(HOMER, payload, ["email"])))


def test_forgetting_is_an_event_and_destroys_the_keys_of_every_region(
    store: EventStore, keys: dict[str, KeyStorage], personal: PersonalData
) -> None:
    register(store, personal)
    answer = personal.forget(store, HOMER)
    assert (answer.complete, set(answer.destroyed), dict(answer.pending)) == (True, {EAST, WEST}, {})
    said = store.latest(HOMER)
    assert said is not None
    assert answer.events == (said.id,)
    assert (said.type, said.payload, forgotten_subject(said)) == (FORGOTTEN, {"subject": HOMER}, HOMER)
    assert [storage.get(HOMER) for storage in keys.values()] == [SubjectKeys(forgotten=True)] * 2
    assert personal.reveal(next(store.read(HOMER)).payload) == {"plan": "gold"}
    with pytest.raises(SubjectForgotten):
        register(store, personal)


def test_the_chain_still_verifies_and_no_digest_changed(store: EventStore, personal: PersonalData) -> None:
    for _ in range(3):
        register(store, personal)
    before = list(store.read_lane(HOMER))
    personal.forget(store, HOMER)
    after = list(store.read_lane(HOMER))  # checks every digest and its chain
    assert after[:3] == before
    assert [event.digest for event in after[:3]] == [event.digest for event in before]
    assert after[3].prev == before[2].digest
    assert SECRET not in "".join(event.payload_text for event in after)


def test_forgetting_twice_appends_nothing_twice(store: EventStore, personal: PersonalData) -> None:
    register(store, personal)
    first = personal.forget(store, HOMER)
    assert personal.forget(store, HOMER) == first
    assert [event.type for event in store.read(HOMER)] == ["registered", FORGOTTEN]


def test_a_region_that_is_down_is_pending_and_running_it_again_finishes(
    store: EventStore, keys: dict[str, KeyStorage], personal: PersonalData
) -> None:
    register(store, personal)
    wrapped = keys[EAST].get(HOMER).keys
    for key_id, key in wrapped.items():
        keys[WEST].add(HOMER, key_id, key)
    first = forget(store, {EAST: keys[EAST], WEST: Cuttable(down=True)}, HOMER)
    assert (first.complete, first.destroyed, dict(first.pending)) == (False, (EAST,), {WEST: "the region does not answer"})
    assert not keys[WEST].get(HOMER).forgotten
    again = forget(store, keys, HOMER)
    assert (again.complete, again.destroyed, again.events) == (True, (EAST, WEST), first.events)
    assert keys[WEST].get(HOMER) == SubjectKeys(forgotten=True)


def test_where_the_own_region_is_pending_this_process_still_destroys_its_keys_later(
    store: EventStore, keys: dict[str, KeyStorage], tmp_path: Path
) -> None:
    own = MemoryKeys()

    class Flaky(MemoryKeys):
        down = True

        def get(self, subject: str) -> SubjectKeys:
            return own.get(subject)

        def add(self, subject: str, key_id: str, wrapped: bytes) -> bool:
            return own.add(subject, key_id, wrapped)

        def forget(self, subject: str) -> None:
            if self.down:
                raise RegionUnavailable("us-east-1 does not answer")
            own.forget(subject)

    flaky = Flaky()
    personal = PersonalData(EAST, {**keys, EAST: flaky}, LocalWrapping(tmp_path / "key"))
    register(store, personal)
    assert set(personal.forget(store, HOMER).pending) == {EAST}
    assert own.get(HOMER).keys
    flaky.down = False
    personal.destroy(HOMER)
    assert own.get(HOMER) == SubjectKeys(forgotten=True)


def test_every_named_stream_is_told_once(store: EventStore, keys: dict[str, KeyStorage], personal: PersonalData) -> None:
    for stream in ("order/17", "order/18"):
        register(store, personal, stream)
    answer = forget(store, keys, HOMER, ["order/17", "order/18", "order/17"])
    assert len(answer.events) == 2
    for stream in ("order/17", "order/18"):
        assert [event.type for event in store.read(stream)] == ["registered", FORGOTTEN]
    assert list(store.read(HOMER)) == []


@pytest.mark.parametrize(
    ("subject", "streams"), [("homer", []), ("", []), ("a#b", ["user/homer"]), ("user/homer", ["order"])]
)
def test_a_wrong_name_is_refused_before_anything_is_done(
    store: EventStore, keys: dict[str, KeyStorage], subject: str, streams: list[str]
) -> None:
    with pytest.raises(InvalidName):
        forget(store, keys, subject, streams)
    assert list(store.lanes()) == []
    assert not any(storage.get(HOMER).forgotten for storage in keys.values())


def test_a_subject_need_not_be_a_stream_where_streams_are_named(store: EventStore, keys: dict[str, KeyStorage]) -> None:
    assert forget(store, keys, "customer 7", ["order/17"]).complete


def test_when_the_event_cannot_be_appended_no_key_is_destroyed(keys: dict[str, KeyStorage], personal: PersonalData) -> None:
    class Closed(MemoryStorage):
        def insert(self, *_: Any, **__: Any) -> bool:
            raise RegionUnavailable("us-east-1 does not take writes")

    personal.protect(HOMER, {"email": SECRET}, ["email"])
    closed = EventStore(Closed(), EAST, [EAST, WEST])
    with pytest.raises(RegionUnavailable):
        forget(closed, keys, HOMER)
    assert keys[EAST].get(HOMER).keys


@pytest.mark.parametrize("payload", [{}, {"subject": 7}, {"subject": ""}, {"subject": "a#b"}, {"subject": ["user/homer"]}])
def test_an_event_of_that_type_that_names_nobody_forgets_nobody(store: EventStore, payload: dict[str, Any]) -> None:
    (event,) = store.append(HOMER, NewEvent(FORGOTTEN, payload))
    assert forgotten_subject(event) is None


def test_the_event_holds_no_personal_data(store: EventStore, personal: PersonalData) -> None:
    register(store, personal)
    personal.forget(store, HOMER)
    said = store.latest(HOMER)
    assert said is not None
    assert said.payload_text == encode_json({"subject": HOMER})
    assert said.metadata == {}
