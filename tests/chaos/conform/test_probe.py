"""Verdicts are the probes' own: AWS's answer is as AWS, a turned expectation is found out, anything unforeseen is unsafe."""

from __future__ import annotations

import pytest

from chaos.conform.lab import NOT_OFFERED, Lab, NotOffered, observe
from chaos.conform.model_answers import PROBES as ALL
from chaos.conform.model_answers import observe_models
from chaos.conform.probe import Answer, Area, Probe, Verdict, by_name, harmless, hidden
from chaos.conform.run_probes import AREAS, PROBES, Conformance, choose
from replicator.domain.errors import InvalidConfig

UNFORESEEN = "an answer that no engine gives"


def made(name: str = "one", *others: object) -> Probe:
    return Probe(
        name, "area", "Is it so?", "yes", "https://docs.aws.amazon.com/", "A promise", lambda lab: "yes", tuple(others)
    )  # type: ignore[arg-type]


def run(seen: str, turned: str = "", strict: bool = False) -> Conformance:
    probe = made("one", harmless("maybe*", "it copes"), hidden("no", "it cannot be shown"))
    return Conformance("url", "us-east-1", [Answer(probe, seen, probe.judge(seen, turned == "one"))], strict, turned)


def test_there_are_more_than_eighty_probes_each_with_a_page_of_aws() -> None:
    assert len(PROBES) >= 200
    for probe in ALL.values():
        assert probe.question.endswith("?"), probe.name
        assert probe.page.startswith("https://docs.aws.amazon.com/"), probe.name
        assert probe.promise
        assert probe.expects


@pytest.mark.parametrize("probe", ALL.values(), ids=lambda probe: probe.name)
def test_awss_answer_is_as_aws_and_unsafe_when_the_expectation_is_turned_round(probe: Probe) -> None:
    assert probe.judge(probe.expects).verdict is Verdict.AS_AWS
    assert probe.judge(probe.expects, turned=True).verdict is Verdict.UNSAFE
    for other in probe.others:
        if other.verdict is Verdict.HARMLESS:
            seen = other.pattern.replace("*", "x").replace("[1-9]", "1")
            assert probe.judge(seen).verdict in (Verdict.HARMLESS, Verdict.UNSAFE)
            assert probe.judge(seen, turned=True).verdict is Verdict.UNSAFE


@pytest.mark.parametrize("probe", ALL.values(), ids=lambda probe: probe.name)
def test_an_answer_that_nothing_foresees_is_unsafe_unless_the_probe_says_that_any_other_is_not(probe: Probe) -> None:
    any_other = [other.verdict for other in probe.others if other.pattern == "*"]
    assert probe.judge(UNFORESEEN).verdict is (any_other[0] if any_other else Verdict.UNSAFE)


@pytest.mark.parametrize("probe", ALL.values(), ids=lambda probe: probe.name)
def test_every_other_verdict_has_a_reason(probe: Probe) -> None:
    assert all(other.why for other in probe.others)
    assert probe.judge(UNFORESEEN).why


@pytest.mark.parametrize(
    ("seen", "strict", "good"),
    [
        ("yes", False, True),
        ("maybe so", False, True),
        ("no", False, True),
        (f"{NOT_OFFERED}sqs", False, True),
        ("other", False, False),
        ("yes", True, True),
        ("maybe so", True, True),
        ("no", True, False),
        (f"{NOT_OFFERED}sqs", True, False),
    ],
)
def test_unsafe_answers_are_not_good_enough_nor_hidden_ones_where_that_is_strict(
    seen: str, strict: bool, good: bool
) -> None:
    assert run(seen, strict=strict).good is good


@pytest.mark.parametrize("seen", ["yes", "maybe so", "no", f"{NOT_OFFERED}sqs", "other"])
def test_a_probe_that_is_turned_round_is_never_good_enough(seen: str) -> None:
    found = run(seen, turned="one")
    assert not found.good
    assert found.blind is (seen == "no" or seen.startswith(NOT_OFFERED))


def test_the_json_has_every_verdict_and_texts_alone() -> None:
    told = run("no").as_json()
    assert list(told) == ["endpoint", "region", "strict", "turned", "good", "counts", "left", "probes"]
    assert set(told["counts"]) == {str(verdict) for verdict in Verdict}
    (probe,) = told["probes"]
    assert list(probe) == ["name", "area", "question", "expected", "page", "promise", "seen", "verdict", "why"]
    assert all(isinstance(value, str) for value in probe.values())


def test_two_probes_of_one_name_are_refused() -> None:
    area = Area("twice")
    area.probes += [made(), made()]
    with pytest.raises(ValueError, match="two probes are named one"):
        by_name({"twice": area})


def test_probes_are_chosen_by_area_and_by_name() -> None:
    assert choose(()) == list(PROBES.values())
    assert [probe.name for probe in choose(["insert-taken", "insert-writes"])] == ["insert-writes", "insert-taken"]
    assert {probe.area for probe in choose(["KMS", "queues"])} == {"KMS", "queues"}
    assert set(AREAS) >= {"partiql", "streams", "mappings"}
    with pytest.raises(InvalidConfig, match="no area or probe 'strems'"):
        choose(["strems"])


def test_what_an_endpoint_does_not_have_is_an_observation_and_so_is_an_answer_of_another_form() -> None:
    def missing(lab: object) -> str:
        raise NotOffered("sqs (501)")

    def odd(lab: object) -> str:
        raise KeyError("Items")

    assert observe(missing, Lab("us-east-1", "http://127.0.0.1:9"), ()) == "not offered: sqs (501)"
    odd_answer = observe(odd, Lab("us-east-1", "http://127.0.0.1:9"), ())
    assert odd_answer == "an answer that cannot be read: KeyError 'Items'"


@pytest.mark.parametrize("model", ["simulator", "fleet"])
def test_a_model_answers_as_the_page_does(model: str) -> None:
    found = {name: ALL[name].judge(seen) for name, seen in observe_models()[model].items()}
    assert len(found) >= 20
    assert {name: judged for name, judged in found.items() if judged.verdict not in (Verdict.AS_AWS, Verdict.HARMLESS)} == {}
