"""Who owns a claim is a function of the events alone, and nobody owns what somebody else does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replicator import EventStore, Hlc, LaneId, MemoryStorage, NewEvent, Operation, Saved, StreamId
from replicator.claims import OWNERSHIP, Claim, Ownership, Release
from replicator.claims.ownership import CLAIMED, LOST, RELEASED
from replicator.domain.event import GENESIS, Event, seal
from replicator.domain.vector import EMPTY

EMAIL = StreamId("email", "homer@example.com")
HOMER, LISA = StreamId("user", "homer"), StreamId("user", "lisa")
REGIONS = ("us-east-1", "eu-west-1", "ap-southeast-2")


def event(region: str, ms: int, kind: str, payload: dict[str, str]) -> Event:
    return seal(LaneId(region, EMAIL), ms, Hlc(ms, 0), NewEvent(kind, payload), EMPTY, GENESIS)


def claimed(region: str, ms: int, owner: str) -> Event:
    return event(region, ms, CLAIMED, {"owner": owner})


def fold(*events: Event) -> Ownership:
    owned = Ownership()
    for each in sorted(events, key=lambda e: e.order):
        owned = owned.apply(each)
    return owned


def test_the_first_claim_owns_and_a_later_one_by_another_has_lost() -> None:
    first, second = (
        claimed("us-east-1", 2, "user/homer"),
        claimed("eu-west-1", 3, "user/lisa"),
    )
    owned = fold(second, first)
    assert owned.owner == HOMER
    (lost,) = owned.lost.values()
    assert (lost.event_id, lost.owner, lost.to_owner, lost.region) == (second.id, LISA, HOMER, "eu-west-1")


def test_equal_times_are_broken_by_the_region_s_name() -> None:
    east, west = (claimed(region, 2, f"user/{region}") for region in ("us-east-1", "eu-west-1"))
    assert str(fold(east, west).owner) == str(fold(west, east).owner) == "user/eu-west-1"


def test_the_same_owner_s_claims_in_two_regions_are_one() -> None:
    owned = fold(*(claimed(region, 2, "user/homer") for region in REGIONS))
    assert owned.owner == HOMER
    assert not owned.lost
    assert fold(*(claimed(r, 2, "user/homer") for r in REGIONS),
                event("us-east-1", 3, RELEASED, {"owner": "user/homer"})).owner is None  # fmt: skip


def test_a_loser_who_releases_releases_nothing_and_need_not_be_told() -> None:
    claims = [
        claimed("us-east-1", 2, "user/homer"),
        claimed("eu-west-1", 3, "user/lisa"),
    ]
    owned = fold(*claims, event("eu-west-1", 4, RELEASED, {"owner": "user/lisa"}))
    assert owned.owner == HOMER
    assert not owned.lost


def test_a_claim_that_lost_stays_lost_when_the_winner_releases() -> None:
    claims = [
        claimed("us-east-1", 2, "user/homer"),
        claimed("eu-west-1", 3, "user/lisa"),
    ]
    released = event("us-east-1", 5, RELEASED, {"owner": "user/homer"})
    assert fold(*claims, released).owner is None


def test_whoever_was_told_that_it_lost_does_not_own_it_by_a_release_that_comes_late() -> None:
    """Lisa was told; then Homer's release turns out to have come before her claim. She is not made owner behind her back."""
    homer = claimed("us-east-1", 2, "user/homer")
    lisa = claimed("eu-west-1", 4, "user/lisa")
    told = event("eu-west-1", 6, LOST, {"claim": lisa.id, "owner": "user/lisa"})
    assert not fold(homer, lisa, told).lost
    late = event("us-east-1", 3, RELEASED, {"owner": "user/homer"})
    assert fold(homer, lisa, told, late).owner is None


def test_whoever_lost_and_then_claims_it_anew_owns_it_and_is_told_of_no_loss() -> None:
    homer, lisa = claimed("us-east-1", 2, "user/homer"), claimed("eu-west-1", 3, "user/lisa")
    bart = claimed("ap-southeast-2", 4, "user/bart")
    released = event("us-east-1", 5, RELEASED, {"owner": "user/homer"})
    anew = claimed("eu-west-1", 6, "user/lisa")
    owned = fold(homer, lisa, bart, released, anew)
    assert (owned.owner, owned.event_id) == (LISA, anew.id)
    assert set(owned.lost) == {bart.id}  # he is still to be told
    told = event("eu-west-1", 7, LOST, {"claim": lisa.id, "owner": "user/lisa"})
    assert fold(homer, lisa, released, anew, told).owner == LISA  # told by a region that did not know yet
    assert set(fold(homer, lisa, anew).lost) == {lisa.id, anew.id}  # nothing was free: without the release both lost


def test_a_loss_comes_back_when_what_ended_it_turns_out_to_have_lost_too() -> None:
    """Bart claimed what Homer had released before Lisa did, and that arrives last: both of Lisa's claims have lost."""
    homer, lisa = claimed("us-east-1", 2, "user/homer"), claimed("eu-west-1", 3, "user/lisa")
    released = event("us-east-1", 4, RELEASED, {"owner": "user/homer"})
    anew = claimed("eu-west-1", 6, "user/lisa")
    late = claimed("ap-southeast-2", 5, "user/bart")
    owned = fold(homer, lisa, released, anew, late)
    assert str(owned.owner) == "user/bart"
    assert {key: str(each.to_owner) for key, each in owned.lost.items()} == {
        lisa.id: "user/homer",
        anew.id: "user/bart",
    }


kinds = st.sampled_from([CLAIMED, RELEASED, LOST])


@given(st.data())
def test_at_most_one_owns_and_every_loser_has_a_winner(data: st.DataObject) -> None:
    events: list[Event] = []
    for ms in range(1, data.draw(st.integers(1, 15)) + 1):
        kind, owner = data.draw(kinds), data.draw(st.sampled_from(["user/homer", "user/lisa", "user/bart"]))
        claims = [e.id for e in events if e.type == CLAIMED]
        claim = data.draw(st.sampled_from(claims)) if claims else "none"
        events.append(event(data.draw(st.sampled_from(REGIONS)), ms, kind, {"owner": owner, "claim": claim}))
    owned = fold(*data.draw(st.permutations(events)))
    assert owned == fold(*events)
    by_id = {e.id: e for e in events}
    if owned.owner is not None:
        assert by_id[owned.event_id].payload["owner"] == str(owned.owner)
        assert owned.owner not in {lost.owner for lost in owned.lost.values()}
    for lost in owned.lost.values():
        assert lost.owner != lost.to_owner
        assert by_id[lost.to_event_id].order < by_id[lost.event_id].order


def test_claim_and_release_are_operations_like_any_other() -> None:
    store = EventStore(MemoryStorage(), "us-east-1", REGIONS)
    registered = NewEvent("registered", {})
    both = store.save(Claim(EMAIL, HOMER).operation(), Operation(HOMER, registered))
    assert isinstance(both, Saved)
    assert [e.type for e in both.events] == [CLAIMED, "registered"]
    again = store.save(Claim(EMAIL, HOMER).operation())
    assert isinstance(again, Saved)
    assert again.events == ()  # it is his already
    held = store.save(Claim(EMAIL, HOMER).operation(hold=True), Operation(HOMER, registered))
    assert isinstance(held, Saved)
    assert [e.type for e in held.events] == [CLAIMED, "registered"]  # what depends on it has its stream held
    refused = store.save(Claim(EMAIL, LISA).operation(), Operation(LISA, registered))
    assert getattr(refused, "reasons", None) == ("email/homer@example.com is owned by user/homer",)
    assert store.latest(LISA) is None
    assert getattr(store.save(Release(EMAIL, LISA).operation()), "reasons", None) == (
        "email/homer@example.com is owned by user/homer, not by user/lisa",
    )
    assert isinstance(store.save(Release(EMAIL, HOMER).operation()), Saved)
    assert isinstance(store.save(Claim("email/homer@example.com", "user/lisa").operation()), Saved)
    assert OWNERSHIP.value_of(store.state(EMAIL)).owner == LISA
