"""The storage on DynamoDB. Models and reads are PynamoDB's; writes are PartiQL INSERTs, which can never replace an event."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from pynamodb.exceptions import AttributeDeserializationError, PynamoDBException, TransactWriteError
from pynamodb.transactions import TransactWrite

from replicator import aws
from replicator.domain.event import Event
from replicator.domain.names import LaneId, parse_sequence_key, sequence_key
from replicator.errors import DamagedEvent, GuardFailed, InvalidName, LaneTaken, OutcomeUnknown, RegionUnavailable
from replicator.models import (
    INDEX_PARTS,
    LANES_INDEX,
    ControlItem,
    EventItem,
    bind,
    from_item,
    from_model,
    index_key,
    to_item,
    to_model,
)
from replicator.retries import Transient, transient
from replicator.settings import Settings
from replicator.storage import MAX_TRANSACTION, Guard, Insert, Position, check_transaction, control_text

T = TypeVar("T")
log = structlog.get_logger()

_FIELDS = ("pk", "sk", "hlc", "type", "version", "payload", "metadata", "observed", "prev", "digest")
_GET_BATCH = 100
_INSERTS = {"": Insert.ADDED, "DuplicateItem": Insert.TAKEN, aws.NOT_NOW: Insert.NOT_NOW}


# A condition of the write did not hold: an INSERT's, an EXISTS's, a put's.
_CONDITIONS = ("DuplicateItem", "ConditionalCheckFailed")


class _Taken(Exception):
    """Internal: a condition of the write failed."""


class DynamoStorage:
    """A LaneStorage on the events table of `region` (by default the settings' own region)."""

    def __init__(self, settings: Settings, region: str | None = None, parallel: int = 4) -> None:
        self._settings = settings
        self.region = region or settings.region
        self._table = settings.events_table
        self._model = bind(EventItem, self._table, settings, self.region)
        self._client = aws.dynamodb(settings, self.region)
        self._connection = self._model._get_connection().connection  # one client for puts, queries and transactions
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix=f"dynamodb-{self.region}")
        # An INSERT never replaces an item, costs what a put costs, and has an IAM action of its own: docs/decisions/0003.
        self._insert_next = _insert_statement(self._table, _FIELDS)
        self._insert_first = _insert_statement(self._table, (*_FIELDS, "begins"))
        self._control = bind(ControlItem, settings.control_table, settings, self.region)
        found = f'SELECT * FROM "{settings.control_table}" WHERE "pk" = ? AND "sk" = ? AND "value" = ?'
        self._guard_statement = f"EXISTS({found})"

    @property
    def clients(self) -> tuple[Any, ...]:
        """The botocore clients that this reads and writes with."""
        return self._client, self._connection.client

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
                perhaps_sent = perhaps_sent or failure.sent
                raise

        try:
            transient(self._settings.attempts)(once)
        except _Taken:
            self._settle(events, guards, perhaps_sent)
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
        """Write all or none, once. Raises _Taken or Transient."""
        if self._settings.write_with == "inserts":
            self._put_statements(events, guards)
        else:
            self._put_items(events, guards)

    def _put_statements(self, events: Sequence[Event], guards: Sequence[Guard]) -> None:
        statements = self._statements(events)
        for guard in guards:
            parameters = [{"S": guard.scope}, {"S": guard.key}, {"S": control_text(guard.value)}]
            statements.append({"Statement": self._guard_statement, "Parameters": parameters})
        try:
            if len(statements) == 1:
                self._client.execute_statement(**statements[0])
            else:
                self._client.execute_transaction(TransactStatements=statements)
        except (BotoCoreError, ClientError) as error:
            code, reasons = aws.error_code(error), aws.cancellation_reasons(error)
            if any(each.startswith(_CONDITIONS) for each in (code, *reasons)):
                raise _Taken from None
            if reasons & aws.THROTTLES:
                raise Transient(", ".join(sorted(reasons)), sent=False) from error
            raise (aws.sort_error(error) or error) from error

    def _statements(self, events: Sequence[Event]) -> list[Any]:
        statements = []
        for event in events:
            item = to_item(event)
            first = "begins" in item
            names: Sequence[str] = (*_FIELDS, "begins") if first else _FIELDS
            statement = self._insert_first if first else self._insert_next
            statements.append({"Statement": statement, "Parameters": [item[name] for name in names]})
        return statements

    def _put_items(self, events: Sequence[Event], guards: Sequence[Guard]) -> None:
        absent = self._model.pk.does_not_exist()
        try:
            if len(events) == 1 and not guards:
                to_model(self._model, events[0]).save(condition=absent)
            else:
                with TransactWrite(connection=self._connection) as transaction:
                    for event in events:
                        transaction.save(to_model(self._model, event), condition=absent)
                    for guard in guards:
                        same = self._control.value == control_text(guard.value)
                        transaction.condition_check(self._control, guard.scope, guard.key, condition=same)
        except PynamoDBException as error:
            reasons = {r.code for r in error.cancellation_reasons if r} if isinstance(error, TransactWriteError) else set()
            code = aws.error_code(error.cause)  # PynamoDB's own cause_response_code fails on time-outs
            if code == "ConditionalCheckFailedException" or "ConditionalCheckFailed" in reasons:
                raise _Taken from None
            if reasons & aws.THROTTLES:
                raise Transient(", ".join(sorted(reasons)), sent=False) from error
            raise self._sorted(error) from error

    def _settle(self, events: Sequence[Event], guards: Sequence[Guard], perhaps_sent: bool) -> None:
        """A condition failed: these very events are there already (an earlier attempt landed), or others are, or a guard
        does not hold."""
        try:
            held = self.get([(event.lane, event.sequence) for event in events])
        except RegionUnavailable as error:
            if not perhaps_sent:
                raise
            raise OutcomeUnknown(
                f"{self.region} stopped answering while {len(events)} events from {events[0].id} were written; they may be "
                "the ones that are there. EventStore.resolve(error.events) settles it once the region answers",
                events,
                guards,
            ) from error
        taken = [event for event in events if (event.lane, event.sequence) in held]
        if len(taken) == len(events) and all(held[(e.lane, e.sequence)].digest == e.digest for e in events):
            return
        if guards and not taken:
            raise GuardFailed(guards)
        raise LaneTaken(taken)

    def insert_each(self, events: Sequence[Event]) -> list[Insert]:
        if self._settings.write_with == "inserts":
            return self._insert_batch(events)
        outcomes: list[Insert] = []
        for start in range(0, len(events), MAX_TRANSACTION):
            outcomes += self._insert_transaction(events[start : start + MAX_TRANSACTION])
        if events and all(outcome is Insert.NOT_NOW for outcome in outcomes):
            raise RegionUnavailable(f"{self.region} does not take writes; what waits for it is kept")
        return outcomes

    def _insert_transaction(self, events: Sequence[Event]) -> list[Insert]:
        """Add what is not there, in one transaction. What turns out to be taken is left out and the rest tried again."""
        outcomes = {(event.lane, event.sequence): Insert.NOT_NOW for event in events}
        waiting = list(events)
        try:
            while waiting:
                try:
                    transient(self._settings.attempts)(self._put, waiting)
                except _Taken:
                    held = self.get([(event.lane, event.sequence) for event in waiting])
                    outcomes.update(dict.fromkeys(held, Insert.TAKEN))
                    waiting = [event for event in waiting if (event.lane, event.sequence) not in held]
                else:
                    outcomes.update(((event.lane, event.sequence), Insert.ADDED) for event in waiting)
                    waiting = []
        except (Transient, RegionUnavailable):
            pass  # those that are left stay NOT_NOW
        return [outcomes[(event.lane, event.sequence)] for event in events]

    def _insert_batch(self, events: Sequence[Event]) -> list[Insert]:
        statements = self._statements(events)
        codes = aws.execute_batch(self._client, self._settings, self.region, self._pool, statements)
        for event, code in zip(events, codes, strict=True):
            if code not in _INSERTS:
                raise RegionUnavailable(f"{self.region} refused event {event.id}: {code}")
        return [_INSERTS[code] for code in codes]

    def get(self, positions: Collection[Position]) -> Mapping[Position, Event]:
        found: dict[Position, Event] = {}
        keys = [{"pk": {"S": lane.key}, "sk": {"S": sequence_key(sequence)}} for lane, sequence in set(positions)]
        for start in range(0, len(keys), _GET_BATCH):
            waiting: list[Any] = keys[start : start + _GET_BATCH]
            while waiting:
                request: Any = {self._table: {"Keys": waiting, "ConsistentRead": True}}
                answer: Any = self._call(partial(self._client.batch_get_item, RequestItems=request))
                for item in answer["Responses"].get(self._table, []):
                    event = from_item(item)
                    found[(event.lane, event.sequence)] = event
                waiting = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
        return found

    def read(
        self, lane: LaneId, first: int = 1, last: int | None = None, *, limit: int | None = None, reverse: bool = False
    ) -> Iterator[Event]:
        sort = self._model.sk
        low, high = sequence_key(max(first, 1)), None if last is None else sequence_key(max(last, 1))
        if last is not None and last < max(first, 1):
            return
        query = self._model.query(
            lane.key,
            range_key_condition=sort >= low if high is None else sort.between(low, high),
            scan_index_forward=not reverse,
            consistent_read=True,
            limit=limit,
            page_size=limit if limit is not None and limit < 1000 else None,
        )
        while True:
            try:
                model = self._call(lambda: next(query, None))
            except AttributeDeserializationError as error:
                raise DamagedEvent(f"an item of lane {lane} is not an event: {error}") from None
            if model is None:
                return
            yield from_model(model)

    def lanes(self) -> Iterator[tuple[LaneId, int]]:
        # A scan returns each partition's items together and in order, so the last one before a change of key is the end.
        key: str | None = None
        sequence = ""
        start: dict[str, Any] = {}
        while True:
            request: dict[str, Any] = {
                "TableName": self._table, "ProjectionExpression": "pk, sk", "ConsistentRead": True, **start
            }  # fmt: skip
            page = self._call(partial(self._client.scan, **request))
            for item in page["Items"]:
                if key is not None and item["pk"]["S"] != key:
                    yield from _lane_end(key, sequence)
                key, sequence = item["pk"]["S"], item["sk"]["S"]
            if "LastEvaluatedKey" not in page:
                break
            start = {"ExclusiveStartKey": page["LastEvaluatedKey"]}
        if key is not None:
            yield from _lane_end(key, sequence)

    def index(self, region: str) -> Iterator[LaneId]:
        for part in range(INDEX_PARTS):
            request: dict[str, Any] = {
                "TableName": self._table,
                "IndexName": LANES_INDEX,
                "KeyConditionExpression": "begins = :part",
                "ExpressionAttributeValues": {":part": {"S": index_key(region, part)}},
            }
            while True:
                page = self._call(partial(self._client.query, **request))
                for item in page["Items"]:
                    for lane, _ in _lane_end(item["pk"]["S"], item["sk"]["S"]):
                        yield lane
                if "LastEvaluatedKey" not in page:
                    break
                request["ExclusiveStartKey"] = page["LastEvaluatedKey"]

    def identity(self) -> str:
        return self._call(lambda: aws.table_identity(self._client, self._table))

    def _call(self, operation: Callable[[], T]) -> T:
        """A read, retried while its failure may pass."""

        def once() -> T:
            try:
                return operation()
            except PynamoDBException as error:
                raise self._sorted(error) from error
            except (BotoCoreError, ClientError) as error:
                raise (aws.sort_error(error) or error) from error

        try:
            return transient(self._settings.attempts)(once)
        except Transient as failure:
            raise RegionUnavailable(f"{self.region} does not answer ({failure}); try again later") from failure

    @staticmethod
    def _sorted(error: PynamoDBException) -> BaseException:
        cause = error.cause
        answered = getattr(cause, "__cause__", None)  # PynamoDB's own errors keep the code, and not the status
        return aws.sort_error(answered or cause or error) or error


def _insert_statement(table: str, names: Sequence[str]) -> str:
    columns = ", ".join(f"'{name}': ?" for name in names)
    return f'INSERT INTO "{table}" VALUE {{{columns}}}'


def _lane_end(key: str, sequence: str) -> Iterator[tuple[LaneId, int]]:
    """The lane and sequence of these keys, or nothing when no event can have them: one stray item stops no reconcile."""
    try:
        yield LaneId.from_key(key), parse_sequence_key(sequence)
    except InvalidName as error:
        log.warning("storage.stray_item", key=key, error=str(error))
