"""Scenario files: those that come with Meridian are sound, and what is not understood is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.scenarios.actions import ACTIONS, Fail
from chaos.scenarios.desks import FlightLoad
from chaos.scenarios.runner import make_action
from chaos.scenarios.scenario_file import find_scenario, find_scenarios, load_scenario
from replicator.domain.errors import InvalidConfig

GOOD = """
title: A title
description: What happens
configuration: {regions: 3, seconds: 5, load: {things: 4}}
method:
  - {type: action, name: freeze, arguments: {region: first}, at: 1, for: 2}
expect: {converge-within: 9}
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    return file


@pytest.mark.parametrize("name", sorted(find_scenarios()))
def test_a_scenario_that_comes_with_meridian_is_sound(name: str) -> None:
    scenario = find_scenario(name)
    assert scenario.probes == ("acknowledged", "arrives")
    assert scenario.method
    assert [type(make_action(step)) for step in scenario.method] == [ACTIONS[step.name] for step in scenario.method]


def test_every_action_is_used_by_a_scenario() -> None:
    assert {step.name for name in find_scenarios() for step in find_scenario(name).method} == set(ACTIONS)


def test_a_file_of_ones_own_is_read(tmp_path: Path) -> None:
    scenario = load_scenario(written(tmp_path, GOOD))
    assert (scenario.name, scenario.regions, scenario.load.things, scenario.converge_within) == ("mine", 3, 4, 9.0)
    assert (scenario.method[0].name, scenario.method[0].at, scenario.method[0].lasts) == ("freeze", 1.0, 2.0)


@pytest.mark.parametrize(
    ("instead", "of", "says"),
    [
        ("name: freezes", "name: freeze", "method[0].name is 'freezes'; choose from freeze"),
        ("region: fourth", "region: first", "method[0].arguments.region is 'fourth'; choose from first, second, third"),
        ("at: -1", "at: 1", "method[0].at is -1; give a number from 0"),
        ("at: .nan", "at: 1", "method[0].at is nan; give a number"),
        ("at: yes", "at: 1", "method[0].at is True; give a number"),
        ("at: 1}", "at: 1, for: 2}", "method[0] lacks 'for'; give the seconds that freeze lasts"),
        ("region: first, hard: 1", "region: first", "has the key 'hard'; choose from region"),
        ("arguments: {}", "arguments: {region: first}", "lacks 'region'; freeze takes region"),
        ("regions: 7", "regions: 3", "configuration.regions is 7; give a whole number from 2 to 6"),
        ("regions: 2.5", "regions: 3", "configuration.regions is 2.5; give a whole number"),
        ("things: 0", "things: 4", "configuration.load.things is 0; give a whole number from 1"),
        (
            "method: none",
            "method:\n  - {type: action, name: freeze, arguments: {region: first}, at: 1, for: 2}",
            "give a list",
        ),
        ("title: ''", "title: A title", "title is ''; give a text"),
        ("surprise: 1\ntitle: A title", "title: A title", "has the key 'surprise'"),
        ("expect: {untested: [loss]}", "expect: {converge-within: 9}", "expect.untested is 'loss'; choose from lost"),
        ("title: [", "title: A title", "is not YAML"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, instead: str, of: str, says: str) -> None:
    assert of in GOOD
    with pytest.raises(InvalidConfig) as raised:
        load_scenario(written(tmp_path, GOOD.replace(of, instead)))
    assert says in str(raised.value)
    assert "mine" in str(raised.value)


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (
            "{name: kill-worker, arguments: {region: first, worker: cook}}",
            "worker is 'cook'; choose from replicator",
        ),
        ("{name: hole, arguments: {both-ways: true}, for: 1}", "both-ways has no meaning for all links"),
        ("{name: slow, for: 1}", "a slow link needs latency, jitter, bandwidth or loss"),
        ("{name: slow, arguments: {latency: -1}, for: 1}", "latency -1 s is wrong"),
        ("{name: failback, arguments: {region: first}, for: 1}", "failback happens once; leave it out"),
    ],
)
def test_an_action_that_makes_no_sense_is_refused(tmp_path: Path, step: str, says: str) -> None:
    text = GOOD.replace("{type: action, name: freeze, arguments: {region: first}, at: 1, for: 2}", step)
    with pytest.raises(InvalidConfig, match=says):
        load_scenario(written(tmp_path, text))


def test_a_scenario_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="there is no scenario 'thaw'; `chaos list` lists them"):
        find_scenario("thaw")
    with pytest.raises(InvalidConfig, match="cannot be read"):
        find_scenario(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("action", "says"),
    [
        ("{name: fail, arguments: {rules: []}}", "rules must be a list of at least one"),
        ("{name: fail, arguments: {rules: all}}", "rules must be a list of at least one"),
        ("{name: fail, arguments: {rules: [dynamodb]}}", "rule 1"),
        ("{name: fail, arguments: {rules: [{service: dynamo}]}}", "there is no service 'dynamo'"),
        ("{name: fail, arguments: {rules: [{region: fourth}]}}", "is 'fourth'; choose from first, second, third"),
        ("{name: fail, arguments: {rules: [{region: [first]}]}}", "are invalid"),
        ("{name: fail, arguments: {rules: [{meridian: {effect: melt}}]}}", "melt"),
        ("{name: clock, arguments: {region: first, seconds: 0}}", "seconds is 0; give a number other than 0"),
        ("{name: clock, arguments: {region: first, seconds: soon}}", "seconds is 'soon'"),
        ("{name: clock, arguments: {region: first, seconds: .inf}}", "a clock offset of inf s is out of range"),
        ("{name: clock, arguments: {region: first}}", "lacks 'seconds'"),
        ("{name: slow, arguments: {from: first}}", "needs latency, jitter, bandwidth or loss"),
        ("{name: slow, arguments: {loss: 1}}", "loss 1 is wrong"),
        ("{name: slow, arguments: {loss: much}}", "are invalid"),
        ("{name: slow, arguments: {latency: 1, direction: up}}", "direction is 'up'; choose from both, there, back"),
        ("{name: half-open, arguments: {both-ways: true}}", "both-ways has no meaning for all links"),
    ],
)
def test_what_an_action_cannot_do_is_refused(tmp_path: Path, action: str, says: str) -> None:
    text = GOOD.replace(
        "{type: action, name: freeze, arguments: {region: first}, at: 1, for: 2}", action[:-1] + ", at: 1, for: 2}"
    )
    with pytest.raises(InvalidConfig) as raised:
        load_scenario(written(tmp_path, text))
    assert says in str(raised.value)
    assert "method[0]" in str(raised.value)


def test_a_rules_region_is_the_one_that_the_seed_has_chosen() -> None:
    action = Fail([{"service": "dynamodb", "region": "second"}, {"region": "eu-west-1", "meridian": {"seed": 7}}])
    rules = action.rules({"first": "us-east-1", "second": "sa-east-1"})
    assert [(rule.region, rule.seed) for rule in rules] == [("sa-east-1", 0), ("eu-west-1", 7)]
    assert list(action.acts_on) == ["second"]


FLIGHTS = """
title: A title
description: What happens
configuration: {regions: 2, kills: 3, load: {flights: 400, outage: 12, stay: true}}
method:
  - {type: action, name: freeze, arguments: {region: first}, when: loaded, until: finishing}
  - {type: action, name: failover, arguments: {region: first, to: second, inside: true}, when: noticed}
"""


def test_with_flights_as_its_load_steps_may_go_by_them(tmp_path: Path) -> None:
    scenario = load_scenario(written(tmp_path, FLIGHTS))
    assert (scenario.load, scenario.kills) == (FlightLoad(400, 12.0, True), 3)
    assert [(step.when, step.until, step.lasts) for step in scenario.method] == [
        ("loaded", "finishing", None), ("noticed", None, None)
    ]  # fmt: skip
    assert load_scenario(written(tmp_path, FLIGHTS.replace("400", "all"))).load == FlightLoad(None, 12.0, True)


@pytest.mark.parametrize(
    ("instead", "of", "says"),
    [
        ("when: soon", "when: noticed", "method[1].when is 'soon'; choose from grown, aged, loaded"),
        ("until: never", "until: finishing", "method[0].until is 'never'; choose from grown"),
        ("when: noticed, until: healed", "when: noticed", "method[1].until is healed; failover happens once; leave it out"),
        ("", ", until: finishing", "method[0] lacks 'for'; give the seconds that freeze lasts"),
        ("inside: 1", "inside: true", "inside is 1; give true or false"),
        ("stay: 1", "stay: true", "configuration.load.stay is 1; give true or false"),
        ("flights: 0", "flights: 400", "configuration.load.flights is 0; give a whole number from 1"),
        ("outage: -1", "outage: 12", "configuration.load.outage is -1; give a number from 0"),
        ("flights: 400, things: 3", "flights: 400", "has the key 'things'"),
        ("kills: many", "kills: 3", "configuration.kills is 'many'; give a whole number from 0"),
        ("things: 3", "flights: 400, outage: 12, stay: true", "method[0] has the key 'when'"),
    ],
)
def test_what_does_not_go_with_flights_is_refused(tmp_path: Path, instead: str, of: str, says: str) -> None:
    assert of in FLIGHTS
    with pytest.raises(InvalidConfig) as raised:
        load_scenario(written(tmp_path, FLIGHTS.replace(of, instead)))
    assert says in str(raised.value)
