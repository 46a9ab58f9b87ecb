"""Which requests are struck: by name, chance, window and number, the same again for the same seed, and all is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.faults.engine import Engine
from chaos.faults.request import Asked
from chaos.faults.rules import Rule, parse_rules
from replicator import InvalidConfig

PUT = Asked("dynamodb", "PutItem", "us-east-1", "json")
READ = Asked("dynamodbstreams", "GetRecords", "us-east-1", "json")


class Bench:
    def __init__(self, *rules: dict[str, object], seed: int = 0) -> None:
        self.now = 100.0
        self.engine = Engine(lambda: self.now, seed)
        self.engine.set(parse_rules(list(rules)))

    def struck(self, count: int, asked: Asked = PUT) -> list[bool]:
        return [self.engine.strike(asked) is not None for _ in range(count)]


@pytest.mark.parametrize(
    ("rule", "asked", "strikes"),
    [
        ({}, PUT, True),
        ({"service": "dynamodb"}, PUT, True),
        ({"service": "dynamodb"}, READ, False),
        ({"service": "dynamodbstreams"}, READ, True),
        ({"operation": "PutItem"}, PUT, True),
        ({"operation": "GetItem"}, PUT, False),
        ({"region": "us-east-1"}, PUT, True),
        ({"region": "eu-west-1"}, PUT, False),
        ({"meridian": {"effect": "duplicate-records"}}, PUT, False),
        ({"meridian": {"effect": "duplicate-records"}}, READ, True),
    ],
)
def test_a_rule_strikes_what_it_names_and_nothing_else(rule: dict[str, object], asked: Asked, strikes: bool) -> None:
    assert Bench(rule).struck(1, asked) == [strikes]


def test_the_first_rule_that_strikes_is_the_one() -> None:
    bench = Bench(
        {"operation": "GetItem", "error": {"code": "A"}},
        {"probability": 0, "error": {"code": "B"}},
        {"error": {"code": "C"}},
        {"error": {"code": "D"}},
    )
    strike = bench.engine.strike(PUT)
    assert strike is not None
    assert strike.rule.code == "C"


def test_a_window_counts_from_when_the_rule_was_set_and_leaves_out_its_end() -> None:
    bench = Bench({"meridian": {"window": [5, 10]}})
    found = []
    for seconds in (0, 4.9, 5, 9.9, 10, 100):
        bench.now = 100 + seconds
        found += bench.struck(1)
    assert found == [False, False, True, True, False, False]
    bench.engine.add([Rule(window=(0, 1))])
    assert bench.struck(1) == [True]


def test_after_and_times_count_matching_requests_only() -> None:
    bench = Bench({"service": "dynamodb", "meridian": {"after": 2, "times": 3}})
    bench.struck(5, READ)
    assert bench.struck(7) == [False, False, True, True, True, False, False]


def test_what_changes_a_stream_for_good_strikes_once_unless_it_is_told_otherwise() -> None:
    assert Bench({"meridian": {"effect": "split-shard"}}).struck(3, READ) == [True, False, False]
    assert Bench({"meridian": {"effect": "split-shard", "times": 2}}).struck(3, READ) == [True, True, False]


@given(st.integers(0, 1000), st.sampled_from((0.1, 0.5, 0.9)))
def test_the_same_seed_strikes_the_same_requests(seed: int, share: float) -> None:
    one, other = (Bench({"probability": share}, {"probability": share}, seed=seed).struck(50) for _ in range(2))
    assert one == other


def test_chance_is_each_rules_own_and_as_likely_as_it_says() -> None:
    bench = Bench({"probability": 0.3})
    assert 220 < sum(bench.struck(1000)) < 380
    fixed = {"probability": 0.5, "meridian": {"seed": 9}}
    alone = Bench(fixed).struck(40)
    assert alone == Bench(fixed, seed=5).struck(40)  # a rule's own seed holds whatever the engine's
    assert alone != Bench({"probability": 0.5, "meridian": {"seed": 10}}).struck(40)
    assert Bench({"probability": 1.0}).struck(20) == [True] * 20
    assert Bench({"probability": 0.0}).struck(20) == [False] * 20


def test_all_strikes_are_told_also_of_rules_that_are_set_no_more() -> None:
    bench = Bench({"service": "dynamodb"}, {"service": "sqs"})
    bench.struck(3)
    bench.engine.set(parse_rules([{"operation": "GetRecords"}]))
    strike = bench.engine.strike(READ)
    assert strike is not None
    strike.missed()
    told = bench.engine.told()
    assert [(each["seen"], each["struck"], each["active"]) for each in told] == [(3, 3, False), (0, 0, False), (1, 0, True)]
    assert told[0]["by"] == {"dynamodb PutItem in us-east-1": 3}


def test_only_a_rule_that_is_set_can_be_taken_back_and_one_wrong_takes_back_none() -> None:
    bench = Bench({"service": "sqs"}, {"service": "sns"}, {"service": "sqs"})
    with pytest.raises(InvalidConfig, match="to remove a rule, give exactly what was set"):
        bench.engine.remove([Rule(service="sqs"), Rule(service="kms")])
    bench.engine.remove([Rule(service="sqs")])
    assert [rule.service for rule in bench.engine.rules] == ["sns", "sqs"]
