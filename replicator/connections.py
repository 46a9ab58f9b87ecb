"""Kept connections to one endpoint, on which requests of one thread overlap.

Python's own `http.client` costs a third of what botocore's HTTP session does around it, and lets one thread send several
requests before it reads the first answer: threads that wait for one interpreter cost more than all the rest of a request.
Where a proxy stands between, botocore's session it is, as it speaks all kinds of them. docs/decisions/0027.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
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

_KEPT = 50
"""Connections that are kept open while nobody needs them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


@dataclass(frozen=True, slots=True)
class Post:
    """What is to be sent."""

    headers: Mapping[str, str]
    body: bytes


class Connections(Protocol):
    """Sends to one endpoint. Safe to share between threads."""

    def post(self, posts: Iterable[Post], at_once: int = 1) -> Iterator[Answer | BotoCoreError]:
        """The answer to each, in order, or why there is none; each is sent once, `at_once` of them before the first is
        answered. What raises while `posts` are made, raises here."""


class Direct:
    """Connections to the endpoint itself."""

    def __init__(self, url: str, connect_timeout: float, read_timeout: float, verify: str | None) -> None:
        parts = urlsplit(url)
        self._url, self._path = url, parts.path or "/"
        self._connect_timeout, self._read_timeout = connect_timeout, read_timeout
        host, port = parts.hostname or "", parts.port
        self._make: Callable[[], http.client.HTTPConnection]
        if parts.scheme == "https":
            self._make = lambda: http.client.HTTPSConnection(host, port, timeout=connect_timeout, context=_trusting(verify))
        else:
            self._make = lambda: http.client.HTTPConnection(host, port, timeout=connect_timeout)
        self._idle: deque[http.client.HTTPConnection] = deque()

    def post(self, posts: Iterable[Post], at_once: int = 1) -> Iterator[Answer | BotoCoreError]:
        begun: deque[http.client.HTTPConnection | BotoCoreError] = deque()
        try:
            for each in posts:
                if len(begun) == at_once:
                    yield self._finish(begun.popleft())
                begun.append(self._begin(each))
            while begun:
                yield self._finish(begun.popleft())
        finally:  # nobody reads their answers any more
            for left in begun:
                if not isinstance(left, BotoCoreError):
                    left.close()

    def _begin(self, post: Post) -> http.client.HTTPConnection | BotoCoreError:
        """Send it, and return what its answer will come over."""
        connection = self._kept()
        if connection is None:
            try:
                connection = self._make()
            except Exception as error:  # no certificates where they should be
                return self._unreached(error)
            try:
                connection.connect()
            except Exception as error:
                connection.close()
                return self._unreached(error)
            connection.sock.settimeout(self._read_timeout)
        try:
            connection.request("POST", self._path, post.body, post.headers)
        except Exception as error:
            connection.close()
            return self._broken(error)
        return connection

    def _finish(self, connection: http.client.HTTPConnection | BotoCoreError) -> Answer | BotoCoreError:
        if isinstance(connection, BotoCoreError):
            return connection
        try:
            response = connection.getresponse()
            answer = Answer(response.status, {k.lower(): v for k, v in response.headers.items()}, response.read())
        except Exception as error:
            connection.close()
            return self._broken(error)
        if response.will_close or len(self._idle) >= _KEPT:
            connection.close()
        else:
            self._idle.append(connection)
        return answer

    def _kept(self) -> http.client.HTTPConnection | None:
        """The connection that was used last. One on which something has come that nobody asked for was closed from afar."""
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.sock is not None and not wait_for_read(connection.sock, timeout=0.0):
                    return connection
                connection.close()
        return None

    def _unreached(self, error: Exception) -> BotoCoreError:
        """What botocore makes of it when no connection could be made."""
        if isinstance(error, TimeoutError):
            return ConnectTimeoutError(endpoint_url=self._url, error=error)
        if isinstance(error, ssl.SSLError):
            return SSLError(endpoint_url=self._url, error=error)
        if isinstance(error, OSError):
            return EndpointConnectionError(endpoint_url=self._url, error=error)
        return HTTPClientError(error=error)

    def _broken(self, error: Exception) -> BotoCoreError:
        """What botocore makes of it when a request may have arrived."""
        if isinstance(error, TimeoutError):
            return ReadTimeoutError(endpoint_url=self._url, error=error)
        if isinstance(error, ssl.SSLError):
            return SSLError(endpoint_url=self._url, error=error)
        if isinstance(error, OSError | http.client.HTTPException):
            return ConnectionClosedError(endpoint_url=self._url, error=error)
        return HTTPClientError(error=error)


@cache
def _trusting(verify: str | None) -> ssl.SSLContext:
    """Reading all certificates takes 20 ms: once, and when the first connection is made."""
    trusted = ssl.create_default_context(cafile=verify or get_cert_path(True))
    trusted.set_alpn_protocols(["http/1.1"])
    return trusted


class ThroughBotocore:
    """Connections of botocore's HTTP session, for the sake of its proxies."""

    def __init__(self, url: str, session: Any, at_most: int = 4) -> None:
        self._url, self._session = url, session
        self._pool = ThreadPoolExecutor(at_most, thread_name_prefix="proxied")

    def post(self, posts: Iterable[Post], at_once: int = 1) -> Iterator[Answer | BotoCoreError]:
        if at_once == 1:
            yield from map(self._post, posts)
        else:
            yield from self._pool.map(self._post, posts)

    def _post(self, post: Post) -> Answer | BotoCoreError:
        try:
            got = self._session.send(AWSRequest("POST", self._url, dict(post.headers), post.body).prepare())
            return Answer(got.status_code, {name.lower(): value for name, value in got.headers.items()}, got.content)
        except BotoCoreError as error:
            return error


TCP_NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
"""Without it a small request waits 40 ms for an acknowledgement; `http.client` sets it by itself."""
