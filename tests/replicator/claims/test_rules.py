"""Two regions claim at once: the home-region rule grants one, the optimistic rule settles on one; both under partition."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.world.world import World
from replicator import (
    AppendContention,
    EventStore,
    InvalidOperation,
    MemoryStorage,
    NewEvent,
    Operation,
    OutcomeUnknown,
    RegionUnavailable,
    Rejected,
    Saved,
    StreamId,
)
from replicator.aws.control_table import DynamoControl
from replicator.aws.event_table import DynamoStorage
from replicator.claims import Claim, HomedClaims, Homes, Lost, OptimisticClaims, Release
from replicator.claims.homes import HomeMover
from replicator.claims.ownership import LOST
from replicator.connect import connect_store
from replicator.eventstore.appender import AppendPolicy
from replicator.runtime.settings import Settings
from tests.processes import HANGING_SECONDS
from tests.regions import BACKENDS, EAST, WEST, activate, stores_on

REGIONS = (EAST, WEST)


def email_homed_in(region: str, n: int = 0) -> StreamId:
    homes = Homes(1, REGIONS)
    emails = (StreamId("email", f"user{i}@example.com") for i in range(10_000))
    return [email for _, email in zip(range(40), emails, strict=False) if homes.home_of(email) == region][n]


@pytest.fixture(params=BACKENDS)
def stores(request: pytest.FixtureRequest) -> dict[str, EventStore]:
    stores = stores_on(request, request.param)
    kept: Any = {region: store._lanes._storage for region, store in stores.items()}
    controls = {r: s.control if request.param == "memory" else DynamoControl(s._settings) for r, s in kept.items()}
    HomeMover(controls, kept, frozenset({"email"})).move(REGIONS)
    for region, store in stores.items():
        store.homed = HomedClaims(region, controls.__getitem__, stores.__getitem__)  # type: ignore[attr-defined]
    return stores


def copy(stores: dict[str, EventStore], *homes: str) -> None:
    """What the replicator does: the lanes of `homes` (or of all) to the other regions."""
    for home in homes or REGIONS:
        for lane, _ in list(stores[home].lanes()):
            for there in REGIONS if lane.region == home else ():
                if there != home:
                    stores[there]._lanes._storage.insert_each(list(stores[home].read_lane(lane.stream, home)))


# -- the home-region rule --------------------------------------------------------------------------------------------


def test_of_all_who_claim_at_once_in_all_regions_exactly_one_is_granted(stores: dict[str, EventStore]) -> None:
    email = StreamId("email", "homer@example.com")

    def claim(n: int) -> Any:
        return stores[REGIONS[n % 2]].homed.save(  # type: ignore[attr-defined]
            [Claim(email, f"user/u{n}")], Operation(f"user/u{n}", NewEvent("email_set", {"value": email.id}))
        )

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(claim, range(8)))
    (winner,) = [n for n, result in enumerate(results) if isinstance(result, Saved)]
    assert all(isinstance(result, Rejected) for n, result in enumerate(results) if n != winner)
    copy(stores)
    for region in REGIONS:
        assert str(stores[region].homed.owner(email).owner) == f"user/u{winner}"  # type: ignore[attr-defined]
        emails = [n for n in range(8) if list(stores[region].read(f"user/u{n}"))]
        assert emails == [winner]  # the owner's event came in the same transaction, or not at all


def test_claims_with_different_homes_cannot_share_a_transaction(stores: dict[str, EventStore]) -> None:
    old, new = email_homed_in(EAST), email_homed_in(WEST)
    homed: HomedClaims = stores[EAST].homed  # type: ignore[attr-defined]
    assert isinstance(homed.save([Claim(old, "user/homer")]), Saved)
    with pytest.raises(InvalidOperation, match="different homes"):
        homed.save([Claim(new, "user/homer"), Release(old, "user/homer")])
    assert isinstance(homed.save([Claim(new, "user/homer")]), Saved)
    assert isinstance(homed.save([Release(old, "user/homer")]), Saved)
    assert homed.owner(old).owner is None
    with pytest.raises(InvalidOperation, match="no claim given"):
        homed.save([])


@pytest.mark.emulator
def test_while_a_claim_s_home_is_cut_off_it_cannot_be_claimed_and_all_else_can(
    emulated: World, emptied_settings: Settings
) -> None:
    activate(emptied_settings, *REGIONS)
    stores = {region: connect_store(emptied_settings.at(region)) for region in REGIONS}
    controls = {region: DynamoControl(emptied_settings.at(region)) for region in REGIONS}
    storages = {region: DynamoStorage(emptied_settings.at(region)) for region in REGIONS}
    HomeMover(controls, storages, frozenset({"email"})).move(REGIONS)  # type: ignore[arg-type]
    west = HomedClaims(WEST, controls.__getitem__, stores.__getitem__)
    near, far, taken = email_homed_in(WEST), email_homed_in(EAST), email_homed_in(EAST, 1)
    assert isinstance(west.save([Claim(taken, "user/homer")]), Saved)
    emulated.regions[EAST].freeze()
    sent: OutcomeUnknown | None = None
    try:
        with pytest.raises((RegionUnavailable, OutcomeUnknown)) as raised:
            west.save([Claim(far, "user/lisa")])
        sent = raised.value if isinstance(raised.value, OutcomeUnknown) else None
        assert isinstance(west.save([Claim(near, "user/lisa")]), Saved)
        assert isinstance(stores[WEST].save(Operation("user/lisa", NewEvent("set", {}))), Saved)
    finally:
        emulated.regions[EAST].thaw()
    if sent is not None:
        stores[EAST].resolve(sent.events)
    east = HomedClaims(EAST, controls.__getitem__, stores.__getitem__)
    assert isinstance(east.save([Claim(taken, "user/bart")]), Rejected)  # whoever had it has it
    results = [client.save([Claim(far, owner)]) for client, owner in ((east, "user/bart"), (west, "user/homer"))]
    owner = east.owner(far).owner
    assert owner == west.owner(far).owner
    assert [str(owner)] == [
        o for o, r in zip(("user/bart", "user/homer"), results, strict=True) if isinstance(r, Saved)
    ] or (str(owner) == "user/lisa" and not any(isinstance(r, Saved) for r in results))


# -- the optimistic rule ---------------------------------------------------------------------------------------------


def email_set(claim: StreamId, lost: Lost) -> list[NewEvent]:
    return [NewEvent("email_cleared", {"email": claim.id, "owned_by": str(lost.to_owner)})]


@pytest.fixture
def optimistic(stores: dict[str, EventStore]) -> dict[str, OptimisticClaims]:
    return {region: OptimisticClaims(store, email_set) for region, store in stores.items()}


def test_both_sides_of_a_partition_grant_and_end_with_the_same_one_owner(
    stores: dict[str, EventStore], optimistic: dict[str, OptimisticClaims]
) -> None:
    email = StreamId("email", "lisa@example.com")
    for region, owner in ((EAST, "user/homer"), (WEST, "user/lisa")):
        granted = optimistic[region].save(
            [Claim(email, owner)], Operation(owner, NewEvent("email_set", {"value": email.id}))
        )
        assert isinstance(granted, Saved)
    assert {str(optimistic[r].owner(email).owner) for r in REGIONS} == {"user/homer", "user/lisa"}
    copy(stores)  # healed
    (owner,) = {optimistic[r].owner(email).owner for r in REGIONS}
    told = {region: optimistic[region].settle(email) for region in REGIONS}
    (loser,) = [region for region in REGIONS if told[region]]
    (lost,) = told[loser]
    assert {owner, lost.owner} == {StreamId("user", "homer"), StreamId("user", "lisa")}
    assert lost.region == loser
    copy(stores)
    for region in REGIONS:
        assert optimistic[region].owner(email).owner == owner
        assert not optimistic[region].owner(email).lost
        assert optimistic[region].settle(email) == []
        assert [e.type for e in stores[region].read(lost.owner)] == ["email_set", "email_cleared"]
        assert [e.type for e in stores[region].read(owner)] == ["email_set"]  # type: ignore[arg-type]


def test_once_healed_the_other_region_refuses_by_itself(
    stores: dict[str, EventStore], optimistic: dict[str, OptimisticClaims]
) -> None:
    email = StreamId("email", "bart@example.com")
    assert isinstance(optimistic[EAST].save([Claim(email, "user/bart")]), Saved)
    copy(stores)
    refused = optimistic[WEST].save([Claim(email, "user/nelson")])
    assert isinstance(refused, Rejected)
    assert refused.reasons == ("email/bart@example.com is owned by user/bart",)
    assert isinstance(optimistic[EAST].save([Release(email, "user/bart")]), Saved)
    copy(stores)
    assert isinstance(optimistic[WEST].save([Claim(email, "user/nelson")]), Saved)


def conflict() -> tuple[dict[str, EventStore], StreamId]:
    held = {region: MemoryStorage() for region in REGIONS}
    stores = {region: EventStore(held[region], region, REGIONS) for region in REGIONS}
    email = StreamId("email", "x@example.com")
    for region in REGIONS:
        OptimisticClaims(stores[region]).save([Claim(email, f"user/{region}")])
    copy(stores)
    return stores, email


def test_many_settlers_at_once_tell_each_loser_exactly_once() -> None:
    stores, email = conflict()
    settlers = [OptimisticClaims(EventStore(stores[r]._lanes._storage, r, REGIONS)) for r in REGIONS for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        told = [lost for found in pool.map(lambda settler: settler.settle(email), settlers) for lost in found]
    assert len(told) == 1
    copy(stores)
    (loser,) = told
    assert [event.type for event in stores[EAST].read(loser.owner)] == [LOST]


def test_settlers_that_found_the_same_loss_at_the_same_moment_tell_it_once() -> None:
    """All of the loser's region have read that it lost before any of them writes."""
    stores, email = conflict()
    ((region, _),) = [(lost.region, lost) for lost in OptimisticClaims(stores[EAST]).owner(email).lost.values()]
    together = threading.Barrier(4)

    def compensation(claim: StreamId, lost: Lost) -> list[NewEvent]:
        together.wait(HANGING_SECONDS)
        return email_set(claim, lost)

    settlers = [
        OptimisticClaims(
            EventStore(stores[region]._lanes._storage, region, REGIONS, appends=AppendPolicy(attempts=100)), compensation
        )
        for _ in range(4)
    ]
    with ThreadPoolExecutor(4) as pool:
        told = [lost for found in pool.map(lambda settler: settler.settle(email), settlers) for lost in found]
    (lost,) = told
    assert [event.type for event in stores[region].read(lost.owner)] == ["email_cleared"]
    assert [event.type for event in stores[region].read_lane(email)].count(LOST) == 1


def test_a_claim_that_is_kept_together_with_something_holds_its_stream_in_any_region() -> None:
    """Between the decision and the write another process releases it, and somebody else claims it."""
    storage, email = MemoryStorage(), StreamId("email", "x@example.com")
    ours, other = (OptimisticClaims(EventStore(storage, EAST, REGIONS)) for _ in range(2))
    assert isinstance(ours.save([Claim(email, "user/homer")]), Saved)
    insert = storage.insert

    def overtaken(events: Any, guards: Any = ()) -> bool:
        storage.insert = insert  # type: ignore[method-assign]
        assert isinstance(other.save([Release(email, "user/homer")]), Saved)
        assert isinstance(other.save([Claim(email, "user/lisa")]), Saved)
        return insert(events, guards)

    storage.insert = overtaken  # type: ignore[method-assign]
    result = ours.save([Claim(email, "user/homer")], Operation("user/homer", NewEvent("email_set", {"value": email.id})))
    assert isinstance(result, Rejected)
    assert str(ours.owner(email).owner) == "user/lisa"
    alone = other.save([Claim(email, "user/lisa")])
    assert isinstance(alone, Saved)
    assert alone.events == ()


def test_whoever_lost_and_claims_anew_keeps_what_was_written_with_it(
    stores: dict[str, EventStore], optimistic: dict[str, OptimisticClaims]
) -> None:
    email = StreamId("email", "lisa@example.com")
    written = {owner: Operation(owner, NewEvent("email_set", {"value": email.id})) for owner in ("user/homer", "user/lisa")}
    for region, owner in ((EAST, "user/homer"), (WEST, "user/lisa")):
        assert isinstance(optimistic[region].save([Claim(email, owner)], written[owner]), Saved)
    copy(stores)
    (lost,) = optimistic[EAST].owner(email).lost.values()
    winner, loser = str(lost.to_owner), str(lost.owner)
    assert isinstance(optimistic[lost.region].save([Release(email, winner)]), Saved)
    assert isinstance(optimistic[lost.region].save([Claim(email, loser)], written[loser]), Saved)
    copy(stores)
    for region in REGIONS:
        assert optimistic[region].settle(email) == []
        assert str(optimistic[region].owner(email).owner) == loser
        assert [event.type for event in stores[region].read(loser)] == ["email_set", "email_set"]


def test_a_settler_killed_between_writing_and_hearing_of_it_tells_once() -> None:
    stores, email = conflict()
    for region, store in stores.items():
        insert, dies = store._lanes._storage.insert, [True]

        def once(events: Any, guards: Any = (), insert: Any = insert, dies: list[bool] = dies) -> bool:
            insert(events, guards)
            if dies:
                dies.pop()
                raise OutcomeUnknown("killed", events)
            return True

        store._lanes._storage.insert = once  # type: ignore[method-assign]
        try:
            OptimisticClaims(store).settle(email)
        except OutcomeUnknown:
            assert OptimisticClaims(EventStore(store._lanes._storage, region, REGIONS)).settle(email) == []
    copy(stores)
    assert sum(event.type == LOST for event in stores[EAST].read(email)) == 1


def test_a_settler_that_others_keep_overtaking_says_so() -> None:
    stores, email = conflict()
    losers = {lost.region: lost for lost in OptimisticClaims(stores[EAST]).owner(email).lost.values()}
    ((region, _),) = losers.items()
    store = EventStore(stores[region]._lanes._storage, region, REGIONS, appends=AppendPolicy(attempts=1))
    other = EventStore(stores[region]._lanes._storage, region, REGIONS)
    insert = stores[region]._lanes._storage.insert

    def overtaken(events: Any, guards: Any = ()) -> bool:
        store._lanes._storage.insert = insert  # type: ignore[method-assign]
        other.append(email, NewEvent("noted", {}))
        return insert(events, guards)

    store._lanes._storage.insert = overtaken  # type: ignore[method-assign]
    with pytest.raises(AppendContention, match="gave up"):
        OptimisticClaims(store).settle(email)


@given(st.data())
def test_whatever_is_claimed_and_released_under_whatever_partitions_one_or_none_owns_it_everywhere(
    data: st.DataObject,
) -> None:
    held = {region: MemoryStorage() for region in REGIONS}
    stores = {region: EventStore(held[region], region, REGIONS) for region in REGIONS}
    claims = {region: OptimisticClaims(store) for region, store in stores.items()}
    email = StreamId("email", "x@example.com")
    for _ in range(data.draw(st.integers(1, 20))):
        what, region = (
            data.draw(st.sampled_from(["claim", "release", "copy", "settle"])),
            data.draw(st.sampled_from(REGIONS)),
        )
        owner = f"user/{data.draw(st.sampled_from(['homer', 'lisa', 'bart']))}"
        if what == "copy":
            copy(stores, region)
        elif what == "settle":
            claims[region].settle(email)
        else:
            claims[region].save([Claim(email, owner) if what == "claim" else Release(email, owner)])
    for _ in range(4):
        copy(stores)
        for region in REGIONS:
            claims[region].settle(email)
    copy(stores)
    assert claims[EAST].owner(email) == claims[WEST].owner(email)
    assert not claims[EAST].owner(email).lost
    for owner in ("homer", "lisa", "bart"):
        told = [event.payload["event"] for event in stores[EAST].read(f"user/{owner}") if event.type == LOST]
        assert len(told) == len(set(told))
