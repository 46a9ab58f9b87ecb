"""Where regions run: endpoints are read strictly, and what cannot be done to a region elsewhere is not run."""

from __future__ import annotations

import pytest

from chaos.scenarios.places import REGIONS, NotRun, Places, place, read_endpoints
from chaos.scenarios.runner import make_action
from chaos.scenarios.scenario import Scenario
from chaos.scenarios.scenario_file import find_scenario, find_scenarios
from replicator.domain.errors import InvalidConfig

URL = "http://127.0.0.1:4566"


def placed(scenario: Scenario, seed: int, endpoints: dict[str, str]) -> Places | NotRun:
    return place(scenario, seed, endpoints, [make_action(step) for step in scenario.method])


def test_a_url_is_where_all_regions_are_that_are_not_named() -> None:
    assert read_endpoints([]) == {}
    assert read_endpoints([URL]) == dict.fromkeys(REGIONS, URL)
    assert read_endpoints([f"eu-west-1={URL}/"]) == {"eu-west-1": URL}
    assert read_endpoints(["sa-east-1=http://there:1", URL]) == dict.fromkeys(REGIONS, URL) | {"sa-east-1": "http://there:1"}


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["4566"], "--endpoint '4566' is not of the form http://HOST:PORT"),
        (["https://127.0.0.1:4566"], "is not of the form http://HOST:PORT"),
        (["http://127.0.0.1"], "is not of the form"),
        (["http://127.0.0.1:99999"], "is not of the form"),
        (["http://127.0.0.1:4566/path"], "is not of the form"),
        ([""], "is not of the form"),
        (["http://user:pw@h:4566"], "is not of the form"),
        (["http://h:4566/#fragment"], "is not of the form"),
        (["http://h:4566?query"], "is not of the form"),
        (["http://h h:4566"], "is not of the form"),
        (["us-east-1=http://h:4566#a"], "is not of the form"),
        (["http://h:0"], "is not of the form"),
        ([f"moon-1={URL}"], "scenarios have no region 'moon-1'; choose from us-east-1"),
        ([URL, URL], "--endpoint names where all regions are twice"),
        ([f"us-east-1={URL}", f"us-east-1={URL}"], "--endpoint names us-east-1 twice"),
    ],
)
def test_what_is_no_endpoint_is_refused(texts: list[str], says: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        read_endpoints(texts)
    assert says in str(raised.value)


def test_the_order_is_the_seeds_whether_regions_are_here_or_elsewhere() -> None:
    scenario = find_scenario("partition")
    orders = [placed(scenario, seed, {}) for seed in range(40)]
    assert len({each.regions for each in orders if isinstance(each, Places)}) == 6
    for seed, here in enumerate(orders):
        there = placed(scenario, seed, {"us-east-1": URL})
        assert isinstance(there, Places)
        assert isinstance(here, Places)
        assert (there.regions, there.endpoints) == (here.regions, {"us-east-1": URL})


def test_regions_that_are_frozen_or_killed_run_here() -> None:
    scenario = find_scenario("two-freeze")
    for seed in range(20):
        mixed = placed(scenario, seed, {"eu-west-1": URL})
        assert isinstance(mixed, Places)
        assert mixed.regions[2] == "eu-west-1"
        assert set(mixed.regions) == set(REGIONS[:3])


@pytest.mark.parametrize(("elsewhere", "says"), [(2, "1 of its 3 regions run on this machine"), (3, "none runs on")])
def test_what_nobody_can_do_to_a_region_elsewhere_is_not_run(elsewhere: int, says: str) -> None:
    found = placed(find_scenario("two-freeze"), 1, dict.fromkeys(REGIONS[:elsewhere], URL))
    assert isinstance(found, NotRun)
    assert f"it freezes a region, which is not possible for a region at {URL}" in found.why
    assert says in found.why
    assert (found.as_json()["kept"], found.as_json()["not_run"]) == (None, found.why)


def test_most_scenarios_run_where_all_regions_are_elsewhere() -> None:
    found = {name: placed(find_scenario(name), 1, dict.fromkeys(REGIONS, URL)) for name in find_scenarios()}
    assert {name for name, each in found.items() if isinstance(each, NotRun)} == {
        "cut-off-restored", "failover", "freeze", "region-lost", "region-restored", "two-freeze",
    }  # fmt: skip


@pytest.mark.parametrize("texts", [["sa-east-1=http://h:1"], ["sa-east-1=http://h:1", URL], ["us-east-1=http://h:1", URL]])
def test_an_endpoint_of_a_region_that_the_scenario_does_not_use_is_not_run(texts: list[str]) -> None:
    found = placed(find_scenario("partition"), 1, read_endpoints(texts))
    if texts[0].startswith("us-east-1"):
        assert isinstance(found, Places)
        assert found.endpoints == {"us-east-1": "http://h:1", "eu-west-1": URL, "ap-southeast-2": URL}
    else:
        assert isinstance(found, NotRun)
        assert found.why == (
            "its regions are ap-southeast-2, eu-west-1, us-east-1; none is sa-east-1, which --endpoint names"
        )
    assert isinstance(placed(find_scenario("five-regions"), 1, read_endpoints(texts)), Places)


def test_endpoints_that_are_no_more_than_a_mapping_are_named_each() -> None:
    assert isinstance(placed(find_scenario("partition"), 1, {"sa-east-1": URL}), NotRun)
