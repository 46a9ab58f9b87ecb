"""AWS clients with this project's timeouts, the classification of errors, and batched PartiQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
)

from replicator.aws.sessions import creating, session, session_of
from replicator.domain.errors import InvalidConfig, RegionRefuses, RegionUnavailable
from replicator.runtime.retries import Transient, transient
from replicator.runtime.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodbstreams import DynamoDBStreamsClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_sqs import SQSClient
    from pynamodb.connection import Connection

S = TypeVar("S")
T = TypeVar("T")

THROTTLES = {
    "ProvisionedThroughputExceededException", "ProvisionedThroughputExceeded", "RequestLimitExceeded",
    "Throttling", "ThrottlingException", "ThrottlingError", "TransactionConflictException", "TransactionConflict",
    "TransactionInProgressException", "KMSThrottlingException", "LimitExceededException",
}  # fmt: skip
BROKEN = {"InternalServerError", "InternalFailure", "ServiceUnavailable", "ServiceUnavailableException"}
NO_SUCH_TABLE = "ResourceNotFoundException"
"""Error code: the table, stream or shard does not exist."""
_NO_SUCH_TABLE = {NO_SUCH_TABLE, "ResourceNotFound"}
_NOT_ALLOWED = (
    "AccessDenied", "UnrecognizedClient", "InvalidSignature", "SignatureDoesNotMatch", "ExpiredToken",
    "MissingAuthentication", "InvalidAccessKeyId", "InvalidClientTokenId", "IncompleteSignature", "NotAuthorized",
    "KMSAccessDenied",
)  # fmt: skip
_CONDITIONS = ("DuplicateItem", "ConditionalCheckFailed")
"""Prefixes of the error codes of a failed condition: of an INSERT, an EXISTS, a put."""
_PROXIES_PASSING = (408, 429)
BATCH_STATEMENTS = 25
_NOT_SENT = (EndpointConnectionError, ConnectTimeoutError, NoCredentialsError, CredentialRetrievalError)
_MAY_PASS = (ClientError, ConnectTimeoutError, ReadTimeoutError, ConnectionClosedError)
"""Transient errors among those before the first success. All others are caused by wrong settings far more often than by an
outage."""
_ON_THE_WAY = (EndpointConnectionError, ProxyConnectionError)
"""No connection. On AWS that is an outage, of names or of the way there; at an endpoint that was named, a wrong address."""
NOT_NOW, UNMET = "NotNow", "ConditionNotMet"
"""Results of a statement in `execute_batch`: throttled or not answered; a condition failed."""


def _config(settings: Settings) -> Config:
    return Config(
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        retries={"total_max_attempts": 1, "mode": "standard"},  # replicator/runtime/retries.py retries instead
        max_pool_connections=50,
        parameter_validation=False,
    )


@cache
def _boto3(of: botocore.session.Session) -> boto3.session.Session:
    return boto3.session.Session(botocore_session=of)


def _client(service: str, settings: Settings, region: str) -> Any:
    with config_errors(settings, region), creating:
        made: Any = _boto3(session_of(settings, region)).client(
            service,  # type: ignore[call-overload]
            region_name=region,
            endpoint_url=settings.endpoint(region),
            config=_config(settings),
        )
    made._make_api_call = partial(_readable, made._make_api_call)
    return made


def share_session(connection: Connection) -> None:
    """Let a connection of PynamoDB use the process's session. Otherwise it creates one per model, which reads botocore's
    service models again: a tenth of a second."""
    with creating:
        connection._local.session = session()
        connection.client  # noqa: B018  # created now: two threads may not create clients of one session


def _readable(call: Callable[[str, Any], T], operation: str, request: Any) -> T:
    """Call, and convert parser failures: botocore's parsers raise any exception for a response of unexpected shape."""
    try:
        return call(operation, request)
    except (BotoCoreError, ClientError):
        raise
    except Exception as error:
        raise HTTPClientError(error=f"the answer to {operation} cannot be read: {type(error).__name__}") from error


def dynamodb(settings: Settings, region: str) -> DynamoDBClient:
    """Return a DynamoDB client of `region`."""
    return cast("DynamoDBClient", _client("dynamodb", settings, region))


def streams(settings: Settings, region: str) -> DynamoDBStreamsClient:
    """Return a DynamoDB Streams client of `region`."""
    return cast("DynamoDBStreamsClient", _client("dynamodbstreams", settings, region))


def kinesis(settings: Settings, region: str) -> KinesisClient:
    """Return a Kinesis client of `region`."""
    return cast("KinesisClient", _client("kinesis", settings, region))


def sqs(settings: Settings, region: str) -> SQSClient:
    """Return an SQS client of `region`."""
    return cast("SQSClient", _client("sqs", settings, region))


def kms(settings: Settings, region: str) -> KMSClient:
    """Return a KMS client of `region`."""
    return cast("KMSClient", _client("kms", settings, region))


def error_code(error: BaseException | None) -> str:
    """Return the service's error code of an exception of botocore or PynamoDB, or an empty text."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def cancellation_reasons(error: BaseException | None) -> set[str]:
    """Return the reasons of a cancelled transaction: the error codes of its failed statements. Empty for any other error."""
    return set(reasons_in_order(error)) - {""}


def reasons_in_order(error: BaseException | None) -> list[str]:
    """Return for each statement of a cancelled transaction its error code, or an empty text."""
    return ["" if (code := each.get("Code")) in (None, "None") else str(code) for each in _reasons(error)]


def _reasons(error: BaseException | None) -> list[dict[str, Any]]:
    response = getattr(error, "response", None)
    reasons = response.get("CancellationReasons") if isinstance(response, dict) else None
    return [each for each in reasons if isinstance(each, dict)] if isinstance(reasons, list) else []


def condition_failed(*codes: str) -> bool:
    """Return whether one of these error codes means that a condition of the write failed."""
    return any(code.startswith(_CONDITIONS) for code in codes)


def from_engine(error: BaseException) -> bool:
    """Return whether an error is the engine's own refusal, so that nothing was executed. A proxy's response has no error
    code but its status, and does not show what the engine did."""
    code = error_code(error)
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 400) if isinstance(error, ClientError) else 0
    return 400 <= status < 500 and bool(code) and not code.isdigit()


def refusal(settings: Settings, region: str, error: BaseException) -> RegionRefuses:
    """Convert a permanent error of botocore to one of Meridian's with the remedy."""
    code, operation = error_code(error) or type(error).__name__, str(getattr(error, "operation_name", "a request"))
    if code in _NO_SUCH_TABLE:
        remedy = "Create it (`terraform apply`, or `replicator init` on an emulator), or correct --prefix"
    elif code.startswith(_NOT_ALLOWED):
        remedy = "Correct the credentials, or attach this region's policies to the role"
    else:
        remedy = "Check which engine answers there, and report it with this line"
    response = error.response if isinstance(error, ClientError) else {}
    told = [response.get("Error", {}), *_reasons(error)]
    why = "; ".join([code, *(str(each["Message"]) for each in told if each.get("Message"))])
    return RegionRefuses(f"{region}{_at(settings, region)} refuses {operation} ({why[:300]}). {remedy}", code, operation)


def part(answer: Any, name: str) -> Any:
    """Return the part `name` of a response. Raises HTTPClientError, as for any unreadable response, if it is missing."""
    if answer.get(name) is None:
        raise HTTPClientError(error=f"an answer without {name}")
    return answer[name]


def sort_error(error: BaseException) -> Transient | None:
    """Classify an error of botocore: Transient, with whether the request may have taken effect all the same, or None."""
    code = error_code(error)
    if code in THROTTLES:
        return Transient(code, sent=False)
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        passing = code in BROKEN or status >= 500 or (status in _PROXIES_PASSING and not from_engine(error))
        return Transient(code or str(status), sent=True) if passing else None
    if isinstance(error, _NOT_SENT):
        return Transient(type(error).__name__, sent=False)
    return Transient(type(error).__name__, sent=True) if isinstance(error, BotoCoreError) else None


def call(settings: Settings, region: str, operation: Callable[[], T]) -> T:
    """Run an idempotent call with the bounded retry policy. Raises RegionUnavailable when it keeps failing, RegionRefuses
    for permanent errors, and no error of botocore's."""

    def once() -> T:
        try:
            return operation()
        except (BotoCoreError, ClientError) as error:
            raise (sort_error(error) or refusal(settings, region, error)) from error

    try:
        return transient(settings.attempts)(once)
    except Transient as error:
        raise RegionUnavailable(f"{region} does not answer ({error}); pending work for it is kept") from error


Failed = BotoCoreError | ClientError
"""Reason why a request has no response, or was refused."""
SendEach = Callable[[Sequence[Sequence[S]]], Iterable["dict[str, Any] | Failed"]]
"""Callable that runs batches of statements, each as one request: for each the response, or the error."""


def sending(client: DynamoDBClient, pool: ThreadPoolExecutor) -> SendEach[Any]:
    """Return a callable that sends batches of statements by a boto3 client, in parallel."""

    def send(statements: Sequence[Any]) -> dict[str, Any] | Failed:
        try:
            return cast("dict[str, Any]", client.batch_execute_statement(Statements=statements))
        except (BotoCoreError, ClientError) as error:
            return error

    return lambda batches: pool.map(send, batches)


def execute_batch(send_each: SendEach[S], settings: Settings, region: str, statements: Sequence[S]) -> list[str]:
    """Run PartiQL statements, 25 per request. Returns for each an empty text, UNMET, or the engine's error code and message.
    They are not atomic together.

    Statements that were throttled or not answered are sent again, a bounded number of times; the remaining ones are NOT_NOW.
    Raises RegionUnavailable when those are all of them, RegionRefuses for a request that is refused as a whole.
    """
    codes = [NOT_NOW] * len(statements)

    def once() -> None:
        waiting = [i for i, code in enumerate(codes) if code == NOT_NOW]
        chunks = [waiting[i : i + BATCH_STATEMENTS] for i in range(0, len(waiting), BATCH_STATEMENTS)]
        answers = send_each([[statements[i] for i in chunk] for chunk in chunks])
        failures = [reason for chunk, answer in zip(chunks, answers, strict=True) if (reason := heard(chunk, answer))]
        if failures:
            raise Transient(failures[0], sent=True)

    def heard(chunk: list[int], answer: dict[str, Any] | Failed) -> str:
        """Record the results of a chunk; return why some of it was not executed, if so."""
        if not isinstance(answer, dict):
            passing = sort_error(answer)
            if passing is None:
                raise refusal(settings, region, answer) from answer
            return str(passing)
        responses = answer.get("Responses")
        if not isinstance(responses, list) or len(responses) != len(chunk):
            return "an answer that cannot be read"
        failed = ""
        for i, each in zip(chunk, responses, strict=True):
            code = _code(each["Error"]) if "Error" in each else ""
            if code in THROTTLES or code in BROKEN:
                failed = code
            else:
                codes[i] = code
        return failed

    try:
        transient(settings.attempts)(once)
    except Transient as error:
        if all(code == NOT_NOW for code in codes):
            raise RegionUnavailable(f"{region} does not take writes ({error}); pending work for it is kept") from error
    return codes


def _code(error: Any) -> str:
    """Return a statement's result, from the error in its response."""
    code = str(error.get("Code") or "an error without a code") if isinstance(error, dict) else "an error without a code"
    if condition_failed(code):
        return UNMET
    message = error.get("Message") if isinstance(error, dict) else None
    return code if code in THROTTLES or code in BROKEN or not message else f"{code}: {message}"


def table_identity(client: DynamoDBClient, table: str) -> str:
    """Return an identity that only this table has, and no table recreated or restored under its name. Empty if there is
    none."""
    try:
        return identity_of(part(client.describe_table(TableName=table), "Table"))
    except ClientError as error:
        if error_code(error) != NO_SUCH_TABLE:
            raise
        return ""


def identity_of(described: Mapping[str, Any]) -> str:
    """Return the table's identity from a response of DescribeTable."""
    return str(described.get("TableId") or described.get("CreationDateTime", ""))


def require_table(settings: Settings, region: str, table: str) -> None:
    """Raise InvalidConfig with the remedy unless `table` can be reached in `region`; RegionUnavailable for transient
    errors."""
    with config_errors(settings, region):
        client = dynamodb(settings, region)
        try:
            client.describe_table(TableName=table)
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
            raise InvalidConfig(
                f"table {table} does not exist in {region}{_at(settings, region)}; run `replicator init` (emulator) or "
                "`terraform apply` (AWS), or correct --prefix"
            ) from None


@contextmanager
def config_errors(settings: Settings, region: str) -> Iterator[None]:
    """Convert errors that only a wrong setting can cause to InvalidConfig, and transient ones to RegionUnavailable."""
    try:
        yield
    except (BotoCoreError, ClientError, ValueError) as error:
        if isinstance(error, InvalidConfig):
            raise
        passes = isinstance(error, _MAY_PASS) or (settings.endpoint(region) is None and isinstance(error, _ON_THE_WAY))
        if passes and (passing := sort_error(error)) is not None:
            remedy = "correct the region" if settings.endpoint(region) is None else "correct --endpoints"
            raise RegionUnavailable(
                f"{region}{_at(settings, region)} does not answer ({passing}). Try again, or {remedy}"
            ) from error
        if not isinstance(error, ClientError):
            raise InvalidConfig(
                f"cannot reach DynamoDB of {region}{_at(settings, region)}: {error}. "
                "Check --endpoints (or MERIDIAN_ENDPOINTS), the region and the credentials"
            ) from None
        raise InvalidConfig(f"{region}{_at(settings, region)} refused the request: {error}") from None


def _at(settings: Settings, region: str) -> str:
    url = settings.endpoint(region)
    return f" at {url}" if url else ""
