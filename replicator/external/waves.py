"""Waves: sends records in lane order over a service that may refuse some records of a request and keeps no order within one.

A wave holds at most one record of each lane; the next one of that lane is sent only after it was acknowledged. A lane
whose record was refused is left out until the others are done; then refused records are retried, with waits between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from replicator.domain.names import LaneId
from replicator.runtime.retries import Transient, transient

MAX_RECORDS = 500
MAX_REQUEST_BYTES = 5 * 1024 * 1024
MAX_RECORD_BYTES = 1024 * 1024
"""Limits of Kinesis' PutRecords, partition keys included: API reference, "PutRecords". (AWS has raised the last two since;
consumers' libraries may not have.)"""
_MAX_KEY = 256


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Record to send. Records of one `key` go to one shard, in the order in which they were acknowledged."""

    key: str
    data: bytes

    @property
    def size(self) -> int:
        return len(self.key.encode()) + len(self.data)


class Destination(Protocol):
    """Port of the service that receives external events."""

    def put(self, records: Sequence[Outgoing]) -> Sequence[str]:
        """Send these in one request, in no order. Returns for each an empty text once it is durable, or why it was refused.

        A refused record may have arrived all the same. Raises InvalidConfig when there is no such destination.
        """


def partition_key(lane: LaneId) -> str:
    """Return a lane's partition key: its own key, or its SHA-256 if that is longer than Kinesis allows."""
    return lane.key if len(lane.key) <= _MAX_KEY else sha256(lane.key.encode()).hexdigest()


def send(destination: Destination, queues: Mapping[LaneId, Sequence[Outgoing]], attempts: int) -> dict[LaneId, int]:
    """Send every lane's records in order. Returns the number acknowledged for each lane, without a gap.

    A refused lane is retried at once while it makes progress, and otherwise after a wait, `attempts` times in all.
    """
    sent = dict.fromkeys(queues, 0)

    def once() -> None:
        moved = True
        while moved:
            reason, moved = _pass(destination, queues, sent)
        if reason:
            raise Transient(reason, sent=True)

    with suppress(Transient):  # the acknowledgements show how far it came
        transient(attempts)(once)
    return sent


def _pass(
    destination: Destination, queues: Mapping[LaneId, Sequence[Outgoing]], sent: dict[LaneId, int]
) -> tuple[str, bool]:
    """Send waves until every lane is done or was refused once. Returns a refusal, if any, and whether a refused lane is
    worth another pass at once: one that made progress in this pass before it was refused."""
    refused: dict[LaneId, str] = {}
    moved: set[LaneId] = set()
    while wave := {lane: q[sent[lane]] for lane, q in queues.items() if lane not in refused and sent[lane] < len(q)}:
        for lanes in _requests(wave):
            for lane, reason in zip(lanes, destination.put([wave[lane] for lane in lanes]), strict=True):
                if reason:
                    refused[lane] = reason
                else:
                    sent[lane] += 1
                    moved.add(lane)
    return next(iter(refused.values()), ""), not moved.isdisjoint(refused)


def _requests(wave: Mapping[LaneId, Outgoing]) -> Iterator[list[LaneId]]:
    """Split the wave into requests that Kinesis accepts."""
    lanes: list[LaneId] = []
    size = 0
    for lane, record in wave.items():
        if lanes and (len(lanes) == MAX_RECORDS or size + record.size > MAX_REQUEST_BYTES):
            yield lanes
            lanes, size = [], 0
        lanes.append(lane)
        size += record.size
    if lanes:
        yield lanes
