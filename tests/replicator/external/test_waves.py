"""Sending: in lane order whatever PutRecords does with some of its records, within its limits, no lane held up."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from replicator.domain.names import LaneId, StreamId
from replicator.external.waves import MAX_RECORD_BYTES, MAX_REQUEST_BYTES, Outgoing, send

from externals import FakeDestination  # isort: skip


def lanes(count: int) -> list[LaneId]:
    return [LaneId("us-east-1", StreamId("u", str(n))) for n in range(count)]


def queues(count: int, length: int) -> dict[LaneId, list[Outgoing]]:
    return {lane: [Outgoing(lane.key, b"%d" % n) for n in range(length)] for lane in lanes(count)}


def test_every_record_goes_out_in_the_order_of_its_lane() -> None:
    fake = FakeDestination(plan=["refused", "taken", "arrived"] * 5)
    sent = send(fake, queues(4, 5), attempts=3)
    assert set(sent.values()) == {5}
    for lane in lanes(4):
        first = list(dict.fromkeys(record.data for record in fake.arrived if record.key == lane.key))
        assert first == [b"0", b"1", b"2", b"3", b"4"]


@dataclass
class OneRefuses:
    """Refuses one lane, always."""

    key: str
    log: list[str] = field(default_factory=list)

    def put(self, records: list[Outgoing]) -> list[str]:
        self.log += [record.key for record in records]
        return ["ProvisionedThroughputExceededException" if record.key == self.key else "" for record in records]


def test_a_lane_that_is_refused_holds_up_no_other_and_is_tried_a_bounded_number_of_times() -> None:
    slow, fast = lanes(2)
    one = OneRefuses(slow.key)
    assert send(one, queues(2, 4), attempts=3) == {slow: 0, fast: 4}
    assert one.log[:5] == [slow.key, fast.key, fast.key, fast.key, fast.key]
    assert one.log.count(slow.key) == 3


def test_a_request_holds_no_more_than_kinesis_takes() -> None:
    fake = FakeDestination()
    assert sum(send(fake, queues(1_201, 1), attempts=1).values()) == 1_201
    assert [len(request) for request in fake.requests] == [500, 500, 201]
    fake = FakeDestination()
    big = {lane: [Outgoing(lane.key, bytes(MAX_RECORD_BYTES - 100))] for lane in lanes(12)}
    assert sum(send(fake, big, attempts=1).values()) == 12
    assert all(sum(record.size for record in request) <= MAX_REQUEST_BYTES for request in fake.requests)
    assert len(fake.requests) == 3


@pytest.mark.parametrize("nothing", [{}, {lanes(1)[0]: []}])
def test_nothing_to_send_asks_nothing_of_kinesis(nothing: dict[LaneId, list[Outgoing]]) -> None:
    fake = FakeDestination()
    assert sum(send(fake, nothing, attempts=1).values()) == 0
    assert fake.requests == []
