"""Requests to DynamoDB in its own JSON, beneath boto3's serializers, parsers and hooks, which cost more than all the rest.

All else remains boto3's: endpoint, signatures, proxies, certificates and timeouts; failures are raised as botocore's
errors. docs/decisions/0026.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from botocore.awsrequest import AWSRequest
from botocore.endpoint import EndpointCreator
from botocore.exceptions import BotoCoreError, ChecksumError, ClientError, HTTPClientError, NoCredentialsError
from botocore.hooks import HierarchicalEmitter
from botocore.utils import get_environ_proxies

from replicator.aws import clients
from replicator.aws.connections import TCP_NODELAY, Answer, Connections, Direct, Post, ThroughBotocore
from replicator.aws.sessions import session, session_of
from replicator.aws.sigv4 import Signer
from replicator.domain.canonical import loads
from replicator.runtime.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodbstreams import DynamoDBStreamsClient

    Client = DynamoDBClient | DynamoDBStreamsClient

Count = Callable[[Mapping[str, Any], Mapping[str, Any]], None]
"""Callback for each read request and its response."""

_JSON = "application/x-amz-json-1.0"
_AT_ONCE = 40
"""Maximum number of requests of one `send_each` in flight."""


class Wire:
    """DynamoDB requests over the endpoint of a boto3 client. Safe to share between threads."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._credentials = session_of(settings, str(client.meta.region_name)).get_credentials
        self._region = str(client.meta.region_name)
        self._url = client.meta.endpoint_url.rstrip("/") + "/"
        self._target = f"{client.meta.service_model.metadata['targetPrefix']}."
        self._agent = str(cast("Any", client.meta.config).user_agent)
        self._connections = _connections(client, self._url, settings)
        self._count: Count | None = None

    def count(self, count: Count) -> None:
        """Call this for every read from now on."""
        self._count = count

    def read(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """Return the response to a read, whose request is a dictionary in DynamoDB's JSON. Raises as `send`."""
        return _only(self.read_each(operation, (request,)))

    def read_each(self, operation: str, requests: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any] | clients.Failed]:
        """Yield the responses to several reads, or the errors, several at a time. Otherwise as `send_each`."""
        told = {"ReturnConsumedCapacity": "TOTAL"} if self._count is not None else {}
        bodies = (json.dumps({**request, **told}) for request in requests)
        for request, answer in zip(requests, self.send_each(operation, bodies), strict=True):
            if self._count is not None and isinstance(answer, dict):
                self._count(request, answer)
            yield answer

    def send(self, operation: str, body: str) -> dict[str, Any]:
        """Send one request, once, and return the response, with boto3's `ResponseMetadata`; binary attributes are base64 in
        both, times are seconds since the epoch. Raises ClientError for what DynamoDB refuses or fails to execute, and
        BotoCoreError when no complete response came."""
        return _only(self.send_each(operation, (body,)))

    def send_each(self, operation: str, bodies: Iterable[str]) -> Iterator[dict[str, Any] | clients.Failed]:
        """Send each, once, several at a time; yield for each the response, or the error that `send` would raise."""
        for answer in self._connections.post((self._signed(operation, body.encode()) for body in bodies), _AT_ONCE):
            try:
                yield _parsed(operation, answer) if isinstance(answer, Answer) else answer
            except (BotoCoreError, ClientError) as error:
                yield error

    def _signed(self, operation: str, body: bytes) -> Post | clients.Failed:
        try:
            return self._sign(operation, body)
        except (BotoCoreError, ClientError) as error:  # no credentials, or none available now: nothing is sent
            return error

    def _sign(self, operation: str, body: bytes) -> Post:
        credentials = self._credentials()
        if credentials is None:
            raise NoCredentialsError
        headers = {"X-Amz-Target": self._target + operation, "Content-Type": _JSON, "User-Agent": self._agent}
        request = AWSRequest("POST", self._url, headers, body)
        Signer(credentials.get_frozen_credentials(), self._region).add_auth(request)
        return Post(dict(request.headers.items()), body)


def _connections(client: Client, url: str, settings: Settings) -> Connections:
    verify = session().get_config_variable("ca_bundle")
    if urlsplit(url).scheme not in get_environ_proxies(url):
        return Direct(url, settings.connect_timeout, settings.read_timeout, verify)
    creator: Any = EndpointCreator(HierarchicalEmitter())
    endpoint = creator.create_endpoint(
        client.meta.service_model,
        region_name=client.meta.region_name,
        endpoint_url=url,
        verify=verify,
        timeout=(settings.connect_timeout, settings.read_timeout),
        max_pool_connections=50,
        socket_options=[TCP_NODELAY],
    )
    return ThroughBotocore(url, endpoint.http_session, _AT_ONCE)


def _only(answers: Iterable[dict[str, Any] | clients.Failed]) -> dict[str, Any]:
    """Return the only response. Raises the error instead, if there is one."""
    (answer,) = answers
    if not isinstance(answer, dict):
        raise answer
    return answer


def _parsed(operation: str, answer: Answer) -> dict[str, Any]:
    expected = answer.headers.get("x-amz-crc32")
    if expected is not None and expected != (actual := str(zlib.crc32(answer.content))):
        raise ChecksumError(checksum_type="crc32", expected_checksum=expected, actual_checksum=actual)
    if answer.status >= 300:
        raise _error(operation, answer)
    try:
        parsed: dict[str, Any] = loads(answer.content)
        parsed["ResponseMetadata"] = {"HTTPStatusCode": answer.status, "HTTPHeaders": answer.headers}
    except (ValueError, TypeError, RecursionError) as error:
        raise HTTPClientError(error=f"the answer to {operation} is not a JSON object: {error}") from None
    return parsed


def _error(operation: str, answer: Answer) -> ClientError:
    """Build the error that botocore builds from such a response. Load balancers and proxies may answer anything."""
    try:
        told = json.loads(answer.content)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        told = {}
    code = str(told.get("__type") or told.get("code") or answer.status).rpartition("#")[2]
    response: Any = {
        **{name: value for name, value in told.items() if name == "CancellationReasons"},
        "Error": {"Code": code, "Message": str(told.get("message") or told.get("Message") or "")},
        "ResponseMetadata": {
            "HTTPStatusCode": answer.status,
            "HTTPHeaders": {name.lower(): value for name, value in answer.headers.items()},
        },
    }
    return ClientError(response, operation)
