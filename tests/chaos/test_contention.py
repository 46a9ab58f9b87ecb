"""Contention: the run on real regions keeps every promise, and its checks find each one broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos.checker.check import check
from chaos.checker.contended import CONTENTION, Decisions
from chaos.checker.final_reads import kept_of
from chaos.checker.history import Final, History, Kept, KeptView
from chaos.checker.verdict import Verdict
from chaos.scenarios.contention import Contention, run_contention
from chaos.workload.client import Client
from replicator import InvalidConfig, MemoryStorage, NewEvent, Operation
from replicator.claims import Claim, OptimisticClaims
from replicator.eventstore.event_items import to_item
from tests.chaos.quiet import Quiet
from tests.regions import copy, stores_over

EAST, WEST = "us-east-1", "eu-west-1"
TALLY, HOMED, EMAIL, NICK = "tally/t-1", "tally/t-0", "email/e-1", "nickname/n-1"
USERS = ["user/w0", "user/w1"]
FIELDS = [
    "kept", "seconds", "settled", "operations", "lost", "acknowledged_twice", "from_nowhere", "different", "lost_updates",
    "owned_twice", "not_one_owner", "not_told", "decisions", "concurrent", "claims", "conflicts", "examples",
]  # fmt: skip
"""Of the JSON of `chaos contend`, which other programs read."""


@pytest.mark.emulator
def test_a_small_run_keeps_every_promise() -> None:
    outcome = run_contention(Contention(operations=300, writers=4, streams=8), Quiet())
    assert outcome.verdict.broken == {}, outcome.verdict.examples
    assert outcome.operations == 300
    assert {kind for kind, _ in outcome.counts} == {"decide", "at token", "transfer", "homed claim", "optimistic claim"}
    assert set(outcome.verdict.untested) <= {"not_told"}  # whether anybody lost a claim, hangs on who was quicker
    assert outcome.figures["decisions"] > 100
    assert outcome.as_json()["kept"] is True
    assert list(outcome.as_json()) == FIELDS


@pytest.mark.soak
def test_ten_thousand_operations_of_eight_writers_on_a_hundred_streams_keep_every_promise() -> None:
    outcome = run_contention(Contention(operations=10_000, writers=8, streams=100), Quiet())
    assert outcome.verdict.broken == {}, outcome.verdict.examples
    assert outcome.operations == 10_000
    assert outcome.figures["conflicts"] > 0  # the regions were cut off from each other while they claimed
    assert outcome.concurrent > 0


@pytest.mark.parametrize("wrong", [{"writers": 1}, {"streams": 3}, {"operations": 7}])
def test_a_plan_that_shows_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidConfig, match="at least"):
        Contention(**wrong)


class Run:
    """A short run without a flaw: decisions, a claim at home, a conflict that was settled."""

    def __init__(self) -> None:
        self.history = History(lambda: 0.0)
        held = {region: MemoryStorage() for region in (EAST, WEST)}
        stores = stores_over(held)
        clients = {region: Client(f"w{number}", region, self.history) for number, region in enumerate(held)}
        for total in (1, 2, 3):
            for stream in (TALLY, HOMED):
                asked = {"id": f"{stream}.{total}", "n": 1}
                added = Operation(stream, NewEvent("added", {**asked, "total": total}))
                value = [{**asked, "stream": stream, "type": "added"}]
                clients[EAST].save("decide", value, lambda added=added: stores[EAST].save(added))  # type: ignore[misc]
        for name, stream, region in (
            ("claim", EMAIL, EAST),
            ("optimistic claim", NICK, EAST),
            ("optimistic claim", NICK, WEST),
        ):
            owner = f"user/{clients[region].process}"
            claim = Claim(stream, owner).operation()
            value = {"id": f"{stream}.{region}", "stream": stream, "owner": owner}  # type: ignore[assignment]
            clients[region].save(name, value, lambda claim=claim, region=region: stores[region].save(claim))  # type: ignore[misc]
        for _ in range(2):
            copy(held)
            for store in stores.values():
                OptimisticClaims(store).settle(NICK)
        owner = str(OptimisticClaims(stores[EAST]).owner(NICK).owner)
        self.finals = {region: self._final(table, owner) for region, table in held.items()}

    def _final(self, table: MemoryStorage, owner: str) -> Final:
        events = [kept_of(to_item(event)) for lane, _ in table.lanes() for event in table.read(lane)]
        views = {stream: KeptView({EAST: 3}, {"total": 3}, "3") for stream in (TALLY, HOMED)}
        return Final(events, views, owners={NICK: owner, EMAIL: "user/w0"})

    def of(self, stream: str, type: str = "", region: str = EAST) -> list[Kept]:
        return [kept for kept in self.finals[region].events if kept.stream == stream and type in kept.type]

    def everywhere(self, change: Callable[[list[Kept]], None]) -> None:
        for final in self.finals.values():
            change(final.events)

    def judge(self) -> Verdict:
        decisions = Decisions(lambda _: EAST, lambda stream: EAST if stream == HOMED else None)
        return check(self.history, self.finals, "tally", decisions, CONTENTION)


def test_a_run_without_a_flaw_is_found_to_be_one() -> None:
    verdict = Run().judge()
    assert (verdict.broken, verdict.untested) == ({}, ["torn"]), verdict.examples
    assert (verdict.findings["lost_updates"].looked, verdict.findings["not_told"].looked) == (6, 1)


def lose_an_event(run: Run) -> None:
    run.finals[WEST].events.remove(run.of(TALLY, region=WEST)[1])


def tell_two_writers_of_one_event(run: Run) -> None:
    """The second writer's own event was never written: it took the first one's for its own."""
    first = run.history.calls[0]
    call = run.history.invoke("w1", EAST, "decide", first.value, {})
    run.history.ok(call, first.events)


def invent_an_event(run: Run) -> None:
    run.history.calls.pop(0)


def change_an_event(run: Run, stream: str, number: int, **changes: Any) -> None:
    old = run.of(stream)[number]
    run.everywhere(lambda events: events.__setitem__(events.index(old), replace(old, **changes)))


def decide_on_an_old_state(run: Run) -> None:
    """The third decision was made on the first event, as if the second were not there: the lost update."""
    change_an_event(run, TALLY, 2, payload={**run.of(TALLY)[2].payload, "total": 2}, observed={EAST: 1})


def decide_twice_at_home(run: Run) -> None:
    last = run.of(HOMED)[-1]
    run.everywhere(lambda events: events.append(replace(last, sequence=4)))


def miscount(run: Run) -> None:
    for final in run.finals.values():
        final.views[TALLY] = replace(final.views[TALLY], value={"total": 4})


def grant_an_address_twice(run: Run) -> None:
    (first,) = run.of(EMAIL)
    run.everywhere(lambda events: events.append(replace(first, sequence=2, payload={"owner": "user/w1"})))


def grant_an_address_away_from_home(run: Run) -> None:
    change_an_event(run, EMAIL, 0, lane=f"{WEST}#email#e-1")


def leave_the_regions_two_owners(run: Run) -> None:
    owner = run.finals[WEST].owners[NICK]
    run.finals[WEST].events.remove(next(kept for kept in run.of(NICK, "claimed", WEST) if kept.payload["owner"] == owner))


def say_another_owner(run: Run) -> None:
    run.finals[WEST].owners[NICK] = "user/w7"


def say_no_owner(run: Run) -> None:
    run.finals[EAST].owners[NICK] = None


def say_another_owner_of_an_address(run: Run) -> None:
    run.finals[WEST].owners[EMAIL] = None


def tell_nobody(run: Run) -> None:
    for user in USERS:
        for kept in run.of(user):
            run.everywhere(lambda events, kept=kept: events.remove(kept))  # type: ignore[misc]


def tell_twice(run: Run) -> None:
    (told,) = run.of(NICK, "claim_lost")
    run.everywhere(lambda events: events.append(replace(told, sequence=told.sequence + 1)))


@pytest.mark.parametrize(
    ("spoil", "promise"),
    [
        (lose_an_event, "lost"),
        (tell_two_writers_of_one_event, "acknowledged_twice"),
        (invent_an_event, "from_nowhere"),
        (lose_an_event, "regions_identical"),
        (decide_on_an_old_state, "lost_updates"),
        (decide_twice_at_home, "lost_updates"),
        (decide_twice_at_home, "duplicated"),
        (miscount, "counters"),
        (grant_an_address_twice, "claims"),
        (grant_an_address_away_from_home, "not_at_home"),
        (say_another_owner_of_an_address, "claims"),
        (leave_the_regions_two_owners, "not_one_owner"),
        (say_another_owner, "not_one_owner"),
        (say_no_owner, "not_one_owner"),
        (tell_nobody, "not_told"),
        (tell_twice, "not_told"),
    ],
)
def test_each_promise_that_is_broken_is_found(spoil: Callable[[Run], None], promise: str) -> None:
    run = Run()
    spoil(run)
    assert promise in run.judge().broken
