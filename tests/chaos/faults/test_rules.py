"""Rules: LocalStack's format read strictly, written back as the same, and told apart from what only we can do."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.faults.rule_files import strict_json
from chaos.faults.rules import EFFECTS, Rule, dumps, for_localstack, parse_rules, read_rules
from replicator import InvalidConfig

LOCALSTACKS_OWN = [
    {"service": "s3", "region": "us-east-1"},
    {"service": "lambda"},
    {
        "service": "kinesis",
        "operation": "PutRecord",
        "probability": 0.3,
        "error": {"statusCode": 400, "code": "ProvisionedThroughputExceededException"},
    },
]


def test_the_examples_of_localstacks_documentation_are_understood_and_written_back() -> None:
    rules = parse_rules(LOCALSTACKS_OWN)
    assert [rule.as_json() for rule in rules] == LOCALSTACKS_OWN
    assert for_localstack(rules) == (LOCALSTACKS_OWN, [])


def test_what_is_left_out_is_as_localstack_says() -> None:
    (rule,) = parse_rules([{}])
    assert (rule.service, rule.region, rule.operation) == (None, None, None)
    assert (rule.probability, rule.status, rule.code) == (1.0, 503, "ServiceUnavailable")
    assert rule.matches("dynamodb", "PutItem", "eu-west-1")
    assert parse_rules([]) == ()


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "rules are a JSON list such as"),
        ("[]", "not str; put them in a list"),
        (["x"], "rule 1: 'x' is not a JSON object"),
        ([{"services": "s3"}], "there is no 'services'; choose from service, region"),
        ([{}, {"error": {"status": 1}}], "rule 2, error: there is no 'status'; choose from statusCode, code"),
        ([{"service": "dynamo"}], "there is no service 'dynamo'; names are those of the AWS SDK, such as dynamodb"),
        ([{"service": "dynamodb", "operation": "Put"}], "dynamodb has no operation 'Put'.*PutItem"),
        ([{"service": 7}], "service 7 is wrong; write an AWS service"),
        ([{"region": "*"}], r"region '\*' is wrong; write a region such as us-east-1, or omit it for all"),
        ([{"region": "us-east-1\n"}], "region"),
        ([{"probability": 1.1}], "probability 1.1 is wrong; write a number from 0"),
        ([{"probability": -1}], "probability -1"),
        ([{"probability": True}], "probability True"),
        ([{"probability": float("nan")}], "probability nan"),
        ([{"probability": "0.5"}], "probability '0.5'"),
        ([{"probability": 10**400}], "probability 1000"),
        ([{"error": {"statusCode": 200}}], "statusCode 200 is wrong; write an HTTP status of an error"),
        ([{"error": {"statusCode": 503.5}}], "statusCode 503.5"),
        ([{"error": {"code": "<a>"}}], "code '<a>' is wrong"),
        ([{"error": None}], "None is not a JSON object"),
        ([{"meridian": {"effect": "zap"}}], "effect 'zap' is wrong; write one of error, answer-lost"),
        ([{"meridian": {"effect": ["error"]}}], "effect"),
        ([{"meridian": {"window": [20, 5]}}], r"window \[20, 5\] is wrong; write \[from, until\]"),
        ([{"meridian": {"window": [5, 5]}}], "from before until"),
        ([{"meridian": {"window": [-1, 5]}}], "window"),
        ([{"meridian": {"window": [0, float("inf")]}}], "window"),
        ([{"meridian": {"window": 5}}], "window 5"),
        ([{"meridian": {"times": 0}}], "times 0 is wrong"),
        ([{"meridian": {"after": 1.5}}], "after 1.5 is wrong"),
        ([{"meridian": {"seed": "x"}}], "seed 'x' is wrong"),
        ([{"meridian": {"part": 0.5}}], "error has no 'part'; leave it out, or choose unprocessed"),
        ([{"meridian": {"effect": "unprocessed", "part": 0}}], "part 0 is wrong; write a number above 0"),
        ([{"meridian": {"effect": "slow-answer"}}], 'slow-answer needs "latency", in milliseconds'),
        ([{"meridian": {"effect": "answer-lost", "how": "gently"}}], "one of timeout, reset"),
        ([{"meridian": {"effect": "reorder-records", "harsh": 1}}], "harsh 1 is wrong; write true or false"),
        ([{"meridian": {"effect": "answer-lost"}, "error": {}}], "does not use 'error'"),
        ([{"service": "sqs", "meridian": {"effect": "split-shard"}}], "split-shard does not apply to sqs; it applies to "),
        ([{"operation": "PutItem", "meridian": {"effect": "unprocessed"}}], "unprocessed does not apply to PutItem"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_value_its_place_and_what_to_write(value: Any, words: str) -> None:
    with pytest.raises(InvalidConfig, match=words):
        parse_rules(value)


@pytest.mark.parametrize(
    "text", ["", "{", "[NaN]", "[1e999x]", '[{"service":"s3","service":"sqs"}]', "[" * 100_000, "9" * 9_000]
)
def test_a_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(InvalidConfig):
        parse_rules(strict_json(text, "rules"))


def test_a_file_of_rules_is_read_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rules.json"
    file.write_text(dumps(parse_rules(LOCALSTACKS_OWN)))
    assert read_rules(file) == parse_rules(LOCALSTACKS_OWN)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidConfig, match=r"rules\.json"):
        read_rules(file)
    with pytest.raises(InvalidConfig, match=r"nowhere\.json"):
        read_rules(tmp_path / "nowhere.json")


def test_localstack_is_not_given_what_it_has_no_word_for_and_is_said_why() -> None:
    rules = parse_rules(
        [
            {"service": "dynamodb", "meridian": {"effect": "answer-lost"}},
            {"service": "sqs", "meridian": {"window": [5, 20], "times": 3}},
            {"meridian": {"effect": "expire-iterators", "seed": 4}},
            {"service": "kms", "meridian": {"seed": 3}},
        ]
    )
    able, unable = for_localstack(rules)
    expired = {"operation": "GetRecords", "error": {"statusCode": 400, "code": "ExpiredIteratorException"}}
    assert able == [{"service": "dynamodbstreams", **expired}, {"service": "kinesis", **expired}, {"service": "kms"}]
    assert [(rule.service, why) for rule, why in unable] == [
        ("dynamodb", "it has no answer-lost"),
        ("sqs", "it has no window; it has no times"),
    ]


def _rules() -> st.SearchStrategy[dict[str, Any]]:
    times = st.fixed_dictionaries(
        {},
        optional={
            "window": st.tuples(st.floats(0, 1e6), st.none() | st.floats(1e6 + 1, 1e9)).map(list),
            "after": st.integers(0, 10**9),
            "times": st.integers(1, 10**9),
            "seed": st.integers(-(2**63), 2**63 - 1),
        },
    )
    part = st.floats(0, 1, exclude_min=True)
    effects = st.one_of(
        st.fixed_dictionaries({"effect": st.sampled_from(("error", "expire-iterators", "split-shard"))}),
        st.fixed_dictionaries({"effect": st.just("answer-lost")}, optional={"how": st.sampled_from(("timeout", "reset"))}),
        st.fixed_dictionaries({"effect": st.just("slow-answer"), "latency": st.floats(0, 600_000)}),
        st.fixed_dictionaries({"effect": st.just("reorder-records")}, optional={"part": part, "harsh": st.booleans()}),
        st.fixed_dictionaries(
            {"effect": st.sampled_from(("unprocessed", "duplicate-records", "trim-records"))}, optional={"part": part}
        ),
    )
    ours = st.tuples(effects, times).map(lambda both: {**both[0], **both[1]})
    plain = st.fixed_dictionaries(
        {},
        optional={
            "region": st.sampled_from(("us-east-1", "eu-west-1", "us-gov-west-1", "ap-southeast-2")),
            "probability": st.floats(0, 1),
        },
    )
    error = st.fixed_dictionaries({}, optional={"statusCode": st.integers(400, 599), "code": st.just("Throttling")})
    service = st.sampled_from(({}, {"service": "sqs"}, {"service": "kinesis", "operation": "PutRecord"}))
    return st.one_of(
        st.tuples(plain, ours).map(lambda both: {**both[0], "meridian": both[1]}),
        st.tuples(plain, error, service).map(lambda all_: {**all_[0], "error": all_[1], **all_[2]}),
    )


@given(st.lists(_rules(), max_size=4))
def test_every_valid_rule_is_the_same_when_it_is_written_and_read_again(written: list[dict[str, Any]]) -> None:
    rules = parse_rules(written)
    assert parse_rules(strict_json(dumps(rules), "again")) == rules
    able, unable = for_localstack(rules)
    assert all("meridian" not in rule for rule in able)
    assert parse_rules(able) is not None
    assert all(why and rule in rules for rule, why in unable)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(("service", "region", "operation", "probability", "error", "meridian", "seed", "zap"))
_OURS = st.sampled_from(
    ("effect", "window", "after", "times", "part", "latency", "how", "harsh", "seed", "statusCode", "code")
)
_HOSTILE = st.dictionaries(
    _KEYS, _JSON | st.dictionaries(_OURS, _JSON | st.sampled_from(tuple(EFFECTS)), max_size=4), max_size=4
)


@given(st.lists(_HOSTILE | _JSON, max_size=3) | _JSON)
def test_whatever_is_given_is_a_rule_or_refused_by_name(value: Any) -> None:
    try:
        rules = parse_rules(value)
    except InvalidConfig as error:
        assert len(str(error)) < 2_000  # noqa: PT017
    else:
        assert all(isinstance(rule, Rule) for rule in rules)
        json.dumps([rule.as_json() for rule in rules], allow_nan=False)


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_whatever_text_is_given_is_json_or_refused_by_name(text: str | bytes) -> None:
    with suppress(InvalidConfig):
        strict_json(text, "rules")
