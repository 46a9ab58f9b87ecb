"""The home of a claim: the same everywhere, moved under a fence, and never in two regions at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tenacity import Retrying, retry_if_result, stop_after_attempt

from replicator import (
    EventStore,
    GaveUp,
    InvalidConfig,
    InvalidOperation,
    LaneId,
    MemoryStorage,
    NewEvent,
    Operation,
    OutcomeUnknown,
    RegionUnavailable,
    Rejected,
    Saved,
    StreamId,
)
from replicator.claims import Claim, HomedClaims, Homes, Release
from replicator.claims.homes import STRIPES, HomeMover, HomesNotMoved
from replicator.control.memory_control import MemoryControl
from tests.processes import HANGING_SECONDS
from tests.regions import copy
from tests.replicator.memories import Killed

EAST, WEST, SOUTH = "us-east-1", "eu-west-1", "ap-southeast-2"
REGIONS = (EAST, WEST, SOUTH)
EMAILS = [StreamId("email", f"user{n}@example.com") for n in range(30)]


def homes(epoch: int, *regions: str) -> Homes:
    return Homes(epoch, regions, types=("email",))


@dataclass
class System:
    """Three regions in memory. `copy` is replication; a killed mover stops at its n-th write or step."""

    held: dict[str, MemoryStorage] = field(default_factory=lambda: {region: MemoryStorage() for region in REGIONS})
    kill_at: int = 0
    steps: int = 0
    owners: dict[StreamId, str] = field(default_factory=dict)
    """Who owns what, as everybody was told in turn."""

    @classmethod
    def at_home(cls, region: str) -> System:
        """A system whose claims all have their home in a region."""
        system = cls()
        system.mover().move([region])
        return system

    def store(self, region: str) -> EventStore:
        return EventStore(self.held[region], region, REGIONS)

    def control(self, region: str) -> MemoryControl:
        return self.held[region].control

    def claims(self, region: str) -> HomedClaims:
        return HomedClaims(region, self.control, self.store)

    def mover(self, step: Any = None, types: tuple[str, ...] = ("email",)) -> HomeMover:
        controls = {region: _Control(self, storage.control) for region, storage in self.held.items()}
        return HomeMover(controls, self.held, frozenset(types), step or self.count)  # type: ignore[arg-type]

    def count(self, _: str = "") -> None:
        self.steps += 1
        if self.steps == self.kill_at:
            raise Killed

    def copy(self) -> None:
        copy(self.held)

    def claim(self, client: HomedClaims, email: StreamId, owner: str) -> bool:
        """Claim, and hold the answer against what everybody was told before, also when nothing was written."""
        result = client.save([Claim(email, owner)])
        now = self.owners.get(email)
        if isinstance(result, Saved):
            assert now in (None, owner), f"{email} is told to be {owner}'s, and is {now}'s"
            self.owners[email] = owner
        elif isinstance(result, Rejected):
            assert now not in (None, owner), f"{email} is refused to {owner}, and is {now}'s"
        return isinstance(result, Saved)

    def release(self, client: HomedClaims, email: StreamId, owner: str) -> None:
        result = client.save([Release(email, owner)])
        if isinstance(result, Saved):
            assert self.owners.pop(email) == owner
        elif isinstance(result, Rejected):
            assert self.owners.get(email) != owner

    def look(self, client: HomedClaims, email: StreamId, moving: bool = False) -> None:
        try:
            owner = client.owner(email).owner
        except HomesNotMoved:
            assert moving
            return
        assert (str(owner) if owner else None) == self.owners.get(email)


@dataclass
class _Control:
    system: System
    control: MemoryControl

    def swap(self, *args: Any) -> bool:
        self.system.count()
        done = self.control.swap(*args)
        self.system.count()
        return done

    def swap_each(self, changes: Any) -> None:
        """A process may be killed between any two requests, of 25 statements each."""
        each = list(changes.items())
        for start in range(0, len(each), 25):
            self.system.count()
            self.control.swap_each(dict(each[start : start + 25]))

    def get(self, *args: Any) -> Any:
        return self.control.get(*args)

    def get_scopes(self, *args: Any) -> Any:
        return self.control.get_scopes(*args)

    def get_all(self, *args: Any) -> Iterator[Any]:
        return self.control.get_all(*args)


def empty(control: MemoryControl) -> None:
    """Let a region forget its homes."""
    for scope, values in control.get_scopes(STRIPES.scopes).items():
        control.delete(scope, values)


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
    system = System.at_home(EAST)
    client = system.claims(WEST)
    assert system.claim(client, EMAILS[0], "user/homer")
    system.copy()
    assert system.mover().move([SOUTH]) == homes(2, SOUTH)
    assert client._homes == homes(1, EAST)
    assert system.claim(client, EMAILS[1], "user/homer")
    assert client.home_of(EMAILS[1]) == SOUTH
    assert [lane.region for lane, _ in system.held[SOUTH].lanes() if lane.stream == EMAILS[1]] == [SOUTH]
    assert not system.claim(client, EMAILS[0], "user/lisa")  # the claim has come along to the new home


def test_claims_that_have_not_arrived_keep_homes_closed_and_the_next_run_finishes() -> None:
    system = System.at_home(EAST)
    assert system.claim(system.claims(WEST), EMAILS[0], "user/homer")
    with pytest.raises(HomesNotMoved, match="1 lanes of claims have not arrived"):
        system.mover().move([WEST], wait=0.05)
    result = system.claims(SOUTH).save([Claim(EMAILS[1], "user/homer")])
    assert "being moved" in getattr(result, "reason", "")
    system.copy()
    assert system.mover().move([WEST], wait=0.05) == homes(2, WEST)
    assert system.claim(system.claims(SOUTH), EMAILS[1], "user/homer")


def test_what_a_lost_region_granted_is_brought_to_the_new_home_by_the_move() -> None:
    system = System.at_home(EAST)
    assert system.claim(system.claims(EAST), EMAILS[0], "user/homer")
    lane = LaneId(EAST, EMAILS[0])
    system.held[WEST].insert(list(system.held[EAST].read(lane)))  # it reached one region, not the new home
    with pytest.raises(InvalidConfig, match="no region as both"):
        system.mover().move([EAST, SOUTH], lost=[EAST])
    assert system.mover().move([SOUTH], lost=[EAST], wait=0.05) == homes(2, SOUTH)
    assert list(system.held[SOUTH].read(lane)) == list(system.held[EAST].read(lane))
    assert not system.claim(system.claims(SOUTH), EMAILS[0], "user/lisa")


def _everybody_claims(system: System, clients: dict[str, HomedClaims], turn: int) -> None:
    """Clients in every region, whatever they believe about homes, claim the same e-mails for different owners, owners claim
    again what is theirs, some give it up, and everybody looks who owns what."""
    for region, client in clients.items():
        for email in (EMAILS[turn % len(EMAILS)], EMAILS[0]):
            system.claim(client, email, f"user/{region}-{turn}")
            system.look(client, email, moving=True)
            if email in system.owners:
                system.claim(client, email, system.owners[email])
    for client in list(clients.values())[turn % 3 :: 3]:
        if EMAILS[0] in system.owners:
            system.release(client, EMAILS[0], system.owners[EMAILS[0]])


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking again without waits: what is tried is tried in turn here, so nothing changes while a call waits."""
    policy = Retrying(
        retry=retry_if_result(lambda result: result is None),
        stop=stop_after_attempt(3),
        retry_error_callback=lambda _: None,
    )
    monkeypatch.setattr("replicator.claims.homed.moved_homes", lambda: policy)


@pytest.mark.usefixtures("hasty")
def test_a_move_killed_at_any_step_and_run_again_never_lets_two_own() -> None:
    """Every step of every move is a place to be killed; clients with stale homes claim at every one of them."""
    moves = [((EAST, WEST), ()), ((SOUTH,), ()), ((EAST, SOUTH), ()), ((WEST,), ())]
    killed = 0
    for kill_at in range(1, 77):
        system = System.at_home(EAST)
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
        assert {Homes.read(storage.control) for storage in system.held.values()} == {homes(5, WEST)}
        system.copy()
        for email in system.owners:
            for region in REGIONS:
                system.look(system.claims(region), email)
    assert killed == 76, "as many steps as the moves have"


class Move(threading.Thread):
    """A move that stops before each of its steps until it is told to go on."""

    def __init__(self, system: System, to: tuple[str, ...]) -> None:
        super().__init__(daemon=True)
        self.to = to
        self.over = False
        self.error: HomesNotMoved | None = None
        self._system = system
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.start()
        assert self._stopped.acquire(timeout=HANGING_SECONDS)

    def run(self) -> None:
        controls = {region: storage.control for region, storage in self._system.held.items()}
        try:
            self._step()
            HomeMover(controls, self._system.held, frozenset({"email"}), self._step).move(self.to, wait=0.05)
        except HomesNotMoved as error:
            self.error = error
        finally:
            self.over = True
            self._stopped.release()

    def _step(self, _: str = "") -> None:
        self._stopped.release()
        assert self._go.acquire(timeout=HANGING_SECONDS)

    def go_on(self) -> None:
        self._go.release()
        assert self._stopped.acquire(timeout=HANGING_SECONDS)


@pytest.mark.usefixtures("hasty")
def test_moves_at_once_never_let_two_own_however_their_steps_fall() -> None:
    """Three operators move the homes to different regions, each starting again when it is told of another."""
    refused = 0
    for seed in range(30):
        chance, system = random.Random(seed), System.at_home(EAST)
        clients = {region: system.claims(region) for region in REGIONS}
        moves = [Move(system, to) for to in ((WEST,), (SOUTH,), (EAST, WEST))]
        for turn in range(80):
            move = chance.choice(moves)
            for _ in range(chance.randint(1, 4)):
                if not move.over:
                    move.go_on()
            _everybody_claims(system, clients, turn)
            system.copy()
            if move.over:
                refused += move.error is not None
                moves.remove(move)
                moves += [Move(system, move.to)] if move.error is not None and turn < 40 else []
            if not moves:
                break
        while moves:
            moves[0].go_on() if not moves[0].over else moves.pop(0)
        system.copy()
        last = system.mover().move([WEST], wait=0.05)
        assert {Homes.read(storage.control) for storage in system.held.values()} == {last}
        _everybody_claims(system, clients, 99)
    assert refused > 20


def test_a_mover_that_was_overtaken_opens_nothing() -> None:
    """The other has closed, moved and opened everything between this one's closing and its opening."""
    system = System.at_home(EAST)
    moved: list[Homes] = []

    def step(text: str) -> None:
        if text.startswith("waiting") and not moved:
            moved.append(system.mover().move([WEST]))

    with pytest.raises(HomesNotMoved, match="changed concurrently"):
        system.mover(step).move([SOUTH])
    assert {Homes.read(storage.control) for storage in system.held.values()} == set(moved) == {homes(3, WEST)}


def test_an_epoch_that_was_opened_is_finished_only_where_nobody_has_gone_beyond_it() -> None:
    system = System.at_home(EAST)

    def dies(text: str) -> None:
        if text.startswith(f"{WEST}: opening"):
            raise Killed

    with pytest.raises(Killed):
        system.mover(dies).move([WEST])
    assert Homes.read(system.control(EAST)) == homes(2, WEST)
    assert system.mover().move([WEST]) == homes(2, WEST)
    assert {Homes.read(storage.control) for storage in system.held.values()} == {homes(2, WEST)}
    # A region that was not asked then, and still holds what was before, is closed first.
    old = homes(1, EAST)
    assert system.control(SOUTH).swap("homes", "claims", homes(2, WEST).value, old.value)
    assert system.mover().move([WEST]) == homes(3, WEST)
    assert {Homes.read(storage.control) for storage in system.held.values()} == {homes(3, WEST)}


def test_what_two_moves_have_closed_for_one_epoch_is_closed_anew_for_the_next() -> None:
    """Both died before they had closed every region; neither may open anything any more."""
    system = System.at_home(EAST)
    for region, to in ((EAST, WEST), (SOUTH, SOUTH)):
        closed = Homes(2, (EAST,), False, ("email",), (to,))
        assert system.control(region).swap("homes", "claims", homes(1, EAST).value, closed.value)
    assert system.mover().move([WEST]) == homes(3, WEST)
    assert {Homes.read(storage.control) for storage in system.held.values()} == {homes(3, WEST)}


def test_a_move_that_does_not_know_a_home_names_it_and_changes_nothing() -> None:
    system = System()
    system.mover().move([SOUTH])
    some = {region: system.held[region] for region in (EAST, WEST)}
    mover = HomeMover({region: each.control for region, each in some.items()}, some, frozenset({"email"}))
    with pytest.raises(InvalidConfig, match=f"{SOUTH} may be home.*--peers"):
        mover.move([EAST], wait=0.05)
    assert {Homes.read(storage.control) for storage in system.held.values()} == {homes(1, SOUTH)}


def test_a_move_that_does_not_know_where_another_leads_names_it() -> None:
    """It was killed after closing: whether it will open the new home yet nobody knows."""
    system = System.at_home(EAST)

    def dies(text: str) -> None:
        if text.startswith("waiting"):
            raise Killed

    with pytest.raises(Killed):
        system.mover(dies).move([SOUTH])
    some = {region: system.held[region] for region in (EAST, WEST)}
    mover = HomeMover({region: each.control for region, each in some.items()}, some, frozenset({"email"}))
    with pytest.raises(InvalidConfig, match=f"{SOUTH} may be home"):
        mover.move([WEST], wait=0.05)


def test_a_move_takes_all_types_along_or_says_which_it_would_leave() -> None:
    system = System()
    phone = StreamId("phone", "555-0001")
    system.mover().move([EAST])
    client = system.claims(EAST)
    with pytest.raises(InvalidOperation, match=r"phone is not a claim type of epoch 1 \(email\)"):
        system.claim(client, phone, "user/homer")
    assert system.mover(types=("phone", "email")).move([EAST]) == Homes(2, (EAST,), types=("email", "phone"))
    assert system.claim(client, phone, "user/homer")
    with pytest.raises(InvalidConfig, match=r"phone are claims too.*--types email,phone"):
        system.mover(types=("email",)).move([WEST], wait=0.05)
    with pytest.raises(HomesNotMoved, match="1 lanes of claims have not arrived"):
        system.mover(types=("email", "phone")).move([WEST], wait=0.05)
    system.copy()
    system.mover(types=("email", "phone")).move([WEST], wait=0.05)
    assert not system.claim(system.claims(WEST), phone, "user/lisa")


@pytest.mark.usefixtures("hasty")
def test_a_client_that_knows_only_old_homes_is_told_nothing_old() -> None:
    """Claims that are already their owner's and refusals write nothing, so no guard can find out that the homes moved."""
    system = System.at_home(EAST)
    assert system.claim(system.claims(SOUTH), EMAILS[0], "user/homer")

    def stale() -> HomedClaims:
        client = system.claims(SOUTH)
        client._homes = homes(1, EAST)
        return client

    system.copy()
    system.mover().move([WEST])
    west = system.claims(WEST)
    system.release(west, EMAILS[0], "user/homer")
    assert system.claim(west, EMAILS[0], "user/lisa")
    assert not system.claim(stale(), EMAILS[0], "user/homer")
    assert system.claim(stale(), EMAILS[0], "user/lisa")
    system.release(west, EMAILS[0], "user/lisa")
    assert system.claim(stale(), EMAILS[0], "user/bart")
    system.look(stale(), EMAILS[0])
    assert stale().home_of(EMAILS[0]) == WEST


@pytest.mark.usefixtures("hasty")
def test_a_region_that_no_move_has_told_follows_the_homes_that_were_told() -> None:
    system = System.at_home(EAST)
    some = {region: system.held[region] for region in (EAST, WEST)}
    controls = {region: each.control for region, each in some.items()}
    HomeMover(controls, some, frozenset({"email"})).move([WEST])
    south = system.claims(SOUTH)
    assert Homes.read(system.control(SOUTH)) == homes(1, EAST)
    assert south.home_of(EMAILS[0]) == WEST
    assert system.claim(south, EMAILS[0], "user/homer")
    system.look(system.claims(SOUTH), EMAILS[0])


@pytest.mark.usefixtures("hasty")
def test_a_new_home_that_is_open_is_asked_though_the_own_region_is_still_closed() -> None:
    system = System.at_home(EAST)
    checked = []

    def step(text: str) -> None:
        if text.startswith(f"{SOUTH}: opening"):  # regions are opened in turn: WEST is, SOUTH is not yet
            assert system.claim(system.claims(SOUTH), EMAILS[0], "user/homer")
            system.look(system.claims(SOUTH), EMAILS[0])
            checked.append(system.claims(SOUTH).home_of(EMAILS[0]))

    system.mover(step).move([WEST])
    assert checked == [WEST]


@pytest.mark.usefixtures("hasty")
def test_a_new_home_that_has_everything_answers_before_it_is_opened() -> None:
    system = System.at_home(EAST)
    assert system.claim(system.claims(EAST), EMAILS[0], "user/homer")
    system.copy()
    checked = []

    def step(text: str) -> None:
        if text.startswith(f"{WEST}: opening"):  # EAST has been told that WEST is home
            system.look(system.claims(EAST), EMAILS[0])
            checked.append(system.claims(EAST).home_of(EMAILS[0]))

    system.mover(step).move([WEST])
    assert checked == [WEST]


@pytest.mark.usefixtures("hasty")
def test_a_region_without_homes_says_so_and_is_told_by_the_next_move() -> None:
    system = System()
    some = {region: system.held[region] for region in (EAST, WEST)}
    controls = {region: each.control for region, each in some.items()}
    HomeMover(controls, some, frozenset({"email"})).move([EAST])
    for ask in (system.claims(SOUTH).owner, system.claims(SOUTH).home_of):
        with pytest.raises(InvalidConfig, match=f"{SOUTH} has no record of claim homes"):
            ask(EMAILS[0])
    assert system.mover().move([EAST]) == homes(1, EAST)  # the same epoch: nothing had to be closed
    assert system.claim(system.claims(SOUTH), EMAILS[0], "user/homer")


@pytest.mark.usefixtures("hasty")
def test_a_home_that_lost_its_control_state_grants_and_answers_nothing_until_homes_are_set_again() -> None:
    system = System.at_home(EAST)
    assert system.claim(system.claims(WEST), EMAILS[0], "user/homer")
    empty(system.control(EAST))
    client = system.claims(WEST)
    assert isinstance(client.save([Claim(EMAILS[1], "user/homer")]), GaveUp)
    assert isinstance(client.save([Claim(EMAILS[0], "user/homer")]), GaveUp)
    with pytest.raises(HomesNotMoved, match="homes --set"):
        client.owner(EMAILS[0])
    system.mover().move([EAST])
    system.look(client, EMAILS[0])
    assert system.claim(client, EMAILS[1], "user/homer")


def test_an_unanswered_write_that_never_landed_never_will_once_homes_have_moved() -> None:
    system = System.at_home(EAST)
    client = HomedClaims(WEST, system.control, lambda region: EventStore(Silent(system, lands=False), region, REGIONS))
    with pytest.raises(OutcomeUnknown) as never:
        client.save([Claim(EMAILS[0], "user/homer")])
    client = HomedClaims(WEST, system.control, lambda region: EventStore(Silent(system, lands=True), region, REGIONS))
    with pytest.raises(OutcomeUnknown) as landed:
        client.save([Claim(EMAILS[1], "user/homer")])
    system.copy()
    system.mover().move([WEST])
    assert system.claim(system.claims(WEST), EMAILS[0], "user/lisa")
    assert system.store(EAST).resolve(never.value.events) is False
    assert not list(system.held[EAST].read(LaneId(EAST, EMAILS[0])))
    assert system.store(EAST).resolve(landed.value.events) is True  # it was there before anything moved


class Silent(MemoryStorage):
    """EAST's storage, whose answers to writes are lost."""

    def __init__(self, system: System, lands: bool) -> None:
        super().__init__(system.control(EAST))
        self._of, self._lands = system.held[EAST], lands
        self._lanes = self._of._lanes

    def insert(self, events: Any, guards: Any = ()) -> bool:
        if self._lands:
            self._of.insert(events, guards)
        raise OutcomeUnknown("no answer", events)


def test_a_home_that_is_gone_is_not_asked_again_once_its_claims_have_moved() -> None:
    system = System.at_home(EAST)
    gone: list[str] = []

    def store(region: str) -> EventStore:
        if region in gone:
            raise RegionUnavailable(region)
        return system.store(region)

    client = HomedClaims(SOUTH, system.control, store)
    assert system.claim(client, EMAILS[0], "user/homer")
    system.copy()
    gone.append(EAST)
    with pytest.raises(RegionUnavailable):
        client.save([Claim(EMAILS[1], "user/homer")])
    system.mover().move([WEST], lost=[EAST])
    assert system.claim(client, EMAILS[1], "user/homer")
    gone.clear()  # it is back, rebuilt, and knows of nothing
    empty(system.control(EAST))
    client._homes = homes(1, EAST)
    assert system.claim(client, EMAILS[2], "user/homer")


@pytest.mark.parametrize(("more", "fewer"), [(SOUTH, WEST), (WEST, SOUTH)])
def test_of_those_who_hold_a_lost_region_s_claims_the_one_that_holds_most_counts(more: str, fewer: str) -> None:
    system = System.at_home(EAST)
    east = system.claims(EAST)
    assert system.claim(east, EMAILS[0], "user/homer")
    system.release(east, EMAILS[0], "user/homer")
    assert system.claim(east, EMAILS[0], "user/lisa")
    events = list(system.held[EAST].read(LaneId(EAST, EMAILS[0])))
    system.held[more].insert_each(events)
    system.held[fewer].insert_each(events[:1])
    system.mover().move([fewer], lost=[EAST], wait=0.05)
    system.look(system.claims(SOUTH), EMAILS[0])


def test_a_claim_that_is_kept_together_with_something_holds_its_stream() -> None:
    """Between the decision and the write another process releases it, and somebody else claims it."""
    system = System.at_home(EAST)
    assert system.claim(system.claims(EAST), EMAILS[0], "user/homer")
    assert system.claims(EAST).save([Claim(EMAILS[0], "user/homer")]).events == ()  # type: ignore[union-attr]
    overtaking = Overtaking(system)
    client = HomedClaims(EAST, system.control, lambda region: EventStore(overtaking, region, REGIONS))
    written = Operation("user/homer", NewEvent("email_set", {"value": EMAILS[0].id}))
    assert isinstance(client.save([Claim(EMAILS[0], "user/homer")], written), Rejected)
    assert not list(system.store(EAST).read("user/homer"))
    assert system.owners[EMAILS[0]] == "user/lisa"


class Overtaking(MemoryStorage):
    """EAST's storage as one process sees it that another overtakes, once."""

    def __init__(self, system: System) -> None:
        super().__init__(system.control(EAST))
        self._of, self._system, self._once = system.held[EAST], system, True
        self._lanes = self._of._lanes

    def insert(self, events: Any, guards: Any = ()) -> bool:
        if self._once:
            self._once = False
            other = self._system.claims(EAST)
            self._system.release(other, EMAILS[0], "user/homer")
            assert self._system.claim(other, EMAILS[0], "user/lisa")
        return self._of.insert(events, guards)


def test_claims_made_at_the_same_time_check_different_items_and_all_of_them_are_closed_before_a_move_drains() -> None:
    system = System.at_home(EAST)
    client = system.claims(WEST)
    seen: list[Any] = []
    insert = system.held[EAST].insert

    def noting(events: Any, guards: Any = ()) -> bool:
        seen.extend(guards)
        return insert(events, guards)

    system.held[EAST].insert = noting  # type: ignore[method-assign]
    for email in EMAILS:
        assert system.claim(client, email, "user/homer")
    assert len({(guard.scope, guard.key) for guard in seen}) > 1
    assert ("homes", "claims") not in {(guard.scope, guard.key) for guard in seen}
    steps: list[str] = []

    def step(name: str) -> None:
        if name.startswith("waiting"):
            for region in REGIONS:
                held = system.control(region).get_scopes(STRIPES.scopes)
                assert {value["open"] for values in held.values() for key, value in values.items() if len(key) == 1} == {
                    False
                }
            steps.append(name)

    system.copy()
    system.mover(step).move([WEST])
    assert steps


def test_homes_that_were_set_by_a_version_without_stripes_are_checked_where_they_are() -> None:
    system = System.at_home(EAST)
    for region in REGIONS:
        control = system.control(region)
        for scope, values in control.get_scopes(STRIPES.scopes).items():
            control.delete(scope, {key: value for key, value in values.items() if key != "claims"})
    client = system.claims(WEST)
    assert system.claim(client, EMAILS[0], "user/homer")
    assert client._plain == homes(1, EAST)
    system.copy()
    system.mover().move([WEST])
    assert system.claim(client, EMAILS[1], "user/homer")
    assert client._plain != client._homes, "the move has made the stripes"


def test_a_move_that_was_killed_before_the_stripes_makes_them_whole_when_it_is_run_again() -> None:
    system = System.at_home(EAST)
    system.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(STRIPES), "set", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            system.mover().move([WEST])
    system.mover().move([WEST])
    for region in REGIONS:
        held = system.control(region).get_scopes(STRIPES.scopes)
        assert {value["epoch"] for values in held.values() for value in values.values()} == {2}
    assert system.claim(system.claims(SOUTH), EMAILS[0], "user/homer")
