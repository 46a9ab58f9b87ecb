"""Redrive of stream batches that an event source mapping gave up. Lambda's message about a batch holds positions in the
stream and no payload. While the stream still has the records, they become pointers to their lanes; once it has trimmed them,
every lane is put on the backlogs, to be compared with what the peer or the view holds: one pass for all batches that failed
before it, which goes on where an earlier invocation ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from replicator.aws import clients
from replicator.aws.sqs import QueueBacklog
from replicator.control.backlog import VIEWS
from replicator.control.control_storage import ControlStorage, Value
from replicator.control.pointers import Spans, join
from replicator.control.suspects import Suspects
from replicator.domain.errors import RegionUnavailable
from replicator.domain.names import LaneId
from replicator.eventstore.storage import LaneStorage
from replicator.replication.lambda_batches import Answer, Message, item_failures
from replicator.replication.stream_records import position, read_records
from replicator.runtime.time_left import Fits
from replicator.runtime.wall_clock import wall_clock

log = structlog.get_logger()

_EMPTY_PAGES = 10
_UNREADABLE = (
    RegionUnavailable, ClientError, BotoCoreError, ValueError, LookupError, TypeError, AttributeError, OverflowError,
    RecursionError,
)  # fmt: skip
_GONE = {"TrimmedDataAccessException", "ResourceNotFoundException", "ValidationException"}


@dataclass(slots=True)
class Redrive:
    """Converts positions in the own region's stream back to lanes. `regions` are all that have lanes; `again` sends a
    message of the failed batches' queue anew."""

    region: str
    regions: Sequence[str]
    home: LaneStorage
    control: ControlStorage
    streams: Any
    backlogs: Mapping[str, QueueBacklog]
    again: Callable[[str], object]
    wall: Callable[[], int] = wall_clock

    def redrive(self, messages: Sequence[Message], fits: Fits = lambda: True) -> Answer:
        """Process messages of the failed batches' queue, while the time `fits`. The answer names the messages to keep."""
        failed = []
        for message in messages:
            try:
                if not self._redrive(json.loads(message["body"]), fits):
                    self.again(message["body"])  # kept as a failure, it would end in the dead letters after some invocations
            except _UNREADABLE as error:
                log.error("redrive.failed", message_id=message["messageId"], error=f"{type(error).__name__}: {error}")
                failed.append(message["messageId"])
        return item_failures(failed)

    def _redrive(self, body: Mapping[str, Any], fits: Fits) -> bool:
        function = str(body["requestContext"]["functionArn"])
        projected = function.partition(":function:")[2].partition(":")[0].endswith("-projector")
        lanes = self._lanes(body["DDBStreamBatchInfo"])
        if lanes is None:
            failed = datetime.fromisoformat(str(body["timestamp"])).timestamp()
            done = self._every_lane(projected, int(failed * 1000), fits)
            log.warning("stream.redriven", function=function, every_lane=True, done=done)
            return done
        if not projected:
            lanes = {lane: span for lane, span in lanes.items() if lane.region == self.region}
        log.warning("stream.redriven", function=function, every_lane=False, lanes=len(lanes))
        self._defer(lanes, projected)
        return True

    def _defer(self, lanes: Spans, projected: bool) -> None:
        for target, backlog in self.backlogs.items():
            if (target == VIEWS) == projected and lanes:
                backlog.defer(lanes, self.wall())

    def _every_lane(self, projected: bool, failed: int, fits: Fits) -> bool:
        """Put every lane on the backlogs in a pass that begins at `failed` or later, in milliseconds. Returns whether it has
        ended; several processes may be at it."""
        key, regions = (VIEWS, self.regions) if projected else ("peers", (self.region,))
        before = self.control.get(_SCOPE, key) or {"began": -1, "ended": True}
        while not before["ended"] or before["began"] < failed:
            if before["ended"]:
                before = {"began": max(self.wall(), failed), "region": regions[0], "after": "", "ended": False}
            for state in self._pass(before, regions, projected):
                self.control.put(_SCOPE, {key: state})
                before = state
                if not state["ended"] and not fits():
                    return False
        return True

    def _pass(self, state: Value, regions: Sequence[str], projected: bool) -> Iterator[Value]:
        """Put lanes on the backlogs, some at a time. Yields how far it has come."""
        known = state["region"] in regions
        after = LaneId.from_key(state["after"]) if known and state["after"] else None
        for region in regions[regions.index(state["region"]) if known else 0 :]:
            lanes = self.home.index(region, after)
            after = None
            while part := list(islice(lanes, _TOLD_LANES)):
                self._defer(dict.fromkeys(part, (1, 1)), projected)  # whatever its range, the lane is compared whole
                yield {**state, "region": region, "after": part[-1].key}
        yield {**state, "ended": True}

    def _lanes(self, batch: Mapping[str, Any]) -> dict[LaneId, tuple[int, int]] | None:
        """Return the lanes and sequences of a batch by its positions, or None when the stream does not return them all."""
        parts: list[Spans] = []
        last, empty, begun = int(batch["endSequenceNumber"]), 0, False
        try:
            iterator = self.streams.get_shard_iterator(
                StreamArn=batch["streamArn"],
                ShardId=batch["shardId"],
                ShardIteratorType="AT_SEQUENCE_NUMBER",
                SequenceNumber=batch["startSequenceNumber"],
            )["ShardIterator"]
            while iterator and empty < _EMPTY_PAGES:
                page = self.streams.get_records(ShardIterator=iterator)
                for record in page["Records"]:
                    missing = not begun and int(position(record)) != int(batch["startSequenceNumber"])
                    if missing or int(position(record)) > last:
                        return None  # the first or the last one is missing
                    begun = True
                    events, refused = read_records([record])
                    parts += [{event.lane: (event.sequence, event.sequence)} for event in events]
                    parts += [{r.lane: (r.sequence, r.sequence)} for r in refused if r.lane and r.sequence]
                    Suspects(self.control).add({r.lane for r in refused if r.lane}, self.wall())
                    if int(position(record)) == last:
                        return join(parts)
                empty += not page["Records"]
                iterator = page.get("NextShardIterator")
        except ClientError as error:
            if clients.error_code(error) not in _GONE:
                raise
        return None


_SCOPE = "redrive"
_TOLD_LANES = 1000


def reconcile(home: LaneStorage, region: str, backlogs: Mapping[str, QueueBacklog], now: int) -> Iterator[int]:
    """Put every lane on the backlogs, to be compared: own lanes for peers, all lanes for VIEWS. Reads every key once. Yields
    the number of lanes put there so far; repeating it is harmless."""
    part: dict[LaneId, tuple[int, int]] = {}
    count = 0

    def put() -> None:
        own = {lane: span for lane, span in part.items() if lane.region == region}
        for target, backlog in backlogs.items():
            lanes = part if target == VIEWS else own
            if lanes:
                backlog.defer(lanes, now)
        part.clear()

    for lane, last in home.lanes():
        part[lane] = (1, last)
        count += 1
        if len(part) == _TOLD_LANES:
            put()
            yield count
    put()
    yield count
