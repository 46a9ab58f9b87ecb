"""A stock that regions share: never below zero while writers take by their own rights, never silent when one does not."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projectors import Engine, Projection
from projectors.crdt import BoundedCounter, GCounter, InvalidOperation, PnCounter, Restock, Tag, Take, Transfer, may_take
from projectors.engine.memory_sink import MemorySink
from projectors.model.fields import restock, stock, take, transfer
from projectors.reads.queries import Query
from replicator import Accept, EventStore, MemoryStorage, NewEvent, Operation, Reject, Rejected, Saved, VersionVector, When
from replicator.domain.canonical import encode_json
from replicator.domain.clock import ZERO, Hlc
from replicator.domain.vector import EMPTY

EAST, WEST, SOUTH = REGIONS = ("us-east-1", "eu-west-1", "ap-south-1")
COUNTER = BoundedCounter()


def valued(made: list[tuple[Tag, Any]], upto: VersionVector) -> dict[str, Any]:
    state = COUNTER.initial()
    for tag, operation in made:
        if upto.covers(tag.region, tag.sequence):
            state = COUNTER.apply(state, operation, tag)
    value: dict[str, Any] = COUNTER.value(COUNTER.compact(state, upto))
    return value


@st.composite
def honest(draw: st.DrawFn) -> list[tuple[Tag, Any]]:
    """Regions that decide on what has reached them: each lane arrives elsewhere whenever it does, if at all."""
    made: list[tuple[Tag, Any]] = []
    known = dict.fromkeys(REGIONS, EMPTY)
    for step in range(draw(st.integers(1, 16))):
        region = draw(st.sampled_from(REGIONS))
        lengths = {other: sum(tag.region == other for tag, _ in made) for other in REGIONS}
        for other in REGIONS:
            if other != region:
                known[region] = known[region].advance(other, draw(st.integers(known[region].get(other), lengths[other])))
        value, n = valued(made, known[region]), draw(st.integers(1, 6))
        operation: Any = Restock(n)
        if may_take(value, n, region):
            receiver = draw(st.sampled_from([other for other in REGIONS if other != region]))
            operation = draw(st.sampled_from([Take(n), Take(n), Transfer(n, receiver), Restock(n)]))
        made.append((Tag(region, lengths[region] + 1, Hlc(step + 1, 0), known[region]), operation))
        known[region] = known[region].advance(region, lengths[region] + 1)
    return made


def views(made: list[tuple[Tag, Any]]) -> list[VersionVector]:
    """Every vector that a view can have."""
    lengths = [sum(tag.region == region for tag, _ in made) for region in REGIONS]
    return [VersionVector(dict(zip(REGIONS, cut, strict=True))) for cut in product(*(range(n + 1) for n in lengths))]


def closed(made: list[tuple[Tag, Any]], view: VersionVector) -> bool:
    return all(tag.context <= view for tag, _ in made if view.covers(tag.region, tag.sequence))


def left_at(made: list[tuple[Tag, Any]], view: VersionVector) -> int:
    held = [operation for tag, operation in made if view.covers(tag.region, tag.sequence)]
    return sum(o.n if isinstance(o, Restock) else -o.n for o in held if not isinstance(o, Transfer))


@settings(max_examples=100, deadline=None)
@given(honest())
def test_at_no_causally_closed_view_has_more_been_taken_than_there_was(made: list[tuple[Tag, Any]]) -> None:
    for view in views(made):
        value = valued(made, view)
        assert value["overdrawn"] == {}  # nobody broke the rule, and no view of any kind says so
        if closed(made, view):
            assert left_at(made, view) == value["available"]
            assert value["pending"] == {}
        assert value["available"] == sum(value["rights"].values())  # what is late of others lessens nothing
        assert all(n >= 0 for n in (value["available"], *value["rights"].values(), *value["pending"].values()))


@settings(max_examples=60, deadline=None)
@given(honest(), st.data())
def test_who_broke_the_rule_is_named_at_every_view_that_has_what_it_knew(
    made: list[tuple[Tag, Any]], data: st.DataObject
) -> None:
    thief = data.draw(st.sampled_from(REGIONS))
    upto = VersionVector({region: sum(tag.region == region for tag, _ in made) for region in REGIONS})
    beyond = valued(made, upto)["rights"].get(thief, 0) + data.draw(st.integers(1, 5))
    made = [*made, (Tag(thief, upto.get(thief) + 1, Hlc(99, 0), upto), Take(beyond))]
    value = valued(made, upto.advance(thief, upto.get(thief) + 1))
    assert set(value["overdrawn"]) == {thief}
    assert value["rights"][thief] == 0
    assert value["available"] == max(sum(value["rights"].values()) - value["overdrawn"][thief], 0)


def test_what_a_late_lane_explains_is_pending_and_what_none_explains_is_overdrawn() -> None:
    stocked = (Tag(EAST, 1, Hlc(1, 0), EMPTY), Restock(10))
    handed = (Tag(EAST, 2, Hlc(2, 0), EMPTY), Transfer(4, WEST))
    sold = (Tag(WEST, 1, Hlc(3, 0), VersionVector({EAST: 2})), Take(4))
    made = [stocked, handed, sold]
    assert valued(made, VersionVector({WEST: 1})) == {
        "available": 0,
        "rights": {WEST: 0},
        "pending": {WEST: 4},
        "overdrawn": {},
    }
    assert valued(made, VersionVector({EAST: 1, WEST: 1})) == {
        "available": 10,
        "rights": {EAST: 10, WEST: 0},
        "pending": {WEST: 4},
        "overdrawn": {},
    }
    assert valued(made, VersionVector({EAST: 2, WEST: 1})) == {
        "available": 6,
        "rights": {EAST: 6, WEST: 0},
        "pending": {},
        "overdrawn": {},
    }
    broken = [stocked, (sold[0], Take(5)), handed]
    assert valued(broken, VersionVector({EAST: 2, WEST: 1}))["overdrawn"] == {WEST: 1}


def test_an_overdraft_leaves_others_no_more_than_is_there_and_ends_when_later_rights_cover_it() -> None:
    made = [
        (Tag(EAST, 1, Hlc(1, 0), EMPTY), Restock(5)),
        (Tag(WEST, 1, Hlc(2, 0), EMPTY), Take(3)),
        (Tag(EAST, 2, Hlc(3, 0), VersionVector({WEST: 1})), Transfer(3, WEST)),
    ]
    value = valued(made, VersionVector({EAST: 1, WEST: 1}))
    assert value == {"available": 2, "rights": {EAST: 5, WEST: 0}, "pending": {}, "overdrawn": {WEST: 3}}
    assert may_take(value, 2, EAST)
    assert not may_take(value, 3, EAST)
    assert valued(made, VersionVector({EAST: 2, WEST: 1})) == {
        "available": 2,
        "rights": {EAST: 2, WEST: 0},
        "pending": {},
        "overdrawn": {},
    }


def test_a_region_may_take_what_its_own_rights_allow() -> None:
    value = {"available": 9, "rights": {EAST: 5, WEST: 4}}
    assert may_take(value, 5, EAST)
    assert not may_take(value, 6, EAST)
    assert not may_take(value, 1, SOUTH)


def test_what_is_late_of_one_region_takes_nothing_from_what_another_holds() -> None:
    made = [
        (Tag(SOUTH, 1, Hlc(1, 0), EMPTY), Restock(100)),
        (Tag(SOUTH, 2, Hlc(2, 0), EMPTY), Transfer(100, WEST)),
        (Tag(WEST, 1, Hlc(3, 0), VersionVector({SOUTH: 2})), Take(50)),
        (Tag(EAST, 1, Hlc(4, 0), EMPTY), Restock(10)),
    ]
    value = valued(made, VersionVector({WEST: 1, EAST: 1}))
    assert value == {"available": 10, "rights": {WEST: 0, EAST: 10}, "pending": {WEST: 50}, "overdrawn": {}}
    assert may_take(value, 10, EAST)
    assert not may_take(value, 1, WEST)


def test_totals_beyond_what_json_holds_are_shown_as_the_largest() -> None:
    most = 2**53 - 1
    state = {"lanes": {EAST: [most, 0, {WEST: most}, 1], SOUTH: [0, most, {}, 1]}, "awaited": {}}
    total = COUNTER.total({"shop/1": state, "shop/2": state})
    assert total["rights"] == {EAST: 0, WEST: most, SOUTH: 0}
    assert (total["pending"], total["overdrawn"]) == ({}, {SOUTH: most})
    encode_json({"value": [total, COUNTER.total({"shop/1": {**state, "lanes": {EAST: [most, 0, {}, 1]}}} | {"s": state})]})
    for counter, lane in ((PnCounter(), [most, 0, 1]), (GCounter(), [most, 1])):
        cells = {"shop/1": {EAST: lane}, "shop/2": {EAST: lane, WEST: lane}}
        assert counter.value(cells["shop/1"]) == counter.total(cells) == most
    owed = {"shop/1": {EAST: [0, most, 1]}, "shop/2": {EAST: [0, most, 1]}, "shop/3": {EAST: [most, 0, 1]}}
    assert PnCounter().total(owed) == -most  # reckoned whole, and only then cut: nothing depends on the order
    assert PnCounter().total({**owed, "shop/4": {EAST: [most, 0, 1]}}) == 0


def test_what_a_region_hands_over_in_all_is_bounded() -> None:
    state = COUNTER.apply(COUNTER.initial(), Transfer(2**53 - 1, WEST), Tag(EAST, 1, ZERO, EMPTY))
    with pytest.raises(InvalidOperation, match="us-east-1 would pass 2\\^53 - 1"):
        COUNTER.apply(state, Transfer(1, SOUTH), Tag(EAST, 2, ZERO, EMPTY))


class Name(str):
    pass


@pytest.mark.parametrize("to", [Name(WEST), None, 7, 10**5000], ids=["a kind of text", "none", "seven", "huge"])
def test_rights_go_to_a_region_by_its_plain_name(to: Any) -> None:
    with pytest.raises(InvalidOperation, match="by its name, not to"):
        COUNTER.apply(COUNTER.initial(), Transfer(1, to), Tag(EAST, 1, ZERO, EMPTY))


class Tickets(Projection):
    name, stream_type = "tickets", "show"
    seats = stock(
        printed=lambda p: restock(p["n"]),
        sold=lambda p: take(p["n"]),
        handed=lambda p: transfer(p["n"], p["to"]),
    )


def selling(store: EventStore, event: NewEvent) -> Any:
    """What a shop does: decide on what its region knows, and write only if its lane has not moved since."""

    def enough(value: dict[str, Any]) -> Accept | Reject:
        seats = value["seats"]
        if may_take(seats, event.payload["n"], store.region):
            return Accept(event)
        return Reject(f"{store.region} has {seats['rights'].get(store.region, 0)} of {seats['available']} left")

    return store.save(Operation("show/hamlet", (), When(Query(Tickets, store), enough)))


def test_two_regions_cut_off_from_each_other_sell_all_and_no_more() -> None:
    held = {region: MemoryStorage() for region in (EAST, WEST)}
    stores = {region: EventStore(held[region], region, [EAST, WEST], peer=held.__getitem__) for region in held}
    east, west = stores[EAST], stores[WEST]
    east.append("show/hamlet", NewEvent("printed", {"n": 10}))
    assert selling(west, NewEvent("sold", {"n": 1})).reasons == ("eu-west-1 has 0 of 0 left",)
    handed = selling(east, NewEvent("handed", {"n": 4, "to": WEST}))
    assert isinstance(handed, Saved)
    held[WEST].insert_each(list(east.read("show/hamlet")))  # copied, then the regions are cut off from each other

    sold = dict.fromkeys(stores, 0)
    for _ in range(8):
        for region, store in stores.items():
            result = selling(store, NewEvent("sold", {"n": 1}))
            sold[region] += isinstance(result, Saved)
    assert sold == {EAST: 6, WEST: 4}
    refused = selling(west, NewEvent("sold", {"n": 1}))
    assert isinstance(refused, Rejected)
    assert refused.reasons == ("eu-west-1 has 0 of 6 left",)  # it has not heard of what was sold elsewhere

    lanes = {region: list(store.read_lane("show/hamlet", region)) for region, store in stores.items()}
    held[EAST].insert_each(lanes[WEST])
    held[WEST].insert_each(lanes[EAST])
    nothing = {"available": 0, "rights": {EAST: 0, WEST: 0}, "pending": {}, "overdrawn": {}}
    for region, store in stores.items():
        assert Query(Tickets, store).now("show/hamlet").value == {"seats": nothing}
        for order in (lanes[EAST] + lanes[WEST], lanes[WEST] + lanes[EAST]):
            sink = MemorySink()
            Engine([Tickets], store, sink).apply(order)
            (view,) = sink.views("tickets")
            assert view.value == {"seats": nothing}, region


def test_the_total_of_a_row_adds_up_part_by_part() -> None:
    cells = {
        "shop/1": COUNTER.apply(COUNTER.initial(), Restock(5), Tag(EAST, 1, ZERO, EMPTY)),
        "shop/2": COUNTER.apply(COUNTER.initial(), Take(2), Tag(WEST, 1, ZERO, EMPTY)),
        "shop/3": COUNTER.apply(COUNTER.initial(), Restock(4), Tag(EAST, 1, ZERO, EMPTY)),
    }
    assert COUNTER.total(cells) == {"available": 9, "rights": {EAST: 9, WEST: 0}, "pending": {}, "overdrawn": {WEST: 2}}
    assert COUNTER.total({}) == {"available": 0, "rights": {}, "pending": {}, "overdrawn": {}}
