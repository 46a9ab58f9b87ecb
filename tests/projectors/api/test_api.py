"""The HTTP API: streams as resources, tokens as ETags, every error a problem that says what to do."""

from __future__ import annotations

import json
import threading
from base64 import urlsafe_b64encode
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, ClassVar

import pytest
from mangum import Mangum
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from projectors import MemorySink, Projection, add, api_handler, collection, counter, register
from projectors.api import Service, application, requests, service
from projectors.connect import connect_service, require_tables
from projectors.sinks.dynamodb import DynamoSink
from projectors.versions.versions import Versions
from replicator import (
    ConsistencyToken,
    DamagedEvent,
    EventStore,
    InvalidConfig,
    MemoryStorage,
    MeridianError,
    NewEvent,
    OutcomeUnknown,
    RegionUnavailable,
    StreamId,
    VersionVector,
)
from replicator.connect import connect_store
from replicator.control.memory_control import MemoryControl
from replicator.domain.clock import Hlc
from replicator.erasure import LocalWrapping, MemoryKeys, PersonalData, forget
from replicator.eventstore.appender import AppendPolicy
from replicator.eventstore.history import moment_of
from replicator.eventstore.store_errors import LaneTaken, RegionBehind
from replicator.fencing import RegionFenced, Role
from replicator.runtime.settings import Settings
from tests.regions import BACKENDS, EAST, WEST, stores_in_memory


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
        services = {r: Service(s, PROJECTIONS, MemorySink(), timeout=0.2) for r, s in stores_in_memory().items()}
    else:
        settings: Settings = request.getfixturevalue("emptied_settings")
        services = {
            r: Service(
                connect_store(settings.at(r)),
                PROJECTIONS,
                DynamoSink(settings.at(r)),
                check=partial(require_tables, settings.at(r)),
            )
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


@pytest.mark.emulator
def test_a_write_waits_for_the_copies_that_its_client_prefers(request: pytest.FixtureRequest) -> None:
    east = clients(request, "emulator")[EAST]
    written = append(east, event("logged_in"), Prefer='handling=lenient, Copies="2"; x=1, wait=20')
    assert (written.status_code, written.json()["regions"]) == (201, [EAST, WEST])
    assert written.headers["Preference-Applied"] == "copies=2"
    body = {"operations": [{"stream": "user/lisa", "events": [event("logged_in")]}]}
    assert east.post("/transactions", json=body, headers={"Prefer": "copies=2"}).json()["regions"] == [EAST, WEST]
    where = east.get("/where", params={"token": written.json()["token"]})
    assert (where.json(), where.headers["Cache-Control"]) == (
        {"held": [EAST, WEST], "missing": {}, "unknown": {}},
        "no-store",
    )

    plain = append(east, event("logged_in"))
    assert plain.json()["regions"] == [EAST]
    assert "Preference-Applied" not in plain.headers
    where = east.get("/where", params={"token": plain.json()["token"]})
    assert where.json() == {"held": [EAST], "missing": {WEST: {"us-east-1#user#homer": 2}}, "unknown": {}}


@pytest.mark.parametrize("given", ["copies=two", "copies=0", "copies=9", "copies", "copies=2, wait=0", "wait=21", "wait=x"])
def test_a_preference_that_cannot_be_is_refused(given: str) -> None:
    east = TestClient(
        application(Service(stores_in_memory()[EAST], PROJECTIONS, MemorySink())), raise_server_exceptions=False
    )
    refused = append(east, event("logged_in"), Prefer=given)
    assert "give a whole number from 1 to" in problem(refused, 400, refused.json()["type"].rpartition(":")[2])["detail"]
    assert east.get("/streams/user/homer/events").json()["events"] == []


@pytest.mark.parametrize(("query", "kind"), [("", "bad-request"), ("?token=", None), ("?token=x", "invalid-token")])
def test_where_needs_a_token(east: TestClient, query: str, kind: str | None) -> None:
    refused = east.get(f"/where{query}")
    problem(refused, 400, kind or refused.json()["type"].rpartition(":")[2])


def test_what_is_appended_is_read_with_the_same_token(east: TestClient) -> None:
    written = append(east, event("email_set", value="h@x"), event("logged_in"))
    assert written.status_code == 201
    assert [e["id"] for e in written.json()["events"]] == [f"us-east-1#user#homer#{n:016d}" for n in (1, 2)]
    read = east.get("/streams/user/homer/value")
    assert read.json()["value"] == {"email": "h@x", "groups": [], "logins": 1}
    assert read.json()["vector"] == {EAST: 2}
    assert written.headers["ETag"] == f'"{read.json()["token"]}"'
    token, version, digest = read.headers["ETag"].strip('"').split(".")
    # Behind the token are the projection's version and a digest of the body.
    expected = urlsafe_b64encode(sha256(read.content).digest()).decode()[:16]
    assert (token, version, digest) == (read.json()["token"], "1", expected)
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
        ("/streams/user/%FF%FE/value?token=x", 400, "invalid-name"),
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
        (RegionFenced("us-east-1", Role(3, "fenced", why="failover")), 503, "region-fenced"),
        (OutcomeUnknown("no answer", []), 504, "outcome-unknown"),
        (InvalidConfig("us-east-1 refused"), 500, "misconfigured"),
        (DamagedEvent("us-east-1"), 500, "damaged"),
        (MeridianError("us-east-1"), 500, "failed"),
        (RegionBehind("it was restored from a backup"), 503, "region-behind"),
    ],
)
def test_a_region_in_trouble_is_said_so(error: Exception, status: int, kind: str) -> None:
    class Troubled(MemoryStorage):
        def insert(self, events: Any, guards: Any = ()) -> bool:
            raise error

    client = TestClient(application(Service(EventStore(Troubled(), EAST, [EAST, WEST]), PROJECTIONS)))
    with capture_logs() as logs:
        response = append(client, event("logged_in"))
    assert EAST not in problem(response, status, kind)["detail"]  # its text may name endpoints, accounts, content
    assert [entry["error"] for entry in logs if entry["event"] == "api.failed"] == [str(error)]
    assert ("Retry-After" in response.headers) == (kind in ("region-unavailable", "outcome-unknown"))
    assert client.get("/health").json() == {"status": "alive", "region": EAST}


def test_contention_is_409_and_worth_a_retry() -> None:
    class Contended(MemoryStorage):
        def insert(self, events: Any, guards: Any = ()) -> bool:
            raise LaneTaken(events)

    client = TestClient(
        application(Service(EventStore(Contended(), EAST, [EAST], appends=AppendPolicy(attempts=2)), PROJECTIONS))
    )
    response = append(client, event("logged_in"))
    problem(response, 409, "contention")
    assert response.headers["Retry-After"] == "1"


@pytest.mark.emulator
def test_ready_says_whether_the_tables_can_be_reached(emptied_settings: Settings) -> None:
    for settings, status in ((emptied_settings, 200), (replace(emptied_settings, prefix="missing"), 503)):
        client = TestClient(application(connect_service(settings, PROJECTIONS)))
        response = client.get("/ready")
        assert response.status_code == status
        if status == 503:
            assert "missing" not in str(problem(response, 503, "not-ready"))


def test_a_lambda_function_url_reaches_the_same_application(monkeypatch: pytest.MonkeyPatch) -> None:
    store = EventStore(MemoryStorage(), EAST, [EAST])
    monkeypatch.setattr(api_handler, "_asgi", lambda: Mangum(application(Service(store, PROJECTIONS)), lifespan="off"))
    request = {
        "version": "2.0", "rawPath": "/streams/user/homer/events", "rawQueryString": "", "isBase64Encoded": False,
        "headers": {"content-type": "application/json", "host": "x.lambda-url.us-east-1.on.aws"},
        "requestContext": {
            "http": {"method": "POST", "path": "/streams/user/homer/events", "sourceIp": "::1", "protocol": "HTTP/1.1"},
        },
        "body": '{"events": [{"type": "logged_in", "payload": {}}]}',
    }  # fmt: skip
    answer = api_handler.handler(request, None)
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


# -- tokens and ETags --------------------------------------------------------------------------------------------------


class Account2(Projection):
    """The same view by later code."""

    name, stream_type = "account", "user"
    version: ClassVar[int] = 2
    logins = counter(logged_in=lambda p: 100)


def alone(*projections: type[Projection], store: EventStore | None = None, **options: Any) -> TestClient:
    """One region's API."""
    store = store or EventStore(MemoryStorage(), EAST, [EAST, WEST])
    return TestClient(application(Service(store, projections or PROJECTIONS, **options)), raise_server_exceptions=False)


VALUE, EVENTS = "/streams/user/homer/value", "/streams/user/homer/events"


def test_a_transaction_whose_token_would_be_too_long_is_refused_before_it_is_written() -> None:
    storage = MemoryStorage()
    client = alone(store=EventStore(storage, EAST, [EAST, WEST]))
    streams = [f"user/{'x' * 900}{n}" for n in range(10)]
    given = {"operations": [{"stream": stream, "events": [event("logged_in")]} for stream in streams]}
    assert "fewer streams" in problem(client.post("/transactions", json=given), 400, "invalid-operation")["detail"]
    assert list(storage.lanes()) == []


@pytest.mark.parametrize(
    "read",
    [
        "value", "value?time=2200-01-01T00:00:00Z", f"value?sequence=1&region={EAST}", "value?token={token}", "events",
        "history", "audit",
    ],
)  # fmt: skip
def test_every_read_has_at_least_what_the_header_names(request: pytest.FixtureRequest, read: str) -> None:
    regions = clients(request, "memory")
    token = append(regions[EAST], event("email_set", value="h@x")).json()["token"]
    path = f"/streams/user/homer/{read.format(token=token)}"
    response = regions[WEST].get(path, headers={"Meridian-At-Least": token})
    body = response.json()
    if "value" in body:
        assert body["value"]["email"] == "h@x"
    else:
        assert [len(listed) for listed in body.values() if isinstance(listed, list)] == [1]
    assert (response.headers["Vary"], response.headers["Cache-Control"]) == ("Meridian-At-Least", "no-cache")
    lacking = EventStore(MemoryStorage(), WEST, [EAST, WEST]).tokens.encode(
        ConsistencyToken({StreamId("user", "homer"): VersionVector({EAST: 9})})
    )
    problem(regions[WEST].get(path, headers={"Meridian-At-Least": lacking}), 503, "not-here-yet")
    twice = regions[WEST].get(path, headers=[("Meridian-At-Least", token), ("Meridian-At-Least", lacking)])
    problem(twice, 400, "bad-request")


def test_a_value_s_etag_is_another_where_other_code_makes_the_value() -> None:
    store = EventStore(MemoryStorage(), EAST, [EAST, WEST])
    before, after = alone(Account, store=store), alone(Account2, store=store)
    append(before, event("logged_in"))
    etag = before.get(VALUE).headers["ETag"]
    assert before.get(VALUE, headers={"If-None-Match": etag}).status_code == 304
    read = after.get(VALUE, headers={"If-None-Match": etag})
    assert (read.status_code, read.json()["value"]) == (200, {"logins": 100})
    assert append(after, event("logged_in"), If_Match=read.headers["ETag"]).status_code == 201
    problem(append(after, event("logged_in"), If_Match=etag), 412, "precondition-failed")


@pytest.mark.parametrize("moment", ["token", "sequence", "time"])
def test_a_tag_of_the_past_is_another_one_once_somebody_in_it_is_forgotten(tmp_path: Path, moment: str) -> None:
    keys = {EAST: MemoryKeys()}
    personal = PersonalData(EAST, keys, LocalWrapping(tmp_path / "key"))
    store, sink = EventStore(MemoryStorage(), EAST, [EAST]), MemorySink()
    client = alone(Account, store=store, sink=sink, reveal=personal.reveal)
    payload = personal.protect("user/homer", {"value": "742 Evergreen Terrace"}, ["value"])
    (written,) = store.append("user/homer", NewEvent("email_set", payload))
    token = client.get(VALUE).json()["token"]
    query = {
        "token": {"token": token},
        "sequence": {"sequence": 1, "region": EAST},
        "time": {"time": moment_of(written.hlc).isoformat()},
    }[moment]
    before = client.get(VALUE, params=query)
    assert before.json()["value"]["email"] == "742 Evergreen Terrace"
    assert client.get(VALUE, params=query, headers={"If-None-Match": before.headers["ETag"]}).status_code == 304
    forget(store, keys, "user/homer")
    personal.destroy("user/homer")
    after = client.get(VALUE, params=query, headers={"If-None-Match": before.headers["ETag"]})
    assert (after.status_code, after.json()["value"]["email"]) == (200, None)
    assert after.headers["ETag"] != before.headers["ETag"]
    assert after.json()["token"] == token


@pytest.mark.parametrize("page", ["events", "history", "audit"])
def test_a_page_is_never_304_for_there_may_be_more_under_its_token(page: str) -> None:
    client = alone()
    path = f"/streams/user/homer/{page}?limit=1"
    append(client, event("logged_in"))
    first = client.get(path)
    append(client, event("logged_in"))
    again = client.get(path, headers={"If-None-Match": f'"{first.json()["token"]}"'})
    assert "ETag" not in first.headers
    assert first.json()["token"] == again.json()["token"]
    assert (first.json()["more"], again.json()["more"]) == (False, True)


def test_conditions_count_together_over_all_their_lines() -> None:
    client = alone()
    assert client.get(VALUE, headers={"If-None-Match": "*"}).status_code == 200  # there is nothing yet
    old = append(client, event("logged_in")).headers["ETag"]
    append(client, event("logged_in"))
    etag = client.get(VALUE).headers["ETag"]
    assert client.get(VALUE, headers={"If-None-Match": "*"}).status_code == 304
    assert client.get(VALUE, headers=[("If-None-Match", '"x"'), ("If-None-Match", f"W/{etag}")]).status_code == 304
    assert client.get(VALUE, headers={"If-None-Match": '"x", "y"'}).status_code == 200
    body = {"events": [event("logged_in")]}
    for tags in ([etag, old], [old, etag], [f"{etag}, {old}"], ["*", etag]):
        problem(client.post(EVENTS, json=body, headers=[("If-Match", tag) for tag in tags]), 400, "bad-request")
    problem(client.post(EVENTS, json=body, headers=[("If-None-Match", "*"), ("If-None-Match", '"x"')]), 400, "bad-request")
    assert client.post(EVENTS, json=body, headers=[("If-Match", etag), ("If-Match", etag)]).status_code == 201


def test_allow_names_every_method_and_no_path_redirects() -> None:
    client = alone()
    refused = client.delete(EVENTS)
    problem(refused, 405, "method-not-allowed")
    assert set(refused.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}
    problem(client.get("/health/", follow_redirects=False), 404, "not-found")


# -- bounds ------------------------------------------------------------------------------------------------------------


def test_a_page_of_events_stays_within_its_bytes() -> None:
    client = alone()
    for n in range(16):
        append(client, event("note", text=str(n) + "x" * 350_000))
    first = client.get(f"{EVENTS}?limit=1000").json()
    assert (len(first["events"]), first["more"]) == (14, True)
    rest = client.get(EVENTS, params={"after": first["token"]}).json()
    assert (len(rest["events"]), rest["more"]) == (2, False)
    trail = client.get("/streams/user/homer/audit?limit=1000").json()  # which holds no payloads
    assert (len(trail["entries"]), trail["more"]) == (16, False)


def test_a_page_of_history_stays_within_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAX_PAGE_BYTES", 10_000)
    client = alone()
    append(client, *[event("email_set", value=str(n) + "x" * 2_000) for n in range(5)])
    seen, token, sizes = [], None, []
    while True:
        page = client.get("/streams/user/homer/history", params={"after": token} if token else {}).json()
        seen += [each["value"]["email"][0] for each in page["history"]]
        sizes.append(len(page["history"]))
        token = page["token"]
        if not page["more"]:
            break
    assert (seen, sizes) == (["0", "1", "2", "3", "4"], [2, 2, 1])
    monkeypatch.setattr(service, "MAX_PAGE_BYTES", 10)
    assert len(client.get("/streams/user/homer/history").json()["history"]) == 1


def test_a_body_is_parsed_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, real = [], json.loads

    def loads(*args: Any, **options: Any) -> Any:
        threads.append(threading.current_thread().name)
        return real(*args, **options)

    monkeypatch.setattr(requests.json, "loads", loads)
    assert append(alone(), event("logged_in")).status_code == 201
    assert {name.startswith("AnyIO worker") for name in threads} == {True}


# -- what stays for good -----------------------------------------------------------------------------------------------


class Sums(Projection):
    name, stream_type = "sums", "user"
    total = counter(added=lambda p: p["n"])
    last = register(noted=lambda p: p["value"])


def test_what_would_break_a_counter_s_sum_is_refused_whether_in_one_request_or_in_two() -> None:
    client = alone(Sums)
    problem(append(client, event("added", n=2**53 - 1), event("added", n=1)), 422, "invalid-event")
    assert append(client, event("added", n=2**53 - 1)).status_code == 201
    problem(append(client, event("added", n=1)), 422, "invalid-event")
    assert append(client, event("added", n=-1)).status_code == 201
    assert client.get(VALUE).json()["value"]["total"] == 2**53 - 2


@pytest.mark.parametrize("value", ["x" * 250_000, json.loads('{"a":' * 30 + "1" + "}" * 30)], ids=["large", "deep"])
def test_what_no_view_can_hold_is_refused(value: Any) -> None:
    client = alone(Sums)
    problem(append(client, event("noted", value=value)), 422, "invalid-event")
    assert client.get(VALUE).json()["vector"] == {}


def test_a_stream_that_cannot_be_digested_answers_500_quotes_no_payload_and_still_takes_writes() -> None:
    secret = "correct horse battery staple"
    store = EventStore(MemoryStorage(), EAST, [EAST])
    store.append("user/homer", NewEvent("added", {"n": secret}))
    client = alone(Sums, store=store)
    with capture_logs() as logs:
        response = client.get(VALUE)
    assert "us-east-1#user#homer#0000000000000001" in problem(response, 500, "cannot-be-projected")["detail"]
    assert secret not in response.text + str(logs)
    assert append(client, event("added", n=1)).status_code == 201


def test_a_sum_over_regions_that_cannot_be_written_down_is_said_so() -> None:
    stores = stores_in_memory()
    east, west = (alone(Sums, store=stores[region]) for region in (EAST, WEST))
    token = append(east, event("added", n=2**53 - 1)).json()["token"]
    assert append(west, event("added", n=2**53 - 1)).status_code == 201
    problem(west.get(VALUE, headers={"Meridian-At-Least": token}), 500, "cannot-be-projected")


def test_a_probe_is_not_told_where_the_region_is() -> None:
    secret = "us-east-1 at http://10.0.0.5:8000 refused: arn:aws:sts::123456789012:assumed-role/x is not authorized"

    def refuse() -> None:
        raise InvalidConfig(secret)

    with capture_logs() as logs:
        response = alone(check=refuse).get("/ready")
    assert not any(word in response.text for word in ("10.0.0.5", "arn:", "123456789012"))
    assert problem(response, 503, "not-ready")
    assert response.headers["Retry-After"] == "1"
    assert [entry["error"] for entry in logs] == [secret]


def test_a_clock_ahead_is_worth_a_retry() -> None:
    store = EventStore(MemoryStorage(), EAST, [EAST])
    token = store.tokens.encode(ConsistencyToken({}, Hlc(9 * 10**12, 0)))
    response = append(alone(store=store), event("logged_in"), Meridian_At_Least=token)
    problem(response, 409, "clock-ahead")
    assert response.headers["Retry-After"] == "1"


class Rooms(Projection):
    name, stream_type = "rooms", "user"
    rows: ClassVar[Any] = {"moved": lambda p: p["room"]}
    moves = counter(moved=lambda p: p.get("times", 1))


@pytest.mark.parametrize("payload", [{}, {"room": "a#b"}, {"room": "hall", "times": "many"}])
def test_what_no_row_could_count_is_refused_before_it_is_written(payload: dict[str, Any]) -> None:
    client = alone(Rooms, Sums)
    problem(append(client, event("moved", **payload)), 422, "invalid-event")
    assert client.get(EVENTS).json()["events"] == []
    assert append(client, event("moved", room="hall")).status_code == 201
    assert client.get("/streams/user/homer/value").json()["projection"] == "sums", "rows are no streams' values"


def test_values_are_those_of_the_version_that_readers_were_switched_to() -> None:
    control = MemoryControl()
    versions = Versions(control)
    client = alone(Account, Account2, versions=versions)
    client.post("/streams/user/homer/events", json={"events": [{"type": "logged_in", "payload": {}}]})
    first = client.get("/streams/user/homer/value")
    versions.switch("account", 2, force=True)
    second = client.get("/streams/user/homer/value")
    assert [answer.json()["value"]["logins"] for answer in (first, second)] == [1, 100]
    assert [answer.headers["ETag"].strip('"').split(".")[1] for answer in (first, second)] == ["1", "2"]


class Wider(Projection):
    """What readers do not see yet reads groups too."""

    name, stream_type, version = "account", ("user", "group"), 2
    logins = counter(logged_in=lambda p: 100)


def test_a_stream_that_only_another_version_reads_has_no_value_yet() -> None:
    versions = Versions(MemoryControl())
    client = alone(Account, Wider, versions=versions)
    answer = client.get("/streams/group/bowling/value")
    assert (answer.status_code, "version 1 of account" in answer.json()["detail"]) == (404, True)
    versions.switch("account", 2, force=True)
    assert client.get("/streams/group/bowling/value").json()["value"] == {"logins": 0}


@pytest.mark.parametrize("name", ["%FF", "a%ED%A0%80", "%C3%28"])
def test_a_path_that_is_no_utf_8_names_no_stream(east: TestClient, name: str) -> None:
    for answer in (append(east, event("logged_in"), stream=f"user/{name}"), east.get(f"/streams/user/{name}/value")):
        assert "not UTF-8" in problem(answer, 400, "invalid-name")["detail"]


def test_a_member_that_is_given_twice_is_refused(east: TestClient) -> None:
    body = b'{"events":[{"type":"logged_in","payload":{"n":1,"n":2}}]}'
    headers = {"Content-Type": "application/json"}
    answer = east.post("/streams/user/homer/events", content=body, headers=headers)
    assert "'n' is given twice" in problem(answer, 400, "bad-request")["detail"]


def test_a_detail_quotes_what_was_sent_in_part(east: TestClient) -> None:
    for path, kind in ((f"events?limit={'9' * 9_000}", "bad-request"), (f"value?time={'x' * 9_000}", "bad-request")):
        assert len(problem(east.get(f"/streams/user/homer/{path}"), 400, kind)["detail"]) < 400
    answer = append(east, event("logged_in"), If_None_Match=",".join(f'"{n}"' for n in range(2_000)))
    assert len(problem(answer, 400, "bad-request")["detail"]) == 1_501
