"""Hostile requests of the HTTP API, as bytes on a connection: a client's library would refuse to send some. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import quote

from chaos.hostile.hostile_calls import token_text
from chaos.hostile.kinds import API, HARMLESS, REFUSED, Hostile, Kind, kind, mark
from chaos.hostile.values import json_texts

_JSON = "payloads are I-JSON (RFC 7493)"
_NAMES = "names are validated"
_HTTP = "every 4xx is a problem (RFC 9457)"
_TOKEN = "tokens are opaque, versioned and sealed"
_FRAMES = "the server refuses input that is not HTTP"


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `framed`: its bytes are HTTP, so the answer is the API's; otherwise `raw` is all that is sent."""

    method: str = "POST"
    path: str = "/transactions"
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "application/json"),)
    body: bytes = b""
    raw: bytes = field(default=b"")

    @property
    def framed(self) -> bool:
        return not self.raw

    def encoded(self) -> bytes:
        """Return the request's bytes. The connection is closed behind its answer."""
        if self.raw:
            return self.raw
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: api", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body or self.method == "POST":
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + self.body


Make = Callable[[Random, str], Request]


def events_body(mark: str, *, payload: str | None = None) -> bytes:
    """Return the body of an append of one event, with this text as its payload."""
    text = payload if payload is not None else json.dumps({"id": mark, "n": 1})
    return f'{{"events":[{{"type":"added","payload":{text}}}]}}'.encode("utf-8", "surrogatepass")


def to_stream(mark: str, body: bytes, *headers: tuple[str, str]) -> Request:
    """Return an append to the thing of this mark."""
    return Request(path=f"/streams/thing/{mark}/events", headers=(("Content-Type", "application/json"), *headers), body=body)


def _payload(name: str) -> Make:
    return lambda r, m: to_stream(m, events_body(m, payload=json_texts(m)[name]))


def _bytes(random: Random, mark: str) -> Request:
    good = events_body(mark)
    bad = [
        b"\xff\xfe" + good,
        good.replace(b"added", b"ad\xc3\x28"),
        b"\xef\xbb\xbf" + good,
        good.decode().encode("utf-16"),
        random.randbytes(200),
        b"\x00" * 50,
    ]
    return to_stream(mark, random.choice(bad))


def _members(random: Random, mark: str) -> Request:
    event: dict[str, Any] = {"type": "added", "payload": {"id": mark, "n": 1}}
    bodies: list[Any] = [
        {},
        [],
        None,
        "x",
        7,
        {"events": None},
        {"events": {}},
        {"events": []},
        {"events": [event] * 101},
        {"events": [None]},
        {"events": [{}]},
        {"events": [{"type": "added"}]},
        {"events": [{**event, "version": True}]},
        {"events": [{**event, "version": 0}]},
        {"events": [{**event, "version": 65_536}]},
        {"events": [{**event, "more": 1}]},
        {"events": [{**event, "type": 7}]},
        {"events": [{**event, "payload": []}]},
        {"events": [event], "region": "x"},
        {"events": [{**event, "metadata": {"a": 1}}]},
        {"events": [{**event, "metadata": {"$nonce": "x"}}]},
        {"events": [{**event, "digest": "00" * 32}]},
        {"events": [{**event, "sequence": 7}]},
        {"events": [{**event, "type": "meridian.forgotten"}]},
        {"events": [{**event, "type": "a#b"}]},
        {"events": [{**event, "type": ""}]},
        {"events": [{**event, "type": "x" * 5000}]},
        {"events": [{**event, "payload": {"id": mark, "n": True}}]},
        {"events": [{**event, "payload": {"id": mark, "n": "x"}}]},
        {"events": [{**event, "payload": {"$personal": "garbage"}}]},
    ]
    return to_stream(mark, json.dumps(random.choice(bodies)).encode())


def _transaction(random: Random, mark: str) -> Request:
    operation: dict[str, Any] = {"stream": f"thing/{mark}", "events": [{"type": "added", "payload": {"id": mark, "n": 1}}]}
    bodies: list[Any] = [
        {"operations": [operation] * 2},
        {"operations": []},
        {"operations": [{**operation, "stream": mark}]},
        {"operations": [{**operation, "stream": f"a#b/{mark}"}]},
        {"operations": [{**operation, "if_match": "x"}]},
        {"operations": [{**operation, "if_match": token_text(random, mark), "if_empty": True}]},
        {"operations": [{**operation, "if_empty": 1}]},
        {"operations": [{**operation, "region": "eu-west-1"}]},
        {"operations": [{**operation, "stream": "thing/" + "x" * 2000}]},
        {"operations": operation},
    ]
    return Request(body=json.dumps(random.choice(bodies)).encode())


def _names(random: Random, mark: str) -> Request:
    paths = ["%23", "%00", "%0a", "%7f", "%E2%80%8B", "e%CC%81", "x" * 2000, "%ED%A0%80", "%FF", "%20"]
    return Request(path=f"/streams/thing/{mark}{random.choice(paths)}/events", body=events_body(mark))


def _types(random: Random, mark: str) -> Request:
    path = random.choice(["a%23b", "%00", "x" * 200, "e%CC%81", "%20x"])
    return Request(path=f"/streams/{path}/{mark}/events", body=events_body(mark))


def _nowhere(random: Random, mark: str) -> Request:
    path = random.choice(
        ["/", "//", "/streams", f"/streams/thing/{mark}", f"/streams//{mark}/x", f"/{mark}", "/..%2f..%2fetc"]
    )
    return Request(random.choice(["GET", "POST"]), path)


def _method(random: Random, mark: str) -> Request:
    return Request(random.choice(["PUT", "DELETE", "PATCH", "BREW"]), f"/streams/thing/{mark}/events")


def _query(random: Random, mark: str) -> Request:
    where = f"/streams/thing/{mark}"
    token = quote(token_text(random, mark))
    return Request(
        "GET",
        random.choice(
            [
                f"{where}/events?limit=0",
                f"{where}/events?limit=1001",
                f"{where}/events?limit=-1",
                f"{where}/events?limit=1e3",
                f"{where}/events?limit={'9' * 4000}",
                f"{where}/events?limit=%D9%A1",
                f"{where}/events?after=",
                f"{where}/events?after={token}",
                f"{where}/audit?after={token}",
                f"{where}/history?after={token}",
                f"{where}/value?token={token}",
                f"{where}/value?time=NaN",
                f"{where}/value?time=9999999999999",
                f"{where}/value?time=2026-99-99",
                f"{where}/value?sequence=1",
                f"{where}/value?sequence=x&region=us-east-1",
                f"{where}/value?sequence=1&time=x",
                f"{where}/value?sequence=1&region=US-EAST-1",
                f"{where}/value?sequence={'9' * 16}&region=us-east-1",
                f"{where}/value?projection=none",
                f"{where}/value?sequence=1&region=%00",
                f"{where}/value?time=2026-01-01T00:00:00%2B99:99",
            ]
        ),
        (),
    )


def _token(random: Random, mark: str) -> Request:
    text = token_text(random, mark).replace("\0", "%00").replace(" ", "_")  # outer spaces of a header are ignored
    name = random.choice(["Meridian-At-Least", "If-Match"])
    value = f'"{text}"' if name == "If-Match" else text
    return to_stream(mark, events_body(mark), (name, value))


def _conditions(random: Random, mark: str) -> Request:
    return to_stream(
        mark,
        events_body(mark),
        random.choice(
            [
                ("If-None-Match", '"x"'),
                ("If-Match", "*"),
                ("If-Match", 'W/"x"'),
                ("If-Match", ""),
                ("If-Match", "é"),
                ("If-Match", '"a", "b"'),
            ]
        ),
    )


def _media(random: Random, mark: str) -> Request:
    kinds = ["text/plain", "", "application/xml", "application/json-patch", "é", "multipart/form-data; boundary=x"]
    return Request(
        path=f"/streams/thing/{mark}/events", headers=(("Content-Type", random.choice(kinds)),), body=events_body(mark)
    )


def _large(random: Random, mark: str) -> Request:
    size = random.choice([420_000, 5 * 1024 * 1024 + 1, 5 * 1024 * 1024])
    return to_stream(mark, events_body(mark, payload=json.dumps({"id": mark, "n": "x" * size})))


def _frames(random: Random, mark: str) -> Request:
    start = f"POST /streams/thing/{mark}/events HTTP/1.1\r\nHost: api\r\nContent-Type: application/json\r\n".encode()
    return Request(
        raw=random.choice(
            [
                start + b"Transfer-Encoding: chunked\r\n\r\nZZZ\r\nnonsense\r\n0\r\n\r\n",
                start + b"Transfer-Encoding: chunked\r\n\r\n-5\r\nx\r\n0\r\n\r\n",
                start + b"Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFFFF\r\nx",
                start + b"Content-Length: -1\r\n\r\n{}",
                start + b"Content-Length: 5\r\nContent-Length: 7\r\n\r\n{}{}{}{}",
                start + b"Content-Length: nine\r\n\r\n{}",
                start + b"Bad Header\x00: x\r\n\r\n",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + mark.encode(),
                b"GET  /  HTTP/9.9\r\n\r\n",
                b"NOT HTTP AT ALL\r\n\r\n",
            ]
        )
    )


def _homoglyph(random: Random, mark: str) -> Request:
    name = quote(mark + random.choice("аеорсух"))
    return Request(path=f"/streams/thing/{name}/events", body=events_body(mark))


REQUESTS: tuple[tuple[Kind, Make], ...] = (
    *(
        (kind(f"payload {name}", API, REFUSED, _JSON), _payload(name))
        for name in json_texts("")
        if name != "text with a BOM"
    ),
    (kind("body that is not UTF-8 text", API, REFUSED, _JSON), _bytes),
    (kind("body with wrong members", API, REFUSED, "422 names the member"), _members),
    (kind("invalid transaction", API, REFUSED, "4xx names the member"), _transaction),
    (kind("stream id in the path", API, REFUSED, _NAMES), _names),
    (kind("stream type in the path", API, REFUSED, _NAMES), _types),
    (kind("unknown path", API, REFUSED, _HTTP), _nowhere),
    (kind("unknown method", API, REFUSED, _HTTP), _method),
    (kind("invalid query", API, REFUSED, _HTTP), _query),
    (kind("token stale or forged", API, REFUSED, _TOKEN), _token),
    (kind("invalid condition", API, REFUSED, _HTTP), _conditions),
    (kind("wrong content type", API, REFUSED, _HTTP), _media),
    (kind("body that is too large", API, REFUSED, _HTTP), _large),
    (kind("frames that are not HTTP", API, REFUSED, _FRAMES), _frames),
    (kind("name with a homoglyph", API, HARMLESS, "names are bytes: a look-alike is another name"), _homoglyph),
)


def hostile_request(random: Random, number: int, region: str, choice: int) -> Hostile:
    """Return a hostile request of a region's API."""
    which, make = REQUESTS[choice % len(REQUESTS)]
    name = mark(number)
    return Hostile(number, which, region, name, make(random, name))
