"""The HTTP API driven against a plain model by hypothesis: conditional headers, parameters, tokens of the past, erasures.

The model knows lists of facts. Of tags it knows one thing: whoever was given a tag with some bytes is told "you have it
already" only while those are the bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test
from starlette.testclient import TestClient

from projectors import Engine, MemorySink, Projection, counter, register
from projectors.api import Service, application, requests, routes
from replicator import EventStore, HybridLogicalClock, MemoryStorage, NewEvent
from replicator.erasure import LocalWrapping, MemoryKeys, PersonalData, forget

EAST = "us-east-1"
NAMES = ("homer", "a/b", "100%", "é")
START = 2_145_916_800_000  # 2038-01-01: a float of seconds is a millisecond off now and then
names, kinds = st.sampled_from(NAMES), st.sampled_from(["noted", "logged_in"])
PARAMETERS = ("projection", "token", "time", "sequence", "region", "after", "limit")
CONDITIONS = ("If-Match", "If-None-Match", "If-Unmodified-Since")
PAGE = ("after", "limit")
READS = {"value": PARAMETERS[:5], "events": PAGE, "history": ("projection", *PAGE), "audit": PAGE}


class Account(Projection):
    name, stream_type = "account", "user"
    email = register(registered=lambda p: p["email"])
    note = register(noted=lambda p: p["text"])
    logins = counter(logged_in=lambda p: 1)


@dataclass
class Fact:
    kind: str
    what: Any
    ms: int


@dataclass
class Stream:
    """What the model knows of one: its facts, its tags after each, and whether its subject is forgotten."""

    facts: list[Fact] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    forgotten: bool = False

    def value(self, count: int | None = None) -> dict[str, Any]:
        value: dict[str, Any] = {"email": None, "note": None, "logins": 0}
        for fact in self.facts[:count]:
            if fact.kind == "logged_in":
                value["logins"] += 1
            elif fact.kind in ("noted", "registered"):
                value["note" if fact.kind == "noted" else "email"] = fact.what
        return {**value, "email": None} if self.forgotten else value


class ApiMachine(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.ms, self.number = START, 0
        keys = {EAST: MemoryKeys()}
        self.personal = PersonalData(EAST, keys, LocalWrapping(Path(self.folder.name) / "key"), lambda: 0.0)
        self.keys = keys
        self.storage, sink = MemoryStorage(), MemorySink()
        self.store = EventStore(self.storage, EAST, [EAST], HybridLogicalClock(lambda: self.ms))
        self.engine = Engine([Account], self.store, sink, self.personal)
        service = Service(self.store, [Account], sink, reveal=self.personal.reveal)
        self.client = TestClient(application(service), raise_server_exceptions=False)
        self.streams = {name: Stream() for name in NAMES}
        self.seen: dict[str, dict[str, bytes]] = {}
        """By address, the bytes that came with each tag."""
        self.asked: dict[str, tuple[str, int | None]] = {}
        """By address, of which stream it is a value, and after how many facts."""

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def url(self, name: str, what: str = "events") -> str:
        return f"/streams/user/{quote(name, safe='')}/{what}"

    def tick(self) -> int:
        self.ms += 1
        return self.ms

    def new(self, kind: str) -> dict[str, Any]:
        self.number += 1
        return {"type": kind, "payload": {"text": f"n{self.number}"} if kind == "noted" else {}}

    def written(self, name: str, kind: str, what: Any, tag: str) -> None:
        stream = self.streams[name]
        stream.facts.append(Fact(kind, what, self.ms))
        stream.tags.append(tag)

    # -- writing -------------------------------------------------------------------------------------------------------

    @rule(name=names, kind=kinds, condition=st.sampled_from(["none", "present", "past", "empty", "of the value"]))
    def append(self, name: str, kind: str, condition: str) -> None:
        stream, event = self.streams[name], self.new(kind)
        headers, good = {}, True
        if condition == "empty":
            headers, good = {"If-None-Match": "*"}, not stream.tags
        elif stream.tags and condition != "none":
            headers = {"If-Match": stream.tags[0] if condition == "past" else stream.tags[-1]}
            good = condition != "past" or len(stream.tags) == 1
            if condition == "of the value":
                headers = {"If-Match": self.client.get(self.url(name, "value")).headers["ETag"]}
        self.tick()
        response = self.client.post(self.url(name), json={"events": [event]}, headers=headers)
        assert response.status_code == (201 if good else 412), response.text
        if good:
            self.written(name, kind, event["payload"].get("text"), response.headers["ETag"])

    @rule(name=names, kind=kinds, header=st.sampled_from(CONDITIONS), past=st.booleans())
    def transact_under_a_header(self, name: str, kind: str, header: str, past: bool) -> None:
        tags = self.streams[name].tags or ['"x"']
        body = {"operations": [{"stream": f"user/{name}", "events": [self.new(kind)]}]}
        response = self.client.post("/transactions", json=body, headers={header: tags[0] if past else tags[-1]})
        assert response.status_code == 400, response.text

    @rule(name=names, kind=kinds, past=st.booleans())
    def transact(self, name: str, kind: str, past: bool) -> None:
        stream, event = self.streams[name], self.new(kind)
        operation: dict[str, Any] = {"stream": f"user/{name}", "events": [event]}
        if stream.tags:
            operation["if_match"] = stream.tags[0 if past else -1].strip('"')
        good = not past or len(stream.tags) < 2
        self.tick()
        response = self.client.post("/transactions", json={"operations": [operation]})
        assert response.status_code == (201 if good else 412), response.text
        if good:
            self.written(name, kind, event["payload"].get("text"), response.headers["ETag"])

    @rule(kind=kinds, name=st.sampled_from(["user%2Fhomer/x", "user%2fa/b", "user/homer%2Fevents"]))
    def write_to_an_encoded_separator(self, kind: str, name: str) -> None:
        path = f"/streams/{name}" if name.endswith("events") else f"/streams/{name}/events"
        response = self.client.post(path, json={"events": [self.new(kind)]})
        assert response.status_code == 400, response.text

    @rule(name=names)
    def register(self, name: str) -> None:
        """By the application: nobody sends personal data through this door."""
        if self.streams[name].forgotten:
            return
        self.number += 1
        self.tick()
        email = f"{self.number}@example.com"
        payload = self.personal.protect(f"user/{name}", {"email": email}, ["email"])
        self.store.append(f"user/{name}", NewEvent("registered", payload))
        self.written(name, "registered", email, self.tag(name))

    @rule(name=names)
    def forget(self, name: str) -> None:
        if self.streams[name].forgotten:
            return
        self.tick()
        forget(self.store, self.keys, f"user/{name}")
        self.personal.destroy(f"user/{name}")  # what this process still holds
        self.streams[name].forgotten = True
        self.written(name, "forgotten", None, self.tag(name))
        self.a_cache_asks_again(name)

    def tag(self, name: str) -> str:
        return f'"{self.store.tokens.encode(self.store.state(f"user/{name}").token())}"'

    @rule(name=names)
    def project(self, name: str) -> None:
        self.engine.apply(self.store.read(f"user/{name}"))

    # -- reading -------------------------------------------------------------------------------------------------------

    def read(self, url: str, name: str, count: int | None = None) -> None:
        """A value, plainly and under every tag that was ever given for this address."""
        self.asked[url] = name, count
        expected = self.streams[name].value(count)
        response = self.client.get(url)
        assert response.status_code == 200, response.text
        assert response.json()["value"] == expected
        etag, known = response.headers["ETag"], self.seen.setdefault(url, {})
        assert known.setdefault(etag, response.content) == response.content, "one tag, other bytes"
        for tag, content in known.items():
            again = self.client.get(url, headers={"If-None-Match": tag})
            assert again.status_code == (304 if content == response.content else 200)
            assert self.client.get(url, headers={"If-Match": tag}).status_code == (200 if tag == etag else 412)

    @rule(name=names)
    def value_now(self, name: str) -> None:
        self.engine.apply(self.store.read(f"user/{name}"))
        self.read(self.url(name, "value"), name)

    @rule(name=names)
    def a_cache_asks_again(self, name: str) -> None:
        self.engine.apply(self.store.read(f"user/{name}"))
        for url, (of, count) in list(self.asked.items()):
            if of == name:
                self.read(url, name, count)

    @rule(name=names, data=st.data(), by=st.sampled_from(["token", "time", "sequence"]))
    def value_then(self, name: str, data: st.DataObject, by: str) -> None:
        stream = self.streams[name]
        if not stream.facts:
            return
        self.engine.apply(self.store.read(f"user/{name}"))
        count = data.draw(st.integers(1, len(stream.facts)))
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=stream.facts[count - 1].ms)
        query = {
            "token": {"token": stream.tags[count - 1].strip('"')},
            "time": {"time": at.isoformat()},
            "sequence": {"sequence": count, "region": EAST},
        }[by]
        self.read(f"{self.url(name, 'value')}?{urlencode(query)}", name, count)

    @rule(name=names, limit=st.integers(1, 3), page=st.sampled_from(["events", "audit", "history"]))
    def pages(self, name: str, limit: int, page: str) -> None:
        query: dict[str, Any] = {"limit": limit}
        found: list[Any] = []
        while True:
            body = self.client.get(self.url(name, page), params=query).json()
            (entries,) = [value for value in body.values() if isinstance(value, list)]
            found += entries
            if not body["more"]:
                break
            query["after"] = body["token"]
        kinds = [(each.get("event") or each)["type"] for each in found]
        wanted = [fact.kind if fact.kind != "forgotten" else "meridian.forgotten" for fact in self.streams[name].facts]
        assert kinds == wanted

    @rule(name=names, page=st.sampled_from(sorted(READS)), data=st.data())
    def ask_for_something_else(self, name: str, page: str, data: st.DataObject) -> None:
        """A parameter that is misspelt, of another route, or there twice."""
        known = data.draw(st.sampled_from(PARAMETERS))
        if known in READS[page] and data.draw(st.booleans()):
            query = f"{known}=1&{known}=1"
        else:
            strange = data.draw(st.sampled_from([known[1:], known + "s", known.title(), known]))
            query = f"{strange}=1"
            if strange in READS[page]:
                return
        assert self.client.get(f"{self.url(name, page)}?{query}").status_code == 400

    @precondition(lambda self: hasattr(self, "streams"))
    @invariant()
    def nothing_else_was_written(self) -> None:
        held = {lane.stream.id: last for lane, last in self.storage.lanes()}
        assert held == {name: len(stream.facts) for name, stream in self.streams.items() if stream.facts}


BOUNDS = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck), database=None
)


def test_the_api_is_what_the_model_says() -> None:
    run_state_machine_as_test(ApiMachine, settings=BOUNDS)


def _decoded(scope: Any) -> str:
    return str(scope["path"])


class _Constant:
    def __init__(self, content: bytes) -> None:
        pass

    def digest(self) -> bytes:
        return bytes(32)


FAULTS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "conditions are ignored": lambda patch: patch.setattr(requests, "check_conditions", lambda *_: None),
    "parameters are ignored": lambda patch: patch.setattr(requests, "check_parameters", lambda *_: None),
    "a tag is the token's": lambda patch: patch.setattr(routes, "sha256", _Constant),
    "a path is decoded before it is split": lambda patch: patch.setattr(routes, "route_path", _decoded),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_machine_finds_a_fault_that_is_put_back(monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    FAULTS[fault](monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(
            ApiMachine, settings=settings(BOUNDS, max_examples=500, phases=[Phase.generate], derandomize=True)
        )
