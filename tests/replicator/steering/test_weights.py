"""Laws of weights: nobody is served by a region that is away, and coming back restores what was there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replicator.ops.steering.weights import Weights

REGIONS = ["us-east-1", "eu-west-1", "ap-southeast-2"]
SLOTS = [(kind, region) for kind in ("A", "AAAA") for region in REGIONS]
weights = st.lists(st.sampled_from([0, 0, 1, 50, 255]), min_size=6, max_size=6).map(
    lambda held: Weights(dict(zip(SLOTS, held, strict=True)))
)
pairs = st.permutations(REGIONS).map(lambda names: (names[0], names[1]))


@given(weights, pairs)
def test_away_leaves_none_to_the_region_and_some_to_the_other(before: Weights, pair: tuple[str, str]) -> None:
    region, to = pair
    after = before.away(region, to)
    assert all(after.held[kind, region] == 0 and after.held[kind, to] > 0 for kind in ("A", "AAAA"))


@given(weights, pairs)
def test_back_restores_every_weight_and_keeps_nothing(before: Weights, pair: tuple[str, str]) -> None:
    assert before.away(*pair).back(pair[0]) == before


@given(weights, st.lists(pairs, max_size=5), pairs)
def test_both_verbs_can_be_repeated(before: Weights, earlier: list[tuple[str, str]], pair: tuple[str, str]) -> None:
    for each in earlier:
        before = before.away(*each)
    once = before.away(*pair)
    assert once.away(*pair) == once
    assert once.back(pair[0]).back(pair[0]) == once.back(pair[0])


@given(weights, st.lists(pairs, max_size=5))
def test_when_all_have_returned_in_turn_all_weights_are_as_at_first(before: Weights, moves: list[tuple[str, str]]) -> None:
    now = before
    for pair in moves:
        now = now.away(*pair)
    for region in REGIONS * 2:
        now = now.back(region)
    assert now == before


def test_a_stand_by_carries_what_the_region_carried_and_stands_by_again() -> None:
    before = Weights({("A", "us-east-1"): 100, ("A", "eu-west-1"): 0})
    away = before.away("us-east-1", "eu-west-1")
    assert away.held == {("A", "us-east-1"): 0, ("A", "eu-west-1"): 100}
    assert away.away("eu-west-1", "us-east-1").held == before.held
    assert away.back("us-east-1") == before


def test_who_is_sent_on_to_another_leaves_nothing_with_the_first() -> None:
    before = Weights({("A", "us-east-1"): 100, ("A", "eu-west-1"): 0, ("A", "ap-southeast-2"): 0})
    away = before.away("us-east-1", "eu-west-1").away("us-east-1", "ap-southeast-2")
    assert away == before.away("us-east-1", "ap-southeast-2")
    assert away.held == {("A", "us-east-1"): 0, ("A", "eu-west-1"): 0, ("A", "ap-southeast-2"): 100}
    assert away.back("us-east-1") == before


@given(weights, pairs)
def test_the_last_of_several_moves_of_a_region_is_the_one_that_counts(before: Weights, first: tuple[str, str]) -> None:
    region, to = first
    again = next(name for name in REGIONS if name not in first)
    assert before.away(region, to).away(region, again) == before.away(region, again)


@given(weights, st.lists(st.tuples(pairs, st.booleans()), max_size=8))
def test_where_writers_were_sent_there_is_weight_until_they_return(
    before: Weights, moves: list[tuple[tuple[str, str], bool]]
) -> None:
    now, sent = before, dict[str, str]()
    for (region, to), away in moves:
        now = now.away(region, to) if away else now.back(region)
        sent.pop(to if away else region, None)
        if away:
            sent[region] = to
        for other, target in sent.items():
            for kind in ("A", "AAAA"):
                assert now.held[kind, other] == 0
                assert target in sent or now.held[kind, target] > 0


def test_a_weight_that_somebody_gave_a_region_that_was_away_stays() -> None:
    away = Weights({("A", "us-east-1"): 100, ("A", "eu-west-1"): 50}).away("us-east-1", "eu-west-1")
    by_hand = Weights({**away.held, ("A", "us-east-1"): 7}, away.kept)
    assert by_hand.back("us-east-1").held == {("A", "us-east-1"): 7, ("A", "eu-west-1"): 50}


def test_records_that_somebody_removed_meanwhile_are_not_missed() -> None:
    away = Weights(dict.fromkeys(SLOTS, 10)).away("us-east-1", "eu-west-1")
    held = {slot: weight for slot, weight in away.held.items() if slot[0] == "A"}
    assert Weights(held, away.kept).back("us-east-1").held == {slot: 10 for slot in SLOTS if slot[0] == "A"}
