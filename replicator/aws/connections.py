"""Persistent connections to one endpoint, with overlapping requests of one thread.

Python's own `http.client` costs a third of botocore's HTTP session around it, and lets one thread send several requests
before it reads the first response: threads that wait for one interpreter cost more than all the rest of a request. Behind
a proxy botocore's session is used, as it supports all kinds of them. docs/decisions/0027.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, Protocol
from urllib.parse import urlsplit

from botocore.awsrequest import AWSRequest
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)
from botocore.httpsession import get_cert_path
from urllib3.util import wait_for_read

from replicator.aws.clients import Failed

_reading_certificates = Lock()
_KEPT = 50
"""Maximum number of idle connections that are kept open."""


class Headers(Protocol):
    """Headers of a response, in the type of the library that parsed them."""

    def get(self, name: str, /) -> str | None: ...

    def items(self) -> Iterable[tuple[str, str]]: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response. Header names are case-insensitive."""

    status: int
    headers: Headers
    content: bytes


@dataclass(frozen=True, slots=True)
class Post:
    """Request to send."""

    headers: Mapping[str, str]
    body: bytes


class Connections(Protocol):
    """Sends requests to one endpoint. Safe to share between threads."""

    def post(self, posts: Iterable[Post | Failed], at_once: int = 1) -> Iterator[Answer | Failed]:
        """Yield the response to each, in order, or the error instead. Each is sent at most once, `at_once` of them before
        the first response. An error in place of a request (no credentials, for example) is yielded as it is."""


@dataclass(slots=True)
class _Sent:
    """A request in flight."""

    connection: http.client.HTTPConnection
    deadline: float
    """Deadline for the beginning of the response, by the monotonic clock."""
    cut: Exception | None = None
    """Error before the whole request was sent. A refusal may still arrive as its response."""


class Direct:
    """Connections to the endpoint itself."""

    def __init__(self, url: str, connect_timeout: float, read_timeout: float, verify: str | None) -> None:
        parts = urlsplit(url)
        self._url, self._path = url, parts.path or "/"
        self._read_timeout = read_timeout
        secure = parts.scheme == "https"
        host, port = parts.hostname or "", parts.port or (443 if secure else 80)
        self._make: Callable[[], http.client.HTTPConnection]
        if secure:
            self._make = lambda: http.client.HTTPSConnection(host, port, timeout=connect_timeout, context=_trusting(verify))
        else:
            self._make = lambda: http.client.HTTPConnection(host, port, timeout=connect_timeout)
        self._idle: deque[http.client.HTTPConnection] = deque()
        # One after the other, forty connections to a region 200 ms away would take sixteen seconds.
        self._opening = ThreadPoolExecutor(_KEPT, thread_name_prefix="connect")

    def post(self, posts: Iterable[Post | Failed], at_once: int = 1) -> Iterator[Answer | Failed]:
        begun: deque[_Sent | Failed | Future[_Sent | Failed]] = deque()
        silent = 0  # number of consecutive requests without a response in time

        def finish() -> Answer | Failed:
            nonlocal silent
            answer = self._finish(_result(begun.popleft()))
            silent = silent + 1 if isinstance(answer, ReadTimeoutError | ConnectTimeoutError) else 0
            return answer

        try:
            for each in posts:
                while begun and (len(begun) >= at_once or silent):  # after a late one, wait for the others first
                    yield finish()
                if not isinstance(each, Post):
                    begun.append(each)
                elif silent >= at_once or any(isinstance(other, ConnectTimeoutError) for other in begun):
                    begun.append(ConnectTimeoutError(endpoint_url=self._url, error="no response: not sent"))
                elif (kept := self._kept()) is not None:
                    begun.append(self._send(kept, each))
                elif at_once == 1:
                    begun.append(self._open(each))
                else:
                    begun.append(self._opening.submit(self._open, each))
            while begun:
                yield finish()
        finally:  # their responses are no longer read
            for left in begun:
                if isinstance(left, Future):
                    left.add_done_callback(lambda opened: _drop(opened.result()))
                else:
                    _drop(left)

    def _open(self, post: Post) -> _Sent | Failed:
        """Open a connection and send a request."""
        try:
            connection = self._make()
        except Exception as error:  # no certificates at the configured path
            return self._unreached(error)
        try:
            connection.connect()
        except Exception as error:
            connection.close()
            return self._unreached(error)
        return self._send(connection, post)

    def _send(self, connection: http.client.HTTPConnection, post: Post) -> _Sent | Failed:
        deadline = time.monotonic() + self._read_timeout
        try:
            connection.sock.settimeout(self._read_timeout)
            connection.request("POST", self._path, post.body, post.headers)
        except (BrokenPipeError, ConnectionResetError) as error:
            return _Sent(connection, deadline, error)
        except Exception as error:
            connection.close()
            return self._broken(error)
        return _Sent(connection, deadline)

    def _finish(self, sent: _Sent | Failed) -> Answer | Failed:
        if not isinstance(sent, _Sent):
            return sent
        connection = sent.connection
        try:
            connection.sock.settimeout(max(sent.deadline - time.monotonic(), 0.001))
            response = connection.getresponse()
            if connection.sock is not None:  # it is handed over when the response is the last one
                connection.sock.settimeout(self._read_timeout)
            answer = Answer(response.status, response.headers, response.read())
        except Exception as error:
            connection.close()
            return self._broken(sent.cut or error)
        usual = 200 <= answer.status != 204 and sent.cut is None
        if response.will_close or not usual or len(self._idle) >= _KEPT:
            connection.close()
        else:
            self._idle.append(connection)
        return answer

    def _kept(self) -> http.client.HTTPConnection | None:
        """Return the most recently used connection. One with unrequested data was closed by the server."""
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                with suppress(OSError, ValueError):  # a faulty connection is skipped: there are others
                    if connection.sock is not None and not wait_for_read(connection.sock, timeout=0.0):
                        return connection
                connection.close()
        return None

    def _unreached(self, error: Exception) -> BotoCoreError:
        """Convert an error before a connection was made to botocore's error for it."""
        if isinstance(error, TimeoutError):
            return ConnectTimeoutError(endpoint_url=self._url, error=error)
        if isinstance(error, ssl.SSLError):
            return SSLError(endpoint_url=self._url, error=error)
        if isinstance(error, OSError):
            return EndpointConnectionError(endpoint_url=self._url, error=error)
        return HTTPClientError(error=error)

    def _broken(self, error: Exception) -> BotoCoreError:
        """Convert an error after a request may have arrived to botocore's error for it."""
        if isinstance(error, TimeoutError):
            return ReadTimeoutError(endpoint_url=self._url, error=error)
        if isinstance(error, ssl.SSLError):
            return SSLError(endpoint_url=self._url, error=error)
        if isinstance(error, OSError | http.client.HTTPException):
            return ConnectionClosedError(endpoint_url=self._url, error=error)
        return HTTPClientError(error=error)


def _result(sent: _Sent | Failed | Future[_Sent | Failed]) -> _Sent | Failed:
    return sent.result() if isinstance(sent, Future) else sent


def _drop(sent: _Sent | Failed) -> None:
    if isinstance(sent, _Sent):
        sent.connection.close()


def _trusting(verify: str | None) -> ssl.SSLContext:
    """Return the TLS context, as strict as botocore's. Reading all certificates takes 20 ms: done once, for the first
    connection."""
    with _reading_certificates:
        return _trusted(verify)


@cache
def _trusted(verify: str | None) -> ssl.SSLContext:
    trusted = ssl.create_default_context(cafile=verify or os.environ.get("REQUESTS_CA_BUNDLE") or get_cert_path(True))
    trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT
    trusted.set_alpn_protocols(["http/1.1"])
    return trusted


class ThroughBotocore:
    """Connections of botocore's HTTP session, used for its proxy support."""

    def __init__(self, url: str, session: Any, at_most: int = 4) -> None:
        self._url, self._session = url, session
        self._pool = ThreadPoolExecutor(at_most, thread_name_prefix="proxied")

    def post(self, posts: Iterable[Post | Failed], at_once: int = 1) -> Iterator[Answer | Failed]:
        if at_once == 1:
            yield from map(self._post, posts)
        else:
            yield from self._pool.map(self._post, posts)

    def _post(self, post: Post | Failed) -> Answer | Failed:
        if not isinstance(post, Post):
            return post
        try:
            got = self._session.send(AWSRequest("POST", self._url, dict(post.headers), post.body).prepare())
            return Answer(got.status_code, got.headers, got.content)
        except BotoCoreError as error:
            return error


TCP_NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
"""Without it a small request waits 40 ms for an acknowledgement; `http.client` sets it by itself."""
