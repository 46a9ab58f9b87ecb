"""First requests to regions far away: connections that none has open yet."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from benchmarks.peer import peer
from replicator.aws.connections import Direct, Post

_HANDSHAKES = 2
"""Round trips before a request can be sent: TCP's, and that of TLS 1.3."""


def first_requests(peers: int = 4, requests: int = 20, away: float = 0.2) -> float:
    """Return the seconds that so many requests to each of some peers take, sent at once over new connections to a stub that
    answers after `away` seconds. Opening a connection waits for the round trips that it would take."""

    def far(make: Callable[[], http.client.HTTPConnection]) -> Callable[[], http.client.HTTPConnection]:
        def slow() -> http.client.HTTPConnection:
            time.sleep(_HANDSHAKES * away)
            return make()

        return slow

    with peer(away * 1000) as url, ThreadPoolExecutor(peers) as links:
        ways = [Direct(url, 10.0, 10.0, None) for _ in range(peers)]
        for way in ways:
            way._make = far(way._make)
        posts = [Post({"X-Amz-Target": "DynamoDB_20120810.BatchExecuteStatement"}, b'{"Statements":[]}')] * requests
        began = time.monotonic()
        answers = list(links.map(lambda way: list(way.post(posts, requests)), ways))
        took = time.monotonic() - began
    failed = [answer for found in answers for answer in found if isinstance(answer, Exception)]
    if failed:
        raise failed[0]
    return took
