"""Optimistic claims are settled by the projector of each region as their events arrive, worker and function alike."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from chaos.world import World
from replicator import EventStore, InvalidConfig, MemoryStorage, NewEvent, Operation, RegionUnavailable, StreamId
from replicator.claims import Claim, Lost, OptimisticClaims
from replicator.claims.ownership import CLAIMED, LOST
from replicator.claims.settling import Settler, load_compensation
from replicator.errors import OutcomeUnknown
from replicator.settings import Settings, read_settings

EAST, WEST = "us-east-1", "eu-west-1"
NICK = StreamId("nickname", "el-barto")


def compensate(claim: StreamId, lost: Lost) -> list[NewEvent]:
    return [NewEvent("nickname_cleared", {"nickname": claim.id})]


def conflict() -> dict[str, EventStore]:
    held = {region: MemoryStorage() for region in (EAST, WEST)}
    stores = {region: EventStore(held[region], region, [EAST, WEST]) for region in held}
    for region in stores:
        OptimisticClaims(stores[region]).save([Claim(NICK, f"user/{region}")])
    for home, there in ((EAST, WEST), (WEST, EAST)):
        for lane, _ in list(held[home].lanes()):
            if lane.region == home:
                held[there].insert_each(list(held[home].read(lane)))
    return stores


def test_the_event_that_brings_a_conflict_has_it_settled_in_the_loser_s_region() -> None:
    stores = conflict()
    for store in stores.values():
        Settler(OptimisticClaims(store, compensate), ["nickname"]).settle(list(store.read(NICK)))
    told = [e.type for region, store in stores.items() for e in store.read_lane(f"user/{region}", region)]
    assert told == ["nickname_cleared"]


def test_streams_of_other_types_are_passed_over() -> None:
    stores = conflict()
    for store in stores.values():
        Settler(OptimisticClaims(store, compensate), ["email"]).settle(list(store.read(NICK)))
        assert not [event for event in store.read(NICK) if event.type == LOST]


def test_what_cannot_be_settled_now_comes_again() -> None:
    stores = conflict()
    for store in stores.values():

        def silent(events: Any, guards: Any = ()) -> bool:
            raise OutcomeUnknown("no answer", events)

        store._storage.insert = silent  # type: ignore[method-assign]
    errors = []
    for store in stores.values():
        try:
            Settler(OptimisticClaims(store), ["nickname"]).settle_all([NICK])
        except RegionUnavailable as error:
            errors.append(str(error))
    (said,) = errors  # the winner's region has nobody to tell
    assert "nickname/el-barto is not settled yet" in said


@pytest.mark.parametrize("payload", [{}, {"owner": 7}, {"owner": "nobody"}, {"owner": ["user/x"]}, {"owner": ""}])
def test_an_event_that_is_no_claim_stops_nothing(payload: dict[str, Any]) -> None:
    store = EventStore(MemoryStorage(), EAST, [EAST, WEST])
    store.save(Operation(NICK, [NewEvent(CLAIMED, payload), NewEvent(LOST, payload)]))
    claims = OptimisticClaims(store)
    assert claims.owner(NICK).owner is None
    assert claims.settle(NICK) == []


def test_the_compensation_is_named_in_the_settings() -> None:
    environment = {
        "MERIDIAN_REGION": EAST, "MERIDIAN_OPTIMISTIC_CLAIMS": "nickname, email",
        "MERIDIAN_COMPENSATION": f"{__name__}:compensate",
    }  # fmt: skip
    settings = read_settings(environment)
    assert settings.optimistic_claims == ("nickname", "email")
    assert load_compensation(settings.compensation).__name__ == "compensate"
    for wrong, says in (("x", "module:Name"), ("no.such:f", "loaded"), ("json:decoder", "a module"), (".a:b", "form")):
        with pytest.raises(InvalidConfig, match=says):
            load_compensation(wrong)


@pytest.mark.emulator
def test_real_projectors_settle_a_conflict_of_a_real_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MERIDIAN_OPTIMISTIC_CLAIMS", "nickname")
    with World([EAST, WEST], ["chaos.contention:Tally"]) as world:
        for region in world.regions.values():
            region.replicator.freeze()
        stores = {region: world.store(region) for region in (EAST, WEST)}
        for region, store in stores.items():
            OptimisticClaims(store).save([Claim(NICK, f"user/{region}")])
        for region in world.regions.values():
            region.replicator.thaw()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            told = [[e.type for store in stores.values() for e in store.read(f"user/{region}")] for region in stores]
            if sorted(told) == [[], [LOST, LOST]]:  # the loser's one event, in both regions
                break
            time.sleep(0.2)
        assert sorted(told) == [[], [LOST, LOST]]
        (owner,) = {str(OptimisticClaims(store).owner(NICK).owner) for store in stores.values()}
        assert told[list(stores).index(owner.removeprefix("user/"))] == []


def test_settings_of_another_region_keep_what_all_regions_share() -> None:
    settings = Settings(EAST, (WEST,), optimistic_claims=("nickname",))
    assert settings.at(WEST) == replace(settings, region=WEST, peers=(EAST,))
    assert settings.at(EAST) == settings
