"""Contention: the run on real regions keeps every promise, and its checks find each one broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos.contention import Contention, run_contention
from chaos.contention_check import Findings, Histories, Note, Owners, check
from replicator import EventStore, InvalidConfig, MemoryStorage, NewEvent, Operation, StreamId, VersionVector
from replicator.claims import Claim, OptimisticClaims
from replicator.domain.event import Event, seal

EAST, WEST = "us-east-1", "eu-west-1"
TALLY, HOMED, EMAIL, NICK = (StreamId(*name.split("/")) for name in ("tally/t-1", "tally/t-0", "email/e-1", "nickname/n-1"))
USERS = [StreamId("user", f"w{n}") for n in range(2)]


@pytest.mark.emulator
def test_a_small_run_keeps_every_promise() -> None:
    outcome = run_contention(Contention(operations=300, writers=4, streams=8))
    assert outcome.findings.broken == {}, outcome.findings.examples
    assert outcome.operations == 300
    assert {kind for kind, _ in outcome.counts} == {"decide", "at token", "transfer", "homed claim", "optimistic claim"}
    assert outcome.findings.decisions > 100
    assert outcome.as_json()["kept"] is True


@pytest.mark.soak
def test_ten_thousand_operations_of_eight_writers_on_a_hundred_streams_keep_every_promise() -> None:
    outcome = run_contention(Contention(operations=10_000, writers=8, streams=100))
    assert outcome.findings.broken == {}, outcome.findings.examples
    assert outcome.operations == 10_000
    assert outcome.findings.conflicts > 0  # the regions were cut off from each other while they claimed
    assert outcome.findings.concurrent > 0


@pytest.mark.parametrize("wrong", [{"writers": 1}, {"streams": 3}, {"operations": 7}])
def test_a_plan_that_shows_nothing_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(InvalidConfig, match="at least"):
        Contention(**wrong)


def world() -> tuple[list[Note], dict[str, dict[StreamId, list[Event]]]]:
    """A short run without a flaw: decisions, a claim at home, a conflict that was settled."""
    held = {region: MemoryStorage() for region in (EAST, WEST)}
    stores = {region: EventStore(held[region], region, [EAST, WEST]) for region in held}
    notes: list[Note] = []

    def save(region: str, *operations: Operation, kind: str = "decide") -> None:
        notes.extend(Note(event, kind) for event in stores[region].save(*operations).events)  # type: ignore[union-attr]

    for total in (1, 2, 3):
        for stream in (TALLY, HOMED):
            save(EAST, Operation(stream, NewEvent("added", {"n": 1, "total": total})))
    save(EAST, Claim(EMAIL, USERS[0]).operation(), kind="homed claim")
    for region, user in zip((EAST, WEST), USERS, strict=True):
        save(region, Claim(NICK, user).operation(), kind="optimistic claim")
    for _ in range(2):
        for home, there in ((EAST, WEST), (WEST, EAST)):
            for lane, _ in list(held[home].lanes()):
                if lane.region == home:
                    held[there].insert_each(list(held[home].read(lane)))
        for store in stores.values():
            OptimisticClaims(store).settle(NICK)
    streams = [TALLY, HOMED, EMAIL, NICK, *USERS]
    return notes, {region: {stream: list(stores[region].read(stream)) for stream in streams} for region in stores}


def said(histories: Histories) -> dict[str, dict[StreamId, str | None]]:
    """What the regions say of who owns the nickname: the first to claim it, as it was before any history was spoilt."""
    first = str(histories[EAST][NICK][0].payload["owner"])
    return {region: {NICK: first} for region in histories}


def found(notes: list[Note], histories: Histories, owners: Owners | None = None) -> Findings:
    owners = owners or said(histories)
    return check(notes, histories, lambda _: EAST, lambda stream: EAST if stream == HOMED else None, owners)


def test_a_run_without_a_flaw_is_found_to_be_one() -> None:
    findings = found(*world())
    assert findings.broken == {}, findings.examples
    assert (findings.decisions, findings.conflicts) == (6, 1)


Spoil = Callable[[list[Note], Any], None]


def everywhere(histories: Any, stream: StreamId, change: Callable[[list[Event]], list[Event]]) -> None:
    for streams in histories.values():
        streams[stream] = change(streams[stream])


def resealed(event: Event, **changes: Any) -> Event:
    payload = changes.pop("payload", event.payload)
    changed = {"lane": event.lane, "sequence": event.sequence, "observed": event.observed, **changes}
    return seal(
        changed["lane"], changed["sequence"], event.hlc, NewEvent(event.type, payload), changed["observed"], event.prev
    )


def lose_an_event(notes: list[Note], histories: Any) -> None:
    del histories[WEST][TALLY][1]


def tell_two_writers_of_one_event(notes: list[Note], histories: Any) -> None:
    """The second writer's own event was never written: it took the first one's for its own."""
    notes.append(notes[0])


def invent_an_event(notes: list[Note], histories: Any) -> None:
    del notes[0]


def decide_on_an_old_state(notes: list[Note], histories: Any) -> None:
    """The third decision was made on the first event, as if the second were not there: the lost update."""
    old = histories[EAST][TALLY][2]
    new = resealed(old, payload={"n": 1, "total": 2}, observed=VersionVector({EAST: 1}))
    everywhere(histories, TALLY, lambda events: [*events[:2], new])
    notes[:] = [replace(note, event=new) if note.event == old else note for note in notes]


def decide_twice_at_home(notes: list[Note], histories: Any) -> None:
    everywhere(histories, HOMED, lambda events: [*events, events[-1]])


def grant_an_address_twice(notes: list[Note], histories: Any) -> None:
    (first,) = histories[EAST][EMAIL]
    second = resealed(first, sequence=2, payload={"owner": "user/w1"})
    everywhere(histories, EMAIL, lambda events: [*events, second])
    notes.append(Note(second, "homed claim"))


def leave_the_regions_two_owners(notes: list[Note], histories: Any) -> None:
    histories[WEST][NICK] = list(reversed(histories[WEST][NICK]))


def tell_nobody(notes: list[Note], histories: Any) -> None:
    for user in USERS:
        everywhere(histories, user, lambda events: [])


def tell_twice(notes: list[Note], histories: Any) -> None:
    everywhere(histories, NICK, lambda events: [*events, events[-1]])


@pytest.mark.parametrize(
    ("spoil", "promise"),
    [
        (lose_an_event, "lost"),
        (tell_two_writers_of_one_event, "acknowledged_twice"),
        (invent_an_event, "from_nowhere"),
        (lose_an_event, "different"),
        (decide_on_an_old_state, "lost_updates"),
        (decide_twice_at_home, "lost_updates"),
        (grant_an_address_twice, "owned_twice"),
        (leave_the_regions_two_owners, "not_one_owner"),
        (tell_nobody, "not_told"),
        (tell_twice, "not_told"),
    ],
)
def test_each_promise_that_is_broken_is_found(spoil: Spoil, promise: str) -> None:
    notes, histories = world()
    spoil(notes, histories)
    assert promise in found(notes, histories).broken


@pytest.mark.parametrize("region", [EAST, WEST])
@pytest.mark.parametrize("owner", [None, "user/w7"])
def test_a_region_that_says_another_owner_than_its_events_do_is_found(region: str, owner: str | None) -> None:
    notes, histories = world()
    owners = said(histories) | {region: {NICK: owner}}
    assert found(notes, histories, owners).broken == {"not_one_owner": 1}
