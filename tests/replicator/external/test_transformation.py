"""Declared transformations: only what is declared goes out, and a wrong declaration is refused where it is written."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from replicator.domain.clock import Hlc
from replicator.domain.errors import InvalidConfig
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.protected import Protected
from replicator.domain.vector import EMPTY
from replicator.external import External, TransformationFailed, load_external, publish
from replicator.runtime.settings import read_settings

LANE = LaneId("us-east-1", StreamId("user", "homer"))


def event(payload: dict[str, Any], type: str = "moved", version: int = 1, stream: str = "user") -> Event:
    lane = LaneId("us-east-1", StreamId(stream, "homer"))
    return seal(lane, 1, Hlc(1_763_915_781_123, 0), NewEvent(type, Protected(payload), version), EMPTY, GENESIS)


def declared(**rule: Any) -> type[External]:
    return type("Declared", (External,), {"source": "/s", "moved": publish("user/moved", to="moved", **rule)})


def data(external: type[External], payload: dict[str, Any]) -> dict[str, Any]:
    made = external.transform(event(payload))
    assert made is not None
    return made.data


def test_fields_are_kept_renamed_and_enriched_and_all_others_stay_inside() -> None:
    external = declared(keep=["a"], rename={"b": "beta"}, enrich={"c": lambda e: f"{e.stream} in {e.region}"})
    assert data(external, {"a": 1, "b": [2], "secret": 3}) == {"a": 1, "beta": [2], "c": "user/homer in us-east-1"}


@pytest.mark.parametrize("other", [event({}, "renamed"), event({}, stream="order")])
def test_an_internal_type_that_is_not_declared_is_not_published(other: Event) -> None:
    assert declared().transform(other) is None


def test_a_rule_may_leave_events_out() -> None:
    external = declared(keep=["a"], when=lambda e: e.payload["a"] > 1)
    assert external.transform(event({"a": 1})) is None
    assert external.transform(event({"a": 2})) is not None


def test_personal_fields_never_go_out_wherever_they_are() -> None:
    sealed = {"$personal": "c2VhbGVk"}
    external = declared(
        keep=["a", "b", "c"],
        rename={"d": "delta"},
        enrich={"known": lambda e: "$personal" in e.payload["a"], "copied": lambda e: e.payload["a"]},
    )
    found = data(external, {"a": sealed, "b": {"x": sealed, "y": 1}, "c": [sealed, 2], "d": sealed})
    assert found == {"b": {"y": 1}, "c": [2], "known": True}


def test_whatever_bears_the_mark_of_a_personal_field_stays_inside() -> None:
    assert data(declared(keep=["a", "b"]), {"a": {"$personal": "x", "more": 1}, "b": 1}) == {"b": 1}


def test_a_field_that_is_missing_is_refused_unless_it_may_be() -> None:
    assert data(declared(keep=["a"], optional=["a"]), {}) == {}
    assert data(declared(rename={"a": "alpha"}, optional=["a"]), {}) == {}
    with pytest.raises(TransformationFailed, match="has no field 'a'"):
        declared(keep=["a"]).transform(event({}))


def test_a_schema_version_that_the_rule_does_not_know_is_refused() -> None:
    external = declared(versions=[1, 3])
    assert external.transform(event({}, version=3)) is not None
    with pytest.raises(TransformationFailed, match="version 2 is not among the declared 1, 3"):
        external.transform(event({}, version=2))


class Unshowable(Exception):
    def __str__(self) -> str:
        raise ValueError("secret")


def raising(error: BaseException) -> Callable[[Event], Any]:
    def function(_: Event) -> Any:
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda e: e.payload["secret"]["secret"], "field 'x': TypeError at test_transformation.py:"),
        (lambda e: 1 / 0, "field 'x': ZeroDivisionError at"),
        (raising(Unshowable()), "field 'x': Unshowable at"),
        (lambda e: [math.nan], "field 'x' holds a value that is not JSON: InvalidEvent at canonical.py:"),
        (lambda e: 2**53, "field 'x' holds a value that is not JSON"),
        (lambda e: {1, 2}, "field 'x' holds a value that is not JSON"),
        (lambda e: "\ud800", "field 'x' holds a value that is not JSON"),
    ],
)
def test_what_a_function_does_wrong_is_said_with_its_line_and_without_the_payload(
    function: Callable[[Event], Any], message: str
) -> None:
    with pytest.raises(TransformationFailed, match=message) as caught:
        declared(enrich={"x": function}).transform(event({"secret": "s3cret"}))
    assert "s3cret" not in str(caught.value)


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(TransformationFailed):
        declared(enrich={"x": lambda e: loop}).transform(event({}))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"internal": "moved"}, "names no stream type"),
        ({"internal": "user/"}, "event type is empty"),
        ({"internal": "us#er/moved"}, "delimiter"),
        ({"internal": 7}, "names no stream type"),
        ({"to": ""}, "external type is empty"),
        ({"version": 0}, "schema version 0"),
        ({"versions": [True]}, "schema version True"),
        ({"versions": []}, "accepts no internal"),
        ({"keep": "name"}, "keep is the text 'name'"),
        ({"keep": ["a", "a"]}, "'a' is declared twice"),
        ({"keep": ["a"], "rename": {"b": "a"}}, "'a' is declared twice"),
        ({"keep": ["a"], "enrich": {"a": lambda e: 1}}, "'a' is declared twice"),
        ({"rename": {"a": ""}}, "'' is not a field name"),
        ({"rename": {"": "a"}}, "'' is not a field of a payload"),
        ({"rename": {"a": "$personal"}}, "is not a field name"),
        ({"keep": [3]}, "3 is not a field name"),
        ({"optional": ["zip"]}, "optional 'zip' is neither kept nor renamed"),
        ({"enrich": {"a": 3}}, "give a function"),
        ({"when": True}, "give a function"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_remedy(rule: dict[str, Any], message: str) -> None:
    given = {"internal": "user/moved", "to": "moved", **rule}
    with pytest.raises(InvalidConfig, match=message):
        publish(given.pop("internal"), **given)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "source None"),
        ({"source": "no good"}, "source 'no good'"),
        ({"source": "/s"}, "declares no rule"),
        ({"source": "/s", "a": publish("u/a", to="x"), "b": publish("u/b", to="x")}, "two rules that make 'x'"),
        ({"source": "/s", "a": publish("u/a", to="x"), "b": publish("u/a", to="y")}, "two rules for 'u/a'"),
        ({"source": "/s", "a": publish("u/a", to="x"), "sourec": "/t"}, "sourec is '/t'"),
    ],
)
def test_a_wrong_transformation_is_refused_where_it_is_defined(body: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        type("Wrong", (External,), body)


def test_rules_are_inherited_and_may_be_replaced() -> None:
    class Base(External):
        source = "/s"
        a = publish("u/a", to="a")
        b = publish("u/b", to="b")

        @staticmethod
        def helper() -> int:
            return 1

    class More(Base):
        b = publish("u/b", to="b", version=2)
        c = publish("u/c", to="c")

    assert {name: rule.version for name, rule in More.rules.items()} == {("u", "a"): 1, ("u", "b"): 2, ("u", "c"): 1}


def test_a_transformation_is_loaded_by_name() -> None:
    settings = read_settings({"MERIDIAN_EXTERNAL": "externals:Accounts"}, region="us-east-1")
    assert load_external(settings.external).__name__ == "Accounts"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "set MERIDIAN_EXTERNAL"),
        ("externals", "not of the form"),
        (".x:Y", "not of the form"),
        ("externals:Nothing", "cannot be loaded"),
        ("no_such_module:X", "cannot be loaded"),
        ("externals:FakeKinesis", "not a subclass"),
        ("replicator.external:External", "not a subclass"),
    ],
)
def test_a_name_that_is_no_transformation_is_refused(name: str, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        load_external(name)


def test_which_lanes_are_published_is_chosen_from_two() -> None:
    assert read_settings({"MERIDIAN_EXTERNAL_LANES": "own"}, region="us-east-1").external_lanes == "own"
    with pytest.raises(InvalidConfig, match="choose from all, own"):
        read_settings({"MERIDIAN_EXTERNAL_LANES": "some"}, region="us-east-1")
