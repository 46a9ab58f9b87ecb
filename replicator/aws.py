"""Talking to AWS: clients with this project's timeouts, errors sorted into what they mean, batched PartiQL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar, cast

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
)

from replicator.errors import InvalidConfig, RegionUnavailable
from replicator.retries import Transient, transient
from replicator.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodbstreams import DynamoDBStreamsClient
    from mypy_boto3_kinesis import KinesisClient
    from mypy_boto3_kms import KMSClient
    from mypy_boto3_sqs import SQSClient

S = TypeVar("S")
T = TypeVar("T")

THROTTLES = {
    "ProvisionedThroughputExceededException", "ProvisionedThroughputExceeded", "RequestLimitExceeded",
    "ThrottlingException", "ThrottlingError", "TransactionConflictException", "TransactionConflict",
    "TransactionInProgressException", "KMSThrottlingException", "LimitExceededException",
}  # fmt: skip
BROKEN = {"InternalServerError", "InternalFailure", "ServiceUnavailable", "ServiceUnavailableException"}
BATCH_STATEMENTS = 25
_NOT_SENT = (EndpointConnectionError, ConnectTimeoutError, NoCredentialsError, CredentialRetrievalError)
_creating = Lock()  # clients may be shared between threads, making them may not
NOT_NOW = "NotNow"


def _config(settings: Settings) -> Config:
    return Config(
        connect_timeout=settings.connect_timeout,
        read_timeout=settings.read_timeout,
        retries={"total_max_attempts": 1, "mode": "standard"},  # retries are ours: replicator/retries.py
        max_pool_connections=50,
        parameter_validation=False,
    )


@cache
def session() -> botocore.session.Session:
    """One session a process: each new one reads botocore's service models again, which takes longer than all else."""
    return botocore.session.get_session()


@cache
def _session() -> boto3.session.Session:
    return boto3.session.Session(botocore_session=session())


def dynamodb(settings: Settings, region: str) -> DynamoDBClient:
    """A DynamoDB client of `region`."""
    with config_errors(settings, region), _creating:
        return _session().client(
            "dynamodb", region_name=region, endpoint_url=settings.endpoint(region), config=_config(settings)
        )


def streams(settings: Settings, region: str) -> DynamoDBStreamsClient:
    """A DynamoDB Streams client of `region`."""
    with config_errors(settings, region), _creating:
        return _session().client(
            "dynamodbstreams", region_name=region, endpoint_url=settings.endpoint(region), config=_config(settings)
        )


def kinesis(settings: Settings, region: str) -> KinesisClient:
    """A Kinesis client of `region`."""
    with config_errors(settings, region), _creating:
        return _session().client(
            "kinesis", region_name=region, endpoint_url=settings.endpoint(region), config=_config(settings)
        )


def sqs(settings: Settings, region: str) -> SQSClient:
    """An SQS client of `region`."""
    with config_errors(settings, region), _creating:
        return _session().client("sqs", region_name=region, endpoint_url=settings.endpoint(region), config=_config(settings))


def kms(settings: Settings, region: str) -> KMSClient:
    """A KMS client of `region`."""
    with config_errors(settings, region), _creating:
        return _session().client("kms", region_name=region, endpoint_url=settings.endpoint(region), config=_config(settings))


def error_code(error: BaseException | None) -> str:
    """The service's error code behind an exception of botocore or PynamoDB, or an empty text."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def cancellation_reasons(error: BaseException | None) -> set[str]:
    """Why a transaction was cancelled: the codes of its statements that failed. Empty for anything else."""
    response = getattr(error, "response", None)
    reasons = response.get("CancellationReasons", []) if isinstance(response, dict) else []
    return {str(reason["Code"]) for reason in reasons if reason.get("Code") not in (None, "None")}


def sort_error(error: BaseException) -> Transient | None:
    """Whether an error of botocore may pass, and whether the request may have taken effect all the same."""
    code = error_code(error)
    if code in THROTTLES:
        return Transient(code, sent=False)
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return Transient(code or str(status), sent=True) if code in BROKEN or status >= 500 else None
    if isinstance(error, _NOT_SENT):
        return Transient(type(error).__name__, sent=False)
    return Transient(type(error).__name__, sent=True) if isinstance(error, BotoCoreError) else None


def call(settings: Settings, region: str, operation: Callable[[], T]) -> T:
    """Run an idempotent call with the bounded retry policy. Raises RegionUnavailable when it keeps failing."""

    def once() -> T:
        try:
            return operation()
        except (BotoCoreError, ClientError) as error:
            passing = sort_error(error)
            if passing is None:
                raise
            raise passing from error

    try:
        return transient(settings.attempts)(once)
    except Transient as error:
        raise RegionUnavailable(f"{region} does not answer ({error}); what waits for it is kept") from error


Failed = BotoCoreError | ClientError
"""Why a request has no answer, or was refused."""
SendEach = Callable[[Sequence[Sequence[S]]], Iterable["dict[str, Any] | Failed"]]
"""Runs batches of statements, each as one request: for each the answer, or what went wrong."""


def sending(client: DynamoDBClient, pool: ThreadPoolExecutor) -> SendEach[Any]:
    """Sends batches of statements by a client of boto3's, at once."""

    def send(statements: Sequence[Any]) -> dict[str, Any] | Failed:
        try:
            return cast("dict[str, Any]", client.batch_execute_statement(Statements=statements))
        except (BotoCoreError, ClientError) as error:
            return error

    return lambda batches: pool.map(send, batches)


def execute_batch(send_each: SendEach[S], settings: Settings, region: str, statements: Sequence[S]) -> list[str]:
    """Run PartiQL statements, 25 to a request: for each, an empty text or its error code. They are not atomic together.

    Statements that were throttled or not answered are sent again, a bounded number of times; what is left then is
    NOT_NOW. Raises RegionUnavailable when that is all of them.
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
        """Why some of it was not done, if it was not."""
        if not isinstance(answer, dict):
            passing = sort_error(answer)
            if passing is None:
                raise answer
            return str(passing)
        failed = ""
        for i, each in zip(chunk, answer["Responses"], strict=True):
            code = each["Error"].get("Code", "") if "Error" in each else ""
            if code in THROTTLES or code in BROKEN:
                failed = code
            else:
                codes[i] = code
        return failed

    try:
        transient(settings.attempts)(once)
    except Transient as error:
        if all(code == NOT_NOW for code in codes):
            raise RegionUnavailable(f"{region} does not take writes ({error}); what waits for it is kept") from error
    return codes


def table_identity(client: DynamoDBClient, table: str) -> str:
    """What only this table has, not one that was made anew or restored under its name. Empty when there is none."""
    try:
        described: Any = client.describe_table(TableName=table)["Table"]
    except ClientError as error:
        if error_code(error) != "ResourceNotFoundException":
            raise
        return ""
    return str(described.get("TableId") or described["CreationDateTime"])


def require_table(settings: Settings, region: str, table: str) -> None:
    """Raise InvalidConfig, saying what to do, unless `table` can be reached in `region`."""
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
    """Turn what only a wrong setting can cause into InvalidConfig."""
    try:
        yield
    except ClientError as error:
        raise InvalidConfig(f"{region}{_at(settings, region)} refused the request: {error}") from None
    except (BotoCoreError, ValueError) as error:
        if isinstance(error, InvalidConfig):
            raise
        raise InvalidConfig(
            f"cannot reach DynamoDB of {region}{_at(settings, region)}: {error}. "
            "Check --endpoints (or MERIDIAN_ENDPOINTS), the region and the credentials"
        ) from None


def _at(settings: Settings, region: str) -> str:
    url = settings.endpoint(region)
    return f" at {url}" if url else ""
