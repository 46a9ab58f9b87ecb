"""The home of a claim: the same everywhere, moved under a fence, and never in two regions at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import Retrying, retry_if_result, stop_after_attempt

from replicator import EventStore, InvalidConfig, LaneId, MemoryStorage, Saved, StreamId
from replicator.claims import Claim, HomedClaims, Homes
from replicator.claims.homes import HomeMover, HomesNotMoved
from replicator.control import MemoryControl

EAST, WEST, SOUTH = "us-east-1", "eu-west-1", "ap-southeast-2"
REGIONS = (EAST, WEST, SOUTH)
EMAILS = [StreamId("email", f"user{n}@example.com") for n in range(30)]


class Killed(Exception):
    pass


@dataclass
class System:
    """Three regions in memory. `copy` is replication; a killed mover stops at its n-th write or step."""

    held: dict[str, MemoryStorage] = field(default_factory=lambda: {region: MemoryStorage() for region in REGIONS})
    kill_at: int = 0
    steps: int = 0
    owners: dict[StreamId, list[str]] = field(default_factory=dict)

    def store(self, region: str) -> EventStore:
        return EventStore(self.held[region], region, REGIONS)

    def claims(self, region: str) -> HomedClaims:
        return HomedClaims(self.held[region].control, self.store)

    def mover(self, step: Any = None) -> HomeMover:
        controls = {region: _Control(self, storage.control) for region, storage in self.held.items()}
        return HomeMover(controls, self.held, frozenset({"email"}), step or self.count)  # type: ignore[arg-type]

    def count(self, _: str = "") -> None:
        self.steps += 1
        if self.steps == self.kill_at:
            raise Killed

    def copy(self) -> None:
        for home in REGIONS:
            for lane, _ in list(self.held[home].lanes()):
                for there in REGIONS if lane.region == home else ():
                    self.held[there].insert_each(list(self.held[home].read(lane)))

    def claim(self, client: HomedClaims, email: StreamId, owner: str) -> bool:
        if isinstance(result := client.save([Claim(email, owner)]), Saved):
            if result.events:
                self.owners.setdefault(email, []).append(owner)
            return True
        return False


@dataclass
class _Control:
    system: System
    control: MemoryControl

    def swap(self, *args: Any) -> bool:
        self.system.count()
        done = self.control.swap(*args)
        self.system.count()
        return done

    def get_all(self, *args: Any) -> Iterator[Any]:
        return self.control.get_all(*args)


@given(st.sets(st.sampled_from([f"eu-west-{n}" for n in range(1, 9)]), min_size=2))
def test_a_region_that_leaves_moves_its_own_claims_alone(regions: set[str]) -> None:
    before = Homes(1, tuple(sorted(regions)))
    left = sorted(regions)[0]
    after = Homes(2, tuple(sorted(regions - {left})))
    for email in EMAILS:
        assert before.home_of(email) == Homes(7, tuple(sorted(regions, reverse=True))).home_of(email)
        if before.home_of(email) != left:
            assert after.home_of(email) == before.home_of(email)


def test_claims_are_spread_over_their_homes() -> None:
    homes = Homes(1, REGIONS)
    counted = [homes.home_of(StreamId("email", f"{n}@x")) for n in range(3000)]
    assert all(800 < counted.count(region) < 1200 for region in REGIONS)


def test_nothing_can_be_claimed_before_homes_are_named() -> None:
    system = System()
    with pytest.raises(InvalidConfig, match="replicator homes --set"):
        system.claims(EAST).save([Claim(EMAILS[0], "user/homer")])


def test_a_stale_client_is_fenced_and_looks_again() -> None:
    system = System()
    system.mover().move([EAST])
    client = system.claims(WEST)
    assert system.claim(client, EMAILS[0], "user/homer")
    system.copy()
    assert system.mover().move([SOUTH]) == Homes(2, (SOUTH,))
    assert client._homes == Homes(1, (EAST,))
    assert system.claim(client, EMAILS[1], "user/homer")
    assert client.home_of(EMAILS[1]) == SOUTH
    assert [lane.region for lane, _ in system.held[SOUTH].lanes() if lane.stream == EMAILS[1]] == [SOUTH]
    assert not system.claim(client, EMAILS[0], "user/lisa")  # the claim has come along to the new home


def test_claims_that_have_not_arrived_keep_homes_closed_and_the_next_run_finishes() -> None:
    system = System()
    system.mover().move([EAST])
    assert system.claim(system.claims(WEST), EMAILS[0], "user/homer")
    with pytest.raises(HomesNotMoved, match="1 lanes of claims have not arrived"):
        system.mover().move([WEST], wait=0.05)
    result = system.claims(SOUTH).save([Claim(EMAILS[1], "user/homer")])
    assert "being moved" in getattr(result, "reason", "")
    system.copy()
    assert system.mover().move([WEST], wait=0.05) == Homes(2, (WEST,))
    assert system.claim(system.claims(SOUTH), EMAILS[1], "user/homer")


def test_what_a_lost_region_granted_is_brought_to_the_new_home_by_the_move() -> None:
    system = System()
    system.mover().move([EAST])
    assert system.claim(system.claims(EAST), EMAILS[0], "user/homer")
    lane = LaneId(EAST, EMAILS[0])
    system.held[WEST].insert(list(system.held[EAST].read(lane)))  # it reached one region, not the new home
    with pytest.raises(InvalidConfig, match="none as both"):
        system.mover().move([EAST, SOUTH], lost=[EAST])
    assert system.mover().move([SOUTH], lost=[EAST], wait=0.05) == Homes(2, (SOUTH,))
    assert list(system.held[SOUTH].read(lane)) == list(system.held[EAST].read(lane))
    assert not system.claim(system.claims(SOUTH), EMAILS[0], "user/lisa")


def _everybody_claims(system: System, clients: dict[str, HomedClaims], turn: int) -> None:
    """Clients in every region, whatever they believe about homes, claim the same e-mails for different owners."""
    for region, client in clients.items():
        system.claim(client, EMAILS[turn % len(EMAILS)], f"user/{region}-{turn}")
        system.claim(client, EMAILS[0], f"user/{region}-{turn}")


def test_a_move_killed_at_any_step_and_run_again_never_lets_two_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step of every move is a place to be killed; clients with stale homes claim at every one of them."""
    hasty = Retrying(
        retry=retry_if_result(lambda result: result is None),
        stop=stop_after_attempt(2),
        retry_error_callback=lambda _: None,
    )
    monkeypatch.setattr("replicator.claims.homed.moved_homes", lambda: hasty)
    moves = [((EAST, WEST), ()), ((SOUTH,), ()), ((EAST, SOUTH), ()), ((WEST,), ())]
    killed = 0
    for kill_at in range(1, 60):
        system = System()
        system.mover().move([EAST])
        clients = {region: system.claims(region) for region in REGIONS}
        turn = 0

        def step(_: str = "", system: System = system, clients: Any = clients) -> None:
            nonlocal turn
            turn += 1
            _everybody_claims(system, clients, turn)
            system.copy()
            system.count()

        _everybody_claims(system, clients, 0)
        system.steps, system.kill_at = 0, kill_at
        for to, lost in moves:
            try:
                system.mover(step).move(to, lost, wait=0.05)
            except Killed:
                killed += 1
                _everybody_claims(system, clients, turn)
                system.copy()
                system.mover(step).move(to, lost, wait=0.05)
        assert {Homes.read(storage.control) for storage in system.held.values()} == {Homes(5, (WEST,))}
        assert all(len(owners) == 1 for owners in system.owners.values()), system.owners
        system.copy()
        for email, (owner,) in system.owners.items():
            assert {str(system.claims(region).owner(email).owner) for region in REGIONS} == {owner}
    assert killed > 20
