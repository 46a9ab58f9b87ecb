"""The HTTP API: streams as resources, tokens as ETags, every error a problem that says what to do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from mangum import Mangum
from starlette.testclient import TestClient

from projectors import MemorySink, Projection, add, collection, counter, register
from projectors.api import Service, application, function
from projectors.dynamodb import DynamoSink
from replicator import EventStore, MemoryStorage, OutcomeUnknown, RegionUnavailable, VersionVector
from replicator.errors import LaneTaken
from replicator.settings import Settings

EAST, WEST = "us-east-1", "eu-west-1"
BACKENDS = ["memory", pytest.param("emulator", marks=pytest.mark.emulator)]


class Account(Projection):
    name, stream_type = "account", "user"
    email = register(email_set=lambda p: p["value"])
    logins = counter(logged_in=lambda p: 1)
    groups = collection(joined=lambda p: add(p["group"]))


class Activity(Projection):
    name, stream_type = "activity", "group"
    members = counter(member_added=lambda p: 1)


class Names(Projection):
    name, stream_type = "names", "group"
    title = register(named=lambda p: p["value"])


PROJECTIONS = [Account, Activity, Names]


def clients(request: pytest.FixtureRequest, backend: str) -> dict[str, TestClient]:
    """Two regions' APIs; nothing copies between the regions."""
    if backend == "memory":
        held = {region: MemoryStorage() for region in (EAST, WEST)}
        stores = {r: EventStore(held[r], r, [EAST, WEST], peer=held.__getitem__) for r in held}
        services = {r: Service(stores[r], PROJECTIONS, MemorySink(), timeout=0.2) for r in held}
    else:
        settings: Settings = request.getfixturevalue("emptied_settings")
        services = {
            r: Service(EventStore.connect(settings.at(r)), PROJECTIONS, DynamoSink(settings.at(r)), settings=settings.at(r))
            for r in (EAST, WEST)
        }
    return {r: TestClient(application(service), raise_server_exceptions=False) for r, service in services.items()}


@pytest.fixture(params=BACKENDS)
def regions(request: pytest.FixtureRequest) -> dict[str, TestClient]:
    return clients(request, request.param)


@pytest.fixture
def east(regions: dict[str, TestClient]) -> TestClient:
    return regions[EAST]


def event(kind: str, **payload: Any) -> dict[str, Any]:
    return {"type": kind, "payload": payload}


def append(client: TestClient, *events: dict[str, Any], stream: str = "user/homer", **headers: str) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"/streams/{stream}/events", json={"events": list(events)}, headers=given)


def problem(response: Any, status: int, kind: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert (body["type"], body["status"]) == (f"urn:meridian:{kind}", status)
    assert body["detail"]
    return body


def test_what_is_appended_is_read_with_the_same_etag(east: TestClient) -> None:
    written = append(east, event("email_set", value="h@x"), event("logged_in"))
    assert written.status_code == 201
    assert [e["id"] for e in written.json()["events"]] == [f"us-east-1#user#homer#{n:016d}" for n in (1, 2)]
    read = east.get("/streams/user/homer/value")
    assert read.json()["value"] == {"email": "h@x", "groups": [], "logins": 1}
    assert read.json()["vector"] == {EAST: 2}
    assert read.headers["ETag"] == written.headers["ETag"] == f'"{read.json()["token"]}"'
    again = east.get("/streams/user/homer/value", headers={"If-None-Match": read.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_if_match_writes_only_where_nobody_has_written_since(east: TestClient) -> None:
    etag = append(east, event("logged_in")).headers["ETag"]
    assert append(east, event("logged_in"), If_Match=etag).status_code == 201
    refused = append(east, event("logged_in"), If_Match=etag)
    body = problem(refused, 412, "precondition-failed")
    assert "no longer at" in body["reasons"][0]
    assert refused.headers["ETag"] == f'"{body["token"]}"'
    assert append(east, event("logged_in"), If_Match=refused.headers["ETag"]).status_code == 201


def test_if_none_match_star_writes_only_the_first(east: TestClient) -> None:
    assert append(east, event("logged_in"), If_None_Match="*").status_code == 201
    problem(append(east, event("logged_in"), If_None_Match="*"), 412, "precondition-failed")


def test_read_your_writes_across_regions_holds_with_the_header_and_fails_without(regions: dict[str, TestClient]) -> None:
    token = append(regions[EAST], event("email_set", value="h@x")).json()["token"]
    plain = regions[WEST].get("/streams/user/homer/value").json()
    assert plain["value"]["email"] is None
    seen = regions[WEST].get("/streams/user/homer/value", headers={"Meridian-At-Least": token})
    assert seen.json()["value"]["email"] == "h@x"
    written = append(regions[WEST], event("logged_in"), Meridian_At_Least=token).json()["events"][0]
    assert written["observed"] == {EAST: 1}


def test_a_token_that_cannot_be_reached_is_503_with_what_is_missing() -> None:
    held = {region: MemoryStorage() for region in (EAST, WEST)}
    stores = {r: EventStore(held[r], r, [EAST, WEST]) for r in held}  # no way to pull
    east, west = (TestClient(application(Service(stores[r], PROJECTIONS, timeout=0.05))) for r in (EAST, WEST))
    token = append(east, event("logged_in")).json()["token"]
    response = west.get("/streams/user/homer/value", headers={"Meridian-At-Least": token})
    assert problem(response, 503, "not-here-yet")["missing"] == {"user/homer": {EAST: 1}}
    assert response.headers["Retry-After"] == "1"


def test_the_past_and_the_history(east: TestClient) -> None:
    tokens = [append(east, event("email_set", value=f"{n}@x")).json() for n in range(3)]
    for n, each in enumerate(tokens):
        for moment in (f"token={each['token']}", f"sequence={n + 1}&region={EAST}"):
            assert east.get(f"/streams/user/homer/value?{moment}").json()["value"]["email"] == f"{n}@x"
    at = tokens[2]["events"][0]["at"]
    assert east.get("/streams/user/homer/value", params={"time": at}).json()["value"]["email"] == "2@x"
    assert east.get("/streams/user/homer/value?time=2001-01-01T00:00:00Z").json()["value"]["email"] is None
    history = east.get("/streams/user/homer/history?limit=2").json()
    assert [each["value"]["email"] for each in history["history"]] == ["0@x", "1@x"]
    rest = east.get("/streams/user/homer/history", params={"after": history["token"]}).json()
    assert [each["value"]["email"] for each in rest["history"]] == ["2@x"]


def test_the_feed_and_the_audit_trail_go_on_from_their_tokens(east: TestClient) -> None:
    who = {"metadata": {"who": "marge", "correlation": "r1"}}
    append(east, *[{**event("logged_in"), **who} for _ in range(5)])
    first = east.get("/streams/user/homer/events?limit=3").json()
    assert ([e["sequence"] for e in first["events"]], first["more"]) == ([1, 2, 3], True)
    second = east.get("/streams/user/homer/events", params={"after": first["token"]}).json()
    assert ([e["sequence"] for e in second["events"]], second["more"]) == ([4, 5], False)
    audit = east.get("/streams/user/homer/audit", params={"after": first["token"], "limit": 1}).json()
    assert [(e["who"], e["correlation"], e["type"]) for e in audit["entries"]] == [("marge", "r1", "logged_in")]
    assert len(east.get("/streams/user/homer/audit", params={"after": audit["token"]}).json()["entries"]) == 1


def test_a_transaction_writes_all_or_nothing(east: TestClient) -> None:
    def transact(*operations: dict[str, Any]) -> Any:
        return east.post("/transactions", json={"operations": list(operations)})

    user = {"stream": "user/homer", "events": [event("joined", group="bowling")], "if_empty": True}
    group = {"stream": "group/bowling", "events": [event("member_added")], "if_empty": True}
    done = transact(user, group)
    assert done.status_code == 201
    token = done.json()["token"]
    problem(transact(user, {"stream": "group/mafia", "events": [event("member_added")]}), 412, "precondition-failed")
    assert east.get("/streams/group/mafia/value?projection=activity").json()["vector"] == {}
    both = [{"stream": s["stream"], "events": s["events"], "if_match": token} for s in (user, group)]
    assert transact(*both).status_code == 201


def test_which_projection_is_asked_for(east: TestClient) -> None:
    append(east, event("named", value="Bowling"), event("member_added"), stream="group/bowling")
    assert east.get("/streams/group/bowling/value?projection=names").json()["value"] == {"title": "Bowling"}
    assert east.get("/streams/group/bowling/value?projection=activity").json()["value"] == {"members": 1}
    assert "activity, names" in problem(east.get("/streams/group/bowling/value"), 404, "not-found")["detail"]
    problem(east.get("/streams/group/bowling/value?projection=account"), 404, "not-found")
    problem(east.get("/streams/car/x/value"), 404, "not-found")
    problem(east.get("/nowhere"), 404, "not-found")
    problem(east.delete("/streams/user/homer/events"), 405, "method-not-allowed")


@pytest.mark.parametrize(
    ("path", "status", "kind"),
    [
        ("/streams/user/a%23b/value", 400, "invalid-name"),
        ("/streams/us%00er/a/events", 400, "invalid-name"),
        ("/streams/user/%FF%FE/value?token=x", 400, "invalid-token"),
        (f"/streams/user/{'x' * 1025}/value", 400, "invalid-name"),
        ("/streams/user/a/value?time=yesterday", 400, "bad-request"),
        ("/streams/user/a/value?time=2026-01-01T00:00:00", 400, "invalid-operation"),
        ("/streams/user/a/value?token=x&time=2026-01-01T00:00:00Z", 400, "bad-request"),
        ("/streams/user/a/value?sequence=1", 400, "bad-request"),
        ("/streams/user/a/value?sequence=1&region=Us-East-1", 400, "invalid-name"),
        ("/streams/user/a/value?sequence=7&region=us-east-1", 400, "invalid-operation"),
        ("/streams/user/a/events?limit=0", 400, "bad-request"),
        ("/streams/user/a/events?limit=%D9%A1", 400, "bad-request"),
        ("/streams/user/a/events?after=", 400, "invalid-operation"),
        ("/streams/user/a/audit?after=nonsense", 400, "invalid-token"),
    ],
)
def test_reads_that_cannot_be_are_refused(request: pytest.FixtureRequest, path: str, status: int, kind: str) -> None:
    problem(clients(request, "memory")[EAST].get(path), status, kind)


@pytest.mark.parametrize(
    ("body", "headers", "status", "kind"),
    [
        (b"{", {}, 400, "bad-request"),
        (b"[]", {}, 400, "bad-request"),
        (b'{"events": [{"type": "x", "payload": {"n": NaN}}]}', {}, 400, "bad-request"),
        (b"\xff\xfe", {}, 400, "bad-request"),
        (b"[" * 100_000, {}, 400, "bad-request"),
        (b"{}", {}, 422, "invalid-event"),
        (b'{"events": []}', {}, 422, "invalid-event"),
        (b'{"events": [{"type": "x"}]}', {}, 422, "invalid-event"),
        (b'{"events": [{"type": "x", "payload": {}, "paylod": {}}]}', {}, 422, "invalid-event"),
        (b'{"events": [{"type": "x", "payload": {}, "version": 0}]}', {}, 422, "invalid-event"),
        (b'{"events": [{"type": "x", "payload": {}, "version": true}]}', {}, 422, "invalid-event"),
        (b'{"events": [{"type": "x", "payload": {}, "metadata": {"who": 1}}]}', {}, 422, "invalid-event"),
        (b'{"events": [{"type": "x#y", "payload": {}}]}', {}, 400, "invalid-name"),
        (b'{"events": [{"type": "x", "payload": {"n": 9007199254740992}}]}', {}, 422, "invalid-event"),
        (b'{"events": [{"type": "x", "payload": {"t": "\\ud800"}}]}', {}, 422, "invalid-event"),
        (b'{"events": [{"type": "x", "payload": ' + b'{"a":' * 40 + b"1" + b"}" * 41 + b"]}", {}, 422, "invalid-event"),
        (b'{"events": [{"type": "email_set", "payload": {}}]}', {}, 422, "invalid-event"),
        (b'{"events": [{"type": "x", "payload": {"email": {"$personal": {}}}}]}', {}, 422, "invalid-event"),
        (b'{"events": [{"type": "meridian.forgotten", "payload": {"subject": "user/bart"}}]}', {}, 422, "invalid-event"),
        (b'{"events": [{"type": "x", "payload": {"t": "' + b"x" * 420_000 + b'"}}]}', {}, 422, "invalid-event"),
        (b'{"events": ["' + b"x" * 6_000_000 + b'"]}', {}, 413, "too-large"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
        (b'{"events": [{"type": "x", "payload": {}}]}', {"If-Match": "*"}, 400, "bad-request"),
        (b'{"events": [{"type": "x", "payload": {}}]}', {"If-Match": '"forged"'}, 400, "invalid-token"),
        (b'{"events": [{"type": "x", "payload": {}}]}', {"If-None-Match": '"x"'}, 400, "bad-request"),
        (b'{"events": [{"type": "x", "payload": {}}]}', {"Meridian-At-Least": "x"}, 400, "invalid-token"),
    ],
)
def test_writes_that_cannot_be_are_refused_and_write_nothing(
    request: pytest.FixtureRequest, body: bytes, headers: dict[str, str], status: int, kind: str
) -> None:
    client = clients(request, "memory")[EAST]
    given = {"Content-Type": "application/json", **headers}
    problem(client.post("/streams/user/homer/events", content=body, headers=given), status, kind)
    assert client.get("/streams/user/homer/events").json()["events"] == []


@pytest.mark.parametrize(
    "operations",
    [
        None, [], {}, [1], [{"stream": "user/a"}], [{"stream": 1, "events": []}],
        [{"stream": "user/a", "events": [], "x": 1}],
        [{"stream": "user/a", "events": [{"type": "x", "payload": {}}], "if_match": "t", "if_empty": True}],
    ],
)  # fmt: skip
def test_transactions_that_cannot_be_are_refused(request: pytest.FixtureRequest, operations: Any) -> None:
    response = clients(request, "memory")[EAST].post("/transactions", json={"operations": operations})
    problem(response, 422, "invalid-event")


def test_what_a_handler_says_about_a_payload_is_not_shown(request: pytest.FixtureRequest) -> None:
    secret = "correct horse battery staple"
    body = problem(append(clients(request, "memory")[EAST], event("joined", group=[secret])), 422, "invalid-event")
    assert secret not in str(body)
    assert "joined" in body["detail"]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (RegionUnavailable("us-east-1 is down"), 503, "region-unavailable"),
        (OutcomeUnknown("no answer", []), 504, "outcome-unknown"),
    ],
)
def test_a_region_in_trouble_is_said_so(error: Exception, status: int, kind: str) -> None:
    class Troubled(MemoryStorage):
        def insert(self, events: Any, guards: Any = ()) -> bool:
            raise error

    client = TestClient(application(Service(EventStore(Troubled(), EAST, [EAST, WEST]), PROJECTIONS)))
    problem(append(client, event("logged_in")), status, kind)
    assert client.get("/health").json() == {"status": "alive", "region": EAST}


def test_contention_is_409_and_worth_a_retry() -> None:
    class Contended(MemoryStorage):
        def insert(self, events: Any, guards: Any = ()) -> bool:
            raise LaneTaken(events)

    client = TestClient(application(Service(EventStore(Contended(), EAST, [EAST], attempts=2), PROJECTIONS)))
    response = append(client, event("logged_in"))
    problem(response, 409, "contention")
    assert response.headers["Retry-After"] == "1"


@pytest.mark.emulator
def test_ready_says_whether_the_tables_can_be_reached(emptied_settings: Settings) -> None:
    for settings, status in ((emptied_settings, 200), (replace(emptied_settings, prefix="missing"), 503)):
        client = TestClient(application(Service.connect(settings, PROJECTIONS)))
        response = client.get("/ready")
        assert response.status_code == status
        if status == 503:
            assert "missing-events does not exist" in problem(response, 503, "not-ready")["detail"]


def test_a_lambda_function_url_reaches_the_same_application(monkeypatch: pytest.MonkeyPatch) -> None:
    store = EventStore(MemoryStorage(), EAST, [EAST])
    monkeypatch.setattr(function, "_asgi", lambda: Mangum(application(Service(store, PROJECTIONS)), lifespan="off"))
    request = {
        "version": "2.0", "rawPath": "/streams/user/homer/events", "rawQueryString": "", "isBase64Encoded": False,
        "headers": {"content-type": "application/json", "host": "x.lambda-url.us-east-1.on.aws"},
        "requestContext": {
            "http": {"method": "POST", "path": "/streams/user/homer/events", "sourceIp": "::1", "protocol": "HTTP/1.1"},
        },
        "body": '{"events": [{"type": "logged_in", "payload": {}}]}',
    }  # fmt: skip
    answer = function.handler(request, None)
    assert answer["statusCode"] == 201
    assert answer["headers"]["etag"].startswith('"')
    assert store.state("user/homer").vector == VersionVector({EAST: 1})


def test_the_document_names_what_is_served(request: pytest.FixtureRequest) -> None:
    document = clients(request, "memory")[EAST].get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    (served,) = [
        p for p in document["paths"]["/streams/{type}/{id}/value"]["get"]["parameters"] if p["name"] == "projection"
    ]
    assert "account (of user), activity (of group), names (of group)" in served["description"]
