"""An environment variable that is empty, or white space alone, is unset: every one that Meridian reads."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import structlog

from docs import pages
from projectors.settings import given_projections, named_sinks, read_sinks
from replicator.cli import ops_commands
from replicator.cli.console import Among
from replicator.domain.errors import InvalidConfig
from replicator.ops.steering import read_steering
from replicator.runtime import logs
from replicator.runtime.settings import Settings, read_settings

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("replicator", "projectors", "chaos") for path in (ROOT / folder).rglob("*.py")]
BLANK = ["", " ", "\t \n"]


def _settings(environment: Mapping[str, str]) -> Settings:
    return read_settings({"MERIDIAN_REGION": "us-east-1", **environment})


def _region(environment: Mapping[str, str]) -> str:
    return read_settings({"AWS_REGION": "eu-west-1", **environment}).region


READ: dict[str, Callable[[Mapping[str, str]], object]] = {
    **dict.fromkeys(
        ("MERIDIAN_PEERS", "MERIDIAN_RETIRED", "MERIDIAN_PREFIX", "MERIDIAN_ENDPOINTS", "MERIDIAN_CONNECT_TIMEOUT",
         "MERIDIAN_READ_TIMEOUT", "MERIDIAN_ATTEMPTS", "MERIDIAN_POLL_INTERVAL",
         "MERIDIAN_TOKEN_KEYS", "MERIDIAN_OPTIMISTIC_CLAIMS", "MERIDIAN_COMPENSATION", "MERIDIAN_PERSONAL_KEY",
         "MERIDIAN_EXTERNAL", "MERIDIAN_EXTERNAL_LANES", "MERIDIAN_FENCE_CHECKED", "MERIDIAN_FENCE_LEASE",
         "MERIDIAN_SHARD_LEASE", "MERIDIAN_HEARTBEAT", "MERIDIAN_ROLES", "MERIDIAN_COPIES", "AWS_REGION"),
        _settings,
    ),
    "MERIDIAN_REGION": _region,
    "MERIDIAN_PROJECTIONS": lambda environment: given_projections(None, environment),
    "MERIDIAN_SINKS": lambda environment: (read_sinks(None, environment), named_sinks(environment)),
    "MERIDIAN_STEERING": lambda environment: type(read_steering(environment)),
    "MERIDIAN_STEERING_ENDPOINTS": lambda environment: type(read_steering(environment)),
}  # fmt: skip
"""What each variable is read by. MERIDIAN_LOG has a test of its own."""


@pytest.mark.parametrize("blank", BLANK, ids=repr)
@pytest.mark.parametrize("name", READ)
def test_a_variable_that_says_nothing_is_unset(name: str, blank: str) -> None:
    assert READ[name]({name: blank}) == READ[name]({})


@pytest.mark.parametrize("blank", BLANK, ids=repr)
def test_a_level_of_logs_that_says_nothing_is_the_usual_one(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    kept = structlog.get_config()
    try:
        monkeypatch.delenv("MERIDIAN_LOG", raising=False)
        logs.configure_logs()
        usual = structlog.get_config()["wrapper_class"]
        monkeypatch.setenv("MERIDIAN_LOG", blank)
        logs.configure_logs()
        assert structlog.get_config()["wrapper_class"] is usual
    finally:
        structlog.configure(**kept)


@pytest.mark.parametrize("blank", BLANK, ids=repr)
def test_a_command_about_a_region_takes_its_name_where_the_variables_say_nothing(
    monkeypatch: pytest.MonkeyPatch, blank: str
) -> None:
    monkeypatch.setenv("MERIDIAN_REGION", blank)
    monkeypatch.setenv("AWS_REGION", blank)
    system, settings = ops_commands._system(Among(peers="eu-west-1"), "us-east-1")
    assert (settings.region, sorted(system.places)) == ("us-east-1", ["eu-west-1", "us-east-1"])


# -- none is forgotten -----------------------------------------------------------------------------------------------------


def _constants(path: Path) -> list[tuple[ast.AST, str]]:
    """Each text that is the name of a variable, with what it stands in: a call, a look into a dictionary, a comparison."""
    tree = ast.parse(path.read_text())
    within = {id(child): node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    return [
        (within[id(node)], node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_name(node.value)
    ]


def _is_name(text: str) -> bool:
    return (text.startswith("MERIDIAN_") or text == "AWS_REGION") and text.replace("_", "").isalpha() and text.isupper()


def test_every_variable_is_read_by_the_one_rule_and_known_here() -> None:
    found = [(path, node, name) for path in SOURCES for node, name in _constants(path)]
    told = (ast.Dict, ast.Tuple)  # the environment of a process that is started; names that are looked through
    raw = [
        f"{path.relative_to(ROOT)}: {name}"
        for path, node, name in found
        if not isinstance(node, told) and not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    ]
    assert raw == []
    read = {name for _, node, name in found if isinstance(node, ast.Call)}
    assert read == {*READ, "MERIDIAN_LOG"} == {*pages.VARIABLES, "AWS_REGION"}


# -- names given twice -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", ["http://127.0.0.1:2", "http://127.0.0.1:1"])
def test_a_region_with_two_endpoints_is_refused(second: str) -> None:
    pairs = f"us-east-1=http://127.0.0.1:1,eu-west-1=http://127.0.0.1:3, us-east-1={second}"
    for read in (lambda: _settings({"MERIDIAN_ENDPOINTS": pairs}), lambda: read_settings({}, region="x-1", endpoints=pairs)):
        with pytest.raises(InvalidConfig, match=r"us-east-1 has two endpoints.*leave one out"):
            read()


def test_a_peer_that_is_named_twice_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="twice"):
        _settings({"MERIDIAN_PEERS": "eu-west-1,eu-west-1"})


def test_a_retired_region_that_is_named_twice_is_the_same_as_once() -> None:
    assert _settings({"MERIDIAN_RETIRED": "eu-west-1,eu-west-1"}).regions == ("eu-west-1", "us-east-1")
