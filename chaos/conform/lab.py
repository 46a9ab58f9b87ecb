"""Laboratory of a run: clients of the endpoint, tables under a prefix of their own, and waits for events."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from replicator.aws.clients import error_code, reasons_in_order

T = TypeVar("T")
Item = Mapping[str, Any]

INDEX = "lanes"
NOT_OFFERED = "not offered: "
"""Beginning of an observation on an endpoint that does not have the service or the operation."""
_LISTS = {
    "dynamodb": "list_tables",
    "dynamodbstreams": "list_streams",
    "kinesis": "list_streams",
    "kms": "list_keys",
    "lambda": "list_functions",
    "sqs": "list_queues",
    "sts": "get_caller_identity",
    "iam": "list_roles",
}
"""Operation of each service that shows whether the endpoint has it."""
_UNKNOWN = {
    "InvalidAction",
    "NotImplemented",
    "NotImplementedError",
    "NotImplementedException",
    "UnknownOperation",
    "UnknownOperationException",
    "UnsupportedOperation",
    "UnsupportedOperationException",
    "UnrecognizedOperation",
    "501",
}
_SECONDS = 25.0
"""Seconds within which an event has to show at an emulator; four times that at AWS."""
_PAUSE = 0.05


class NotOffered(Exception):
    """Internal: the endpoint does not have the service or operation."""


class NotSeen(Exception):
    """Internal: an event did not show in time, or the run is being stopped."""


class Lab:
    """Clients and tables of one run. Safe to share between threads; `close` removes whatever was made."""

    def __init__(self, region: str, endpoint: str | None = None) -> None:
        self.region = region
        self.endpoint = endpoint
        self.prefix = f"conform-{uuid.uuid4().hex[:10]}"
        self.stopped = threading.Event()
        self._session: Any = boto3.session.Session(region_name=region)
        if endpoint is not None and self._session.get_credentials() is None:  # emulators take any
            self._session = boto3.session.Session("test", "test", region_name=region)
        self._lock = threading.RLock()
        self._clients: dict[str, Any] = {}
        self._offers: dict[str, str] = {}
        self._shared: dict[str, Any] = {}
        self._sharing: dict[str, threading.Lock] = {}
        self._removals: list[tuple[str, Callable[[], object]]] = []
        self._names = 0

    # -- clients ------------------------------------------------------------------------------------------------

    def client(self, service: str) -> Any:
        """Return the client of a service. Requests are neither validated nor repeated: the engine has to answer."""
        with self._lock:
            if service not in self._clients:
                config = Config(
                    connect_timeout=5,
                    read_timeout=60,
                    max_pool_connections=50,
                    parameter_validation=False,
                    retries={"mode": "standard", "total_max_attempts": 4 if self.endpoint is None else 2},
                )
                self._clients[service] = self._session.client(service, endpoint_url=self.endpoint, config=config)
            return self._clients[service]

    def elsewhere(self, service: str, region: str) -> Any:
        """Return a client of a service in another region."""
        return self._session.client(service, region_name=region, endpoint_url=self.endpoint)

    @property
    def db(self) -> Any:
        return self.client("dynamodb")

    def require(self, services: Sequence[str]) -> None:
        """Raise NotOffered unless the endpoint has these services."""
        for service in services:
            with self.sharing(f"offers {service}"):
                if service not in self._offers:
                    self._offers[service] = self._missing(service)
            if self._offers[service]:
                raise NotOffered(f"{service} ({self._offers[service]})")

    def _missing(self, service: str) -> str:
        """Return why the endpoint does not have a service; empty if it does."""
        try:
            getattr(self.client(service), _LISTS[service])()
        except ClientError as error:
            return error_code(error) or "an error without a code"
        except (BotoCoreError, ResponseParserError) as error:
            return type(error).__name__
        return ""

    # -- names and tables -----------------------------------------------------------------------------------------

    def name(self) -> str:
        """Return a name that nothing else of any run has."""
        with self._lock:
            self._names += 1
            return f"{self.prefix}-{self._names:03d}"

    key = name

    def sharing(self, what: str) -> threading.Lock:
        """Return the lock of something that probes share."""
        with self._lock:
            return self._sharing.setdefault(what, threading.Lock())

    def shared(self, what: str, make: Callable[[], T]) -> T:
        """Return what `make` returned to the first caller. Raises as it did, without another attempt."""
        with self.sharing(what):
            if what not in self._shared:
                try:
                    self._shared[what] = make()
                except (ClientError, BotoCoreError, NotOffered, NotSeen, LookupError) as error:
                    self._shared[what] = error
            found = self._shared[what]
            if isinstance(found, Exception):
                raise found
            made: T = found
            return made

    def plain(self) -> str:
        """Return the shared table: pk and sk are texts, the index `lanes` (begins, pk) is sparse and KEYS_ONLY."""
        index = {
            "IndexName": INDEX,
            "KeySchema": [
                {"AttributeName": "begins", "KeyType": "HASH"},
                {"AttributeName": "pk", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "KEYS_ONLY"},
        }
        names = [{"AttributeName": name, "AttributeType": "S"} for name in ("pk", "sk", "begins")]
        return self.shared("plain", lambda: self.create(GlobalSecondaryIndexes=[index], AttributeDefinitions=names))

    def create(self, **changes: Any) -> str:
        """Create a table of one's own, and wait until it is active. `changes` are parameters of CreateTable."""
        name = self.name()
        request: dict[str, Any] = {
            "TableName": name,
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
            "AttributeDefinitions": [{"AttributeName": each, "AttributeType": "S"} for each in ("pk", "sk")],
        }
        self.later(f"table {name}", lambda: self.drop(name))
        self.db.create_table(**{**request, **changes})
        self.active(name)
        return name

    def active(self, table: str) -> Mapping[str, Any]:
        """Wait until a table and its indexes are active; return its description."""

        def look() -> Mapping[str, Any] | None:
            found: Mapping[str, Any] = self.db.describe_table(TableName=table)["Table"]
            states = [
                found["TableStatus"],
                *(i.get("IndexStatus", "ACTIVE") for i in found.get("GlobalSecondaryIndexes", [])),
            ]
            return found if set(states) == {"ACTIVE"} else None

        return self.until(look)

    def drop(self, table: str) -> None:
        """Delete a table, if it exists, and wait until it is gone."""

        def gone() -> bool:
            try:
                self.db.delete_table(TableName=table)
            except ClientError as error:
                code = error_code(error)
                if code == "ResourceNotFoundException":
                    return True
                if code not in ("ResourceInUseException", "LimitExceededException"):
                    raise
            return False

        self.until(gone, closing=True)

    def put(self, table: str, pk: str, sk: str = "1", **more: Any) -> None:
        self.db.put_item(TableName=table, Item=item(pk, sk, **more))

    def held(self, table: str, pk: str) -> list[dict[str, Any]]:
        """Return the items of a partition, in order, by a consistent read; at most a page."""
        request = {"KeyConditionExpression": "pk = :pk", "ExpressionAttributeValues": {":pk": {"S": pk}}}
        found: list[dict[str, Any]] = self.db.query(TableName=table, ConsistentRead=True, **request)["Items"]
        return found

    # -- waits ----------------------------------------------------------------------------------------------------

    def until(self, look: Callable[[], T | None], closing: bool = False, seconds: float = _SECONDS) -> T:
        """Return the first result that is true. Raises NotSeen after some time, or when the run is stopped."""
        end = time.monotonic() + seconds * (4 if self.endpoint is None else 1)
        pause = _PAUSE
        while not (found := look()):
            if time.monotonic() > end or (self.stopped.is_set() and not closing):
                raise NotSeen
            self.pause(pause, closing)
            pause = min(pause * 1.3, 1.0)
        return found

    def pause(self, seconds: float, closing: bool = False) -> None:
        """Wait; not when the run is stopped."""
        if closing:
            time.sleep(seconds)
        else:
            self.stopped.wait(seconds)

    # -- the end --------------------------------------------------------------------------------------------------

    def later(self, what: str, remove: Callable[[], object]) -> None:
        """Remove something when the run ends."""
        with self._lock:
            self._removals.append((what, remove))

    def close(self) -> Iterator[str]:
        """Remove everything that was made, the last first. Yields what could not be removed, with the reason."""
        while self._removals:
            what, remove = self._removals.pop()
            try:
                remove()
            except (ClientError, BotoCoreError, ResponseParserError, NotSeen) as error:
                if error_code(error) not in _GONE:
                    yield f"{what}: {error or 'still there'}"


_GONE = ("ResourceNotFoundException", "AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist", "NotFoundException")


def item(pk: str, sk: str = "1", **more: Any) -> dict[str, Any]:
    """Return an item in DynamoDB's JSON: texts, numbers and bytes by their types; a dictionary is a value already."""
    return {"pk": {"S": pk}, "sk": {"S": sk}, **{name: _value(value) for name, value in more.items()}}


def _value(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    return {"N": str(value)} if isinstance(value, int) else {"B": value} if isinstance(value, bytes) else {"S": value}


def outcome(call: Callable[[], object]) -> str:
    """Run a call: `accepted`, or the code of the error. Raises for operations that the endpoint does not have."""
    try:
        call()
    except ClientError as error:
        return code_of(error)
    return "accepted"


def refused(call: Callable[[], object]) -> ClientError | None:
    """Run a call. Returns the error that refused it, or None."""
    try:
        call()
    except ClientError as error:
        code_of(error)
        return error
    return None


def code_of(error: ClientError) -> str:
    """Return the error's code. Raises NotOffered for an operation that the endpoint does not have."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = error_code(error) or str(status)
    if code in _UNKNOWN or status == 501:
        raise NotOffered(f"{error.operation_name} ({code})")
    return code


def reasons(error: ClientError | None) -> str:
    """Return the reasons of a cancelled transaction, one for each item in order; `accepted` without an error."""
    if error is None:
        return "accepted"
    codes = reasons_in_order(error)
    return ", ".join(code or "None" for code in codes) if codes else f"{code_of(error)} without reasons"


def observe(look: Callable[[Lab], str], lab: Lab, needs: Sequence[str]) -> str:
    """Return what a probe saw. Errors are observations, too: nothing that an endpoint answers ends the run."""
    try:
        lab.require(needs)
        return look(lab)
    except NotOffered as error:
        return f"{NOT_OFFERED}{error}"
    except NotSeen:
        return "nothing came"
    except ClientError as error:
        try:
            return f"{error.operation_name} refused: {code_of(error)}"
        except NotOffered as missing:
            return f"{NOT_OFFERED}{missing}"
    except (BotoCoreError, ResponseParserError) as error:
        return f"no answer: {type(error).__name__}"
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return f"an answer that cannot be read: {type(error).__name__} {error}"[:100]
