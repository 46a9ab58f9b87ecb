"""Optimistic claims are settled by the projector of each region as their events arrive, worker and function alike."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
import structlog

from chaos.world.world import World
from replicator import (
    EventStore,
    HybridLogicalClock,
    InvalidConfig,
    MemoryStorage,
    NewEvent,
    Operation,
    RegionUnavailable,
    StreamId,
)
from replicator.claims import Claim, Lost, OptimisticClaims
from replicator.claims.ownership import CLAIMED, LOST
from replicator.claims.settler import Settler, load_compensation
from replicator.eventstore.store_errors import OutcomeUnknown
from replicator.fencing.roles import ACTIVE, FENCED
from replicator.ops.runbooks.steps import set_role
from replicator.runtime.settings import Settings, read_settings
from tests.processes import wait_until
from tests.regions import EAST, WEST, copy, stores_over
from tests.replicator.memories import Memories

NICK = StreamId("nickname", "el-barto")


def compensate(claim: StreamId, lost: Lost) -> list[NewEvent]:
    return [NewEvent("nickname_cleared", {"nickname": claim.id})]


def conflict(*claims: StreamId) -> dict[str, EventStore]:
    held = {region: MemoryStorage() for region in (EAST, WEST)}
    stores = stores_over(held)
    for region in stores:
        for claim in claims or (NICK,):
            OptimisticClaims(stores[region]).save([Claim(claim, f"user/{region}")])
    copy(held)
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


@pytest.mark.parametrize("error", [OutcomeUnknown("no answer", []), RegionUnavailable("no answer")])
def test_what_cannot_be_settled_now_comes_again(error: Exception) -> None:
    stores = conflict()
    for store in stores.values():

        def silent(events: Any, guards: Any = ()) -> bool:
            raise error

        store._lanes._storage.insert = silent  # type: ignore[method-assign]
    errors = []
    for store in stores.values():
        try:
            Settler(OptimisticClaims(store), ["nickname"]).settle_all([NICK])
        except RegionUnavailable as unsettled:
            errors.append(str(unsettled))
    (said,) = errors  # the winner's region has nobody to tell
    assert said.endswith("no answer")


def test_a_claim_that_cannot_be_settled_is_logged_and_the_others_are() -> None:
    """Its compensation fails; what it fails on may be a person's data, so only the place is logged."""
    other = StreamId("nickname", "max-power")
    stores = conflict(other, NICK)

    def picky(claim: StreamId, lost: Lost) -> list[NewEvent]:
        if claim == other:
            raise KeyError("homer@example.com")
        return compensate(claim, lost)

    with structlog.testing.capture_logs() as logs:
        for store in stores.values():
            Settler(OptimisticClaims(store, picky), ["nickname"]).settle_all([other, NICK])
    (unsettled,) = [line for line in logs if line["event"] == "claim.unsettled"]
    assert unsettled["claim"] == str(other)
    assert unsettled["error"].startswith("KeyError at test_settling.py:")
    assert "homer" not in str(unsettled)
    told = [e.payload for region, store in stores.items() for e in store.read_lane(f"user/{region}", region)]
    assert told == [{"nickname": NICK.id}]
    for store in stores.values():  # mended, the next event has it settled
        Settler(OptimisticClaims(store, compensate), ["nickname"]).settle(list(store.read(other)))
    told = [e.payload for region, store in stores.items() for e in store.read_lane(f"user/{region}", region)]
    assert sorted(each["nickname"] for each in told) == [NICK.id, other.id]


def test_a_fence_holds_up_no_view_and_who_lost_is_told_when_it_is_open() -> None:
    memories = Memories([EAST, WEST])
    stores = {region: memories.store(region) for region in (EAST, WEST)}
    for region, store in stores.items():
        OptimisticClaims(store).save([Claim(NICK, f"user/{region}")])
    memories.copy_all()
    settlers = {region: Settler(OptimisticClaims(stores[region], compensate), ["nickname"]) for region in stores}

    def told() -> list[str]:
        for region, settler in settlers.items():
            settler.settle_all([NICK])
            settler.settle(list(stores[region].read(NICK)))
        return [e.type for region, store in stores.items() for e in store.read_lane(f"user/{region}", region)]

    for name in (FENCED, ACTIVE):
        for region in (EAST, WEST):
            set_role(memories.system(), region, name, f"a test: {name}")
        memories.now += 10
        assert told() == (["nickname_cleared"] if name == ACTIVE else [])


def test_a_claim_of_a_clock_that_is_ahead_holds_up_no_other() -> None:
    now = time.time_ns() // 1_000_000
    far, later = now + 3_000_000, now + 10_000
    other = StreamId("nickname", "max-power")
    held = {region: MemoryStorage() for region in (EAST, WEST)}
    ahead = EventStore(held[EAST], EAST, [EAST, WEST], HybridLogicalClock(lambda: far))
    west = EventStore(held[WEST], WEST, [EAST, WEST])
    OptimisticClaims(west).save([Claim(other, "user/lisa")])
    OptimisticClaims(ahead).save([Claim(other, "user/homer")])
    OptimisticClaims(west).save([Claim(NICK, "user/lisa")])
    east = EventStore(held[EAST], EAST, [EAST, WEST], HybridLogicalClock(lambda: later))
    OptimisticClaims(east).save([Claim(NICK, "user/homer")])
    copy(held)
    with structlog.testing.capture_logs() as logs:
        Settler(OptimisticClaims(EventStore(held[EAST], EAST, [EAST, WEST])), ["nickname"]).settle_all([other, NICK])
    (unsettled,) = [line for line in logs if line["event"] == "claim.unsettled"]
    assert (unsettled["claim"], unsettled["error"].split()[0]) == (str(other), "ClockAhead")
    told = [event.payload["claim"] for event in EventStore(held[EAST], EAST, [EAST, WEST]).read_lane("user/homer")]
    assert told == [str(NICK)]


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
    with World([EAST, WEST], ["chaos.scenarios.contention:Tally"]) as world:
        for region in world.regions.values():
            region.replicator.freeze()
        stores = {region: world.store(region) for region in (EAST, WEST)}
        for region, store in stores.items():
            OptimisticClaims(store).save([Claim(NICK, f"user/{region}")])
        for region in world.regions.values():
            region.replicator.thaw()

        def told() -> list[list[str]]:
            return [[e.type for store in stores.values() for e in store.read(f"user/{region}")] for region in stores]

        wait_until(lambda: sorted(told()) == [[], [LOST, LOST]], "the loser's one event, in both regions", pause=0.2)
        (owner,) = {str(OptimisticClaims(store).owner(NICK).owner) for store in stores.values()}
        assert told()[list(stores).index(owner.removeprefix("user/"))] == []


def test_settings_of_another_region_keep_what_all_regions_share() -> None:
    settings = Settings(EAST, (WEST,), optimistic_claims=("nickname",))
    assert settings.at(WEST) == replace(settings, region=WEST, peers=(EAST,))
    assert settings.at(EAST) == settings
