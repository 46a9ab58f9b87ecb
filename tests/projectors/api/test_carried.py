"""No answer is larger than what a Lambda function may give, whatever is in it: pages of every paging route, values, echoes.

Held against the limit itself, with answers as the function hands them over and as Lambda's runtimes write them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from mangum import Mangum

from projectors import Projection, register
from projectors.api import Service, application
from projectors.api.routes import Resource
from projectors.api.weight import MAX_ANSWER_BYTES, carried
from replicator import EventStore, MemoryStorage, NewEvent
from replicator.domain.errors import shown
from replicator.eventstore.storage import MAX_EVENTS

EAST = "us-east-1"
LIMIT = 6_291_556
"""Bytes that a function may answer. Source: AWS Lambda's error `Response payload size exceeded maximum allowed payload size
(6291556 bytes)`."""
TEXTS = {
    "csv": 'a,"b ""c""",d\r\n',
    "json": '{"a": ["x", {"b": "\\"y\\""}]}',
    "empty": "",
    "quotes": '"',
    "backslashes": "\\",
    "controls": "\x01\x1f\t",
    "latin": "é",
    "han": "日本語",
    "emoji": "\U0001f6eb",
    "plain": "x",
}


class Notes(Projection):
    name, stream_type = "notes", "user"
    text = register(noted=lambda p: p["texts"])


class Function:
    """The API as Lambda calls it."""

    def __init__(self) -> None:
        self.store = EventStore(MemoryStorage(), EAST, [EAST])
        self.app = application(Service(self.store, [Notes], timeout=5.0))
        self._handler = Mangum(self.app, lifespan="off")

    def call(self, method: str, path: str, query: str = "", body: Any = None) -> tuple[int, Any, int]:
        """Status, body, and the bytes of the answer as the runtimes write it: with or without what is not ASCII escaped."""
        event = {
            "version": "2.0", "rawPath": path, "rawQueryString": query, "isBase64Encoded": False,
            "headers": {"content-type": "application/json", "host": "x.lambda-url.us-east-1.on.aws"},
            "requestContext": {"http": {"method": method, "path": path, "sourceIp": "::1", "protocol": "HTTP/1.1"}},
            "body": "" if body is None else json.dumps(body, ensure_ascii=False),
        }  # fmt: skip
        answer = self._handler(event, None)
        sizes = [len(json.dumps(answer, ensure_ascii=escaped).encode()) for escaped in (True, False)]
        told = answer["body"] if not answer["isBase64Encoded"] else "null"
        return answer["statusCode"], json.loads(told), max(sizes)


PAGING = [
    route.path
    for route in Function().app.routes
    if isinstance(route, Resource) and "GET" in route.endpoints and "limit" in route.endpoints["GET"].parameters
]


def filled(kind: str, size: int) -> list[str]:
    """A payload's texts, of about so many bytes in all."""
    text = TEXTS[kind]
    if not text:
        return [""] * (size // 3)
    return [text * (size // len(json.dumps(text, ensure_ascii=False)[1:-1].encode()))]


def pages(function: Function, path: str, limit: int) -> Iterator[tuple[list[Any], int]]:
    """Every page of a route, as a client gets that follows its tokens."""
    query: dict[str, Any] = {"limit": limit}
    while True:
        status, body, size = function.call("GET", path.replace("{type}/{id:path}", "user/homer"), urlencode(query))
        assert status == 200, body
        (entries,) = [value for value in body.values() if isinstance(value, list)]
        yield entries, size
        if not body["more"]:
            return
        query["after"] = body["token"]


def test_there_are_pages_of_events_history_and_the_audit_trail() -> None:
    assert [path.rpartition("/")[2] for path in PAGING] == ["events", "history", "audit"]


@pytest.mark.parametrize("path", PAGING)
@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize(("count", "size"), [(20, 350_000), (1000, 7_000)], ids=["large", "many"])
def test_every_page_fits_into_a_function_s_answer_and_all_events_are_on_one(
    path: str, kind: str, count: int, size: int
) -> None:
    function = Function()
    count = count // 2 if "history" in path else count  # whose entries hold it twice
    payload = {"texts": filled(kind, size // 2 if kind == "empty" else size)}
    for _ in range(count):
        function.store.append("user/homer", NewEvent("noted", payload, metadata={"who": TEXTS[kind] * 5}))
    seen = []
    for entries, carried_size in pages(function, path, 1000):
        assert carried_size <= LIMIT
        assert entries
        seen += [(each.get("event") or each)["id"] for each in entries]
    assert seen == [f"{EAST}#user#homer#{n:016d}" for n in range(1, count + 1)]


def test_a_page_is_filled_as_far_as_it_may_be() -> None:
    function = Function()
    for _ in range(20):
        function.store.append("user/homer", NewEvent("noted", {"texts": filled("csv", 350_000)}))
    (_, first), *_ = pages(function, PAGING[0], 1000)
    assert first > LIMIT * 0.7


@pytest.mark.parametrize("kind", TEXTS)
def test_a_write_whose_answer_could_not_be_given_is_refused_before_anything_is_written(kind: str) -> None:
    function = Function()
    events = [{"type": "other", "payload": {"texts": filled(kind, 380_000)}}] * 12
    body = {"operations": [{"stream": f"user/{n}", "events": [each]} for n, each in enumerate(events)]}
    for path, given in (("/streams/user/homer/events", {"events": events}), ("/transactions", body)):
        status, _, size = function.call("POST", path, body=given)
        assert size <= LIMIT
        if status != 201:
            assert status in (413, 422)  # too large for a transaction, or with its answer
            assert list(function.store.lanes()) == []
    few = {"events": events[:3]}
    assert function.call("POST", "/streams/user/homer/events", body=few)[0] == 201


def test_as_many_events_as_the_document_allows_are_written_and_answered() -> None:
    function = Function()
    name, kind = "é" * 512, "ü" * 64
    events = [{"type": kind, "payload": {}, "metadata": {"who": "日" * 50}}] * MAX_EVENTS
    status, body, size = function.call("POST", f"/streams/user/{name}/events", body={"events": events})
    assert (status, len(body["events"])) == (201, MAX_EVENTS)
    assert size <= LIMIT


class Piles(Projection):
    name, stream_type = "piles", "user"
    a = register(a=lambda p: p["text"])
    b = register(b=lambda p: p["text"])
    c = register(c=lambda p: p["text"])
    d = register(d=lambda p: p["text"])
    e = register(e=lambda p: p["text"])


def test_a_value_that_no_function_could_answer_is_an_honest_error() -> None:
    function = Function()
    store = function.store
    for kind in "abcde":
        store.append("user/homer", NewEvent(kind, {"text": '"' * 190_000}))
        store.append("user/homer", NewEvent(kind, {"text": "\x01" * 65_000 + "é" * 1_000}))
    function._handler = Mangum(application(Service(store, [Piles])), lifespan="off")
    for path in ("value", "history"):
        status, _, size = function.call("GET", f"/streams/user/homer/{path}")
        assert status in (200, 500)
        assert size <= LIMIT


@pytest.mark.parametrize("value", [{"a": 'x"y\\z\né\U0001f6eb\x00'}, [], {}, [{"é": ""}], "x", 1.5, None, True], ids=shown)
def test_what_is_carried_is_what_the_runtimes_write(value: Any) -> None:
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    assert carried(value) == len(json.dumps({"body": body})) - len('{"body": ""}')
    assert carried(value) >= len(json.dumps({"body": body}, ensure_ascii=False).encode()) - len('{"body": ""}')


def test_the_room_beside_a_body_holds_the_longest_headers() -> None:
    assert LIMIT - MAX_ANSWER_BYTES > 8 * 8_192
