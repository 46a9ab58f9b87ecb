"""Maps of replicated types: an update wins over a concurrent remove, and what a remove had observed never comes back."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from projectors.crdt import (
    Add,
    Assign,
    BoundedCounter,
    DisableWinsFlag,
    EnableWinsFlag,
    GCounter,
    GSet,
    LatestRegister,
    LwwMap,
    LwwRegister,
    MaxRegister,
    MinRegister,
    MvRegister,
    OrMap,
    OrSet,
    PnCounter,
    Remove,
    RemoveWinsSet,
    RichText,
    Sequence,
    Tag,
    TwoPhaseSet,
    Update,
)
from replicator import InvalidConfig, VersionVector
from replicator.domain.clock import Hlc
from replicator.domain.vector import EMPTY

EAST, WEST = "us-east-1", "eu-west-1"


def tag(region: str, sequence: int, **observed: int) -> Tag:
    named = VersionVector({region.replace("_", "-"): n for region, n in observed.items()})
    return Tag(region, sequence, Hlc(10 * sequence, 0), named)


def shown(crdt: Any, made: list[tuple[Any, Tag]], seen: VersionVector | None = None) -> Any:
    """The value in every order that keeps each lane's."""
    values = []
    for order in permutations(made):
        lanes = [(at.region, at.sequence) for _, at in order]
        if all(lanes.index((r, n - 1)) < lanes.index((r, n)) for r, n in lanes if (r, n - 1) in lanes):
            state, vector = crdt.initial(), EMPTY
            for operation, at in order:
                vector = vector.advance(at.region, at.sequence)
                state = crdt.compact(crdt.apply(state, operation, at), vector)
            values.append((crdt.value(state), state))
    assert all(each == values[0] for each in values)
    return values[0][0]


@pytest.mark.parametrize(("who", "then"), [("marge", tag(EAST, 3)), ("lisa", tag(WEST, 1, us_east_1=1))])
def test_what_a_remove_had_observed_is_gone_when_the_key_is_made_anew_or_by_a_concurrent_update(who: str, then: Tag) -> None:
    made = [
        (Update("crew", Add("homer")), tag(EAST, 1)),
        (Remove("crew"), tag(EAST, 2)),
        (Update("crew", Add(who)), then),
    ]
    assert shown(OrMap(OrSet()), made) == {"crew": [who]}


def test_a_key_is_hidden_whose_register_has_no_assignment_left() -> None:
    made = [
        (Update("gate", Assign("B2")), tag(EAST, 1)),
        (Update("gate", Assign("C3")), tag(WEST, 1, us_east_1=1)),
        (Remove("gate"), tag("ap-south-1", 1, eu_west_1=1)),  # which had observed the second alone
    ]
    crdt = OrMap(LatestRegister())
    assert shown(crdt, made) == {}
    state = crdt.initial()
    for operation, at in made:
        state = crdt.apply(state, operation, at)
    assert crdt.total({"flight/1": state}) == {}
    assert crdt.value(crdt.apply(state, Update("gate", Assign(None)), tag(WEST, 2, us_east_1=1))) == {"gate": None}


def test_an_older_assignment_that_a_remove_had_not_observed_shows_again() -> None:
    """Why a map takes no LwwRegister: of the removed later one and the earlier one it would hold the later alone."""
    earlier = (Update("gate", Assign("A1")), Tag(WEST, 1, Hlc(1, 0), EMPTY))
    later = (Update("gate", Assign("B2")), Tag(EAST, 1, Hlc(2, 0), EMPTY))
    removed = (Remove("gate"), Tag(EAST, 2, Hlc(3, 0), EMPTY))
    assert shown(OrMap(LatestRegister()), [earlier, later]) == {"gate": "B2"}
    assert shown(OrMap(LatestRegister()), [earlier, later, removed]) == {"gate": "A1"}
    assert shown(OrMap(MvRegister()), [earlier, later]) == {"gate": ["A1", "B2"]}
    assert shown(OrMap(MvRegister()), [earlier, later, removed]) == {"gate": ["A1"]}


def test_a_key_may_be_there_with_nothing_in_it() -> None:
    made = [(Update("crew", Remove("homer")), tag(EAST, 1))]
    assert shown(OrMap(OrSet()), made) == {"crew": []}
    assert shown(OrMap(EnableWinsFlag()), [(Update("open", False), tag(EAST, 1))]) == {"open": False}
    assert shown(OrMap(LatestRegister()), [(Update("gate", Assign(None)), tag(EAST, 1))]) == {"gate": None}


def test_a_remove_of_an_outer_key_empties_the_maps_within() -> None:
    inside = OrMap(OrMap(OrSet()))
    made = [
        (Update("AA1", Update("crew", Add("homer"))), tag(EAST, 1)),
        (Update("AA1", Update("guests", Add("bart"))), tag(EAST, 2)),
        (Remove("AA1"), tag(WEST, 1, us_east_1=1)),
        (Update("AA1", Update("crew", Add("marge"))), tag(WEST, 2, us_east_1=1)),
    ]
    assert shown(inside, made) == {"AA1": {"crew": ["marge"], "guests": ["bart"]}}
    assert shown(inside, made[:3]) == {"AA1": {"guests": ["bart"]}}
    assert shown(inside, [made[0], made[2]]) == {}


def test_what_was_removed_leaves_nothing_in_the_state() -> None:
    crdt = OrMap(OrMap(MvRegister()))
    state = crdt.apply(crdt.initial(), Update("a", Update("b", Assign(1))), tag(EAST, 1))
    state = crdt.apply(state, Remove("a"), tag(WEST, 1, us_east_1=1))
    assert crdt.compact(state, VersionVector({EAST: 1, WEST: 1})) == crdt.initial()


@pytest.mark.parametrize(
    "nested",
    [
        PnCounter(),
        GCounter(),
        BoundedCounter(),
        LwwRegister(),
        LwwMap(),
        MaxRegister(),
        MinRegister(),
        GSet(),
        TwoPhaseSet(),
        RemoveWinsSet(),
        DisableWinsFlag(),
        Sequence(),
        RichText(),
    ],
    ids=lambda nested: type(nested).__name__,
)
def test_a_type_that_cannot_forget_what_a_remove_had_observed_is_refused_where_it_is_declared(nested: Any) -> None:
    with pytest.raises(InvalidConfig, match=f"cannot hold {type(nested).__name__}.*Use OrSet, MvRegister, LatestRegister"):
        OrMap(nested)


def test_maps_nest_four_deep_and_no_deeper() -> None:
    deepest = OrMap(OrMap(OrMap(OrMap(OrSet()))))
    made = [(Update("a", Update("b", Update("c", Update("d", Add("x"))))), tag(EAST, 1))]
    assert shown(deepest, made) == {"a": {"b": {"c": {"d": ["x"]}}}}
    with pytest.raises(InvalidConfig, match="more than 4 maps"):
        OrMap(deepest)
