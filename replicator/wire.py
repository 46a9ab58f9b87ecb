"""Requests to DynamoDB in its own JSON, beneath boto3's serializers, parsers and hooks, which cost more than all the rest.

Everything else stays boto3's: where the endpoint is, who signs and how, connections, proxies, certificates and time-outs;
and what goes wrong is one of botocore's errors. docs/decisions/0026.
"""

from __future__ import annotations

import json
import socket
import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.endpoint import EndpointCreator
from botocore.exceptions import ChecksumError, ClientError, HTTPClientError, NoCredentialsError
from botocore.hooks import HierarchicalEmitter

from replicator import aws
from replicator.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Count = Callable[[Mapping[str, Any], Mapping[str, Any]], None]
"""Hears of a read: what was asked, and what came."""

_JSON = "application/x-amz-json-1.0"
_SERVICE = "dynamodb"


class Wire:
    """DynamoDB as a client of boto3's reaches it. Safe to share between threads."""

    def __init__(self, client: DynamoDBClient, settings: Settings) -> None:
        session = aws.session()
        self._credentials = session.get_credentials
        self._region = str(client.meta.region_name)
        self._url = client.meta.endpoint_url.rstrip("/") + "/"
        model, config = client.meta.service_model, cast("Any", client.meta.config)
        self._target = f"{model.metadata['targetPrefix']}."
        self._agent = str(config.user_agent)
        creator: Any = EndpointCreator(HierarchicalEmitter())
        endpoint = creator.create_endpoint(
            model,
            region_name=self._region,
            endpoint_url=self._url,
            verify=session.get_config_variable("ca_bundle"),
            timeout=(settings.connect_timeout, settings.read_timeout),
            max_pool_connections=50,
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        self._http = endpoint.http_session
        self._count: Count | None = None

    def count(self, count: Count) -> None:
        """Tell this of every read from now on."""
        self._count = count

    def read(self, operation: str, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a read, given as a dictionary in DynamoDB's JSON. As `send` otherwise."""
        if self._count is None:
            return self.send(operation, json.dumps(request))
        answer = self.send(operation, json.dumps({**request, "ReturnConsumedCapacity": "TOTAL"}))
        self._count(request, answer)
        return answer

    def send(self, operation: str, body: str) -> dict[str, Any]:
        """Send one request, once, and return the answer; binary attributes are base64 in both. Raises ClientError for what
        DynamoDB refuses or fails to do, and BotoCoreError where no whole answer came."""
        credentials = self._credentials()
        if credentials is None:
            raise NoCredentialsError
        headers = {"X-Amz-Target": self._target + operation, "Content-Type": _JSON, "User-Agent": self._agent}
        request = AWSRequest("POST", self._url, headers, body.encode())
        SigV4Auth(credentials.get_frozen_credentials(), _SERVICE, self._region).add_auth(request)
        answer = self._http.send(request.prepare())
        content: bytes = answer.content
        expected = answer.headers.get("x-amz-crc32")
        if expected is not None and expected != (actual := str(zlib.crc32(content))):
            raise ChecksumError(checksum_type="crc32", expected_checksum=expected, actual_checksum=actual)
        if answer.status_code >= 300:
            raise _error(operation, answer.status_code, dict(answer.headers), content)
        try:
            parsed: dict[str, Any] = json.loads(content)
        except ValueError as error:
            raise HTTPClientError(error=f"the answer to {operation} is no JSON: {error}") from None
        return parsed


def _error(operation: str, status: int, headers: dict[str, str], content: bytes) -> ClientError:
    """The error as botocore makes it of such an answer. Load balancers and proxies answer anything."""
    try:
        told = json.loads(content)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        told = {}
    code = str(told.get("__type") or told.get("code") or status).rpartition("#")[2]
    response: Any = {
        **{name: value for name, value in told.items() if name == "CancellationReasons"},
        "Error": {"Code": code, "Message": str(told.get("message") or told.get("Message") or "")},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers},
    }
    return ClientError(response, operation)
