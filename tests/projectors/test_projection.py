"""Projections: what a declaration must say, how an event is digested, and the bytes of a view."""

from __future__ import annotations

import random
from typing import Any

import pytest

from projectors import Projection, add, collection, counter, register, remove
from projectors.model.projection import ProjectionFailed
from projectors.model.view import View
from replicator.domain.clock import Hlc
from replicator.domain.errors import InvalidConfig, InvalidName
from replicator.domain.event import GENESIS, Event, NewEvent, seal
from replicator.domain.names import LaneId, StreamId
from replicator.domain.vector import EMPTY, VersionVector

HOMER = StreamId("user", "homer")


class Account(Projection):
    name = "account"
    stream_type = "user"
    email = register(registered=lambda p: p["email"], moved=lambda p: p["email"])
    logins = counter(logged_in=lambda p: 1, corrected=lambda p: p["by"])
    groups = collection(registered=lambda p: add("all"), joined=lambda p: add(p["group"]), left=lambda p: remove(p["group"]))
    noted = register(at=lambda p: p["on"], noted=lambda p: p["note"])


def event(type: str, sequence: int = 1, region: str = "us-east-1", observed: VersionVector = EMPTY, **payload: Any) -> Event:
    return seal(LaneId(region, HOMER), sequence, Hlc(1_000 + sequence, 0), NewEvent(type, payload), observed, GENESIS)


def view(*events: Event, of: type[Projection] = Account) -> View:
    states, seen = of.initial(), EMPTY
    for each in events:
        states, seen = of.apply(states, each), seen.advance(each.region, each.sequence)
    return of.view("user/homer", states, seen)


def declare(**body: Any) -> type[Projection]:
    return type("Wrong", (Projection,), body)


LIFE = [
    event("registered", 1, email="homer@example.com"),
    event("logged_in", 2),
    event("joined", 3, group="é\U0001f6eb"),
    event("corrected", 4, by=-3),
    event("noted", 5, note={"b": [1.5, None], "a": "x"}, on="2013-01-01"),
    event("left", 1, "eu-west-1", VersionVector({"us-east-1": 9}), group="late"),
    event("moved", 6, email="h@example.com"),
]


@pytest.mark.parametrize(
    ("body", "error", "named"),
    [
        ({"stream_type": "user", "f": counter()}, InvalidConfig, "Wrong has no `name`"),
        ({"name": "place@2", "stream_type": "user", "f": counter()}, InvalidConfig, "'place@2'; '@' stands between"),
        ({"name": "a", "f": counter()}, InvalidConfig, "Wrong has no `stream_type`"),
        ({"name": 7, "stream_type": "user", "f": counter()}, InvalidConfig, "no `name`"),
        ({"name": "a", "stream_type": "user"}, InvalidConfig, "Wrong declares no field"),
        ({"name": "a#b", "stream_type": "user", "f": counter()}, InvalidName, "name of projection Wrong .*delimiter"),
        ({"name": "", "stream_type": "user", "f": counter()}, InvalidName, "name of projection Wrong is empty"),
        ({"name": "a", "stream_type": " user", "f": counter()}, InvalidName, "stream_type of projection Wrong"),
    ],
)
def test_a_wrong_declaration_fails_when_it_is_made(body: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        declare(**body)


def test_several_event_types_feed_one_field_and_one_event_several_fields() -> None:
    assert view(*LIFE).value == {
        "email": "h@example.com",
        "groups": ["all", "é\U0001f6eb"],
        "logins": -2,
        "noted": {"a": "x", "b": [1.5, None]},
    }


def test_a_field_before_any_event_has_its_types_own_nothing() -> None:
    assert view().value == {"email": None, "groups": [], "logins": 0, "noted": None}


def test_an_event_type_nobody_declared_changes_no_state_but_is_seen() -> None:
    other = view(event("unheard_of", 1, anything=1))
    assert other.state == view().state
    assert other.vector == VersionVector({"us-east-1": 1})


def test_a_handler_that_returns_none_leaves_its_field_alone() -> None:
    shy = declare(name="shy", stream_type="user", f=counter(x=lambda p: p.get("by")), g=counter(x=lambda p: 1))
    assert view(event("x", 1), event("x", 2, by=5), of=shy).value == {"f": 5, "g": 2}


@pytest.mark.parametrize(
    ("bad", "field", "said"),
    [
        (event("moved", 7), "email", "KeyError: 'email'"),
        (event("corrected", 7, by=1.5), "logins", "integers, not 1.5"),
        (event("corrected", 7, by=True), "logins", "integers, not True"),
        (event("corrected", 7, by="1"), "logins", "integers, not '1'"),
        (event("joined", 7, group=["a"]), "groups", "Add"),
        (event("noted", 7, note=1, on=1.5), "noted", "1.5"),
    ],
)
def test_a_failure_names_projection_field_event_and_cause(bad: Event, field: str, said: str) -> None:
    states = Account.initial()
    with pytest.raises(ProjectionFailed) as caught:
        Account.apply(states, bad)
    for part in ("projection account", f"field {field}", bad.id, repr(bad.type), said):
        assert part in str(caught.value)
    assert states == Account.initial()


@pytest.mark.parametrize("wrong", [lambda p: 1 // 0, lambda p: p["a"].b, lambda p: [][0], lambda p: next(iter([]))])
def test_whatever_a_handler_raises_is_a_projection_failure(wrong: Any) -> None:
    broken = declare(name="broken", stream_type="user", f=counter(x=wrong))
    with pytest.raises(ProjectionFailed, match="projection broken, field f"):
        broken.apply(broken.initial(), event("x", a=1))


@pytest.mark.parametrize("value", [{1, 2}, float("nan"), 2**53, b"x", {1: 2}, "\ud800"], ids=repr)
def test_a_value_that_no_view_can_hold_is_refused_at_its_event(value: Any) -> None:
    strange = declare(name="strange", stream_type="user", f=register(x=lambda p: value))
    with pytest.raises(ProjectionFailed, match=r"projection strange, field f, cannot process event us-east-1#user#homer#"):
        strange.apply(strange.initial(), event("x"))


def test_a_view_is_canonical_bytes_pinned_for_good() -> None:
    made = view(*LIFE)
    assert made.value_text == (
        '{"email":"h@example.com","groups":["all","é\U0001f6eb"],"logins":-2,"noted":{"a":"x","b":[1.5,null]}}'
    )
    assert made.state_text == (
        '{"email":[null,"0000000001006-00000","us-east-1",6,"h@example.com"],'
        '"groups":{"adds":{"all":{"us-east-1":1},"é\U0001f6eb":{"us-east-1":3}},"removed":{"late":{"us-east-1":9}}},'
        '"logins":{"us-east-1":[1,3,4]},'
        '"noted":["2013-01-01","0000000001005-00000","us-east-1",5,{"a":"x","b":[1.5,null]}]}'
    )
    assert made.digest.hex() == "32f7237ec720bbc9ceb5cc4273eb56ea365faef3cdca8b6e1f84b7f70ffcd40c"


def test_fields_in_another_order_and_lanes_interleaved_otherwise_are_the_same_bytes() -> None:
    fields = list(Account.fields.items())
    random.Random(7).shuffle(fields)
    shuffled = declare(name="account", stream_type="user", **dict(fields))
    eu = [e for e in LIFE if e.region == "eu-west-1"]
    us = [e for e in LIFE if e.region == "us-east-1"]
    assert view(*us, *eu, of=shuffled) == view(*eu, *us) == view(*LIFE)


def test_any_difference_between_views_shows_in_the_digest() -> None:
    made = view(*LIFE)
    parts = (made.projection, made.version, made.key, made.vector, made.state_text, made.value_text)
    others = ("other", 2, "user/bart", EMPTY, "{}", "{}")
    altered = {View(*parts[:i], other, *parts[i + 1 :]).digest for i, other in enumerate(others)}  # type: ignore[arg-type]
    assert len(altered | {made.digest}) == 7
