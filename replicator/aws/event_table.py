"""Lane storage on DynamoDB. Writes are PartiQL INSERTs, which can never replace an event."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar, cast

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from replicator.aws import clients
from replicator.aws.dynamodb_api import Wire
from replicator.control.control_storage import Guard, control_text
from replicator.domain.errors import InvalidName, RegionRefuses, RegionUnavailable
from replicator.domain.event import Event
from replicator.domain.names import LaneId, parse_sequence_key, sequence_key
from replicator.eventstore.event_items import from_item, insert_statement, parameters
from replicator.eventstore.models import INDEX_PARTS, LANES_INDEX, index_key, index_part
from replicator.eventstore.storage import Insert, Position, check_transaction
from replicator.eventstore.store_errors import GuardBusy, GuardFailed, LaneTaken, OutcomeUnknown
from replicator.runtime.retries import Transient, transient
from replicator.runtime.settings import Settings

T = TypeVar("T")
log = structlog.get_logger()

_GET_BATCH = 100
_INSERTS = {"": Insert.ADDED, clients.UNMET: Insert.TAKEN, clients.NOT_NOW: Insert.NOT_NOW}


class _Unmet(Exception):
    """Internal: the response to the write was an error. `refusal`: an error that does not name a failed condition, but may
    mean one; `certain`: nothing was written, according to the engine itself."""

    def __init__(self, refusal: RegionRefuses | None = None, certain: bool = True) -> None:
        self.refusal = refusal
        self.certain = certain


class _Busy(Transient):
    """Internal: nothing but guards of a transaction could not be used."""

    def __init__(self, guards: Sequence[Guard], reason: str) -> None:
        super().__init__(reason, sent=False)
        self.guards = guards


class DynamoStorage:
    """LaneStorage on the events table of `region` (by default the settings' own region)."""

    def __init__(self, settings: Settings, region: str | None = None) -> None:
        self._settings = settings
        self.region = region or settings.region
        self._table = settings.events_table
        self._client = clients.dynamodb(settings, self.region)
        self.wire = Wire(self._client, settings)
        # An INSERT never replaces an item, costs the same as a put, and has its own IAM action: docs/decisions/0003.
        self._insert_next, self._insert_first = (insert_statement(self._table, first) for first in (False, True))
        found = f'SELECT * FROM "{settings.control_table}" WHERE "pk" = ? AND "sk" = ? AND "value" = ?'
        self._guard_statement = f"EXISTS({found})"

    def insert(self, events: Sequence[Event], guards: Sequence[Guard] = ()) -> bool:
        check_transaction(events, guards)
        if not events:
            return False
        perhaps_sent = False

        def once() -> None:
            nonlocal perhaps_sent
            try:
                self._put(events, guards)
            except Transient as failure:
                if isinstance(failure, _Busy) and not perhaps_sent:
                    raise GuardBusy(failure.guards, str(failure)) from failure
                perhaps_sent = perhaps_sent or failure.sent
                raise

        try:
            transient(self._settings.attempts)(once)
        except _Unmet as unmet:
            self._settle(events, guards, perhaps_sent or not unmet.certain, unmet.refusal)
            return False
        except Transient as failure:
            if not perhaps_sent:
                raise RegionUnavailable(
                    f"{self.region} does not take writes ({failure}); nothing was written, try again or use another region"
                ) from failure
            raise OutcomeUnknown(
                f"{self.region} did not answer ({failure}); {len(events)} events from {events[0].id} may or may not be "
                "written. EventStore.resolve(error.events) settles it once the region answers",
                events,
                guards,
            ) from failure
        return True

    def _put(self, events: Sequence[Event], guards: Sequence[Guard] = ()) -> None:
        """Write all or none, once. Raises _Unmet or Transient."""
        statements = [self._statement(event) for event in events]
        for guard in guards:
            values = [{"S": guard.scope}, {"S": guard.key}, {"S": control_text(guard.value)}]
            statements.append(json.dumps({"Statement": self._guard_statement, "Parameters": values}))
        try:
            if len(statements) == 1:
                self.wire.send("ExecuteStatement", statements[0])
            else:
                self.wire.send("ExecuteTransaction", f'{{"TransactStatements":[{",".join(statements)}]}}')
        except (BotoCoreError, ClientError) as error:
            raise self._failed(error, len(events), guards) from error

    def _failed(self, error: Exception, events: int, guards: Sequence[Guard]) -> _Unmet | Transient:
        """Classify the error of a write of so many events with these guards."""
        reasons = clients.cancellation_reasons(error)
        if clients.condition_failed(clients.error_code(error), *reasons):
            return _Unmet()
        if reasons & clients.THROTTLES:
            codes = clients.reasons_in_order(error)
            if not any(codes[:events]) and len(codes) == events + len(guards):
                busy = [guard for guard, code in zip(guards, codes[events:], strict=True) if code]
                return _Busy(busy, ", ".join(sorted(reasons)))
            return Transient(", ".join(sorted(reasons)), sent=False)
        passing = clients.sort_error(error)
        return passing or _Unmet(clients.refusal(self._settings, self.region, error), clients.from_engine(error))

    def _statement(self, event: Event) -> str:
        """Return the INSERT of an event, as JSON."""
        return f"{self._insert_next if event.sequence > 1 else self._insert_first}{parameters(event)}}}"

    def _send_each(self, batches: Sequence[Sequence[str]]) -> Iterator[dict[str, Any] | clients.Failed]:
        bodies = (f'{{"Statements":[{",".join(statements)}]}}' for statements in batches)
        return self.wire.send_each("BatchExecuteStatement", bodies)

    def _settle(
        self, events: Sequence[Event], guards: Sequence[Guard], perhaps_sent: bool, refusal: RegionRefuses | None = None
    ) -> None:
        """Settle a failed condition: these very events are stored already (an earlier attempt was applied), or others are,
        or a guard does not hold. Engines report that in many ways, so after a `refusal`, too, the stored items decide. The
        guards are read first: otherwise an earlier request could be applied after the read of its keys."""
        try:
            unguarded = refusal is not None and not self._hold(guards)
            held = self.get([(event.lane, event.sequence) for event in events])
        except RegionUnavailable as error:
            if not perhaps_sent:
                raise refusal or error from error
            raise OutcomeUnknown(
                f"{self.region} stopped answering while {len(events)} events from {events[0].id} were written; they may "
                "or may not be stored. EventStore.resolve(error.events) settles it once the region answers",
                events,
                guards,
            ) from error
        taken = [event for event in events if (event.lane, event.sequence) in held]
        if len(taken) == len(events) and all(held[(e.lane, e.sequence)].digest == e.digest for e in events):
            return
        if guards and not taken and (refusal is None or unguarded):
            raise GuardFailed(guards)
        if taken or refusal is None:
            raise LaneTaken(taken)
        if perhaps_sent:
            raise OutcomeUnknown(
                f"{refusal}; {len(events)} events from {events[0].id} are not stored, but may still be: no response "
                "confirmed that they were not written. EventStore.resolve(error.events) settles it",
                events,
                guards,
            ) from refusal
        raise refusal

    def _hold(self, guards: Sequence[Guard]) -> bool:
        """Return whether the control state is what these guards require."""
        for guard in guards:
            request = {
                "TableName": self._settings.control_table,
                "KeyConditionExpression": "pk = :scope AND sk = :key",
                "ExpressionAttributeValues": {":scope": {"S": guard.scope}, ":key": {"S": guard.key}},
                "ConsistentRead": True,
            }
            found = self._read("Query", request, "Items")["Items"]
            if [item.get("value") for item in found] != [{"S": control_text(guard.value)}]:
                return False
        return True

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        statements = [self._statement(event) for event in events]
        try:
            codes = clients.execute_batch(self._send_each, self._settings, self.region, statements)
        except RegionRefuses:  # engines differ in how they report a taken key
            held = self.get([(event.lane, event.sequence) for event in events])
            if len(held) < len(events):
                raise
            return [Insert.TAKEN] * len(events)
        strange = {(e.lane, e.sequence): code for e, code in zip(events, codes, strict=True) if code not in _INSERTS}
        held = self.get(strange) if strange else {}
        for (lane, sequence), code in strange.items():
            if (lane, sequence) not in held:
                raise RegionRefuses(
                    f"{self.region} refused event {sequence} of {lane}: {code[:300]}", code.partition(":")[0]
                )
        return [_INSERTS.get(code, Insert.TAKEN) for code in codes]

    def get(self, positions: Collection[Position], *, consistent: bool = True) -> Mapping[Position, Event]:
        found: dict[Position, Event] = {}
        waiting: list[Any] = [
            {"pk": {"S": lane.key}, "sk": {"S": sequence_key(sequence)}} for lane, sequence in set(positions)
        ]

        def some() -> list[Any]:
            """Read what is waiting; return the keys that were not processed. Without any progress, pause and try again."""
            batches = [waiting[start : start + _GET_BATCH] for start in range(0, len(waiting), _GET_BATCH)]
            requests: list[dict[str, Any]] = [
                {"RequestItems": {self._table: {"Keys": keys, "ConsistentRead": consistent}}} for keys in batches
            ]
            left: list[Any] = []
            for answer in self._read_each("BatchGetItem", requests, "Responses"):
                for item in answer["Responses"].get(self._table, []):
                    event = from_item(item)
                    found[(event.lane, event.sequence)] = event
                left += answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
            if len(left) >= len(waiting):
                raise Transient("none of a batch was processed", sent=False)
            return left

        while waiting:
            waiting = self._call(some)
        return found

    def read(
        self, lane: LaneId, first: int = 1, last: int | None = None, *, limit: int | None = None, reverse: bool = False
    ) -> Iterator[Event]:
        if last is not None and last < max(first, 1):
            return
        request: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": f"pk = :lane AND sk {'>= :first' if last is None else 'BETWEEN :first AND :last'}",
            "ExpressionAttributeValues": {":lane": {"S": lane.key}, ":first": {"S": sequence_key(max(first, 1))}},
            "ConsistentRead": True,
            "ScanIndexForward": not reverse,
        }
        if last is not None:
            request["ExpressionAttributeValues"][":last"] = {"S": sequence_key(last)}
        left = limit
        while left is None or left > 0:
            if left is not None:
                request["Limit"] = left
            page = self._read("Query", request, "Items")
            for item in page["Items"]:
                yield from_item(item)
            if "LastEvaluatedKey" not in page:
                return
            left = None if left is None else left - len(page["Items"])
            request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        # A scan returns each partition's items together and in order, so the last one before a change of key is the head.
        key: str | None = None
        sequence = ""
        start: dict[str, Any] = {}
        while True:
            request: dict[str, Any] = {
                "TableName": self._table, "ProjectionExpression": "pk, sk", "ConsistentRead": True, **start
            }  # fmt: skip
            page = self._read("Scan", request, "Items")
            for item in page["Items"]:
                if key is not None and item["pk"]["S"] != key:
                    yield from _lane_end(key, sequence)
                key, sequence = item["pk"]["S"], item["sk"]["S"]
            if "LastEvaluatedKey" not in page:
                break
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        if key is not None:
            yield from _lane_end(key, sequence)

    def index(self, region: str, after: LaneId | None = None) -> Iterator[LaneId]:
        begun = 0 if after is None else index_part(after)
        for part in range(begun, INDEX_PARTS):
            behind = after is not None and part == begun
            request: dict[str, Any] = {
                "TableName": self._table,
                "IndexName": LANES_INDEX,
                "KeyConditionExpression": f"begins = :part{' AND pk > :after' if behind else ''}",
                "ExpressionAttributeValues": {":part": {"S": index_key(region, part)}},
            }
            if after is not None and behind:
                request["ExpressionAttributeValues"][":after"] = {"S": after.key}
            while True:
                page = self._read("Query", request, "Items")
                for item in page["Items"]:
                    for lane, _ in _lane_end(item["pk"]["S"], item["sk"]["S"]):
                        yield lane
                if "LastEvaluatedKey" not in page:
                    break
                request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def identity(self) -> str:
        return self._call(lambda: clients.table_identity(self._client, self._table))

    def _read(self, operation: str, request: dict[str, Any], part: str) -> dict[str, Any]:
        """Return the response to a read, which must have this part."""

        def once() -> dict[str, Any]:
            answer = self.wire.read(operation, request)
            clients.part(answer, part)
            return answer

        return self._call(once)

    def _read_each(self, operation: str, requests: Sequence[dict[str, Any]], part: str) -> Iterator[dict[str, Any]]:
        """Yield the responses to several reads, in order; failed ones are retried one by one."""
        for request, answer in zip(requests, self.wire.read_each(operation, requests), strict=True):
            good = isinstance(answer, dict) and answer.get(part) is not None
            yield cast("dict[str, Any]", answer) if good else self._read(operation, request, part)

    def _call(self, operation: Callable[[], T]) -> T:
        """Read, with retries for transient failures. Raises RegionUnavailable, and no error of botocore's."""

        def once() -> T:
            try:
                return operation()
            except (BotoCoreError, ClientError) as error:
                raise (clients.sort_error(error) or clients.refusal(self._settings, self.region, error)) from error

        try:
            return transient(self._settings.attempts)(once)
        except Transient as failure:
            raise RegionUnavailable(f"{self.region} does not answer ({failure}); try again later") from failure


def _lane_end(key: str, sequence: str) -> Iterator[tuple[LaneId, int]]:
    """Yield the lane and sequence of these keys, or nothing if no event can have them: a stray item must not stop a
    reconciliation."""
    try:
        yield LaneId.from_key(key), parse_sequence_key(sequence)
    except InvalidName as error:
        log.warning("storage.stray_item", key=key, error=str(error))
