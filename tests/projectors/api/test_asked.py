"""What a request says and nobody would look at is refused, on every route: conditions, parameters, encoded separators.

The routes are the application's own, so a new one is tried as well.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from mangum import Mangum
from starlette.testclient import TestClient

from projectors import MemorySink, Projection, counter
from projectors.api import Service, application
from projectors.api.routes import Resource
from replicator import ConsistencyToken, EventStore, MemoryStorage, NewEvent

EAST = "us-east-1"


class Logins(Projection):
    name, stream_type = "logins", "user"
    logins = counter(logged_in=lambda p: 1)


class Api:
    """The API of one region, and what is in its tables."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.store = EventStore(self.storage, EAST, [EAST])
        self.app = application(Service(self.store, [Logins], MemorySink()))
        self.client = TestClient(self.app, raise_server_exceptions=False)

    def events(self) -> int:
        return sum(last for _, last in self.storage.lanes())


@pytest.fixture
def api() -> Api:
    return Api()


def resources() -> list[Resource]:
    found = [route for route in Api().app.routes if isinstance(route, Resource)]
    assert len(found) == len(Api().app.routes) == 9  # a route that is none of these would look at nothing
    return found


ENDPOINTS = [(route.path, method, endpoint) for route in resources() for method, endpoint in route.endpoints.items()]
WRITES = [(path, method) for path, method, _ in ENDPOINTS if method != "GET"]
READS = [(path, endpoint) for path, method, endpoint in ENDPOINTS if method == "GET"]
STREAMS = [(path, method) for path, method, _ in ENDPOINTS if "{id:path}" in path]
NEW = {"type": "logged_in", "payload": {}}
BODIES = {
    "/transactions": {"operations": [{"stream": "user/homer", "events": [NEW]}]},
    "/streams/{type}/{id:path}/events": {"events": [NEW]},
}


def at(path: str, stream: str = "user/homer") -> str:
    return path.replace("{type}/{id:path}", stream)


def call(api: Api, path: str, method: str, route: str, **headers: str) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if method == "GET":
        return api.client.get(path, headers=given)
    return api.client.request(method, path, headers=given, json=BODIES[route])


def refused(response: Any, named: str, kind: str = "bad-request") -> None:
    assert response.status_code == 400, (response.status_code, response.text)
    body = response.json()
    assert body["type"] == f"urn:meridian:{kind}"
    assert named in body["detail"]


@pytest.mark.parametrize(("path", "method", "endpoint"), ENDPOINTS, ids=lambda each: each if isinstance(each, str) else "")
def test_every_route_refuses_a_parameter_that_it_does_not_know_or_that_comes_twice(
    api: Api, path: str, method: str, endpoint: Any
) -> None:
    for known in (*endpoint.parameters, "limit", "after", "sequence", "region", "projection", "token", "time"):
        for strange in {known[:-1], known.upper(), f"{known} ", f" {known}", f"{known}[]", known} - set(endpoint.parameters):
            refused(call(api, f"{at(path)}?{quote(strange)}=1", method, path), "unknown query parameter")
            refused(call(api, f"{at(path)}?{quote(strange)}", method, path), "unknown query parameter")
    for known in endpoint.parameters:
        refused(
            call(api, f"{at(path)}?{known}=1&{known}=1", method, path),
            f"query parameter {known} is given 2 times; give it once",
        )
    assert api.events() == 0


@pytest.mark.parametrize(("path", "method", "endpoint"), ENDPOINTS, ids=lambda each: each if isinstance(each, str) else "")
def test_the_document_names_every_parameter_and_condition_of_every_route(
    api: Api, path: str, method: str, endpoint: Any
) -> None:
    document = api.client.get("/openapi.json").json()
    told = document["paths"][path.replace("{id:path}", "{id}")][method.lower()].get("parameters", [])
    assert [each["name"] for each in told if each["in"] == "query"] == list(endpoint.parameters)
    headers = {each["name"] for each in told if each["in"] == "header"} - {"Meridian-At-Least", "Prefer"}
    assert headers == set(endpoint.conditions)


@pytest.mark.parametrize(("path", "method"), WRITES)
@pytest.mark.parametrize("value", ['"x"', "*", '"a", "b"', "Tue, 24 Nov 2026 18:00:00 GMT", ""])
def test_no_write_goes_on_under_a_condition_that_nobody_judged(api: Api, path: str, method: str, value: str) -> None:
    for name in ("If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "If-Range"):
        response = call(api, at(path), method, path, **{name: value})
        if (path, name, value) == ("/streams/{type}/{id:path}/events", "If-None-Match", "*"):
            assert response.status_code == 201  # judged: the stream is empty
            api = Api()
        else:
            assert response.status_code == 400, (name, value, response.text)
        assert api.events() == 0


def test_a_transaction_under_a_stale_tag_writes_nothing_and_is_told_which_member_to_give(api: Api) -> None:
    stale = call(api, "/streams/user/homer/events", "POST", "/streams/{type}/{id:path}/events").headers["ETag"]
    call(api, "/streams/user/homer/events", "POST", "/streams/{type}/{id:path}/events")
    for name, value in (("If-Match", stale), ("If-None-Match", "*")):
        refused(
            call(api, "/transactions", "POST", "/transactions", **{name: value}),
            "if_match (a token) or if_empty on each operation",
        )
    assert api.events() == 2
    body = {"operations": [{"stream": "user/homer", "events": [NEW], "if_match": stale.strip('"')}]}
    assert api.client.post("/transactions", json=body).status_code == 412
    assert api.events() == 2


@pytest.mark.parametrize(("path", "endpoint"), READS, ids=lambda each: each if isinstance(each, str) else "")
def test_a_read_judges_a_condition_or_refuses_it(api: Api, path: str, endpoint: Any) -> None:
    stored = api.store.append("user/homer", NewEvent("logged_in", {}))
    token = api.store.tokens.encode(ConsistencyToken.of(stored))
    asked = f"{at(path)}?token={token}" if path == "/where" else at(path)
    for name, value in (("If-Match", '"x"'), ("If-Match", "*"), ("If-None-Match", "*")):
        response = call(api, asked, "GET", path, **{name: value})
        if endpoint.conditions:
            assert response.status_code == {('"x"'): 412, "*": 200 if name == "If-Match" else 304}[value]
        else:
            refused(response, f"{name} is not supported here")
    assert call(api, asked, "GET", path, If_None_Match='"x"').status_code == 200  # it is none of those
    assert call(api, asked, "GET", path, If_Modified_Since="Tue, 24 Nov 2026 18:00:00 GMT").status_code == 200


def test_if_match_on_a_value_is_held_against_the_tag_of_its_bytes(api: Api) -> None:
    path = "/streams/user/homer/value"
    assert api.client.get(path, headers={"If-Match": "*"}).status_code == 412  # there is nothing yet
    api.store.append("user/homer", NewEvent("logged_in", {}))
    etag = api.client.get(path).headers["ETag"]
    assert api.client.get(path, headers={"If-Match": f'"x", {etag}'}).status_code == 200
    assert api.client.get(path, headers={"If-Match": f"W/{etag}"}).status_code == 412  # If-Match compares strongly
    api.store.append("user/homer", NewEvent("logged_in", {}))
    again = api.client.get(path, headers={"If-Match": etag})
    assert (again.status_code, again.headers["ETag"]) == (412, api.client.get(path).headers["ETag"])


@pytest.mark.parametrize("query", ["region=us-east-1", f"region={EAST}&time=2026-01-01T00:00:00Z"])
def test_a_region_without_a_sequence_is_refused(api: Api, query: str) -> None:
    refused(api.client.get(f"/streams/user/homer/value?{query}"), "region names the lane of a sequence")


# -- paths -------------------------------------------------------------------------------------------------------------


def through_a_function(api: Api, path: str, method: str, route: str) -> Any:
    """A request as a function URL hands it over: `rawPath` as it was sent."""
    event = {
        "version": "2.0", "rawPath": path, "rawQueryString": "", "isBase64Encoded": False,
        "headers": {"content-type": "application/json", "host": "x.lambda-url.us-east-1.on.aws"},
        "requestContext": {"http": {"method": method, "path": path, "sourceIp": "::1", "protocol": "HTTP/1.1"}},
        "body": json.dumps(BODIES[route]) if method == "POST" else "",
    }  # fmt: skip
    return Mangum(api.app, lifespan="off")(event, None)


@pytest.mark.parametrize(("path", "method"), STREAMS)
@pytest.mark.parametrize("stream", ["user%2Fhomer/x", "user%2fhomer/x", "%2F/x", "user%2F/x"])
def test_an_encoded_separator_is_part_of_the_type_and_refused_on_every_route(
    api: Api, path: str, method: str, stream: str
) -> None:
    refused(call(api, at(path, stream), method, path), "'/'", "invalid-name")
    assert through_a_function(api, at(path, stream), method, path)["statusCode"] == 400
    assert api.events() == 0


@pytest.mark.parametrize(("path", "method"), STREAMS)
def test_an_encoded_separator_parts_no_words_of_a_path(api: Api, path: str, method: str) -> None:
    words = at(path).split("/")  # "", streams, user, homer, events
    for place in (2, 4):
        joined = f"{'/'.join(words[:place])}%2F{'/'.join(words[place:])}"
        refused(call(api, joined, method, path), "separates nothing", "invalid-name")
        assert through_a_function(api, joined, method, path)["statusCode"] == 400
    assert api.events() == 0


@pytest.mark.parametrize("sent", ["a%2Fb", "a/b", "a%2fb", "%61/b"])
def test_a_slash_in_an_id_is_the_same_name_encoded_or_not(api: Api, sent: str) -> None:
    route = "/streams/{type}/{id:path}/events"
    assert call(api, at(route, f"user/{sent}"), "POST", route).status_code == 201
    assert through_a_function(api, at(route, f"user/{sent}"), "POST", route)["statusCode"] == 201
    assert [str(lane.stream) for lane, _ in api.storage.lanes()] == ["user/a/b"]
    assert api.client.get("/streams/user/a/b/value").json()["value"] == {"logins": 2}


@pytest.mark.parametrize("name", ["100%", "a?b", "a&b=c", "é", "日本", "a+b", "a;b", "%2F", "~-._", "a b", "\ufffd"])
def test_a_name_is_what_its_encoding_says(api: Api, name: str) -> None:
    route = "/streams/{type}/{id:path}/events"
    assert call(api, at(route, f"user/{quote(name, safe='')}"), "POST", route).status_code == 201
    assert through_a_function(api, at(route, f"user/{quote(name, safe='')}"), "POST", route)["statusCode"] == 201
    assert [lane.stream.id for lane, _ in api.storage.lanes()] == [name]


def test_a_lone_surrogate_in_a_functions_event_names_no_stream(api: Api) -> None:
    route = "/streams/{type}/{id:path}/events"
    assert through_a_function(api, "/streams/user/\ud800/events", "POST", route)["statusCode"] == 400


def test_a_tag_from_before_tags_had_digests_is_still_a_condition(api: Api) -> None:
    path = "/streams/user/homer/events"
    token = api.client.post(path, json={"events": [NEW]}).headers["ETag"].strip('"')
    for version in (f"{token}.1", token):
        etag = f'"{version}"'
        assert api.client.post(path, json={"events": [NEW]}, headers={"If-Match": etag}).status_code in (201, 412)
    assert api.events() == 2  # the second was stale by then


def test_fixed_words_may_be_encoded(api: Api) -> None:
    assert api.client.get("/%68ealth").status_code == 200
    assert api.client.get("/streams/user/homer/%76alue").status_code == 200
    assert api.client.get("/nowhere").status_code == 404
