"""What Lambda is told: never that all is well when it is not, and never more than has to come again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicator.control.pointers import Pointers
from replicator.domain.clock import Hlc
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY
from replicator.eventstore.event_items import to_item
from replicator.replication.lambda_batches import BatchFailed, item_failures, partial_batches, read_messages, stream_answer
from replicator.runtime.settings import Settings
from replicator.runtime.time_left import time_left

LANES = [LaneId("us-east-1", StreamId("user", name)) for name in "abc"]
ALL_IS_WELL: dict[str, list[dict[str, str]]] = {"batchItemFailures": []}


def event_of(lane: LaneId, sequence: int) -> Event:
    return seal(lane, sequence, Hlc(sequence, 0), NewEvent("x", {}), EMPTY, GENESIS)


EVENTS = [event_of(lane, sequence) for sequence in range(1, 5) for lane in LANES]


def record(event: Event, number: str) -> dict[str, Any]:
    item = to_item(event)
    keys = {"pk": item["pk"], "sk": item["sk"]}
    return {"eventName": "INSERT", "dynamodb": {"Keys": keys, "NewImage": item, "SequenceNumber": number}}


GARBAGE: list[dict[str, Any]] = [{}, {"dynamodb": None}, {"dynamodb": {"Keys": None}}, {"dynamodb": {"Keys": {"pk": {}}}}]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from([*EVENTS, *range(len(GARBAGE))]), max_size=12),
    st.sets(st.sampled_from(EVENTS), min_size=1, max_size=5),
    st.booleans(),
)
def test_a_lost_event_is_never_answered_with_an_empty_list(batch: list[Any], lost: set[Event], partial: bool) -> None:
    records = [GARBAGE[each] if isinstance(each, int) else record(each, f"{n + 100}") for n, each in enumerate(batch)]
    first = next((n for n, each in enumerate(batch) if each in lost), None)
    if first and partial:
        assert stream_answer(records, list(lost), partial) == item_failures([f"{first + 100}"])
    else:
        with pytest.raises(BatchFailed):
            stream_answer(records, list(lost), partial)


@pytest.mark.parametrize("partial", [True, False])
def test_a_batch_that_was_dealt_with_is_answered_with_an_empty_list(partial: bool) -> None:
    assert stream_answer([record(event, "1") for event in EVENTS], [], partial) == ALL_IS_WELL
    assert stream_answer([], [], partial) == ALL_IS_WELL


@pytest.mark.parametrize("number", ["", None])
def test_a_record_without_a_position_cannot_be_named_so_all_of_it_comes_again(number: Any) -> None:
    records = [record(EVENTS[0], "1"), record(EVENTS[1], number)]
    if number is None:
        del records[1]["dynamodb"]["SequenceNumber"]
    with pytest.raises(BatchFailed):
        stream_answer(records, [EVENTS[1]], partial=True)


def test_the_failure_names_no_payload() -> None:
    secret = seal(LANES[0], 1, Hlc(1, 0), NewEvent("x", {"secret": "horse"}), EMPTY, GENESIS)
    with pytest.raises(BatchFailed) as raised:
        stream_answer([record(secret, "1")], [secret], partial=True)
    assert "horse" not in str(raised.value)


@pytest.mark.parametrize(
    ("endpoints", "partial"), [({}, True), ({"us-east-1": "http://127.0.0.1:1"}, False)], ids=["AWS", "emulator"]
)
def test_parts_of_a_stream_batch_are_named_to_aws_alone(endpoints: dict[str, str], partial: bool) -> None:
    assert partial_batches(Settings("us-east-1", endpoints=endpoints)) is partial


@dataclass
class Context:
    left: int

    def get_remaining_time_in_millis(self) -> int:
        return self.left


def test_time_is_asked_for_each_time_and_some_is_left_for_handing_back() -> None:
    context = Context(20_001)
    fits = time_left(context)
    assert fits() is True
    for left in (20_000, 1, 0, -5):
        context.left = left
        assert fits() is False


# -- messages --------------------------------------------------------------------------------------------------------

LINK, OTHER = "us-east-1>eu-west-1", "us-east-1>ap-south-1"


def message(number: int, body: str) -> dict[str, str]:
    return {"messageId": f"m{number}", "body": body}


def pointers(link: str = LINK, lane: LaneId = LANES[0]) -> Pointers:
    return Pointers(link, {lane: (1, 2)}, 7, 1)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "not JSON",
        "{}",
        str(pointers("us-east-1>mars")),
        str(pointers("eu-west-1>us-east-1")),
        str(pointers("us-east-1>views")),
        str(pointers(LINK.upper())),
        str(pointers("")),
        json.dumps({**json.loads(str(pointers())), "v": 2}),
        json.dumps({**json.loads(str(pointers())), "lanes": {"us-east-1#user": [1, 2]}}),
        "[" * 100_000,
        str(pointers()).replace('"since":7', '"since":1e999'),
    ],
)
def test_a_message_that_cannot_be_read_is_kept_and_the_others_are_read(body: str) -> None:
    good = [pointers(), pointers(OTHER), pointers(LINK, LANES[1])]
    messages = [message(1, str(good[0])), message(2, body), message(3, str(good[1])), message(4, str(good[2]))]
    found, failed = read_messages(messages, {LINK: None, OTHER: None})
    assert failed == ["m2"]
    assert found == {LINK: [("m1", good[0]), ("m4", good[2])], OTHER: [("m3", good[1])]}


def test_no_messages_are_no_links() -> None:
    assert read_messages([], {LINK: None}) == ({}, [])
    assert read_messages([message(1, str(pointers()))], {}) == ({}, ["m1"])
